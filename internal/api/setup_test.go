package api

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// testTimeout bounds what a test waits for. Nothing here takes a second on a machine that has nothing else to do.
const testTimeout = time.Minute

// bed is the API on the real store, the real queue and the real services. Nobody works on the queue: what converge and the
// builder would do to the state database, tests do, at the moment they choose.
type bed struct {
	*API
	t      testing.TB
	pool   *pgxpool.Pool
	url    string
	http   *http.Client
	space  *space
	log    *logBuffer
	issuer *auth.Tokens
	keys   *auth.Keys
}

// space is a pool that only says how full it is.
type space struct {
	driver.Volumes
	mu   sync.Mutex
	free int64
}

func (s *space) Stat(context.Context) (driver.PoolStat, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return driver.PoolStat{TotalBytes: 1 << 40, FreeBytes: s.free}, nil
}

func (s *space) Delete(context.Context, string) error { return nil }

func (s *space) Size(context.Context, string) (int64, error) { return 1 << 20, nil }

func (s *space) Snapshot(context.Context, string, string, func(context.Context) (context.Context, func(), error)) error {
	return nil
}

func (s *space) List(context.Context) ([]driver.Volume, error) { return nil, nil }

// machine is an engine on which nothing runs.
type machine struct{ driver.Engine }

func (machine) Remove(context.Context, string) error { return nil }

func (machine) Inspect(context.Context, string) (driver.Instance, error) {
	return driver.Instance{}, driver.ErrNotFound
}

func (machine) Memory(context.Context, string) (int64, error) { return 0, driver.ErrNotFound }

// Logs has two lines for everything.
func (machine) Logs(_ context.Context, _ string, lines int) ([]byte, error) {
	return []byte("LOG:  the first line\nLOG:  the last line\n")[21*max(0, 2-lines):], nil
}

func (machine) FollowLogs(ctx context.Context, _ string, _ int, w io.Writer) error {
	if _, err := io.WriteString(w, "LOG:  a line\n"); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

type logBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buffer.String()
}

// projectList is the configuration: shop, and till, whose previews are bounded.
type projectList struct{}

func (projectList) Projects() []mayfly.Project {
	settings := mayfly.PostgresSettings{Major: 15, Database: "app", Owner: "app_owner"}
	return []mayfly.Project{
		{Name: "shop", Repository: "acme/shop", Postgres: settings, Previews: mayfly.PreviewSettings{MaxSnapshots: 1000}},
		{Name: "till", Postgres: settings, Previews: mayfly.PreviewSettings{MaxPreviews: 1000, MaxSnapshots: 1000},
			Templates: mayfly.TemplateSettings{Schedule: "0 3 * * *", MaxAge: 48 * time.Hour}},
		{Name: "empty", Postgres: settings},
	}
}

func (l projectList) Project(name string) (mayfly.Project, bool) {
	for _, p := range l.Projects() {
		if p.Name == name {
			return p, true
		}
	}
	return mayfly.Project{}, false
}

func setup(tb testing.TB, change ...func(*Options)) *bed {
	tb.Helper()
	server := pgtest.Cluster(tb)
	config, err := pgxpool.ParseConfig(server.DSN(server.DatabaseLike(tb, "state", migrate)))
	must(tb, err)
	config.MaxConns = 8
	pool, err := store.Connect(tb.Context(), config, "")
	must(tb, err)
	tb.Cleanup(pool.Close)
	enqueuer, err := jobs.NewEnqueuer(pool)
	must(tb, err)
	keys, err := auth.LoadKeys(tb.TempDir())
	must(tb, err)

	b := &bed{t: tb, keys: keys, pool: pool, log: &logBuffer{}, space: &space{free: 1 << 40}}
	logger := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	states := store.New(pool, enqueuer, logger)
	b.issuer = auth.NewTokens(keys, states, time.Now)
	watcher := states.NewWatcher()
	ctx, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { watcher.Run(ctx) })
	tb.Cleanup(func() { cancel(); background.Wait() })
	opts := Options{
		Previews: provisioner.New(provisioner.Options{
			Store: states, Watcher: watcher, Engine: machine{}, Volumes: b.space, Projects: projectList{}, Sealer: keys.Sealer, Clock: time.Now, Logger: logger,
		}),
		AttestationKey: keys.Attestation.Public().(ed25519.PublicKey),
		Templates: rescanner{templates.NewService(templates.ServiceOptions{
			Store: states, Projects: projectList{}.Project, Clock: time.Now, Logger: logger,
			Builder: templates.NewBuilder(templates.BuilderOptions{Engine: machine{}, Volumes: b.space, Logger: logger, Clock: time.Now}),
		})},
		Store: states, Watcher: watcher, Tokens: b.issuer, Projects: func() []string { return []string{"shop", "till", "empty"} },
		GatewayHost: "db.example.com", GatewayPort: 6432, SSLMode: "require",
		Ready: states.Ping, Metrics: prometheus.NewRegistry(), Logger: logger, Clock: time.Now, Version: "v1.2.3",
		RateLimits: RateLimits{TokenPerMinute: -1, AddressPerMinute: -1},
	}
	if service, ok := opts.Previews.(Logins); ok {
		opts.Logins = service
	}
	for _, c := range change {
		c(&opts)
	}
	b.API, err = New(opts)
	must(tb, err)
	listening := httptest.NewServer(b.API)
	tb.Cleanup(func() { b.Stop(); listening.CloseClientConnections(); listening.Close() })
	b.url = listening.URL
	b.http = &http.Client{Transport: conform(tb, b.url), Timeout: testTimeout}
	return b
}

// migrate makes a state database's schema.
func migrate(ctx context.Context, dsn string) error {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return err
	}
	pool, err := store.Connect(ctx, config, "")
	if err != nil {
		return err
	}
	defer pool.Close()
	return errors.Join(store.Migrate(ctx, pool), jobs.Migrate(ctx, pool))
}

// rescanner finds nothing: its templates have no data.
type rescanner struct{ *templates.Service }

func (rescanner) Rescan(context.Context, string) (*proof.Outcome, error) {
	return &proof.Outcome{}, nil
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// conforming is a transport that fails the test when an answer, or a request that was accepted, is not what the served OpenAPI
// document says.
type conforming struct {
	t      testing.TB
	doc    *openapi3.T
	router routers.Router
}

func conform(tb testing.TB, address string) *conforming {
	tb.Helper()
	response, err := http.Get(address + "/api/v1/openapi.json")
	must(tb, err)
	raw, err := io.ReadAll(response.Body)
	must(tb, err)
	must(tb, response.Body.Close())
	doc, err := openapi3.NewLoader().LoadFromData(raw)
	must(tb, err)
	if err := doc.Validate(tb.Context()); err != nil {
		tb.Fatalf("the OpenAPI document is not valid: %v", err)
	}
	router, err := gorillamux.NewRouter(doc)
	must(tb, err)
	return &conforming{t: tb, doc: doc, router: router}
}

func (c *conforming) RoundTrip(request *http.Request) (*http.Response, error) {
	var body []byte
	if request.Body != nil {
		var err error
		if body, err = io.ReadAll(request.Body); err != nil {
			return nil, err
		}
		request.Body = io.NopCloser(bytes.NewReader(body))
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil || !strings.HasPrefix(request.URL.Path, "/api/v1/") || request.URL.Path == "/api/v1/openapi.json" || request.URL.Path == "/api/v1/docs" {
		return response, err
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		return response, nil // its events are checked one by one
	}
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(answer))
	c.check(request, body, response, answer)
	return response, nil
}

func (c *conforming) check(request *http.Request, body []byte, response *http.Response, answer []byte) {
	what := fmt.Sprintf("%s %s: %d %s", request.Method, request.URL.Path, response.StatusCode, answer)
	found := request.Clone(context.Background())
	found.Body = io.NopCloser(bytes.NewReader(body))
	route, parameters, err := c.router.FindRoute(found)
	if err != nil {
		c.checkSchema("Problem", answer, what)
		return
	}
	input := &openapi3filter.RequestValidationInput{
		Request: found, PathParams: parameters, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if response.StatusCode < http.StatusMultipleChoices {
		if err := openapi3filter.ValidateRequest(context.Background(), input); err != nil {
			c.t.Errorf("the document does not allow a request that was accepted: %s: %v", what, err)
		}
	}
	checked := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: input, Status: response.StatusCode, Header: response.Header, Options: input.Options,
	}
	if err := openapi3filter.ValidateResponse(context.Background(), checked.SetBodyBytes(answer)); err != nil {
		c.t.Errorf("the answer is not what the document says: %s: %v", what, err)
	}
}

func (c *conforming) checkSchema(name string, raw []byte, what string) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		c.t.Errorf("%s: not JSON: %v", what, err)
		return
	}
	if err := c.doc.Components.Schemas[name].Value.VisitJSON(value, openapi3.EnableJSONSchema2020()); err != nil {
		c.t.Errorf("%s: not a %s: %v", what, name, err)
	}
}

// token returns an access token; no projects means all.
func (b *bed) token(scopes []auth.Scope, projects ...string) string {
	b.t.Helper()
	signed, _, err := b.issuer.Issue("tester", scopes, projects, time.Hour)
	must(b.t, err)
	return signed
}

func (b *bed) admin() string { return b.token([]auth.Scope{auth.ScopeAdmin}) }

// reply is an answer that was read.
type reply struct {
	*http.Response
	body []byte
}

// send sends a request and reads the answer. path may begin with its method, GET is left out.
func (b *bed) send(token, path, body string) reply {
	b.t.Helper()
	method, path := split(path)
	request, err := http.NewRequest(method, b.url+path, strings.NewReader(body))
	must(b.t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := b.http.Do(request)
	must(b.t, err)
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	must(b.t, err)
	return reply{Response: response, body: raw}
}

func split(request string) (method, path string) {
	method, path, found := strings.Cut(request, " ")
	if !found {
		method, path = http.MethodGet, request
	}
	if !slices.ContainsFunc([]string{"/api", "/healthz", "/readyz", "/metrics", "/webhooks"}, func(p string) bool { return strings.HasPrefix(path, p) }) {
		path = "/api/v1" + path
	}
	return method, path
}

// get sends a request as admin that must succeed with that status, and decodes its answer.
func get[T any](b *bed, path, body string, status int) T {
	b.t.Helper()
	r := b.send(b.admin(), path, body)
	if r.StatusCode != status {
		b.t.Fatalf("%s: %d instead of %d: %s", path, r.StatusCode, status, r.body)
	}
	var value T
	must(b.t, json.Unmarshal(r.body, &value))
	return value
}

// refused sends a request that must be answered with a problem of that status and code, and returns it.
func (b *bed) refused(token, path, body string, status int, code mayfly.Code) client.Problem {
	b.t.Helper()
	r := b.send(token, path, body)
	var p client.Problem
	if err := json.Unmarshal(r.body, &p); err != nil {
		b.t.Errorf("%s: %d without a problem: %s", path, r.StatusCode, r.body)
		return p
	}
	if r.StatusCode != status || p.Status != status || p.Code != string(code) {
		b.t.Errorf("%s %.200s: %d %s instead of %d %s: %s", path, body, r.StatusCode, p.Code, status, code, p.Detail)
	}
	if kind := r.Header.Get("Content-Type"); kind != "application/problem+json" {
		b.t.Errorf("%s: a problem of content type %s", path, kind)
	}
	return p
}

// nothingBuilding ends the builds that are asked for: a project has one at a time.
func (b *bed) nothingBuilding() {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `update template set state = 'failed' where state = 'building'`)
	must(b.t, err)
}

// template stores a ready template of a project.
func (b *bed) template(project string) *mayfly.Template {
	b.t.Helper()
	b.nothingBuilding()
	t, err := b.Templates.Request(b.t.Context(), project, "tester")
	must(b.t, err)
	now := time.Now()
	t.State, t.ReadyAt, t.RowCount, t.SizeBytes, t.Report = mayfly.TemplateReady, &now, 42, 1<<20, []byte(`{"tables": []}`)
	must(b.t, b.Store.UpdateTemplate(b.t.Context(), t))
	return t
}

// sandbox stores a sandbox of a project, with a template if there is none.
func (b *bed) sandbox(project string) *mayfly.Preview {
	b.t.Helper()
	if _, err := b.Store.LatestTemplate(b.t.Context(), project); err != nil {
		b.template(project)
	}
	p, err := b.Previews.CreateSandbox(b.t.Context(), provisioner.SandboxRequest{Project: project, CreatedBy: "tester"})
	must(b.t, err)
	return p
}

// pullRequest stores the preview of a pull request of shop.
func (b *bed) pullRequest(number int, sha string) *mayfly.Preview {
	b.t.Helper()
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: mayfly.PullRequestName("shop", number), Project: "shop", Kind: mayfly.KindPullRequest, Generation: 1,
		PR: &mayfly.PullRequest{RepositoryID: 7, Number: number, Repository: "acme/shop", HeadSHA: sha, BaseRef: "main", Title: "Add a column"},
	}
	must(b.t, b.Store.CreatePreview(b.t.Context(), p, store.Limits{}))
	return p
}

// observe does what converge does at the end of its work: it records what is.
func (b *bed) observe(p *mayfly.Preview, state mayfly.PreviewState) {
	b.t.Helper()
	now, err := b.Store.Preview(b.t.Context(), p.ID)
	must(b.t, err)
	now.State = state
	if state == mayfly.PreviewReady {
		at := time.Now()
		now.ObservedGeneration, now.ReadyAt = now.Generation, &at
		if now.PR != nil {
			now.ObservedSHA = now.PR.HeadSHA
		}
	}
	must(b.t, b.Store.Observe(b.t.Context(), now))
}

// wait waits until the condition holds.
func (b *bed) wait(what string, condition func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(testTimeout); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: not within %s", what, testTimeout)
		}
	}
}

func names(items []client.Preview) []string {
	out := map[string]bool{}
	for _, p := range items {
		out[p.Name] = true
	}
	return slices.Sorted(maps.Keys(out))
}
