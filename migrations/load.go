package migrations

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// Findings of a run under load.
const (
	FindingLoadBlocked FindingKind = "load-blocked" // others had to wait for a table
	FindingLoadFailed  FindingKind = "load-failed"  // the migrations fail when others are at work
)

const (
	// loadTables is how many tables get a load at most: each has sessions of its own.
	loadTables = 8
	// loadPause is between two statements of one session.
	loadPause = 5 * time.Millisecond
	// loadBlocked is from which time on a statement counts as one that had to wait. Without anybody in its way it takes less than a
	// millisecond.
	loadBlocked = 50 * time.Millisecond
	// loadEnd is how long the sessions may take to end once the migrations have.
	loadEnd = 30 * time.Second
)

// Load is what others felt who read and wrote the tables while the migrations ran.
type Load struct {
	// Readers and Writers are how many sessions there were for each table.
	Readers int `json:"readers"`
	Writers int `json:"writers"`
	// Key identifies the migrations. DurationMS is how long they took under the load.
	Key        string      `json:"key"`
	DurationMS float64     `json:"duration_ms"`
	Tables     []LoadTable `json:"tables"`
	// Error says why the migrations failed under the load, "" if they did not.
	Error    string    `json:"error,omitempty"`
	Findings []Finding `json:"-"`
}

// LoadTable is what others felt of one table.
type LoadTable struct {
	Table  string    `json:"table"`
	Reads  LoadWaits `json:"reads"`
	Writes LoadWaits `json:"writes"`
}

// LoadWaits are the statements of one kind.
type LoadWaits struct {
	Statements int64 `json:"statements"`
	// MaxMS is the longest that one took; BlockedMS how long the session that waited most waited in all.
	MaxMS     float64 `json:"max_ms"`
	BlockedMS float64 `json:"blocked_ms"`
	// Errors is how many failed, as they do when a column or table goes away. SQLState is that of the last.
	Errors   int64  `json:"errors,omitempty"`
	SQLState string `json:"sqlstate,omitempty"`
}

// LoadOptions are for ApplyUnderLoad.
type LoadOptions struct {
	ApplyOptions

	// Connect logs in as the application's role.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Tables are those that are read and written, with their schema: what the migrations work on.
	Tables []string
	// Readers and Writers are sessions for each table.
	Readers, Writers int
}

// ApplyUnderLoad applies a plan while other sessions read and write the tables, and measures for how long those had to wait. It is for a
// database that is thrown away afterwards. The error is nil unless ctx ended or the database cannot be reached.
func (h *History) ApplyUnderLoad(ctx context.Context, plan Plan, opts LoadOptions) (*Load, error) {
	opts.ApplyOptions = opts.withDefaults()
	opts.Observe, opts.observed, opts.Progress = false, nil, func(Step) {}
	out := &Load{Key: plan.Key(), Readers: opts.Readers, Writers: opts.Writers, Tables: []LoadTable{}}
	conn, err := opts.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	sessions, err := startLoad(ctx, opts)
	if err != nil {
		return nil, err
	}
	start := opts.Now()
	_, err = Apply(ctx, conn, plan, opts.ApplyOptions)
	out.DurationMS = milliseconds(opts.Now().Sub(start))
	sessions.stop(ctx)
	if ctx.Err() != nil {
		return nil, ended(ctx, ctx.Err())
	}
	out.Tables = sessions.sum(opts.Tables)
	if err != nil {
		out.Error = err.Error()
		out.Findings = append(out.Findings, Finding{
			Kind: FindingLoadFailed, Severity: lint.Error, Message: "with others reading and writing the tables, the migrations fail: " + err.Error(),
			Instead: mayfly.ErrorHint(err),
		})
	}
	out.Findings = append(out.Findings, out.blocked(opts.Thresholds)...)
	return out, nil
}

// blocked says which tables others had to wait for.
func (l *Load) blocked(limits lint.Thresholds) []Finding {
	if limits == (lint.Thresholds{}) {
		limits = lint.Defaults()
	}
	var findings []Finding
	for _, t := range l.Tables {
		longest := time.Duration(max(t.Reads.BlockedMS, t.Writes.BlockedMS) * float64(time.Millisecond))
		if longest == 0 {
			continue
		}
		severity := lint.Info
		switch {
		case longest >= limits.ErrorTime:
			severity = lint.Error
		case longest >= limits.WarnTime:
			severity = lint.Warning
		}
		findings = append(findings, Finding{
			Kind: FindingLoadBlocked, Severity: severity, Relation: t.Table,
			Message: fmt.Sprintf("while the migrations ran, others waited %.0f ms in all to read %s (%.0f ms at a time) and %.0f ms to write it (%.0f ms at a time)",
				t.Reads.BlockedMS, t.Table, t.Reads.MaxMS, t.Writes.BlockedMS, t.Writes.MaxMS),
			Instead: "see what holds the lock: the findings of the statements say how to do it without",
			Scale:   &lint.Scale{DurationMS: milliseconds(longest), Rows: -1},
		})
	}
	return findings
}

// load is the sessions at work.
type load struct {
	cancel  context.CancelFunc
	ended   chan struct{} // closed when they are to end after the statement that they are at
	done    sync.WaitGroup
	workers []*loadWorker
}

// loadWorker is one session.
type loadWorker struct {
	conn    *pgx.Conn
	table   string
	writes  bool
	waits   LoadWaits
	blocked time.Duration
	longest time.Duration
	now     func() time.Time
}

// startLoad opens all sessions before the first begins.
func startLoad(ctx context.Context, opts LoadOptions) (*load, error) {
	working, cancel := context.WithCancel(context.WithoutCancel(ctx))
	l := &load{cancel: cancel, ended: make(chan struct{})}
	for _, table := range opts.Tables[:min(len(opts.Tables), loadTables)] {
		for i := range opts.Readers + opts.Writers {
			conn, err := opts.Connect(ctx)
			if err != nil {
				l.stop(ctx)
				return nil, fmt.Errorf("open a session of the load: %w", err)
			}
			l.workers = append(l.workers, &loadWorker{conn: conn, table: table, writes: i >= opts.Readers, now: opts.Now})
		}
	}
	for _, w := range l.workers {
		l.done.Go(func() { w.work(working, l.ended) })
	}
	return l, nil
}

// stop ends the sessions. What the migrations kept waiting goes on now that they have ended.
func (l *load) stop(ctx context.Context) {
	close(l.ended)
	cut := time.AfterFunc(loadEnd, l.cancel)
	l.done.Wait()
	cut.Stop()
	l.cancel()
	for _, w := range l.workers {
		_ = w.conn.Close(context.WithoutCancel(ctx))
	}
}

// work reads or writes until it is told to end.
func (w *loadWorker) work(ctx context.Context, ended <-chan struct{}) {
	ticker := time.NewTicker(loadPause)
	defer ticker.Stop()
	statement := w.statement(ctx)
	for statement != "" {
		start := w.now()
		_, err := w.conn.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol)
		took := w.now().Sub(start)
		w.waits.Statements++
		w.longest = max(w.longest, took)
		if took >= loadBlocked {
			w.blocked += took
		}
		if err != nil {
			w.waits.Errors++
			e := asPgError(err)
			if e == nil { // cut off
				return
			}
			w.waits.SQLState = e.Code
			statement = w.statement(ctx) // a column may have gone
		}
		select {
		case <-ended:
			return
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// statement is what the session executes again and again: reading a row, or writing one as it is. It is "" if the table is not there.
func (w *loadWorker) statement(ctx context.Context) string {
	const query = `
		SELECT pg_catalog.format('%I.%I', n.nspname, c.relname), a.attname
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
		JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
		WHERE pg_catalog.concat(n.nspname, '.', c.relname) OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}') AND a.attnum OPERATOR(pg_catalog.>) 0
			AND NOT a.attisdropped AND a.attgenerated OPERATOR(pg_catalog.=) '' AND a.attidentity OPERATOR(pg_catalog.<>) 'a'
		ORDER BY a.attnum LIMIT 1`
	var table, column string
	if err := w.conn.QueryRow(ctx, query, pgx.QueryExecModeExec, w.table).Scan(&table, &column); err != nil {
		return ""
	}
	if !w.writes {
		return "SELECT * FROM " + table + " LIMIT 1"
	}
	column = pgx.Identifier{column}.Sanitize()
	return "UPDATE " + table + " SET " + column + " = " + column + " WHERE ctid = (SELECT ctid FROM " + table + " LIMIT 1)"
}

// sum puts the sessions of each table together.
func (l *load) sum(tables []string) []LoadTable {
	out := []LoadTable{}
	for _, table := range tables[:min(len(tables), loadTables)] {
		t := LoadTable{Table: table}
		for _, w := range l.workers {
			if w.table != table {
				continue
			}
			waits := &t.Reads
			if w.writes {
				waits = &t.Writes
			}
			waits.Statements += w.waits.Statements
			waits.MaxMS = max(waits.MaxMS, milliseconds(w.longest))
			waits.BlockedMS = max(waits.BlockedMS, milliseconds(w.blocked))
			waits.Errors += w.waits.Errors
			if w.waits.SQLState != "" {
				waits.SQLState = w.waits.SQLState
			}
		}
		if t.Reads.Statements+t.Writes.Statements > 0 {
			out = append(out, t)
		}
	}
	return out
}
