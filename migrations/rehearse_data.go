package migrations

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// DataDifference is a table, or a column of one, that does not hold after a rollback what it held before.
type DataDifference struct {
	Table string `json:"table"`
	// Column is "" for the rows of the table. Before and After are then the number of rows, and else of the values that are not NULL.
	Column string `json:"column,omitempty"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
	// Changed is true if there are as many as before, and they are others.
	Changed bool `json:"changed,omitempty"`
}

// defaultHashBytes is RehearseOptions.MaxBytes.
const defaultHashBytes = 256 << 20

// contents is what a table holds.
type contents struct {
	rows    int64
	columns map[string]column
}

// column is how many values there are, and a hash of them that does not depend on their order; "" if none was computed.
type column struct {
	values int64
	hash   string
}

// look reads the schema, and what the tables hold: those of opts.Tables that are there, or those that were looked at before.
func (r *rehearsal) look(ctx context.Context, conn *pgx.Conn, earlier map[string]contents) (*schemadiff.Snapshot, map[string]contents, error) {
	schema, err := schemadiff.Take(ctx, conn)
	if err != nil {
		return nil, nil, err
	}
	rows := map[string]contents{}
	for _, table := range r.opts.Tables {
		was, known := earlier[table]
		if earlier != nil && !known {
			continue
		}
		found, ok, err := r.contents(ctx, conn, table, was, known)
		if err != nil {
			return nil, nil, err
		}
		if ok {
			rows[table] = found
		}
	}
	return schema, rows, nil
}

const columnsQuery = `
	SELECT a.attname::text, pg_catalog.pg_table_size(c.oid), pg_catalog.format('%I.%I', n.nspname, c.relname)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace
	JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) c.oid
	WHERE pg_catalog.concat(n.nspname, '.', c.relname) OPERATOR(pg_catalog.=) $1 AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p}')
		AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped
	ORDER BY a.attnum`

// contents counts the rows of a table and the values of its columns. Of a table that is not too large it hashes the values, too, of
// as many columns as were hashed before.
func (r *rehearsal) contents(ctx context.Context, conn *pgx.Conn, table string, was contents, known bool) (contents, bool, error) {
	found := contents{columns: map[string]column{}}
	var names []string
	var name, quoted string
	var size int64
	rows, err := conn.Query(ctx, columnsQuery, pgx.QueryExecModeExec, table)
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&name, &size, &quoted}, func() error { names = append(names, name); return nil })
	}
	if err != nil || len(names) == 0 {
		return found, false, err
	}
	hashing := func(name string) bool {
		if known {
			return was.columns[name].hash != ""
		}
		return size <= cmpOr(r.opts.MaxBytes, defaultHashBytes)
	}
	query := []string{"pg_catalog.count(*)"}
	for _, name := range names {
		value := pgx.Identifier{name}.Sanitize()
		query = append(query, "pg_catalog.count("+value+")")
		hash := "''"
		if hashing(name) {
			hash = "coalesce(pg_catalog.sum(pg_catalog.hashtextextended(" + value + "::text, 0))::text, '0')"
		}
		query = append(query, hash)
	}
	values := make([]any, len(query))
	counts, hashes := make([]int64, len(names)), make([]string, len(names))
	values[0] = &found.rows
	for i := range names {
		values[1+2*i], values[2+2*i] = &counts[i], &hashes[i]
	}
	err = conn.QueryRow(ctx, "SELECT "+strings.Join(query, ", ")+" FROM "+quoted, pgx.QueryExecModeExec).Scan(values...)
	if err != nil && asPgError(err) != nil { // one that the role may not read
		return found, false, nil //nolint:nilerr // its rows are then not compared
	}
	for i, name := range names {
		found.columns[name] = column{counts[i], hashes[i]}
	}
	return found, true, err
}

func cmpOr(a, b int64) int64 {
	if a > 0 {
		return a
	}
	return b
}

// compareData says what the tables no longer hold.
func (r *rehearsal) compareData(before, after map[string]contents) {
	for _, table := range r.opts.Tables {
		was, ok := before[table]
		if !ok {
			continue
		}
		now := after[table]
		r.out.Data = append(r.out.Data, was.differences(table, now)...)
	}
	for _, d := range r.out.Data {
		what := "rows of " + d.Table
		if d.Column != "" {
			what = "values in " + d.Table + "." + d.Column
		}
		switch {
		case d.After < d.Before:
			f := r.find(FindingRollbackLoses, "", "", fmt.Sprintf("rolled back, there are %d %s, and before there were %d", d.After, what, d.Before),
				"keep what the migration removes (a column or table under another name) until nobody wants it back")
			f.Relation = d.Table
		default:
			f := r.find(FindingRollbackChanges, "", "", fmt.Sprintf("rolled back, the %s are not what they were: %d before, %d after", what, d.Before, d.After),
				"let the down migration undo what the up migration writes, or say that it does not")
			f.Relation, f.Severity = d.Table, severityOf(FindingIgnored)
		}
	}
}

func (c contents) differences(table string, now contents) []DataDifference {
	if c.rows != now.rows {
		return []DataDifference{{Table: table, Before: c.rows, After: now.rows}}
	}
	var out []DataDifference
	for name, was := range c.columns {
		is, ok := now.columns[name]
		switch {
		case !ok: // the schema says so
		case was.values != is.values:
			out = append(out, DataDifference{Table: table, Column: name, Before: was.values, After: is.values})
		case was.hash != is.hash:
			out = append(out, DataDifference{Table: table, Column: name, Before: was.values, After: is.values, Changed: true})
		}
	}
	slices.SortFunc(out, func(a, b DataDifference) int { return strings.Compare(a.Column, b.Column) })
	return out
}

// tracking is what the tool's own tables held.
type tracking struct {
	tables []string // quoted, those that others refer to first
	rows   []*bytes.Buffer
}

// trackingTables lists the tool's own tables, quoted.
func trackingTables(plan Plan) []string {
	if plan.state.Table == "" {
		return nil
	}
	if plan.Tool != Sqitch {
		return []string{plan.state.Table}
	}
	registry := strings.TrimSuffix(plan.state.Table, `"changes"`)
	return []string{registry + `"projects"`, registry + `"changes"`, registry + `"tags"`, registry + `"dependencies"`, registry + `"events"`}
}

// isTracking reports whether a change is about one of the tool's own tables.
func isTracking(plan Plan, c schemadiff.Change) bool {
	about := c.Parent
	if about == "" {
		about = c.Name
	}
	for _, table := range trackingTables(plan) {
		plain := strings.ReplaceAll(table, `"`, "")
		if about == table || about == plain || strings.HasPrefix(about, plain) && c.Kind != schemadiff.KindTable && c.Kind != schemadiff.KindColumn {
			return true
		}
		if schema, _, ok := strings.Cut(plain, "."); ok && plan.Tool == Sqitch && c.Kind == schemadiff.KindSchema && about == schema {
			return true
		}
	}
	return plan.Tool == Liquibase && strings.Contains(about, "databasechangelog") || plan.Tool == Sqitch && strings.HasSuffix(about, ".releases")
}

// saveTracking copies what the tool's own tables hold. A table that is not there holds nothing.
func saveTracking(ctx context.Context, conn *pgx.Conn, plan Plan) (*tracking, error) {
	t := &tracking{tables: trackingTables(plan)}
	for _, table := range t.tables {
		rows := &bytes.Buffer{}
		if plan.state.Exists {
			if _, err := conn.PgConn().CopyTo(ctx, rows, "COPY (SELECT * FROM "+table+") TO STDOUT"); err != nil {
				return nil, fmt.Errorf("copy the tracking table: %w", err)
			}
		}
		t.rows = append(t.rows, rows)
	}
	return t, nil
}

// restore has the tables hold that again.
func (t *tracking) restore(ctx context.Context, conn *pgx.Conn) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, table := range slices.Backward(t.tables) {
			if _, err := tx.Exec(ctx, "DELETE FROM "+table, pgx.QueryExecModeSimpleProtocol); err != nil {
				return err
			}
		}
		for i, table := range t.tables {
			if _, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(t.rows[i].Bytes()), "COPY "+table+" FROM STDIN"); err != nil {
				return err
			}
		}
		return nil
	})
}
