package provisioner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/provisioner/driver/memory"
)

// shiftedPath makes the state database's Postgres take the time from the model: now() and clock_timestamp() are found in the schema first.
const shiftedPath = `set search_path = mayfly, pg_catalog`

// modelBed is what the histories of one test share, because making it takes time.
type modelBed struct {
	config *pgxpool.Config
	admin  *pgxpool.Pool
	keys   *auth.Keys
	key    keyPair
	tables string
}

func newModelBed(t *testing.T) *modelBed {
	t.Helper()
	server := pgtest.Cluster(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 40
	b := &modelBed{config: config}
	if b.key, err = appKey(); err != nil {
		t.Fatal(err)
	}
	if b.keys, err = auth.LoadKeys(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	mine := config.Copy()
	mine.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, shiftedPath)
		return err
	}
	server.Exec(t, config.ConnConfig.Database, `create schema mayfly;
		create table mayfly.model_shift (by interval not null);
		insert into mayfly.model_shift values ('0');
		create function mayfly.now() returns timestamptz language sql stable as 'select pg_catalog.now() + by from mayfly.model_shift';
		create function mayfly.clock_timestamp() returns timestamptz language sql volatile as 'select pg_catalog.clock_timestamp() + by from mayfly.model_shift'`)
	if b.admin, err = store.Connect(t.Context(), mine, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.admin.Close)
	if err := store.Migrate(t.Context(), b.admin); err != nil {
		t.Fatal(err)
	}
	if err := jobs.Migrate(t.Context(), b.admin); err != nil {
		t.Fatal(err)
	}
	err = b.admin.QueryRow(t.Context(), `
		select string_agg(format('delete from %I.%I', schemaname, tablename), '; ') from pg_tables
		where schemaname = 'mayfly' and tablename not in ('schema_version', 'river_migration', 'model_shift')`).Scan(&b.tables)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// empty makes the state database as new.
func (b *modelBed) empty(tb testing.TB) {
	tb.Helper()
	if _, err := b.admin.Exec(context.Background(), `begin; set local session_replication_role = replica; `+b.tables+`; update model_shift set by = '0'; commit`); err != nil {
		tb.Fatalf("empty the state database: %v", err)
	}
}

// modelClock is the real time and what it was moved by.
type modelClock struct {
	mu sync.Mutex
	by time.Duration
}

func (c *modelClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.by)
}

// world is everything around the service in one history: GitHub, the machine, the network between them, and time.
type world struct {
	bed     *modelBed
	history modelHistory
	logger  *slog.Logger
	clock   *modelClock
	options provisioner.Options

	github    *forgetest.Server
	repo      *forgetest.Repo
	transport *http.Transport
	engine    modelEngine
	volumes   driver.Volumes
	template  string          // the volume
	made      map[string]bool // instances that ever were, on a real machine
	runDir    string          // where sockets are; "" without any
	real      bool            // the machine runs Postgres

	processes []*modelProcess
	started   int
	picks     int // jobs picked so far, which makes the choice of the next

	prs    []*modelPR
	held   []forgetest.Delivery
	serial int // makes contents unlike

	mu       sync.Mutex
	pending  []armed // steps that happen within the work that goes on
	stmts    int     // after how many statements the process dies; 0 for never
	nested   bool    // such a step happens now
	mute     int     // after how many answers of GitHub one is lost; 0 for none
	working  string  // the kind of the job that runs
	events   []string
	failures []string
}

// armed is a step that waits for its moment.
type armed struct {
	left int
	step modelStep
}

// modelMachine is the machine that all processes share, which fails on its own.
type modelMachine struct {
	*memory.Engine

	mu   sync.Mutex
	down bool
}

func (m *modelMachine) unplug(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

func (m *modelMachine) answers() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return mayfly.Errorf(mayfly.CodeEngineUnavailable, "the engine does not answer")
	}
	return nil
}

func (m *modelMachine) Create(ctx context.Context, spec driver.InstanceSpec) error {
	if err := m.answers(); err != nil {
		return err
	}
	return m.Engine.Create(ctx, spec)
}

func (m *modelMachine) Start(ctx context.Context, id string) error {
	if err := m.answers(); err != nil {
		return err
	}
	return m.Engine.Start(ctx, id)
}

func (m *modelMachine) Stop(ctx context.Context, id string, timeout time.Duration) error {
	if err := m.answers(); err != nil {
		return err
	}
	return m.Engine.Stop(ctx, id, timeout)
}

func (m *modelMachine) Remove(ctx context.Context, id string) error {
	if err := m.answers(); err != nil {
		return err
	}
	return m.Engine.Remove(ctx, id)
}

func (m *modelMachine) List(ctx context.Context, labels map[string]string) ([]driver.Instance, error) {
	if err := m.answers(); err != nil {
		return nil, err
	}
	return m.Engine.List(ctx, labels)
}

func (m *modelMachine) Inspect(ctx context.Context, id string) (driver.Instance, error) {
	if err := m.answers(); err != nil {
		return driver.Instance{}, err
	}
	return m.Engine.Inspect(ctx, id)
}

// hookURL is where GitHub is told to send deliveries: a name only, see worldTransport.
const hookURL = "http://mayfly.test"

// Receiver makes deliveries reach a process that lives, or nobody.
func (w *world) receiver() *http.Client {
	return &http.Client{Transport: receiver{w}}
}

type receiver struct{ w *world }

// RoundTrip implements http.RoundTripper.
func (r receiver) RoundTrip(request *http.Request) (*http.Response, error) {
	recorded := httptest.NewRecorder()
	for _, p := range r.w.processes {
		if !p.killed() {
			p.inbox.ServeHTTP(recorded, request)
			return recorded.Result(), nil
		}
	}
	recorded.WriteHeader(http.StatusBadGateway)
	return recorded.Result(), nil
}

// newWorld makes a world in which nothing has happened yet.
func newWorld(tb testing.TB, b *modelBed, h modelHistory) *world {
	tb.Helper()
	w := emptyWorld(tb, b, h)
	volumes := memory.NewVolumes()
	w.engine = &modelMachine{Engine: memory.NewEngine(memory.Options{Volumes: volumes, AdminRole: cluster.AdminRole})}
	w.volumes, w.template = volumes, mayfly.NewID("t")
	image, err := w.engine.Image(context.Background(), "", 17)
	if err != nil {
		tb.Fatal(err)
	}
	if err := volumes.Create(context.Background(), w.template, image.User); err != nil {
		tb.Fatal(err)
	}
	if err := volumes.Freeze(context.Background(), w.template); err != nil {
		tb.Fatal(err)
	}
	w.open(tb, image)
	return w
}

// emptyWorld is one without a machine.
func emptyWorld(tb testing.TB, b *modelBed, h modelHistory) *world {
	tb.Helper()
	b.empty(tb)
	w := &world{bed: b, history: h, clock: &modelClock{}, logger: slog.New(slog.DiscardHandler), transport: &http.Transport{MaxIdleConnsPerHost: 4}}
	if os.Getenv("MAYFLY_TEST_LOG") != "" {
		w.logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.openGitHub(tb)
	return w
}

// open starts the service on a machine with a template.
func (w *world) open(tb testing.TB, image driver.Image) {
	tb.Helper()
	all := &projects{}
	for _, name := range w.projectNames() {
		all.all = append(all.all, w.project(name, image.Major))
	}
	w.options = provisioner.Options{
		Projects: all, Sealer: w.bed.keys.Sealer, Connections: &clients{active: map[string]int{}, disconnected: map[string]int{}},
		Clock: w.clock.Now, Logger: w.logger, ExternalURL: hookURL, CommentEvery: time.Second,
	}
	first := w.startProcess(tb)
	w.processes = append(w.processes, first)
	for i, name := range w.projectNames() {
		made := &mayfly.Template{ID: w.template, Project: name, Image: image.ID, Major: image.Major, Database: "app", Owner: "app", Source: "live"}
		if i > 0 { // each project has one of its own, which here is the same
			made.ID = w.template + "2"
			if err := w.volumes.Clone(context.Background(), w.template, made.ID, 0); err != nil {
				tb.Fatal(err)
			}
			if err := w.volumes.Freeze(context.Background(), made.ID); err != nil {
				tb.Fatal(err)
			}
		}
		if err := first.store.CreateTemplate(context.Background(), made); err != nil {
			tb.Fatal(err)
		}
		now := w.clock.Now()
		made.State, made.ReadyAt = mayfly.TemplateReady, &now
		if err := first.store.UpdateTemplate(context.Background(), made); err != nil {
			tb.Fatal(err)
		}
	}
	if w.history.processes {
		w.processes = append(w.processes, w.startProcess(tb))
	}
	for _, p := range w.processes {
		if err := errors.Join(w.tidy(p, "reconcile"), w.tidy(p, "poll")); err != nil {
			tb.Fatal(err)
		}
	}
}

func (w *world) openGitHub(tb testing.TB) {
	tb.Helper()
	var err error
	w.github, err = forgetest.New(context.Background(), forgetest.Options{
		Token: "token", AppID: appID, AppKey: w.bed.key.public, Now: w.clock.Now, Unchecked: !w.history.checked,
	})
	if err != nil {
		tb.Fatal(err)
	}
	if w.repo, err = w.github.CreateRepository(context.Background(), "acme/shop"); err != nil {
		tb.Fatal(err)
	}
	w.repo.SetRole("maria", "write")
	w.repo.SetHook(hookURL + "/webhooks/github")
	if _, err := w.repo.Commit(context.Background(), "release", map[string]string{"RELEASE": "1\n"}, "Release"); err != nil {
		tb.Fatal(err)
	}
}

func (w *world) projectNames() []string {
	if w.history.two {
		return []string{"shop", "blog"}
	}
	return []string{"shop"}
}

const (
	modelGrace = 12 * time.Hour
	modelTTL   = 24 * time.Hour
)

func (w *world) project(name string, major int) mayfly.Project {
	p := project(name, "acme/shop", major)
	if !w.real {
		p.Migrations = mayfly.MigrationSettings{}
	}
	policy := &p.Previews.PullRequests
	policy.SkipDrafts = w.history.noDrafts
	if w.history.grace {
		policy.Grace = modelGrace
	}
	if w.history.ttl {
		p.Previews.PullRequestTTL = modelTTL
	}
	if w.history.approve {
		policy.Forks = mayfly.ForksApprove
	}
	if w.history.onlyLabel || name == "blog" {
		policy.OnlyLabel = "db"
	}
	return p
}

// close ends everything.
func (w *world) close(tb testing.TB) {
	tb.Helper()
	for _, p := range w.processes {
		p.bury(tb)
	}
	w.transport.CloseIdleConnections()
	if err := w.github.Close(); err != nil {
		w.fail("I12", "%v", err)
	}
}

// pass lets time pass, for the state database too.
func (w *world) pass(d time.Duration) {
	w.clock.mu.Lock()
	w.clock.by += d
	by := w.clock.by
	w.clock.mu.Unlock()
	if _, err := w.bed.admin.Exec(context.Background(), `update model_shift set by = $1`, by); err != nil {
		w.fail("model", "move the clock: %v", err)
	}
}

// moment is called between any two things that a process does to the outside.
func (w *world) moment(p *modelProcess, where string) {
	w.mu.Lock()
	if w.nested {
		w.mu.Unlock()
		return
	}
	var now []modelStep
	rest := w.pending[:0]
	for _, a := range w.pending {
		if a.left--; a.left <= 0 {
			now = append(now, a.step)
		} else {
			rest = append(rest, a)
		}
	}
	w.pending = rest
	w.nested = len(now) > 0
	w.mu.Unlock()
	if len(now) == 0 {
		return
	}
	for _, step := range now {
		w.note("within %s: %s", where, step)
		w.happen(p, step)
	}
	w.mu.Lock()
	w.nested = false
	w.mu.Unlock()
}

// statement is called before each statement of a process to the state database.
func (w *world) statement(p *modelProcess) {
	w.mu.Lock()
	dies := false
	if w.stmts > 0 && w.working != "" {
		w.stmts--
		dies = w.stmts == 0
	}
	w.mu.Unlock()
	if dies {
		w.note("the process dies before a statement")
		p.kill()
	}
}

// loseAnswer reports whether the answer to a request gets lost.
func (w *world) loseAnswer(r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mute == 0 || r.Method == http.MethodGet {
		return false
	}
	w.mute--
	return w.mute == 0
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, fmt.Sprintf(format, args...))
}

// fail records that something does not hold; docs/invariants.md has the numbers.
func (w *world) fail(invariant, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, invariant+": "+fmt.Sprintf(format, args...))
}

// job is a row of the queue.
type modelJob struct {
	id       int64
	kind     string
	args     []byte
	attempt  int
	attempts int
}

// jobs returns what is to be done.
func (w *world) jobs(except map[int64]bool) []modelJob {
	rows, err := w.bed.admin.Query(context.Background(), `
		select id, kind, args, attempt, max_attempts from river_job where state in ('available', 'scheduled', 'retryable') order by id`)
	if err != nil {
		w.fail("model", "read the queue: %v", err)
		return nil
	}
	var all []modelJob
	var j modelJob
	_, err = pgx.ForEachRow(rows, []any{&j.id, &j.kind, &j.args, &j.attempt, &j.attempts}, func() error {
		if !except[j.id] {
			all = append(all, modelJob{id: j.id, kind: j.kind, args: append([]byte(nil), j.args...), attempt: j.attempt, attempts: j.attempts})
		}
		return nil
	})
	if err != nil {
		w.fail("model", "read the queue: %v", err)
	}
	return all
}

// run works on a job as the queue does, and says whether the process lived.
func (w *world) run(p *modelProcess, j modelJob) (err error) {
	w.exec(`update river_job set state = 'running', attempt = attempt + 1 where id = $1`, j.id)
	outer := w.begin(j.kind)
	err = p.handle(p.ctx, j)
	w.begin(outer)
	if p.killed() {
		w.note("%s %s was lost with its process", j.kind, j.args)
		return errDead
	}
	var later interface{ RetryAfter() time.Duration }
	switch {
	case err == nil:
		w.exec(`delete from river_job where id = $1`, j.id)
	case errors.As(err, &later):
		w.exec(`update river_job set state = 'scheduled', attempt = attempt - 1 where id = $1`, j.id)
	case j.attempt+1 >= j.attempts:
		w.note("%s %s is given up: %v", j.kind, j.args, err)
		w.exec(`update river_job set state = 'discarded', finalized_at = now() where id = $1`, j.id)
	default:
		w.exec(`update river_job set state = 'retryable' where id = $1`, j.id)
	}
	return err
}

// begin says what the service is at from now on, and returns what it was at.
func (w *world) begin(what string) (before string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	before, w.working = w.working, what
	return before
}

func (w *world) exec(sql string, args ...any) {
	if _, err := w.bed.admin.Exec(context.Background(), sql, args...); err != nil {
		w.fail("model", "%s: %v", sql, err)
	}
}

// handle gives a job to its handler.
func (p *modelProcess) handle(ctx context.Context, j modelJob) error {
	var args struct {
		PreviewID    string `json:"preview_id"`
		RepositoryID int64  `json:"repository_id"`
		Number       int    `json:"number"`
		DeliveryID   string `json:"delivery_id"`
	}
	if err := json.Unmarshal(j.args, &args); err != nil {
		return err
	}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: "system:" + j.kind})
	switch j.kind {
	case "preview_converge":
		return p.Converge(ctx, args.PreviewID)
	case "pull_request_sync":
		return p.SyncPullRequest(ctx, args.RepositoryID, args.Number)
	case "preview_publish":
		return p.Publish(ctx, args.PreviewID)
	case "delivery_process":
		return p.HandleDelivery(ctx, args.DeliveryID)
	case "template_build":
		return nil
	}
	return fmt.Errorf("no handler for %s", j.kind)
}

// periodic are the jobs that run every now and then, as cmd/mayfly has them.
func periodic() []string {
	return []string{"reconcile", "expire", "promote", "sweep", "deliveries", "publishing", "poll"}
}

// tidy runs a periodic job.
func (w *world) tidy(p *modelProcess, what string) error {
	outer := w.begin(what)
	defer func() { w.begin(outer) }()
	ctx := mayfly.WithActor(p.ctx, mayfly.Actor{Subject: "system:" + what})
	switch what {
	case "reconcile":
		return p.Reconcile(ctx)
	case "expire":
		return p.Expire(ctx)
	case "promote":
		return p.Promote(ctx)
	case "sweep":
		return p.Sweep(ctx)
	case "deliveries":
		return p.RetryDeliveries(ctx)
	case "publishing":
		return p.RetryPublishing(ctx)
	case "poll":
		return p.PollDeliveries(ctx)
	}
	return fmt.Errorf("there is no %s", what)
}

// restart puts new processes in the place of those that were killed. Nothing of the service may run.
func (w *world) restart(tb testing.TB) {
	tb.Helper()
	for i, p := range w.processes {
		if p.killed() {
			p.bury(tb)
			w.processes[i] = w.startProcess(tb)
		}
	}
}

// trace is what happened, for people.
func (w *world) trace() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.events, "\n")
}
