package migrations

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// watchAfter is how long a statement may run before somebody looks what it waits for. Most end before.
	watchAfter = 200 * time.Millisecond
	// watchEvery is how often that is repeated.
	watchEvery = 100 * time.Millisecond
)

// Wait says what a statement waited for, and for whom.
type Wait struct {
	// Mode is the lock that the statement wanted (AccessExclusiveLock), On the table or other object that it is on.
	Mode string `json:"mode"`
	On   string `json:"on"`
	// Holders are the sessions that were in the way.
	Holders []LockHolder `json:"holders"`
}

// LockHolder is a session that another one waited for.
type LockHolder struct {
	PID int32 `json:"pid"`
	// Application is its application_name, User its role. State is that of pg_stat_activity, "" if the role may not see it.
	Application string `json:"application,omitempty"`
	User        string `json:"user,omitempty"`
	State       string `json:"state,omitempty"`
	// Modes are the locks that it held on the same object.
	Modes string `json:"modes,omitempty"`
	// TransactionSeconds is how long its transaction had been open.
	TransactionSeconds float64 `json:"transaction_seconds,omitempty"`
	// Statement is the beginning of what it executed last.
	Statement string `json:"statement,omitempty"`
}

// String is one sentence for people. It leaves out the statements of others.
func (w *Wait) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "it waited for %s on %s", w.Mode, w.On)
	for i, h := range w.Holders {
		b.WriteString([]string{", which ", " and "}[min(i, 1)])
		fmt.Fprintf(&b, "the session of process %d", h.PID)
		if h.Application != "" {
			fmt.Fprintf(&b, " (%q)", h.Application)
		}
		if h.Modes != "" {
			fmt.Fprintf(&b, " holds as %s", h.Modes)
		} else {
			b.WriteString(" is in the way of")
		}
		if h.State != "" {
			fmt.Fprintf(&b, ", %s", h.State)
		}
		if h.TransactionSeconds > 0 {
			fmt.Fprintf(&b, " in a transaction of %.0f s", h.TransactionSeconds)
		}
	}
	return b.String()
}

// watcher looks from a second session at what the statements of a first one wait for. It connects only when one takes
// long. A watcher that cannot connect sees nothing: it is not worth failing for.
type watcher struct {
	connect func(ctx context.Context) (*pgx.Conn, error)
	pid     uint32
	after   time.Duration

	mu   sync.Mutex
	conn *pgx.Conn
}

// newWatcher takes the options' way to connect, or logs in as the watched session does.
func newWatcher(conn *pgx.Conn, opts ApplyOptions) *watcher {
	connect := opts.Observer
	if connect == nil {
		config := conn.Config().Copy()
		connect = func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config) }
	}
	after := watchAfter
	if opts.LockTimeout > 0 {
		after = min(after, opts.LockTimeout/4)
	}
	if opts.StatementTimeout > 0 {
		after = min(after, opts.StatementTimeout/4)
	}
	return &watcher{connect: connect, pid: conn.PgConn().PID(), after: max(after, time.Millisecond)}
}

func (w *watcher) close(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn != nil {
		_ = w.conn.Close(ctx)
		w.conn = nil
	}
}

// during watches until stop is called, which returns the last wait seen, or nil.
func (w *watcher) during(ctx context.Context) (stop func() *Wait) {
	watching, cancel := context.WithCancel(context.WithoutCancel(ctx))
	done := make(chan struct{})
	var last *Wait
	go func() {
		defer close(done)
		timer := time.NewTimer(w.after)
		defer timer.Stop()
		for {
			select {
			case <-watching.Done():
				return
			case <-timer.C:
			}
			if wait := w.look(watching); wait != nil {
				last = wait
			}
			timer.Reset(min(watchEvery, w.after))
		}
	}()
	return func() *Wait {
		cancel()
		<-done
		return last
	}
}

// look asks the server once.
func (w *watcher) look(ctx context.Context) *Wait {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.conn == nil || w.conn.IsClosed() {
		conn, err := w.connect(ctx)
		if err != nil {
			return nil
		}
		// The role may have a search_path in which operators of its own come before the system's.
		if _, err := conn.Exec(ctx, `SET search_path = pg_catalog`, pgx.QueryExecModeSimpleProtocol); err != nil {
			_ = conn.Close(ctx)
			return nil
		}
		w.conn = conn
	}
	rows, err := w.conn.Query(ctx, waitQuery, pgx.QueryExecModeExec, int32(w.pid))
	if err != nil {
		return nil
	}
	var wait *Wait
	var mode, on string
	var h LockHolder
	_, err = pgx.ForEachRow(rows, []any{&mode, &on, &h.PID, &h.Application, &h.User, &h.State, &h.Modes, &h.TransactionSeconds, &h.Statement}, func() error {
		if wait == nil {
			wait = &Wait{Mode: mode, On: on}
		}
		h.Statement = excerpt(h.Statement, excerptLength)
		wait.Holders = append(wait.Holders, h)
		return nil
	})
	if err != nil {
		return nil
	}
	return wait
}

// waitQuery lists for whom a session waits, and for what. pg_locks is for everybody to see; what other roles' sessions
// do is not.
const waitQuery = `
	SELECT l.mode,
		CASE l.locktype
			WHEN 'relation' THEN coalesce((SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
				FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = l.relation), 'relation ' || l.relation)
			WHEN 'tuple' THEN 'a row of ' || coalesce((SELECT pg_catalog.format('%I.%I', n.nspname, c.relname)
				FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = l.relation), 'relation ' || l.relation)
			WHEN 'transactionid' THEN 'a row that another transaction has changed'
			WHEN 'virtualxid' THEN 'the end of another transaction'
			WHEN 'advisory' THEN 'an advisory lock'
			ELSE l.locktype
		END,
		b.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, ''), coalesce(a.state, ''),
		coalesce((SELECT pg_catalog.string_agg(DISTINCT h.mode, ', ') FROM pg_catalog.pg_locks h
			WHERE h.pid = b.pid AND h.granted AND h.locktype = l.locktype AND h.relation IS NOT DISTINCT FROM l.relation
				AND h.database IS NOT DISTINCT FROM l.database AND h.transactionid IS NOT DISTINCT FROM l.transactionid
				AND h.virtualxid IS NOT DISTINCT FROM l.virtualxid AND h.classid IS NOT DISTINCT FROM l.classid
				AND h.objid IS NOT DISTINCT FROM l.objid), ''),
		coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start), 0)::float8,
		coalesce(CASE WHEN a.query <> '<insufficient privilege>' THEN a.query END, '')
	FROM pg_catalog.pg_locks l
	CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids($1)) AS b(pid)
	LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = b.pid
	WHERE l.pid = $1 AND NOT l.granted
	ORDER BY b.pid`
