package migrations

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/migrations/observe"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// Measure is what a database was before something that Mayfly does not execute itself, and so cannot observe statement by
// statement. It is taken as the application's role.
type Measure struct {
	schema *schemadiff.Snapshot
	rows   map[string]observe.Data
	bytes  int64
	wal    string // pg_current_wal_insert_lsn
	failed []string
}

// Before measures. What cannot be had is said in the report, and stops nothing.
func Before(ctx context.Context, conn *pgx.Conn) *Measure {
	m := &Measure{}
	var err error
	if m.schema, err = schemadiff.Take(ctx, conn); err != nil {
		m.fail("the schema was not compared: %v", err)
	}
	if m.rows, err = writtenRows(ctx, conn); err != nil {
		m.fail("rows were not counted: %v", err)
	}
	err = conn.QueryRow(ctx, `SELECT pg_catalog.pg_database_size(pg_catalog.current_database()), pg_catalog.pg_current_wal_insert_lsn()::text`,
		pgx.QueryExecModeExec).Scan(&m.bytes, &m.wal)
	if err != nil {
		m.fail("sizes were not measured: %v", err)
	}
	return m
}

func (m *Measure) fail(format string, args ...any) {
	m.failed = append(m.failed, fmt.Sprintf(format, args...))
}

// After measures again, and puts what changed into the report. The tool's own table, quoted, is left out of the differences.
func (m *Measure) After(ctx context.Context, conn *pgx.Conn, ownTable string, report *Report) (walBytes int64) {
	report.DatabaseBytesBefore = m.bytes
	if m.schema != nil {
		if now, err := schemadiff.Take(ctx, conn); err != nil {
			m.fail("the schema was not compared: %v", err)
		} else {
			diff := schemadiff.Compare(m.schema, now)
			own := strings.ReplaceAll(ownTable, `"`, "")
			diff.Changes = slices.DeleteFunc(diff.Changes, func(c schemadiff.Change) bool {
				about := c.Parent
				if about == "" {
					about = c.Name
				}
				return ownTable != "" && strings.ReplaceAll(about, `"`, "") == own
			})
			report.Schema = &diff
		}
	}
	if m.rows != nil {
		now, err := writtenRows(ctx, conn)
		if err != nil {
			m.fail("rows were not counted: %v", err)
		}
		report.Data = difference(m.rows, now, ownTable)
	}
	if m.wal != "" {
		err := conn.QueryRow(ctx, `SELECT pg_catalog.pg_database_size(pg_catalog.current_database()),
			pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), $1::text::pg_catalog.pg_lsn)::int8`,
			pgx.QueryExecModeExec, m.wal).Scan(&report.DatabaseBytesAfter, &walBytes)
		if err != nil {
			m.fail("sizes were not measured: %v", err)
		}
	}
	report.Unobserved = strings.Join(append([]string{
		"the project's own command ran, which Mayfly does not see statement by statement: locks and rewrites are not known",
	}, m.failed...), "; ")
	return walBytes
}

// writtenRows reads how many rows were written to each table since the statistics were reset. Sessions that ended have
// reported theirs; what a session of PostgreSQL before 15 did last may come half a second late.
func writtenRows(ctx context.Context, conn *pgx.Conn) (map[string]observe.Data, error) {
	rows, err := conn.Query(ctx, `SELECT pg_catalog.format('%I.%I', schemaname, relname), n_tup_ins, n_tup_upd, n_tup_del
		FROM pg_catalog.pg_stat_user_tables`, pgx.QueryExecModeExec)
	if err != nil {
		return nil, err
	}
	found := map[string]observe.Data{}
	var d observe.Data
	_, err = pgx.ForEachRow(rows, []any{&d.Table, &d.Inserted, &d.Updated, &d.Deleted}, func() error {
		found[d.Table] = d
		return nil
	})
	return found, err
}

func difference(before, now map[string]observe.Data, ownTable string) []observe.Data {
	var changed []observe.Data
	for table, d := range now {
		was := before[table]
		d.Inserted, d.Updated, d.Deleted = d.Inserted-was.Inserted, d.Updated-was.Updated, d.Deleted-was.Deleted
		if d.Inserted|d.Updated|d.Deleted != 0 && strings.ReplaceAll(ownTable, `"`, "") != strings.ReplaceAll(table, `"`, "") {
			changed = append(changed, d)
		}
	}
	slices.SortFunc(changed, func(a, b observe.Data) int { return strings.Compare(a.Table, b.Table) })
	return changed
}

// errClosed keeps a watcher from connecting by itself.
var errClosed = errors.New("the connection is closed")

// LongestWait says what the session that waits for a lock, of those of the same role, waits for. nil if none does.
func LongestWait(ctx context.Context, conn *pgx.Conn) (*Wait, error) {
	var pid *int32
	err := conn.QueryRow(ctx, `SELECT min(a.pid) FROM pg_catalog.pg_stat_activity a
		WHERE a.usename = current_user AND a.pid <> pg_catalog.pg_backend_pid() AND a.wait_event_type = 'Lock'`, pgx.QueryExecModeExec).Scan(&pid)
	if err != nil || pid == nil {
		return nil, err
	}
	w := &watcher{conn: conn, pid: uint32(*pid), connect: func(context.Context) (*pgx.Conn, error) { return nil, errClosed }}
	return w.look(ctx), nil
}

// NewReport returns the report of a run that has not begun: what the plan says.
func NewReport(plan Plan) *Report { return newReport(plan) }
