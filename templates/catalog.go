package templates

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/sanitize"
)

// oldestMajor is the oldest server whose catalogs the queries below fit.
const oldestMajor = 10

// forVersion returns a query over the catalogs as a server of that version (server_version_num) has them: columns that
// came later are replaced by what they would say there.
func forVersion(query string, version int) string {
	for _, later := range []struct {
		since         int
		column, older string
	}{
		{110000, "i.indnkeyatts", "i.indnatts"}, // no INCLUDE
		{110000, "k.conparentid", "0"},
		{120000, "a.attgenerated <> ''", "false"},
		{130000, "t.tgparentid = 0", "NOT c.relispartition"},
	} {
		if version < later.since {
			query = strings.ReplaceAll(query, later.column, later.older)
		}
	}
	return query
}

// serverVersion returns server_version_num.
func serverVersion(ctx context.Context, conn *pgx.Conn) (version int, err error) {
	err = conn.QueryRow(ctx, "SELECT pg_catalog.current_setting('server_version_num')::int").Scan(&version)
	return version, err
}

// catalog is what is known of the tables, sequences and materialized views of one database.
type catalog struct {
	tables []table
	// partitioned are the tables that hold no rows themselves.
	partitioned map[relation]bool
	sequences   []relation
	matviews    []matview
}

// relation names something with a schema.
type relation struct{ schema, name string }

func (r relation) String() string { return r.schema + "." + r.name }

// sql returns the quoted name.
func (r relation) sql() string { return pgx.Identifier{r.schema, r.name}.Sanitize() }

// table is one table that holds rows itself: ordinary tables and the leaves of partitioned ones.
type table struct {
	relation
	oid       uint32
	masking   sanitize.Table // columns in the order of the catalog, generated ones flagged
	heapBytes int64          // size of the table's main fork
	estimate  int64          // rows, by the last ANALYZE
}

// columns returns what COPY sends.
func (t *table) columns() []string {
	var names []string
	for _, c := range t.masking.Columns {
		if !c.Generated {
			names = append(names, c.Name)
		}
	}
	return names
}

type matview struct {
	relation
	oid       uint32
	populated bool
}

// userObject is true for relations that are neither the system's nor a member of an extension.
const userObject = `
	n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND c.relpersistence <> 't'
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend e
		WHERE e.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND e.objid = c.oid AND e.deptype = 'e')`

const tablesQuery = `
WITH RECURSIVE up(leaf, ancestor) AS (
	SELECT i.inhrelid, i.inhparent FROM pg_catalog.pg_inherits i
		JOIN pg_catalog.pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
	UNION ALL
	SELECT up.leaf, i.inhparent FROM up JOIN pg_catalog.pg_inherits i ON i.inhrelid = up.ancestor
)
SELECT c.oid, n.nspname, c.relname, c.relkind::text, pg_catalog.pg_relation_size(c.oid), greatest(c.reltuples, 0)::bigint,
	coalesce((SELECT array_agg(up.ancestor) FROM up WHERE up.leaf = c.oid), '{}')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND ` + userObject + `
ORDER BY n.nspname, c.relname`

// columnsQuery: unique says that the column is alone in a unique index, also as the one column of an expression;
// partitioned that the table's own partition key uses it.
const columnsQuery = `
WITH RECURSIVE domain(oid, base, typmod, not_null) AS (
	SELECT oid, typbasetype, typtypmod, typnotnull FROM pg_catalog.pg_type WHERE typtype = 'd'
	UNION ALL
	SELECT d.oid, t.typbasetype, t.typtypmod, d.not_null OR t.typnotnull
	FROM domain d JOIN pg_catalog.pg_type t ON t.oid = d.base AND t.typtype = 'd'
),
resolved AS (
	SELECT DISTINCT ON (d.oid) d.oid, d.base, d.typmod, bool_or(d.not_null) OVER (PARTITION BY d.oid) AS not_null
	FROM domain d JOIN pg_catalog.pg_type t ON t.oid = d.base AND t.typtype <> 'd'
),
used AS (
	SELECT d.objid AS index, d.refobjid AS relation, min(d.refobjsubid) AS attnum
	FROM pg_catalog.pg_depend d
	WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid AND d.refobjsubid > 0
	GROUP BY 1, 2 HAVING count(DISTINCT d.refobjsubid) = 1
)
SELECT a.attrelid, a.attname,
	pg_catalog.format_type(coalesce(r.base, a.atttypid), coalesce(r.typmod, a.atttypmod)),
	a.attnotnull OR coalesce(r.not_null, false),
	a.attgenerated <> '',
	EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisprimary AND a.attnum = ANY (i.indkey)),
	EXISTS (SELECT FROM pg_catalog.pg_index i LEFT JOIN used u ON u.index = i.indexrelid AND u.relation = i.indrelid
		WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indnkeyatts = 1
		AND (i.indkey[0] = a.attnum OR i.indkey[0] = 0 AND u.attnum = a.attnum)),
	EXISTS (SELECT FROM pg_catalog.pg_partitioned_table p WHERE p.partrelid = a.attrelid AND (a.attnum = ANY (p.partattrs)
		OR EXISTS (SELECT FROM pg_catalog.pg_depend d
			WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = d.classid
			AND d.objid = a.attrelid AND d.objsubid = 0 AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum))),
	CASE WHEN coalesce(r.base, a.atttypid) IN (1042, 1043) THEN greatest(coalesce(r.typmod, a.atttypmod) - 4, 0) ELSE 0 END,
	(SELECT array_agg(e.enumlabel::text ORDER BY e.enumsortorder) FROM pg_catalog.pg_enum e
		WHERE e.enumtypid = coalesce(r.base, a.atttypid))
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN resolved r ON r.oid = a.atttypid
WHERE c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped AND ` + userObject + `
ORDER BY a.attrelid, a.attnum`

const foreignKeysQuery = `
SELECT DISTINCT k.conrelid, a.attname::text, k.confrelid, f.attname::text
FROM pg_catalog.pg_constraint k
CROSS JOIN LATERAL unnest(k.conkey, k.confkey) AS pair(here, there)
JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = pair.here
JOIN pg_catalog.pg_attribute f ON f.attrelid = k.confrelid AND f.attnum = pair.there
WHERE k.contype = 'f'
ORDER BY 1, 2, 3, 4`

const sequencesQuery = `
SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND ` + userObject + ` ORDER BY 1, 2`

const matviewsQuery = `
SELECT c.oid, n.nspname, c.relname, c.relispopulated
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'm' AND ` + userObject + ` ORDER BY 2, 3`

// readCatalog reads the catalog of the database that the connection is in, as its transaction sees it.
func readCatalog(ctx context.Context, conn *pgx.Conn) (*catalog, error) {
	version, err := serverVersion(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read the server's version: %w", err)
	}
	reader := &catalogReader{version: version, relations: map[uint32]*readRelation{}, result: catalog{partitioned: map[relation]bool{}}}
	for _, step := range []struct {
		what string
		read func(context.Context, *pgx.Conn) error
	}{
		{"tables", reader.readTables}, {"columns", reader.readColumns}, {"types", reader.readTypes},
		{"unique indexes", reader.readUniques}, {"check constraints", reader.readChecks}, {"foreign keys", reader.readForeignKeys},
		{"sequences", reader.readSequences}, {"materialized views", reader.readMatviews},
	} {
		if err := step.read(ctx, conn); err != nil {
			return nil, fmt.Errorf("read the %s of the catalog: %w", step.what, err)
		}
	}
	return reader.finish(), nil
}

type catalogReader struct {
	version   int
	relations map[uint32]*readRelation
	order     []uint32
	result    catalog
}

// readRelation is a table or a partitioned table with its partitioned ancestors.
type readRelation struct {
	table
	kind         string
	ancestors    []uint32
	partitionKey map[string]bool
}

func (r *catalogReader) readTables(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, tablesQuery)
	if err != nil {
		return err
	}
	var one readRelation
	_, err = pgx.ForEachRow(rows, []any{&one.oid, &one.schema, &one.name, &one.kind, &one.heapBytes, &one.estimate, &one.ancestors}, func() error {
		found := one
		found.partitionKey = map[string]bool{}
		found.masking = sanitize.Table{Schema: one.schema, Name: one.name}
		r.relations[one.oid] = &found
		r.order = append(r.order, one.oid)
		return nil
	})
	return err
}

func (r *catalogReader) readColumns(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, forVersion(columnsQuery, r.version))
	if err != nil {
		return err
	}
	var oid uint32
	var c sanitize.Column
	_, err = pgx.ForEachRow(rows, []any{
		&oid, &c.Name, &c.Type, &c.NotNull, &c.Generated, &c.PrimaryKey, &c.Unique, &c.PartitionKey, &c.MaxLength, &c.EnumLabels,
	}, func() error {
		found := r.relations[oid]
		if found == nil {
			return nil
		}
		if c.PartitionKey {
			found.partitionKey[c.Name] = true
		}
		found.masking.Columns = append(found.masking.Columns, c)
		c.EnumLabels = nil
		return nil
	})
	return err
}

func (r *catalogReader) readForeignKeys(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, foreignKeysQuery)
	if err != nil {
		return err
	}
	var here, there uint32
	var column, referenced string
	_, err = pgx.ForEachRow(rows, []any{&here, &column, &there, &referenced}, func() error {
		from, to := r.relations[here], r.relations[r.root(there)]
		if from == nil || to == nil {
			return nil
		}
		for i := range from.masking.Columns {
			if c := &from.masking.Columns[i]; c.Name == column {
				target := to.String() + "." + referenced
				// A key that points at a partitioned table is listed once more for each partition.
				if len(c.References) == 0 || c.References[len(c.References)-1] != target {
					c.References = append(c.References, target)
				}
			}
		}
		return nil
	})
	return err
}

// root returns the topmost partitioned table above a partition, or the table itself.
func (r *catalogReader) root(oid uint32) uint32 {
	found := r.relations[oid]
	if found == nil {
		return oid
	}
	for _, ancestor := range found.ancestors {
		if above := r.relations[ancestor]; above != nil && len(above.ancestors) == 0 {
			return ancestor
		}
	}
	return oid
}

func (r *catalogReader) readSequences(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, sequencesQuery)
	if err != nil {
		return err
	}
	var one relation
	_, err = pgx.ForEachRow(rows, []any{&one.schema, &one.name}, func() error {
		r.result.sequences = append(r.result.sequences, one)
		return nil
	})
	return err
}

func (r *catalogReader) readMatviews(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, matviewsQuery)
	if err != nil {
		return err
	}
	var one matview
	_, err = pgx.ForEachRow(rows, []any{&one.oid, &one.schema, &one.name, &one.populated}, func() error {
		r.result.matviews = append(r.result.matviews, one)
		return nil
	})
	return err
}

// finish keeps what holds rows and passes the partition keys down.
func (r *catalogReader) finish() *catalog {
	for _, oid := range r.order {
		found := r.relations[oid]
		if found.kind != "r" {
			r.result.partitioned[found.relation] = true
			continue
		}
		if root := r.root(oid); root != oid {
			found.masking.PartitionOf = r.relations[root].String()
		}
		for i := range found.masking.Columns {
			for _, ancestor := range found.ancestors {
				if above := r.relations[ancestor]; above != nil && above.partitionKey[found.masking.Columns[i].Name] {
					found.masking.Columns[i].PartitionKey = true
				}
			}
		}
		r.result.tables = append(r.result.tables, found.table)
	}
	return &r.result
}

// maskingTables returns what sanitize.Rules.Plan takes.
func (c *catalog) maskingTables() []sanitize.Table {
	tables := make([]sanitize.Table, len(c.tables))
	for i := range c.tables {
		tables[i] = c.tables[i].masking
	}
	return tables
}

// columnList returns " (a, b)", or "" when there is no column: COPY has no empty list.
func columnList(columns []string) string {
	if len(columns) == 0 {
		return ""
	}
	quoted := make([]string, len(columns))
	for i, c := range columns {
		quoted[i] = pgx.Identifier{c}.Sanitize()
	}
	return " (" + strings.Join(quoted, ", ") + ")"
}
