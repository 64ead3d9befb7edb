package api

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/templates"
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
		if allow(c, auth.ScopePreviewsRead, name) != nil {
			continue
		}
		outlook, err := a.Templates.Outlook(c.Request().Context(), name)
		if err != nil {
			return err
		}
		list.Items = append(list.Items, client.Project{Name: name, Schedule: scheduleJSON(outlook)})
	}
	return c.JSON(http.StatusOK, list)
}

func scheduleJSON(o templates.Outlook) *client.Schedule {
	if o.Schedule == "" {
		return nil
	}
	return &client.Schedule{
		Schedule: o.Schedule, TimeZone: cmp.Or(o.TimeZone, "UTC"), NextAt: utc(o.NextAt), LastRunAt: utc(o.LastRunAt), LastOutcome: o.LastOutcome,
	}
}

const listOfTemplates = "templates"

func templateStates() []string {
	return []string{
		string(mayfly.TemplateBuilding), string(mayfly.TemplateReady), string(mayfly.TemplateFailed), string(mayfly.TemplateRetired), string(mayfly.TemplateDeleted),
	}
}

func templateFilters() []parameter {
	return append([]parameter{{"state", "only those in this state", templateStates()}}, pageParameters(nil)...)
}

func (a *API) listTemplates(c echo.Context) error {
	project, err := a.project(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	page, err := readPage(c, listOfTemplates, nil, func(_, key string) bool { _, err := strconv.ParseInt(key, 10, 32); return err == nil })
	if err != nil {
		return err
	}
	state := c.QueryParam("state")
	if state != "" && !slices.Contains(templateStates(), state) {
		return mayfly.InvalidField("state", "state: %q is none of %s", state, strings.Join(templateStates(), ", "))
	}
	ctx := c.Request().Context()
	all, err := a.Store.TemplatePage(ctx, project, mayfly.TemplateState(state), page)
	if err != nil {
		return err
	}
	standing, err := a.standing(ctx, project)
	if err != nil {
		return err
	}
	list := client.TemplateList{Items: []client.Template{}}
	all, list.Next = pageOf(listOfTemplates, page, all, func(t *mayfly.Template) store.Position {
		return store.Position{Key: strconv.Itoa(t.Version), ID: t.ID}
	})
	for _, t := range all {
		list.Items = append(list.Items, standing.json(t))
	}
	return c.JSON(http.StatusOK, list)
}

// standing is which template of a project is current, and whether that is too old.
type standing struct {
	current string
	tooOld  bool
}

func (a *API) standing(ctx context.Context, project string) (standing, error) {
	current, err := a.Store.LatestTemplate(ctx, project)
	if mayfly.ErrorCode(err) == mayfly.CodeNoTemplate {
		return standing{}, nil
	}
	if err != nil {
		return standing{}, err
	}
	outlook, err := a.Templates.Outlook(ctx, project)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound { // the project was taken out of the configuration
		outlook, err = templates.Outlook{}, nil
	}
	return standing{current: current.ID, tooOld: outlook.TooOld(current, a.Clock())}, err
}

func (s standing) json(t *mayfly.Template) client.Template {
	out := templateJSON(t)
	out.Current = t.ID == s.current
	out.TooOld = out.Current && s.tooOld
	return out
}

func (a *API) buildTemplate(c echo.Context) error {
	project, err := a.project(c, auth.ScopeTemplatesWrite)
	if err != nil {
		return err
	}
	t, err := a.Templates.Request(c.Request().Context(), project, bearer(c).Subject)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/v1/templates/"+t.ID)
	return c.JSON(http.StatusAccepted, templateJSON(t))
}

func (a *API) cancelTemplate(c echo.Context) error {
	t, err := a.template(c, auth.ScopeTemplatesWrite)
	if err != nil {
		return err
	}
	var body client.Reason
	if err := decode(c, &body); err != nil {
		return err
	}
	if err := checkReason(body.Reason); err != nil {
		return err
	}
	if t, err = a.Templates.Cancel(c.Request().Context(), t.ID, bearer(c).Subject, body.Reason); err != nil {
		return err
	}
	return c.JSON(http.StatusAccepted, templateJSON(t))
}

// maxReason bounds, in bytes, what somebody may say about a template.
const maxReason = 500

// checkReason refuses text that the state database cannot hold or a terminal would act upon.
func checkReason(reason string) error {
	if len(reason) > maxReason || !isText(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return mayfly.Errorf(mayfly.CodeInvalid, "reason is one line of at most %d bytes", maxReason)
	}
	return nil
}

func (a *API) removeTemplate(c echo.Context) error {
	t, err := a.template(c, auth.ScopeTemplatesWrite)
	if err != nil {
		return err
	}
	force := c.QueryParam("force")
	if force != "" && force != "true" && force != "false" {
		return mayfly.Errorf(mayfly.CodeInvalid, "force is true or false")
	}
	if t, err = a.Templates.Remove(c.Request().Context(), t.ID, bearer(c).Subject, force == "true"); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, templateJSON(t))
}

func (a *API) rollBackTemplates(c echo.Context) error {
	project, err := a.project(c, auth.ScopeTemplatesWrite)
	if err != nil {
		return err
	}
	var body client.RollBack
	if err := decode(c, &body); err != nil {
		return err
	}
	if err := checkReason(body.Reason); err != nil {
		return err
	}
	if body.ToVersion < 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "to_version is the version of a template; 0 or nothing for the one before")
	}
	current, replaced, err := a.Templates.RollBack(c.Request().Context(), project, body.ToVersion, bearer(c).Subject, body.Reason)
	if err != nil {
		return err
	}
	out := client.RolledBack{Current: templateJSON(current), Replaced: []client.Template{}}
	out.Current.Current = true
	for _, t := range replaced {
		out.Replaced = append(out.Replaced, templateJSON(t))
	}
	return c.JSON(http.StatusOK, out)
}

func (a *API) getTemplate(c echo.Context) error {
	t, err := a.template(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	full, _, err := a.fullTemplate(c.Request().Context(), t.ID)
	if err != nil {
		return err
	}
	return jsonWithETag(c, http.StatusOK, t.ID, full)
}

// template returns the template that the path names, if the bearer may act on its project. One of another project does not exist for it.
func (a *API) template(c echo.Context, scope auth.Scope) (*mayfly.Template, error) {
	id := c.Param("id")
	t, err := a.Store.Template(c.Request().Context(), id)
	if err != nil {
		return nil, err
	}
	if allow(c, scope, t.Project) != nil {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no template %s", id)
	}
	return t, nil
}

func (a *API) templateEvents(c echo.Context) error {
	t, err := a.template(c, auth.ScopePreviewsRead)
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
	standing, err := a.standing(ctx, t.Project)
	if err != nil {
		return nil, false, err
	}
	out := standing.json(t)
	out.Steps = a.stepsJSON(steps)
	out.Report = t.Report
	drift, err := a.Store.TemplateDrift(ctx, id)
	if err != nil {
		return nil, false, err
	}
	if drift != nil {
		out.Drift = &client.Drift{Commit: drift.SHA, NotDeployed: drift.NotDeployed, NotMerged: drift.NotMerged}
	}
	if t.State == mayfly.TemplateBuilding {
		if out.Progress, err = a.Store.TemplateProgress(ctx, id); err != nil {
			return nil, false, err
		}
	}
	return out, t.State != mayfly.TemplateBuilding, nil
}

func templateJSON(t *mayfly.Template) client.Template {
	return client.Template{
		ID: t.ID, Project: t.Project, Version: t.Version, State: string(t.State), Source: t.Source, Major: t.Major, SizeBytes: t.SizeBytes,
		RowCount: t.RowCount, Failure: failureJSON(t.Failure), CreatedAt: t.CreatedAt.UTC(), ReadyAt: utc(t.ReadyAt),
		Cause: string(t.Cause), RequestedBy: t.RequestedBy, Cancelled: markJSON(t.Cancelled), RolledBack: markJSON(t.RolledBack),
	}
}

func markJSON(m *mayfly.Mark) *client.Mark {
	if m == nil {
		return nil
	}
	return &client.Mark{At: m.At.UTC(), By: m.By, Reason: m.Reason}
}
