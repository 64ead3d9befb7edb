package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

func isCancelled(err error) bool {
	var pgErr *pgconn.PgError
	return errors.As(err, &pgErr) && pgErr.Code == "57014"
}

func containsAll(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

// setAwait replaces AwaitConnectable.
func (w *world) setAwait(await func(context.Context, string) (*mayfly.Preview, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.await = await
}

func TestConnectWakesASuspendedPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := pgtest.Engine(t)
	server := pgtest.Start(t, pgtest.StartOptions{Profile: cluster.Preview})
	l := w.add(server, "shop-pr-42")
	g := serve(t, w, nil)
	if err := engine.Stop(t.Context(), server.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	suspended := *l.preview
	suspended.State = mayfly.PreviewSuspended
	w.set(&suspended)
	w.setAwait(func(ctx context.Context, _ string) (*mayfly.Preview, error) {
		// Not waiting until Postgres accepts: the gateway has to bear that.
		if err := engine.Start(ctx, server.ID); err != nil {
			return nil, err
		}
		w.set(l.preview)
		return l.preview, nil
	})
	var one int
	if err := g.connect(l).QueryRow(t.Context(), "SELECT 1").Scan(&one); err != nil || one != 1 {
		t.Errorf("query after the wake returned %d, %v", one, err)
	}
}

// The provisioner may suspend a preview between the moment the gateway looks it up and the moment it dials.
func TestASuspensionBehindTheGatewaysBackIsRepaired(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	engine := pgtest.Engine(t)
	server := pgtest.Start(t, pgtest.StartOptions{Profile: cluster.Preview})
	l := w.add(server, "shop-pr-42") // and it says ready all the time
	g := serve(t, w, nil)
	if err := engine.Stop(t.Context(), server.ID, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	asked := 0
	w.setAwait(func(ctx context.Context, _ string) (*mayfly.Preview, error) {
		if asked++; asked == 3 {
			return l.preview, engine.Start(ctx, server.ID)
		}
		return l.preview, nil
	})
	if err := g.connect(l).Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
	if asked < 3 {
		t.Errorf("AwaitConnectable was called %d times, want at least 3", asked)
	}
}

func TestAReplacedPreviewIsReachedUnderItsNewIdentity(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	next := w.add(pgtest.Cluster(t), "shop-pr-42")
	old := *next.preview
	old.ID, old.State = mayfly.NewID("p"), mayfly.PreviewSuspended
	w.set(&old)
	w.setAwait(func(context.Context, string) (*mayfly.Preview, error) { return next.preview, nil })
	g := serve(t, w, nil)
	g.connect(next)
	if g.Active(old.ID) != 0 || g.Active(next.preview.ID) != 1 {
		t.Errorf("%d connections are counted for the old preview and %d for the new one, want 0 and 1",
			g.Active(old.ID), g.Active(next.preview.ID))
	}
}

func TestClientsAreToldWhatIsHappening(t *testing.T) {
	t.Parallel()
	wait := func(ctx context.Context, _ string) (*mayfly.Preview, error) {
		<-ctx.Done()
		return nil, mayfly.Errorf(mayfly.CodeTimeout, "still waiting: %w", ctx.Err())
	}
	give := func(err error) func(context.Context, string) (*mayfly.Preview, error) {
		return func(context.Context, string) (*mayfly.Preview, error) { return nil, err }
	}
	cases := []struct {
		name     string
		state    mayfly.PreviewState
		failure  *mayfly.Failure
		progress string
		await    func(context.Context, string) (*mayfly.Preview, error)
		code     string
		message  string
		hint     string
	}{
		{
			name: "migrating", state: mayfly.PreviewMigrating, progress: "migrating, step 3 of 5", await: wait,
			code: "57P03", message: "shop-pr-42 is migrating, step 3 of 5", hint: "Try again",
		},
		{
			name: "detail of a step", state: mayfly.PreviewMigrating, progress: "migrating (migrate: s3cr3t.sql)", await: wait,
			code: "57P03", message: "shop-pr-42 is migrating (migrate)",
		},
		{
			name: "detail without a step", state: mayfly.PreviewCreating, progress: "creating: s3cr3t", await: wait,
			code: "57P03", message: "shop-pr-42 is creating",
		},
		{name: "nothing known", state: mayfly.PreviewCreating, await: wait, code: "57P03", message: "shop-pr-42 is not ready yet"},
		{
			name: "bare context error", state: mayfly.PreviewCreating, progress: "being cloned", code: "57P03", message: "shop-pr-42 is being cloned",
			await: func(ctx context.Context, _ string) (*mayfly.Preview, error) { <-ctx.Done(); return nil, ctx.Err() },
		},
		{
			name: "recorded failure", state: mayfly.PreviewFailed, code: "58000", message: "shop-pr-42 failed; see: mayfly get shop-pr-42",
			failure: &mayfly.Failure{Code: mayfly.CodeNoTemplate, Message: "s3cr3t is gone", Hint: "s3cr3t"},
		},
		{
			name: "failure while waiting", state: mayfly.PreviewCreating, code: "58000", message: "shop-pr-42 failed; see: mayfly get shop-pr-42",
			await: give(mayfly.Errorf(mayfly.CodeNoTemplate, "image s3cr3t is missing").WithHint("s3cr3t")),
		},
		{
			name: "pool full", state: mayfly.PreviewCreating, code: "53100", message: "shop-pr-42 failed; see: mayfly get shop-pr-42",
			await: give(mayfly.Errorf(mayfly.CodePoolFull, "the pool s3cr3t is full")),
		},
		{
			name: "engine down", state: mayfly.PreviewSuspended, code: "57P03", message: "shop-pr-42 is not available now", hint: "Try again",
			await: give(mayfly.Errorf(mayfly.CodeEngineUnavailable, "the engine at s3cr3t does not answer")),
		},
		{
			name: "deleted while waiting", state: mayfly.PreviewCreating, code: "3D000", message: `database "shop-pr-42" does not exist`,
			await: give(mayfly.Errorf(mayfly.CodeNotFound, "gone")),
		},
		{name: "being deleted", state: mayfly.PreviewDeleting, code: "3D000", message: `database "shop-pr-42" does not exist`},
		{
			name: "internal error", state: mayfly.PreviewCreating, code: "XX000", message: "internal error",
			await: give(errors.New("dsn with secret s3cr3t")),
		},
		{name: "ready but never answers", state: mayfly.PreviewReady, code: "57P03", message: "shop-pr-42 is not ready yet"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			p := &mayfly.Preview{ID: mayfly.NewID("p"), Name: "shop-pr-42", State: c.state, Failure: c.failure, Owner: "app", Database: "shop"}
			w.set(p)
			w.progress, w.await = c.progress, c.await
			g := serve(t, w, func(o *gateway.Options) { o.WaitTimeout = 50 * time.Millisecond })
			_, err := pgx.ConnectConfig(t.Context(), g.config(login{preview: p, password: "x"}))
			wantPgError(t, err, c.code, c.message, c.hint)
			var told *pgconn.PgError
			if errors.As(err, &told) && strings.Contains(told.Message+told.Detail+told.Hint, "s3cr3t") {
				t.Errorf("the client was told the cause: %+v", told)
			}
			eventually(t, "the connection is forgotten", func() bool { return g.Active(p.ID) == 0 })
		})
	}
}

// A preview whose migration failed stays inspectable.
func TestFailedMigrationIsInspectable(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	l.preview.State, l.preview.Failure = mayfly.PreviewFailed, &mayfly.Failure{Code: mayfly.CodeMigrationFailed, Message: "syntax error"}
	w.set(l.preview)
	if err := serve(t, w, nil).connect(l).Ping(t.Context()); err != nil {
		t.Errorf("ping: %v", err)
	}
}

func TestAClientThatLeavesEndsTheWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := &mayfly.Preview{ID: mayfly.NewID("p"), Name: "shop-pr-42", State: mayfly.PreviewSuspended, Owner: "app", Database: "shop"}
	w.set(p)
	waiting, left := make(chan struct{}), make(chan error, 1)
	w.await = func(ctx context.Context, _ string) (*mayfly.Preview, error) {
		close(waiting)
		<-ctx.Done()
		left <- context.Cause(ctx)
		return nil, ctx.Err()
	}
	g := serve(t, w, func(o *gateway.Options) { o.WaitTimeout = time.Hour })
	conn := g.dialTLS("localhost")
	send(t, conn, startupPacket(version30, "user", "app", "database", "shop-pr-42"))
	<-waiting
	if n := g.Active(p.ID); n != 1 {
		t.Errorf("a waiting client counts as %d connections, want 1: nobody may suspend what it waits for", n)
	}
	g.Disconnect(p.ID) // a reset: who waits goes on waiting
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if cause := <-left; !strings.Contains(cause.Error(), "client went away") {
		t.Errorf("the wait was ended by %v, want that the client went away", cause)
	}
	eventually(t, "the connection is forgotten", func() bool { return g.Active(p.ID) == 0 })
}

func TestShutdownEndsWaits(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(&mayfly.Preview{ID: mayfly.NewID("p"), Name: "shop-pr-42", State: mayfly.PreviewSuspended, Owner: "app", Database: "shop"})
	waiting := make(chan struct{})
	w.await = func(ctx context.Context, _ string) (*mayfly.Preview, error) {
		close(waiting)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	g := serve(t, w, func(o *gateway.Options) { o.WaitTimeout = time.Hour })
	conn := g.dialTLS("localhost")
	send(t, conn, startupPacket(version30, "user", "app", "database", "shop-pr-42"))
	<-waiting
	shutdown := make(chan error, 1)
	go func() { shutdown <- g.Shutdown(context.Background()) }()
	if response := refused(t, conn); response.Code != "57P03" || !strings.Contains(response.Message, "shutting down") {
		t.Errorf("a waiting client was told %s %q, want 57P03 and that the gateway is shutting down", response.Code, response.Message)
	}
	_ = conn.Close()
	if err := <-shutdown; err != nil {
		t.Errorf("shutdown: %v", err)
	}
}
