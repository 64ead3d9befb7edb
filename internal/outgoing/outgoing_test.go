package outgoing_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/outgoing"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const password = "s3cret/of&the=preview"

// received is one request that a receiver got.
type received struct {
	method, path string
	header       http.Header
	body         []byte
}

// receiver is somebody who is told. answer decides about each request; nil accepts all.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
	answer   func(n int, w http.ResponseWriter, r *http.Request)
}

func newReceiver(t *testing.T, answer func(n int, w http.ResponseWriter, r *http.Request)) *receiver {
	t.Helper()
	r := &receiver{answer: answer}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		r.requests = append(r.requests, received{request.Method, request.URL.RequestURI(), request.Header, body})
		n := len(r.requests)
		r.mu.Unlock()
		if r.answer != nil {
			r.answer(n, w, request)
		}
	}))
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

func (r *receiver) got() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.requests...)
}

// kinds are the events that it got, in their order.
func (r *receiver) kinds(t *testing.T) string {
	t.Helper()
	var out []string
	for _, one := range r.got() {
		var event struct {
			Type string `json:"type"`
		}
		if err := json.Unmarshal(one.body, &event); err != nil {
			t.Fatalf("not an event: %s", one.body)
		}
		out = append(out, strings.TrimPrefix(event.Type, "preview."))
	}
	return strings.Join(out, " ")
}

type bed struct {
	t     *testing.T
	pool  *pgxpool.Pool
	store *store.Store
	log   *bytes.Buffer
	*outgoing.Service
}

// connections is what gives passwords.
type connections struct{ store *store.Store }

func (c connections) Connection(ctx context.Context, previewID, _ string) (*mayfly.Preview, *outgoing.Connection, error) {
	p, err := c.store.Preview(ctx, previewID)
	if err != nil {
		return nil, nil, err
	}
	if p.State == mayfly.PreviewDeleted {
		return nil, nil, mayfly.Errorf(mayfly.CodeNotFound, "it is gone")
	}
	return p, &outgoing.Connection{URL: "postgres://app:" + password + "@db:6432/" + p.Name, Password: password}, nil
}

func setup(t *testing.T, targets ...*outgoing.Target) *bed {
	t.Helper()
	server := pgtest.Cluster(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.Database(t)))
	must(t, err)
	config.MaxConns = 40
	b := &bed{t: t, log: &bytes.Buffer{}}
	b.pool, err = store.Connect(t.Context(), config, "")
	must(t, err)
	t.Cleanup(b.pool.Close)
	must(t, store.Migrate(t.Context(), b.pool))
	must(t, jobs.Migrate(t.Context(), b.pool))
	enqueuer, err := jobs.NewEnqueuer(b.pool)
	must(t, err)
	logger := slog.New(slog.NewTextHandler(&syncWriter{to: b.log}, nil))
	b.store = store.New(b.pool, enqueuer, logger)
	b.Service = b.process(logger, targets...)
	b.store.SetOutgoing(b.Interested)
	return b
}

// process is what another process of the service would make.
func (b *bed) process(logger *slog.Logger, targets ...*outgoing.Target) *outgoing.Service {
	return outgoing.New(outgoing.Options{Targets: targets, Store: b.store, Previews: connections{b.store}, Logger: logger, Now: time.Now})
}

type syncWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.to.Write(p)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (b *bed) preview(number int) *mayfly.Preview {
	b.t.Helper()
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: mayfly.PullRequestName("shop", number), Project: "shop", Kind: mayfly.KindPullRequest, Generation: 1,
		PR: &mayfly.PullRequest{
			RepositoryID: 7, Number: number, Repository: "acme/shop", HeadSHA: strings.Repeat("a", 40), HeadRef: `feat/"x"&y`, BaseRef: "main", Title: "A title",
		},
	}
	must(b.t, b.store.CreatePreview(b.t.Context(), p, store.Limits{}))
	return p
}

// observe records a state of the preview, as converge does.
func (b *bed) observe(p *mayfly.Preview, state mayfly.PreviewState, change ...func(*mayfly.Preview)) {
	b.t.Helper()
	p.State, p.Failure = state, nil
	for _, c := range change {
		c(p)
	}
	must(b.t, b.store.Observe(b.t.Context(), p))
}

// deliver sends what waits; it must end so.
func (b *bed) deliver(p *mayfly.Preview, target string, waits bool) {
	b.t.Helper()
	err := b.Deliver(b.t.Context(), p.ID, target)
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) != waits || !waits && err != nil {
		b.t.Fatalf("deliver to %s: %v, it has to wait: %v", target, err, waits)
	}
}

// due makes everything that waits due now, and lets go of what a killed process held.
func (b *bed) due() {
	b.t.Helper()
	_, err := b.pool.Exec(b.t.Context(), `update outgoing_delivery set next_at = now() - interval '2 minutes', leased_until = null where state = 'waiting'`)
	must(b.t, err)
}

func (b *bed) deliveries(f store.OutgoingFilter) []*store.OutgoingDelivery {
	b.t.Helper()
	list, err := b.store.OutgoingDeliveries(b.t.Context(), f)
	must(b.t, err)
	return list
}

func secret() []byte { return []byte("a secret of more than 24 bytes") }

func hook(name string, r *receiver) *outgoing.Target {
	return &outgoing.Target{Name: name, URL: r.URL + "/hook?key=in-the-address", Secret: secret()}
}

// TestLife tells of the whole life of a preview, in order, each event once, signed, and without a credential.
func TestLife(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	only := newReceiver(t, nil)
	narrow := hook("narrow", only)
	narrow.Events = []string{store.EventFailed}
	other := hook("other", only)
	other.Projects = []string{"till"}
	b := setup(t, hook("chat", r), narrow, other)
	p := b.preview(1)
	b.observe(p, mayfly.PreviewCreating)
	ready := func(p *mayfly.Preview) { p.ObservedGeneration, p.ObservedSHA = 1, p.PR.HeadSHA }
	b.observe(p, mayfly.PreviewReady, ready)
	b.observe(p, mayfly.PreviewReady)     // looked at again
	b.observe(p, mayfly.PreviewSuspended) // sleeps
	b.observe(p, mayfly.PreviewReady)     // and wakes
	b.observe(p, mayfly.PreviewMigrating)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedSHA = strings.Repeat("b", 40) })
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedPassword = 2 })
	b.observe(p, mayfly.PreviewFailed, func(p *mayfly.Preview) {
		p.Failure = &mayfly.Failure{Code: mayfly.CodeMigrationFailed, Message: "Key (email)=(alice@example.com) already exists"}
	})
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 2 })
	b.observe(p, mayfly.PreviewDeleted)
	must(t, b.store.Observe(t.Context(), p)) // too late
	b.deliver(p, "chat", false)
	b.deliver(p, "narrow", false)
	if got := r.kinds(t); got != "ready changed changed failed ready deleted" {
		t.Errorf("the receiver was told: %s", got)
	}
	if got := only.kinds(t); got != "failed" {
		t.Errorf("who wants failures alone was told: %s", got)
	}
	verifier, err := standardwebhooks.NewWebhookRaw(secret())
	must(t, err)
	ids := map[string]bool{}
	for _, one := range r.got() {
		if err := verifier.Verify(one.body, one.header); err != nil {
			t.Errorf("the signature: %v", err)
		}
		if err := verifier.Verify(append(one.body, ' '), one.header); err == nil {
			t.Error("a changed body has a good signature")
		}
		if ids[one.header.Get("webhook-id")] {
			t.Error("two events have the same id")
		}
		ids[one.header.Get("webhook-id")] = true
		if strings.Contains(string(one.body), "alice") || strings.Contains(string(one.body), password) || strings.Contains(string(one.body), "A title") {
			t.Errorf("the event says too much: %s", one.body)
		}
	}
	var first struct {
		Data struct {
			Preview struct {
				Name        string `json:"name"`
				PullRequest struct {
					Number     int    `json:"number"`
					AppliedSHA string `json:"applied_sha"`
				} `json:"pull_request"`
			} `json:"preview"`
		} `json:"data"`
	}
	must(t, json.Unmarshal(r.got()[0].body, &first))
	if first.Data.Preview.Name != "shop-pr-1" || first.Data.Preview.PullRequest.Number != 1 || first.Data.Preview.PullRequest.AppliedSHA != strings.Repeat("a", 40) {
		t.Errorf("the first event: %s", r.got()[0].body)
	}
}

// TestRetries keeps the order while a receiver refuses, and gives up after a day, and goes on with what came after.
func TestRetries(t *testing.T) {
	t.Parallel()
	refuse := true
	r := newReceiver(t, func(_ int, w http.ResponseWriter, _ *http.Request) {
		if refuse {
			w.Header().Set("Retry-After", "1800")
			http.Error(w, "out of\norder "+strings.Repeat("x", 1<<20), http.StatusInternalServerError)
		}
	})
	b := setup(t, hook("chat", r))
	p := b.preview(1)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 1 })
	b.observe(p, mayfly.PreviewDeleted)
	b.deliver(p, "chat", true)
	b.deliver(p, "chat", true) // not due
	b.due()
	b.deliver(p, "chat", true)
	if got := r.kinds(t); got != "ready ready" {
		t.Errorf("the receiver refused, and was told: %s", got)
	}
	waiting := b.deliveries(store.OutgoingFilter{Target: "chat", State: "waiting"})
	if len(waiting) != 2 || waiting[1].Attempts != 2 || waiting[1].Status != 500 || !strings.HasPrefix(waiting[1].Error, "out of order xx") || len(waiting[1].Error) > 300 ||
		time.Until(waiting[1].NextAt) < 20*time.Minute {
		t.Fatalf("the log of deliveries: %+v", waiting)
	}
	_, err := b.pool.Exec(t.Context(), `update outgoing_delivery set give_up_at = now() where attempts > 0`)
	must(t, err)
	b.due()
	b.deliver(p, "chat", true) // gives up the first, and tries the second
	refuse = false
	b.due()
	b.deliver(p, "chat", false)
	if got := r.kinds(t); got != "ready ready ready deleted deleted" {
		t.Errorf("the receiver is back, and was told: %s", got)
	}
	lost := b.deliveries(store.OutgoingFilter{State: "failed"})
	if len(lost) != 1 || lost[0].Kind != store.EventReady {
		t.Fatalf("given up: %+v", lost)
	}
	if _, err := b.store.RedeliverOutgoing(t.Context(), lost[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.RedeliverOutgoing(t.Context(), lost[0].ID); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("again while it waits: %v", err)
	}
	b.deliver(p, "chat", false)
	if got := r.kinds(t); got != "ready ready ready deleted deleted ready" {
		t.Errorf("by hand: %s", got)
	}
	must(t, b.store.PurgeOutgoing(t.Context(), time.Now().Add(time.Hour)))
	if left := b.deliveries(store.OutgoingFilter{}); len(left) == 2 {
		t.Errorf("%d deliveries are left of a preview that is gone", len(left))
	}
	if strings.Contains(b.log.String(), "in-the-address") {
		t.Error("the address is in the log")
	}
}

// TestKilled has a process die after it took a delivery: another one delivers it once the lease is over, and nothing after it before.
func TestKilled(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	b := setup(t, hook("chat", r))
	p := b.preview(1)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 1 })
	b.observe(p, mayfly.PreviewDeleted)
	d, _, err := b.store.ClaimOutgoing(t.Context(), p.ID, "chat", time.Minute)
	if err != nil || d == nil {
		t.Fatalf("take: %+v, %v", d, err)
	}
	b.deliver(p, "chat", true)
	if got := r.kinds(t); got != "" {
		t.Errorf("told while another process may be telling it: %s", got)
	}
	_, err = b.pool.Exec(t.Context(), `update outgoing_delivery set leased_until = now() - interval '2 minutes', next_at = now() - interval '3 minutes' where leased_until is not null`)
	must(t, err)
	_, err = b.pool.Exec(t.Context(), `delete from river_job`)
	must(t, err)
	must(t, b.store.RequeueOutgoing(t.Context()))
	var again int
	must(t, b.pool.QueryRow(t.Context(), `select count(*) from river_job where kind = 'outgoing_deliver'`).Scan(&again))
	if again != 1 {
		t.Errorf("%d jobs for what a killed process left", again)
	}
	b.deliver(p, "chat", false)
	if got := r.kinds(t); got != "ready deleted" {
		t.Errorf("told: %s", got)
	}
	d.State = "failed" // the first process was only slow
	must(t, b.store.FinishOutgoing(t.Context(), d))
	if failed := b.deliveries(store.OutgoingFilter{State: "failed"}); len(failed) != 0 {
		t.Errorf("a process that lost its delivery changed it: %+v", failed)
	}
}

// TestDeadReceiver runs the real queue with a receiver that never answers: the others are told, and previews are made, meanwhile.
func TestDeadReceiver(t *testing.T) {
	t.Parallel()
	block := make(chan struct{})
	dead := newReceiver(t, func(int, http.ResponseWriter, *http.Request) { <-block })
	alive := newReceiver(t, nil)
	b := setup(t, hook("dead", dead), hook("alive", alive))
	none := func(context.Context) error { return nil }
	queue, err := jobs.New(jobs.Options{Pool: b.pool, Logger: slog.New(slog.DiscardHandler), Workers: 2, Handlers: jobs.Handlers{
		Converge: func(ctx context.Context, id string) error {
			p, err := b.store.Preview(ctx, id)
			if err != nil || p.State == mayfly.PreviewReady {
				return err
			}
			p.State, p.ObservedGeneration = mayfly.PreviewReady, 1
			return b.store.Observe(ctx, p)
		},
		PullRequest: func(context.Context, int64, int) error { return nil }, Publish: func(context.Context, string) error { return nil },
		Delivery: func(context.Context, string) error { return nil }, BuildTemplate: func(context.Context, string) error { return nil },
		Outgoing: b.Deliver, Reconcile: none, Expire: none, Sweep: none, Schedule: none,
	}})
	must(t, err)
	must(t, queue.Start(t.Context()))
	defer func() {
		close(block)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, queue.Stop(ctx))
	}()
	const previews = 30
	for n := range previews {
		b.preview(n + 1)
	}
	for deadline := time.Now().Add(time.Minute); len(alive.got()) < previews; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the receiver that is alive was told of %d of %d previews", len(alive.got()), previews)
		}
	}
	if n := len(dead.got()); n > 8 {
		t.Errorf("%d jobs are held up by the receiver that is dead", n)
	}
}

// TestAddresses refuses what must not be called, and redirects.
func TestAddresses(t *testing.T) {
	t.Parallel()
	inner := newReceiver(t, nil)
	r := newReceiver(t, func(_ int, w http.ResponseWriter, request *http.Request) {
		http.Redirect(w, request, inner.URL, http.StatusTemporaryRedirect)
	})
	at := func(name, url string) *outgoing.Target {
		return &outgoing.Target{Name: name, URL: url, Secret: secret()}
	}
	b := setup(t, at("redirect", r.URL), at("metadata", "http://169.254.169.254/latest/meta-data/"), at("v6", "http://[fe80::1]/"),
		at("mapped", "http://[::ffff:169.254.169.254]/"), at("nothing", "http://0.0.0.0:1/"), at("decimal", "http://[fd00:ec2::254]/"))
	p := b.preview(1)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 1 })
	for _, name := range []string{"redirect", "metadata", "v6", "mapped", "nothing", "decimal"} {
		b.deliver(p, name, true)
		d := b.deliveries(store.OutgoingFilter{Target: name})[0]
		if name == "redirect" && d.Status != http.StatusTemporaryRedirect || name != "redirect" && !strings.Contains(d.Error, "link-local") {
			t.Errorf("%s: %d %q", name, d.Status, d.Error)
		}
	}
	if len(inner.got()) > 0 {
		t.Error("a redirect was followed")
	}
}

// TestPushVercel plays the life of a variable at a host like Vercel.
func TestPushVercel(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(n int, w http.ResponseWriter, request *http.Request) {
		switch {
		case n == 1:
			http.Error(w, "value: "+password, http.StatusBadGateway) // repeats what it was given
		case request.Method == http.MethodPost:
			w.WriteHeader(http.StatusCreated)
			_, _ = fmt.Fprint(w, `{"created":[{"id":"env/1","key":"DATABASE_URL"}],"failed":[]}`)
		}
	})
	push, err := outgoing.NewPush(outgoing.Preset{Host: "vercel", Address: r.URL, Project: "prj_1", Team: "team_1", Token: "vercel-token"})
	must(t, err)
	b := setup(t, &outgoing.Target{Name: "vercel", Push: push})
	p := b.preview(1)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 1 })
	b.deliver(p, "vercel", true)
	b.due()
	b.deliver(p, "vercel", false)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 2 })
	b.observe(p, mayfly.PreviewFailed, func(p *mayfly.Preview) { p.Failure = &mayfly.Failure{Code: mayfly.CodeInternal} })
	b.deliver(p, "vercel", false)
	b.observe(p, mayfly.PreviewDeleted)
	b.deliver(p, "vercel", false)
	requests := r.got()
	if len(requests) != 4 {
		t.Fatalf("%d requests instead of 4: %+v", len(requests), requests)
	}
	var body struct {
		Key       string   `json:"key"`
		Value     string   `json:"value"`
		GitBranch string   `json:"gitBranch"` //nolint:tagliatelle // as Vercel has it
		Target    []string `json:"target"`
	}
	must(t, json.Unmarshal(requests[1].body, &body))
	if requests[1].path != "/v10/projects/prj_1/env?upsert=true&teamId=team_1" || requests[1].header.Get("Authorization") != "Bearer vercel-token" ||
		body.Key != "DATABASE_URL" || !strings.Contains(body.Value, password) || body.GitBranch != `feat/"x"&y` || len(body.Target) != 1 || body.Target[0] != "preview" {
		t.Errorf("set: %+v %s", requests[1], requests[1].body)
	}
	if last := requests[3]; last.method != http.MethodDelete || last.path != "/v9/projects/prj_1/env/env%2F1?teamId=team_1" || len(last.body) > 0 {
		t.Errorf("remove: %+v", last)
	}
	b.nothingSecret("vercel-token")
}

// nothingSecret looks for secrets wherever they could be left behind.
func (b *bed) nothingSecret(secrets ...string) {
	b.t.Helper()
	var stored string
	must(b.t, b.pool.QueryRow(b.t.Context(), `
		select concat((select string_agg(e::text, '') from outgoing_event e), (select string_agg(d::text, '') from outgoing_delivery d),
			(select string_agg(k::text, '') from outgoing_kept k), (select string_agg(j::text, '') from river_job j))`).Scan(&stored))
	for _, s := range append(secrets, password) {
		if strings.Contains(stored, s) || strings.Contains(b.log.String(), s) {
			b.t.Errorf("%q is in the state database or in the log", s)
		}
	}
}

// TestPushRender does the same with a host like Render, and with what must not be pushed.
func TestPushRender(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, func(_ int, w http.ResponseWriter, request *http.Request) {
		if request.Method == http.MethodDelete {
			http.Error(w, "gone already", http.StatusNotFound)
		}
	})
	push, err := outgoing.NewPush(outgoing.Preset{Host: "render", Address: r.URL, Project: "srv-1", Token: "render-token"})
	must(t, err)
	b := setup(t, &outgoing.Target{Name: "render", Push: push})
	ready := func(p *mayfly.Preview) { p.ObservedGeneration = 1 }
	p, fork, brief := b.preview(1), b.preview(2), b.preview(3)
	_, err = b.pool.Exec(t.Context(), `update preview set fork = true where id = $1`, fork.ID)
	must(t, err)
	for _, one := range []*mayfly.Preview{p, fork, brief} {
		b.observe(one, mayfly.PreviewReady, ready)
	}
	b.observe(brief, mayfly.PreviewDeleted)
	b.deliver(p, "render", false)
	b.deliver(fork, "render", false)
	b.deliver(brief, "render", false)
	b.observe(p, mayfly.PreviewDeleted)
	b.observe(fork, mayfly.PreviewDeleted)
	b.deliver(p, "render", false)
	b.deliver(fork, "render", false)
	requests := r.got()
	if len(requests) != 2 || requests[0].method != http.MethodPut || requests[0].path != "/v1/services/srv-1/env-vars/DATABASE_URL_PR_1" ||
		!strings.Contains(string(requests[0].body), `"value":"postgres://`) || requests[1].method != http.MethodDelete || requests[1].path != requests[0].path {
		t.Errorf("requests: %+v", requests)
	}
	b.nothingSecret("render-token")
}

func TestParseRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text outgoing.RequestText
		ok   bool
	}{
		"good":             {outgoing.RequestText{Method: "PUT", URL: "https://x.example/{{urlpath .Preview.Name}}", Body: "{{json .Connection.URL}}"}, true},
		"loopback":         {outgoing.RequestText{Method: "POST", URL: "http://127.0.0.1:1/x"}, true},
		"plain http":       {outgoing.RequestText{Method: "POST", URL: "http://x.example/"}, false},
		"host by a branch": {outgoing.RequestText{Method: "POST", URL: "https://{{.PullRequest.Branch}}/"}, false},
		"host, half of it": {outgoing.RequestText{Method: "POST", URL: "https://x.{{.PullRequest.Branch}}.example/"}, false},
		"host by trick":    {outgoing.RequestText{Method: "POST", URL: "https://x.example{{.PullRequest.Branch}}/"}, false},
		"credentials":      {outgoing.RequestText{Method: "POST", URL: "https://u:p@x.example/"}, false},
		"get":              {outgoing.RequestText{Method: "GET", URL: "https://x.example/"}, false},
		"broken":           {outgoing.RequestText{Method: "POST", URL: "https://x.example/", Body: "{{"}, false},
		"unknown function": {outgoing.RequestText{Method: "POST", URL: "https://x.example/", Body: "{{env .X}}"}, false},
	} {
		if _, err := outgoing.ParseRequest(c.text); (err == nil) != c.ok || err != nil && mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := outgoing.NewPush(outgoing.Preset{Host: "netlify", Project: "x", Token: "x"}); err == nil {
		t.Error("a preset that does not exist")
	}
}

// TestTemplatesFailClosed has templates that cannot be filled in: nothing is sent, and nothing is said of the values.
func TestTemplatesFailClosed(t *testing.T) {
	t.Parallel()
	r := newReceiver(t, nil)
	target := func(name string, text outgoing.RequestText) *outgoing.Target {
		text.Method = "POST"
		request, err := outgoing.ParseRequest(text)
		must(t, err)
		return &outgoing.Target{Name: name, Push: &outgoing.Push{Set: request, Remove: request}}
	}
	json := map[string]string{"Content-Type": "application/json"}
	names := []string{"address", "missing", "json", "header"}
	b := setup(t,
		target("address", outgoing.RequestText{URL: r.URL + "/{{.Connection.Password}}"}),
		target("missing", outgoing.RequestText{URL: r.URL + "/", Body: "{{.Secrets.token}}{{.Kept.nothing}}"}),
		target("json", outgoing.RequestText{URL: r.URL + "/", Headers: json, Body: `{"branch":"{{.PullRequest.Branch}}","url":"{{.Connection.URL}}"}`}),
		target("header", outgoing.RequestText{URL: r.URL + "/", Headers: map[string]string{"X-Branch": "{{.Connection.URL}}\r\nX-More: 1"}}),
	)
	p := b.preview(1)
	b.observe(p, mayfly.PreviewReady, func(p *mayfly.Preview) { p.ObservedGeneration = 1 })
	for _, name := range names {
		b.deliver(p, name, true)
	}
	if got := r.got(); len(got) > 0 {
		t.Errorf("sent: %+v", got)
	}
	b.nothingSecret()
}
