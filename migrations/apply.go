package migrations

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// The defaults of ApplyOptions.
const (
	DefaultStatementTimeout = 10 * time.Minute
	DefaultLockTimeout      = time.Minute
)

// ApplyOptions bound a run of Apply.
type ApplyOptions struct {
	// StatementTimeout and LockTimeout become the session's statement_timeout and lock_timeout. A migration may set its
	// own; to bound a run whatever it does, use the context. 0 means the default, negative no limit.
	StatementTimeout time.Duration
	LockTimeout      time.Duration
	// DatabaseNames are further names by which a project's own tool may know the database (the gateway's name for the
	// preview). They are part of golang-migrate's advisory lock.
	DatabaseNames []string
	// Progress, if set, is called when a migration begins and when it has ended.
	Progress func(Step)
	// Observer connects a second time, to see what a statement waits for. nil means as conn is connected, which sees the
	// locks of all sessions, and what those of the same role do.
	Observer func(ctx context.Context) (*pgx.Conn, error)
	// Observe fills in what each statement did (Step.Observed), what changed in the schema and in the data, and the findings that
	// come of it. It takes a second session, opened as Observer says.
	Observe bool
	// Thresholds decide how bad a finding is. The zero value means lint.Defaults.
	Thresholds lint.Thresholds
	// Now is the clock; nil means time.Now.
	Now func() time.Time

	observed *observation // nil if nothing is observed
}

func (o ApplyOptions) withDefaults() ApplyOptions {
	if o.StatementTimeout == 0 {
		o.StatementTimeout = DefaultStatementTimeout
	}
	if o.LockTimeout == 0 {
		o.LockTimeout = DefaultLockTimeout
	}
	if o.Progress == nil {
		o.Progress = func(Step) {}
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Apply executes a plan. conn must be logged in as the application's role; a session with a superuser behind it is
// refused. Close the connection afterwards: a migration may have changed anything in the session.
//
// The report is never nil and tells how far it came. The error is nil exactly if everything pending was applied.
// Otherwise it is an *mayfly.Error: CodeMigrationFailed with Report.Failure set if a migration failed, in which case the
// tracking table stays dirty as the tool would leave it; CodeCancelled or CodeTimeout if ctx ended; CodeConflict if the
// database is no longer in the state the plan was made for, or if another run holds the tool's lock.
//
// When ctx ends, the running statement is cancelled on the server.
func Apply(ctx context.Context, conn *pgx.Conn, plan Plan, opts ApplyOptions) (*Report, error) {
	opts = opts.withDefaults()
	start := opts.Now()
	report := newReport(plan)
	defer func() { report.DurationMS = milliseconds(opts.Now().Sub(start)) }()
	if len(plan.Pending) == 0 {
		return report, nil
	}
	if err := refuseSuperuser(ctx, conn); err != nil {
		return report, ended(ctx, err)
	}
	if opts.Observe {
		opts.observed = observeRun(ctx, conn, opts, report)
	}
	err := plan.impl.apply(ctx, conn, plan, opts, report)
	opts.observed.finish(ctx, opts.Thresholds, report)
	if err != nil {
		return report, ended(ctx, err)
	}
	return report, nil
}

func newReport(plan Plan) *Report {
	report := &Report{
		Tool: plan.Tool, FromVersion: plan.From, ToVersion: plan.From, AlreadyApplied: plan.AlreadyApplied,
		Applied: []Step{}, Skipped: append([]Skipped{}, plan.Skipped...), Pending: []Remaining{},
		Findings: append([]Finding{}, graded(plan.Findings)...), Migrations: plan.Migrations,
	}
	for _, m := range plan.Pending {
		report.Pending = append(report.Pending, Remaining{Version: m.Version, Name: m.Name, File: m.file()})
	}
	return report
}

// ended gives an error the code that says so when the reason is that ctx ended.
func ended(ctx context.Context, err error) error {
	if ctx.Err() == nil {
		return err
	}
	code, what := mayfly.CodeCancelled, "cancelled"
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		code, what = mayfly.CodeTimeout, "cut off because it took too long"
	}
	return &mayfly.Error{
		Code: code, Message: fmt.Sprintf("applying migrations was %s: %v", what, err),
		Hint: "a migration that was running left the preview half migrated: reset it", Err: errors.Join(context.Cause(ctx), err),
	}
}

// refuseSuperuser makes sure that no migration can get more rights than the application's role has. The role that
// logged in counts too: a session can go back to it with RESET SESSION AUTHORIZATION.
func refuseSuperuser(ctx context.Context, conn *pgx.Conn) error {
	var super bool
	err := conn.QueryRow(ctx, `
		SELECT pg_catalog.bool_or(r.rolsuper)
		FROM pg_catalog.pg_roles r
		WHERE r.rolname IN (current_user, session_user)
		   OR r.oid = (SELECT a.usesysid FROM pg_catalog.pg_stat_activity a WHERE a.pid = pg_catalog.pg_backend_pid())`,
		pgx.QueryExecModeExec).Scan(&super)
	if err != nil {
		return fmt.Errorf("look up the rights of the migrations' role: %w", err)
	}
	if super {
		return errors.New("migrations are never applied with a superuser's rights: connect as the application's role")
	}
	return nil
}
