package templates

import (
	"cmp"
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/archive"
)

// TestDefinitions: JANE stands for an address, and ROW for what takes its place.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	const jane = "jane.roe@corp-one.com"
	shaper := newShaper(testKey())
	row := shaper.made(whatEmail, jane)
	const plain = "CREATE TABLE public.t (a text)"
	cases := []struct{ name, kind, sql, want, stuck string }{
		{"nothing", "TABLE", plain, plain, ""},
		{"a comment", "COMMENT", "COMMENT ON TABLE public.t IS 'it''s JANE''s';", "COMMENT ON TABLE public.t IS 'it''s ROW''s';", ""},
		{"a default", "TABLE", "CREATE TABLE t (a text DEFAULT 'JANE'::text)", "CREATE TABLE t (a text DEFAULT 'ROW'::text)", ""},
		{"an escaped default", "DEFAULT", `SET DEFAULT E'a\\b\'JANE'`, `SET DEFAULT E'a\\b''ROW'`, ""},
		{"escapes that hide", "DEFAULT", `SET DEFAULT E'` + `\x6aane.roe\100corp-one.com` + `'`, `SET DEFAULT E'ROW'`, ""},
		{"bytes", "DEFAULT", `SET DEFAULT '\x6a616e652e726f6540636f72702d6f6e652e636f6d'::bytea`, `SET DEFAULT '\x` + hexOf(row) + `'::bytea`, ""},
		{"a check", "TABLE", "CREATE TABLE t (a text, CONSTRAINT c CHECK (((a <> 'JANE'::text))))", "", roleCheck},
		{"a default beside a check", "TABLE", "CREATE TABLE t (a text DEFAULT 'JANE', CHECK ((a <> '')))", "CREATE TABLE t (a text DEFAULT 'ROW', CHECK ((a <> '')))", ""},
		{"a check of a domain", "DOMAIN", "CREATE DOMAIN d AS text CONSTRAINT c CHECK (VALUE <> 'JANE')", "", roleCheck},
		{"a check constraint", "CHECK CONSTRAINT", "ALTER TABLE t ADD CONSTRAINT c CHECK (a <> 'JANE') NOT VALID", "", roleCheck},
		{"a bound", "TABLE ATTACH", "ALTER TABLE ONLY p ATTACH PARTITION t FOR VALUES IN ('JANE');", "", roleBound},
		{"a partition key", "TABLE", "CREATE TABLE p (a text) PARTITION BY LIST ((a || 'JANE'))", "", roleBound},
		{"a label", "TYPE", "CREATE TYPE e AS ENUM ('a', 'JANE')", "", roleLabel},
		{"a name", "TABLE", `CREATE TABLE "JANE" (a text)`, "", roleCode},
		{"a view", "VIEW", "CREATE VIEW v AS SELECT 'JANE'::text AS m, 'x' AS \"JANES\"", "", roleCode},
		{"a dictionary", "TEXT SEARCH DICTIONARY", "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple, stopwords = 'JANE')", "", roleOther},
		{"a trigger", "TRIGGER", "CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION f('JANE', '2')", "CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION f('ROW', '2')", ""},
		{"a body", "FUNCTION", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ -- JANE\nSELECT 'JANE' /* JANE */ || $1 $_$;",
			"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ -- ROW\nSELECT 'ROW' /* ROW */ || $1 $_$;", ""},
		{"dynamic SQL", "FUNCTION", "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $_$ BEGIN EXECUTE 'SELECT ''JANE'''; EXECUTE $q$ x 'JANE' $q$; END $_$;",
			"CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $_$ BEGIN EXECUTE 'SELECT ''ROW'''; EXECUTE $q$ x 'ROW' $q$; END $_$;", ""},
		{"a quoted body", "FUNCTION", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''JANE''';", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS 'SELECT ''ROW''';", ""},
		{"an atomic body", "FUNCTION", "CREATE FUNCTION f(a text DEFAULT 'JANE') RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT 'JANE'; END;",
			"CREATE FUNCTION f(a text DEFAULT 'ROW') RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT 'ROW'; END;", ""},
		{"another language", "FUNCTION", "CREATE FUNCTION f() RETURNS text LANGUAGE plv8 AS $$ return 'JANE' $$;", "", "code in the language plv8"},
		{"code in a body", "FUNCTION", `CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT "JANE" $$;`, "", roleCode},
		{"a string in unicode escapes", "FUNCTION", `CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT U&'JANE' $$;`, "", roleForm},
		{"a string in two parts", "DEFAULT", "SET DEFAULT 'jane.roe'\n'@corp-one.com'", "SET DEFAULT 'ROW'", ""},
		{"a connection", "DEFAULT", "SET DEFAULT 'host=db password=hunter2-x user=x'", "SET DEFAULT 'host=db password=" + shaper.made("a password", "hunter2-x") + " user=x'", ""},
		{"a parameter", "DEFAULT", "SET DEFAULT 'SELECT 1 WHERE user = $1 AND password = $2'", "SET DEFAULT 'SELECT 1 WHERE user = $1 AND password = $2'", ""},
		{"what is nobody's", "VIEW", "SELECT '2024-01-02 10:11:12', '10.0.0.1', 'a@example.com', 'FOO-1234', '%s@%s', 9223372036854775807, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 3.14159265358979",
			"SELECT '2024-01-02 10:11:12', '10.0.0.1', 'a@example.com', 'FOO-1234', '%s@%s', 9223372036854775807, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 3.14159265358979", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			sql, want := strings.ReplaceAll(c.sql, "JANE", jane), strings.ReplaceAll(c.want, "ROW", row)
			f, err := newFinder()
			if err != nil {
				t.Fatal(err)
			}
			d := &definition{kind: c.kind, find: f.find, made: shaper.made}
			got := d.rewrite(sql)
			if c.stuck != "" {
				if !slices.ContainsFunc(d.stuck, func(s string) bool { return strings.HasSuffix(s, " in "+c.stuck) }) {
					t.Errorf("what cannot be replaced is %q; want something in %s", d.stuck, c.stuck)
				}
				return
			}
			if got != want || len(d.stuck) > 0 {
				t.Errorf("rewritten:\n got %s\nwant %s\nwhat cannot be replaced: %q", got, want, d.stuck)
			}
			if strings.Contains(got, jane) {
				t.Error("the value is still there")
			}
		})
	}
}

func hexOf(text string) string {
	const digits = "0123456789abcdef"
	var out strings.Builder
	for _, c := range []byte(text) {
		out.WriteByte(digits[c>>4])
		out.WriteByte(digits[c&15])
	}
	return out.String()
}

func TestCatalogRulesDecide(t *testing.T) {
	t.Parallel()
	entries := func() []archive.Entry {
		return []archive.Entry{
			{ID: 1, Kind: "COMMENT", Schema: "public", Tag: "TABLE t", Definition: "COMMENT ON TABLE public.t IS 'ask jane.roe@corp-one.com';"},
			{ID: 2, Kind: "VIEW", Schema: "public", Tag: "v", Definition: "CREATE VIEW public.v AS SELECT 'jane.roe@corp-one.com';"},
			{ID: 3, Kind: "TYPE", Schema: "public", Tag: "e", Definition: "CREATE TYPE public.e AS ENUM ('jane.roe@corp-one.com');"},
		}
	}
	const allow = ", allow: [{object: type public.e, reason: r}"
	cases := []struct{ name, rules, codes, message string }{
		{"by default", "{}", "comment_masked literal_masked value_in_definition", "type public.e: its definition holds email addresses in an enum label"},
		{"allowed", "{literals: mask" + allow + "]}", "comment_masked literal_masked", ""},
		{"refused", "{literals: refuse" + allow + "]}", "comment_masked value_in_definition", "view public.v: its definition holds email addresses"},
		{"kept", "{literals: keep, comments: keep}", "", ""},
		{"an allowance for nothing", "{literals: keep" + allow + "]}", "comment_masked", "s.yaml:2:35: nothing is recognised in type public.e"},
		{"another allowance for nothing", "{literals: mask" + allow + ", {object: view public.w, reason: r}]}", "comment_masked literal_masked", "nothing is recognised in view public.w"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rules, err := sanitize.Parse("s.yaml", []byte("version: 1\ncatalog: "+c.rules+"\n"))
			if err != nil {
				t.Fatal(err)
			}
			m, err := newCatalogMask(rules.Catalog(), testKey())
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries() {
				m.entry(&e)
				if m.masked[e.ID] == strings.Contains(e.Definition, "jane") {
					t.Errorf("%s %s: rewritten is %t: %s", e.Kind, e.Tag, m.masked[e.ID], e.Definition)
				}
			}
			var codes []string
			for _, f := range append(m.findings, m.refused...) {
				codes = append(codes, f.Code)
			}
			if got := strings.Join(codes, " "); got != c.codes {
				t.Errorf("findings are %s; want %s", got, c.codes)
			}
			err = cmp.Or(m.refuse(), m.unused(nil))
			if (err == nil) != (c.message == "") || err != nil && (!strings.Contains(err.Error(), c.message) || mayfly.ErrorHint(err) == "" || strings.Contains(err.Error()+mayfly.ErrorHint(err), "jane")) {
				t.Errorf("the verdict is %v (%s); want %q", err, mayfly.ErrorHint(err), c.message)
			}
		})
	}
}

// TestRecognisedInDefinitions plants one of each kind in a comment.
func TestRecognisedInDefinitions(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{
		"email addresses":       "Jane.Roe+x@corp-one.com",
		"JSON web tokens":       "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
		"API keys":              "ghp_" + "16C7e42F292c6912E7710c838347Ae178B4a",
		"URLs with credentials": "postgres://reader:s3cr3t-word@db.corp-one.com:5432/shop",
		"private keys":          "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\n-----END EC PRIVATE KEY-----",
		"payment card numbers":  "4111 1111 1111 1111",
		"IBANs":                 "DE89 3704 0044 0532 0130 00",
		"phone numbers":         "+49 30 90182 4567",
		"passwords":             "host=db.internal user=reader password=s3cr3t-word",
	} {
		f, err := newFinder()
		if err != nil {
			t.Fatal(err)
		}
		d := &definition{kind: "COMMENT", find: f.find, made: newShaper(testKey()).made}
		got := d.rewrite("COMMENT ON TABLE t IS 'see " + text + " for more'")
		if !slices.Contains(d.masked, what) {
			t.Errorf("%s: recognised are %q in %s", what, d.masked, got)
		}
		for _, word := range []string{"Roe", "corp", "eyJzdWI", "16C7", "s3cr3t", "MHcCAQ", "1111", "0532", "90182"} {
			if strings.Contains(got, word) {
				t.Errorf("%s: %q is left in %s", what, word, got)
			}
		}
	}
}

// TestJobsAndSettingsAreLeftOut: no image has pg_cron, but archives do.
func TestJobsAndSettingsAreLeftOut(t *testing.T) {
	t.Parallel()
	toc := &archive.Archive{Entries: []archive.Entry{
		{ID: 1, Kind: "EXTENSION", Tag: "pg_cron", Section: archive.SectionPreData, Definition: "CREATE EXTENSION IF NOT EXISTS pg_cron WITH SCHEMA pg_catalog;"},
		{ID: 2, Kind: "COMMENT", Tag: "EXTENSION pg_cron", Section: archive.SectionPreData, Definition: "COMMENT ON EXTENSION pg_cron IS 'x'", Dependencies: []int{1}},
		{ID: 3, Kind: "TABLE DATA", Schema: "cron", Tag: "job", Section: archive.SectionData, Copy: "COPY cron.job (command) FROM stdin;", HasData: true, Dependencies: []int{1}},
		{ID: 4, Kind: "POLICY", Schema: "cron", Tag: "job cron_job_policy", Section: archive.SectionPostData, Definition: "CREATE POLICY cron_job_policy ON cron.job", Dependencies: []int{1}},
		{ID: 5, Kind: "SECURITY LABEL", Schema: "public", Tag: "TABLE t", Section: archive.SectionPreData, Definition: "SECURITY LABEL FOR x ON TABLE t IS 'secret'"},
		{ID: 6, Kind: "DATABASE PROPERTIES", Tag: "shop", Section: archive.SectionPreData, Definition: "ALTER ROLE app IN DATABASE shop SET torture.secret TO 'secret';"},
		{ID: 7, Kind: "SUBSCRIPTION", Tag: "fed", Section: archive.SectionPostData, Definition: "CREATE SUBSCRIPTION fed CONNECTION 'password=secret' PUBLICATION p"},
		{ID: 8, Kind: "STATISTICS DATA", Schema: "public", Tag: "t", Section: archive.SectionData, Definition: "SELECT pg_restore_attribute_stats('most_common_vals', 'secret')"},
	}}
	chosen := choose(toc, mayfly.TemplatePolicy{})
	for _, e := range slices.Concat(chosen.preData, chosen.postData) {
		t.Errorf("%s %s would be restored", e.Kind, e.Tag)
	}
	loads, findings, err := (&archiveSource{toc: toc}).loads(&catalog{}, toc)
	if err != nil || len(loads) > 0 || len(findings) != 1 || findings[0].Code != codeRowsWithoutTable {
		t.Errorf("the rows of cron.job: %d loads, findings %+v, %v", len(loads), findings, err)
	}
}

// FuzzDefinition: only the contents of literals and comments change, whatever the SQL is.
func FuzzDefinition(f *testing.F) {
	f.Add("FUNCTION", "CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ SELECT 'a' || $1 /* b */ $_$;")
	f.Add("DEFAULT", `SET DEFAULT E'\x6a\'' || U&'\0041' || '\x6162' -- c`)
	f.Add("TABLE", `CREATE TABLE "a""b" (c text DEFAULT 'it''s' CHECK (c <> 'd')) PARTITION BY LIST (c)`)
	f.Fuzz(func(t *testing.T, kind, sql string) {
		same := &definition{kind: kind, find: func(string) []passage { return nil }, made: func(_, text string) string { return text }}
		if got := same.rewrite(sql); got != sql {
			t.Fatalf("%q becomes %q although nothing is found", sql, got)
		}
		all := &definition{kind: kind, made: newShaper(testKey()).made, find: func(text string) []passage { return []passage{{0, len(text), "x"}} }}
		before, after := rest(sql), rest(all.rewrite(sql))
		if before != after {
			t.Fatalf("%q: outside of literals there was %q, and now %q", sql, before, after)
		}
	})
}

// rest is what of a text is neither literal, comment nor number.
func rest(sql string) string {
	var out strings.Builder
	for _, token := range sqlsplit.Tokens(sql, true) {
		switch token.Kind {
		case sqlsplit.KindWord, sqlsplit.KindIdentifier, sqlsplit.KindSymbol:
			out.WriteString(sql[token.Begin:token.End] + " ")
		default:
			out.WriteString("… ")
		}
	}
	return out.String()
}

func TestTheHintAllowsAllThatWasRefused(t *testing.T) {
	t.Parallel()
	m := &catalogMask{refused: []Finding{{Object: "type public.e", Cause: "c"}, {Object: `view public."V"`, Cause: "c"}}}
	const want = `catalog: {allow: [{object: "type public.e", reason: …}, {object: "view public.\"V\"", reason: …}]}`
	if hint := mayfly.ErrorHint(m.refuse()); !strings.Contains(hint, want) {
		t.Errorf("the hint %s does not have %s", hint, want)
	}
}
