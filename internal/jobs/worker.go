package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	mayfly "github.com/mayflydb/mayfly"
)

// Handlers do the work. Each may be called again for work that is done already, and concurrently. A returned error means
// "try again later"; one that has a method RetryAfter() time.Duration says when.
type Handlers struct {
	Converge      func(ctx context.Context, previewID string) error
	PullRequest   func(ctx context.Context, repositoryID int64, number int) error
	Publish       func(ctx context.Context, previewID string) error
	Delivery      func(ctx context.Context, deliveryID string) error
	BuildTemplate func(ctx context.Context, templateID string) error
	// Outgoing sends what waits for a receiver about a preview; nil if there are no receivers.
	Outgoing func(ctx context.Context, previewID, target string) error
	// The periodic ones. They run on one of all processes that share the state database, and once at start.
	Reconcile func(ctx context.Context) error
	Expire    func(ctx context.Context) error
	Sweep     func(ctx context.Context) error
	Schedule  func(ctx context.Context) error
}

// Options say how the queue runs.
type Options struct {
	Pool     *pgxpool.Pool
	Handlers Handlers
	Logger   *slog.Logger
	// Workers is how many previews converge at once. 0 means DefaultWorkers.
	Workers int
	// ReconcileEvery, ExpireEvery, SweepEvery and ScheduleEvery are the periods; 0 means 1 minute, 15 seconds, 1 minute and 20
	// seconds.
	ReconcileEvery, ExpireEvery, SweepEvery, ScheduleEvery time.Duration
}

// Queue works on the jobs.
type Queue struct {
	client *river.Client[pgx.Tx]
}

// DefaultWorkers is how many previews converge at once unless Options say otherwise.
const DefaultWorkers = 8

const (
	buildWorkers    = 2
	outgoingWorkers = 16
	upkeepWorkers   = 4 // each kind of periodic job may run while the others do
)

// Connections returns how many connections to the state database the jobs of so many workers need at the same time: each
// running job may hold a lock, which is a connection, and use another. A pool that is smaller can come to a halt.
func Connections(workers int) int {
	n := or(workers, DefaultWorkers)
	const queueItself = 4 // fetching, listening, electing, completing
	return 2*(n+n+buildWorkers+upkeepWorkers) + outgoingWorkers + queueItself
}

// New makes a queue; Start starts it.
func New(opts Options) (*Queue, error) {
	workers := river.NewWorkers()
	h := opts.Handlers
	add(workers, 2*time.Hour, func(ctx context.Context, a convergeArgs) error { return h.Converge(ctx, a.PreviewID) })
	add(workers, 2*time.Minute, func(ctx context.Context, a pullRequestArgs) error {
		return h.PullRequest(ctx, a.RepositoryID, a.Number)
	})
	add(workers, 2*time.Minute, func(ctx context.Context, a publishArgs) error { return h.Publish(ctx, a.PreviewID) })
	add(workers, time.Minute, func(ctx context.Context, a deliveryArgs) error { return h.Delivery(ctx, a.DeliveryID) })
	add(workers, 48*time.Hour, func(ctx context.Context, a templateArgs) error { return h.BuildTemplate(ctx, a.TemplateID) })
	add(workers, 2*time.Minute, func(ctx context.Context, a outgoingArgs) error {
		if h.Outgoing == nil {
			return nil // they were in the configuration before
		}
		return h.Outgoing(ctx, a.PreviewID, a.Target)
	})
	add(workers, 10*time.Minute, func(ctx context.Context, _ reconcileArgs) error { return h.Reconcile(ctx) })
	add(workers, 2*time.Minute, func(ctx context.Context, _ expireArgs) error { return h.Expire(ctx) })
	add(workers, 10*time.Minute, func(ctx context.Context, _ sweepArgs) error { return h.Sweep(ctx) })
	add(workers, 2*time.Minute, func(ctx context.Context, _ scheduleArgs) error { return h.Schedule(ctx) })

	n := or(opts.Workers, DefaultWorkers)
	client, err := river.NewClient(riverpgxv5.New(opts.Pool), &river.Config{
		Logger:  quiet(opts.Logger),
		Workers: workers,
		Queues: map[string]river.QueueConfig{
			queueDefault:  {MaxWorkers: n},
			queueForge:    {MaxWorkers: n},
			queueBuilds:   {MaxWorkers: buildWorkers},
			queueUpkeep:   {MaxWorkers: upkeepWorkers},
			queueOutgoing: {MaxWorkers: outgoingWorkers},
		},
		// A person waits for most of these jobs: be told at once (River listens), and fetch without pause.
		FetchCooldown:     5 * time.Millisecond,
		FetchPollInterval: time.Second,
		RetryPolicy:       retryPolicy{},
		// Work that a killed process left is found by Reconcile, which runs at every start; this is the second net.
		RescueStuckJobsAfter: 49 * time.Hour,
		PeriodicJobs: []*river.PeriodicJob{
			periodic(or(opts.ReconcileEvery, time.Minute), reconcileArgs{}),
			periodic(or(opts.ExpireEvery, 15*time.Second), expireArgs{}),
			periodic(or(opts.SweepEvery, time.Minute), sweepArgs{}),
			periodic(or(opts.ScheduleEvery, 20*time.Second), scheduleArgs{}),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	return &Queue{client: client}, nil
}

// Start begins to work; ctx bounds starting only.
func (q *Queue) Start(ctx context.Context) error {
	if err := q.client.Start(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("start the queue: %w", err)
	}
	return nil
}

// Stop takes no new jobs, waits for the running ones until ctx ends, and then cancels them.
func (q *Queue) Stop(ctx context.Context) error {
	err := q.client.Stop(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	cancelCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := q.client.StopAndCancel(cancelCtx); err != nil {
		return fmt.Errorf("stop the queue: %w", err)
	}
	return nil
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// periodic runs a job at start and then every period. One that still waits is not added again.
func periodic(every time.Duration, args river.JobArgs) *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(every), func() (river.JobArgs, *river.InsertOpts) {
		return args, &river.InsertOpts{
			// Unique by period and not by state: a job that a killed process was at stays "running" for days, and would
			// keep all others out.
			Queue: queueUpkeep, MaxAttempts: 1, UniqueOpts: river.UniqueOpts{ByPeriod: every},
		}
	}, &river.PeriodicJobOpts{RunOnStart: true})
}

type worker[T river.JobArgs] struct {
	river.WorkerDefaults[T]
	timeout time.Duration
	work    func(context.Context, T) error
}

func add[T river.JobArgs](workers *river.Workers, timeout time.Duration, work func(context.Context, T) error) {
	river.AddWorker(workers, &worker[T]{timeout: timeout, work: work})
}

func (w *worker[T]) Timeout(*river.Job[T]) time.Duration { return w.timeout }

func (w *worker[T]) Work(ctx context.Context, job *river.Job[T]) error {
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: "system:" + job.Args.Kind()})
	err := w.work(ctx, job.Args)
	var later interface{ RetryAfter() time.Duration }
	if errors.As(err, &later) {
		return river.JobSnooze(max(later.RetryAfter(), 50*time.Millisecond))
	}
	return err
}

// retryPolicy doubles from half a second to a minute, with jitter: the things that fail here are engines and APIs that come back.
type retryPolicy struct{}

func (retryPolicy) NextRetry(job *rivertype.JobRow) time.Time {
	delay := min(500*time.Millisecond<<min(len(job.Errors), 7), time.Minute)
	return time.Now().Add(delay/2 + rand.N(delay)) //nolint:gosec // jitter, not a secret
}
