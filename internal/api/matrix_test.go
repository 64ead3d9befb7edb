package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// attempt is how a route is tried on something of a project.
type attempt struct {
	// prepare returns the path and the body.
	prepare func(b *bed, project string) (path, body string)
	// foreign is the answer to a token of another project: 404 for what has a name of its own, so that names are not given away,
	// 403 for what names the project, 200 for lists, which leave it out, and 0 for what belongs to no project.
	foreign int
}

func attempts() map[string]attempt {
	ofPreview := func(suffix, body string) attempt {
		return attempt{foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			p := b.sandbox(project)
			must(b.t, b.Store.SetMigrated(b.t.Context(), p.ID, []byte(`[]`), []byte(`{"applied":[]}`)))
			return "/previews/" + p.Name + suffix, body
		}}
	}
	ofTemplate := func(suffix string) attempt {
		return attempt{foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			return "/templates/" + b.template(project).ID + suffix, ""
		}}
	}
	ofState := func(state mayfly.PreviewState, suffix, body string) attempt {
		return attempt{foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			return "/previews/" + b.inState(project, state).Name + suffix, body
		}}
	}
	ofSnapshot := func(format string, foreign int) attempt {
		return attempt{foreign: foreign, prepare: func(b *bed, project string) (string, string) {
			p := b.inState(project, mayfly.PreviewReady)
			return fmt.Sprintf(format, p.Name, b.snapshot(p).ID), ""
		}}
	}
	fixed := func(foreign int, path, body string) attempt {
		return attempt{foreign: foreign, prepare: func(b *bed, project string) (string, string) {
			b.sandbox(project) // there is something to be seen
			return strings.ReplaceAll(path, "@", project), strings.ReplaceAll(body, "@", project)
		}}
	}
	return map[string]attempt{
		"listPreviews":      fixed(http.StatusOK, "/previews", ""),
		"createPreview":     fixed(http.StatusForbidden, "/previews", `{"project":"@"}`),
		"getPreview":        ofPreview("", ""),
		"changePreview":     ofPreview("", `{"ttl":"30d"}`),
		"deletePreview":     ofPreview("", ""),
		"resetPreview":      ofPreview("/reset", ""),
		"getCredentials":    ofPreview("/credentials", ""),
		"createCredentials": ofPreview("/credentials", `{"role":"read-only"}`),
		"listLogins":        ofPreview("/logins", ""),
		"revokeLogin": {foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			p := b.sandbox(project)
			login := store.Login{PreviewID: p.ID, Role: "tester_0123abcd", Subject: "tester", Access: store.LoginPersonal, PasswordSealed: []byte("x")}
			must(b.t, b.Store.SetLogin(b.t.Context(), p, login))
			return "/previews/" + p.Name + "/logins/" + login.Role, ""
		}},
		"protectPreview":       ofPreview("/protection", `{"for":"1h"}`),
		"unprotectPreview":     ofPreview("/protection", ""),
		"rotateCredentials":    ofState(mayfly.PreviewSuspended, "/credentials/rotate", ""),
		"getLogs":              ofState(mayfly.PreviewReady, "/logs", ""),
		"createSnapshot":       ofState(mayfly.PreviewReady, "/snapshots", `{}`),
		"listSnapshots":        ofPreview("/snapshots", ""),
		"restoreSnapshot":      ofSnapshot("/previews/%s/snapshots/%s/restore", http.StatusNotFound),
		"deleteSnapshot":       ofSnapshot("/previews/%s/snapshots/%s", http.StatusNotFound),
		"listProjectSnapshots": fixed(http.StatusForbidden, "/projects/@/snapshots", ""),
		"deleteProjectSnapshot": {foreign: http.StatusForbidden, prepare: func(b *bed, project string) (string, string) {
			return "/projects/" + project + "/snapshots/" + b.snapshot(b.inState(project, mayfly.PreviewReady)).ID, ""
		}},
		"getReport":     ofPreview("/report", ""),
		"streamPreview": ofPreview("/events", ""),
		"listProjects":  fixed(http.StatusOK, "/projects", ""),
		"listTemplates": fixed(http.StatusForbidden, "/projects/@/templates", ""),
		"buildTemplate": {foreign: http.StatusForbidden, prepare: func(b *bed, project string) (string, string) {
			b.nothingBuilding()
			return "/projects/" + project + "/templates", ""
		}},
		"rollBackTemplates": {foreign: http.StatusForbidden, prepare: func(b *bed, project string) (string, string) {
			b.template(project)
			b.template(project)
			return "/projects/" + project + "/templates/rollback", ""
		}},
		"cancelTemplate": {foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			b.nothingBuilding()
			building, err := b.Templates.Request(b.t.Context(), project, "tester")
			must(b.t, err)
			return "/templates/" + building.ID + "/cancel", `{"reason":"enough"}`
		}},
		"removeTemplate": {foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			old := b.template(project)
			b.template(project)
			return "/templates/" + old.ID, ""
		}},
		"getTemplate": ofTemplate(""),
		"getAttestation": {foreign: http.StatusNotFound, prepare: func(b *bed, project string) (string, string) {
			t := b.template(project)
			_, err := b.pool.Exec(b.t.Context(), `update template set attestation = '{"payloadType":"a","payload":"","signatures":[]}' where id = $1`, t.ID)
			must(b.t, err)
			return "/templates/" + t.ID + "/attestation", ""
		}},
		"rescanTemplate":    ofTemplate("/rescan"),
		"getAttestationKey": fixed(0, "/attestation-key", ""),
		"getTemplateReport": {foreign: http.StatusForbidden, prepare: func(b *bed, project string) (string, string) {
			return "/projects/" + project + "/templates/" + b.template(project).ID + "/report", ""
		}},
		"streamTemplate":     ofTemplate("/events"),
		"listHookDeliveries": fixed(0, "/hooks/deliveries", ""),
		"redeliverHook": {prepare: func(b *bed, project string) (string, string) {
			id := mayfly.NewID("w")
			_, err := b.pool.Exec(b.t.Context(), `
				with e as (
					insert into outgoing_event (event_id, kind, preview_id, project, fingerprint, payload) values ($1, 'preview.ready', 'p', $2, '', '{}') returning id
				)
				insert into outgoing_delivery (id, event, target, preview_id, state, give_up_at) select $1, id, 'chat', 'p', 'failed', now() from e`, id, project)
			must(b.t, err)
			return "/hooks/deliveries/" + id + "/redeliver", ""
		}},
		"listAudit":   fixed(http.StatusForbidden, "/audit?project=@", ""),
		"getSelf":     fixed(0, "/auth/self", ""),
		"listTokens":  fixed(0, "/tokens", ""),
		"createToken": fixed(0, "/tokens", `{"roles":{"@":"viewer"},"ttl":"1h"}`),
		"revokeToken": fixed(0, "/tokens/0123456789abcdef0123456789abcdef/revoke", ""),
	}
}

// TestAuthorisation tries every route with its scope, on the token's own project and on another one, with all scopes but that, and with
// everything that is not a good token.
func TestAuthorisation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := attempts()
	for _, r := range b.routes() {
		if r.public {
			b.needsNoToken(r)
			continue
		}
		a, ok := all[r.id]
		if !ok {
			t.Errorf("nobody says who may call %s: give it an entry in attempts", r.id)
			continue
		}
		b.authenticates(r, a)
		b.expect(r, a, "shop", b.admin(), "admin", r.status)
		if r.scope != auth.ScopeAdmin { // which is never limited
			b.expect(r, a, "shop", b.token([]auth.Scope{r.scope}), "its scope for all projects", r.status)
			limited := b.token([]auth.Scope{r.scope}, "shop")
			b.expect(r, a, "shop", limited, "its scope for this project", r.status)
			if a.foreign != 0 {
				b.expect(r, a, "till", limited, "its scope for another project", a.foreign)
			}
		}
		everythingElse := []auth.Scope{}
		for _, scope := range auth.Scopes() {
			if scope != r.scope && scope != auth.ScopeAdmin {
				everythingElse = append(everythingElse, scope)
			}
		}
		b.expect(r, a, "shop", b.token(everythingElse), "all scopes but the right ones", http.StatusForbidden)
	}
}

// needsNoToken tries a route that is how one gets a token: it does not ask for one, and nobody gets anything for an empty request.
func (b *bed) needsNoToken(r route) {
	b.t.Helper()
	if r.scope != "" {
		b.t.Errorf("%s needs no token, and has the scope %s", r.id, r.scope)
	}
	response := b.send("", r.method+" /api/v1"+r.path, "{}")
	if text := string(response.body); response.StatusCode == http.StatusUnauthorized && strings.Contains(text, "a token is needed") ||
		strings.Contains(text, `"token":`) {
		b.t.Errorf("%s without a token: %d %s", r.id, response.StatusCode, text)
	}
}

func want(may bool, status int) int {
	if may {
		return status
	}
	return http.StatusForbidden
}

// authenticates tries a route without a good token: 401, whatever exists.
func (b *bed) authenticates(r route, a attempt) {
	b.t.Helper()
	past := auth.NewTokens(b.keys, nil, func() time.Time { return time.Now().Add(-2 * time.Hour) })
	expired, _, err := past.Issue("tester", auth.Scopes(), nil, time.Hour)
	must(b.t, err)
	revoked, token, err := b.issuer.Issue("tester", auth.Scopes(), nil, time.Hour)
	must(b.t, err)
	must(b.t, b.Store.RevokeToken(b.t.Context(), token.ID, token.ExpiresAt))
	for what, header := range map[string]string{
		"no token": "", "garbage": "Bearer x.y.z", "no scheme": b.admin(), "another scheme": "Basic " + b.admin(), "an empty token": "Bearer ",
		"an expired token": "Bearer " + expired, "a revoked token": "Bearer " + revoked,
	} {
		response := b.try(r, a, "shop", header)
		if response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") == "" {
			b.t.Errorf("%s with %s: %d, WWW-Authenticate %q", r.id, what, response.StatusCode, response.Header.Get("WWW-Authenticate"))
		}
	}
}

func (b *bed) expect(r route, a attempt, project, token, what string, status int) {
	b.t.Helper()
	response := b.try(r, a, project, "Bearer "+token)
	if response.StatusCode != status {
		b.t.Errorf("%s on project %s with %s: %d instead of %d: %.300s", r.id, project, what, response.StatusCode, status, response.body)
	}
	if project == "till" && strings.Contains(string(response.body), `"till"`) {
		b.t.Errorf("%s shows the other project to %s: %s", r.id, what, response.body)
	}
	if response.Header.Get("Cache-Control") != "no-store" {
		b.t.Errorf("%s may be cached", r.id)
	}
}

// try calls a route on something of a project. Of a stream it reads the beginning.
func (b *bed) try(r route, a attempt, project, authorization string) reply {
	b.t.Helper()
	path, body := a.prepare(b, project)
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, r.method, b.url+"/api/v1"+path, strings.NewReader(body))
	must(b.t, err)
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := b.http.Do(request)
	must(b.t, err)
	defer func() { _ = response.Body.Close() }()
	if response.Header.Get("Content-Type") == "text/event-stream" {
		return reply{Response: response}
	}
	raw, err := io.ReadAll(response.Body)
	must(b.t, err)
	return reply{Response: response, body: raw}
}

// TestForeignTokensSeeNothing lists with a token of one project while there are previews of two.
func TestForeignTokensSeeNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	own, foreign := b.sandbox("shop"), b.sandbox("till")
	list := b.send(b.token([]auth.Scope{auth.ScopePreviewsRead}, "shop"), "/previews", "")
	if text := string(list.body); !strings.Contains(text, own.Name) || strings.Contains(text, foreign.Name) {
		t.Errorf("a token of shop sees %s", text)
	}
	// A cursor of another project's preview gives nothing away either.
	list = b.send(b.token([]auth.Scope{auth.ScopePreviewsRead}, "shop"), "/previews?after="+foreign.ID, "")
	if strings.Contains(string(list.body), foreign.Name) {
		t.Errorf("a token of shop sees %s", list.body)
	}
	secret := b.send(b.token([]auth.Scope{auth.ScopeCredentialsRead}, "shop"), "/previews/"+foreign.Name+"/credentials", "")
	missing := b.send(b.token([]auth.Scope{auth.ScopeCredentialsRead}, "shop"), "/previews/till-nothing/credentials", "")
	if got, want := strings.ReplaceAll(string(secret.body), foreign.Name, "X"), strings.ReplaceAll(string(missing.body), "till-nothing", "X"); got != want {
		t.Errorf("a foreign preview and a missing one can be told apart:\n%s\n%s", got, want)
	}
}
