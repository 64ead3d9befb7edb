package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// decode reads a JSON body strictly: one value, no unknown fields. An empty body is an empty object.
func decode(c echo.Context, into any) error {
	body, err := io.ReadAll(c.Request().Body)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	err = decoder.Decode(into)
	if err == nil && decoder.More() {
		err = errors.New("more than one JSON value")
	}
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "the body cannot be read: %v", err).WithHint("GET /api/v1/openapi.json describes the fields")
	}
	return nil
}

const (
	defaultPage = 100
	maximalPage = 1000
)

func (a *API) listPreviews(c echo.Context) error {
	limit := defaultPage
	if text := c.QueryParam("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maximalPage {
			return mayfly.Errorf(mayfly.CodeInvalid, "limit: %q is not a number from 1 to %d", text, maximalPage)
		}
		limit = n
	}
	project := c.QueryParam("project")
	if project != "" {
		if err := allow(c, auth.ScopePreviewsRead, project); err != nil {
			return err
		}
	}
	token, _ := c.Get(tokenKey).(*auth.Token)
	previews, err := a.Store.Previews(c.Request().Context(), store.Filter{
		Project: project, Kind: mayfly.Kind(c.QueryParam("kind")), State: mayfly.PreviewState(c.QueryParam("state")),
		Projects: visible(token), After: c.QueryParam("after"), Limit: limit + 1,
	})
	if err != nil {
		return err
	}
	list := client.PreviewList{Items: []client.Preview{}}
	if len(previews) > limit {
		previews = previews[:limit]
		list.Next = previews[limit-1].ID
	}
	for _, p := range previews {
		list.Items = append(list.Items, a.previewJSON(p, nil))
	}
	return c.JSON(http.StatusOK, list)
}

// visible returns the projects that a token is limited to; nil for no limit.
func visible(token *auth.Token) []string {
	if token.Allows(auth.ScopeAdmin, "") {
		return nil
	}
	return token.Projects
}

func (a *API) createPreview(c echo.Context) error {
	var body client.CreatePreview
	if err := decode(c, &body); err != nil {
		return err
	}
	if body.Project == "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "project is missing")
	}
	if err := allow(c, auth.ScopePreviewsWrite, body.Project); err != nil {
		return err
	}
	request := provisioner.SandboxRequest{Project: body.Project, Name: body.Name, Labels: body.Labels}
	if body.TTL != "" {
		ttl, err := mayfly.ParseDuration(body.TTL)
		if err != nil || ttl <= 0 {
			return mayfly.Errorf(mayfly.CodeInvalid, "ttl: %q is not a duration such as 12h or 7d", body.TTL)
		}
		request.TTL = ttl
	}
	if token, ok := c.Get(tokenKey).(*auth.Token); ok {
		request.CreatedBy = token.Subject
	}
	p, err := a.Previews.CreateSandbox(c.Request().Context(), request)
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/v1/previews/"+p.Name)
	return a.answer(c, http.StatusCreated, p)
}

func (a *API) getPreview(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	return a.answer(c, http.StatusOK, p)
}

func (a *API) changePreview(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsWrite)
	if err != nil {
		return err
	}
	var body client.ChangePreview
	if err := decode(c, &body); err != nil {
		return err
	}
	change := provisioner.Change{Suspended: body.Suspended}
	if body.TTL != "" {
		if change.TTL, err = mayfly.ParseDuration(body.TTL); err != nil {
			return mayfly.Errorf(mayfly.CodeInvalid, "ttl: %q is not a duration such as 12h or 7d", body.TTL)
		}
	}
	if p, err = a.Previews.Change(c.Request().Context(), p.Name, change); err != nil {
		return err
	}
	return a.answer(c, http.StatusOK, p)
}

func (a *API) resetPreview(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsWrite)
	if err != nil {
		return err
	}
	if p, err = a.Previews.Reset(c.Request().Context(), p.Name); err != nil {
		return err
	}
	return a.answer(c, http.StatusAccepted, p)
}

func (a *API) deletePreview(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsWrite)
	if err != nil {
		return err
	}
	if p, err = a.Previews.Delete(c.Request().Context(), p.Name); err != nil {
		return err
	}
	return a.answer(c, http.StatusAccepted, p)
}

func (a *API) previewCredentials(c echo.Context) error {
	p, err := a.preview(c, auth.ScopeCredentialsRead)
	if err != nil {
		return err
	}
	credentials, err := a.Previews.Credentials(c.Request().Context(), p.Name)
	if err != nil {
		return err
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(credentials.User, credentials.Password),
		Host: net.JoinHostPort(a.GatewayHost, strconv.Itoa(a.GatewayPort)), Path: "/" + credentials.Database,
		RawQuery: "sslmode=" + url.QueryEscape(a.SSLMode),
	}
	token, _ := c.Get(tokenKey).(*auth.Token)
	a.Logger.InfoContext(c.Request().Context(), "credentials handed out", "preview", p.Name, "subject", token.Subject, "token", token.ID)
	return c.JSON(http.StatusOK, client.Credentials{
		Host: a.GatewayHost, Port: a.GatewayPort, Database: credentials.Database, User: credentials.User,
		Password: credentials.Password, SSLMode: a.SSLMode, URL: u.String(),
	})
}

func (a *API) previewReport(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	report, err := a.Previews.RecordedReport(c.Request().Context(), p.Name)
	if err != nil {
		return err
	}
	return c.JSONBlob(http.StatusOK, report)
}

// answer writes the preview, after waiting if the query asks for it.
func (a *API) answer(c echo.Context, code int, p *mayfly.Preview) error {
	p, err := a.await(c, p)
	if err != nil {
		return err
	}
	steps, err := a.Store.Steps(c.Request().Context(), p.ID)
	if err != nil {
		return err
	}
	return c.JSON(code, a.previewJSON(p, steps))
}

func (a *API) previewJSON(p *mayfly.Preview, steps []mayfly.Step) client.Preview {
	out := client.Preview{
		ID: p.ID, Name: p.Name, Project: p.Project, Kind: string(p.Kind), State: string(p.State), Settled: p.Settled(),
		Failure: failureJSON(p.Failure), Generation: p.Generation, Labels: p.Labels, CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt.UTC(),
		ReadyAt: utc(p.ReadyAt), LastUsedAt: utc(p.LastUsedAt), ExpiresAt: utc(p.ExpiresAt), Steps: a.stepsJSON(steps),
	}
	if p.TemplateID != "" {
		out.Template = &client.TemplateRef{ID: p.TemplateID, Version: p.TemplateVersion}
	}
	if p.PR != nil {
		out.PullRequest = &client.PullRequest{
			RepositoryID: p.PR.RepositoryID, Repository: p.PR.Repository, Number: p.PR.Number, Title: p.PR.Title,
			HeadSHA: p.PR.HeadSHA, AppliedSHA: p.ObservedSHA, BaseRef: p.PR.BaseRef,
		}
	}
	return out
}

func failureJSON(f *mayfly.Failure) *client.Failure {
	if f == nil {
		return nil
	}
	return &client.Failure{Code: string(f.Code), Message: f.Message, Hint: f.Hint}
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

func (a *API) stepsJSON(steps []mayfly.Step) []client.Step {
	var out []client.Step
	for _, s := range steps {
		end := a.Clock()
		if s.FinishedAt != nil {
			end = *s.FinishedAt
		}
		out = append(out, client.Step{
			Name: s.Name, Detail: s.Detail, StartedAt: s.StartedAt.UTC(), FinishedAt: utc(s.FinishedAt), Error: s.Error,
			DurationMS: float64(end.Sub(s.StartedAt).Microseconds()) / 1000,
		})
	}
	return out
}
