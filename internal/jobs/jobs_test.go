package jobs_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const patience = time.Minute

// bed is a state database with the queue's tables.
type bed struct {
	*jobs.Enqueuer

	pool *pgxpool.Pool
}

func setup(t *testing.T) *bed {
	t.Helper()
	server := pgtest.Cluster(t)
	pool := server.Pool(t, server.Database(t))
	var wg sync.WaitGroup
	for range 3 { // as processes that start together do
		wg.Go(func() {
			if err := jobs.Migrate(t.Context(), pool); err != nil {
				t.Errorf("migrate: %v", err)
			}
		})
	}
	wg.Wait()
	enqueuer, err := jobs.NewEnqueuer(pool)
	if err != nil {
		t.Fatal(err)
	}
	return &bed{Enqueuer: enqueuer, pool: pool}
}

// start runs a queue as one process does.
func (b *bed) start(t *testing.T, opts jobs.Options) *jobs.Queue {
	t.Helper()
	opts.Pool, opts.Logger = b.pool, slog.New(slog.DiscardHandler)
	nothing := func(context.Context) error { return nil }
	for _, periodic := range []*func(context.Context) error{&opts.Handlers.Reconcile, &opts.Handlers.Expire, &opts.Handlers.Sweep, &opts.Handlers.Schedule} {
		if *periodic == nil {
			*periodic = nothing
		}
	}
	queue, err := jobs.New(opts)
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := queue.Stop(ctx); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	return queue
}

func (b *bed) inTx(t *testing.T, fn func(pgx.Tx) error) {
	t.Helper()
	if err := pgx.BeginFunc(t.Context(), b.pool, fn); err != nil {
		t.Fatal(err)
	}
}

func (b *bed) converge(t *testing.T, id string) {
	t.Helper()
	b.inTx(t, func(tx pgx.Tx) error { return b.Converge(t.Context(), tx, id) })
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("it never came true that %s", what)
		panic("unreachable")
	}
}

func TestEveryKindReachesItsHandler(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := make(chan string, 10)
	tell := func(kind string) func(context.Context, string) error {
		return func(_ context.Context, id string) error { got <- kind + " " + id; return nil }
	}
	b.start(t, jobs.Options{Handlers: jobs.Handlers{
		Converge: tell("converge"), Publish: tell("publish"), Delivery: tell("delivery"), BuildTemplate: tell("build"),
		PullRequest: func(_ context.Context, repository int64, number int) error {
			if repository == 7 && number == 42 {
				got <- "pull request"
			}
			return nil
		},
	}})
	b.inTx(t, func(tx pgx.Tx) error {
		ctx := t.Context()
		return errors.Join(b.Converge(ctx, tx, "p1"), b.PullRequest(ctx, tx, 7, 42), b.Publish(ctx, tx, "p2", true),
			b.Publish(ctx, tx, "p3", false), b.Delivery(ctx, tx, "d1"), b.BuildTemplate(ctx, tx, "t1"))
	})
	seen := map[string]bool{}
	for range 6 {
		seen[receive(t, "every job is worked on", got)] = true
	}
	for _, want := range []string{"converge p1", "pull request", "publish p2", "publish p3", "delivery d1", "build t1"} {
		if !seen[want] {
			t.Errorf("%q did not reach its handler: %v", want, seen)
		}
	}
}

func TestRolledBackTransactionLeavesNoJob(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refused := errors.New("refused")
	err := pgx.BeginFunc(t.Context(), b.pool, func(tx pgx.Tx) error {
		return errors.Join(b.Converge(t.Context(), tx, "p1"), refused)
	})
	if !errors.Is(err, refused) {
		t.Fatal(err)
	}
	var n int
	if err := b.pool.QueryRow(t.Context(), `select count(*) from river_job`).Scan(&n); err != nil || n != 0 {
		t.Errorf("%d jobs are there after a rollback, %v", n, err)
	}
}

func TestFailedJobsAreTriedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	done := make(chan struct{})
	b.start(t, jobs.Options{Handlers: jobs.Handlers{Converge: func(context.Context, string) error {
		switch calls.Add(1) {
		case 1:
			return errors.New("not yet")
		case 2:
			panic("a handler must not take the process with it")
		case 3:
			close(done)
		}
		return nil
	}}})
	b.converge(t, "p1")
	receive(t, "the job is tried again until it works", done)
}

// later is an error that says when to look again.
type later struct{}

func (later) Error() string             { return "later" }
func (later) RetryAfter() time.Duration { return time.Millisecond }

func TestLaterIsNoFailedAttempt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var calls atomic.Int32
	done := make(chan struct{})
	const more = 10 // than there are attempts
	b.start(t, jobs.Options{Handlers: jobs.Handlers{Converge: func(context.Context, string) error {
		if n := calls.Add(1); n == more {
			close(done)
		} else if n < more {
			return errors.Join(errors.New("wrapped"), later{})
		}
		return nil
	}}})
	b.converge(t, "p1")
	receive(t, "the job is looked at again each time", done)
	var failures int
	err := b.pool.QueryRow(t.Context(), `select coalesce(cardinality(errors), 0) from river_job where kind = 'preview_converge'`).Scan(&failures)
	if err != nil || failures != 0 {
		t.Errorf("%d failures are recorded, %v", failures, err)
	}
}

func TestPeriodicJobsRunAtStartAndOnOneProcess(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ran := make(chan string, 100)
	tell := func(kind string) func(context.Context) error {
		return func(context.Context) error { ran <- kind; return nil }
	}
	opts := jobs.Options{
		Handlers:       jobs.Handlers{Reconcile: tell("reconcile"), Expire: tell("expire"), Sweep: tell("sweep"), Schedule: tell("schedule")},
		ReconcileEvery: time.Hour, ExpireEvery: time.Hour, SweepEvery: time.Hour, ScheduleEvery: time.Hour,
	}
	b.start(t, opts)
	b.start(t, opts)
	seen := map[string]int{}
	for range 4 {
		seen[receive(t, "the periodic jobs run at start", ran)]++
	}
	if len(seen) != 4 {
		t.Errorf("at start ran %v", seen)
	}
	var jobsMade int
	if err := b.pool.QueryRow(t.Context(), `select count(*) from river_job where kind in ('reconcile', 'expire', 'sweep', 'schedule')`).Scan(&jobsMade); err != nil || jobsMade != 4 {
		t.Errorf("two processes made %d periodic jobs, not 4 (%v)", jobsMade, err)
	}
}

// An engine that hangs makes the periodic jobs hang. Deliveries must not wait for it.
func TestHangingUpkeepDoesNotHoldUpDeliveries(t *testing.T) {
	t.Parallel()
	b := setup(t)
	hang := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	hanging := make(chan struct{}, 100)
	delivered := make(chan string, 1)
	b.start(t, jobs.Options{
		Workers: 1, ReconcileEvery: time.Second, ExpireEvery: time.Second, SweepEvery: time.Second,
		Handlers: jobs.Handlers{
			Reconcile: hang, Expire: hang, Sweep: func(ctx context.Context) error { hanging <- struct{}{}; return hang(ctx) },
			Delivery: func(_ context.Context, id string) error { delivered <- id; return nil },
		},
	})
	receive(t, "a periodic job hangs", hanging)
	b.inTx(t, func(tx pgx.Tx) error { return b.Delivery(t.Context(), tx, "d1") })
	receive(t, "the delivery is looked at", delivered)
}

func TestStopCancelsWhatDoesNotEndAndTheNextStartGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	began, cancelled := make(chan struct{}), make(chan struct{})
	first := b.start(t, jobs.Options{Handlers: jobs.Handlers{Converge: func(ctx context.Context, _ string) error {
		close(began)
		<-ctx.Done()
		close(cancelled)
		return ctx.Err()
	}}})
	b.converge(t, "p1")
	receive(t, "the job runs", began)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := first.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	receive(t, "the job was cancelled when the time was over", cancelled)

	again := make(chan string, 1)
	b.start(t, jobs.Options{Handlers: jobs.Handlers{Converge: func(_ context.Context, id string) error { again <- id; return nil }}})
	if id := receive(t, "the next start goes on with the job", again); id != "p1" {
		t.Errorf("it went on with %s", id)
	}
}

func TestStopLetsRunningWorkEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	began, finish := make(chan struct{}), make(chan struct{})
	var ended atomic.Bool
	queue := b.start(t, jobs.Options{Handlers: jobs.Handlers{Converge: func(ctx context.Context, _ string) error {
		close(began)
		<-finish
		ended.Store(ctx.Err() == nil)
		return nil
	}}})
	b.converge(t, "p1")
	receive(t, "the job runs", began)
	stopped := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- queue.Stop(ctx)
	}()
	close(finish)
	if err := receive(t, "the queue stops", stopped); err != nil || !ended.Load() {
		t.Errorf("the job ended by itself: %t; stop: %v", ended.Load(), err)
	}
}
