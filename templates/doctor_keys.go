package templates

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/archive"
)

// diagnosis is what the doctor has to know when a key or an index does not fit the rows.
type diagnosis struct {
	toc    *archive.Archive
	tables *catalog
	plan   *sanitize.Plan
}

// samples is how many rows, keys or names a finding shows.
const samples = 5

// diagnosisTimeout bounds a query that only counts and shows: a finding without a count is better than a build that hangs.
const diagnosisTimeout = "SET LOCAL statement_timeout = '10min'"

// treat looks at an entry that cannot be restored because of what is in the rows. It leaves the entry out, or makes it in another
// way, and notes a finding; or it returns the error that ends the build.
func (r *restorer) treat(ctx context.Context, e *archive.Entry, cause error) error {
	if r.target.diagnosis == nil || ctx.Err() != nil {
		return restoreError(ctx, e, cause)
	}
	isIndex := e.Kind == "INDEX" || e.Kind == "CONSTRAINT"
	switch {
	case e.Kind == "FK CONSTRAINT" && hasState(cause, sqlForeignKeyViolation):
		return r.violatedForeignKey(ctx, e, cause)
	case e.Kind == "FK CONSTRAINT" && hasState(cause, sqlInvalidForeignKey):
		r.target.drop(e, keylessReference(e))
		return nil
	case isIndex && hasState(cause, sqlUniqueViolation, sqlExclusionViolation):
		return r.duplicateKeys(ctx, e, cause)
	case isIndex && hasState(cause, sqlLimitExceeded):
		return r.oversizedRows(ctx, e, cause)
	}
	return restoreError(ctx, e, cause)
}

func keylessReference(e *archive.Entry) Finding {
	return Finding{
		Code: codeDependent, Severity: SeverityError, Object: object(e), Cause: "the unique index of the table that it refers to is left out or not complete",
		Done: "left out", Advice: "see the finding about that index",
	}
}

// indexShape is what an index would be made of.
type indexShape struct {
	method    string
	keys      []string // columns or expressions, as SQL
	operators []string // of an exclusion constraint, as SQL
	columns   []string // that the keys and the predicate use
	predicate string
	unique    bool
}

// shapeQuery reads the index that this transaction has made on a table.
const shapeQuery = `
SELECT m.amname::text, i.indisunique, coalesce(pg_catalog.pg_get_expr(i.indpred, i.indrelid), ''),
	(SELECT pg_catalog.array_agg(pg_catalog.pg_get_indexdef(i.indexrelid, k, false) ORDER BY k) FROM pg_catalog.generate_series(1, i.indnkeyatts) k),
	coalesce((SELECT pg_catalog.array_agg('OPERATOR(' || pg_catalog.quote_ident(n.nspname) || '.' || o.oprname || ')' ORDER BY x.k)
		FROM pg_catalog.pg_constraint c CROSS JOIN LATERAL pg_catalog.unnest(c.conexclop) WITH ORDINALITY x(op, k)
		JOIN pg_catalog.pg_operator o ON o.oid = x.op JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
		WHERE c.conindid = i.indexrelid AND c.contype = 'x'), '{}'),
	coalesce((SELECT pg_catalog.array_agg(a.attname::text) FROM pg_catalog.pg_attribute a
		WHERE a.attrelid = i.indrelid AND a.attnum > 0 AND (a.attnum = ANY (i.indkey) OR EXISTS (SELECT FROM pg_catalog.pg_depend d
			WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = i.indexrelid
			AND d.refclassid = d.classid AND d.refobjid = i.indrelid AND d.refobjsubid = a.attnum))), '{}')
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = c.relam
WHERE i.indrelid = $1::pg_catalog.text::pg_catalog.regclass AND i.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid
ORDER BY i.indexrelid DESC LIMIT 1`

// shape creates the entry's index on its table without the rows, in a transaction that is rolled back, and reads what it is made of. The
// server parses the definition that way, and not this program.
func (r *restorer) shape(ctx context.Context, e *archive.Entry, on relation) (*indexShape, error) {
	var s indexShape
	err := r.withoutRows(ctx, on, func(tx pgx.Tx) error {
		if err := execAll(ctx, r.conn, e.Definition); err != nil {
			return err
		}
		return tx.QueryRow(ctx, shapeQuery, on.sql()).Scan(&s.method, &s.unique, &s.predicate, &s.keys, &s.operators, &s.columns)
	})
	return &s, err
}

// withoutRows runs a function while a table, and what refers to it, is empty.
func (r *restorer) withoutRows(ctx context.Context, on relation, do func(pgx.Tx) error) (err error) {
	for range 5 { // sessions that restore side by side can get into each other's way
		var tx pgx.Tx
		if tx, err = r.conn.Begin(ctx); err != nil {
			return err
		}
		if err = execAll(ctx, r.conn, "TRUNCATE "+on.sql()+" CASCADE"); err == nil {
			err = do(tx)
		}
		if rollback := tx.Rollback(ctx); err == nil {
			err = rollback
		}
		if !hasState(err, sqlDeadlock) {
			break
		}
	}
	return err
}

// tableOf returns the table that an entry belongs to. The tag of a constraint is "table constraint", and a foreign key depends on the
// table that it refers to, too.
func (d *diagnosis) tableOf(e *archive.Entry) (relation, bool) {
	for i := range d.toc.Entries {
		on := &d.toc.Entries[i]
		if on.Kind == "TABLE" && on.Schema == e.Schema && slices.Contains(e.Dependencies, on.ID) && (e.Kind == "INDEX" || strings.HasPrefix(e.Tag, on.Tag+" ")) {
			return relation{on.Schema, on.Tag}, true
		}
	}
	return relation{}, false
}

// maskedApart reports whether all columns keep different values apart, so that duplicates are the source's own.
func (d *diagnosis) maskedApart(on relation, columns []string) bool {
	masker := d.plan.Table(on.schema, on.name)
	if masker == nil {
		return false
	}
	for _, c := range columns {
		if apart := masker.Distinct(c) || masker.Passthrough() && d.generated(on, c); !apart {
			return false
		}
	}
	return true
}

func (d *diagnosis) generated(on relation, column string) bool {
	for i := range d.tables.tables {
		if t := &d.tables.tables[i]; t.relation == on {
			return slices.ContainsFunc(t.masking.Columns, func(c sanitize.Column) bool { return c.Name == column && c.Generated })
		}
	}
	return false
}

// duplicateKeys leaves out a unique index or an exclusion constraint that the source's rows do not fit.
func (r *restorer) duplicateKeys(ctx context.Context, e *archive.Entry, cause error) error {
	on, known := r.target.diagnosis.tableOf(e)
	if !known {
		return restoreError(ctx, e, cause)
	}
	shape, err := r.shape(ctx, e, on)
	if err != nil || !r.target.diagnosis.maskedApart(on, shape.columns) {
		return restoreError(ctx, e, cause) // the masked values may be what breaks it
	}
	f := Finding{
		Code: codeDuplicateKeys, Severity: SeverityError, Object: object(e),
		Cause:  "rows of " + on.String() + " have the same key: the index in the source is damaged or was never complete",
		Done:   "the rows are loaded, the index is left out",
		Advice: "in the source, remove or change the duplicates, then REINDEX; damage after an upgrade of the operating system comes from a changed collation, so check the other indexes with amcheck, too",
	}
	query, timeout := duplicatesQuery(on, shape), diagnosisTimeout
	if len(shape.operators) > 0 {
		f.Cause = "rows of " + on.String() + " exclude each other, which the constraint in the source should have kept out"
		query, timeout = conflictsQuery(on, shape), "SET LOCAL statement_timeout = '30s'" // it compares each row with each other
	}
	r.count(ctx, timeout, query, &f)
	r.target.drop(e, f)
	return nil
}

// count fills in a finding's count and samples by a query that returns both. Without them a finding is still one.
func (r *restorer) count(ctx context.Context, timeout, query string, f *Finding) {
	tx, err := r.conn.Begin(ctx)
	if err != nil {
		return
	}
	defer func() { _ = tx.Rollback(ctx) }()
	if err := execAll(ctx, r.conn, timeout+"; SET LOCAL transaction_read_only = on"); err != nil {
		return
	}
	var count int64
	var shown []string
	if tx.QueryRow(ctx, query).Scan(&count, &shown) == nil {
		f.Count, f.Samples = count, shown
	}
}

// shownKey returns SQL for "name=value, name=value" of expressions. Values are cut: they are to be recognised, not read.
func shownKey(keys []string, prefix string) string {
	parts := make([]string, len(keys))
	for i, k := range keys {
		name := strings.Trim(k, `"`) // for people
		parts[i] = fmt.Sprintf("%s || coalesce(pg_catalog.left((%s%s)::pg_catalog.text, 60), 'NULL')", quoteLiteral(name+"="), prefix, k)
	}
	return strings.Join(parts, " || ', ' || ")
}

func (s *indexShape) where(and ...string) string {
	if s.predicate != "" {
		and = append(and, "("+s.predicate+")")
	}
	if len(and) == 0 {
		return ""
	}
	return " WHERE " + strings.Join(and, " AND ")
}

// duplicatesQuery counts the rows that share their key with another one.
func duplicatesQuery(on relation, s *indexShape) string {
	var notNull []string
	for _, k := range s.keys {
		notNull = append(notNull, "("+k+") IS NOT NULL")
	}
	keys := strings.Join(s.keys, ", ")
	return fmt.Sprintf(`WITH d AS (SELECT %s AS shown, pg_catalog.count(*) AS n FROM ONLY %s%s GROUP BY %s HAVING pg_catalog.count(*) > 1)
		SELECT coalesce(pg_catalog.sum(n), 0)::pg_catalog.int8, coalesce((SELECT pg_catalog.array_agg(shown || ' (' || n || ' rows)')
			FROM (SELECT * FROM d ORDER BY n DESC, shown LIMIT %d) few), '{}') FROM d`,
		shownKey(s.keys, ""), on.sql(), s.where(notNull...), keys, samples)
}

// conflictsQuery counts the pairs of rows that an exclusion constraint would not have let in.
func conflictsQuery(on relation, s *indexShape) string {
	var columns, match []string
	for i, k := range s.keys {
		columns = append(columns, fmt.Sprintf("(%s) AS k%d", k, i))
		match = append(match, fmt.Sprintf("a.k%[1]d %[2]s b.k%[1]d", i, s.operators[i]))
	}
	return fmt.Sprintf(`WITH r AS (SELECT ctid AS at, %s AS shown, %s FROM ONLY %s%s),
		d AS (SELECT a.shown || ' and ' || b.shown AS shown FROM r a JOIN r b ON a.at < b.at AND %s)
		SELECT pg_catalog.count(*), coalesce((SELECT pg_catalog.array_agg(shown) FROM (SELECT * FROM d LIMIT %d) few), '{}') FROM d`,
		shownKey(s.keys, ""), strings.Join(columns, ", "), on.sql(), s.where(), strings.Join(match, " AND "), samples)
}

var sizeLimit = regexp.MustCompile(`maximum(?: size is)? ([0-9]+)`)

// oversizedRows leaves out an index whose entries do not fit a page.
func (r *restorer) oversizedRows(ctx context.Context, e *archive.Entry, cause error) error {
	on, known := r.target.diagnosis.tableOf(e)
	if !known {
		return restoreError(ctx, e, cause)
	}
	f := Finding{
		Code: codeIndexRowTooLarge, Severity: SeverityWarning, Object: object(e),
		Cause:  "rows of " + on.String() + " are too long for it: " + sourceMessage(cause),
		Done:   "the rows are loaded, the index is left out",
		Advice: "index a hash of the value (md5(column)) or its first characters instead. PostgreSQL 12 lowered the limit by 8 bytes, and an index that was there before keeps the old one until it is built anew; a masked value may also compress less well than the original",
	}
	shape, err := r.shape(ctx, e, on)
	if err != nil {
		return restoreError(ctx, e, cause)
	}
	if shape.unique || len(shape.operators) > 0 {
		f.Severity = SeverityError
		f.Done += ", so nothing keeps duplicates out"
	}
	limit := 2704
	if m := sizeLimit.FindStringSubmatch(cause.Error()); m != nil {
		limit, _ = strconv.Atoi(m[1])
	}
	r.count(ctx, diagnosisTimeout, r.target.diagnosis.lengthsQuery(on, shape, limit), &f)
	r.target.drop(e, f)
	return nil
}

// lengthsQuery counts the rows whose keys are longer than the limit, and shows the longest. An entry has 8 bytes before its keys.
func (d *diagnosis) lengthsQuery(on relation, s *indexShape, limit int) string {
	var lengths []string
	for _, k := range s.keys {
		lengths = append(lengths, fmt.Sprintf("coalesce(pg_catalog.pg_column_size(%s), 0)", k))
	}
	shown := "'ctid=' || ctid"
	if key := d.primaryKey(on); len(key) > 0 {
		shown = shownKey(key, "")
	}
	return fmt.Sprintf(`WITH l AS (SELECT %s AS shown, %s AS length FROM ONLY %s%s)
		SELECT (SELECT pg_catalog.count(*) FROM l WHERE length > %d), coalesce((SELECT pg_catalog.array_agg(shown || ': ' || length || ' bytes')
			FROM (SELECT * FROM l ORDER BY length DESC, shown LIMIT %d) few), '{}')`,
		shown, strings.Join(lengths, " + "), on.sql(), s.where(), limit-8, samples)
}

// primaryKey returns the columns of a table's primary key, quoted.
func (d *diagnosis) primaryKey(on relation) []string {
	var columns []string
	for i := range d.tables.tables {
		if t := &d.tables.tables[i]; t.relation == on {
			for _, c := range t.masking.Columns {
				if c.PrimaryKey {
					columns = append(columns, quoteName(c.Name))
				}
			}
		}
	}
	return columns
}

func quoteName(name string) string { return pgx.Identifier{name}.Sanitize() }

// foreignKeyQuery reads the foreign key that this transaction has made: the one of the table itself, and not those of partitions.
const foreignKeyQuery = `
SELECT c.conrelid::pg_catalog.regclass::text, c.confrelid::pg_catalog.regclass::text, c.confmatchtype::text, r.relkind = 'p',
	(SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n) FROM pg_catalog.unnest(c.conkey) WITH ORDINALITY k(num, n)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.num),
	(SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.n) FROM pg_catalog.unnest(c.confkey) WITH ORDINALITY k(num, n)
		JOIN pg_catalog.pg_attribute a ON a.attrelid = c.confrelid AND a.attnum = k.num)
FROM pg_catalog.pg_constraint c JOIN pg_catalog.pg_class r ON r.oid = c.conrelid
WHERE c.contype = 'f' AND c.conparentid = 0 AND c.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid
ORDER BY c.oid LIMIT 1`

type foreignKeyShape struct {
	from, to         string // as SQL
	match            string
	partitioned      bool
	columns, targets []string
}

func (s *foreignKeyShape) read(ctx context.Context, tx pgx.Tx) error {
	return tx.QueryRow(ctx, foreignKeyQuery).Scan(&s.from, &s.to, &s.match, &s.partitioned, &s.columns, &s.targets)
}

// violatedForeignKey adds a foreign key that rows violate without checking the rows that are there.
func (r *restorer) violatedForeignKey(ctx context.Context, e *archive.Entry, cause error) error {
	var shape foreignKeyShape
	f := Finding{
		Code: codeForeignKeyViolated, Severity: SeverityWarning, Object: object(e),
		Done:   "the rows are loaded, the constraint is NOT VALID: new rows are checked, those are not",
		Advice: "in the source, correct or delete these rows, then drop the constraint and add it anew. They came in while triggers were off (session_replication_role = replica, DISABLE TRIGGER ALL), or through a damaged index",
	}
	notValid := strings.TrimRight(e.Definition, "; \n\t") + " NOT VALID"
	err := pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		if err := execAll(ctx, r.conn, notValid); err != nil {
			return err
		}
		return shape.read(ctx, tx)
	})
	leftOut := false
	if err != nil { // before PostgreSQL 18, a partitioned table cannot have one that is NOT VALID
		on, known := r.target.diagnosis.tableOf(e)
		if !known {
			return restoreError(ctx, e, cause)
		}
		leftOut = true
		err = r.withoutRows(ctx, on, func(tx pgx.Tx) error {
			if err := execAll(ctx, r.conn, e.Definition); err != nil {
				return err
			}
			return shape.read(ctx, tx)
		})
		if err != nil {
			return restoreError(ctx, e, cause)
		}
	}
	f.Cause = "rows of " + shape.from + " refer to rows of " + shape.to + " that do not exist"
	r.count(ctx, diagnosisTimeout, shape.orphansQuery(), &f)
	if leftOut {
		f.Severity = SeverityError
		f.Done = "the rows are loaded, the constraint is left out: on a partitioned table it cannot be NOT VALID before PostgreSQL 18"
		r.target.drop(e, f)
		return nil
	}
	r.target.find(f)
	return nil
}

// orphansQuery counts the rows that refer to nothing.
func (s *foreignKeyShape) orphansQuery() string {
	var isNull, notNull, match, keys []string
	for i := range s.columns {
		column, target := quoteName(s.columns[i]), quoteName(s.targets[i])
		keys = append(keys, column)
		isNull = append(isNull, "c."+column+" IS NULL")
		notNull = append(notNull, "c."+column+" IS NOT NULL")
		match = append(match, "p."+target+" = c."+column)
	}
	where := strings.Join(notNull, " AND ") + " AND NOT EXISTS (SELECT FROM " + s.to + " p WHERE " + strings.Join(match, " AND ") + ")"
	if s.match == "f" { // MATCH FULL: all or none may be NULL
		where = "(" + where + ") OR (" + strings.Join(isNull, " OR ") + ") AND (" + strings.Join(notNull, " OR ") + ")"
	}
	only := "ONLY "
	if s.partitioned {
		only = ""
	}
	shown := shownKey(keys, "c.")
	return fmt.Sprintf(`WITH d AS (SELECT %s AS shown, pg_catalog.count(*) AS n FROM %s%s c WHERE %s GROUP BY 1)
		SELECT coalesce(pg_catalog.sum(n), 0)::pg_catalog.int8, coalesce((SELECT pg_catalog.array_agg(shown || ' (' || n || ' rows)')
			FROM (SELECT * FROM d ORDER BY n DESC, shown LIMIT %d) few), '{}') FROM d`, shown, only, s.from, where, samples)
}

// emptyView empties the view that pg_dump makes first when a view needs a primary key: a stand-in with one row of NULLs, which the rule
// that is left out would have given its query.
func (r *restorer) emptyView(ctx context.Context, e *archive.Entry, f Finding) Finding {
	name, isView := strings.CutSuffix(e.Tag, " _RETURN")
	if e.Kind != "RULE" || !isView {
		return f
	}
	f.Object = "view " + relation{e.Schema, name}.String()
	for i := range r.target.toc.Entries {
		on := &r.target.toc.Entries[i]
		if on.Kind != "VIEW" || on.Schema != e.Schema || on.Tag != name {
			continue
		}
		standIn := strings.Replace(strings.TrimRight(on.Definition, "; \n"), "CREATE VIEW", "CREATE OR REPLACE VIEW", 1)
		if err := execAll(ctx, r.conn, standIn+"\nWHERE false"); err == nil {
			f.Done = "left with its columns and without rows"
		}
	}
	return f
}
