package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
)

// project returns the project that the path names, if it exists and the bearer may act on it.
func (a *API) project(c echo.Context, scope auth.Scope) (string, error) {
	name := c.Param("project")
	if err := allow(c, scope, name); err != nil {
		return "", err
	}
	if !slices.Contains(a.Projects(), name) {
		return "", mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q", name).WithHint("projects are in the server's configuration")
	}
	return name, nil
}

func (a *API) listProjects(c echo.Context) error {
	list := client.ProjectList{Items: []client.Project{}}
	for _, name := range a.Projects() {
		if allow(c, auth.ScopePreviewsRead, name) == nil {
			list.Items = append(list.Items, client.Project{Name: name})
		}
	}
	return c.JSON(http.StatusOK, list)
}

func (a *API) listTemplates(c echo.Context) error {
	project, err := a.project(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	templates, err := a.Store.Templates(c.Request().Context(), project)
	if err != nil {
		return err
	}
	list := client.TemplateList{Items: []client.Template{}}
	for _, t := range templates {
		list.Items = append(list.Items, templateJSON(t))
	}
	return c.JSON(http.StatusOK, list)
}

func (a *API) buildTemplate(c echo.Context) error {
	project, err := a.project(c, auth.ScopeTemplatesWrite)
	if err != nil {
		return err
	}
	t, err := a.Templates.Request(c.Request().Context(), project)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/v1/templates/"+t.ID)
	return c.JSON(http.StatusAccepted, templateJSON(t))
}

func (a *API) getTemplate(c echo.Context) error {
	t, err := a.template(c)
	if err != nil {
		return err
	}
	full, _, err := a.fullTemplate(c.Request().Context(), t.ID)
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, full)
}

func (a *API) template(c echo.Context) (*mayfly.Template, error) {
	id := c.Param("id")
	t, err := a.Store.Template(c.Request().Context(), id)
	if err != nil {
		return nil, err
	}
	if allow(c, auth.ScopePreviewsRead, t.Project) != nil {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no template %s", id)
	}
	return t, nil
}

func (a *API) templateEvents(c echo.Context) error {
	t, err := a.template(c)
	if err != nil {
		return err
	}
	return a.stream(c, "template", t.ID, func(ctx context.Context) (any, bool, error) { return a.fullTemplate(ctx, t.ID) })
}

func (a *API) fullTemplate(ctx context.Context, id string) (value any, last bool, err error) {
	t, err := a.Store.Template(ctx, id)
	if err != nil {
		return nil, false, err
	}
	steps, err := a.Store.Steps(ctx, id)
	if err != nil {
		return nil, false, err
	}
	out := templateJSON(t)
	out.Steps = a.stepsJSON(steps)
	out.Report = t.Report
	if t.State == mayfly.TemplateBuilding {
		if out.Progress, err = a.progress(ctx, id); err != nil {
			return nil, false, err
		}
	}
	return out, t.State != mayfly.TemplateBuilding, nil
}

func (a *API) progress(ctx context.Context, id string) (*client.Progress, error) {
	p, err := a.Store.TemplateProgress(ctx, id)
	if err != nil || p == nil {
		return nil, err
	}
	return (*client.Progress)(p), nil
}

func templateJSON(t *mayfly.Template) client.Template {
	return client.Template{
		ID: t.ID, Project: t.Project, Version: t.Version, State: string(t.State), Source: t.Source, Major: t.Major, SizeBytes: t.SizeBytes,
		RowCount: t.RowCount, Failure: failureJSON(t.Failure), CreatedAt: t.CreatedAt.UTC(), ReadyAt: utc(t.ReadyAt),
	}
}
