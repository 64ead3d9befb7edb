package templates

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

//go:embed testdata/subset.sql
var subsetSQL string

// subsetRules keeps everything but addresses of people, and adds what a test wants: keys of the file, and of single tables.
func subsetRules(file string, tables ...string) string {
	return "version: 1\n" + file + "\ntables:\n  public.sessions: {rows: none}\n" + strings.Join(tables, "\n") + `
defaults:
  - {match: public.customers.email, mask: email}
  - {match: public.customers.*, mask: keep}
  - {match: public.countries.*, mask: keep}
  - {match: public.addresses.*, mask: keep}
  - {match: public.*.*name, mask: keep}
types: {key: keep, int4: keep, int8: keep, text: redact, numeric: keep, boolean: keep, date: keep}
`
}

// subsetSource makes the source. Its role may not even make temporary tables.
func subsetSource(t *testing.T) (pgtest.Endpoint, *pgx.Conn) {
	t.Helper()
	endpoint := sourceDatabase(t, subsetSQL)
	server := pgtest.Cluster(t)
	server.Exec(t, endpoint.Database, "REVOKE TEMPORARY, CREATE ON DATABASE "+endpoint.Database+" FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC")
	return endpoint, server.Connect(t, endpoint.Database)
}

// checkWhole fails the test if a foreign key does not hold, or is not there.
func checkWhole(t *testing.T, result *Result, source, template *pgx.Conn) {
	t.Helper()
	const keys = `SELECT count(*) || ' ' || count(*) FILTER (WHERE convalidated) FROM pg_constraint WHERE contype = 'f'`
	if got, want := value(t, template, keys), value(t, source, keys); got != want {
		t.Errorf("foreign keys and those that hold: %s; in the source %s", got, want)
	}
	for _, f := range result.Report.Findings {
		if f.Code == codeForeignKeyViolated {
			t.Errorf("%s: %s", f.Object, f.Cause)
		}
	}
	for _, table := range result.Report.Tables {
		if table.Rows != table.SourceRows {
			t.Errorf("%s has %d rows of %d that the source sent", table.Table, table.Rows, table.SourceRows)
		}
	}
}

// same fails the test if a query gives something else in the template than a query in the source.
func same(t *testing.T, source, template *pgx.Conn, here, there string) {
	t.Helper()
	const digest = `SELECT count(*) || ':' || coalesce(md5(string_agg(q::text, ',' ORDER BY q::text)), '') FROM (%s) q`
	if got, want := value(t, template, fmt.Sprintf(digest, here)), value(t, source, fmt.Sprintf(digest, there)); got != want {
		t.Errorf("%s\n has %s, want %s, by %s", here, got, want, there)
	}
}

func TestSubsetOfSeeds(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint, source := subsetSource(t)
	rules := subsetRules(`subset:
  seeds: [{table: public.customers, where: "id % 100 = 7"}]
  whole_below: 10
  limits: {public.visits: 1, public.returns: none}`,
		`  public.audit: {rows: {where: "id <= 10"}, columns: {id: keep, what: redact}}`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, rules)
	result := b.build(t, req)
	_, template := b.clone(t, req.Template.ID, result.Image)
	checkWhole(t, result, source, template)

	const seeds = `SELECT id FROM customers WHERE id % 100 = 7`
	same(t, source, template, `SELECT id FROM customers`, seeds)
	same(t, source, template, `SELECT id FROM addresses`, `SELECT id FROM addresses WHERE customer_id IN (`+seeds+`)`)
	same(t, source, template, `SELECT customer_id, number FROM orders`, `SELECT customer_id, number FROM orders WHERE customer_id IN (`+seeds+`)`)
	same(t, source, template, `SELECT customer_id, number, line FROM order_items`, `SELECT customer_id, number, line FROM order_items WHERE customer_id IN (`+seeds+`)`)
	same(t, source, template, `SELECT trim_scale(code) FROM products`, `SELECT trim_scale(code) FROM products WHERE code IN (SELECT product FROM order_items WHERE customer_id IN (`+seeds+`))`)
	const staff = `WITH RECURSIVE up(employee, department) AS (SELECT rep_id, NULL::int FROM customers WHERE id % 100 = 7 AND rep_id IS NOT NULL
		UNION SELECT x.e, x.d FROM up LEFT JOIN employees e ON e.id = up.employee LEFT JOIN departments d ON d.id = up.department
			CROSS JOIN LATERAL (VALUES (e.manager_id, NULL::int), (NULL, e.department_id), (d.head_id, NULL)) x(e, d) WHERE x.e IS NOT NULL OR x.d IS NOT NULL) `
	same(t, source, template, `SELECT id FROM employees`, staff+`SELECT DISTINCT employee FROM up WHERE employee IS NOT NULL`)
	same(t, source, template, `SELECT id FROM departments`, staff+`SELECT DISTINCT department FROM up WHERE department IS NOT NULL`)
	same(t, source, template, `SELECT count(*), count(DISTINCT customer_id) FROM visits`, `SELECT 20::bigint, 20::bigint`)
	same(t, source, template, `SELECT id FROM returns`, `SELECT 1 WHERE false`)
	same(t, source, template, `SELECT code FROM countries`, `SELECT code FROM countries`)
	same(t, source, template, `SELECT id FROM audit`, `SELECT id FROM audit WHERE id <= 10`)
	same(t, source, template, `SELECT name FROM settings`, `SELECT name FROM settings`)
	for object, count := range map[string]int64{"table public.customers": 20, "table public.audit": 10, "table public.visits": 20} {
		if f := found(t, result, codeRowsSelected, object); f.Count != count || f.Severity != SeverityInfo {
			t.Errorf("the finding about %s says %+v; want %d rows", object, f, count)
		}
	}
}

// TestSubsetIsTheSame builds the same share from a server and from an archive of it.
func TestSubsetIsTheSame(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint, source := subsetSource(t)
	rules := subsetRules("subset: {percent: 5, whole_below: 100}")
	var results []string
	for _, s := range []mayfly.Source{{DSN: endpoint.DSN()}, {Archive: b.archiveOf(t, endpoint, true)}} {
		req := request(t, s, rules)
		result := b.build(t, req)
		_, template := b.clone(t, req.Template.ID, result.Image)
		checkWhole(t, result, source, template)
		b.noQuarantine(t, req.Template.ID)
		if s.Archive != "" {
			found(t, result, codeRestoredToSelect, "source "+result.Report.Source.Database)
		}
		var digest []string
		for _, table := range []string{"customers", "orders", "order_items", "products", "employees", "departments", "addresses", "visits", "visit_notes", "audit", "returns"} {
			digest = append(digest, table+value(t, template, `SELECT ' ' || count(*) || ':' || md5(string_agg(q::text, ',' ORDER BY q::text)) FROM `+table+` q`))
		}
		results = append(results, strings.Join(digest, "\n"))
		for query, most := range map[string]int{"SELECT count(*) FROM customers": 200, "SELECT count(*) FROM orders": 600, "SELECT count(*) FROM order_items": 1200, "SELECT count(*) FROM audit": 90} {
			var count int
			if err := template.QueryRow(t.Context(), query).Scan(&count); err != nil || count == 0 || count > most {
				t.Errorf("%s: %d (%v), want 1 to %d", query, count, err, most)
			}
		}
	}
	if results[0] != results[1] {
		t.Errorf("the subsets differ:\n%s\n\n%s", results[0], results[1])
	}
}

// TestRowsByCondition leaves rows out, and what refers to them.
func TestRowsByCondition(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint, source := subsetSource(t)
	rules := subsetRules("",
		`  public.customers: {rows: {drop: "internal OR customers.country ~ '^\\w$'"}}`,
		`  public.audit: {rows: {where: "what LIKE '%7' AND NOT what = 'it''s; --'"}}`,
		`  public.visits: {rows: {where: "visits.at < '2025-12-01'"}}`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, rules)
	result := b.build(t, req)
	_, template := b.clone(t, req.Template.ID, result.Image)
	checkWhole(t, result, source, template)
	const kept = `SELECT id FROM customers WHERE NOT internal`
	same(t, source, template, `SELECT id FROM customers`, kept)
	same(t, source, template, `SELECT customer_id, number FROM orders`, `SELECT customer_id, number FROM orders WHERE customer_id IN (`+kept+`)`)
	same(t, source, template, `SELECT id FROM returns`, `SELECT id FROM returns WHERE number IS NULL OR customer_id IN (`+kept+`)`)
	const visits = `SELECT id FROM visits WHERE at < '2025-12-01' AND customer_id IN (` + kept + `)`
	same(t, source, template, `SELECT id FROM visits`, visits)
	same(t, source, template, `SELECT id FROM visit_notes`, `SELECT id FROM visit_notes WHERE visit_id IN (`+visits+`)`)
	same(t, source, template, `SELECT id FROM employees`, `SELECT id FROM employees`)
	same(t, source, template, `SELECT id FROM audit`, `SELECT id FROM audit WHERE what LIKE '%7'`)
	if f := found(t, result, codeRowsSelected, "table public.returns"); !strings.Contains(f.Cause, "left out, too") {
		t.Errorf("the finding about rows that went with others says %q", f.Cause)
	}
	if slices.ContainsFunc(result.Report.Findings, func(f Finding) bool { return f.Code == codeRowsSelected && f.Object == "table public.employees" }) {
		t.Error("a finding says that rows of employees were left out")
	}
}

func TestConditionsThatAreRefused(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE TABLE public.audit (id int PRIMARY KEY, what text); INSERT INTO audit VALUES (1, 'secret-value');
		CREATE FUNCTION public.judge(int) RETURNS boolean LANGUAGE sql VOLATILE AS 'SELECT true'`)
	for condition, want := range map[string]string{
		"pg_sleep(10) IS NULL":            "calls pg_catalog.pg_sleep, which is VOLATILE",
		"public.judge(id)":                "calls public.judge, which is VOLATILE",
		"nowhere = 1":                     `column "nowhere" does not exist`,
		"id":                              "must be type boolean",
		"count(*) > 1":                    "aggregate functions are not allowed",
		"what::int > 1":                   "fails for some of them (SQLSTATE 22P02)",
		"id = 1 ORDER BY id":              "syntax error",
		"id = 1) UNION (SELECT 1":         "",
		"id IN (SELECT 1)":                "",
		"true; DROP TABLE public.audit":   "",
		"current_setting('nope') IS NULL": "unrecognized configuration parameter",
	} {
		text := "version: 1\ntables: {public.audit: {rows: {where: " + fmt.Sprintf("%q", condition) + "}, columns: {id: keep, what: redact}}}"
		if want == "" {
			continue // the parser of the rules has them
		}
		req := request(t, mayfly.Source{DSN: endpoint.DSN()}, text)
		_, err := b.builder.Build(t.Context(), req)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret-value") {
			t.Errorf("%s: %v; want %q", condition, err, want)
		}
		b.nothingLeft(t, req.Template.ID)
	}
}
