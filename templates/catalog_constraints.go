package templates

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/sanitize"
)

// uniquesQuery reads unique indexes and exclusion constraints: the columns of the key, and those that only expressions and
// conditions use. What is in both a condition and an expression cannot be told apart, and counts as both.
const uniquesQuery = `
SELECT i.indrelid, x.relname::text,
	coalesce((SELECT array_agg(a.attname::text ORDER BY k.n) FROM unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k(attnum, n)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum WHERE k.n <= i.indnkeyatts), '{}'),
	coalesce((SELECT array_agg(DISTINCT a.attname::text) FROM pg_catalog.pg_depend d
		JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
		WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid
		AND d.objid = i.indexrelid AND d.refobjid = i.indrelid AND NOT d.refobjsubid = ANY (i.indkey)), '{}'),
	i.indexprs IS NOT NULL, i.indpred IS NOT NULL, i.indisexclusion,
	coalesce((pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (i.indisunique OR i.indisexclusion) AND c.relkind IN ('r', 'p') AND ` + userObject + `
ORDER BY 1, 2`

const checksQuery = `
SELECT k.conrelid, k.conname::text, pg_catalog.pg_get_expr(k.conbin, k.conrelid),
	coalesce((SELECT array_agg(a.attname::text ORDER BY a.attnum) FROM pg_catalog.pg_attribute a
		WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)), '{}')
FROM pg_catalog.pg_constraint k
WHERE k.contype = 'c' AND k.conrelid <> 0 AND k.convalidated AND coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true)
ORDER BY 1, 2`

// readUniques reads what must stay different.
func (r *catalogReader) readUniques(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, forVersion(uniquesQuery, r.version))
	if err != nil {
		return err
	}
	var oid uint32
	var u sanitize.Unique
	var used []string
	var partial bool
	_, err = pgx.ForEachRow(rows, []any{&oid, &u.Name, &u.Columns, &used, &u.Expression, &partial, &u.Exclusion, &u.NullsNotDistinct}, func() error {
		if found := r.relations[oid]; found != nil {
			one := u
			if one.Expression {
				one.Columns = append(one.Columns, used...)
			}
			if partial {
				one.Predicate = used
			}
			found.masking.Uniques = append(found.masking.Uniques, one)
		}
		u.Columns, used = nil, nil
		return nil
	})
	return err
}

// readChecks reads the CHECK constraints that all rows satisfy.
func (r *catalogReader) readChecks(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, checksQuery)
	if err != nil {
		return err
	}
	var oid uint32
	var c sanitize.Check
	_, err = pgx.ForEachRow(rows, []any{&oid, &c.Name, &c.Expression, &c.Columns}, func() error {
		if found := r.relations[oid]; found != nil {
			found.masking.Checks = append(found.masking.Checks, c)
		}
		c.Columns = nil
		return nil
	})
	return err
}
