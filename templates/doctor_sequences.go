package templates

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/sanitize"
)

// drawnQuery lists integer columns with the sequence that they draw from: as its owner, as an identity, or by their default. A
// partition's values are in the table above it.
const drawnQuery = `
WITH drawn AS (
	SELECT objid AS sequence, refobjid AS relation, refobjsubid::int2 AS attnum FROM pg_catalog.pg_depend
	WHERE classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND refclassid = classid AND deptype IN ('a', 'i') AND refobjsubid > 0
	UNION
	SELECT d.refobjid, a.adrelid, a.adnum FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid
	WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
)
SELECT sn.nspname, sc.relname, tn.nspname, tc.relname, a.attname, s.seqincrement, s.seqmin, s.seqmax
FROM drawn d
JOIN pg_catalog.pg_sequence s ON s.seqrelid = d.sequence
JOIN pg_catalog.pg_class sc ON sc.oid = d.sequence JOIN pg_catalog.pg_namespace sn ON sn.oid = sc.relnamespace
JOIN pg_catalog.pg_class tc ON tc.oid = d.relation JOIN pg_catalog.pg_namespace tn ON tn.oid = tc.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.relation AND a.attnum = d.attnum JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
WHERE tc.relkind IN ('r', 'p') AND NOT tc.relispartition AND NOT s.seqcycle AND coalesce(nullif(t.typbasetype, 0), t.oid) IN (20, 21, 23)
	AND sc.relowner = current_user::pg_catalog.regrole
ORDER BY 1, 2, 3, 4, 5`

// drawn is a column and the sequence that it draws from.
type drawn struct {
	sequence, table     relation
	column              string
	increment, low, top int64
}

// checkSequences moves sequences on that would give out values that are there already.
func (t *target) checkSequences(ctx context.Context, conn *pgx.Conn, plan *sanitize.Plan) error {
	rows, err := conn.Query(ctx, drawnQuery)
	if err != nil {
		return fmt.Errorf("list the columns that draw from sequences: %w", err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (d drawn, err error) {
		return d, row.Scan(&d.sequence.schema, &d.sequence.name, &d.table.schema, &d.table.name, &d.column, &d.increment, &d.low, &d.top)
	})
	if err != nil {
		return fmt.Errorf("list the columns that draw from sequences: %w", err)
	}
	for i := range all {
		if err := t.checkSequence(ctx, conn, &all[i], plan); err != nil {
			return fmt.Errorf("compare the sequence %s with %s: %w", all[i].sequence, all[i].table, err)
		}
	}
	return nil
}

func (t *target) checkSequence(ctx context.Context, conn *pgx.Conn, d *drawn, plan *sanitize.Plan) error {
	furthest := "max"
	if d.increment < 0 {
		furthest = "min"
	}
	var value *int64
	var last int64
	var called bool
	query := fmt.Sprintf("SELECT (SELECT pg_catalog.%s(%s)::pg_catalog.int8 FROM %s), last_value, is_called FROM %s",
		furthest, quoteName(d.column), d.table.sql(), d.sequence.sql())
	if err := conn.QueryRow(ctx, query).Scan(&value, &last, &called); err != nil {
		return err
	}
	ahead := value == nil || d.increment > 0 && (last > *value || called && last == *value) || d.increment < 0 && (last < *value || called && last == *value)
	if ahead {
		return nil
	}
	f := Finding{
		Code: codeSequenceBehind, Severity: SeverityWarning, Object: "sequence " + d.sequence.String(),
		Cause:  fmt.Sprintf("it stands at %d, and %s.%s has %d already: the next inserts would repeat keys", last, d.table, d.column, *value),
		Done:   fmt.Sprintf("set to %d", *value),
		Advice: fmt.Sprintf("SELECT setval('%s', (SELECT %s(%s) FROM %s)) in the source: rows came in with keys of their own, for example by COPY", d.sequence.sql(), furthest, d.column, d.table),
	}
	if masker := plan.Table(d.table.schema, d.table.name); masker != nil && slices.ContainsFunc(masker.Columns(), func(c sanitize.ColumnPlan) bool {
		return c.Column == d.column && c.Transformer != "keep"
	}) {
		f.Severity, f.Advice = SeverityInfo, "nothing: the masked values go further than the original ones"
	}
	if *value > d.top || *value < d.low {
		f.Code = codeSequenceExhausted
		f.Cause = fmt.Sprintf("%s.%s has %d, which is beyond what the sequence can give", d.table, d.column, *value)
		f.Done = "left as it is in the source: inserts that draw from it may repeat keys"
		f.Advice = "ALTER SEQUENCE … AS bigint, or change its MINVALUE and MAXVALUE, in the source"
		t.find(f)
		return nil
	}
	t.find(f)
	return setSequences(ctx, conn, []sequenceValue{{name: d.sequence.sql(), value: strconv.FormatInt(*value, 10), called: "true"}})
}
