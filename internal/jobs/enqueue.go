package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// The kinds of job. Arguments are identifiers only: what is to be done is read from the state database when the job runs.
type (
	convergeArgs struct {
		PreviewID string `json:"preview_id"`
	}
	pullRequestArgs struct {
		RepositoryID int64 `json:"repository_id"`
		Number       int   `json:"number"`
	}
	publishArgs struct {
		PreviewID string `json:"preview_id"`
	}
	deliveryArgs struct {
		DeliveryID string `json:"delivery_id"`
	}
	templateArgs struct {
		TemplateID string `json:"template_id"`
	}
	outgoingArgs struct {
		PreviewID string `json:"preview_id"`
		Target    string `json:"target"`
	}
	reconcileArgs struct{}
	expireArgs    struct{}
	sweepArgs     struct{}
	scheduleArgs  struct{}
)

func (convergeArgs) Kind() string    { return "preview_converge" }
func (pullRequestArgs) Kind() string { return "pull_request_sync" }
func (publishArgs) Kind() string     { return "preview_publish" }
func (deliveryArgs) Kind() string    { return "delivery_process" }
func (templateArgs) Kind() string    { return "template_build" }
func (outgoingArgs) Kind() string    { return "outgoing_deliver" }
func (reconcileArgs) Kind() string   { return "reconcile" }
func (expireArgs) Kind() string      { return "expire" }
func (sweepArgs) Kind() string       { return "sweep" }
func (scheduleArgs) Kind() string    { return "schedule" }

// Queues keep long work from starving short work.
const (
	queueBuilds   = "builds"           // template builds: hours
	queueDefault  = river.QueueDefault // converge: milliseconds to an hour of migrations
	queueForge    = "forge"            // deliveries, pull requests, comments: seconds
	queueOutgoing = "outgoing"         // webhooks that we send: receivers that hang must not hold up anything else
	queueUpkeep   = "upkeep"           // the periodic jobs, which an engine that hangs must not let starve the others
)

// publishDelay is how long an unfinished preview is kept from the forge: most are finished by then.
const publishDelay = time.Second

// Migrate makes River's tables, or brings them up to date. Several processes may call it at once.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error {
	migrator, err := rivermigrate.New(riverpgxv5.New(pool), nil)
	if err != nil {
		return fmt.Errorf("prepare the queue's tables: %w", err)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("prepare the queue's tables: %w", err)
	}
	defer conn.Release()
	// River's migrator has no lock of its own.
	const lock = `hashtextextended('river migrations of ' || current_schema(), 0)`
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(`+lock+`)`); err != nil {
		return fmt.Errorf("prepare the queue's tables: %w", err)
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), `select pg_advisory_unlock(`+lock+`)`) }()
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return fmt.Errorf("migrate the queue's tables: %w", err)
	}
	return nil
}

// Enqueuer puts jobs into the queue within transactions of the store (store.Enqueuer).
type Enqueuer struct {
	client *river.Client[pgx.Tx]
}

// NewEnqueuer makes an Enqueuer on the state database's pool.
func NewEnqueuer(pool *pgxpool.Pool) (*Enqueuer, error) {
	// River announces at most one insert per queue in FetchCooldown; the others wait for the next poll. One delivery leads
	// to several jobs within milliseconds, and somebody waits for the last.
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{FetchCooldown: river.FetchCooldownMin})
	if err != nil {
		return nil, fmt.Errorf("open the queue: %w", err)
	}
	return &Enqueuer{client: client}, nil
}

func (e *Enqueuer) insert(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) error {
	if _, err := e.client.InsertTx(ctx, tx, args, opts); err != nil {
		return fmt.Errorf("enqueue %s: %w", args.Kind(), err)
	}
	return nil
}

// Converge implements store.Enqueuer.
func (e *Enqueuer) Converge(ctx context.Context, tx pgx.Tx, previewID string) error {
	return e.insert(ctx, tx, convergeArgs{previewID}, &river.InsertOpts{MaxAttempts: 8, Priority: 1})
}

// PullRequest implements store.Enqueuer. A job that has not begun will read from the forge what this one would.
func (e *Enqueuer) PullRequest(ctx context.Context, tx pgx.Tx, repositoryID int64, number int) error {
	args := pullRequestArgs{repositoryID, number}
	encoded, err := json.Marshal(args)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", args.Kind(), err)
	}
	var waits bool
	err = tx.QueryRow(ctx, `select exists (select from river_job where state = 'available' and kind = $1 and args @> $2)`, args.Kind(), string(encoded)).Scan(&waits)
	if err != nil {
		return fmt.Errorf("enqueue %s: %w", args.Kind(), err)
	}
	if waits {
		return nil
	}
	return e.insert(ctx, tx, args, &river.InsertOpts{Queue: queueForge})
}

// Publish implements store.Enqueuer.
func (e *Enqueuer) Publish(ctx context.Context, tx pgx.Tx, previewID string, settled bool) error {
	opts := &river.InsertOpts{Queue: queueForge, Priority: 2}
	if !settled {
		opts.ScheduledAt = time.Now().Add(publishDelay)
	}
	return e.insert(ctx, tx, publishArgs{previewID}, opts)
}

// Delivery implements store.Enqueuer.
func (e *Enqueuer) Delivery(ctx context.Context, tx pgx.Tx, deliveryID string) error {
	return e.insert(ctx, tx, deliveryArgs{deliveryID}, &river.InsertOpts{Queue: queueForge})
}

// BuildTemplate implements store.Enqueuer.
func (e *Enqueuer) BuildTemplate(ctx context.Context, tx pgx.Tx, templateID string) error {
	return e.insert(ctx, tx, templateArgs{templateID}, &river.InsertOpts{Queue: queueBuilds, MaxAttempts: 3})
}

// Outgoing implements store.Enqueuer.
func (e *Enqueuer) Outgoing(ctx context.Context, tx pgx.Tx, previewID, target string) error {
	return e.insert(ctx, tx, outgoingArgs{previewID, target}, &river.InsertOpts{Queue: queueOutgoing})
}
