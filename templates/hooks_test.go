package templates

import (
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

func TestHooksThatFail(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	source := mayfly.Source{DSN: sourceDatabase(t, hookSQL).DSN()}
	for name, test := range map[string]struct {
		text, want string
		timeout    time.Duration
		early      bool // refused before anything is made
	}{
		"syntax":      {text: "SELECT 1;\n\nSELEKT 2;", want: `bad.sql failed in line 3 (SQLSTATE 42601): syntax error at or near "SELEKT"`},
		"name":        {text: "SELECT 'é',\n  nothing FROM people;", want: `line 2 (SQLSTATE 42703): column "nothing" does not exist`},
		"constraint":  {text: "-- c\nINSERT INTO audit VALUES (1), (2);", want: "line 2 (SQLSTATE 23505): constraint audit_pkey"},
		"value":       {text: "SELECT email::int FROM people;", want: "line 1 (SQLSTATE 22P02)"},
		"transaction": {text: "SELECT 1;\nCOMMIT;\nSELECT 2;", want: "line 2: it ends the transaction"},
		"rights":      {text: "COPY people TO PROGRAM 'cat';", want: "SQLSTATE 42501"},
		"superuser":   {text: "RESET ROLE;\nALTER ROLE " + testOwner + " SUPERUSER;", want: "line 2 (SQLSTATE 42501)"},
		"timeout":     {text: "SELECT pg_sleep(100);", want: "templates.hooks.statement_timeout", timeout: 50 * time.Millisecond},
		"psql":        {text: "SELECT 1;\n\\i other.sql", want: "line 2 has a command of psql", early: true},
		"copy":        {text: "COPY people FROM STDIN;", want: "waits for rows", early: true},
		"open":        {text: "SELECT 'a;", want: "ends inside a string", early: true},
		"binary":      {text: "SELECT '\xff'", want: "not text in UTF-8", early: true},
	} {
		req := request(t, source, hookRules)
		req.Project.Templates.Hooks = mayfly.HookSettings{AfterMasking: []string{hookFile(t, "bad.sql", test.text)}, StatementTimeout: test.timeout}
		if test.early {
			req.Project.Source = mayfly.Source{Archive: "/nonexistent"} // it does not come to that
		}
		_, err := b.builder.Build(t.Context(), req)
		if mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error()+mayfly.ErrorHint(err), "@") {
			t.Errorf("%s: the error shows a value: %v", name, err)
		}
		b.nothingLeft(t, req.Template.ID)
	}
	req := request(t, source, hookRules)
	for _, path := range []string{"/nonexistent.sql", t.TempDir()} {
		req.Project.Templates.Hooks.AfterLoad = []string{path}
		if _, err := b.builder.Build(t.Context(), req); mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), path) {
			t.Errorf("the hook %s gives %v", path, err)
		}
	}
}
