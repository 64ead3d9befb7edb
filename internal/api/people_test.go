package api

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// roleToken returns a token of somebody with roles.
func (b *bed) roleToken(subject string, grants auth.Grants) string {
	b.t.Helper()
	signed, _, err := b.issuer.Sign(auth.Token{Subject: subject, Grants: grants}, time.Hour)
	must(b.t, err)
	return signed
}

// TestRolesMatrix tries every route with every role, in its own project and in another one, where somebody may have another role. It follows
// the table of routes: a new one is tried without anybody thinking of it, and one without an entry in attempts fails TestAuthorisation.
func TestRolesMatrix(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := attempts()
	for _, r := range b.routes() {
		a, ok := all[r.id]
		if r.public || !ok {
			continue
		}
		for _, role := range auth.Roles() {
			may := slices.Contains(role.Scopes(), r.scope)
			b.expect(r, a, "shop", b.roleToken("tester", auth.Grants{"shop": role}), string(role)+" of this project", want(may, r.status))
			if role == auth.RoleAdmin {
				b.expect(r, a, "shop", b.roleToken("tester", auth.Grants{auth.AllProjects: role}), "admin of all projects", r.status)
			}
			if a.foreign == 0 {
				continue
			}
			b.expect(r, a, "till", b.roleToken("tester", auth.Grants{"shop": role}), string(role)+" of another project", want(may, a.foreign))
			if r.scope != auth.ScopePreviewsRead && may && a.foreign != http.StatusOK {
				// A role in one project is none in the other, also where somebody has a lesser one there.
				status := a.foreign
				b.expectQuietly(r, a, "till", b.roleToken("tester", auth.Grants{"shop": role, "till": auth.RoleViewer}), status)
			}
		}
	}
}

// expectQuietly is expect for somebody who may see the other project.
func (b *bed) expectQuietly(r route, a attempt, project, token string, status int) {
	b.t.Helper()
	if response := b.try(r, a, project, "Bearer "+token); response.StatusCode != status {
		b.t.Errorf("%s by a viewer of %s: %d instead of %d: %.300s", r.id, project, response.StatusCode, status, response.body)
	}
}

// TestOthersPreviews says who may change whose.
func TestOthersPreviews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	strict := setup(t, func(o *Options) { o.PullRequestsNeedMaintainer = true })
	developer, maintainer := auth.Grants{"shop": auth.RoleDeveloper}, auth.Grants{"shop": auth.RoleMaintainer}
	change := func(b *bed, p *mayfly.Preview, token string) int {
		return b.send(token, "PATCH /api/v1/previews/"+p.Name, `{"suspended":true}`).StatusCode
	}
	sandbox, pr := b.sandbox("shop"), b.pullRequest(7, strings.Repeat("a", 40))
	for what, c := range map[string]struct {
		token string
		p     *mayfly.Preview
		want  int
	}{
		"a developer's own":         {b.roleToken("tester", developer), sandbox, http.StatusOK},
		"somebody else's":           {b.roleToken("mallory", developer), sandbox, http.StatusForbidden},
		"by a maintainer":           {b.roleToken("carol", maintainer), sandbox, http.StatusOK},
		"a pull request's":          {b.roleToken("mallory", developer), pr, http.StatusOK},
		"by a scope, one's own":     {b.token([]auth.Scope{auth.ScopePreviewsWrite}, "shop"), sandbox, http.StatusOK},
		"by a viewer":               {b.roleToken("tester", auth.Grants{"shop": auth.RoleViewer}), sandbox, http.StatusForbidden},
		"by an admin of a project":  {b.roleToken("x", auth.Grants{"shop": auth.RoleAdmin}), sandbox, http.StatusOK},
		"by the admin of the other": {b.roleToken("x", auth.Grants{"till": auth.RoleAdmin}), sandbox, http.StatusNotFound},
	} {
		if got := change(b, c.p, c.token); got != c.want {
			t.Errorf("%s: %d instead of %d", what, got, c.want)
		}
	}
	if got := b.send(b.roleToken("mallory", developer), "DELETE /api/v1/previews/"+sandbox.Name, "").StatusCode; got != http.StatusForbidden {
		t.Errorf("a developer removes somebody else's: %d", got)
	}
	pr = strict.pullRequest(7, strings.Repeat("a", 40))
	if got := change(strict, pr, strict.roleToken("mallory", developer)); got != http.StatusForbidden {
		t.Errorf("a developer changes a pull request's where the configuration says no: %d", got)
	}
	if got := change(strict, pr, strict.roleToken("carol", maintainer)); got != http.StatusOK {
		t.Errorf("a maintainer: %d", got)
	}
}

// TestOthersThings tries what is less plainly a change of somebody else's preview.
func TestOthersThings(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.inState("shop", mayfly.PreviewReady)
	n := b.snapshot(p)
	developer, templates := b.roleToken("mallory", auth.Grants{"shop": auth.RoleDeveloper}), b.token([]auth.Scope{auth.ScopeTemplatesWrite}, "shop")
	for what, request := range map[string][2]string{
		"ends everybody's connections":        {developer, "POST /api/v1/previews/" + p.Name + "/credentials/rotate"},
		"removes a snapshot of the preview":   {developer, "DELETE /api/v1/previews/" + p.Name + "/snapshots/" + n.ID},
		"removes a snapshot of the project":   {developer, "DELETE /api/v1/projects/shop/snapshots/" + n.ID},
		"protects with a scope for templates": {templates, "DELETE /api/v1/previews/" + p.Name + "/protection"},
	} {
		if got := b.send(request[0], request[1], "").StatusCode; got != http.StatusForbidden {
			t.Errorf("somebody %s: %d", what, got)
		}
	}
	if got := b.send(b.roleToken("tester", auth.Grants{"shop": auth.RoleDeveloper}), "DELETE /api/v1/projects/shop/snapshots/"+n.ID, "").StatusCode; got != http.StatusOK {
		t.Errorf("one's own snapshot: %d", got)
	}
}

// TestAuditThroughTheAPI reads the log as a page, as lines and as a table, and as somebody who may see a part of it.
func TestAuditThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop, till := b.sandbox("shop"), b.sandbox("till")
	writer := b.roleToken("=cmd|' /C calc'!A0", auth.Grants{"*": auth.RoleDeveloper})
	for _, p := range []*mayfly.Preview{shop, till} {
		if got := b.send(writer, "/previews/"+p.Name+"/credentials", ""); got.StatusCode != http.StatusOK {
			t.Fatalf("%d %s", got.StatusCode, got.body)
		}
		b.send(writer, "DELETE /api/v1/previews/"+p.Name, "") // somebody else's: denied
	}
	all := get[client.AuditList](b, "/audit?limit=1000", "", http.StatusOK)
	var actions []string
	for _, e := range all.Items {
		actions = append(actions, e.Action+" "+e.Outcome)
		if e.Address == "" && !strings.HasPrefix(e.Actor, "system") {
			t.Errorf("from where is not said: %+v", e)
		}
	}
	for _, wanted := range []string{"preview.create done", "credentials.read done", "request.denied denied", "token.first_use done", "template.build done"} {
		if !slices.Contains(actions, wanted) {
			t.Errorf("%s is not in the log: %v", wanted, actions)
		}
	}
	page := get[client.AuditList](b, "/audit?action=credentials&limit=1", "", http.StatusOK)
	next := get[client.AuditList](b, "/audit?action=credentials&limit=1&before="+page.Next, "", http.StatusOK)
	if len(page.Items) != 1 || len(next.Items) != 1 || page.Items[0].Name != till.Name || next.Items[0].Name != shop.Name || next.Next != "" {
		t.Errorf("pages: %+v, %+v", page, next)
	}
	own := b.send(b.roleToken("carol", auth.Grants{"shop": auth.RoleMaintainer}), "/audit?limit=1000", "")
	if own.StatusCode != http.StatusOK || strings.Contains(string(own.body), till.Name) || !strings.Contains(string(own.body), shop.Name) {
		t.Errorf("a maintainer of shop sees %s", own.body)
	}
	lines := b.send(b.admin(), "/audit?format=jsonl", "")
	count := 0
	for line := range strings.Lines(string(lines.body)) {
		var e client.AuditEntry
		if err := json.Unmarshal([]byte(line), &e); err != nil || e.Action == "" {
			t.Errorf("line %q: %v", line, err)
		}
		count++
	}
	table, err := csv.NewReader(strings.NewReader(string(b.send(b.admin(), "/audit?format=csv", "").body))).ReadAll()
	if err != nil || count < len(all.Items) || len(table) < count+1 {
		t.Errorf("%d lines, %d rows, %v", count, len(table), err)
	}
	for _, row := range table {
		for _, cell := range row {
			if strings.HasPrefix(cell, "=") {
				t.Errorf("a cell that is a formula: %s", cell)
			}
		}
	}
	for _, bad := range []string{"limit=0", "limit=x", "before=x", "since=yesterday", "outcome=good", "format=xml", "action=%25"} {
		b.refused(b.admin(), "/audit?"+bad, "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	}
}

// TestNothingShownWithoutARecord breaks the audit log.
func TestNothingShownWithoutARecord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	password, err := b.Previews.Credentials(t.Context(), p.Name)
	must(t, err)
	token := b.admin()
	b.send(token, "/previews/"+p.Name, "") // the token is known from here on
	_, err = b.pool.Exec(t.Context(), `alter table audit rename to gone`)
	must(t, err)
	got := b.send(token, "/previews/"+p.Name+"/credentials", "")
	if got.StatusCode != http.StatusInternalServerError || strings.Contains(string(got.body), password.Password) {
		t.Errorf("credentials without a record: %d %s", got.StatusCode, got.body)
	}
}

// TestRateLimits asks until it is too much.
func TestRateLimits(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) {
		o.RateLimits = RateLimits{TokenPerMinute: 40, AddressPerMinute: 8}
		o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	token, other := b.admin(), b.admin()
	for i := range 10 {
		got := b.send(token, "/projects", "")
		if got.StatusCode != http.StatusOK || got.Header.Get("RateLimit-Policy") != `"token";q=10;w=15` ||
			!strings.HasPrefix(got.Header.Get("RateLimit"), fmt.Sprintf(`"token";r=%d;t=`, 9-i)) {
			t.Fatalf("request %d: %d, %v", i, got.StatusCode, got.Header)
		}
	}
	b.refused(token, "/projects", "", http.StatusTooManyRequests, mayfly.CodeRateLimited)
	limited := b.send(token, "/projects", "")
	if after, err := strconv.Atoi(limited.Header.Get("Retry-After")); err != nil || after < 1 || after > 2 {
		t.Errorf("Retry-After %q", limited.Header.Get("Retry-After"))
	}
	if got := b.send(other, "/projects", ""); got.StatusCode != http.StatusOK {
		t.Errorf("another token is limited, too: %d", got.StatusCode)
	}
	for range 4 {
		b.refused("bad", "/projects", "", http.StatusUnauthorized, mayfly.CodeUnauthenticated)
	}
	b.refused("bad", "/projects", "", http.StatusTooManyRequests, mayfly.CodeRateLimited)
	b.refused("", "/projects", "", http.StatusTooManyRequests, mayfly.CodeRateLimited)
	if got := b.send(other, "/projects", ""); got.StatusCode != http.StatusOK {
		t.Errorf("guesses from an address keep good tokens out: %d", got.StatusCode)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "::ffff:192.0.2.1": "192.0.2.1", "2001:db8::1": "2001:db8::/64", "2001:db8::ffff:1": "2001:db8::/64",
		"fe80::1%eth0": "fe80::/64", "": "unknown", "x": "unknown",
	} {
		if got := addressKey(address); got != want {
			t.Errorf("%s is counted as %s", address, got)
		}
	}
}

// TestLimiterIsBounded gives it more keys than it remembers.
func TestLimiterIsBounded(t *testing.T) {
	t.Parallel()
	l := newLimiter("x", 60, 1, time.Now)
	for i := range maxLimited + 100 {
		l.allow(strconv.Itoa(i))
	}
	if len(l.byKey) != maxLimited || l.recent.Len() != maxLimited {
		t.Errorf("%d keys are remembered", len(l.byKey))
	}
	if !l.allow("0") || l.allow(strconv.Itoa(maxLimited)) {
		t.Error("it is not the oldest that is forgotten")
	}
}

// TestTokensThroughTheAPI makes one, uses it, and revokes it.
func TestTokensThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	made := get[client.CreatedToken](b, "POST /tokens", `{"subject":"ci","roles":{"shop":"developer"},"ttl":"2h"}`, http.StatusCreated)
	self := b.send(made.Token, "/auth/self", "")
	var who client.Self
	must(t, json.Unmarshal(self.body, &who))
	if who.Subject != "ci" || who.TokenID != made.ID || who.Roles["shop"] != "developer" {
		t.Errorf("it is %s", self.body)
	}
	b.refused(made.Token, "POST /tokens", `{"roles":{"shop":"admin"},"ttl":"1h"}`, http.StatusForbidden, mayfly.CodeForbidden)
	for _, bad := range []string{
		`{"ttl":"1h"}`, `{"roles":{"shop":"owner"},"ttl":"1h"}`, `{"roles":{"none":"viewer"},"ttl":"1h"}`, `{"scopes":["all"],"ttl":"1h"}`,
		`{"scopes":["admin"],"projects":["shop"],"ttl":"1h"}`, `{"scopes":["admin"]}`, `{"scopes":["admin"],"ttl":"9999d"}`,
		`{"subject":"a\nb","scopes":["admin"],"ttl":"1h"}`,
	} {
		b.refused(b.admin(), "POST /tokens", bad, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	}
	list := get[client.TokenList](b, "/tokens", "", http.StatusOK)
	if !slices.ContainsFunc(list.Items, func(i client.TokenInfo) bool {
		return i.ID == made.ID && i.CreatedBy == "tester" && i.LastUsedAt != nil
	}) {
		t.Errorf("the list has %+v", list)
	}
	get[client.RevokedToken](b, "POST /tokens/"+made.ID+"/revoke", "", http.StatusOK)
	b.refused(made.Token, "/auth/self", "", http.StatusUnauthorized, mayfly.CodeUnauthenticated)
	if strings.Contains(b.log.String(), made.Token) {
		t.Error("the log has the token in it")
	}
}

// TestQueueThroughTheAPI fills the pool: what is asked for waits, unless it is asked not to.
func TestQueueThroughTheAPI(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.template("shop")
	b.space.mu.Lock()
	b.space.free = 0
	b.space.mu.Unlock()
	b.refused(b.admin(), "POST /previews", `{"project":"shop","name":"now","queue":false}`, http.StatusInsufficientStorage, mayfly.CodePoolFull)
	first := get[client.Preview](b, "POST /previews", `{"project":"shop","name":"first"}`, http.StatusCreated)
	second := get[client.Preview](b, "POST /previews", `{"project":"shop","name":"second"}`, http.StatusCreated)
	if first.State != "queued" || first.Settled || first.Queue == nil || first.Queue.Position != 1 || second.Queue.Position != 2 || second.Queue.Length != 2 {
		t.Errorf("%+v, %+v", first.Queue, second.Queue)
	}
	list := get[client.PreviewList](b, "/previews?state=queued", "", http.StatusOK)
	if len(list.Items) != 2 || list.Items[0].Queue == nil || !strings.Contains(list.Items[0].Queue.Reason, "MiB free") {
		t.Errorf("%+v", list)
	}
	b.space.mu.Lock()
	b.space.free = 1 << 40
	b.space.mu.Unlock()
	must(t, b.Previews.(*provisioner.Service).Promote(t.Context()))
	if now := get[client.Preview](b, "/previews/"+second.Name, "", http.StatusOK); now.State != "pending" || now.Queue != nil {
		t.Errorf("with room it is %s, %+v", now.State, now.Queue)
	}
}

// TestNoSecretInLogs does what has to do with secrets, and reads the log.
func TestNoSecretInLogs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	admin := b.admin()
	shown := b.send(admin, "/previews/"+p.Name+"/credentials", "")
	var credentials client.Credentials
	must(t, json.Unmarshal(shown.body, &credentials))
	own := b.send(admin, "POST /api/v1/previews/"+p.Name+"/credentials", `{"role":"personal"}`)
	var personal client.Credentials
	must(t, json.Unmarshal(own.body, &personal))
	b.send("not.a.token", "/previews?token="+admin, "")
	b.send(admin, "POST /api/v1/previews", `{"project":"shop","secret":"`+credentials.Password+`"}`)
	records, err := b.Store.AuditLog(t.Context(), store.AuditFilter{})
	must(t, err)
	var audited strings.Builder
	for _, r := range records {
		fmt.Fprintf(&audited, "%+v %s\n", r, r.Detail)
	}
	audit := audited.String()
	for what, secret := range map[string]string{"the password": credentials.Password, "a personal password": personal.Password, "the token": admin} {
		if secret == "" {
			t.Fatalf("%s is empty: %s %s", what, shown.body, own.body)
		}
		if strings.Contains(b.log.String(), secret) || strings.Contains(audit, secret) {
			t.Errorf("%s is in a log", what)
		}
	}
}
