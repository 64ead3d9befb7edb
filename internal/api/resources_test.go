package api

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/provisioner"
)

// inState stores a sandbox that converge left in that state.
func (b *bed) inState(project string, state mayfly.PreviewState) *mayfly.Preview {
	b.t.Helper()
	p := b.sandbox(project)
	if state == mayfly.PreviewSuspended {
		yes := true
		_, err := b.Previews.Change(b.t.Context(), p.Name, provisioner.Change{Suspended: &yes})
		must(b.t, err)
	}
	b.observe(p, mayfly.PreviewReady)
	b.observe(p, state)
	p, err := b.Store.Preview(b.t.Context(), p.ID)
	must(b.t, err)
	return p
}

func (b *bed) snapshot(p *mayfly.Preview) *mayfly.Snapshot {
	b.t.Helper()
	n, err := b.Previews.Snapshot(b.t.Context(), p.Name, provisioner.SnapshotRequest{Name: strings.ToLower(mayfly.NewID("s")), CreatedBy: "tester"})
	must(b.t, err)
	return n
}

// sendWith is send with headers.
func (b *bed) sendWith(token, path, body string, header map[string]string) reply {
	b.t.Helper()
	method, path := split(path)
	request, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	must(b.t, err)
	request.Header.Set("Authorization", "Bearer "+token)
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		request.Header.Set(name, value)
	}
	response, err := b.http.Do(request)
	must(b.t, err)
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	must(b.t, err)
	return reply{Response: response, body: raw}
}

func (r reply) problem(tb testing.TB, status int, code mayfly.Code) client.Problem {
	tb.Helper()
	var p client.Problem
	if err := json.Unmarshal(r.body, &p); err != nil || r.StatusCode != status || p.Code != string(code) {
		tb.Errorf("%d %s instead of %d %s", r.StatusCode, r.body, status, code)
	}
	return p
}

// TestEveryRouteHasExamples: what is taken and given is shown, and the examples are what the document says.
func TestEveryRouteHasExamples(t *testing.T) {
	t.Parallel()
	b := setup(t)
	doc := b.http.Transport.(*conforming).doc
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			what := method + " " + path
			media := map[string]*openapi3.MediaType{}
			if operation.RequestBody != nil {
				media["body"] = operation.RequestBody.Value.Content.Get("application/json")
			}
			for status, response := range operation.Responses.Map() {
				for name, one := range response.Value.Content {
					if name != "text/html" {
						media[status+" "+name] = one
					}
				}
			}
			for name, one := range media {
				checkExample(t, what+" "+name, one)
			}
			for _, parameter := range operation.Parameters {
				if parameter.Value.In == "path" && parameter.Value.Example == nil {
					t.Errorf("%s: the parameter %s has no example", what, parameter.Value.Name)
				}
			}
		}
	}
}

func checkExample(t *testing.T, what string, media *openapi3.MediaType) {
	t.Helper()
	if media.Example == nil {
		t.Errorf("%s has no example: add one to examples()", what)
		return
	}
	if _, text := media.Example.(string); text || media.Schema == nil {
		return
	}
	if err := media.Schema.Value.VisitJSON(media.Example, openapi3.EnableJSONSchema2020()); err != nil {
		t.Errorf("%s: the example is not what the document says: %v", what, err)
	}
}

// TestReference looks at the page that people read.
func TestReference(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r := b.send("", "/api/v1/docs", "")
	page, policy := string(r.body), r.Header.Get("Content-Security-Policy")
	if r.StatusCode != http.StatusOK || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/html") || !strings.Contains(policy, "default-src 'none'; style-src 'sha256-") {
		t.Fatalf("%d, %s, %s", r.StatusCode, r.Header.Get("Content-Type"), policy)
	}
	for _, route := range b.routes() {
		if !strings.Contains(page, `id="`+route.id+`"`) {
			t.Errorf("the page does not have %s", route.id)
		}
	}
	for _, text := range []string{"Settled is true when the preview is what it should be", "Idempotency-Key", `href="#type-Preview"`, "&lt;token&gt;"} {
		if !strings.Contains(page, text) {
			t.Errorf("the page does not say %q", text)
		}
	}
	for _, foreign := range []string{"<script", "src=", "http://", "style="} {
		if strings.Contains(page, foreign) {
			t.Errorf("the page has %q in it", foreign)
		}
	}
}

// TestSorting sorts and pages in every order, while previews come and go.
func TestSorting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.template("shop")
	for i, ttl := range []string{"3d", "1d", "2d", "5d", "4d"} {
		get[client.Preview](b, "POST /previews", fmt.Sprintf(`{"project":"shop","name":"n%d","ttl":%q,"labels":{"odd":"%d","all":""}}`, 9-i, ttl, i%2), http.StatusCreated)
	}
	forever := b.pullRequest(3, sha('a')) // has no end, and was never used
	p, err := b.Store.PreviewByName(t.Context(), "shop-n7")
	must(t, err)
	must(t, b.Store.Touch(t.Context(), p.ID, time.Now()))
	for query, want := range map[string]string{
		"sort=created":            "shop-n9 shop-n8 shop-n7 shop-n6 shop-n5 shop-pr-3",
		"sort=created&order=desc": "shop-pr-3 shop-n5 shop-n6 shop-n7 shop-n8 shop-n9",
		"sort=name":               "shop-n5 shop-n6 shop-n7 shop-n8 shop-n9 shop-pr-3",
		"sort=name&order=desc":    "shop-pr-3 shop-n9 shop-n8 shop-n7 shop-n6 shop-n5",
		"sort=expires":            "shop-n8 shop-n7 shop-n9 shop-n5 shop-n6 shop-pr-3",
		"sort=expires&order=desc": "shop-pr-3 shop-n6 shop-n5 shop-n9 shop-n7 shop-n8",
		"label=odd%3D1&sort=name": "shop-n6 shop-n8",
		"label=all&label=odd%3D0": "shop-n9 shop-n7 shop-n5",
		"pull_request=3":          forever.Name,
		"q=PR-":                   "",
		"q=-pr-":                  forever.Name,
		"q=%25":                   "",
		"created_by=tester&q=n9":  "shop-n9",
		"created_by=nobody":       "",
		"label=" + url.QueryEscape("odd='; drop"): "",
	} {
		if got := b.walk(query); got != want {
			t.Errorf("%s lists %q instead of %q", query, got, want)
		}
	}
	if got := b.walk("sort=last_used&order=desc"); !strings.HasPrefix(got, "shop-n7 ") {
		t.Errorf("by last use: %s", got)
	}
	b.cursorsStayValid()
}

// walk lists page by page, two at a time.
func (b *bed) walk(query string) string {
	b.t.Helper()
	var seen []string
	for after := ""; ; {
		page := get[client.PreviewList](b, "/previews?project=shop&limit=2&after="+after+"&"+query, "", http.StatusOK)
		for _, p := range page.Items {
			seen = append(seen, p.Name)
		}
		if after = page.Next; after == "" {
			return strings.Join(seen, " ")
		}
	}
}

func (b *bed) cursorsStayValid() {
	b.t.Helper()
	first := get[client.PreviewList](b, "/previews?project=shop&sort=name&limit=2", "", http.StatusOK)
	b.observe(&mayfly.Preview{ID: first.Items[1].ID}, mayfly.PreviewDeleted) // the row that the cursor is of
	get[client.Preview](b, "POST /previews", `{"project":"shop","name":"a"}`, http.StatusCreated)
	second := get[client.PreviewList](b, "/previews?project=shop&sort=name&limit=2&after="+first.Next, "", http.StatusOK)
	if got := names(second.Items); !slices.Equal(got, []string{"shop-n7", "shop-n8"}) {
		b.t.Errorf("after one came and one went the second page is %v", got)
	}
	b.refused(b.admin(), "/previews?project=shop&sort=expires&after="+first.Next, "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	b.refused(b.admin(), "/projects/shop/templates?after="+first.Next, "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	for _, key := range []string{"0000-01-01T00:00:00Z", "2026-01-01T00:00:00+23:00", "x", "\x00"} {
		forged := cursor{List: listOfPreviews, Key: key, ID: "p"}.encode()
		b.refused(b.admin(), "/previews?after="+forged, "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	}
}

// TestIdempotency makes requests again: one after the other, a thousand at once, changed, and as somebody else.
func TestIdempotency(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.template("shop")
	key := map[string]string{"Idempotency-Key": "k-1"}
	token := b.admin()
	const body = `{"project":"shop"}`
	made := map[string]int{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			r := b.sendWith(token, "POST /previews", body, key)
			var p client.Preview
			if err := json.Unmarshal(r.body, &p); err != nil || r.StatusCode != http.StatusCreated {
				t.Errorf("%d %s", r.StatusCode, r.body)
			}
			mu.Lock()
			defer mu.Unlock()
			made[p.ID+" "+r.Header.Get("Location")]++
		})
	}
	all.Wait()
	list := get[client.PreviewList](b, "/previews", "", http.StatusOK)
	if len(made) != 1 || len(list.Items) != 1 {
		t.Errorf("1000 requests with one key made %d previews, and were answered with %d", len(list.Items), len(made))
	}
	b.sendWith(token, "POST /previews", `{"project":"shop","ttl":"1d"}`, key).problem(t, http.StatusUnprocessableEntity, mayfly.CodeIdempotency)
	other, _, err := b.issuer.Issue("somebody else", []auth.Scope{auth.ScopeAdmin}, nil, time.Hour)
	must(t, err)
	if r := b.sendWith(other, "POST /previews", body, key); r.StatusCode != http.StatusCreated || strings.Contains(string(r.body), list.Items[0].ID) {
		t.Errorf("the same key of somebody else: %d %s", r.StatusCode, r.body)
	}
	for _, bad := range []string{"with space", strings.Repeat("x", 256), "é"} {
		b.sendWith(token, "POST /previews", body, map[string]string{"Idempotency-Key": bad}).problem(t, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	}
	b.resetOnce(token, list.Items[0].Name)
	_, err = b.pool.Exec(t.Context(), `update idempotency set created_at = created_at - interval '25 hours'`)
	must(t, err)
	if r := b.sendWith(token, "POST /previews", body, key); r.StatusCode != http.StatusCreated || strings.Contains(string(r.body), list.Items[0].ID) {
		t.Errorf("a key of yesterday: %d %s", r.StatusCode, r.body)
	}
	must(t, b.Store.PurgeOnce(t.Context()))
	var kept int
	must(t, b.pool.QueryRow(t.Context(), `select count(*) from idempotency`).Scan(&kept))
	if kept != 1 {
		t.Errorf("%d requests are remembered after a day", kept)
	}
}

// resetOnce resets twice under one key, and makes a request that failed again.
func (b *bed) resetOnce(token, name string) {
	b.t.Helper()
	for range 2 {
		r := b.sendWith(token, "POST /previews/"+name+"/reset", "", map[string]string{"Idempotency-Key": "k-2"})
		var p client.Preview
		if err := json.Unmarshal(r.body, &p); err != nil || r.StatusCode != http.StatusAccepted || p.Generation != 2 {
			b.t.Errorf("reset: %d %s", r.StatusCode, r.body)
		}
	}
	failing := map[string]string{"Idempotency-Key": "k-3"}
	b.sendWith(token, "POST /previews", `{"project":"empty"}`, failing).problem(b.t, http.StatusConflict, mayfly.CodeNoTemplate)
	b.template("empty")
	if r := b.sendWith(token, "POST /previews", `{"project":"empty"}`, failing); r.StatusCode != http.StatusCreated {
		b.t.Errorf("a request that failed, made again: %d %s", r.StatusCode, r.body)
	}
}

// TestConditional reads and changes with ETags.
func TestConditional(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.inState("shop", mayfly.PreviewReady)
	token, path := b.admin(), "/previews/"+p.Name
	first := b.send(token, path, "")
	etag := first.Header.Get("ETag")
	if r := b.sendWith(token, path, "", map[string]string{"If-None-Match": `"x", ` + etag}); r.StatusCode != http.StatusNotModified || len(r.body) != 0 {
		t.Errorf("what is known: %d %s", r.StatusCode, r.body)
	}
	match := map[string]string{"If-Match": etag}
	// Its use is no change, and shown all the same.
	must(t, b.Store.Touch(t.Context(), p.ID, time.Now()))
	if r := b.sendWith(token, path, "", map[string]string{"If-None-Match": etag}); r.StatusCode != http.StatusOK {
		t.Errorf("after it was used: %d", r.StatusCode)
	}
	changed := b.sendWith(token, "PATCH "+path, `{"ttl":"30d"}`, match)
	if changed.StatusCode != http.StatusOK || changed.Header.Get("ETag") == etag {
		t.Fatalf("a change of what was read: %d %s", changed.StatusCode, changed.body)
	}
	for _, request := range []string{"PATCH " + path, "DELETE " + path, "POST " + path + "/reset", "PUT " + path + "/protection"} {
		body := map[bool]string{true: `{"for":"1h"}`}[strings.HasPrefix(request, "PUT")]
		for _, stale := range []string{etag, `W/` + changed.Header.Get("ETag"), `"x"`} {
			b.sendWith(token, request, body, map[string]string{"If-Match": stale}).problem(t, http.StatusPreconditionFailed, mayfly.CodePrecondition)
		}
	}
	if r := b.sendWith(token, "POST "+path+"/reset", "", map[string]string{"If-Match": etag + ", " + changed.Header.Get("ETag")}); r.StatusCode != http.StatusAccepted {
		t.Errorf("one of several: %d %s", r.StatusCode, r.body)
	}
	if r := b.sendWith(token, "DELETE "+path, "", map[string]string{"If-Match": "*"}); r.StatusCode != http.StatusAccepted {
		t.Errorf("any: %d %s", r.StatusCode, r.body)
	}
	template := b.template("till")
	shown := b.send(token, "/templates/"+template.ID, "")
	if r := b.sendWith(token, "/templates/"+template.ID, "", map[string]string{"If-None-Match": shown.Header.Get("ETag")}); r.StatusCode != http.StatusNotModified {
		t.Errorf("a template that is known: %d", r.StatusCode)
	}
}

// TestStepEvents follows the steps, leaves, and comes back.
func TestStepEvents(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.Heartbeat = 10 * time.Millisecond })
	p := b.sandbox("shop")
	clone, err := b.Store.BeginStep(t.Context(), p.ID, "clone", "")
	must(t, err)
	must(t, b.Store.EndStep(t.Context(), clone, "", ""))
	start, err := b.Store.BeginStep(t.Context(), p.ID, "start", "")
	must(t, err)
	events, leave := b.stream("/previews/" + p.Name + "/events")
	first, second, whole := <-events, <-events, <-events
	if first.name != "step" || !strings.Contains(first.data, `"clone"`) || second.name != "step" || !strings.Contains(second.data, `"start"`) || whole.name != "preview" ||
		whole.id != second.id || first.id == second.id {
		t.Fatalf("the stream begins with %+v, %+v, %+v", first, second, whole)
	}
	leave()
	must(t, b.Store.EndStep(t.Context(), start, "", ""))
	c, err := client.New(b.url, b.admin(), nil)
	must(t, err)
	// A client that comes back gets what came after.
	resumed := b.sendStream("/previews/"+p.Name+"/events", map[string]string{"Last-Event-ID": second.id})
	if again := <-resumed; again.name != "step" || !strings.Contains(again.data, `"start"`) || !strings.Contains(again.data, "finished_at") {
		t.Errorf("after %s comes %+v", second.id, again)
	}
	var seen []string
	must(t, c.FollowSteps(t.Context(), p.Name, func(s *client.StepEvent) bool {
		seen = append(seen, fmt.Sprint(s.Name, s.FinishedAt != nil))
		return len(seen) < 2
	}))
	if !slices.Equal(seen, []string{"clonetrue", "starttrue"}) {
		t.Errorf("the client sees %v", seen)
	}
	b.endsWithToken(p)
}

// endsWithToken revokes the token of a stream, of a wait and of a log that is followed: each ends by itself.
func (b *bed) endsWithToken(p *mayfly.Preview) {
	b.t.Helper()
	signed, token, err := b.issuer.Issue("tester", []auth.Scope{auth.ScopeAdmin}, nil, time.Hour)
	must(b.t, err)
	c, err := client.New(b.url, signed, nil)
	must(b.t, err)
	ends := make(chan error, 2)
	go func() { ends <- c.FollowPreview(b.t.Context(), p.Name, func(*client.Preview) bool { return true }) }()
	go func() { _, err := c.WaitReady(b.t.Context(), p.Name, ""); ends <- err }()
	b.observeGeneration(p)
	log, err := c.Logs(b.t.Context(), p.Name, client.LogOptions{Follow: true})
	must(b.t, err)
	must(b.t, b.Store.RevokeToken(b.t.Context(), token.ID, time.Now().Add(time.Hour)))
	for range 2 {
		if err := <-ends; mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
			b.t.Errorf("something long ended with %v", err)
		}
	}
	text, err := io.ReadAll(log)
	must(b.t, err)
	must(b.t, log.Close())
	if !strings.Contains(string(text), "a line") {
		b.t.Errorf("the followed log has %q", text)
	}
}

// observeGeneration makes a preview one whose Postgres was made, and that is not settled.
func (b *bed) observeGeneration(p *mayfly.Preview) {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `update preview set observed_generation = generation, state = 'migrating' where id = $1`, p.ID)
	must(b.t, err)
}

// sendStream is stream with headers.
func (b *bed) sendStream(path string, header map[string]string) <-chan event {
	b.t.Helper()
	before := b.http.Transport
	b.http.Transport = headers{before, header}
	defer func() { b.http.Transport = before }()
	events, _ := b.stream(path)
	return events
}

type headers struct {
	http.RoundTripper
	add map[string]string
}

func (h headers) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for name, value := range h.add {
		r.Header.Set(name, value)
	}
	return h.RoundTripper.RoundTrip(r)
}

// TestStates keeps, lists and restores states, protects, and reads logs, as a client does.
func TestStates(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	p := b.inState("shop", mayfly.PreviewReady)
	c, err := client.New(b.url, b.admin(), b.http)
	must(t, err)
	for _, name := range []string{"one", "two", "three"} {
		_, err := c.CreateSnapshot(ctx, p.Name, client.CreateSnapshot{Name: name, Keep: name == "three"})
		must(t, err)
	}
	var listed []string
	for n, err := range c.Snapshots(ctx, p.Name) {
		must(t, err)
		listed = append(listed, n.Name)
	}
	if !slices.Equal(listed, []string{"one", "two", "three"}) {
		t.Errorf("listed %v", listed)
	}
	restored, err := c.RestoreSnapshot(ctx, p.Name, "two")
	must(t, err)
	if restored.Generation != 2 || restored.Origin == nil {
		t.Errorf("restored %+v", restored)
	}
	must(t, c.DeleteSnapshot(ctx, p.Name, "one"))
	if err := c.DeleteSnapshot(ctx, p.Name, "one"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("deleting a deleted one: %v", err)
	}
	protected, err := c.ProtectPreview(ctx, p.Name, client.Protect{For: "7d", Reason: "a test"})
	must(t, err)
	if protected.ProtectedUntil == nil {
		t.Error("not protected")
	}
	if _, err := c.DeletePreview(ctx, p.Name); mayfly.ErrorCode(err) != mayfly.CodeProtected {
		t.Errorf("deleting what is protected: %v", err)
	}
	if _, err := c.UnprotectPreview(ctx, p.Name, client.IfMatch(protected.ETag)); err != nil {
		t.Error(err)
	}
	b.observe(p, mayfly.PreviewReady)
	log, err := c.Logs(ctx, p.Name, client.LogOptions{Lines: 1})
	must(t, err)
	text, err := io.ReadAll(log)
	must(t, err)
	if string(text) != "LOG:  the last line\n" {
		t.Errorf("the log is %q", text)
	}
	b.fields(p)
}

// fields sends what is wrong in one field, which the answer names.
func (b *bed) fields(p *mayfly.Preview) {
	b.t.Helper()
	for _, bad := range []struct{ path, body, field string }{
		{"POST /previews", `{}`, "/project"},
		{"POST /previews", `{"project":"shop","ttl":"soon"}`, "/ttl"},
		{"POST /previews", `{"project":"shop","name":"UPPER"}`, "/name"},
		{"POST /previews", `{"project":"shop","sudo":1}`, "/sudo"},
		{"POST /previews", `{"project":"shop","labels":{"a":1}}`, "/labels"},
		{"POST /previews", `{"project":"shop","labels":{"a/b=":"x"}}`, "/labels/a~1b="},
		{"POST /previews", `{"project":"shop","size":"huge"}`, "/size"},
		{"POST /previews", `{"project":"shop","template_version":-1}`, "/template_version"},
		{"POST /previews", `{"project":"shop","from":"a","snapshot":"b"}`, "/from"},
		{"PUT /previews/" + p.Name + "/protection", `{"for":"91d"}`, "/for"},
		{"PUT /previews/" + p.Name + "/protection", `{"for":"1d","reason":"two\nlines"}`, "/reason"},
		{"POST /previews/" + p.Name + "/reset", `{"template":"old"}`, "/template"},
		{"POST /previews/" + p.Name + "/snapshots", `{"ttl":"1d"}`, "/ttl"},
		{"POST /previews/" + p.Name + "/snapshots", `{"name":"../x"}`, "/name"},
		{"/previews/" + p.Name + "/logs?lines=0", ``, "lines"},
		{"/previews/" + p.Name + "?timeout=never", ``, "timeout"},
	} {
		problem := b.refused(b.admin(), bad.path, bad.body, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
		if len(problem.Errors) == 0 || !strings.HasPrefix(problem.Errors[0].Field, bad.field) || problem.Errors[0].Message == "" {
			b.t.Errorf("%s %s: the errors are %+v, not about %s", bad.path, bad.body, problem.Errors, bad.field)
		}
	}
}

// TestOrigins creates from what there is.
func TestOrigins(t *testing.T) {
	t.Parallel()
	b := setup(t)
	first := b.template("shop")
	b.template("shop")
	source := b.inState("shop", mayfly.PreviewReady)
	if p := get[client.Preview](b, "POST /previews", `{"project":"shop","template_version":1}`, http.StatusCreated); p.Template.ID != first.ID {
		t.Errorf("made from %+v", p.Template)
	}
	branch := get[client.Preview](b, "POST /previews", `{"project":"shop","from":"`+source.Name+`"}`, http.StatusCreated)
	if branch.Origin == nil || branch.Origin.Preview != source.Name || branch.Origin.PreviewID != source.ID {
		t.Errorf("a branch has the origin %+v", branch.Origin)
	}
	if list := get[client.SnapshotList](b, "/projects/shop/snapshots", "", http.StatusOK); len(list.Items) != 0 {
		t.Errorf("the origin of a branch is listed: %+v", list.Items)
	}
	n := b.snapshot(source)
	if p := get[client.Preview](b, "POST /previews", `{"project":"shop","snapshot":"`+n.ID+`"}`, http.StatusCreated); p.Origin.SnapshotID != n.ID {
		t.Errorf("made from %+v", p.Origin)
	}
	b.template("till")
	for body, code := range map[string]mayfly.Code{
		`{"project":"till","from":"` + source.Name + `"}`:                              mayfly.CodeNotFound,
		`{"project":"till","snapshot":"` + n.ID + `"}`:                                 mayfly.CodeNotFound,
		`{"project":"shop","snapshot":"` + branch.Origin.SnapshotID + `"}`:             mayfly.CodeNotFound,
		`{"project":"shop","from":"shop-nothing"}`:                                     mayfly.CodeNotFound,
		`{"project":"shop","template_version":99}`:                                     mayfly.CodeNotFound,
		`{"project":"shop","from":"` + branch.Name + `"}`:                              mayfly.CodeConflict, // not made yet
		`{"project":"shop","name":"` + source.Name + `","from":"` + source.Name + `"}`: mayfly.CodeConflict,
	} {
		b.refused(b.admin(), "POST /previews", body, status(code), code)
	}
	reset := get[client.Preview](b, "POST /previews/"+source.Name+"/reset", `{"template_version":1}`, http.StatusAccepted)
	if reset.Template.ID != first.ID {
		t.Errorf("reset to %+v", reset.Template)
	}
	if reset = get[client.Preview](b, "POST /previews/"+source.Name+"/reset", `{"template":"same"}`, http.StatusAccepted); reset.Template.ID != first.ID {
		t.Errorf("reset to the same is to %+v", reset.Template)
	}
	if reset = get[client.Preview](b, "POST /previews/"+source.Name+"/reset", ``, http.StatusAccepted); reset.Template.Version != 2 {
		t.Errorf("reset is to %+v", reset.Template)
	}
}

// FuzzAPI sends anything to any route: nothing of it is an internal error, and nothing that is answered is not in the document.
func FuzzAPI(f *testing.F) {
	for i, seed := range []struct{ name, query, body string }{
		{"shop-x", "limit=1", `{"project":"shop"}`},
		{"..", "after=e30", `{"labels":{"a":null}}`},
		{"a/b", "label=x=y&label=z", `[1,2]`},
		{"\x00", "sort=name&order=desc", `{"ttl":"1d","suspended":true}`},
		{"é", "q=%25_", `{"project":"shop","template_version":99999999999}`},
		{"", "lines=5", "\xff"},
		{"shop-pr-1", "sha=x&wait=", `{"for":"1d","reason":"\u0000"}`},
		{"shop-x", "after=eyJsIjoicHJldmlld3MiLCJrIjoiMDAwMC0wMS0wMVQwMDowMDowMFoiLCJpIjoicCJ9", `{"project":"shop","name":"x","from":"shop-x","size":"\u0000"}`},
	} {
		for index := range 64 {
			f.Add(uint8(index), seed.name, seed.query, []byte(seed.body), uint8(i))
		}
	}
	b := setup(f)
	b.template("shop")
	get[client.Preview](b, "POST /previews", `{"project":"shop","name":"x"}`, http.StatusCreated)
	routes := b.routes()
	token := b.admin()
	f.Fuzz(func(t *testing.T, index uint8, name, query string, body []byte, header uint8) {
		r := routes[int(index)%len(routes)]
		if r.events || strings.Contains(query, "wait") || strings.Contains(query, "follow") || r.id == "rotateCredentials" {
			return // these take their time
		}
		path := pathParameter.ReplaceAllStringFunc(r.path, func(string) string { return url.PathEscape(name) })
		request := httptest.NewRequestWithContext(t.Context(), r.method, "http://example.com/", strings.NewReader(string(body)))
		request.URL = &url.URL{Path: "/api/v1" + strings.ReplaceAll(path, url.PathEscape(name), name), RawPath: "/api/v1" + path, RawQuery: query}
		request.Header.Set("Authorization", "Bearer "+token)
		request.Header.Set([]string{"Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID"}[header%4], name)
		answer := httptest.NewRecorder()
		b.ServeHTTP(answer, request)
		if answer.Code == http.StatusInternalServerError {
			t.Errorf("%s %s?%s with %q: %s; the log: %s", r.method, path, query, body, answer.Body, b.log.String())
		}
	})
}

func TestUnknownParametersAreRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	for path, field := range map[string]string{
		"GET /previews?projcet=shop": "projcet", "GET /previews?project=shop&Sort=name": "Sort", "GET /previews/" + p.Name + "?wiat=ready": "wiat",
		"DELETE /previews/" + p.Name + "?force=true": "force", "GET /auth/self?x=1": "x",
	} {
		problem := b.refused(b.admin(), path, "", http.StatusUnprocessableEntity, mayfly.CodeInvalid)
		if len(problem.Errors) != 1 || problem.Errors[0].Field != field {
			t.Errorf("%s does not name the parameter: %+v", path, problem)
		}
	}
}
