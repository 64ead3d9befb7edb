package provisioner_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// patience bounds every wait for a condition, on a machine that is busy with other tests.
const patience = 90 * time.Second

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// frozen is the template that all tests of the process clone from.
type frozen struct {
	id, image string
	major     int
}

// shared is made once for all tests of the process.
var shared struct {
	once sync.Once
	frozen
	err error
}

// template returns a frozen volume with the database "app", owned by "app", at version 1 of its migrations.
func template(t *testing.T) *frozen {
	t.Helper()
	shared.once.Do(func() {
		shared.err = errors.New("the first test that needed it failed")
		shared.err = makeTemplate(t, &shared.frozen)
	})
	if shared.err != nil {
		t.Fatalf("make the tests' template: %v", shared.err)
	}
	return &shared.frozen
}

func makeTemplate(t *testing.T, f *frozen) error {
	t.Helper()
	image, pool := pgtest.Image(t, 0), pgtest.Pool(t)
	f.id, f.image, f.major = mayfly.NewID("t"), image.ID, image.Major
	if err := pool.Create(t.Context(), f.id, image.User); err != nil {
		return err
	}
	server := pgtest.Start(t, pgtest.StartOptions{Volume: f.id})
	server.Exec(t, "postgres", `create role app login nosuperuser`)
	server.Exec(t, "postgres", `create database app owner app`)
	server.Exec(t, "app", `set role app;
		create table customer (id bigint primary key, email text not null);
		insert into customer select n, 'user' || n || '@example.com' from generate_series(1, 100) n;
		create table schema_migrations (version bigint not null primary key, dirty boolean not null);
		insert into schema_migrations values (1, false)`)
	if err := pgtest.Engine(t).Stop(t.Context(), server.ID, time.Minute); err != nil {
		return err
	}
	return pool.Freeze(t.Context(), f.id)
}

// clock is a time that stands still until it is moved.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// clients stands in for the gateway.
type clients struct {
	mu           sync.Mutex
	active       map[string]int
	disconnected map[string]int
}

func (c *clients) Active(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.active[id]
}

func (c *clients) Disconnect(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.disconnected[id]++
}

func (c *clients) set(id string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active[id] = n
}

func (c *clients) disconnects(id string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.disconnected[id]
}

// projects is a configuration that a test may change.
type projects struct {
	mu  sync.Mutex
	all []mayfly.Project
}

func (p *projects) Project(name string) (mayfly.Project, bool) {
	for _, project := range p.Projects() {
		if project.Name == name {
			return project, true
		}
	}
	return mayfly.Project{}, false
}

func (p *projects) Projects() []mayfly.Project {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]mayfly.Project(nil), p.all...)
}

func (p *projects) change(change func(*mayfly.Project)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range p.all {
		change(&p.all[i])
	}
}

// bed is a whole installation without its faces: a state database, an engine, a pool, GitHub, and the service.
type bed struct {
	*provisioner.Service

	store    *store.Store
	watcher  *store.Watcher
	machine  *machine
	shelf    *shelf
	clock    *clock
	clients  *clients
	projects *projects
	github   *forgetest.Server
	repo     *forgetest.Repo
	template *mayfly.Template
	opts     provisioner.Options
	config   *pgxpool.Config
	working  bool // a queue runs
}

// setup makes a bed with the project "shop" of the repository acme/shop, and a ready template. Nothing runs by itself: tests
// call Converge, or work to run the queue.
func setup(t *testing.T) *bed {
	t.Helper()
	base := template(t)
	server := pgtest.Cluster(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 60
	b := &bed{
		config: config, machine: newMachine(pgtest.Engine(t)), shelf: newShelf(pgtest.Pool(t), base.id), clock: &clock{now: time.Now()},
		clients: &clients{active: map[string]int{}, disconnected: map[string]int{}}, projects: &projects{},
	}
	t.Cleanup(func() { b.clear(t) })
	logger := logger(t)
	b.store = b.connect(t, logger)
	b.watcher = b.store.NewWatcher()
	watching, stop := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { b.watcher.Run(watching) })
	t.Cleanup(func() { stop(); done.Wait() })
	b.template = b.addTemplate(t, base, base.id)
	client := b.openGitHub(t, logger)
	b.projects.all = []mayfly.Project{project("shop", "acme/shop", base.major)}
	keys, err := auth.LoadKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b.opts = provisioner.Options{
		Store: b.store, Watcher: b.watcher, Engine: b.machine, Volumes: b.shelf, Projects: b.projects, Forge: client,
		Sealer: keys.Sealer, Connections: b.clients, Clock: b.clock.Now, Logger: logger,
	}
	b.Service = provisioner.New(b.opts)
	return b
}

func logger(t *testing.T) *slog.Logger {
	t.Helper()
	if os.Getenv("MAYFLY_TEST_LOG") == "" {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func project(name, repository string, major int) mayfly.Project {
	return mayfly.Project{
		Name: name, Repository: repository,
		Postgres:   mayfly.PostgresSettings{Major: major, Database: "app", Owner: "app"},
		Migrations: mayfly.MigrationSettings{Tool: "golang-migrate", Path: "db/migrations"},
	}
}

// connect opens the state database, as another process would.
func (b *bed) connect(t *testing.T, logger *slog.Logger) *store.Store {
	t.Helper()
	pool, err := store.Connect(t.Context(), b.config, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	if err := store.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if err := jobs.Migrate(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	enqueuer, err := jobs.NewEnqueuer(pool)
	if err != nil {
		t.Fatal(err)
	}
	return store.New(pool, enqueuer, logger)
}

// addTemplate records a ready template of the project "shop" on a volume.
func (b *bed) addTemplate(t *testing.T, base *frozen, volume string) *mayfly.Template {
	t.Helper()
	made := &mayfly.Template{
		ID: volume, Project: "shop", Image: base.image, Major: base.major, Database: "app", Owner: "app", Source: "live",
	}
	if err := b.store.CreateTemplate(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	now := b.clock.Now()
	made.State, made.ReadyAt = mayfly.TemplateReady, &now
	if err := b.store.UpdateTemplate(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	return made
}

// ownTemplate makes a template volume that the test may destroy, newer than the shared one.
func (b *bed) ownTemplate(t *testing.T) *mayfly.Template {
	t.Helper()
	base, id := template(t), mayfly.NewID("t")
	if err := b.shelf.Clone(t.Context(), base.id, id, 0); err != nil {
		t.Fatal(err)
	}
	if err := b.shelf.Freeze(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return b.addTemplate(t, base, id)
}

func (b *bed) openGitHub(t *testing.T, logger *slog.Logger) *forge.Client {
	t.Helper()
	pair, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	if b.github, err = forgetest.New(t.Context(), forgetest.Options{Token: "token", AppID: appID, AppKey: pair.public, Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.github.Close(); err != nil {
			t.Errorf("close GitHub: %v", err)
		}
	})
	if b.repo, err = b.github.CreateRepository(t.Context(), "acme/shop"); err != nil {
		t.Fatal(err)
	}
	client, err := forge.New(forge.Options{BaseURL: b.github.URL(), Token: "token", Logger: logger, Now: time.Now, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// clear removes everything that the test made.
func (b *bed) clear(t *testing.T) {
	t.Helper()
	b.machine.unplug(false)
	b.machine.intercept(nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	instances, err := b.machine.List(ctx, nil)
	if err != nil {
		t.Errorf("list what the test left: %v", err)
	}
	for _, instance := range instances {
		if err := b.machine.Remove(ctx, instance.ID); err != nil {
			t.Errorf("remove what the test left: %v", err)
		}
	}
	for _, id := range b.shelf.all() {
		if err := b.shelf.Delete(ctx, id); err != nil {
			t.Errorf("delete what the test left: %v", err)
		}
	}
}

// work runs the queue until the test ends, or until stop is called.
func (b *bed) work(t *testing.T, opts jobs.Options) (stop func()) {
	t.Helper()
	service := provisioner.New(b.opts) // as another process has it
	opts.Pool, opts.Logger = b.store.Pool(), b.opts.Logger
	opts.Handlers = jobs.Handlers{
		Converge: service.Converge, PullRequest: service.SyncPullRequest, Publish: service.Publish, Delivery: service.HandleDelivery,
		BuildTemplate: func(context.Context, string) error { return nil },
		Reconcile:     service.Reconcile, Expire: service.Expire, Sweep: service.Sweep,
	}
	queue, err := jobs.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.working = true
	var once sync.Once
	stop = func() {
		once.Do(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			if err := queue.Stop(ctx); err != nil {
				t.Errorf("stop the queue: %v", err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// converge runs Converge as the queue would, once, and returns the preview after it.
func (b *bed) converge(t *testing.T, id string) *mayfly.Preview {
	t.Helper()
	if err := b.Converge(t.Context(), id); err != nil {
		t.Fatalf("converge: %v", err)
	}
	if b.working { // the queue may have been at it already
		eventually(t, "the preview settles", func() bool { return b.preview(t, id).Settled() })
	}
	return b.preview(t, id)
}

func (b *bed) preview(t *testing.T, id string) *mayfly.Preview {
	t.Helper()
	p, err := b.store.Preview(t.Context(), id)
	if err != nil {
		t.Fatalf("read the preview: %v", err)
	}
	return p
}

// sandbox makes a sandbox and converges it.
func (b *bed) sandbox(t *testing.T, name string) *mayfly.Preview {
	t.Helper()
	p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: name})
	if err != nil {
		t.Fatalf("create a sandbox: %v", err)
	}
	return b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
}

func (b *bed) want(t *testing.T, p *mayfly.Preview, state mayfly.PreviewState) *mayfly.Preview {
	t.Helper()
	if p.State != state || !p.Settled() {
		t.Fatalf("preview %s is %s (settled: %t, failure: %+v), not %s; its timeline:\n%s", p.Name, p.State, p.Settled(), p.Failure, state, b.timeline(t, p.ID))
	}
	return p
}

func (b *bed) timeline(t *testing.T, id string) string {
	t.Helper()
	steps, err := b.store.Steps(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, step := range steps {
		fmt.Fprintf(&text, "%s [%s] %s\n", step.Name, step.Detail, step.Error)
	}
	return text.String()
}

// steps counts the entries of that name in a preview's timeline.
func (b *bed) steps(t *testing.T, id, name string) int {
	t.Helper()
	steps, err := b.store.Steps(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, step := range steps {
		if step.Name == name {
			n++
		}
	}
	return n
}

// login connects to the preview's Postgres as a client of the gateway does, with the current or a given password.
func (b *bed) login(t *testing.T, p *mayfly.Preview, password string) (*pgx.Conn, error) {
	t.Helper()
	config, err := cluster.ConnConfig(b.machine, p.Instance(), p.Database)
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Password = p.Owner, password
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

func (b *bed) password(t *testing.T, name string) string {
	t.Helper()
	credentials, err := b.Credentials(t.Context(), name)
	if err != nil {
		t.Fatalf("credentials: %v", err)
	}
	return credentials.Password
}

// query connects with the current credentials and returns one value as text.
func (b *bed) query(t *testing.T, p *mayfly.Preview, sql string) string {
	t.Helper()
	conn, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatalf("log in to %s: %v", p.Name, err)
	}
	var value string
	if err := conn.QueryRow(t.Context(), sql).Scan(&value); err != nil {
		t.Fatalf("%s in %s: %v", sql, p.Name, err)
	}
	return value
}

// wantThings checks that exactly the given previews have exactly one container and one volume, of their generation. What is tried on a
// clone that is thrown away may be under way; it is waited for.
func (b *bed) wantThings(t *testing.T, previews ...*mayfly.Preview) {
	t.Helper()
	wanted := map[string]bool{}
	for _, p := range previews {
		wanted[p.Instance()] = true
	}
	instances, volumes := b.things(t)
	trial := func(id string) bool { return strings.HasSuffix(id, "-trial") }
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); instances, volumes = b.things(t) {
		if !slices.ContainsFunc(volumes, trial) && !slices.ContainsFunc(instances, func(i driver.Instance) bool { return trial(i.ID) }) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if len(instances) != len(wanted) || len(volumes) != len(wanted) {
		t.Errorf("%d containers and %d volumes exist, not %d of each: %v, %v", len(instances), len(volumes), len(wanted), instances, volumes)
	}
	for _, instance := range instances {
		if !wanted[instance.ID] {
			t.Errorf("container %s is left", instance.ID)
		}
	}
	for _, volume := range volumes {
		if !wanted[volume] {
			t.Errorf("volume %s is left", volume)
		}
	}
}

func (b *bed) things(t *testing.T) ([]driver.Instance, []string) {
	t.Helper()
	instances, err := b.machine.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return instances, b.shelf.previewVolumes(t)
}

func wantCode(t *testing.T, err error, code mayfly.Code) {
	t.Helper()
	if mayfly.ErrorCode(err) != code {
		t.Errorf("the error is %v with code %q, not %q", err, mayfly.ErrorCode(err), code)
	}
}

// adminOfState connects to the state database beside the pool.
func (b *bed) adminOfState(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.ConnectConfig(t.Context(), b.config.ConnConfig)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// createPatiently creates a sandbox as a client that repeats a failed request does.
func (b *bed) createPatiently(t *testing.T, name string) (p *mayfly.Preview, err error) {
	t.Helper()
	for range 20 {
		p, err = b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: name})
		if err == nil {
			return p, nil
		}
	}
	return nil, err
}
