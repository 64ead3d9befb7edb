package migrations

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang-migrate/migrate/v4/database"
	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

func TestFailureSaysWhere(t *testing.T) {
	t.Parallel()
	const table = "CREATE TABLE t (id int PRIMARY KEY, n int CHECK (n > 0), d int UNIQUE DEFERRABLE INITIALLY DEFERRED);\n"
	tests := []struct {
		name       string
		content    string
		line, col  int
		state      string
		statement  string
		message    string
		hint       string
		statements int
	}{
		{name: "syntax error in the third statement", content: table + "INSERT INTO t VALUES (1);\nALTER TABLE t\n  ADD COLUM x int;\nSELECT 1", line: 4, col: 15, state: "42601", statement: "ALTER TABLE t\n  ADD COLUM x int", message: "syntax error"},
		{name: "text of many bytes before", content: "-- ÄÖÜ 日本語 🦋\nSELECT '🦋🦋', nope;", line: 2, col: 14, state: "42703", statement: "SELECT '🦋🦋', nope", message: `"nope" does not exist`},
		{name: "CRLF", content: "SELECT 1;\r\n\r\nSELECT\r\n  nope;\r\n", line: 4, col: 3, state: "42703", statement: "SELECT\r\n  nope", message: `"nope" does not exist`, statements: 1},
		{name: "unique violation in the second statement", content: table + "INSERT INTO t\n  VALUES (1), (1);\nSELECT 1;", line: 2, col: 1, state: "23505", statement: "INSERT INTO t\n  VALUES (1), (1)", message: "duplicate key", statements: 1},
		{name: "violation behind comments and empty statements", content: table + ";;\n-- x;\n/* y; */ ;\nINSERT INTO t VALUES (1);\n\n-- ;\n  INSERT INTO t VALUES (2, -1);", line: 8, col: 3, state: "23514", statement: "INSERT INTO t VALUES (2, -1)", message: "violates check", statements: 2},
		{name: "deferred constraint at the commit", content: table + "INSERT INTO t VALUES (1, 1, 1), (2, 2, 1);\nSELECT 1", line: 3, col: 1, state: "23505", statement: "SELECT 1", message: "duplicate key", statements: 2},
		{name: "in a function", content: "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n  PERFORM 1/0;\nEND $$;\nSELECT f();", line: 5, col: 1, state: "22012", statement: "SELECT f()", message: "division by zero", statements: 1},
		{name: "after an SQL function body", content: "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2';\nDO $x$ BEGIN PERFORM 1; END; $x$;\nSELECT 1/0;", line: 3, col: 1, state: "22012", statement: "SELECT 1/0", message: "division by zero", statements: 2},
		{name: "end of input", content: "SELECT 1;\nCREATE TABLE x (\n  id int\n", line: 4, col: 1, state: "42601", statement: "CREATE TABLE x (\n  id int", message: "at end of input"},
		{name: "unclosed string", content: "SELECT 1;\nSELECT 'a;\nb", line: 2, col: 8, state: "42601", statement: "SELECT 'a;\nb", message: "unterminated quoted string"},
		{name: "concurrently among others", content: table + "CREATE INDEX CONCURRENTLY ON t (n);", line: 2, col: 1, state: "25001", statement: "CREATE INDEX CONCURRENTLY ON t (n)", message: "cannot run inside a transaction block", hint: "file of its own", statements: 1},
		{name: "byte order mark", content: "\uFEFFSELECT 1", line: 1, col: 1, state: "42601", statement: "\uFEFFSELECT 1", message: "syntax error", hint: "byte order mark"},
		{name: "in its own transaction", content: table + "BEGIN;\nINSERT INTO t VALUES (1);\nINSERT INTO t VALUES (1);\nCOMMIT;", line: 4, col: 1, state: "23505", statement: "INSERT INTO t VALUES (1)", message: "duplicate key", statements: 3},
		{name: "transaction left open", content: "BEGIN;\nCREATE TABLE x ();", message: "ends inside a transaction", hint: "COMMIT", statements: 2},
		{name: "tracking table dropped", content: "DROP TABLE schema_migrations;", state: "42P01", message: "the migration was executed, but the tracking table could not be written", statements: 1},
		{name: "not UTF-8", content: "SELECT 1;\nSELECT '\xff'", line: 1, col: 1, state: "22021", statement: "SELECT 1", message: "invalid byte sequence"},
		{name: "raised by the migration", content: "DO $$ BEGIN RAISE EXCEPTION 'no' USING HINT = 'ask', DETAIL = 'because', ERRCODE = 'MY001'; END $$", line: 1, col: 1, state: "MY001", statement: "DO $$ BEGIN RAISE EXCEPTION 'no' USING HINT = 'ask', DETAIL = 'because', ERRCODE = 'MY001'; END $$", message: "no", hint: "ask"},
	}
	database := setup(t)
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := database.schema(t)
			report, err := b.apply(t, settings(), files("0007_x.up.sql", test.content), ApplyOptions{})
			f := report.Failure
			if f == nil {
				t.Fatalf("no failure in the report; error %v", err)
			}
			if f.File != "db/migrations/0007_x.up.sql" || f.Version != "7" || f.Line != test.line || f.Column != test.col || f.SQLState != test.state {
				t.Errorf("%s of version %s at %d:%d with SQLSTATE %q, want line %d, column %d, %q", f.File, f.Version, f.Line, f.Column, f.SQLState, test.line, test.col, test.state)
			}
			if f.Statement != test.statement || !strings.Contains(f.Message, test.message) || !strings.Contains(f.Hint, test.hint) {
				t.Errorf("statement %q, message %q, hint %q; want %q, %q, %q", f.Statement, f.Message, f.Hint, test.statement, test.message, test.hint)
			}
			if got := report.Applied[0].Statements; got != test.statements {
				t.Errorf("%d statements completed, want %d", got, test.statements)
			}
			if !strings.Contains(err.Error(), "0007_x.up.sql") || mayfly.ErrorHint(err) != f.Hint || report.Applied[0].Error == "" {
				t.Errorf("error %q (hint %q), step %+v", err, mayfly.ErrorHint(err), report.Applied[0])
			}
		})
	}
}

func TestReport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	at := time.Date(2024, 2, 29, 23, 59, 59, 0, time.UTC)
	var progress []string
	report, err := b.apply(t, settings(), files(
		"1_a.up.sql", "CREATE TABLE a (id int); INSERT INTO a SELECT generate_series(1, 10); UPDATE a SET id = -id WHERE id < 4; SELECT * FROM a; DELETE FROM a WHERE id = 4",
		"2_b.down.sql", "", "3_c.up.sql", "SELECT 1/0", "4_d.up.sql", "SELECT 1", "README.md", "",
	), ApplyOptions{
		Now: func() time.Time { at = at.Add(1500 * time.Microsecond); return at },
		Progress: func(s Step) {
			progress = append(progress, fmt.Sprint(s.Version, " ", s.Index, "/", s.Total, " ", s.Done))
		},
	})
	if mayfly.ErrorCode(err) != mayfly.CodeMigrationFailed {
		t.Fatalf("error %v", err)
	}
	if got := strings.Join(progress, ", "); got != "1 1/4 false, 1 1/4 true, 2 2/4 false, 2 2/4 true, 3 3/4 false, 3 3/4 true" {
		t.Errorf("progress: %s", got)
	}
	if report.DatabaseBytesBefore == 0 || report.DatabaseBytesAfter <= report.DatabaseBytesBefore {
		t.Errorf("database of %d bytes before and %d after", report.DatabaseBytesBefore, report.DatabaseBytesAfter)
	}
	if len(report.Migrations) != 4 || report.Migrations[3].Status != StatusPending {
		t.Errorf("status %+v", report.Migrations)
	}
	report.DatabaseBytesBefore, report.DatabaseBytesAfter, report.Migrations = 1, 2, nil
	got, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	const want = `{
 "tool": "golang-migrate",
 "from_version": "",
 "to_version": "3",
 "dirty": true,
 "already_applied": 0,
 "applied": [
  {
   "version": "1",
   "name": "a",
   "file": "db/migrations/1_a.up.sql",
   "sha": "85e3463b38d55c8815ef3a966bbd4b55975d19df",
   "index": 1,
   "total": 4,
   "done": true,
   "duration_ms": 1.5,
   "statements": 5,
   "rows_affected": 14
  },
  {
   "version": "2",
   "name": "b",
   "file": "db/migrations/2_b.down.sql",
   "index": 2,
   "total": 4,
   "done": true,
   "duration_ms": 1.5,
   "statements": 0,
   "rows_affected": 0
  },
  {
   "version": "3",
   "name": "c",
   "file": "db/migrations/3_c.up.sql",
   "sha": "97f1a4860a466fdecb79afa656b99680fec238c1",
   "index": 3,
   "total": 4,
   "done": true,
   "duration_ms": 1.5,
   "statements": 0,
   "rows_affected": 0,
   "error": "db/migrations/3_c.up.sql:1: division by zero (SQLSTATE 22012)"
  }
 ],
 "skipped": [],
 "pending": [
  {
   "version": "4",
   "name": "d",
   "file": "db/migrations/4_d.up.sql"
  }
 ],
 "findings": [
  {
   "kind": "ignored",
   "file": "db/migrations/README.md",
   "message": "\"README.md\" is not a migration: its name is not \u003cversion\u003e_\u003ctitle\u003e.up.sql or .down.sql",
   "severity": "info"
  },
  {
   "kind": "empty",
   "version": "2",
   "file": "db/migrations/2_b.down.sql",
   "message": "version 2 has no up file: golang-migrate records it as applied without doing anything",
   "severity": "info"
  }
 ],
 "failure": {
  "file": "db/migrations/3_c.up.sql",
  "version": "3",
  "line": 1,
  "column": 1,
  "statement": "SELECT 1/0",
  "sqlstate": "22012",
  "message": "division by zero"
 },
 "duration_ms": 12,
 "database_bytes_before": 1,
 "database_bytes_after": 2
}`
	if string(got) != want {
		t.Errorf("the report is\n%s\nwant\n%s", got, want)
	}
}

func TestNothingPendingTouchesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report := b.mustApply(t, settings(), nil)
	if one[bool](t, b, "SELECT to_regclass('schema_migrations') IS NOT NULL") {
		t.Error("the tracking table was made although nothing is pending")
	}
	if report.Failure != nil || len(report.Applied) != 0 {
		t.Errorf("report %+v", report)
	}
}

// What the real tool with this driver stumbles over must not stop ours.
func TestDiscardAll(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report := b.mustApply(t, settings(), files("1_a.up.sql", "CREATE TABLE a ()", "2_b.up.sql", "DISCARD ALL", "3_c.up.sql", "CREATE TABLE c ()"))
	if report.ToVersion != "3" || report.Dirty {
		t.Errorf("report %+v", report)
	}
}

// The server and the splitter must count the same statements, or failures would be reported in the wrong place.
func TestSplitterCountsAsTheServerDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	text := strings.Join([]string{
		"CREATE TABLE t (id int, s text)", "", " -- only a comment\n",
		"CREATE RULE r AS ON UPDATE TO t DO ALSO (INSERT INTO t VALUES (7); INSERT INTO t VALUES (8))",
		`INSERT INTO t VALUES (1, E'a\';b'), (2, 'c\'), (3, $q$ ; $$ ; $q$), (4, U&'d\0061;'), (5, N'e;'), (6, E'f' -- g;` + "\n 'h\\';i')",
		`CREATE VIEW "v;""w" AS SELECT id AS "a;b" FROM t /* ; /* ; */ ; */ WHERE id+--;` + "\n 1 > 0",
		"DO $body$ BEGIN EXECUTE $$SELECT ';'$$; END; $body$",
		"CREATE FUNCTION f(a int, b text DEFAULT ';') RETURNS text LANGUAGE sql AS $$ SELECT ';'; SELECT $2; $$",
		"CREATE PROCEDURE begin_atomic() LANGUAGE sql AS 'SELECT 1; SELECT 2;'",
		"UPDATE t SET id = 1 WHERE false", "SELECT 1 AS begin, 2 AS \"end\", 3 AS atomic", "SELECT B'1', X'f'",
	}, ";\n") + ";"
	if b.server.Image.Major >= 14 {
		text += "CREATE FUNCTION g(x int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE x WHEN 1 THEN 2 ELSE 3 END; END; SELECT g(1);"
	}
	report := b.mustApply(t, settings(), files("1_a.up.sql", text))
	if got, want := report.Applied[0].Statements, len(sqlsplit.Counted(sqlsplit.Split(text, true))); got != want {
		t.Errorf("the server completed %d statements, the splitter counts %d", got, want)
	}
}

func TestMigrationCannotLeaveTheApplicationsRole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.server.Connect(t, b.database) // an administrator's session to aim at
	for name, content := range map[string]string{
		"session authorization": "SET SESSION AUTHORIZATION mayfly_admin",
		"set role":              "SET ROLE mayfly_admin",
		"set role by setting":   "SELECT set_config('role', 'mayfly_admin', false)",
		"reset":                 "RESET SESSION AUTHORIZATION; RESET ROLE; CREATE ROLE evil SUPERUSER",
		"copy program":          "CREATE TABLE out (line text); COPY out FROM PROGRAM 'id'",
		"copy to program":       "COPY (SELECT 1) TO PROGRAM 'cat > /tmp/evil'",
		"copy file":             "CREATE TABLE out (line text); COPY out FROM '/etc/passwd'",
		"copy to file":          "COPY (SELECT 1) TO '/mayfly/volume/evil'",
		"read file":             "SELECT pg_read_file('pg_hba.conf')",
		"list directory":        "SELECT pg_ls_dir('.')",
		"large object":          "SELECT lo_import('/etc/passwd')",
		"untrusted language":    "CREATE FUNCTION f() RETURNS int LANGUAGE c AS 'libc.so.6', 'getpid'",
		"alter system":          "ALTER SYSTEM SET archive_command = 'id'",
		"make superuser":        "ALTER ROLE CURRENT_USER SUPERUSER",
		"take over admin":       "ALTER ROLE mayfly_admin PASSWORD 'x'",
		"join admin":            "GRANT mayfly_admin TO CURRENT_USER",
		"other sessions":        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'mayfly_admin' OR usename IS NULL AND backend_type <> 'client backend'",
		"passwords":             "SELECT rolpassword FROM pg_authid",
		"extension":             "CREATE EXTENSION file_fdw",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := settings()
			settings.Table = name // one database for all
			report, err := b.apply(t, settings, files("1_a.up.sql", content), ApplyOptions{})
			if report.Failure == nil {
				t.Fatalf("it was executed (error %v)", err)
			}
			if state := report.Failure.SQLState; state != "42501" {
				t.Errorf("SQLSTATE %s (%s), want 42501 insufficient_privilege", state, report.Failure.Message)
			}
		})
	}
}

func TestSuperuserIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	list := files("1_a.up.sql", "CREATE TABLE a ()")
	for name, prepare := range map[string]string{
		"superuser":                       "SELECT 1",
		"superuser under another role":    "SET ROLE " + b.role,
		"superuser under another session": "SET SESSION AUTHORIZATION " + b.role,
	} {
		conn := b.server.Connect(t, b.database)
		if _, err := conn.Exec(t.Context(), prepare); err != nil {
			t.Fatal(err)
		}
		plan := b.plan(t, conn, settings(), list)
		if _, err := Apply(t.Context(), conn, plan, ApplyOptions{}); err == nil || !strings.Contains(err.Error(), "superuser") {
			t.Errorf("%s: error %v, want a refusal", name, err)
		}
	}
	if one[bool](t, b, "SELECT to_regclass('a') IS NOT NULL") {
		t.Error("a migration ran as a superuser")
	}
}

func TestLockTimeoutCutsAStatementThatWaits(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApplication(t, "CREATE TABLE held (id int)")
	holder := b.server.Connect(t, b.database)
	tx, err := holder.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), "LOCK TABLE held"); err != nil {
		t.Fatal(err)
	}
	report, err := b.apply(t, settings(), files("1_a.up.sql", "SELECT 1;\nALTER TABLE held ADD COLUMN x int;"), ApplyOptions{LockTimeout: 50 * time.Millisecond})
	if f := report.Failure; f == nil || f.SQLState != "55P03" || f.Line != 2 || !strings.Contains(f.Hint, "50ms") {
		t.Errorf("failure %+v, error %v; want 55P03 at line 2 with a hint that names the limit", f, err)
	}
}

func TestStatementTimeoutCutsAStatementThatHangs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report, err := b.apply(t, settings(), files("1_a.up.sql", "SELECT 1;\nSELECT pg_sleep(3600);"), ApplyOptions{StatementTimeout: 2 * time.Second})
	if f := report.Failure; f == nil || f.SQLState != "57014" || f.Line != 2 || !strings.Contains(f.Hint, "2s") {
		t.Errorf("failure %+v, error %v; want 57014 at line 2 with a hint that names the limit", f, err)
	}
}

func TestCancelReachesTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	conn := b.connect(t)
	plan := b.plan(t, conn, settings(), files("1_a.up.sql", "SET statement_timeout = 0;\nSELECT pg_sleep(3600);", "2_b.up.sql", ""))
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	why := errors.New("the pull request was closed")
	go func() {
		watcher, err := pgx.Connect(ctx, b.server.DSN(b.database))
		if err != nil {
			cancel(err)
			return
		}
		defer func() { _ = watcher.Close(context.WithoutCancel(ctx)) }()
		cancel(errors.Join(why, until(ctx, watcher, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'PgSleep')`, b.role)))
	}()
	report, err := Apply(ctx, conn, plan, ApplyOptions{})
	if mayfly.ErrorCode(err) != mayfly.CodeCancelled || !errors.Is(err, why) {
		t.Errorf("error %v, code %q; want cancelled because of %q", err, mayfly.ErrorCode(err), why)
	}
	if f := report.Failure; f == nil || f.SQLState != "57014" || f.Line != 2 || len(report.Applied) != 1 || !report.Dirty {
		t.Errorf("report %+v with failure %+v, want 57014 at line 2 of the first", report, f)
	}
	if one[bool](t, b, `SELECT EXISTS (SELECT FROM pg_stat_activity WHERE usename = $1 AND state <> 'idle')`, b.role) {
		t.Error("the statement still runs on the server")
	}
	if one[bool](t, b, `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE d.datname = current_database() AND locktype = 'advisory')`) {
		t.Error("the advisory lock is still held")
	}
	if state, err := ReadState(t.Context(), conn, settings()); err != nil || !state.Dirty || state.Current != "1" {
		t.Errorf("the connection after the cancellation: %+v, %v; want it usable, and version 1 dirty", state, err)
	}
}

func TestDeadlineIsATimeout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	conn := b.connect(t)
	plan := b.plan(t, conn, settings(), files("1_a.up.sql", "SELECT pg_sleep(3600)"))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := Apply(ctx, conn, plan, ApplyOptions{}); mayfly.ErrorCode(err) != mayfly.CodeTimeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error %v, code %q; want timeout", err, mayfly.ErrorCode(err))
	}
}

func TestServerThatEndsTheSession(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report, err := b.apply(t, settings(), files("1_a.up.sql", "SELECT 1;\nSELECT pg_terminate_backend(pg_backend_pid());"), ApplyOptions{})
	if f := report.Failure; f == nil || f.SQLState != "57P01" || f.Line != 2 || !report.Dirty {
		t.Errorf("failure %+v, error %v; want 57P01 at line 2", f, err)
	}
}

func TestWeAndTheToolExcludeEachOther(t *testing.T) {
	t.Parallel()
	b := setup(t)
	list := files("1_a.up.sql", "CREATE TABLE a ()")
	var driver database.Driver
	driver, err := database.Open(b.url("pgx5", nil))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = driver.Close() })
	if err := driver.Lock(); err != nil {
		t.Fatal(err)
	}
	at := time.Now()
	impatient := ApplyOptions{Now: func() time.Time { at = at.Add(lockWait); return at }}
	if _, err := b.apply(t, settings(), list, impatient); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("while the real tool holds the lock: %v, code %q; want conflict", err, mayfly.ErrorCode(err))
	}
	if err := driver.Unlock(); err != nil {
		t.Fatal(err)
	}
	watcher := b.connect(t)
	free := func(database_ string) bool {
		id, err := database.GenerateAdvisoryLockId(database_, "public", "schema_migrations")
		if err != nil {
			t.Fatal(err)
		}
		number, err := strconv.ParseInt(id, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		var got bool
		if err := watcher.QueryRow(t.Context(), "SELECT pg_try_advisory_lock($1)", number).Scan(&got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	names := []string{b.database, "/" + b.database, "/shop-pr-42"}
	_, err = b.apply(t, settings(), list, ApplyOptions{DatabaseNames: []string{"shop-pr-42"}, Progress: func(Step) {
		for _, name := range names {
			if free(name) {
				t.Errorf("the real tool could take its lock for the name %s while we migrate", name)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !free(name) {
			t.Errorf("the lock for the name %s is not given back", name)
		}
	}
}

func TestPlanForAnotherStateIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	list := files("1_a.up.sql", "CREATE TABLE a ()")
	conn := b.connect(t)
	plan := b.plan(t, conn, settings(), list)
	b.mustApply(t, settings(), list)
	if _, err := Apply(t.Context(), conn, plan, ApplyOptions{}); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("error %v, want a conflict: somebody was faster", err)
	}
	b.asApplication(t, "UPDATE schema_migrations SET dirty = true")
	plan.From = "1"
	if _, err := Apply(t.Context(), conn, plan, ApplyOptions{}); mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid {
		t.Errorf("error %v, want a refusal of the dirty state", err)
	}
}

func TestReadState(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		setup string // as the administrator; APP is the application's role
		table string
		want  State
		err   string
		hint  string
	}{
		{name: "no table", want: State{Table: `"public"."schema_migrations"`}},
		{name: "empty table", setup: "CREATE TABLE schema_migrations (version bigint, dirty boolean); GRANT SELECT ON schema_migrations TO APP", want: State{Table: `"public"."schema_migrations"`, Exists: true}},
		{name: "version", setup: "CREATE TABLE schema_migrations AS SELECT 20240101120000 AS version, false AS dirty; GRANT SELECT ON schema_migrations TO APP", want: State{Table: `"public"."schema_migrations"`, Exists: true, Current: "20240101120000"}},
		{name: "dirty", setup: "CREATE TABLE schema_migrations AS SELECT 7::bigint AS version, true AS dirty; GRANT SELECT ON schema_migrations TO APP", want: State{Table: `"public"."schema_migrations"`, Exists: true, Current: "7", Dirty: true}},
		{name: "hostile name", table: `"x""; DROP TABLE y; --"`, want: State{Table: `"x"."; DROP TABLE y; --"`}},
		{name: "hostile plain name", table: `x"; DROP TABLE y; --`, want: State{Table: `"public"."x""; DROP TABLE y; --"`}},
		{name: "Rails's table", setup: "CREATE TABLE schema_migrations (version varchar); GRANT SELECT ON schema_migrations TO APP", err: `column "dirty" does not exist`, hint: "not a table of golang-migrate"},
		{name: "not readable", setup: "CREATE TABLE schema_migrations (version bigint, dirty boolean)", err: "permission denied", hint: "may not read it"},
		{name: "schema without quotes", table: "audit.schema_migrations", setup: "CREATE SCHEMA audit CREATE TABLE schema_migrations (version bigint, dirty boolean)", err: "but there is audit.schema_migrations", hint: `'"audit"."schema_migrations"'`},
		{name: "no schema", setup: "ALTER ROLE APP SET search_path = nowhere", err: "no current schema", hint: `"schema"."table"`},
		{name: "too many parts", table: `"a"."b"."c"`, err: "is not understood", hint: `"schema"."table"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.admin(t, b.named(test.setup))
			settings := settings()
			settings.Table = test.table
			got, err := ReadState(t.Context(), b.connect(t), settings)
			if test.err != "" {
				if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || !strings.Contains(err.Error(), test.err) || !strings.Contains(mayfly.ErrorHint(err), test.hint) {
					t.Errorf("error %v (hint %q), want %q with hint %q", err, mayfly.ErrorHint(err), test.err, test.hint)
				}
				return
			}
			test.want.Tool = GolangMigrate
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("state %+v, %v; want %+v", got, err, test.want)
			}
		})
	}
}

// until repeats a query until it says true.
func until(ctx context.Context, conn *pgx.Conn, query string, args ...any) error {
	for {
		var yes bool
		if err := conn.QueryRow(ctx, query, args...).Scan(&yes); err != nil || yes {
			return err
		}
	}
}
