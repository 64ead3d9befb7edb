package quarantine

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

const clusterScript = `--
-- PostgreSQL database cluster dump
--

\restrict abc
SET default_transaction_read_only = off;
SET client_encoding = 'UTF8';
SET no_such_setting = 'on';
DROP DATABASE shop;
DROP ROLE alice;
CREATE ROLE alice;
ALTER ROLE alice WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x';
CREATE ROLE alice;
GRANT nobody TO alice;
CREATE TABLESPACE fast OWNER alice LOCATION '/srv/fast';
\unrestrict abc
\connect template1
--
-- PostgreSQL database dump
--
--
-- PostgreSQL database dump complete
--
CREATE DATABASE shop WITH TEMPLATE = template0
  ENCODING = 'UTF8' LC_COLLATE = 'xx_YY.utf8' LC_CTYPE = 'xx_YY.utf8' TABLESPACE = fast;
ALTER DATABASE shop OWNER TO nobody;
\connect shop
--
-- PostgreSQL database dump
--
SET default_tablespace = fast;
CREATE EXTENSION IF NOT EXISTS no_such_extension WITH SCHEMA public;
COMMENT ON EXTENSION no_such_extension IS 'it''s missing';
CREATE FUNCTION public.f() RETURNS text LANGUAGE sql AS $_$ SELECT ';\!'::text || $$x$$ $_$;
CREATE TABLE public.t (id int, name text);
ALTER TABLE public.t OWNER TO nobody;
ALTER FUNCTION public.f() OWNER TO nobody;
CREATE EXTENSION postgres_fdw;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw;
CREATE USER MAPPING FOR nobody SERVER elsewhere OPTIONS (password 'x');
CREATE FUNCTION public.g(a int, b text) RETURNS int LANGUAGE sql AS 'SELECT 1';
ALTER FUNCTION public.g(a integer, b text) OWNER TO nobody;
CREATE POLICY p ON public.t
  TO someone, "Odd ""one""" USING (name <> '\! not a command;');
COPY public.t (id, name) FROM stdin;
1	a\\!b; \\connect
2	\N
\.
INSERT INTO public.t VALUES (3, 'it''s; \! fine'), (4, E'\'; \\! fine');
--
-- PostgreSQL database dump complete
--
\connect -reuse-previous=on "dbname='other db'"
`

const clusterScriptEnd = `--
-- PostgreSQL database cluster dump complete
--
`

func TestClusterScript(t *testing.T) {
	t.Parallel()
	text := strings.Replace(clusterScript, `\connect -reuse`, "CREATE DATABASE \"other db\" TEMPLATE template0;\n"+`\connect -reuse`, 1) +
		"CREATE TABLE only_other (id int);\n" + clusterScriptEnd
	c := mustScript(t, options(t), text)
	if c.Database != "shop" || c.Name() != "shop" {
		t.Errorf("the database is %q", c.Database)
	}
	if got := value(t, c, "SELECT string_agg(id || '=' || coalesce(name, 'NULL'), ' ' ORDER BY id) FROM public.t"); got != `1=a\!b; \connect 2=NULL 3=it's; \! fine 4='; \! fine` {
		t.Errorf("the rows are %s", got)
	}
	if got := value(t, c, "SELECT polroles::regrole[] FROM pg_policy"); !strings.Contains(got, "someone") || !strings.Contains(got, "Odd") {
		t.Errorf("the policy is for %s", got)
	}
	for _, code := range []string{"missing_role", "missing_extension", "setting_left_out", "tablespace_left_out", "locale_missing"} {
		if finding(c, code) == nil {
			t.Errorf("no finding %s among %+v", code, c.Findings)
		}
	}
}

func TestDatabaseIsChosen(t *testing.T) {
	t.Parallel()
	const two = "CREATE DATABASE one;\nCREATE DATABASE two;\n\\c one\nCREATE TABLE a (id int);\n\\c two nobody localhost\nCREATE TABLE b (id int);\n"
	opts := options(t)
	opts.Database = "two"
	c := mustScript(t, opts, two)
	if got := value(t, c, "SELECT count(*) FROM b"); got != "0" {
		t.Errorf("count in two is %s", got)
	}
	c.opts.Database = ""
	if err := c.chooseDatabase(t.Context()); mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), "one, two") {
		t.Errorf("two databases: %v", err)
	}
	c.opts.Database = "three"
	if err := c.chooseDatabase(t.Context()); mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(mayfly.ErrorHint(err), "one") {
		t.Errorf("a database that is not there: %v", err)
	}
	c.opts.Database, c.opts.Preferred = "", "one"
	if err := c.chooseDatabase(t.Context()); err != nil || c.Database != "one" {
		t.Errorf("the project's own: %q, %v", c.Database, err)
	}
}

// TestBrokenRows restores a dump of a source whose rows break its own constraints.
func TestBrokenRows(t *testing.T) {
	t.Parallel()
	c := mustScript(t, options(t), `CREATE TABLE public.a (id int); CREATE TABLE public.b (id int, a int, long text);
INSERT INTO public.a VALUES (1), (1), (2);
INSERT INTO public.b SELECT 1, 99, string_agg(md5(i::text), '') FROM generate_series(1, 1000) i;
ALTER TABLE ONLY public.a
    ADD CONSTRAINT a_pkey PRIMARY KEY (id);
CREATE UNIQUE INDEX a_id ON public.a USING btree (id);
CREATE INDEX b_long ON public.b USING btree (long);
CREATE TABLE public.c (id int PRIMARY KEY);
ALTER TABLE ONLY public.b
    ADD CONSTRAINT b_c_fkey FOREIGN KEY (a) REFERENCES public.c(id) ON DELETE CASCADE;
`)
	codes := map[string]int{}
	for _, f := range c.Findings {
		codes[f.Code]++
	}
	if codes["constraint_violated"] != 2 || codes["index_left_out"] != 2 {
		t.Errorf("findings: %+v", c.Findings)
	}
	if got := value(t, c, "SELECT conname || ' ' || convalidated FROM pg_constraint WHERE conrelid = 'public.b'::regclass AND contype = 'f'"); got != "b_c_fkey false" {
		t.Errorf("the foreign key is %s", got)
	}
}

func TestScriptErrors(t *testing.T) {
	t.Parallel()
	const secret = "alice@example.com"
	for name, test := range map[string]struct {
		text, want string
		server     bool
	}{
		"value of a type":    {"CREATE TABLE t (id int);\n\nINSERT INTO t VALUES ('" + secret + "');\n", "line 3 of the script (INSERT INTO t VALUES): a value does not fit its type (SQLSTATE 22P02)", true},
		"rows without table": {"COPY t FROM stdin;\n" + secret + "\n\\! id\n\\.\n", `relation "t" does not exist`, true},
		"shell":              {"SELECT 1;\n  \\! touch /tmp/x\n", `line 2 of the script has the command \! of psql`, false},
		"shell in a line":    {"SELECT 1 \\! id\n", `has the command \! of psql`, false},
		"copy":               {`\copy t from '/etc/passwd'` + "\n", `\copy`, false},
		"include":            {`\i /etc/passwd` + "\n", `\i`, false},
		"pipe":               {"SELECT 'id' \\g |sh\n", `\g`, false},
		"backtick":           {"\\set x `id`\n", `\set`, false},
		"other server":       {"\\connect postgres://example.com/x\n", `\connect`, false},
		"other server, too":  {"\\connect -reuse-previous=on \"dbname='x' host='y'\"\n", `\connect`, false},
		"no such database":   {"\\connect nowhere\n", "nowhere", true},
		"open string":        {"SELECT 1;\nINSERT INTO t VALUES ('" + secret, "began in line 2", false},
		"open dollars":       {"DO $x$ SELECT 1 $$ ", "began in line 1", false},
		"open comment":       {"/* a /* b */ ", "began in line 1", false},
		"open rows":          {"CREATE TABLE t (m text);\nCOPY t FROM stdin;\n" + secret + "\n", "began in line 3", false},
		"open statement":     {"CREATE TABLE t (m text", "middle of a statement", false},
		"no trailer":         {"--\n-- PostgreSQL database dump\n--\nSELECT 1;\n", "database dump complete", false},
		"no cluster trailer": {clusterScript[:strings.Index(clusterScript, `\connect template1`)], "cluster dump complete", false},
		"nothing in it":      {"SELECT 1;\n", "no tables", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var err error
			if test.server {
				_, err = script(t, options(t), test.text)
			} else {
				err = scanOnly(t, test.text)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error %v does not say %q", err, test.want)
			}
			if mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
				t.Errorf("code %s", mayfly.ErrorCode(err))
			}
			if strings.Contains(err.Error()+mayfly.ErrorHint(err), "alice@") {
				t.Errorf("the error tells a value: %v", err)
			}
		})
	}
}

// TestErrorsTellNoValue judges what a server says of statements that have a value in them.
func TestErrorsTellNoValue(t *testing.T) {
	t.Parallel()
	const secret = "alice@example.com"
	server := pgtest.Cluster(t)
	database := server.Database(t)
	server.Exec(t, database, "CREATE TABLE t (id int, m text PRIMARY KEY CHECK (m <> 'x'), n int NOT NULL); INSERT INTO t VALUES (1, '"+secret+"', 1)")
	conn := server.Connect(t, database)
	for statement, want := range map[string]string{
		"INSERT INTO t VALUES ('" + secret + "', 'y', 1)":     "a value does not fit its type (SQLSTATE 22P02)",
		"INSERT INTO t VALUES (1, '" + secret + "', 1)":       `duplicate key value violates unique constraint "t_pkey" (SQLSTATE 23505)`,
		"INSERT INTO t VALUES (1, 'x', 1)":                    `new row for relation "t" violates check constraint "t_m_check" (SQLSTATE 23514)`,
		"INSERT INTO t VALUES (1, 'y')":                       `null value in column "n"`,
		"INSERT INTO t VALUES (1, " + secret + ")":            "SQLSTATE 42",
		`INSERT INTO t VALUES (1, "` + secret + `", 1)`:       "a column that it names does not exist (SQLSTATE 42703)",
		"INSERT INTO t VALUES (1, 'y', 99999999999999)":       "a value does not fit its type (SQLSTATE 22003)",
		"INSERT INTO t VALUES (1, 2, '" + secret + "'::date)": "SQLSTATE 22007",
		"DO $$BEGIN RAISE 'it is " + secret + "'; END$$":      "the server refuses it (SQLSTATE P0001)",
		"SELECT '" + secret + "' " + secret:                   "it is not SQL that this server understands (SQLSTATE 42601)",
		"INSERT INTO nowhere VALUES ('" + secret + "')":       `relation "nowhere" does not exist (SQLSTATE 42P01)`,
	} {
		_, err := conn.Exec(t.Context(), statement)
		var server *pgconn.PgError
		if !errors.As(err, &server) {
			t.Errorf("%s: %v", statement, err)
			continue
		}
		e := scriptError{line: 7, code: server.Code, message: server.Message, in: recentStatement{head: "INSERT INTO t VALUES"}}
		if _, known := e.known(); known {
			t.Errorf("%s: a restore would go on after it", statement)
		}
		if got := e.fatal(nil).Error(); !strings.Contains(got, want) || !strings.HasPrefix(got, "line 7 of the script (INSERT INTO t VALUES): ") || strings.Contains(got, "alice@") {
			t.Errorf("%s: %s", statement, got)
		}
	}
}

func scanOnly(t *testing.T, text string) error {
	t.Helper()
	var out strings.Builder
	return newScanner(strings.NewReader(text), &out, scriptDatabase).run(t.Context())
}

// TestScannerPassesOn compares what psql gets with what the script says.
func TestScannerPassesOn(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT 'a\\';\n\\echo x\nSELECT 1;":                                      "SELECT 'a\\';\n\nSELECT 1;",
		"SELECT E'a\\'b;\\!';":                                                    "SELECT E'a\\'b;\\!';",
		"SET standard_conforming_strings = off;\nSELECT 'a\\'\\!';":               "SET standard_conforming_strings = off;\nSELECT 'a\\'\\!';",
		"\\set ON_ERROR_STOP on\n\\set x 1\nSELECT :x;":                           "\n\\set x 1\nSELECT :x;",
		"\\connect shop\n":                                                        "\\connect \"shop\"\n",
		"\\c \"a b\" u h 5432\n":                                                  "\\connect \"a b\"\n",
		"\\c - someone\n":                                                         "\n",
		"SELECT $1, a$b$c, $x$\\! $$ '$x$;":                                       "SELECT $1, a$b$c, $x$\\! $$ '$x$;",
		"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);":                "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);",
		"COPY t (a) FROM stdin WITH (FORMAT csv);\n\\!\n\"\\.x\"\n\\.\nSELECT 1;": "COPY t (a) FROM stdin WITH (FORMAT csv);\n\\!\n\"\\.x\"\n\\.\nSELECT 1;",
		"-- \\! no\n/* \\! /* */ ' */ SELECT 1;":                                  "-- \\! no\n/* \\! /* */ ' */ SELECT 1;",
		"BEGIN;\nEND;":                                                            "BEGIN;\nEND;",
	} {
		var out strings.Builder
		if err := newScanner(strings.NewReader(text), &out, scriptDatabase).run(t.Context()); err != nil {
			t.Errorf("%q: %v", text, err)
		} else if out.String() != want {
			t.Errorf("%q is passed on as %q, want %q", text, out.String(), want)
		}
	}
}

func TestCancelledScriptLeavesNothing(t *testing.T) {
	t.Parallel()
	opts := options(t)
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	reader := &signalReader{text: strings.NewReader("SELECT pg_sleep(3600);\n" + strings.Repeat("SELECT 1;\n", 100000)), at: cancel}
	_, err := RestoreScript(ctx, opts, 0, "", reader.open)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	nothingLeft(t, opts)
}
