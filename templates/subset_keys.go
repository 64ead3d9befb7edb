package templates

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// foreignKey is one foreign key between tables of the source, or between all of their partitions.
type foreignKey struct {
	name             string // "schema.table constraint"
	from, to         uint32 // oids, of partitioned tables too
	child, parent    *node
	fromLeaf, toLeaf map[uint32]bool
	columns          []string // of the child
	children         []string // SQL whose text is equal on both sides exactly if the key is
	parents          []string

	link, key int // in the graph
}

// keyType is what is known of the type of a key's column.
type keyType struct{ schema, name, kind, category string }

func (t keyType) integer() bool {
	return t.schema == "pg_catalog" && slices.Contains([]string{"int2", "int4", "int8"}, t.name)
}

func (t keyType) sql() string { return pgx.Identifier{t.schema, t.name}.Sanitize() }

// keyText returns SQL for a column as text that is equal for equal values. Equality is that of the type of the key that is referred
// to, to which PostgreSQL casts what refers to it. Where equal values may look different, a hash of the type's own takes
// their place: two keys with the same hash are taken for one, which can take a row too many but never leave one out.
func keyText(column string, own, as keyType, collation string) string {
	sql := quoteName(column)
	if bothIntegers := own.integer() && as.integer(); own != as && !bothIntegers {
		sql += "::" + as.sql()
	}
	text := "(" + sql + ")::pg_catalog.text"
	builtIn := as.schema == "pg_catalog"
	switch {
	case collation != "":
		return "pg_catalog.hashtextextended(" + text + " COLLATE " + collation + ", 0)"
	case as.name == "citext":
		return "pg_catalog.lower(" + text + ")"
	case builtIn && as.name == "numeric":
		return "CASE WHEN pg_catalog.strpos(" + text + ", '.') > 0 THEN pg_catalog.rtrim(pg_catalog.rtrim(" + text + ", '0'), '.') ELSE " + text + " END"
	case builtIn && (as.name == "float4" || as.name == "float8"):
		return "((" + sql + ")::pg_catalog.float8 + 0)" // -0 equals 0
	case builtIn && as.name == "bpchar":
		return text // without the spaces at the end
	case builtIn && as.name == "interval":
		return "pg_catalog.interval_hash(" + sql + ")" // a month equals 30 days
	case builtIn && as.name == "jsonb":
		return "pg_catalog.jsonb_hash(" + sql + ")"
	case as.kind == "r":
		return "pg_catalog.hash_range(" + sql + ")"
	case as.kind == "m":
		return "pg_catalog.hash_multirange(" + sql + ")"
	case as.category == "A":
		return "pg_catalog.hash_array(" + sql + ")"
	}
	return sql
}

// baseType is the type below domains of a column's type.
func baseType(of string) string {
	return `(WITH RECURSIVE d(oid) AS (SELECT ` + of + ` UNION ALL SELECT t.typbasetype FROM pg_catalog.pg_type t JOIN d ON t.oid = d.oid WHERE t.typtype = 'd')
		SELECT t.oid FROM d JOIN pg_catalog.pg_type t ON t.oid = d.oid WHERE t.typtype <> 'd')`
}

// keysQuery reads foreign keys column by column, without those that partitions have from their table. PERIOD keys refer to all rows that
// together cover a range; without the last column they refer to too many of them.
func keysQuery() string {
	return `
SELECT k.oid, cn.nspname || '.' || c.relname || ' ' || k.conname, k.conrelid, k.confrelid, a.attname::text, f.attname::text,
	an.nspname::text, at.typname::text, at.typtype::text, at.typcategory::text, fn.nspname::text, ft.typname::text, ft.typtype::text, ft.typcategory::text,
	CASE WHEN (pg_catalog.to_jsonb(l) ->> 'collisdeterministic') = 'false' THEN pg_catalog.quote_ident(ln.nspname) || '.' || pg_catalog.quote_ident(l.collname) ELSE '' END
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) WITH ORDINALITY AS pair(here, there, n)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.here
JOIN pg_catalog.pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = pair.there
JOIN pg_catalog.pg_type at ON at.oid = ` + baseType("a.atttypid") + ` JOIN pg_catalog.pg_namespace an ON an.oid = at.typnamespace
JOIN pg_catalog.pg_type ft ON ft.oid = ` + baseType("f.atttypid") + ` JOIN pg_catalog.pg_namespace fn ON fn.oid = ft.typnamespace
LEFT JOIN pg_catalog.pg_collation l ON l.oid = f.attcollation LEFT JOIN pg_catalog.pg_namespace ln ON ln.oid = l.collnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
	AND NOT (coalesce((pg_catalog.to_jsonb(k) ->> 'conperiod')::bool, false) AND pair.n = pg_catalog.array_length(k.conkey, 1))
ORDER BY 2, k.oid, pair.n`
}

// leavesQuery pairs partitioned tables with the partitions below them that hold rows.
const leavesQuery = `
WITH RECURSIVE up(leaf, ancestor) AS (
	SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
	UNION ALL
	SELECT up.leaf, i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.ancestor
)
SELECT up.ancestor, up.leaf FROM up ORDER BY 1, 2`

// readForeignKeys reads the foreign keys of the source.
func (s *liveSource) readForeignKeys(ctx context.Context) ([]*foreignKey, error) {
	rows, err := s.conn.Query(ctx, forVersion(keysQuery(), s.version))
	if err != nil {
		return nil, s.failed(ctx, "read the source's foreign keys", err)
	}
	var all []*foreignKey
	last := uint32(0)
	var oid uint32
	var one foreignKey
	var column, target, collation string
	var own, as keyType
	_, err = pgx.ForEachRow(rows, []any{
		&oid, &one.name, &one.from, &one.to, &column, &target, &own.schema, &own.name, &own.kind, &own.category, &as.schema, &as.name, &as.kind, &as.category, &collation,
	}, func() error {
		if oid != last {
			all = append(all, &foreignKey{name: one.name, from: one.from, to: one.to})
			last = oid
		}
		k := all[len(all)-1]
		k.columns = append(k.columns, column)
		k.children = append(k.children, keyText(column, own, as, collation))
		k.parents = append(k.parents, keyText(target, as, as, collation))
		return nil
	})
	if err != nil {
		return nil, s.failed(ctx, "read the source's foreign keys", err)
	}
	return all, nil
}

// readLeaves returns the tables that hold the rows of tables, by oid: themselves or their partitions.
func (s *liveSource) readLeaves(ctx context.Context) (map[uint32][]uint32, error) {
	rows, err := s.conn.Query(ctx, leavesQuery)
	if err != nil {
		return nil, s.failed(ctx, "read the source's partitions", err)
	}
	leaves := map[uint32][]uint32{}
	var above, leaf uint32
	if _, err := pgx.ForEachRow(rows, []any{&above, &leaf}, func() error {
		leaves[above] = append(leaves[above], leaf)
		return nil
	}); err != nil {
		return nil, s.failed(ctx, "read the source's partitions", err)
	}
	for i := range s.tables.tables {
		oid := s.tables.tables[i].oid
		leaves[oid] = []uint32{oid}
	}
	return leaves, nil
}

// nullable reports whether a row may refer to nothing.
func (k *foreignKey) nullable() bool {
	for _, c := range k.child.leaves[0].masking.Columns {
		if slices.Contains(k.columns, c.Name) && !c.NotNull {
			return true
		}
	}
	return false
}

// identity tells keys apart: the same columns of the same table.
func (k *foreignKey) identity() [2]any { return [2]any{k.to, strings.Join(k.parents, "\x00")} }
