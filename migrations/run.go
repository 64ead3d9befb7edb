package migrations

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

const (
	// lockPoll is how often an advisory lock is tried. A session that waits in pg_advisory_lock instead would hold a
	// snapshot, which CREATE INDEX CONCURRENTLY in the session that has the lock waits for.
	lockPoll = 50 * time.Millisecond
	// lockWait is how long: DefaultLockTimeout of golang-migrate, taken for all tools.
	lockWait = 15 * time.Second
	// recordTimeout bounds what is still done after the context ended.
	recordTimeout = 30 * time.Second
)

// run is one Apply: what every tool needs for it.
type run struct {
	conn   *pgx.Conn
	plan   Plan
	opts   ApplyOptions
	report *Report
	table  trackingTable // once the tool has found it
	watch  *watcher
}

func newRun(conn *pgx.Conn, plan Plan, opts ApplyOptions, report *Report) *run {
	return &run{conn: conn, plan: plan, opts: opts, report: report, watch: newWatcher(conn, opts)}
}

// migrate is how a tool brings the database to one version: it executes the file and records it. The outcome's err and the
// failure are both set, or neither.
type migrateFunc func(ctx context.Context, m Migration) (outcome, *Failure)

// migration brings the database to the next version and reports it.
func (r *run) migration(ctx context.Context, index int, m Migration, migrate migrateFunc) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	step := Step{
		Version: m.Version, Name: m.Name, File: m.file(), SHA: m.sha(), Index: index + 1, Total: len(r.plan.Pending),
	}
	r.opts.Progress(step)
	r.opts.observed.begin(r)
	start := r.opts.Now()
	result, failure := migrate(ctx, m)
	step.Done, step.Statements, step.RowsAffected = true, result.statements, result.rows
	step.DurationMS = milliseconds(r.opts.Now().Sub(start))
	step.Observed = r.opts.observed.end(ctx)
	if failure != nil {
		step.Error = failure.String()
	}
	r.report.Applied = append(r.report.Applied, step)
	r.report.Pending = r.report.Pending[1:]
	r.report.Failure = failure
	r.opts.Progress(step)
	if failure == nil {
		r.report.ToVersion = m.Version
		return nil
	}
	r.report.DatabaseBytesAfter = r.size(ctx)
	return &mayfly.Error{Code: mayfly.CodeMigrationFailed, Message: failure.String(), Hint: failure.Hint, Err: result.err}
}

// file sends a script's queries, in order, up to the first that fails. It begins and ends no transaction.
func (r *run) file(ctx context.Context, m Migration, s script) (outcome, *Failure) {
	var sum outcome
	for _, q := range s.queries {
		result, failure := r.query(ctx, m, s, q)
		sum.statements += result.statements
		sum.rows += result.rows
		if failure != nil {
			sum.err = result.err
			return sum, failure
		}
	}
	if status := r.conn.PgConn().TxStatus(); status != 'I' && !s.transaction {
		sum.err = errors.New("the migration ends inside a transaction that it began: its changes were rolled back")
		r.settle(context.WithoutCancel(ctx))
		failure := r.failure(m, "", sum.err)
		failure.Hint = "add the COMMIT that belongs to the BEGIN, or leave both out: a file runs as one transaction anyway"
		if m.NoTransaction {
			failure.Hint = "add the COMMIT that belongs to the BEGIN"
		}
		return sum, failure
	}
	return sum, nil
}

// query sends one part of a file.
func (r *run) query(ctx context.Context, m Migration, s script, q span) (outcome, *Failure) {
	text := s.text[q.begin:q.end]
	// What decides how the server reads the text is what was set before it.
	pieces := sqlsplit.Counted(sqlsplit.Split(text, r.conn.PgConn().ParameterStatus("standard_conforming_strings") != "off"))
	bytePositions := inBytes(r.conn.PgConn())
	stop := r.watch.during(ctx)
	result := r.opts.observed.execute(ctx, r, s, q, pieces)
	wait := stop()
	if result.err == nil {
		return result, nil
	}
	failure := r.failure(m, "", result.err)
	failure.waited(ctx, asPgError(result.err), wait)
	failure.locate(text, pieces, result.statements, bytePositions)
	failure.shift(s.text[:q.begin])
	r.settle(context.WithoutCancel(ctx))
	return result, failure
}

// waited adds what a statement waited for to a failure that comes from waiting.
func (f *Failure) waited(ctx context.Context, e *pgconn.PgError, wait *Wait) {
	if wait == nil || e == nil || ctx.Err() == nil && e.Code != "55P03" && e.Code != "57014" {
		return
	}
	f.Wait = wait
	if f.Hint != "" {
		f.Hint += "; "
	}
	f.Hint += wait.String()
}

// shift moves a location in a part of a file to where it is in the whole of it.
func (f *Failure) shift(before string) {
	if f.Line > 0 {
		line, column := lineColumn(before, len(before))
		if f.Line == 1 {
			f.Column += column - 1
		}
		f.Line += line - 1
	}
	if f.Position > 0 {
		f.Position += utf8.RuneCountInString(before)
	}
}

// exec runs a statement of ours, with the simple protocol when there are no arguments.
func (r *run) exec(ctx context.Context, statement string, args ...any) error {
	mode := pgx.QueryExecModeExec
	if len(args) == 0 {
		mode = pgx.QueryExecModeSimpleProtocol
	}
	_, err := r.conn.Exec(ctx, statement, append([]any{mode}, args...)...)
	return err
}

func (r *run) setTimeouts(ctx context.Context) error {
	for name, limit := range map[string]time.Duration{"statement_timeout": r.opts.StatementTimeout, "lock_timeout": r.opts.LockTimeout} {
		value := strconv.FormatInt(min(max(0, limit.Milliseconds()), math.MaxInt32), 10)
		if _, err := r.conn.Exec(ctx, `SELECT pg_catalog.set_config($1, $2, false)`, pgx.QueryExecModeExec, name, value); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	return nil
}

// settle leaves a transaction that a migration began, so that the session can be used again.
func (r *run) settle(ctx context.Context) {
	if r.conn.IsClosed() || r.conn.PgConn().TxStatus() == 'I' {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, recordTimeout)
	defer cancel()
	_, _ = r.conn.Exec(bounded, `ROLLBACK`, pgx.QueryExecModeSimpleProtocol) // the session ends soon in any case
}

func (r *run) failure(m Migration, prefix string, err error) *Failure {
	failure := &Failure{File: m.file(), Version: m.Version}
	pgErr := asPgError(err)
	switch {
	case pgErr != nil:
		failure.fill(pgErr)
		if prefix != "" { // our own query: its position means nothing in the file
			failure.Position = 0
		}
		if failure.Hint == "" {
			failure.Hint = ownHint(pgErr, r.opts)
		}
	case r.conn.IsClosed():
		failure.Message = "the connection to the preview broke"
		failure.Hint = "the server crashed or ran out of memory; the preview's log says which"
	default:
		failure.Message = err.Error()
	}
	failure.Message = prefix + failure.Message
	return failure
}

// size is pg_database_size, or 0 if it cannot be had: it is not worth failing for.
func (r *run) size(ctx context.Context) int64 {
	var bytes int64
	if r.conn.IsClosed() {
		return 0
	}
	if err := r.conn.QueryRow(ctx, `SELECT pg_catalog.pg_database_size(pg_catalog.current_database())`, pgx.QueryExecModeExec).Scan(&bytes); err != nil {
		return 0
	}
	return bytes
}

// find completes the name of the tracking table and reports whether it exists.
func (r *run) find(ctx context.Context, standard string) (exists bool, err error) {
	if r.table, err = findTable(ctx, r.conn, r.plan.table, standard); err != nil {
		return false, err
	}
	state, err := readApplied(ctx, r.conn, r.table, "", nil)
	return state.Exists, err
}

// advisoryLock takes locks of the session, in this order, and waits for them as golang-migrate does.
func (r *run) advisoryLock(ctx context.Context, tool string, ids ...int64) (unlock func(), err error) {
	var held []int64
	unlock = func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer cancel()
		r.settle(after)
		for _, id := range held {
			// One that fails is given back by the end of the session.
			_, _ = r.conn.Exec(after, `SELECT pg_catalog.pg_advisory_unlock($1)`, pgx.QueryExecModeExec, id)
		}
	}
	deadline := r.opts.Now().Add(lockWait)
	for _, id := range ids {
		if err := r.tryLock(ctx, tool, id, deadline); err != nil {
			unlock()
			return nil, err
		}
		held = append(held, id)
	}
	return unlock, nil
}

// database is the name of the database.
func (r *run) database(ctx context.Context) (string, error) {
	var name string
	if err := r.conn.QueryRow(ctx, `SELECT pg_catalog.current_database()::text`, pgx.QueryExecModeExec).Scan(&name); err != nil {
		return "", fmt.Errorf("look up the database's name: %w", err)
	}
	return name, nil
}

// tryLock waits for an advisory lock of the session until the deadline.
func (r *run) tryLock(ctx context.Context, tool string, id int64, deadline time.Time) error {
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		var got bool
		if err := r.conn.QueryRow(ctx, `SELECT pg_catalog.pg_try_advisory_lock($1)`, pgx.QueryExecModeExec, id).Scan(&got); err != nil {
			return fmt.Errorf("take the lock of %s: %w", tool, err)
		}
		if got {
			return nil
		}
		if r.opts.Now().After(deadline) {
			return mayfly.Errorf(mayfly.CodeConflict, "another run of %s holds the migration lock of this preview", tool).
				WithHint("wait until it has ended, then try again")
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poll.C:
		}
	}
}
