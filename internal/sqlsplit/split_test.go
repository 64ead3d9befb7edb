package sqlsplit

import (
	"strings"
	"testing"
)

func TestSplit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		text     string
		nonStd   bool
		want     []string // the counted statements, without blanks around and ';'
		refusing string   // a word for what must have been noticed
	}{
		{name: "nothing", text: "", want: nil},
		{name: "blanks and comments only", text: " \n-- a; b\n/* c; /* d; */ e; */ ;; ; ", want: nil},
		{name: "two and an empty one", text: "SELECT 1;; SELECT 2", want: []string{"SELECT 1", "SELECT 2"}},
		{name: "string with a semicolon", text: "SELECT 'a;''b;';SELECT 2", want: []string{"SELECT 'a;''b;'", "SELECT 2"}},
		{name: "standard string ends at a backslash", text: `SELECT 'a\';SELECT 2`, want: []string{`SELECT 'a\'`, "SELECT 2"}},
		{name: "old string", text: `SELECT 'a\';SELECT 2'`, nonStd: true, want: []string{`SELECT 'a\';SELECT 2'`}},
		{name: "escape string", text: `SELECT E'a\';b';SELECT e'\\';SELECT 3`, want: []string{`SELECT E'a\';b'`, `SELECT e'\\'`, "SELECT 3"}},
		{name: "e at the end of an identifier", text: `SELECT type'a\';SELECT 2`, want: []string{`SELECT type'a\'`, "SELECT 2"}},
		{name: "escape string continued", text: "SELECT E'a' -- x\n 'b\\';c';SELECT 2", want: []string{"SELECT E'a' -- x\n 'b\\';c'", "SELECT 2"}},
		{name: "not continued on the same line", text: "SELECT E'a' 'b\\';SELECT 2", want: []string{"SELECT E'a' 'b\\'", "SELECT 2"}},
		{name: "unicode and bit strings", text: `SELECT U&'\0041;', b'1;', X'f;', N'x;', U&";";SELECT 2`, want: []string{`SELECT U&'\0041;', b'1;', X'f;', N'x;', U&";"`, "SELECT 2"}},
		{name: "quoted identifier", text: `SELECT 1 AS "a;""b;";SELECT 2`, want: []string{`SELECT 1 AS "a;""b;"`, "SELECT 2"}},
		{name: "dollar quotes", text: "DO $$ a; $x$ b; $$;DO $x$ $$;$y$ $x$;SELECT 3", want: []string{"DO $$ a; $x$ b; $$", "DO $x$ $$;$y$ $x$", "SELECT 3"}},
		{name: "dollar quote with a non-ASCII tag", text: "DO $é$ ; $é$;SELECT 2", want: []string{"DO $é$ ; $é$", "SELECT 2"}},
		{name: "parameter is not a quote", text: "SELECT $1;SELECT $1$", want: []string{"SELECT $1", "SELECT $1$"}},
		{name: "dollar inside an identifier", text: "SELECT a$$;SELECT b$$", want: []string{"SELECT a$$", "SELECT b$$"}},
		{name: "comment after an operator", text: "SELECT 1+--;\n2;SELECT 3-/*;*/1", want: []string{"SELECT 1+--;\n2", "SELECT 3-/*;*/1"}},
		{name: "comment ended by a carriage return", text: "-- a\rSELECT 1;SELECT 2", want: []string{"SELECT 1", "SELECT 2"}},
		{name: "rule", text: "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2);SELECT 3", want: []string{"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", "SELECT 3"}},
		{
			name: "SQL body",
			text: "CREATE OR REPLACE FUNCTION f(x int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE x WHEN 1 THEN 2 END; END;SELECT 2",
			want: []string{"CREATE OR REPLACE FUNCTION f(x int) RETURNS int BEGIN ATOMIC SELECT 1; SELECT CASE x WHEN 1 THEN 2 END; END", "SELECT 2"},
		},
		{name: "transaction control", text: "BEGIN; SELECT 1; END; SELECT 2;", want: []string{"BEGIN", "SELECT 1", "END", "SELECT 2"}},
		{name: "function that is called begin", text: "CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1';SELECT 2", want: []string{"CREATE FUNCTION begin() RETURNS int LANGUAGE sql AS 'SELECT 1'", "SELECT 2"}},
		{name: "too many closing parentheses", text: "SELECT 1);SELECT 2", want: []string{"SELECT 1)", "SELECT 2"}},
		{name: "psql", text: "SELECT 1;\n\\i other.sql\n", want: []string{"SELECT 1", "\\i other.sql"}, refusing: "backslash"},
		{name: "copy in", text: "COPY public.t (a, b) FROM stdin WITH (FORMAT csv);", want: []string{"COPY public.t (a, b) FROM stdin WITH (FORMAT csv)"}, refusing: "copyIn"},
		{name: "copy out of a query that mentions it", text: "COPY (SELECT 'FROM STDIN') TO STDOUT", want: []string{"COPY (SELECT 'FROM STDIN') TO STDOUT"}},
		{name: "copy from a file that is called stdin", text: "COPY t FROM 'stdin'", want: []string{"COPY t FROM 'stdin'"}},
		{name: "copy of a table that is called stdin", text: `COPY stdin FROM PROGRAM 'x'`, want: []string{`COPY stdin FROM PROGRAM 'x'`}},
		{name: "unclosed string", text: "SELECT 'a;", want: []string{"SELECT 'a;"}, refusing: "open"},
		{name: "unclosed dollar quote", text: "DO $$ a;", want: []string{"DO $$ a;"}, refusing: "open"},
		{name: "unclosed comment", text: "SELECT 1 /* /* */ ;", want: []string{"SELECT 1"}, refusing: "open"},
		{name: "unclosed identifier", text: `SELECT "a;`, want: []string{`SELECT "a;`}, refusing: "open"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var got []string
			noticed := ""
			for _, s := range Split(test.text, !test.nonStd) {
				switch {
				case s.Backslash >= 0:
					noticed = "backslash"
				case s.CopyIn:
					noticed = "copyIn"
				case s.Open:
					noticed = "open"
				}
				if s.First >= 0 {
					got = append(got, test.text[s.First:s.Last])
				}
			}
			if strings.Join(got, "|") != strings.Join(test.want, "|") {
				t.Errorf("statements of %q:\n got %q\nwant %q", test.text, got, test.want)
			}
			if noticed != test.refusing {
				t.Errorf("noticed in %q: %q, want %q", test.text, noticed, test.refusing)
			}
		})
	}
}

func FuzzSplit(f *testing.F) {
	for _, seed := range []string{
		"SELECT 1;", "E'\\", "$$", "$a$;$a$", "/*/**/", "--\r\n;", "CREATE FUNCTION f() BEGIN ATOMIC CASE END; END;", "U&'\\", "N'", "((;", "\\\x00", "\xff'\xff",
		"E'a'\n--\n'b'", "COPY t FROM STDIN;\n1\t2\n\\.\n",
	} {
		f.Add(seed, true)
	}
	f.Fuzz(func(t *testing.T, text string, standard bool) {
		at := 0
		for _, s := range Split(text, standard) {
			if s.Begin != at || s.End <= s.Begin || s.End > len(text) {
				t.Fatalf("pieces of %q are not contiguous: %+v after %d", text, s, at)
			}
			if s.First >= 0 && (s.First < s.Begin || s.Last <= s.First || s.Last > s.End) {
				t.Fatalf("statement outside its piece in %q: %+v", text, s)
			}
			if s.Backslash >= 0 && text[s.Backslash] != '\\' {
				t.Fatalf("no backslash at %d of %q", s.Backslash, text)
			}
			at = s.End
		}
		if at != len(text) {
			t.Fatalf("pieces of %q end at %d of %d bytes", text, at, len(text))
		}
	})
}
