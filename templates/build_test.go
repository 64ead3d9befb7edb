package templates

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// planted are the marks of values that must not be in a template, anywhere.
func planted() []string {
	return []string{"secret-corp", "Planted Person", "plantednote", "plantedtoken", "+49 30 5550", "fdw-secret-8812", "plantedblob"}
}

func TestBuild(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, sourceSQL)
	for _, c := range []struct {
		name   string
		source func(t *testing.T) mayfly.Source
	}{
		{"live", func(*testing.T) mayfly.Source { return mayfly.Source{DSN: endpoint.DSN()} }},
		{"archive", func(t *testing.T) mayfly.Source { return mayfly.Source{Archive: b.archiveOf(t, endpoint, true)} }},
		{"archive from a pipe", func(t *testing.T) mayfly.Source {
			return mayfly.Source{Archive: b.archiveOf(t, endpoint, false, "--compress=0")}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req := request(t, c.source(t), rulesYAML)
			result := b.build(t, req)
			checkReport(t, result)
			b.nothingRuns(t, req.Template.ID)
			for _, text := range planted() {
				if files := b.find(t, req.Template.ID, result.Image, text); len(files) > 0 {
					t.Errorf("%q is in the template: %v", text, files)
				}
			}
			id, conn := b.clone(t, req.Template.ID, result.Image)
			source := pgtest.Cluster(t).Connect(t, endpoint.Database)
			checkRows(t, source, conn)
			checkMasking(t, conn)
			checkOwnership(t, conn)
			checkBehaviour(t, conn)
			b.checkSchema(t, endpoint, id, result.Image)
		})
	}
}

func (b *bed) nothingRuns(t *testing.T, templateID string) {
	t.Helper()
	instances, err := b.engine.List(t.Context(), map[string]string{"template": templateID})
	if err != nil || len(instances) > 0 {
		t.Errorf("after the build %d instances of it exist (%v); want none", len(instances), err)
	}
}

func checkReport(t *testing.T, result *Result) {
	t.Helper()
	report := result.Report
	if result.SizeBytes <= 0 || result.RowCount != report.Rows || report.Rows != 500+3000+2000+3+2+1+2 {
		t.Errorf("the report has %d rows, the result %d rows and %d bytes", report.Rows, result.RowCount, result.SizeBytes)
	}
	for _, table := range report.Tables {
		if table.Rows != table.SourceRows {
			t.Errorf("%s.%s: %d rows, %d in the source", table.Schema, table.Table, table.Rows, table.SourceRows)
		}
		if table.Table == "customers" && table.MaskedColumns != 5 {
			t.Errorf("customers has %d masked columns in the report; want 5", table.MaskedColumns)
		}
		if (table.Table == "sessions") != table.StructureOnly {
			t.Errorf("%s: structure only is %t", table.Table, table.StructureOnly)
		}
	}
	var phases []string
	for _, p := range report.Phases {
		phases = append(phases, p.Name)
	}
	want := []string{PhaseFetch, PhaseConnect, PhasePlan, PhaseInitialise, PhaseSchema, PhaseLoad, PhaseIndexes, PhaseRefresh, PhaseVerify, PhaseScan, PhaseFreeze}
	if !slices.Equal(phases, want) {
		t.Errorf("phases are %v; want %v", phases, want)
	}
	for object, code := range map[string]string{
		"extension postgres_fdw": codeExtensionLeftOut, "publication everything": codePublication, "server elsewhere": codeForeignServer,
		"user mapping USER MAPPING public SERVER elsewhere": codeForeignServer, "foreign table public.remote_things": codeForeignTable,
		"event trigger watch_ddl": codeEventTrigger, "grants": codeGrantsLeftOut,
	} {
		found(t, result, code, object)
	}
	text, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range append(planted(), "postgres://", string(testKey())) {
		if strings.Contains(string(text), secret) {
			t.Errorf("the report holds %q", secret)
		}
	}
}

// checkRows compares everything that is kept with the source, table by table.
func checkRows(t *testing.T, source, template *pgx.Conn) {
	t.Helper()
	for _, query := range []string{
		`SELECT id, code, tags, created_at, name_length FROM public.customers`,
		`SELECT id, customer_id, state, total FROM public.orders`,
		`SELECT id, at, customer_id, payload FROM ONLY public.events_2025`,
		`SELECT * FROM public.events`,
		`SELECT "Key With Space", "quote""d", "naïve" FROM "Odd ""Schema"""."Odd Table; DROP"`,
		`SELECT count(*) AS n FROM public.no_columns`,
		`SELECT * FROM public.scratch`,
		`SELECT * FROM ONLY legacy.parent`, `SELECT * FROM legacy.child`,
		`SELECT id, notes IS NULL AS is_null, notes = '' AS is_empty, phone IS NULL AS no_phone FROM public.customers`,
		`SELECT last_value, is_called FROM public.invoice_number`, `SELECT last_value, is_called FROM public.never_used`,
		`SELECT last_value, is_called FROM public.orders_id_seq`, `SELECT last_value, is_called FROM public.customers_id_seq`,
		`SELECT customer_id, total FROM public.z_totals`, `SELECT customers FROM public.a_summary`,
	} {
		digest := `SELECT count(*) || ':' || coalesce(md5(string_agg(md5(q::text), '' ORDER BY md5(q::text))), '') FROM (` + query + `) q`
		if got, want := value(t, template, digest), value(t, source, digest); got != want {
			t.Errorf("the template differs from the source in: %s\n got %s, want %s", query, got, want)
		}
	}
}

func checkMasking(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for query, want := range map[string]string{
		`SELECT count(*) FROM public.customers WHERE email ~ '^[^@]+@[^@]+$'`: "500",
		`SELECT count(DISTINCT email) FROM public.customers`:                  "500",
		// The same person is the same person everywhere, and in what is derived.
		`SELECT count(*) FROM public.orders o JOIN public.customers c ON c.id = o.customer_id AND c.email = o.contact`: "3000",
		`SELECT count(*) FROM public.z_totals z JOIN public.customers c ON c.id = z.customer_id AND c.email = z.email`: "500",
		`SELECT count(*) FROM public.customers WHERE preferences = '{"theme": "dark"}'`:                                "500",
		`SELECT count(*) FROM public.sessions`: "0",
		`SELECT count(*) FROM pg_stats WHERE most_common_vals::text ~ 'secret|lanted' OR histogram_bounds::text ~ 'secret|lanted'`: "0",
	} {
		if got := value(t, conn, query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
}

func checkOwnership(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for what, query := range map[string]string{
		"the database": `SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()`,
		"public":       `SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'`,
		"every relation": `SELECT string_agg(DISTINCT pg_get_userbyid(c.relowner), ',') FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			WHERE n.nspname IN ('public', 'legacy', 'Odd "Schema"') AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = c.oid AND deptype = 'e')`,
		"every function": `SELECT string_agg(DISTINCT pg_get_userbyid(p.proowner), ',') FROM pg_proc p
			WHERE pronamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')`,
		"every type": `SELECT string_agg(DISTINCT pg_get_userbyid(y.typowner), ',') FROM pg_type y
			WHERE typnamespace = 'public'::regnamespace AND typcategory <> 'A' AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = y.oid AND deptype = 'e')`,
	} {
		if got := value(t, conn, query); got != testOwner {
			t.Errorf("%s belongs to %s; want %s", what, got, testOwner)
		}
	}
	owner := `SELECT format('%s %s %s %s', rolcanlogin, rolsuper, rolcreaterole, rolpassword IS NULL) FROM pg_authid WHERE rolname = '` + testOwner + `'`
	if got := value(t, conn, owner); got != "t f f t" {
		t.Errorf("the owner's login, superuser, createrole and no-password flags are %s; want t f f t", got)
	}
	if got := value(t, conn, `SELECT count(*) FROM pg_roles WHERE rolcanlogin AND rolname NOT IN ($1, $2)`, testOwner, cluster.AdminRole); got != "0" {
		t.Errorf("%s other roles can log in", got)
	}
}

// checkBehaviour does what an application and its migrations do.
func checkBehaviour(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	exec := func(statement string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	}
	exec("SET ROLE " + testOwner)
	exec("INSERT INTO customers (email, name) VALUES ('new@example.test', 'x')")
	exec("INSERT INTO orders (customer_id, total, contact) SELECT max(id), 1, '' FROM customers")
	exec("INSERT INTO events (at, customer_id) VALUES ('2026-05-05', 1)")
	exec("UPDATE customers SET notes = 'n' WHERE email = 'new@example.test'")
	exec("REFRESH MATERIALIZED VIEW z_totals")
	exec("CREATE TABLE migrated (id int); ")
	exec("ALTER TABLE orders ADD COLUMN extra text")
	exec("ALTER TYPE order_state ADD VALUE 'lost'")
	exec("CREATE EXTENSION IF NOT EXISTS pg_trgm")
	exec("CREATE SCHEMA more")
	for query, want := range map[string]string{
		`SELECT id FROM customers WHERE email = 'new@example.test'`:    "501",
		`SELECT notes FROM customers WHERE email = 'new@example.test'`: "n touched; by $1 trigger",
		`SELECT max(id) FROM orders`:                                   "9001",
		`SELECT nextval('invoice_number')`:                             "1030",
		`SELECT nextval('never_used')`:                                 "77",
		`SELECT c_sqrt(16)`:                                            "4",
		`SELECT o.option_value FROM pg_db_role_setting s, pg_options_to_table(s.setconfig) o
			WHERE s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database()) AND o.option_name = 'statement_timeout'`: "7min",
	} {
		if got := value(t, conn, query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	if _, err := conn.Exec(t.Context(), "DELETE FROM customers WHERE id = 1; INSERT INTO orders (customer_id, total, contact) VALUES (1, 1, '')"); err == nil {
		t.Error("the foreign key of orders is not enforced")
	}
}

var (
	dumpComments = regexp.MustCompile(`(?m)^(--.*|\\(un)?restrict .*|SET .*|SELECT pg_catalog.set_config.*|)\n`)
	testSuffix   = regexp.MustCompile(`(reporting|legacy)_[a-z0-9]{26}`)
)

// checkSchema compares pg_dump's view of the template with its view of the source, but for what is left out.
func (b *bed) checkSchema(t *testing.T, endpoint pgtest.Endpoint, instance string, image driver.Image) {
	t.Helper()
	args := []string{
		"--schema-only", "--no-owner", "--no-privileges", "--no-publications", "--exclude-table=public.remote_*", "--exclude-table=public.migrated",
		"--exclude-schema=more",
	}
	sourceConfig, err := pgx.ParseConfig(endpoint.DSN())
	if err != nil {
		t.Fatal(err)
	}
	templateConfig, err := cluster.ConnConfig(b.engine, instance, testDatabase)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := pgx.ConnectConfig(t.Context(), templateConfig)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "ALTER TABLE orders DROP COLUMN extra"); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close(t.Context())
	want := schemaStatements(b.dump(t, sourceConfig, image, false, args...))
	got := schemaStatements(b.dump(t, templateConfig, image, false, args...))
	for _, statement := range want {
		if leftOut := strings.Contains(statement, "SERVER elsewhere") || strings.Contains(statement, "EVENT TRIGGER") ||
			strings.Contains(statement, "EXTENSION IF NOT EXISTS postgres_fdw") || strings.Contains(statement, "COMMENT ON EXTENSION postgres_fdw"); !leftOut && !slices.Contains(got, statement) {
			t.Errorf("the template lacks: %s", statement)
		}
	}
	for _, statement := range got {
		if !slices.Contains(want, statement) && !strings.Contains(statement, "order_state AS ENUM") {
			t.Errorf("the template has, and the source has not: %s", statement)
		}
	}
}

// schemaStatements splits a plain dump into comparable statements.
func schemaStatements(dump []byte) []string {
	text := dumpComments.ReplaceAllString(string(dump), "")
	var statements []string
	for s := range strings.SplitSeq(text, ";\n") {
		s = strings.Replace(s, "'new',\n    'paid',\n    'shipped',\n    'lost'", "'new',\n    'paid',\n    'shipped'", 1)
		statements = append(statements, strings.TrimSpace(testSuffix.ReplaceAllString(s, "$1")))
	}
	return statements
}

func TestBuildIsDeterministic(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE TABLE people (id int PRIMARY KEY, email text); INSERT INTO people SELECT i, 'p' || i || '@secret-corp.test' FROM generate_series(1, 100) i`)
	rules := "version: 1\ntables: {public.people: {columns: {id: keep, email: email}}}"
	var digests []string
	for range 2 {
		req := request(t, mayfly.Source{DSN: endpoint.DSN()}, rules)
		result := b.build(t, req)
		_, conn := b.clone(t, req.Template.ID, result.Image)
		digests = append(digests, value(t, conn, `SELECT md5(string_agg(email, ',' ORDER BY id)) FROM people`))
	}
	if digests[0] != digests[1] {
		t.Errorf("two builds under one key masked differently: %s", fmt.Sprint(digests))
	}
}
