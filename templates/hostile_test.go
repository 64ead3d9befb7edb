package templates

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/templates/archive"
)

// trapSQL is what an ordinary role of a source can plant: it waits for somebody with more rights to run it
// in the template's database (the source of the test belongs to a superuser too).
const trapSQL = `
CREATE FUNCTION public.chk(v int) RETURNS boolean LANGUAGE plpgsql AS $f$ BEGIN
	IF current_database() = 'shop' AND ((SELECT rolsuper FROM pg_roles WHERE rolname = current_user) OR (SELECT rolsuper FROM pg_roles WHERE rolname = session_user)) THEN
		BEGIN EXECUTE 'RESET ROLE'; EXCEPTION WHEN OTHERS THEN NULL; END;
		BEGIN EXECUTE 'CREATE ROLE evil SUPERUSER LOGIN PASSWORD ''evilpw'''; EXCEPTION WHEN OTHERS THEN NULL; END;
	END IF;
	RETURN true;
END $f$;
CREATE FUNCTION public.wrapped(v int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN public.chk(v); END';
CREATE DOMAIN public.trapped AS int CHECK (public.chk(VALUE));
CREATE TABLE public.trap (id int PRIMARY KEY, v int CHECK (public.chk(v)), d public.trapped, g int GENERATED ALWAYS AS (public.wrapped(id)::int) STORED);
CREATE INDEX ON public.trap (public.wrapped(v));
DO $d$ BEGIN IF current_setting('server_version_num')::int >= 140000 THEN -- no expressions before
	EXECUTE 'CREATE STATISTICS public.trap_stats ON (public.wrapped(v)), (public.wrapped(id)) FROM public.trap';
END IF; END $d$;
ALTER TABLE public.trap ENABLE ROW LEVEL SECURITY;
ALTER TABLE public.trap FORCE ROW LEVEL SECURITY;
CREATE POLICY nobody ON public.trap USING (public.chk(v) AND false);
CREATE MATERIALIZED VIEW public.seen AS SELECT count(*) FILTER (WHERE public.chk(v)) AS n FROM public.trap;
INSERT INTO public.trap VALUES (1, 1, 1);
REFRESH MATERIALIZED VIEW public.seen;
`

const trapRules = "version: 1\ntables: {public.trap: {columns: {id: keep, v: keep, d: keep}}}"

// onlyUsualRoles fails the test if a clone of a template has roles or rights that the template should not have.
func onlyUsualRoles(t *testing.T, conn *pgx.Conn) {
	t.Helper()
	roles := value(t, conn, `SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> $1`, cluster.AdminRole)
	if roles != testOwner {
		t.Errorf("the template has the roles %s; want %s alone", roles, testOwner)
	}
	rights := value(t, conn, `SELECT format('%s %s %s %s %s %s', rolsuper, rolcreaterole, rolcreatedb, rolreplication, rolbypassrls, rolpassword IS NULL)
		FROM pg_authid WHERE rolname = $1`, testOwner)
	if rights != "f f f f f t" {
		t.Errorf("the owner's rights (superuser, createrole, createdb, replication, bypassrls, no password) are %s; want f f f f f t", rights)
	}
}

// TestSourceCannotRunAsSuperuser builds from a database whose checks, domains, indexes and statistics look for a superuser.
func TestSourceCannotRunAsSuperuser(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, trapSQL)
	for name, source := range map[string]mayfly.Source{"live": {DSN: endpoint.DSN()}, "archive": {Archive: b.archiveOf(t, endpoint, true)}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			req := request(t, source, trapRules)
			result := b.build(t, req)
			_, conn := b.clone(t, req.Template.ID, result.Image)
			onlyUsualRoles(t, conn)
			if got := value(t, conn, "SELECT count(*) FROM public.trap"); got != "1" {
				t.Errorf("the table has %s rows; want 1", got)
			}
			if got := value(t, conn, "SELECT n FROM public.seen"); got != "1" {
				t.Errorf("the materialized view counts %s rows; want 1", got)
			}
		})
	}
}

// TestArchiveCannotRunAsSuperuser builds from archives whose definitions hold more than pg_dump writes.
func TestArchiveCannotRunAsSuperuser(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, `CREATE EXTENSION pg_trgm; CREATE TABLE public.people (id int PRIMARY KEY, email text NOT NULL, filler text);
		CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS '/*`+strings.Repeat("x", 200)+`*/ SELECT 1';
		CREATE INDEX long_enough_for_another_statement_to_be_written_over_it_00000000 ON public.people (lower(email || filler || email || filler));
		CREATE SEQUENCE public.long_enough_for_another_statement_to_be_written_over_it_seq;
		COMMENT ON TABLE public.people IS '`+strings.Repeat("y", 200)+`';
		INSERT INTO public.people VALUES (1, 'a@secret-corp.test', 'x')`)
	whole, err := os.ReadFile(b.archiveOf(t, endpoint, true))
	if err != nil {
		t.Fatal(err)
	}
	const evil = "RESET ROLE; CREATE ROLE evil2 SUPERUSER LOGIN;"
	for name, c := range map[string]struct{ start, text string }{
		"function":  {"CREATE FUNCTION public.f() RETURNS", evil},
		"extension": {"CREATE EXTENSION IF NOT EXISTS pg_trgm WITH SCHEMA public;", evil},
		"index":     {"CREATE INDEX long_enough", evil},
		"key":       {"ALTER TABLE ONLY public.people\n    ADD CONSTRAINT people_pkey", evil},
		"sequence":  {"SELECT pg_catalog.setval('public.long_enough", evil},
		"comment":   {"COMMENT ON TABLE public.people IS '", evil},
		"retried as superuser": {
			"COMMENT ON TABLE public.people IS '",
			"DO $$ BEGIN IF (SELECT rolsuper FROM pg_roles WHERE rolname=current_user) THEN CREATE ROLE evil2 SUPERUSER; ELSE RAISE insufficient_privilege; END IF; END $$",
		},
		"setting": {"ALTER DATABASE " + endpoint.Database + " SET statement_timeout TO", "ALTER DATABASE a SET jit TO 1;CREATE ROLE e SUPERUSER"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := bytes.Index(whole, []byte(c.start))
			if at < 0 {
				t.Fatalf("the archive has no %q", c.start)
			}
			data := bytes.Clone(whole)
			room := bytes.Index(data[at:], []byte(";\n"))
			if room < len(c.text) {
				t.Fatalf("%q has room for %d bytes; the attack takes %d", c.start, room, len(c.text))
			}
			copy(data[at:], c.text+strings.Repeat(" ", room-len(c.text)))
			req := request(t, mayfly.Source{Archive: writeFile(t, data)}, peopleRules)
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			result, err := b.builder.Build(ctx, req)
			if err != nil {
				b.nothingLeft(t, req.Template.ID)
				return
			}
			t.Cleanup(func() { _ = b.builder.Discard(context.Background(), req.Template.ID) })
			_, conn := b.clone(t, req.Template.ID, result.Image)
			onlyUsualRoles(t, conn)
		})
	}
}

func TestInternalFunctionDefinitions(t *testing.T) {
	t.Parallel()
	for definition, want := range map[string]bool{
		"CREATE FUNCTION public.c_sqrt(double precision) RETURNS double precision\n    LANGUAGE internal STRICT\n    AS $$dsqrt$$;\n": true,
		"CREATE FUNCTION f() RETURNS int LANGUAGE internal AS $$a$$; CREATE ROLE x;":                                                  false,
		"CREATE FUNCTION f() RETURNS int LANGUAGE c AS '/tmp/x.so', $$ LANGUAGE internal AS $$a$$;":                                   false,
		"CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE internal AS $$a$$;":                                                      false,
		"SELECT 1; CREATE FUNCTION f() RETURNS int LANGUAGE internal AS $$a$$;":                                                       false,
	} {
		if got := internalFunction.MatchString(definition); got != want {
			t.Errorf("%q is taken for another name of a server's function: %t, want %t", definition, got, want)
		}
	}
}

// TestUnsafeInternalFunctions: the server's own functions trust their callers to be checked by SQL.
func TestUnsafeInternalFunctions(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, peopleSQL+`
		CREATE FUNCTION public.fine(double precision) RETURNS double precision LANGUAGE internal STRICT AS 'dsqrt';
		CREATE FUNCTION public.no_right(text) RETURNS text LANGUAGE internal STRICT AS 'pg_read_file_all';
		CREATE FUNCTION public.peek(bigint) RETURNS text LANGUAGE internal STRICT AS 'upper';
		CREATE FUNCTION public.not_strict(double precision) RETURNS double precision LANGUAGE internal AS 'dsqrt';
		CREATE VIEW public.peeked AS SELECT public.peek(1)`)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, peopleRules)
	result := b.build(t, req)
	_, conn := b.clone(t, req.Template.ID, result.Image)
	if got := value(t, conn, `SELECT string_agg(proname, ',') FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND proname <> 'heads'`); got != "fine" {
		t.Errorf("the template has the functions %s; want fine alone", got)
	}
	for _, name := range []string{"no_right(text)", "peek(bigint)", "not_strict(double precision)"} {
		found(t, result, codeSuperuserObject, "function public."+name)
	}
	found(t, result, codeDependent, "view public.peeked")
}

func TestSettings(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		`ALTER DATABASE shop SET statement_timeout TO '7min';`:                               "statement_timeout",
		`ALTER DATABASE "Odd ""one""" SET "TimeZone" TO 'UTC';`:                              `"TimeZone"`,
		`ALTER DATABASE shop SET search_path TO '$user', 'public';`:                          "search_path",
		`ALTER DATABASE shop SET work_mem TO '1'; CREATE ROLE x;`:                            "",
		`ALTER DATABASE shop SET work_mem TO (SELECT 1);`:                                    "",
		`ALTER ROLE x IN DATABASE shop SET work_mem TO '1';`:                                 "",
		`ALTER DATABASE shop SET search_path TO 'a'', 'b'; CREATE ROLE evil SUPERUSER; --';`: "",
	} {
		m := databaseSetting.FindStringSubmatch(line)
		got := ""
		if m != nil && literalList.MatchString(m[2]) {
			got = m[1]
		}
		if got != want {
			t.Errorf("%s: the setting is %q, want %q", line, got, want)
		}
	}
	toc := &archive.Archive{Entries: []archive.Entry{{Kind: "DATABASE PROPERTIES", Definition: "ALTER DATABASE shop SET role TO 'x';\n" +
		"ALTER DATABASE shop SET session_preload_libraries TO 'x';\nALTER DATABASE shop SET \"app.secret\" TO 'x';\n"}}}
	tg := &target{database: "shop"}
	tg.takeSettings(t.Context(), nil, toc, func(string) []passage { return nil }) // none may reach the server
	if len(tg.findings) != 3 {
		t.Errorf("findings are %+v; want all three settings", tg.findings)
	}
}
