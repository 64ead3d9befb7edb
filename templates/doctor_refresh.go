package templates

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
)

// matviewEdges lists, for each materialized view or view, the other ones that its query reads.
const matviewEdges = `
SELECT DISTINCT w.ev_class, d.refobjid
FROM pg_catalog.pg_depend d
JOIN pg_catalog.pg_rewrite w ON w.oid = d.objid
JOIN pg_catalog.pg_class c ON c.oid = d.refobjid AND c.relkind IN ('v', 'm')
WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
	AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND w.ev_class <> d.refobjid`

// matviews fills materialized views.
type matviews struct {
	target *target
	conn   *pgx.Conn
	reads  map[uint32][]uint32
	empty  map[uint32]Finding // why views have no contents
}

// refreshMatviews fills the materialized views that have contents in the source, each after those that it reads. They
// are filled from masked rows: their contents are never copied. One that cannot be filled stays without contents, and so
// does what reads it.
func (t *target) refreshMatviews(ctx context.Context, conn *pgx.Conn, views []matview, populated map[relation]bool) error {
	m := &matviews{target: t, conn: conn, reads: map[uint32][]uint32{}, empty: map[uint32]Finding{}}
	rows, err := conn.Query(ctx, matviewEdges)
	if err != nil {
		return fmt.Errorf("read what materialized views depend on: %w", err)
	}
	var view, read uint32
	if _, err := pgx.ForEachRow(rows, []any{&view, &read}, func() error {
		m.reads[view] = append(m.reads[view], read)
		return nil
	}); err != nil {
		return fmt.Errorf("read what materialized views depend on: %w", err)
	}
	for _, v := range refreshOrder(views, m.reads) {
		if err := m.fill(ctx, v, populated[v.relation]); err != nil {
			return err
		}
	}
	return nil
}

// fill refreshes one materialized view, or notes why not.
func (m *matviews) fill(ctx context.Context, v matview, populated bool) error {
	f := Finding{Object: "materialized view " + v.String(), Done: "left WITH NO DATA: reading it is an error until it is refreshed"}
	if below, found := m.emptyBelow(v.oid, map[uint32]bool{}); found {
		f.Code, f.Severity, f.Cause = codeMatviewReadsEmpty, SeverityWarning, "it reads the "+below.Object+", which has no contents"
		if below.Severity == SeverityError {
			f.Severity = SeverityError
		}
		f.Advice = "see the finding about that"
	} else if !populated {
		f.Code, f.Severity, f.Cause = codeMatviewUnpopulated, SeverityInfo, "it has no contents in the source either"
		f.Advice = "REFRESH MATERIALIZED VIEW in the source, or drop it if nobody needs it"
	} else {
		err := execAll(ctx, m.conn, "REFRESH MATERIALIZED VIEW "+v.sql())
		var server *pgconn.PgError
		switch {
		case err == nil:
			return nil
		case !errors.As(err, &server) || ctx.Err() != nil:
			return fmt.Errorf("refresh the materialized view %s: %w", v, err)
		case server.Code == sqlDiskFull:
			return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: the materialized view %s cannot be filled", v).WithHint("free space in the pool, or enlarge it")
		}
		f.Code, f.Severity, f.Cause = codeMatviewFailed, SeverityError, "its query or its unique index fails: "+sourceMessage(err)
		f.Advice = "try REFRESH MATERIALIZED VIEW in the source. If it works there, its query does not run on masked values, or needs another database, the network, or a search_path"
	}
	m.empty[v.oid] = f
	m.target.find(f)
	return nil
}

// emptyBelow finds what a view reads, through other views too, that has no contents.
func (m *matviews) emptyBelow(oid uint32, seen map[uint32]bool) (Finding, bool) {
	for _, next := range m.reads[oid] {
		if f, found := m.empty[next]; found {
			return f, true
		}
		if seen[next] {
			continue
		}
		seen[next] = true
		if f, found := m.emptyBelow(next, seen); found {
			return f, true
		}
	}
	return Finding{}, false
}

// refreshOrder sorts materialized views so that each comes after those that it reads, through ordinary views too.
func refreshOrder(views []matview, reads map[uint32][]uint32) []matview {
	byOID := map[uint32]matview{}
	for _, v := range views {
		byOID[v.oid] = v
	}
	var order []matview
	seen := map[uint32]bool{}
	var visit func(oid uint32)
	visit = func(oid uint32) {
		if seen[oid] {
			return
		}
		seen[oid] = true
		below := slices.Clone(reads[oid])
		slices.Sort(below)
		for _, next := range below {
			visit(next)
		}
		if v, found := byOID[oid]; found {
			order = append(order, v)
		}
	}
	for _, v := range views {
		visit(v.oid)
	}
	return order
}
