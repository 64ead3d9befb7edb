package templates

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

const hookRules = `
version: 1
tables:
  public.people: {columns: {id: keep, email: email}}
  public.audit: {columns: {id: keep, note: "null"}}
  public.settings: {columns: {key: keep, value: keep}}
`

const hookSQL = `
	CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE);
	INSERT INTO people SELECT n, 'person' || n || '@production.example' FROM generate_series(1, 50) n;
	CREATE TABLE audit (id int PRIMARY KEY, note text);
	INSERT INTO audit SELECT n, 'secret' FROM generate_series(1, 30) n;
	CREATE TABLE settings (key text PRIMARY KEY, value text);
	INSERT INTO settings VALUES ('mode', 'production');`

func hookFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestHooks(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	req := request(t, mayfly.Source{DSN: sourceDatabase(t, hookSQL).DSN()}, hookRules)
	req.Project.Templates.Hooks = mayfly.HookSettings{
		AfterLoad: []string{
			hookFile(t, "seed.sql", "\uFEFF-- who tests log in as\nINSERT INTO people VALUES (1000, 'dev@example.test'), (1001, 'qa@example.test');\nDELETE FROM people WHERE id = 50;"),
			hookFile(t, "nothing.sql", "-- nothing at all\n"),
		},
		AfterMasking: []string{
			hookFile(t, "trim.sql", `TRUNCATE audit; UPDATE settings SET value = 'preview';
				CREATE TABLE made_by_hook AS SELECT n FROM generate_series(1, 7) n;
				CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; END;`),
			hookFile(t, "drop.sql", "DROP TABLE settings;"),
		},
	}
	result := b.build(t, req)
	if result.RowCount != 51+0+7 {
		t.Errorf("the template has %d rows by its report", result.RowCount)
	}
	got := map[string]TableReport{}
	for _, table := range result.Report.Tables {
		got[table.Table] = table
	}
	for name, want := range map[string]TableReport{
		"people": {SourceRows: 50, HookRows: 1, Rows: 51}, "audit": {SourceRows: 30, HookRows: -30}, "made_by_hook": {HookRows: 7, Rows: 7, ByHook: true},
	} {
		have := got[name]
		if have.SourceRows != want.SourceRows || have.HookRows != want.HookRows || have.Rows != want.Rows || have.ByHook != want.ByHook {
			t.Errorf("the report of %s is %+v", name, have)
		}
	}
	if _, there := got["settings"]; there || len(got) != 3 {
		t.Errorf("the report has the tables %v", got)
	}
	hooks := result.Report.Hooks
	if len(hooks) != 4 || hooks[0].File != "seed.sql" || hooks[0].Phase != PhaseAfterLoad || hooks[0].Statements != 2 || len(hooks[0].Changes) != 1 ||
		hooks[1].Statements != 0 || hooks[2].Statements != 4 || len(hooks[2].Changes) != 2 || hooks[3].Changes[0].After != nil {
		t.Errorf("the report of the hooks is %+v", hooks)
	}
	causes := map[string]string{}
	for _, f := range result.Report.Findings {
		if f.Code == "hook_changed_rows" {
			causes[f.Object] += f.Cause
		}
	}
	if len(causes) != 4 || causes["table public.people"] != "the hook seed.sql (after_load) changed the number of rows from 50 to 51" {
		t.Errorf("the findings are %v", causes)
	}
	_, conn := b.clone(t, req.Template.ID, result.Image)
	if owners := value(t, conn, "SELECT string_agg(DISTINCT relowner::regrole::text, ',') FROM pg_class WHERE relname IN ('made_by_hook', 'people')"); owners != testOwner {
		t.Errorf("what hooks made belongs to %s", owners)
	}
	if n := value(t, conn, "SELECT count(*) FROM people WHERE email LIKE '%example.test'"); n != "2" {
		t.Errorf("%s of the rows of the hook are in the template", n)
	}
}

// loadedRun is a build that has come to its hooks.
func (b *bed) loadedRun(t *testing.T, req BuildRequest) *run {
	t.Helper()
	r := &run{
		Builder: b.builder, req: req, id: req.Template.ID, labels: map[string]string{"role": "build", "template": req.Template.ID},
		meter: &progressMeter{clock: b.builder.clock}, result: &Result{},
	}
	t.Cleanup(func() {
		if r.source != nil {
			r.source.close()
		}
		if err := b.builder.Discard(context.Background(), r.id); err != nil {
			t.Errorf("discard the build: %v", err)
		}
	})
	for _, step := range []func(context.Context) (string, error){r.connect, r.planEarly, r.initialise, r.restoreSchema, r.load} {
		if _, err := step(t.Context()); err != nil {
			t.Fatalf("build: %v", err)
		}
	}
	return r
}

func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	req := request(t, mayfly.Source{DSN: sourceDatabase(t, hookSQL).DSN()}, hookRules)
	r := b.loadedRun(t, req)
	for name, test := range map[string]struct{ text, want string }{
		"syntax":      {"SELECT 1;\n\nSELEKT 2;", `bad.sql failed in line 3 (SQLSTATE 42601): syntax error at or near "SELEKT"`},
		"name":        {"SELECT 'é',\n  nothing FROM people;", `line 2 (SQLSTATE 42703): column "nothing" does not exist`},
		"constraint":  {"-- c\nALTER TABLE audit ADD CONSTRAINT few CHECK (id < 20);", "line 2 (SQLSTATE 23514): constraint few"},
		"at the end":  {"ALTER TABLE audit ADD CONSTRAINT once UNIQUE (id) DEFERRABLE INITIALLY DEFERRED;\nINSERT INTO audit VALUES (1);\n", "(SQLSTATE 23505): constraint once"},
		"value":       {"SELECT email::int FROM people;", "line 1 (SQLSTATE 22P02)"},
		"transaction": {"SELECT 1;\nCOMMIT;\nSELECT 2;", "line 2: it ends the transaction"},
		"rights":      {"COPY people TO PROGRAM 'cat';", "SQLSTATE 42501"},
		"superuser":   {"RESET ROLE;\nALTER ROLE " + testOwner + " SUPERUSER;", "line 2 (SQLSTATE 42501)"},
		"timeout":     {"SELECT pg_sleep(100);", "templates.hooks.statement_timeout"},
	} {
		r.req.Project.Templates.Hooks.StatementTimeout = time.Minute
		if name == "timeout" {
			r.req.Project.Templates.Hooks.StatementTimeout = 50 * time.Millisecond
		}
		_, err := r.runHook(t.Context(), hook{name: "bad.sql", text: test.text})
		if mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error()+mayfly.ErrorHint(err), "@") {
			t.Errorf("%s: the error shows a value: %v", name, err)
		}
	}
	counts, err := r.countRows(t.Context())
	if err != nil || counts[relation{"public", "audit"}] != 30 || counts[relation{"public", "people"}] != 50 {
		t.Errorf("after hooks that failed the tables hold %v, %v", counts, err)
	}
	// And as part of a build, which then leaves nothing.
	req.Template = &mayfly.Template{ID: mayfly.NewID("t")}
	req.Project.Templates.Hooks = mayfly.HookSettings{AfterLoad: []string{hookFile(t, "bad.sql", "SELECT 1/0")}}
	if _, err := b.builder.Build(t.Context(), req); mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), "SQLSTATE 22012") {
		t.Errorf("a build whose hook fails gives %v", err)
	}
	b.nothingLeft(t, req.Template.ID)
}

// TestHooksAreRefusedEarly gives builds hooks that cannot run. They do not come to their source, which does not exist.
func TestHooksAreRefusedEarly(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	req := request(t, mayfly.Source{Archive: "/nonexistent"}, hookRules)
	for want, path := range map[string]string{
		"line 2 has a command of psql": hookFile(t, "bad.sql", "SELECT 1;\n\\i other.sql"),
		"waits for rows":               hookFile(t, "bad.sql", "COPY people FROM STDIN;"),
		"ends inside a string":         hookFile(t, "bad.sql", "SELECT 'a;"),
		"not text in UTF-8":            hookFile(t, "bad.sql", "SELECT '\xff'"),
		"/nonexistent.sql":             "/nonexistent.sql",
		"not a regular file":           t.TempDir(),
	} {
		req.Project.Templates.Hooks.AfterLoad = []string{path}
		if _, err := b.builder.Build(t.Context(), req); mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
		if err := CheckHooks(req.Project.Templates.Hooks); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: checking gives %v", want, err)
		}
	}
}
