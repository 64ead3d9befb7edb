package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
)

func TestCreate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refused(b.admin(), "POST /previews", `{"project":"shop"}`, http.StatusConflict, mayfly.CodeNoTemplate)
	template := b.template("shop")

	r := b.send(b.admin(), "POST /previews", `{"project":"shop","name":"trial","ttl":"2d","labels":{"ticket":"4711"}}`)
	if r.StatusCode != http.StatusCreated || r.Header.Get("Location") != "/api/v1/previews/shop-trial" {
		t.Fatalf("%d, Location %q: %s", r.StatusCode, r.Header.Get("Location"), r.body)
	}
	p := get[client.Preview](b, r.Header.Get("Location"), "", http.StatusOK)
	if p.Name != "shop-trial" || p.Project != "shop" || p.Kind != "sandbox" || p.State != "pending" || p.Settled || p.CreatedBy != "tester" ||
		p.Labels["ticket"] != "4711" || p.Template == nil || p.Template.ID != template.ID || p.Template.Version != 1 || p.PullRequest != nil {
		t.Errorf("created %+v", p)
	}
	if left := time.Until(*p.ExpiresAt); left < 47*time.Hour || left > 49*time.Hour {
		t.Errorf("a life of 2d ends in %s", left)
	}
	if p.CreatedAt.Location() != time.UTC {
		t.Errorf("times are in %s", p.CreatedAt.Location())
	}

	if again := b.refused(b.admin(), "POST /previews", `{"project":"shop","name":"trial"}`, http.StatusConflict, mayfly.CodeConflict); again.Hint == "" {
		t.Error("a taken name has no hint")
	}
	if random := get[client.Preview](b, "POST /previews", `{"project":"shop"}`, http.StatusCreated); !strings.HasPrefix(random.Name, "shop-") {
		t.Errorf("a random name is %q", random.Name)
	}
	b.refused(b.admin(), "POST /previews", `{"project":"nothing"}`, http.StatusNotFound, mayfly.CodeNotFound)
	b.space.mu.Lock()
	b.space.free = 1 << 20
	b.space.mu.Unlock()
	b.refused(b.admin(), "POST /previews", `{"project":"shop","queue":false}`, http.StatusInsufficientStorage, mayfly.CodePoolFull)
}

func TestQuota(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.sandbox("till")
	_, err := b.pool.Exec(t.Context(), `
		insert into preview (id, name, project, kind) select 'p' || n, 'till-' || n, 'till', 'sandbox' from generate_series(2, 1000) n`)
	must(t, err)
	b.refused(b.admin(), "POST /previews", `{"project":"till","queue":false}`, http.StatusTooManyRequests, mayfly.CodeQuotaExceeded)
}

// TestBadRequests sends what no handler should act upon.
func TestBadRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, pr := b.sandbox("shop"), b.pullRequest(7, sha('a'))
	labels := make([]string, 40)
	for i := range labels {
		labels[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	for _, bad := range []struct{ path, body, says string }{
		{"POST /previews", `{`, "unexpected EOF"},
		{"POST /previews", `[]`, "not a JSON object"},
		{"POST /previews", `"shop"`, "not a JSON object"},
		{"POST /previews", `{"project":"shop"}}`, "after the JSON value"},
		{"POST /previews", `{"project":"shop"} {"project":"shop"}`, "after the JSON value"},
		{"POST /previews", `{"project":"shop","sudo":true}`, `unknown field "sudo"`},
		{"POST /previews", `{"project":7}`, "project cannot be a JSON number"},
		{"POST /previews", ``, "project is missing"},
		{"POST /previews", `null`, "project is missing"},
		{"POST /previews", `{"project":"shop","name":"UPPER"}`, "not usable"},
		{"POST /previews", `{"project":"shop","name":"pr-7"}`, "kept for pull requests"},
		{"POST /previews", `{"project":"shop","name":"../etc"}`, "not usable"},
		{"POST /previews", `{"project":"shop","name":"` + strings.Repeat("x", 64) + `"}`, "not usable"},
		{"POST /previews", `{"project":"shop","ttl":"soon"}`, "not a duration"},
		{"POST /previews", `{"project":"shop","ttl":"0s"}`, "not a duration"},
		{"POST /previews", `{"project":"shop","ttl":"-1h"}`, "not a duration"},
		{"POST /previews", `{"project":"shop","ttl":"never"}`, "not a duration"},
		{"POST /previews", `{"project":"shop","ttl":"91d"}`, "longer than 90d"},
		{"POST /previews", `{"project":"shop","ttl":"65535d2562047h"}`, "not a duration"},
		{"POST /previews", `{"project":"shop","labels":{"a":"\u0000"}}`, "not usable"},
		{"POST /previews", `{"project":"shop","labels":{"":"x"}}`, "not usable"},
		{"POST /previews", `{"project":"shop","labels":{` + strings.Join(labels, ",") + `}}`, "40 of them"},
		{"POST /previews?wait=ready&sha=" + sha('a'), `{"project":"shop"}`, "is a sandbox"},
		{"POST /previews?wait=soon", `{"project":"shop","name":"unmade"}`, "neither ready nor deleted"},
		{"PATCH /previews/" + p.Name, `{"ttl":"never"}`, "not a duration"},
		{"PATCH /previews/" + p.Name, `{"suspended":"yes"}`, "suspended cannot be a JSON string"},
		{"PATCH /previews/" + p.Name, `{"state":"ready"}`, "unknown field"},
		{"DELETE /previews/" + p.Name + "?wait=gone", ``, "neither ready nor deleted"},
		{"/previews/" + p.Name + "?wait=ready&timeout=11m", ``, "not a duration up to"},
		{"/previews/" + p.Name + "?wait=ready&timeout=0s", ``, "not a duration up to"},
		{"/previews/" + p.Name + "?wait=ready&sha=" + sha('a'), ``, "is a sandbox"},
		{"/previews/" + pr.Name + "?wait=ready&sha=abc123", ``, "not a commit"},
		{"/previews/" + pr.Name + "?sha=" + sha('a'), ``, "not a commit to wait for"},
		{"/previews?after=nothing", ``, "not the \"next\""}, {"/previews?sort=size", ``, "none of created"}, {"/previews?order=up", ``, "neither asc nor desc"},
		{"/previews?label==x", ``, "none that a preview can have"}, {"/previews?pull_request=x", ``, "not the number"}, {"/previews?pull_request=3000000000", ``, "not the number"},
		{"/previews?limit=0", ``, "limit"}, {"/previews?limit=1001", ``, "limit"}, {"/previews?limit=many", ``, "limit"},
		{"/previews?state=broken", ``, "none of queued"}, {"/previews?kind=both", ``, "none of pull_request"},
		{"/previews/%00", ``, "not text"}, {"/previews?after=%00", ``, "not text"}, {"/previews?project=%ff", ``, "not text"}, {"/previews/%ff%fe", ``, "not text"},
		{"POST /tokens/short/revoke", ``, "not a token's id"},
	} {
		if problem := b.refused(b.admin(), bad.path, bad.body, http.StatusUnprocessableEntity, mayfly.CodeInvalid); !strings.Contains(problem.Detail, bad.says) {
			t.Errorf("%s %s: %q does not say %q", bad.path, bad.body, problem.Detail, bad.says)
		}
	}
	big := b.refused(b.admin(), "POST /previews", `{"project":"`+strings.Repeat("x", 1<<20)+`"}`, http.StatusRequestEntityTooLarge, mayfly.CodeTooLarge)
	if !strings.Contains(big.Detail, "1048576") {
		t.Errorf("a body that is too large: %s", big.Detail)
	}
	list := get[client.PreviewList](b, "/previews", "", http.StatusOK)
	if got := names(list.Items); !slices.Equal(got, []string{pr.Name, p.Name}) && !slices.Equal(got, []string{p.Name, pr.Name}) {
		t.Errorf("refused requests left %v", got)
	}
}

func TestPathsAndMethods(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.refused("", "/nothing", "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(b.admin(), "/previews/shop-x/nothing", "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(b.admin(), "/previews/shop-x", "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(b.admin(), "/projects/nothing/templates", "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(b.admin(), "POST /projects/nothing/templates", "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(b.admin(), "/templates/nothing", "", http.StatusNotFound, mayfly.CodeNotFound)
	allowed := map[string][]string{}
	for _, r := range b.routes() {
		allowed[r.path] = append(allowed[r.path], r.method)
	}
	for path, methods := range allowed {
		concrete := strings.NewReplacer(":name", "shop-x", ":project", "shop", ":id", "x").Replace(path)
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			if slices.Contains(methods, method) {
				continue
			}
			b.refused(b.admin(), method+" "+concrete, "", http.StatusMethodNotAllowed, mayfly.CodeInvalid)
		}
	}
}

func TestListFiltersAndPages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var made []string
	for range 5 {
		made = append(made, b.sandbox("shop").Name)
	}
	ready := b.pullRequest(3, sha('c'))
	b.observe(ready, mayfly.PreviewReady)
	gone := b.sandbox("shop")
	b.observe(gone, mayfly.PreviewDeleted)
	other := b.sandbox("till")

	for query, want := range map[string][]string{
		"":                                 append([]string{ready.Name, other.Name}, made...),
		"?project=till":                    {other.Name},
		"?kind=pull_request":               {ready.Name},
		"?state=ready":                     {ready.Name},
		"?state=ready&project=till":        {},
		"?state=deleted":                   {gone.Name},
		"?project=nothing":                 {},
		"?kind=sandbox&project=shop":       made,
		"?project=" + url.QueryEscape("'"): {},
	} {
		want = slices.Sorted(slices.Values(want))
		if got := names(get[client.PreviewList](b, "/previews"+query, "", http.StatusOK).Items); !slices.Equal(got, want) {
			t.Errorf("%s lists %v instead of %v", query, got, want)
		}
	}
	var seen []string
	pages, next := 0, ""
	for {
		page := get[client.PreviewList](b, "/previews?project=shop&kind=sandbox&limit=2&after="+next, "", http.StatusOK)
		pages++
		for _, p := range page.Items {
			seen = append(seen, p.Name)
		}
		if next = page.Next; next == "" {
			break
		}
	}
	if pages != 3 || !slices.Equal(seen, made) {
		t.Errorf("%d pages with %v instead of 3 with %v", pages, seen, made)
	}
	// A page that is exactly full is the last one.
	if page := get[client.PreviewList](b, "/previews?project=till&limit=1", "", http.StatusOK); page.Next != "" {
		t.Error("the last page has a next one")
	}
}

func TestChange(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	b.observe(p, mayfly.PreviewReady)
	path := "/previews/" + p.Name
	longer := get[client.Preview](b, "PATCH "+path, `{"ttl":"30d"}`, http.StatusOK)
	if left := time.Until(*longer.ExpiresAt); left < 29*24*time.Hour {
		t.Errorf("extended by 30d it ends in %s", left)
	}
	if same := get[client.Preview](b, "PATCH "+path, `{"ttl":"1h"}`, http.StatusOK); same.ExpiresAt.Sub(*longer.ExpiresAt).Abs() > time.Millisecond {
		t.Errorf("extending by less shortened its life to %s", same.ExpiresAt)
	}
	if p := get[client.Preview](b, "PATCH "+path, `{"suspended":true}`, http.StatusOK); p.Settled {
		t.Error("settled before it is suspended")
	}
	if p := get[client.Preview](b, "PATCH "+path, `{"suspended":false}`, http.StatusOK); !p.Settled {
		t.Error("not settled though it is awake, as wanted")
	}
	before := get[client.Credentials](b, path+"/credentials", "", http.StatusOK)
	if reset := get[client.Preview](b, "POST "+path+"/reset", "", http.StatusAccepted); reset.Generation != 2 || reset.Settled {
		t.Errorf("reset: generation %d, settled %t", reset.Generation, reset.Settled)
	}
	if after := get[client.Credentials](b, path+"/credentials", "", http.StatusOK); after.Password == before.Password {
		t.Error("a reset keeps the password")
	}
	if deleted := get[client.Preview](b, "DELETE "+path, "", http.StatusAccepted); deleted.Settled {
		t.Error("settled before it is gone")
	}
	get[client.Preview](b, "DELETE "+path, "", http.StatusAccepted) // twice is once
	b.refused(b.admin(), "POST "+path+"/reset", "", http.StatusConflict, mayfly.CodeConflict)
	b.refused(b.admin(), "PATCH "+path, `{"ttl":"1d"}`, http.StatusConflict, mayfly.CodeConflict)
	b.observe(p, mayfly.PreviewDeleted)
	b.refused(b.admin(), path, "", http.StatusNotFound, mayfly.CodeNotFound)
}

func TestCredentials(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	token := b.token([]auth.Scope{auth.ScopeCredentialsRead})
	r := b.send(token, "/previews/"+p.Name+"/credentials", "")
	if r.Header.Get("Cache-Control") != "no-store" {
		t.Error("credentials may be cached")
	}
	c := get[client.Credentials](b, "/previews/"+p.Name+"/credentials", "", http.StatusOK)
	if c.Host != "db.example.com" || c.Port != 6432 || c.Database != p.Name || c.User != "app_owner" || c.SSLMode != "require" || len(c.Password) < 32 {
		t.Errorf("credentials without the password: %s %d %s %s %s", c.Host, c.Port, c.Database, c.User, c.SSLMode)
	}
	if want := "postgres://app_owner:" + c.Password + "@db.example.com:6432/" + p.Name + "?sslmode=require"; c.URL != want {
		t.Errorf("the URL is %s", strings.ReplaceAll(c.URL, c.Password, "…"))
	}
	if !strings.Contains(b.log.String(), "credentials handed out") || !strings.Contains(b.log.String(), "subject=tester") {
		t.Error("the log does not say who got credentials")
	}
	if strings.Contains(b.log.String(), c.Password) || strings.Contains(b.log.String(), token) {
		t.Error("the log has a secret in it")
	}
	if strings.Contains(string(b.send(b.admin(), "/previews/"+p.Name, "").body), c.Password) {
		t.Error("the preview itself shows its password")
	}
}

// TestCredentialsAreEscaped hands out what needs escaping in a URL.
func TestCredentialsAreEscaped(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.Previews = odd{o.Previews}; o.GatewayHost = "fe80::1"; o.SSLMode = "verify-full" })
	p := b.sandbox("shop")
	c := get[client.Credentials](b, "/previews/"+p.Name+"/credentials", "", http.StatusOK)
	u, err := url.Parse(c.URL)
	must(t, err)
	password, _ := u.User.Password()
	if u.User.Username() != oddUser || password != oddPassword || u.Hostname() != "fe80::1" || u.Port() != "6432" || u.Path != "/"+p.Name {
		t.Errorf("%s reads as user %q, password %q, host %q, port %q, path %q", c.URL, u.User.Username(), password, u.Hostname(), u.Port(), u.Path)
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.pullRequest(1, sha('a'))
	b.refused(b.admin(), "/previews/"+p.Name+"/report", "", http.StatusNotFound, mayfly.CodeNotFound)
	must(t, b.Store.SetMigrated(t.Context(), p.ID, []byte(`[]`), []byte(`{"applied": ["0007_add.up.sql"]}`)))
	report := get[map[string][]string](b, "/previews/"+p.Name+"/report", "", http.StatusOK)
	if len(report["applied"]) != 1 {
		t.Errorf("report is %v", report)
	}
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.template("shop")
	p := b.pullRequest(42, sha('a'))
	shown := get[client.Preview](b, "/previews/shop-pr-42", "", http.StatusOK)
	if shown.PullRequest == nil || shown.PullRequest.HeadSHA != sha('a') || shown.PullRequest.AppliedSHA != "" || shown.Template != nil {
		t.Errorf("a new pull request's preview is %+v", shown)
	}
	b.observe(p, mayfly.PreviewReady)
	if shown = get[client.Preview](b, "/previews/shop-pr-42", "", http.StatusOK); shown.PullRequest.AppliedSHA != sha('a') || !shown.Settled {
		t.Errorf("a pull request's finished preview is %+v", shown.PullRequest)
	}
}

func TestTimeline(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	began := time.Now().Add(-2 * time.Second)
	ended := began.Add(1500 * time.Microsecond)
	must(t, b.Store.AddStep(t.Context(), p.ID, mayfly.Step{Name: "clone", Detail: "of v1", StartedAt: began, FinishedAt: &ended}))
	_, err := b.Store.BeginStep(t.Context(), p.ID, "start", "")
	must(t, err)
	steps := get[client.Preview](b, "/previews/"+p.Name, "", http.StatusOK).Steps
	if len(steps) != 2 || steps[0].DurationMS != 1.5 || steps[0].Detail != "of v1" || steps[1].FinishedAt != nil || steps[1].DurationMS < 0 {
		t.Errorf("the timeline is %+v", steps)
	}
}

func TestTemplates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if list := get[client.TemplateList](b, "/projects/shop/templates", "", http.StatusOK); len(list.Items) != 0 {
		t.Errorf("templates of a new project: %+v", list.Items)
	}
	r := b.send(b.admin(), "POST /projects/shop/templates", "")
	if r.StatusCode != http.StatusAccepted || !strings.HasPrefix(r.Header.Get("Location"), "/api/v1/templates/t") {
		t.Fatalf("build: %d, Location %q", r.StatusCode, r.Header.Get("Location"))
	}
	b.refused(b.admin(), "POST /projects/shop/templates", "", http.StatusConflict, mayfly.CodeConflict)
	building := get[client.Template](b, r.Header.Get("Location"), "", http.StatusOK)
	if building.State != "building" || building.Progress != nil || building.Version != 1 {
		t.Errorf("a build that was asked for is %+v", building)
	}
	stored, err := b.Store.Template(t.Context(), building.ID)
	must(t, err)
	stored.State, stored.Failure = mayfly.TemplateFailed, &mayfly.Failure{Code: mayfly.CodeUnclassified, Message: "who are you", Hint: "add: x"}
	must(t, b.Store.UpdateTemplate(t.Context(), stored))
	failed := get[client.Template](b, r.Header.Get("Location"), "", http.StatusOK)
	if failed.Failure == nil || failed.Failure.Code != "unclassified_column" || failed.Failure.Hint != "add: x" {
		t.Errorf("a build that failed is %+v", failed.Failure)
	}
	ready := b.template("shop")
	list := get[client.TemplateList](b, "/projects/shop/templates", "", http.StatusOK)
	if len(list.Items) != 2 || list.Items[1].ID != ready.ID || list.Items[1].Version != 2 || list.Items[1].RowCount != 42 || list.Items[1].Report != nil {
		t.Errorf("templates: %+v", list.Items)
	}
	if one := get[client.Template](b, "/templates/"+ready.ID, "", http.StatusOK); string(one.Report) != `{"tables": []}` && string(one.Report) != `{"tables":[]}` {
		t.Errorf("the report is %s", one.Report)
	}
}

func TestProjects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if all := get[client.ProjectList](b, "/projects", "", http.StatusOK); len(all.Items) != 3 {
		t.Errorf("projects: %v", all.Items)
	}
	own := b.send(b.token([]auth.Scope{auth.ScopePreviewsRead}, "shop"), "/projects", "")
	if strings.TrimSpace(string(own.body)) != `{"items":[{"name":"shop"}]}` {
		t.Errorf("a token of shop sees %s", own.body)
	}
}

func TestRevoke(t *testing.T) {
	t.Parallel()
	b := setup(t)
	signed, token, err := b.issuer.Issue("leaver", auth.Scopes()[:1], nil, time.Hour)
	must(t, err)
	if r := b.send(signed, "/previews", ""); r.StatusCode != http.StatusOK {
		t.Fatalf("before it is revoked: %d", r.StatusCode)
	}
	get[client.RevokedToken](b, "POST /tokens/"+token.ID+"/revoke", "", http.StatusOK)
	get[client.RevokedToken](b, "POST /tokens/"+token.ID+"/revoke", "", http.StatusOK) // twice is once
	b.refused(signed, "/previews", "", http.StatusUnauthorized, mayfly.CodeUnauthenticated)
	var left time.Duration
	must(t, b.pool.QueryRow(t.Context(), `select expires_at - now() from revoked_token where id = $1`, token.ID).Scan(&left))
	if left < auth.MaxTokenTTL-time.Hour {
		t.Errorf("the revocation is kept for %s, and a token may live for %s", left, auth.MaxTokenTTL)
	}
}

func sha(c byte) string { return strings.Repeat(string(c), 40) }
