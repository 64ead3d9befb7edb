package api

import (
	"context"
	"net/http"
	"strings"
	"time"
	"unicode"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// Snapshots is what the API asks of the provisioner about kept states.
type Snapshots interface {
	Snapshot(ctx context.Context, name string, r provisioner.SnapshotRequest) (*mayfly.Snapshot, error)
	Restore(ctx context.Context, name, snapshot string, c provisioner.ChangeOptions) (*mayfly.Preview, error)
	DeleteSnapshot(ctx context.Context, n *mayfly.Snapshot) error
}

const listOfSnapshots = "snapshots"

// stateRoutes are about kept states of previews, and about what may not become of a preview.
func (a *API) stateRoutes() []route {
	return []route{
		{
			method: http.MethodPut, path: "/previews/:name/protection", id: "protectPreview",
			summary: "Keep everybody and everything from removing a preview or its data for a while",
			scope:   auth.ScopePreviewsManage, takes: &client.Protect{}, gives: &client.Preview{}, status: http.StatusOK, conditional: true, handle: a.protectPreview,
		},
		{
			method: http.MethodDelete, path: "/previews/:name/protection", id: "unprotectPreview", summary: "End the protection of a preview",
			scope: auth.ScopePreviewsManage, gives: &client.Preview{}, status: http.StatusOK, conditional: true, handle: a.unprotectPreview,
		},
		{
			method: http.MethodPost, path: "/previews/:name/credentials/rotate", id: "rotateCredentials",
			summary: "Give a preview a new password, and end the connections that were made with the old one",
			scope:   auth.ScopeCredentialsRead, gives: &client.Credentials{}, status: http.StatusOK, conditional: true, handle: a.rotateCredentials,
		},
		{
			method: http.MethodGet, path: "/previews/:name/logs", id: "getLogs",
			summary: "What a preview's Postgres wrote; statements that failed are in it, with their values",
			scope:   auth.ScopeCredentialsRead, status: http.StatusOK, text: true, handle: a.previewLogs,
			query: []parameter{
				{"lines", "how many of the last lines, up to 5000; 200 if left out", nil},
				{"follow", "go on with what is written, for up to an hour", []string{"true", "false"}},
			},
		},
		{
			method: http.MethodPost, path: "/previews/:name/snapshots", id: "createSnapshot",
			summary: "Keep the data of a preview as it is now; its clients notice a short pause",
			scope:   auth.ScopePreviewsWrite, takes: &client.CreateSnapshot{}, gives: &client.Snapshot{}, status: http.StatusCreated, once: true,
			handle: a.createSnapshot,
		},
		{
			method: http.MethodGet, path: "/previews/:name/snapshots", id: "listSnapshots", summary: "List the snapshots of a preview",
			scope: auth.ScopePreviewsRead, query: pageParameters(nil), gives: &client.SnapshotList{}, status: http.StatusOK, handle: a.listSnapshots,
		},
		{
			method: http.MethodPost, path: "/previews/:name/snapshots/:snapshot/restore", id: "restoreSnapshot",
			summary: "Bring a preview back to one of its snapshots, by id or name; what was written since is lost, the password stays",
			scope:   auth.ScopePreviewsWrite, query: waitParameters(), gives: &client.Preview{}, status: http.StatusAccepted, once: true, conditional: true,
			handle: a.restoreSnapshot,
		},
		{
			method: http.MethodDelete, path: "/previews/:name/snapshots/:snapshot", id: "deleteSnapshot",
			summary: "Delete a snapshot of a preview, by id or name; what was made from it keeps its data",
			scope:   auth.ScopePreviewsWrite, gives: &client.DeletedSnapshot{}, status: http.StatusOK, handle: a.deleteSnapshot,
		},
		{
			method: http.MethodGet, path: "/projects/:project/snapshots", id: "listProjectSnapshots",
			summary: "List the snapshots of all previews of a project, also of those that are gone",
			scope:   auth.ScopePreviewsRead, query: pageParameters(nil), gives: &client.SnapshotList{}, status: http.StatusOK, handle: a.listProjectSnapshots,
		},
		{
			method: http.MethodDelete, path: "/projects/:project/snapshots/:snapshot", id: "deleteProjectSnapshot",
			summary: "Delete a snapshot by its id, also one whose preview is gone",
			scope:   auth.ScopePreviewsWrite, gives: &client.DeletedSnapshot{}, status: http.StatusOK, handle: a.deleteProjectSnapshot,
		},
	}
}

func (a *API) createSnapshot(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsWrite)
	if err != nil {
		return err
	}
	once, done, err := a.readOnce(c)
	if err != nil {
		return err
	}
	defer done()
	var body client.CreateSnapshot
	if err := decode(c, &body); err != nil {
		return err
	}
	ttl, err := readTTL(body.TTL)
	if err != nil {
		return err
	}
	if ttl != 0 && !body.Keep {
		return mayfly.InvalidField("/ttl", "ttl is for a snapshot that is kept").WithHint(`add "keep": true, or leave ttl out: the snapshot goes with its preview`)
	}
	n, err := a.Previews.Snapshot(c.Request().Context(), p.Name, provisioner.SnapshotRequest{
		Name: body.Name, Keep: body.Keep, KeepFor: ttl, CreatedBy: bearer(c).Subject, Once: once,
	})
	if err != nil {
		return err
	}
	c.Response().Header().Set(echo.HeaderLocation, "/api/v1/previews/"+p.Name+"/snapshots/"+n.ID)
	return c.JSON(http.StatusCreated, snapshotJSON(n))
}

func (a *API) listSnapshots(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	return a.snapshotPage(c, p.Project, p.ID)
}

func (a *API) listProjectSnapshots(c echo.Context) error {
	project, err := a.project(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	return a.snapshotPage(c, project, "")
}

func (a *API) snapshotPage(c echo.Context, project, previewID string) error {
	page, err := readPage(c, listOfSnapshots, nil, timeKey)
	if err != nil {
		return err
	}
	all, err := a.Store.Snapshots(c.Request().Context(), project, previewID, page)
	if err != nil {
		return err
	}
	list := client.SnapshotList{Items: []client.Snapshot{}}
	all, list.Next = pageOf(listOfSnapshots, page, all, store.SnapshotPosition)
	for _, n := range all {
		list.Items = append(list.Items, snapshotJSON(n))
	}
	return c.JSON(http.StatusOK, list)
}

func (a *API) restoreSnapshot(c echo.Context) error {
	p, w, err := a.target(c)
	if err != nil {
		return err
	}
	once, done, err := a.readOnce(c)
	if err != nil {
		return err
	}
	p, err = a.Previews.Restore(c.Request().Context(), p.Name, c.Param("snapshot"), provisioner.ChangeOptions{If: condition(c), Once: once})
	done()
	if err != nil {
		return err
	}
	return a.answer(c, http.StatusAccepted, p, w)
}

func (a *API) deleteSnapshot(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsWrite)
	if err != nil {
		return err
	}
	n, err := a.Store.SnapshotOf(c.Request().Context(), p.ID, c.Param("snapshot"))
	if err != nil {
		return err
	}
	return a.dropSnapshot(c, n)
}

func (a *API) deleteProjectSnapshot(c echo.Context) error {
	project, err := a.project(c, auth.ScopePreviewsWrite)
	if err != nil {
		return err
	}
	n, err := a.Store.Snapshot(c.Request().Context(), c.Param("snapshot"))
	if err != nil {
		return err
	}
	if n.Project != project || n.Branch || n.State != mayfly.SnapshotReady {
		return mayfly.Errorf(mayfly.CodeNotFound, "there is no snapshot %s", c.Param("snapshot"))
	}
	if err := a.mayDrop(c, n); err != nil {
		return err
	}
	return a.dropSnapshot(c, n)
}

// mayDrop returns an error with CodeForbidden for a snapshot that somebody else has made of a preview that the bearer may not change.
func (a *API) mayDrop(c echo.Context, n *mayfly.Snapshot) error {
	if n.CreatedBy != "" && n.CreatedBy == bearer(c).Subject {
		return nil
	}
	of, err := a.Store.Preview(c.Request().Context(), n.PreviewID)
	if err != nil {
		return err
	}
	return a.mayChange(c, of)
}

func (a *API) dropSnapshot(c echo.Context, n *mayfly.Snapshot) error {
	if err := a.Previews.DeleteSnapshot(c.Request().Context(), n); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, client.DeletedSnapshot{ID: n.ID, Deleted: true})
}

func snapshotJSON(n *mayfly.Snapshot) client.Snapshot {
	return client.Snapshot{
		ID: n.ID, Name: n.Name, Project: n.Project, PreviewID: n.PreviewID, Preview: n.PreviewName, SHA: n.ObservedSHA, SizeBytes: n.SizeBytes,
		Template: &client.TemplateRef{ID: n.TemplateID, Version: n.TemplateVersion}, CreatedBy: n.CreatedBy, CreatedAt: n.CreatedAt.UTC(),
		Keep: n.Keep, ExpiresAt: utc(n.ExpiresAt),
	}
}

// maximalReason bounds what somebody may say, in bytes.
const maximalReason = maxReason

func (a *API) protectPreview(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsManage)
	if err != nil {
		return err
	}
	var body client.Protect
	if err := decode(c, &body); err != nil {
		return err
	}
	how, err := mayfly.ParseDuration(body.For)
	if err != nil || how <= 0 || how > maximalTTL {
		return mayfly.InvalidField("/for", "for: %q is not a duration up to 90d", body.For)
	}
	if len(body.Reason) > maximalReason || !isText(body.Reason) || strings.ContainsFunc(body.Reason, unicode.IsControl) {
		return mayfly.InvalidField("/reason", "reason is one line of at most %d bytes", maximalReason)
	}
	return a.protect(c, p, how, body.Reason)
}

func (a *API) unprotectPreview(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsManage)
	if err != nil {
		return err
	}
	return a.protect(c, p, 0, "")
}

func (a *API) protect(c echo.Context, p *mayfly.Preview, how time.Duration, reason string) error {
	p, err := a.Previews.Protect(c.Request().Context(), p.Name, how, bearer(c).Subject, reason, provisioner.ChangeOptions{If: condition(c)})
	if err != nil {
		return err
	}
	return a.answer(c, http.StatusOK, p, wish{timeout: defaultWait})
}

// rotateTimeout bounds the wait for a preview's Postgres to have the new password.
const rotateTimeout = 30 * time.Second

func (a *API) rotateCredentials(c echo.Context) error {
	p, err := a.preview(c, auth.ScopeCredentialsRead)
	if err != nil {
		return err
	}
	if err := a.mayChange(c, p); err != nil { // everybody else's connections end
		return err
	}
	p, err = a.Previews.RotatePassword(c.Request().Context(), p.Name, provisioner.ChangeOptions{If: condition(c)})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), rotateTimeout)
	defer cancel()
	if _, err := a.await(ctx, c, p.ID, wish{until: (*mayfly.Preview).Settled}); err != nil {
		return err
	}
	credentials, err := a.Previews.Credentials(c.Request().Context(), p.Name)
	if err != nil {
		return err
	}
	return a.showCredentials(c, http.StatusOK, p, credentials)
}
