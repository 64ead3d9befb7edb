package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
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
	if err := decoder.Decode(into); err != nil {
		bad := badBody(jsonProblem(err))
		if field := fieldOf(err); field != "" {
			bad.Fields = []mayfly.FieldError{{Field: field, Message: jsonProblem(err)}}
		}
		return bad
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return badBody("there is something after the JSON value")
	}
	return nil
}

func badBody(why string) *mayfly.Error {
	return mayfly.Errorf(mayfly.CodeInvalid, "the body cannot be read: %s", why).WithHint("GET /api/v1/openapi.json describes the fields")
}

// fieldOf returns a JSON pointer to the field that decoding failed at, "" if it is none.
func fieldOf(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) && wrongType.Field != "" {
		return pointer(strings.Split(wrongType.Field, ".")...)
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		if name, err := strconv.Unquote(name); err == nil {
			return pointer(name)
		}
	}
	return ""
}

// jsonProblem says what is wrong with a body in terms of JSON rather than of Go.
func jsonProblem(err error) string {
	var wrongType *json.UnmarshalTypeError
	if errors.As(err, &wrongType) {
		if wrongType.Field == "" {
			return "it is not a JSON object"
		}
		return fmt.Sprintf("%s cannot be a JSON %s", wrongType.Field, wrongType.Value)
	}
	return strings.TrimPrefix(err.Error(), "json: ")
}

func (a *API) createPreview(c echo.Context) error {
	w, err := readWish(c)
	if err != nil {
		return err
	}
	once, done, err := a.readOnce(c)
	if err != nil {
		return err
	}
	p, err := a.create(c, w, once)
	done()
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/v1/previews/"+p.Name)
	return a.answer(c, http.StatusCreated, p, w)
}

func (a *API) create(c echo.Context, w wish, once *store.Once) (*mayfly.Preview, error) {
	request, err := readCreate(c)
	if err != nil {
		return nil, err
	}
	if err := w.fits(&mayfly.Preview{Name: request.Name}); err != nil {
		return nil, err
	}
	request.Once = once
	return a.Previews.CreateSandbox(c.Request().Context(), request)
}

func readCreate(c echo.Context) (provisioner.SandboxRequest, error) {
	var body client.CreatePreview
	var r provisioner.SandboxRequest
	if err := decode(c, &body); err != nil {
		return r, err
	}
	if body.Project == "" {
		return r, mayfly.InvalidField("/project", "project is missing").WithHint("GET /api/v1/projects lists the projects")
	}
	if err := allow(c, auth.ScopePreviewsWrite, body.Project); err != nil {
		return r, err
	}
	if err := checkLabels(body.Labels); err != nil {
		return r, err
	}
	if err := checkOrigin(body); err != nil {
		return r, err
	}
	ttl, err := readTTL(body.TTL)
	r = provisioner.SandboxRequest{
		Project: body.Project, Name: body.Name, TTL: ttl, Labels: body.Labels, CreatedBy: bearer(c).Subject, Queue: body.Queue == nil || *body.Queue,
		TemplateVersion: body.TemplateVersion, From: body.From, SnapshotID: body.Snapshot, SizeClass: body.Size,
	}
	return r, err
}

// maximalVersion is the largest version that the state database can hold.
const maximalVersion = 1<<31 - 1

// checkOrigin refuses text that cannot be looked up, and a preview that would be made from several things.
func checkOrigin(body client.CreatePreview) error {
	for field, text := range map[string]string{"from": body.From, "snapshot": body.Snapshot, "size": body.Size, "name": body.Name, "project": body.Project} {
		if !isText(text) {
			return mayfly.InvalidField(pointer(field), "%s is not text: it has a NUL in it", field)
		}
	}
	if body.TemplateVersion < 0 || body.TemplateVersion > maximalVersion {
		return mayfly.InvalidField("/template_version", "template_version: %d is not the version of a template", body.TemplateVersion)
	}
	e := mayfly.Errorf(mayfly.CodeInvalid, "a preview is made from one thing: a template, a preview or a snapshot").WithHint("give one of template_version, from and snapshot")
	for _, origin := range []struct {
		field string
		given bool
	}{{"/from", body.From != ""}, {"/snapshot", body.Snapshot != ""}, {"/template_version", body.TemplateVersion != 0}} {
		if origin.given {
			e.Fields = append(e.Fields, mayfly.FieldError{Field: origin.field, Message: "not together with the others"})
		}
	}
	if len(e.Fields) > 1 {
		return e
	}
	return nil
}

// maximalTTL is the longest time from now that a preview may be given.
const maximalTTL = 90 * 24 * time.Hour

// readTTL reads a "ttl"; 0 for one that is left out.
func readTTL(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	ttl, err := mayfly.ParseDuration(text)
	if err != nil || ttl <= 0 {
		return 0, mayfly.InvalidField("/ttl", "ttl: %q is not a duration such as 12h or 7d", text)
	}
	if ttl > maximalTTL {
		return 0, mayfly.InvalidField("/ttl", "ttl: %s is longer than 90d", text).WithHint("extend it again when that is over")
	}
	return ttl, nil
}

func (a *API) getPreview(c echo.Context) error {
	w, err := readWish(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), w.timeout)
	defer cancel()
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound && w.sha != "" {
		p, err = a.appear(ctx, c, err)
	}
	if err == nil {
		err = w.fits(p)
	}
	if err != nil {
		return err
	}
	return a.answerBefore(ctx, c, http.StatusOK, p, w)
}

// target returns the preview that a change is about, and what the query asks to wait for afterwards.
func (a *API) target(c echo.Context) (*mayfly.Preview, wish, error) {
	w, err := readWish(c)
	if err != nil {
		return nil, w, err
	}
	p, err := a.preview(c, auth.ScopePreviewsWrite)
	if err != nil {
		return nil, w, err
	}
	return p, w, w.fits(p)
}

func (a *API) changePreview(c echo.Context) error {
	p, w, err := a.target(c)
	if err != nil {
		return err
	}
	var body client.ChangePreview
	if err := decode(c, &body); err != nil {
		return err
	}
	ttl, err := readTTL(body.TTL)
	if err != nil {
		return err
	}
	given := map[string]string{}
	for key, value := range body.Labels {
		if given[key] = ""; value != nil {
			given[key] = *value
		}
	}
	if err := checkLabels(given); err != nil {
		return err
	}
	change := provisioner.Change{TTL: ttl, Suspended: body.Suspended, Labels: body.Labels, ChangeOptions: provisioner.ChangeOptions{If: condition(c)}}
	if p, err = a.Previews.Change(c.Request().Context(), p.Name, change); err != nil {
		return err
	}
	return a.answer(c, http.StatusOK, p, w)
}

func (a *API) resetPreview(c echo.Context) error {
	p, w, err := a.target(c)
	if err != nil {
		return err
	}
	once, done, err := a.readOnce(c)
	if err != nil {
		return err
	}
	p, err = a.reset(c, p, once)
	done()
	if err != nil {
		return err
	}
	return a.answer(c, http.StatusAccepted, p, w)
}

func (a *API) reset(c echo.Context, p *mayfly.Preview, once *store.Once) (*mayfly.Preview, error) {
	var body client.Reset
	if err := decode(c, &body); err != nil {
		return nil, err
	}
	if body.Template != "" && body.Template != "newest" && body.Template != "same" {
		return nil, mayfly.InvalidField("/template", "template: %q is neither newest nor same", body.Template)
	}
	if body.TemplateVersion < 0 || body.TemplateVersion > maximalVersion || (body.TemplateVersion != 0 && body.Template != "") {
		return nil, mayfly.InvalidField("/template_version", "template_version is the version of a template, in the place of template")
	}
	return a.Previews.ResetTo(c.Request().Context(), p.Name, provisioner.ResetRequest{
		Newest: body.Template == "newest", Same: body.Template == "same", Version: body.TemplateVersion,
		ChangeOptions: provisioner.ChangeOptions{If: condition(c), Once: once},
	})
}

func (a *API) deletePreview(c echo.Context) error {
	p, w, err := a.target(c)
	if err != nil {
		return err
	}
	if p, err = a.Previews.DeleteIf(c.Request().Context(), p.Name, provisioner.ChangeOptions{If: condition(c)}); err != nil {
		return err
	}
	return a.answer(c, http.StatusAccepted, p, w)
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
	c.Response().Header().Set(echo.HeaderVary, echo.HeaderAccept)
	if prefersHTML(c.Request().Header.Get(echo.HeaderAccept)) {
		return previewPage(c, p, report)
	}
	return c.JSONBlob(http.StatusOK, report)
}

// answer writes the preview, after waiting if the query asks for it.
func (a *API) answer(c echo.Context, code int, p *mayfly.Preview, w wish) error {
	ctx, cancel := context.WithTimeout(c.Request().Context(), w.timeout)
	defer cancel()
	return a.answerBefore(ctx, c, code, p, w)
}

// answerBefore is answer with the end of the waiting in ctx.
func (a *API) answerBefore(ctx context.Context, c echo.Context, code int, p *mayfly.Preview, w wish) error {
	if w.until != nil {
		var err error
		if p, err = a.await(ctx, c, p.ID, w); err != nil {
			return err
		}
	}
	steps, err := a.Store.Steps(context.WithoutCancel(ctx), p.ID) // what came true in time is answered, if late
	if err != nil {
		return err
	}
	out := a.previewJSON(p, steps)
	if err := a.addQueue(context.WithoutCancel(ctx), &out); err != nil {
		return err
	}
	return jsonWithETag(c, code, versionOf(p), out)
}

func (a *API) previewJSON(p *mayfly.Preview, steps []mayfly.Step) client.Preview {
	out := client.Preview{
		ID: p.ID, Name: p.Name, Project: p.Project, Kind: string(p.Kind), State: string(p.State), Settled: p.Settled(),
		Failure: failureJSON(p.Failure), Generation: p.Generation, Labels: p.Labels, CreatedBy: p.CreatedBy, CreatedAt: p.CreatedAt.UTC(),
		ReadyAt: utc(p.ReadyAt), LastUsedAt: utc(p.LastUsedAt), ExpiresAt: utc(p.ExpiresAt), Steps: a.stepsJSON(steps),
		Size: p.SizeClass,
	}
	if p.Protected(a.Clock()) {
		out.ProtectedUntil = utc(p.ProtectedUntil)
	}
	if p.SnapshotID != "" {
		out.Origin = &client.Origin{PreviewID: p.ParentID, Preview: p.ParentName, SnapshotID: p.SnapshotID}
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
