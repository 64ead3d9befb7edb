package templates

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

//go:embed testdata/broken.sql
var brokenSQL string

// brokenRules keep every column of the broken source, by name: what it lacks is not to come from masking.
func brokenRules() string {
	var rules strings.Builder
	rules.WriteString("version: 1\ndefaults:\n")
	for _, c := range strings.Fields(`id code label parent_id email twin room during note Body at n body small down a m f own name other version dirty
		installed_rank description type script success migration_name finished_at rolled_back_at started_at applied_steps_count version_num`) {
		fmt.Fprintf(&rules, "  - {match: \"*.*.%s\", mask: keep}\n", c)
	}
	return rules.String()
}

// found returns the one finding with a code about an object; "" is any.
func found(t *testing.T, result *Result, code, object string) Finding {
	t.Helper()
	for _, f := range result.Report.Findings {
		if f.Code == code && (object == "" || f.Object == object) {
			if f.Cause == "" || f.Done == "" {
				t.Errorf("the finding says too little: %+v", f)
			}
			return f
		}
	}
	t.Errorf("no finding %s about %q", code, object)
	return Finding{}
}

// expectation is a finding that a broken source has to lead to.
type expectation struct {
	code, object string
	severity     Severity
	count        int64
	text         string // in its cause, what was done, or its samples
	liveOnly     bool
}

func brokenExpectations(suffix string) []expectation {
	return []expectation{
		{code: codeForeignKeyViolated, object: "fk constraint public.child child_parent", severity: SeverityWarning, count: 3, text: "parent_id=77 (2 rows)"},
		{code: codeForeignKeyViolated, object: "fk constraint public.measures measures_parent", count: 1, text: "parent_id=99 (1 rows)"},
		{code: codeDuplicateKeys, object: "constraint public.twins twins_pkey", severity: SeverityError, count: 5, text: "id=3 (3 rows)"},
		{code: codeDuplicateKeys, object: "index public.twins_email", severity: SeverityError, count: 2, text: "lower(email)=b@x.test (2 rows)"},
		{code: codeDuplicateKeys, object: "constraint public.bookings bookings_overlap", severity: SeverityError, count: 1, text: "room=7, during=[4,9)"},
		{code: codeDependent, object: "fk constraint public.twin_refs twin_refs_twin", severity: SeverityError},
		{code: codeDependent, object: "view public.twins_grouped", severity: SeverityError},
		{code: codeIndexRowTooLarge, object: "index public.long_values_body", severity: SeverityWarning, count: 1, text: "id=1: "},
		{code: codeIndexRowTooLarge, object: "index public.long_values_note", severity: SeverityError, count: 1, text: "id=2: "},
		{code: codeIndexInvalid, object: "index public.parent_label", severity: SeverityWarning, liveOnly: true},
		{code: codeMatviewFailed, object: "materialized view public.z_fails", severity: SeverityError, text: "division by zero"},
		{code: codeMatviewReadsEmpty, object: "materialized view public.a_reads_failed", severity: SeverityError, text: "public.z_fails"},
		{code: codeMatviewUnpopulated, object: "materialized view public.z_empty", severity: SeverityInfo},
		{code: codeMatviewReadsEmpty, object: "materialized view public.a_reads_empty", severity: SeverityWarning, text: "public.z_empty"},
		{code: codeTriggerNotFiring, object: "trigger public.guarded.g_off", text: "disabled"},
		{code: codeTriggerNotFiring, object: "trigger public.guarded.g_replica", text: "REPLICA"},
		{code: codeTriggerNotFiring, object: "trigger public.guarded.g_always", text: "ALWAYS"},
		{code: codeTriggerNotFiring, object: "rule public.guarded.guarded_off", text: "disabled"},
		{code: codeRowSecurity, object: "table public.guarded", text: "its owner, too"},
		{code: codeEventTrigger, object: "event trigger refuse_" + suffix, severity: SeverityInfo},
		{code: codeSequenceBehind, object: "sequence public.counted_id_seq", severity: SeverityWarning, text: "set to 60"},
		{code: codeSequenceBehind, object: "sequence public.counted_small_seq", text: "set to 32767"},
		{code: codeSequenceBehind, object: "sequence public.downwards", text: "set to -9"},
		{code: codeUnlogged, object: "table public.scratch", severity: SeverityInfo},
		{code: codeForeignTable, object: "foreign table public.remote", severity: SeverityInfo, text: "empty"},
		{code: codeForeignServer, object: "server elsewhere"},
		{code: codeForeignServer, object: "user mapping USER MAPPING public SERVER elsewhere"},
		{code: codeExtensionLeftOut, object: "extension postgres_fdw"},
		{code: codePublication, object: "publication changes"},
		{code: codeSubscription, object: "subscription sub_" + suffix, liveOnly: true},
		{code: codeLargeObjects, object: "large objects", severity: SeverityWarning, count: 1},
		{code: codeRoleSettings, object: "settings of role billing_" + suffix + " (search_path)", liveOnly: true},
		{code: codeOwnersReplaced, object: "owners", text: "billing_" + suffix},
		{code: codeDatabaseOwner, object: "database shop", text: "source_"},
		{code: codeCollationMissing, object: "collation pg_catalog.de_XX.utf8", severity: SeverityWarning},
		{code: codeCollationVersion, object: "collation pg_catalog.de-x-icu", severity: SeverityInfo, text: "1.0", liveOnly: true},
		{code: codeMigrationUnfinished, object: "table public.schema_migrations", severity: SeverityWarning, text: "version 42"},
		{code: codeMigrationUnfinished, object: "table public.flyway_schema_history", text: "table ledgers"},
		{code: codeMigrationMissing, object: "table public.flyway_schema_history", count: 1, text: "table vouchers"},
		{code: codeMigrationUnfinished, object: "table public._prisma_migrations", count: 1, text: "table wishes"},
		{code: codeMigrationUnfinished, object: "table public.alembic_version", count: 2, text: "head aaa"},
		{code: codeSizeExplained, object: "size", severity: SeverityInfo, text: "public.bloated: 2.", liveOnly: true},
	}
}

// TestBrokenSource builds from a source with many defects, live and from its archive, and looks for a finding about each.
func TestBrokenSource(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint, suffix := brokenSource(t)
	archived := b.archiveOf(t, endpoint, true, "--blobs")
	for name, source := range map[string]mayfly.Source{"live": {DSN: endpoint.DSN()}, "archive": {Archive: archived}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := request(t, source, brokenRules())
			req.Project.Templates.RefuseFindings = "none"
			result := b.build(t, req)
			for _, want := range brokenExpectations(suffix) {
				if !want.liveOnly || source.DSN != "" {
					want.check(t, result)
				}
			}
			text := fmt.Sprint(result.Report.Findings)
			for _, secret := range []string{"fdw-secret-8812", "db.internal", "plantedblob", endpoint.Password} {
				if strings.Contains(text, secret) {
					t.Errorf("the findings hold %q", secret)
				}
			}
			if !slices.IsSortedFunc(result.Report.Findings, func(a, b Finding) int { return b.Severity.rank() - a.Severity.rank() }) {
				t.Error("the worst findings do not come first")
			}
			_, conn := b.clone(t, req.Template.ID, result.Image)
			checkBroken(t, conn)
		})
	}
	t.Run("refused", func(t *testing.T) {
		t.Parallel()
		result, err := b.refused(t.Context(), t, request(t, mayfly.Source{Archive: archived}, brokenRules()), mayfly.CodeVerificationFailed, codeDuplicateKeys)
		if !strings.Contains(mayfly.ErrorHint(err), "refuse_findings") {
			t.Errorf("the hint does not say where this is set: %q", mayfly.ErrorHint(err))
		}
		found(t, result, codeMatviewFailed, "materialized view public.z_fails")
	})
}

func brokenSource(t *testing.T) (endpoint pgtest.Endpoint, suffix string) {
	t.Helper()
	endpoint = sourceDatabase(t, brokenSQL)
	server := pgtest.Cluster(t)
	conn := server.Connect(t, endpoint.Database)
	suffix = strings.TrimPrefix(value(t, conn, "SELECT evtname FROM pg_event_trigger"), "refuse_")
	server.Exec(t, endpoint.Database, "CREATE SUBSCRIPTION sub_"+suffix+" CONNECTION 'host=nowhere password=fdw-secret-8812' PUBLICATION p WITH (connect = false, slot_name = NONE)")
	atEnd(t, server, endpoint.Database, "DROP SUBSCRIPTION sub_"+suffix) // or the database cannot be dropped
	return endpoint, suffix
}

// atEnd runs a statement when the test ends.
func atEnd(t *testing.T, server *pgtest.Server, database, statement string) {
	t.Helper()
	t.Cleanup(func() {
		conn, err := pgx.Connect(context.Background(), server.DSN(database))
		if err != nil {
			t.Errorf("connect to clean up: %v", err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		if _, err := conn.Exec(context.Background(), statement); err != nil {
			t.Errorf("%s: %v", statement, err)
		}
	})
}

func (e *expectation) check(t *testing.T, result *Result) {
	t.Helper()
	f := found(t, result, e.code, e.object)
	if f.Code == "" {
		return
	}
	all := f.Cause + " | " + f.Done + " | " + strings.Join(f.Samples, " | ")
	if e.severity != "" && f.Severity != e.severity || e.count != f.Count && e.count != 0 || !strings.Contains(all, e.text) {
		t.Errorf("the finding %s about %s is of severity %s with count %d, wanted %s with %d and %q: %s", e.code, e.object, f.Severity, f.Count, e.severity, e.count, e.text, all)
	}
}

// checkBroken looks at what became of the broken source's objects.
func checkBroken(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	for query, want := range map[string]string{
		`SELECT count(*) FROM public.child`:                                                                                                  "103",
		`SELECT count(*) FROM public.twins`:                                                                                                  "6",
		`SELECT convalidated FROM pg_constraint WHERE conname = 'child_parent'`:                                                              "false",
		`SELECT count(*) FROM pg_constraint WHERE conname IN ('twins_pkey', 'twin_refs_twin', 'bookings_overlap')`:                           "0",
		`SELECT count(*) FROM pg_class WHERE relname IN ('twins_email', 'long_values_body', 'long_values_note')`:                             "0",
		`SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'm' AND NOT relispopulated`:                          "a_reads_empty,a_reads_failed,z_empty,z_fails",
		`SELECT count(*) FROM public.twins_grouped`:                                                                                          "0",
		`SELECT n FROM public.good`:                                                                                                          "103",
		`SELECT string_agg(tgname || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger WHERE tgrelid = 'public.guarded'::regclass`:       "g_alwaysA,g_offD,g_onO,g_replicaR",
		`SELECT string_agg(rulename || ev_enabled::text, ',' ORDER BY rulename) FROM pg_rewrite WHERE ev_class = 'public.guarded'::regclass`: "guarded_notO,guarded_offD",
		`SELECT count(*) || ',' || sum(size) FROM public.guarded`:                                                                            "10,51",
		`SELECT nextval('public.counted_id_seq') || ',' || nextval('public.downwards')`:                                                      "61,-10",
		`SELECT string_agg(tableoid::regclass || ':' || a, ',' ORDER BY a) FROM public.mother`:                                               "mother:1,kid:3",
		`SELECT (SELECT count(*) FROM public.father) || ',' || (SELECT own FROM public.kid)`:                                                 "2,k",
		`SELECT count(DISTINCT tableoid) || ',' || count(*) FROM public.measures`:                                                            "3,100",
		`SELECT relkind FROM pg_class WHERE relname = 'remote'`:                                                                              "114",
		`SELECT count(*) FROM public.remote_view`:                                                                                            "0",
		`SELECT obj_description('public.remote'::regclass) || ',' || col_description('public.remote'::regclass, 1)`:                          "far away,its key",
		`SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension`:                                                                 "btree_gist,cube,earthdistance,plpgsql",
		`SELECT count(*) FROM pg_publication`:                                                                                                "0",
		`SELECT count(*) FROM pg_largeobject_metadata`:                                                                                       "0",
		`SELECT relpersistence FROM pg_class WHERE relname = 'scratch'`:                                                                      "117",
	} {
		if got := value(t, conn, query); got != want {
			t.Errorf("%s: got %s, want %s", query, got, want)
		}
	}
	for _, statement := range []string{
		`INSERT INTO public.child VALUES (999, 999)`, // a constraint that is NOT VALID holds for new rows
		`INSERT INTO public.remote (id, kind) VALUES (1, '(')`,
	} {
		if _, err := conn.Exec(t.Context(), statement); err == nil {
			t.Errorf("%s succeeded; a constraint is missing", statement)
		}
	}
}

// TestMaskingThatBreaksKeys: duplicates that masking may have made are no finding. The rules are wrong.
func TestMaskingThatBreaksKeys(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE TABLE public.people (id int PRIMARY KEY, kind int NOT NULL, city text NOT NULL, place text GENERATED ALWAYS AS (city || '!') STORED CONSTRAINT people_place UNIQUE);
		INSERT INTO public.people SELECT i, i, 'secret-city' || i FROM generate_series(1, 100) i`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, "version: 1\ntables: {public.people: {columns: {id: keep, kind: keep, city: {mask: static, value: X}}}}")
	req.Project.Templates.RefuseFindings = "none"
	_, err := b.refused(t.Context(), t, req, mayfly.CodeInvalid, "people_place")
	if !strings.Contains(mayfly.ErrorHint(err), "masked values") {
		t.Errorf("the hint does not say that masking is to blame: %q", mayfly.ErrorHint(err))
	}
}

// TestInvalidText restores an archive of a database that took any bytes into one that does not.
func TestInvalidText(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	server := pgtest.Cluster(t)
	source := sourceDatabase(t, "SELECT 1")
	name := source.Database + "_ascii"
	server.Exec(t, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C' OWNER "+source.Role)
	atEnd(t, server, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
	server.Exec(t, name, `CREATE TABLE public.people (id int PRIMARY KEY, email text, filler text); GRANT SELECT ON public.people TO `+source.Role+`;
		INSERT INTO public.people SELECT i, 'e' || i, CASE WHEN i = 70 THEN convert_from('\xfc6e69', 'SQL_ASCII') ELSE 'Zürich' END FROM generate_series(1, 100) i`)
	source.Database = name
	data, err := os.ReadFile(b.archiveOf(t, source, true))
	if err != nil {
		t.Fatal(err)
	}
	rules := "version: 1\ntables: {public.people: {columns: {id: keep, email: keep, filler: keep}}}"
	utf8 := bytes.ReplaceAll(data, []byte("ENCODING = 'SQL_ASCII'"), []byte("ENCODING = 'UTF8'     "))
	utf8 = bytes.ReplaceAll(utf8, []byte("LOCALE = 'C'"), []byte("LOCALE = 'C'"))
	_, err = b.refused(t.Context(), t, request(t, mayfly.Source{Archive: writeFile(t, utf8)}, rules), mayfly.CodeSourceInvalid, `"filler" of public.people is not valid UTF-8 in row 70`)
	if !strings.Contains(mayfly.ErrorHint(err), "convert_from") {
		t.Errorf("the hint shows no way out: %q", mayfly.ErrorHint(err))
	}
	result := b.build(t, request(t, mayfly.Source{Archive: writeFile(t, data)}, rules))
	found(t, result, codeEncodingNone, "database shop")
}

func TestTextCheck(t *testing.T) {
	t.Parallel()
	text := "1\tZürich 🦋\tx\n2\tb\\nad\t\\N\n3\t\xfc\tx\n"
	on := &table{relation: relation{"public", "t"}}
	on.masking.Columns = slices.Grow(on.masking.Columns, 3)[:3]
	for i, name := range []string{"id", "name", "rest"} {
		on.masking.Columns[i].Name = name
	}
	for size := 1; size <= len(text); size++ {
		var out bytes.Buffer
		check := &textCheck{w: &out, table: on}
		var err error
		for at := 0; at < len(text) && err == nil; at += size {
			_, err = check.Write([]byte(text[at:min(at+size, len(text))]))
		}
		if err == nil || !strings.Contains(err.Error(), `"name" of public.t is not valid UTF-8 in row 3`) {
			t.Fatalf("in pieces of %d bytes: %v", size, err)
		}
		if !strings.HasPrefix(text, out.String()) {
			t.Fatalf("in pieces of %d bytes, what was passed on is %q", size, out.String())
		}
	}
}

func TestOrdinaryTable(t *testing.T) {
	t.Parallel()
	got, ok := ordinaryTable("CREATE FOREIGN TABLE public.\"a\nSERVER b\" (\n    id integer DEFAULT '(\nSERVER x'::text NOT NULL,\n    e text DEFAULT E'\\'\nSERVER y'\n)\nINHERITS (public.p)\nSERVER s\nOPTIONS (\n    password 'secret'\n);\nALTER FOREIGN TABLE x;\n")
	want := "CREATE TABLE public.\"a\nSERVER b\" (\n    id integer DEFAULT '(\nSERVER x'::text NOT NULL,\n    e text DEFAULT E'\\'\nSERVER y'\n)\nINHERITS (public.p);\n"
	if !ok || got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if _, ok := ordinaryTable("CREATE FOREIGN TABLE t (a text DEFAULT '\nSERVER s'"); ok {
		t.Error("a definition without a server was taken")
	}
}

// TestMissingExtension has an archive whose extension no image has: one that nothing needs, and one that a column needs.
func TestMissingExtension(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	idle := sourceDatabase(t, peopleSQL+"CREATE EXTENSION pg_trgm; COMMENT ON EXTENSION pg_trgm IS 'x'")
	needed := sourceDatabase(t, peopleSQL+"CREATE EXTENSION hstore; ALTER TABLE public.people ADD COLUMN h public.hstore; CREATE INDEX people_h ON public.people USING gin (h)")
	renamed := func(endpoint pgtest.Endpoint, from, to string) mayfly.Source {
		data, err := os.ReadFile(b.archiveOf(t, endpoint, true))
		if err != nil {
			t.Fatal(err)
		}
		return mayfly.Source{Archive: writeFile(t, bytes.ReplaceAll(data, []byte(from), []byte(to)))}
	}
	req := request(t, renamed(idle, "pg_trgm", "pg_hint"), peopleRules)
	b.refused(t.Context(), t, req, mayfly.CodeVerificationFailed, codeExtensionMissing)
	req = request(t, req.Project.Source, peopleRules)
	req.Project.Templates.RefuseFindings = "none"
	result := b.build(t, req)
	if f := found(t, result, codeExtensionMissing, "extension pg_hint"); f.Severity != SeverityError || !strings.Contains(f.Advice, "postgres.image") {
		t.Errorf("the finding does not say where to set another image: %+v", f)
	}
	req = request(t, renamed(idle, "pg_trgm", "pg_cron"), peopleRules)
	found(t, b.build(t, req), codeScheduledJobs, "extension pg_cron")

	_, err := b.refused(t.Context(), t, request(t, renamed(needed, "hstore", "semver"), peopleRules), mayfly.CodeSourceInvalid, "needed by")
	if hint := mayfly.ErrorHint(err); !strings.Contains(err.Error(), "table public.people") || !strings.Contains(hint, fmt.Sprintf("postgresql-%d-semver", pgtest.Image(t, 0).Major)) {
		t.Errorf("neither the table nor the package is named: %v (%s)", err, hint)
	}
}

func TestExtensionAdvice(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"pg_cron": "postgresql-15-cron", "postgis_topology": "postgresql-15-postgis-3", "plperl": "postgresql-plperl-15", "citext": "contrib",
		"timescaledb": "timescaledb-2-postgresql-15", "of_our_own": "postgresql-15-…",
	} {
		if got := extensionAdvice(name, 15); !strings.Contains(got, want) || !strings.Contains(got, "postgres.image") {
			t.Errorf("for %s: %s", name, got)
		}
	}
}

func TestNeededBy(t *testing.T) {
	t.Parallel()
	toc := &archive.Archive{Entries: []archive.Entry{
		{ID: 1, Kind: "EXTENSION", Tag: "a", Dependencies: []int{2}},
		{ID: 2, Kind: "EXTENSION", Tag: "b", Dependencies: []int{1}}, // only a hostile archive has a circle
		{ID: 3, Kind: "COMMENT", Tag: "EXTENSION a", Dependencies: []int{1}},
		{ID: 4, Kind: "TABLE", Schema: "public", Tag: "t", Dependencies: []int{2}},
		{ID: 5, Kind: "EXTENSION", Tag: "c"},
	}}
	if got := neededBy(toc, &toc.Entries[0], map[int]bool{}); len(got) != 1 || got[0] != "table public.t" {
		t.Errorf("a is needed by %v; want the table, which needs b, which needs a", got)
	}
	if got := neededBy(toc, &toc.Entries[4], map[int]bool{}); len(got) != 0 {
		t.Errorf("c is needed by %v", got)
	}
}

// TestPolicy keeps publications and leaves foreign tables out.
func TestPolicy(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL+`CREATE EXTENSION postgres_fdw; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw;
		CREATE FOREIGN TABLE public.remote (id int) SERVER s; CREATE VIEW public.near AS SELECT id FROM public.remote;
		CREATE PUBLICATION changes FOR TABLE public.people; CREATE PUBLICATION everything FOR ALL TABLES`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
	req.Project.Templates.Policy = mayfly.TemplatePolicy{Publications: mayfly.PolicyKeep, ForeignTables: mayfly.PolicyDrop}
	result := b.build(t, req)
	found(t, result, codeForeignTableGone, "foreign table public.remote")
	found(t, result, codeDependent, "view public.near")
	found(t, result, codePublicationKept, "publication changes")
	found(t, result, codeSuperuserObject, "publication everything")
	_, conn := b.clone(t, req.Template.ID, result.Image)
	if got := value(t, conn, `SELECT string_agg(pubname || '.' || tablename, ',') FROM pg_publication_tables`); got != "changes.people" {
		t.Errorf("published is %s; want the one table", got)
	}
}

// TestLocaleOfALanguage: where libc lacks a language, ICU has its rules.
func TestLocaleOfALanguage(t *testing.T) {
	t.Parallel()
	for options, want := range map[string]string{
		"ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'de_DE.UTF-8'":        "ICU_LOCALE = 'de-DE'",
		"ENCODING = 'UTF8' LC_COLLATE = 'pt_BR.utf8' LC_CTYPE = 'C'":             "ICU_LOCALE = 'pt-BR'",
		"ENCODING = 'UTF8' LOCALE_PROVIDER = icu LOCALE = 'q' ICU_LOCALE = 'sv'": "ICU_LOCALE = 'sv'",
		"ENCODING = 'LATIN1' LOCALE = 'q.LATIN1'":                                "ENCODING = 'LATIN1' LOCALE = 'C.UTF-8'",
	} {
		if got := databaseFallbacks(options); !strings.Contains(got[0], want) || !strings.Contains(got[0], encodingOption.FindString(options)) {
			t.Errorf("in place of %s comes %s", options, got[0])
		}
	}
}

func TestRefuseFindings(t *testing.T) {
	t.Parallel()
	for limit, refused := range map[string]bool{"": false, "error": false, "warning": true, "info": true, "none": false} {
		r := &run{result: &Result{}, target: &target{}}
		r.req.Project.Templates.RefuseFindings = limit
		for i := range 8 {
			r.target.find(Finding{Code: "x", Severity: SeverityWarning, Object: fmt.Sprint("thing ", i), Cause: "why"})
		}
		r.target.find(Finding{Code: "y", Severity: SeverityInfo, Object: "thing", Cause: "why"})
		err := r.refuse()
		if (err != nil) != refused {
			t.Errorf("refuse_findings %q: %v", limit, err)
		}
		if refused && (mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed || !strings.Contains(err.Error(), "thing 0 (x): why") || !strings.Contains(err.Error(), "more")) {
			t.Errorf("refuse_findings %q says: %v", limit, err)
		}
	}
}

func TestMissingTables(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"20250102_create_wishes": "wishes", "V4__create_ledgers.sql": "ledgers", "create table order items": "order items", "20240101-create-users-table.js": "users",
		"add_email_to_users": "", "recreate": "",
	} {
		got := ""
		if m := createdTable.FindStringSubmatch(name); m != nil {
			got = m[1]
		}
		if got != want {
			t.Errorf("%q is taken to make %q, want %q", name, got, want)
		}
	}
}

// TestFindingsAreDocumented: scripts look for codes, and people look them up.
func TestFindingsAreDocumented(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("doctor.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../docs/templates.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := regexp.MustCompile(`(?m)^\tcode\w+ += "([a-z0-9_]+)"$`).FindAllSubmatch(source, -1)
	if len(codes) < 40 {
		t.Fatalf("only %d codes are found in doctor.go", len(codes))
	}
	for _, code := range codes {
		if !bytes.Contains(docs, fmt.Appendf(nil, "`%s`", code[1])) {
			t.Errorf("docs/templates.md does not say what %s means", code[1])
		}
	}
}

// TestReplicaWithUnloggedTable reads a standby, where unlogged tables cannot be read.
func TestReplicaWithUnloggedTable(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	server := pgtest.Start(t, pgtest.StartOptions{Args: []string{"-c", "wal_level=replica"}})
	const database = "production"
	server.Exec(t, "postgres", "CREATE DATABASE "+database)
	endpoint := server.TCP(t, database)
	server.Exec(t, database, peopleSQL+"CREATE UNLOGGED TABLE public.scratch (id int); INSERT INTO public.scratch VALUES (1); GRANT SELECT ON ALL TABLES IN SCHEMA public TO "+endpoint.Role)
	if err := b.engine.Stop(t.Context(), server.ID, testTimeout); err != nil {
		t.Fatal(err)
	}
	result, err := b.engine.Run(t.Context(), driver.RunSpec{Image: server.Image.ID, Command: []string{"touch", driver.DataDir + "/standby.signal"}, Volume: server.Volume})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("make it a standby: %v, %s", err, result.Stderr)
	}
	if err := b.engine.Start(t.Context(), server.ID); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	built := b.build(t, request(t, mayfly.Source{DSN: endpoint.DSN()}, strings.Replace(peopleRules, "tables: {", "tables: {public.scratch: {columns: {id: keep}}, ", 1)))
	found(t, built, codeUnloggedUnreadable, "table public.scratch")
}

// TestLostOwner has a table whose owner was removed from the catalog.
func TestLostOwner(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL+`CREATE ROLE ghost_@suffix@; ALTER TABLE public.people OWNER TO ghost_@suffix@; DELETE FROM pg_authid WHERE rolname = 'ghost_@suffix@'`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	_, err := b.builder.Build(ctx, req)
	if err == nil { // pg_dump of older versions only warns
		if err := b.builder.Discard(ctx, req.Template.ID); err != nil {
			t.Error(err)
		}
		return
	}
	if !strings.Contains(mayfly.ErrorHint(err), "role that is gone") {
		t.Errorf("the hint does not say what to look for: %v (%s)", err, mayfly.ErrorHint(err))
	}
	b.nothingLeft(t, req.Template.ID)
}

// TestOlderSource builds from an older major, whose ICU is another one.
func TestOlderSource(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	const older = 13
	if _, err := pgtest.Engine(t).Present(t.Context(), "", older); err != nil {
		t.Skipf("there is no image of PostgreSQL %d: %v", older, err)
	}
	target := pgtest.Image(t, 0)
	if target.Major == older {
		t.Skip("the template has the same major")
	}
	server := pgtest.Start(t, pgtest.StartOptions{Major: older})
	database := server.Database(t)
	endpoint := server.TCP(t, database)
	server.Exec(t, database, `CREATE TABLE public.people (id int PRIMARY KEY, email text COLLATE "de-x-icu", filler text);
		CREATE INDEX ON public.people (email); INSERT INTO public.people VALUES (1, 'a', 'b'); GRANT SELECT ON public.people TO `+endpoint.Role)
	result := b.build(t, request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules))
	if result.Image.Major != target.Major {
		t.Errorf("the template is of PostgreSQL %d, not %d", result.Image.Major, target.Major)
	}
	found(t, result, codeCollationVersion, "collation pg_catalog.de-x-icu")
}
