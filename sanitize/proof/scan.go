package proof

import (
	"context"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
)

// Scanner reads a finished template and looks for originals. Its methods may be called concurrently.
type Scanner struct {
	m      *matcher
	masked map[string]Class // by "schema.table.column"

	mu       sync.Mutex
	looked   map[string]*Looked
	scanned  map[string]bool // by "schema.table"
	distinct map[string]int64
	values   map[string]int64
	// coincidences are values that are an original and the result of a transformer of ClassShared as well.
	coincidences int64
	files        *FilesLooked
	pristine     string // the directory of template0
}

// Looked is how much was looked at in one kind of place.
type Looked struct {
	Kind    string `json:"kind"`
	Objects int64  `json:"objects"` // columns, comments, …
	Values  int64  `json:"values"`
	Bytes   int64  `json:"bytes"`
}

// NewScanner returns a Scanner for these originals.
func NewScanner(o *Originals) *Scanner {
	s := &Scanner{
		m: newMatcher(o), masked: map[string]Class{}, looked: map[string]*Looked{}, scanned: map[string]bool{},
		distinct: map[string]int64{}, values: map[string]int64{},
	}
	for _, c := range o.Columns {
		s.masked[c.Name()] = c.Class
	}
	return s
}

// look counts what was looked at.
func (s *Scanner) look(kind string, objects, values, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.looked[kind]
	if l == nil {
		l = &Looked{Kind: kind}
		s.looked[kind] = l
	}
	l.Objects += objects
	l.Values += values
	l.Bytes += bytes
}

// scannedColumn is a column of a query that reads a table.
type scannedColumn struct {
	expression string
	place      Place
	number     uint32
	read       reading
	made       bool // a transformer of ClassShared or ClassParts made what is in it
	distinct   *distinct
	seed       maphash.Seed // of the hash that distinct counts by
	values     int64
	bytes      int64
}

const scannedColumns = `
SELECT a.attname, b.oid, b.category, b.name FROM pg_catalog.pg_attribute a CROSS JOIN LATERAL (
	WITH RECURSIVE d AS (
		SELECT t.oid, t.typbasetype, t.typcategory::text AS category, t.typname::text AS name, t.typtype
			FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
		UNION ALL
		SELECT t.oid, t.typbasetype, t.typcategory::text, t.typname::text, t.typtype
			FROM d JOIN pg_catalog.pg_type t ON t.oid = d.typbasetype WHERE d.typtype = 'd'
	) SELECT d.oid, d.category, d.name FROM d WHERE d.typtype <> 'd') b
WHERE a.attrelid = $1::text::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum`

// scannedExpressions are what indexes hold that no column does. Rows outside of a partial index are not in it.
const scannedExpressions = `
SELECT pg_catalog.concat(n.nspname, '.', c.relname),
	coalesce('CASE WHEN ' || pg_catalog.pg_get_expr(i.indpred, i.indrelid) || ' THEN ', '') || 'pg_catalog.concat('
	|| pg_catalog.pg_get_indexdef(i.indexrelid, k.n, false) || ')' || CASE WHEN i.indpred IS NULL THEN '' ELSE ' END' END
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnatts::int) AS k(n)
WHERE i.indrelid = $1::text::pg_catalog.regclass AND i.indkey[k.n - 1] = 0 AND i.indisvalid ORDER BY 1, k.n`

// Table reads every row of a table or materialized view over a session that may, and returns how many there are.
// expressions says whether those of indexes are computed again, too: they are code of the source. Where no column is
// masked there is nothing to look for, and the rows are only counted.
func (s *Scanner) Table(ctx context.Context, conn *pgx.Conn, schema, table string, expressions bool) (int64, error) {
	name := pgx.Identifier{schema, table}.Sanitize()
	if len(s.m.originals.Columns) == 0 {
		return s.count(ctx, conn, schema, table, name)
	}
	columns, err := s.columns(ctx, conn, schema, table, name, expressions)
	if err != nil {
		return 0, fmt.Errorf("look at the columns of %s.%s: %w", schema, table, err)
	}
	list := make([]string, len(columns))
	for i := range columns {
		list[i] = columns[i].expression
	}
	reader := &rowReader{prober: s.m.prober(), columns: columns}
	query := "COPY (SELECT " + strings.Join(list, ", ") + " FROM ONLY " + name + ") TO STDOUT WITH (FORMAT binary)"
	_, err = conn.PgConn().CopyTo(ctx, reader, query)
	if err == nil {
		err = reader.prober.err
	}
	if err != nil {
		return 0, fmt.Errorf("scan %s.%s: %w", schema, table, err)
	}
	s.done(schema, table, reader)
	return reader.rows, nil
}

// countRows counts the rows that the table has, not the entries of one of its indexes.
const countRows = `BEGIN; SET LOCAL enable_indexscan = off; SET LOCAL enable_indexonlyscan = off; SET LOCAL enable_bitmapscan = off;
SELECT pg_catalog.count(*) FROM ONLY %s; COMMIT`

func (s *Scanner) count(ctx context.Context, conn *pgx.Conn, schema, table, name string) (int64, error) {
	results, err := conn.PgConn().Exec(ctx, fmt.Sprintf(countRows, name)).ReadAll()
	if err != nil {
		return 0, fmt.Errorf("count the rows of %s.%s: %w", schema, table, err)
	}
	for _, r := range results {
		if len(r.Rows) != 1 {
			continue
		}
		n, err := strconv.ParseInt(string(r.Rows[0][0]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("count the rows of %s.%s: %w", schema, table, err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.scanned[schema+"."+table] = true
		return n, nil
	}
	return 0, fmt.Errorf("count the rows of %s.%s: the server sent no number", schema, table)
}

func (s *Scanner) columns(ctx context.Context, conn *pgx.Conn, schema, table, name string, expressions bool) ([]scannedColumn, error) {
	var columns []scannedColumn
	rows, err := conn.Query(ctx, scannedColumns, name)
	if err != nil {
		return nil, err
	}
	var column, category, typeName, index, expression string
	var oid uint32
	if _, err := pgx.ForEachRow(rows, []any{&column, &oid, &category, &typeName}, func() error {
		c := scannedColumn{place: Place{KindColumn, schema + "." + table + "." + column}, read: readingOf(oid, category, typeName)}
		c.expression = pgx.Identifier{column}.Sanitize()
		if c.read == readConverted || c.read == readStructured && oid != oidJSON {
			c.expression = "pg_catalog.concat(" + c.expression + ")"
		}
		if class, masked := s.masked[c.place.Name]; masked {
			c.made, c.distinct = class.makes(), &distinct{}
			c.seed = maphash.MakeSeed()
		}
		columns = append(columns, c)
		return nil
	}); err != nil {
		return nil, err
	}
	if expressions {
		if rows, err = conn.Query(ctx, scannedExpressions, name); err != nil {
			return nil, err
		}
		if _, err := pgx.ForEachRow(rows, []any{&index, &expression}, func() error {
			columns = append(columns, scannedColumn{expression: expression, place: Place{KindIndex, index}, read: readStructured, made: true})
			return nil
		}); err != nil {
			return nil, err
		}
	}
	for i := range columns {
		columns[i].number = s.m.place(columns[i].place)
	}
	return columns, nil
}

// done adds up what a reader saw.
func (s *Scanner) done(schema, table string, r *rowReader) {
	for i := range r.columns {
		s.look(r.columns[i].place.Kind, 1, r.columns[i].values, r.columns[i].bytes)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scanned[schema+"."+table] = true
	s.coincidences += r.prober.coincidences
	for i := range r.columns {
		if c := &r.columns[i]; c.distinct != nil {
			s.distinct[c.place.Name] = min(c.distinct.count(), c.values)
			s.values[c.place.Name] = c.values
		}
	}
}

const scannedRelations = `
SELECT n.nspname, c.relname, pg_catalog.has_table_privilege($1, c.oid, 'SELECT') AND pg_catalog.has_schema_privilege($1, n.oid, 'USAGE'),
	EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE (c.relkind = 'r' OR c.relkind = 'm' AND c.relispopulated) AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
ORDER BY 1, 2`

// Rest scans the tables and materialized views that Table was not called for: through owner's session what that role may
// read, and what belongs to extensions through the superuser's, which runs no code of the source.
func (s *Scanner) Rest(ctx context.Context, owner, admin *pgx.Conn, role string) error {
	rows, err := admin.Query(ctx, scannedRelations, role)
	if err != nil {
		return fmt.Errorf("list what to scan: %w", err)
	}
	type relation struct {
		schema, name      string
		readable, extends bool
	}
	var rest []relation
	var one relation
	if _, err := pgx.ForEachRow(rows, []any{&one.schema, &one.name, &one.readable, &one.extends}, func() error {
		rest = append(rest, one)
		return nil
	}); err != nil {
		return fmt.Errorf("list what to scan: %w", err)
	}
	for _, r := range rest {
		s.mu.Lock()
		done := s.scanned[r.schema+"."+r.name]
		s.mu.Unlock()
		conn := owner
		switch {
		case done:
			continue
		case r.readable:
		case r.extends:
			conn = admin
		default:
			return fmt.Errorf("the role %s cannot read %s.%s", role, r.schema, r.name)
		}
		if _, err := s.Table(ctx, conn, r.schema, r.name, conn == owner); err != nil {
			return err
		}
	}
	return nil
}

// sortedLooked returns what was looked at, by kind.
func (s *Scanner) sortedLooked() []Looked {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Looked, 0, len(s.looked))
	for _, l := range s.looked {
		out = append(out, *l)
	}
	slices.SortFunc(out, func(a, b Looked) int { return strings.Compare(a.Kind, b.Kind) })
	return out
}
