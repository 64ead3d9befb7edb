package provisioner_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/webhooks"
)

// errDead is what everything gives to a process that was killed.
var errDead = errors.New("the process was killed")

// modelProcess is one process of the service: what is lost when it is killed. Killing it takes its connections, as the kernel does, so that
// Postgres rolls back what was under way and lets go of its locks; whatever it does afterwards reaches nobody.
type modelProcess struct {
	*provisioner.Service

	world  *world
	name   string          // as the state database's Postgres knows it
	ctx    context.Context //nolint:containedctx // it ends with the process
	cancel context.CancelFunc
	store  *store.Store
	inbox  http.Handler
	moment func(p *modelProcess, where string) // what happens meanwhile has nothing to do with the contexts of the work
	done   sync.WaitGroup

	mu    sync.Mutex
	dead  bool
	conns map[net.Conn]bool
}

// startProcess starts the service on what other processes left.
func (w *world) startProcess(tb testing.TB) *modelProcess {
	tb.Helper()
	w.started++
	p := &modelProcess{world: w, moment: w.moment, name: fmt.Sprintf("model %d", w.started), conns: map[net.Conn]bool{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	config := w.bed.config.Copy()
	dial := (&net.Dialer{}).DialContext
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		return p.dial(ctx, dial, network, address)
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, shiftedPath+"; set application_name = '"+p.name+"'")
		return err
	}
	config.ConnConfig.Tracer = &crashTracer{p}
	pool, err := store.Connect(p.ctx, config, "")
	if err != nil {
		tb.Fatalf("start a process: %v", err)
	}
	enqueuer, err := jobs.NewEnqueuer(pool)
	if err != nil {
		tb.Fatal(err)
	}
	p.store = store.New(pool, enqueuer, w.logger)
	watcher := p.store.NewWatcher()
	p.done.Go(func() { watcher.Run(p.ctx) })
	client, err := forge.New(w.forgeOptions(p))
	if err != nil {
		tb.Fatal(err)
	}
	opts := w.options
	opts.Store, opts.Watcher, opts.Forge = p.store, watcher, client
	opts.Engine, opts.Volumes = processEngine{w.engine, p}, processVolumes{w.volumes, p}
	opts.Checkpoint = func(step string) { _ = p.tick("checkpoint " + step) }
	p.Service = provisioner.New(opts)
	p.inbox = webhooks.NewHandler(webhooks.Options{Secrets: [][]byte{modelSecret()}, Inbox: p, Logger: w.logger, Now: w.clock.Now})
	return p
}

func modelSecret() []byte { return []byte("hush") }

func (w *world) forgeOptions(p *modelProcess) forge.Options {
	o := forge.Options{BaseURL: w.github.URL(), HTTP: &http.Client{Transport: processTransport{w.transport, p}}, Logger: w.logger, Now: w.clock.Now, Version: "test"}
	if w.history.app {
		o.App = &forge.App{ID: appID, PrivateKeyPEM: w.bed.key.pem}
	} else {
		o.Token = "token"
	}
	return o
}

// Accept implements webhooks.Inbox.
func (p *modelProcess) Accept(ctx context.Context, d webhooks.Delivery) (bool, error) {
	return p.store.AcceptDelivery(ctx, store.Delivery{
		ID: d.ID, Event: d.Event, Action: d.Action, RepositoryID: d.RepositoryID, Repository: d.Repository, Number: d.Number,
		InstallationID: d.InstallationID, Payload: d.Payload,
	})
}

// kill ends the process at once.
func (p *modelProcess) kill() {
	p.mu.Lock()
	p.dead = true
	for conn := range p.conns {
		_ = conn.Close()
	}
	p.mu.Unlock()
	p.cancel()
}

func (p *modelProcess) killed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

// bury waits until nothing of a killed process is left, in the state database's Postgres too.
func (p *modelProcess) bury(tb testing.TB) {
	tb.Helper()
	p.kill()
	p.done.Wait()
	p.store.Pool().Close()
	for n := 1; n > 0; {
		err := p.world.bed.admin.QueryRow(context.Background(),
			`select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name = $1`, p.name).Scan(&n)
		if err != nil {
			tb.Fatalf("look for what a process left: %v", err)
		}
	}
}

func (p *modelProcess) dial(ctx context.Context, dial pgconn.DialFunc, network, address string) (net.Conn, error) {
	if p.killed() {
		return nil, errDead
	}
	conn, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[conn] = true
	if p.dead {
		_ = conn.Close()
	}
	return conn, nil
}

// tick is called between any two things that the process does to the outside. What a history has for this moment happens here.
func (p *modelProcess) tick(where string) error {
	if p.killed() {
		return errDead
	}
	p.moment(p, where)
	if p.killed() {
		return errDead
	}
	return nil
}

// crashTracer lets a process be killed between two statements.
type crashTracer struct{ p *modelProcess }

func (t *crashTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	t.p.world.statement(t.p)
	return ctx
}

func (t *crashTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// modelEngine is what histories need of an engine.
type modelEngine interface {
	driver.Engine
	driver.Inspector
}

type processEngine struct {
	modelEngine
	p *modelProcess
}

func (e processEngine) Create(ctx context.Context, spec driver.InstanceSpec) error {
	if err := e.p.tick("create"); err != nil {
		return err
	}
	if err := e.modelEngine.Create(ctx, spec); err != nil {
		return err
	}
	return e.p.tick("created")
}

func (e processEngine) Start(ctx context.Context, id string) error {
	if err := e.p.tick("start"); err != nil {
		return err
	}
	return e.modelEngine.Start(ctx, id)
}

func (e processEngine) Stop(ctx context.Context, id string, timeout time.Duration) error {
	if err := e.p.tick("stop"); err != nil {
		return err
	}
	return e.modelEngine.Stop(ctx, id, timeout)
}

func (e processEngine) Remove(ctx context.Context, id string) error {
	if err := e.p.tick("remove"); err != nil {
		return err
	}
	return e.modelEngine.Remove(ctx, id)
}

func (e processEngine) List(ctx context.Context, labels map[string]string) ([]driver.Instance, error) {
	if err := e.p.tick("list"); err != nil {
		return nil, err
	}
	return e.modelEngine.List(ctx, labels)
}

func (e processEngine) Dial(ctx context.Context, id string) (net.Conn, error) {
	if e.p.killed() {
		return nil, errDead
	}
	return e.modelEngine.Dial(ctx, id)
}

type processVolumes struct {
	driver.Volumes
	p *modelProcess
}

func (v processVolumes) Clone(ctx context.Context, from, to string, limit int64) error {
	if err := v.p.tick("clone"); err != nil {
		return err
	}
	if err := v.Volumes.Clone(ctx, from, to, limit); err != nil {
		return err
	}
	return v.p.tick("cloned")
}

func (v processVolumes) Delete(ctx context.Context, id string) error {
	if err := v.p.tick("delete"); err != nil {
		return err
	}
	return v.Volumes.Delete(ctx, id)
}

func (v processVolumes) List(ctx context.Context) ([]driver.Volume, error) {
	if v.p.killed() {
		return nil, errDead
	}
	return v.Volumes.List(ctx)
}

// processTransport is the way of a process to GitHub. Answers can get lost on it, and the process can die before and after each request.
type processTransport struct {
	http.RoundTripper
	p *modelProcess
}

func (t processTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.p.tick(r.Method + " " + r.URL.Path); err != nil {
		return nil, err
	}
	reply, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	lost := t.p.world.loseAnswer(r)
	if err := t.p.tick("answer to " + r.Method + " " + r.URL.Path); err != nil || lost {
		_, _ = io.Copy(io.Discard, reply.Body)
		_ = reply.Body.Close()
		return nil, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return reply, nil
}
