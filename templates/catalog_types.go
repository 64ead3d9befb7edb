package templates

import (
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/sanitize"
)

// typesQuery reads the types of all columns and what they are made of, at any depth.
const typesQuery = `
WITH RECURSIVE reached(oid) AS (
	SELECT a.atttypid FROM pg_catalog.pg_attribute a
	JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND ` + userObject + `
	UNION
	SELECT inner_type.oid FROM reached r JOIN pg_catalog.pg_type t ON t.oid = r.oid CROSS JOIN LATERAL (
		SELECT t.typbasetype WHERE t.typtype = 'd'
		UNION ALL SELECT e.oid FROM pg_catalog.pg_type e WHERE e.typarray = t.oid
		UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g
			WHERE t.oid IN (g.rngtypid, (pg_catalog.to_jsonb(g) ->> 'rngmultitypid')::pg_catalog.oid)
		UNION ALL SELECT f.atttypid FROM pg_catalog.pg_attribute f
			WHERE t.typtype = 'c' AND f.attrelid = t.typrelid AND f.attnum > 0 AND NOT f.attisdropped
	) AS inner_type(oid)
)
SELECT t.oid, CASE WHEN t.typtype = 'd' THEN pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(t.typname)
		ELSE pg_catalog.format_type(t.oid, NULL) END, t.typtype::text, t.typdelim::text, t.typbasetype, t.typtypmod,
	coalesce((SELECT e.oid FROM pg_catalog.pg_type e WHERE e.typarray = t.oid LIMIT 1), 0),
	coalesce((SELECT g.rngsubtype FROM pg_catalog.pg_range g
		WHERE t.oid IN (g.rngtypid, (pg_catalog.to_jsonb(g) ->> 'rngmultitypid')::pg_catalog.oid) LIMIT 1), 0),
	(SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid),
	f.names, f.types, f.modifiers,
	(SELECT array_agg(pg_catalog.pg_get_expr(k.conbin, 0) ORDER BY k.conname) FROM pg_catalog.pg_constraint k
		WHERE k.contypid = t.oid AND k.contype = 'c' AND k.convalidated)
FROM (SELECT DISTINCT oid FROM reached) r JOIN pg_catalog.pg_type t ON t.oid = r.oid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
CROSS JOIN LATERAL (
	SELECT array_agg(a.attname::text ORDER BY a.attnum) AS names, array_agg(a.atttypid ORDER BY a.attnum) AS types,
		array_agg(a.atttypmod ORDER BY a.attnum) AS modifiers
	FROM pg_catalog.pg_attribute a WHERE t.typtype = 'c' AND a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
) f`

const columnTypesQuery = `
SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND ` + userObject

// pgType is a row of pg_type with what belongs to it.
type pgType struct {
	oid            uint32
	name, kind     string
	delimiter      string
	base           uint32
	modifier       int32
	element, bound uint32
	labels         []string
	fields         []string
	fieldTypes     []uint32
	fieldModifiers []int32
	checks         []string
}

// readTypes fills in what the columns' types are made of.
func (r *catalogReader) readTypes(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, typesQuery)
	if err != nil {
		return err
	}
	types := typeMap{}
	var t pgType
	if _, err = pgx.ForEachRow(rows, []any{
		&t.oid, &t.name, &t.kind, &t.delimiter, &t.base, &t.modifier, &t.element, &t.bound, &t.labels, &t.fields, &t.fieldTypes, &t.fieldModifiers, &t.checks,
	}, func() error {
		found := t
		types[t.oid] = &found
		t.labels, t.fields, t.fieldTypes, t.fieldModifiers, t.checks = nil, nil, nil, nil, nil
		return nil
	}); err != nil {
		return err
	}
	if rows, err = conn.Query(ctx, columnTypesQuery); err != nil {
		return err
	}
	var relation, oid uint32
	var name string
	var modifier int32
	_, err = pgx.ForEachRow(rows, []any{&relation, &name, &oid, &modifier}, func() error {
		found := r.relations[relation]
		if found == nil {
			return nil
		}
		at := slices.IndexFunc(found.masking.Columns, func(c sanitize.Column) bool { return c.Name == name })
		if at >= 0 {
			types.describe(&found.masking.Columns[at], oid, modifier)
		}
		return nil
	})
	return err
}

// typeMap is pg_type, as far as the columns need it, by oid.
type typeMap map[uint32]*pgType

// describe completes a column.
func (m typeMap) describe(c *sanitize.Column, oid uint32, modifier int32) {
	for next, depth := m[oid], 0; next != nil && next.kind == "d" && depth < maxTypeDepth; next, depth = m[next.base], depth+1 {
		c.DomainChecks = append(c.DomainChecks, next.checks...)
	}
	if len(c.DomainChecks) > 0 {
		c.Domain = m[oid].name
	}
	if inner := m.resolve(oid, modifier, 0); inner.Kind != sanitize.TypeScalar {
		c.Inner = inner
	}
}

// maxTypeDepth bounds how deep types are taken apart. PostgreSQL lets no type contain itself, but a damaged catalog might.
const maxTypeDepth = 32

// The types whose modifier is a length.
const (
	charOID    = 1042
	varcharOID = 1043
)

func (m typeMap) resolve(oid uint32, modifier int32, depth int) *sanitize.DataType {
	t := m[oid]
	if t == nil || depth == maxTypeDepth {
		return &sanitize.DataType{Name: "unknown"}
	}
	d := &sanitize.DataType{Name: t.name, EnumLabels: t.labels}
	switch {
	case t.kind == "d":
		if t.modifier >= 0 {
			modifier = t.modifier
		}
		return m.resolve(t.base, modifier, depth+1)
	case t.element != 0:
		d.Kind, d.Element = sanitize.TypeArray, m.resolve(t.element, modifier, depth+1)
		if element := m[t.element]; element != nil && element.delimiter != "" {
			d.Delimiter = element.delimiter[0]
		}
	case t.bound != 0:
		d.Kind, d.Element = sanitize.TypeRange, m.resolve(t.bound, -1, depth+1)
		if t.kind == "m" {
			d.Kind = sanitize.TypeMultirange
		}
	case t.kind == "c":
		d.Kind = sanitize.TypeComposite
		for i, name := range t.fields {
			d.Fields = append(d.Fields, sanitize.Field{Name: name, Type: m.resolve(t.fieldTypes[i], t.fieldModifiers[i], depth+1)})
		}
	case oid == charOID || oid == varcharOID:
		d.MaxLength = max(int(modifier)-4, 0)
	}
	return d
}
