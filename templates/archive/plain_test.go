package archive

import (
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

//go:embed testdata/plain.sql
var plainScript string

func openBytes(tb testing.TB, data []byte) (*Archive, error) {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "dump")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		tb.Fatal(err)
	}
	a, err := Open(tb.Context(), path)
	if err == nil {
		tb.Cleanup(func() { _ = a.Close() })
	}
	return a, err
}

func TestPlain(t *testing.T) {
	t.Parallel()
	a, err := openBytes(t, []byte(plainScript))
	if err != nil {
		t.Fatal(err)
	}
	if h := a.Header; a.Format != Plain || h.Database != "shop" || h.ServerMajor() != 16 || h.DumpVersion != "17.2" || h.CreatedAt.Format("2006-01-02 15:04:05") != "2026-03-04 05:06:07" {
		t.Errorf("the header is %+v", h)
	}
	var got []string
	for i := range a.Entries {
		e := &a.Entries[i]
		var on []string
		for _, id := range e.Dependencies {
			on = append(on, a.Entries[id-1].Tag)
		}
		got = append(got, fmt.Sprintf("%d %s %q.%q %q", e.Section, e.Kind, e.Schema, e.Tag, on))
	}
	want := []string{
		`2 DATABASE "".'shop' []`, `2 SCHEMA "".'line|break' []`, `2 EXTENSION "".'citext' []`, `2 COMMENT "".'EXTENSION citext' ['citext']`,
		`2 FUNCTION 'public'.'tricky(text)' []`, `2 FUNCTION 'public'.'atomic(integer)' []`, `2 TABLE 'public'.'t' ['citext']`,
		`2 COMMENT 'public'.'COLUMN t.id' ['t']`, `2 TABLE 'line|break'.'a|b' ['line|break']`, `2 VIEW 'public'.'v' ['tricky(text)' 't']`,
		`3 TABLE DATA 'public'.'t' ['t']`, `3 TABLE DATA 'line|break'.'a|b' ['line|break' 'a|b']`, `3 SEQUENCE SET 'public'.'t_id_seq' []`,
		`3 BLOB METADATA "".'16648' []`, `3 BLOBS "".'16648' []`,
		`4 CONSTRAINT 'public'.'t t_pkey' ['t']`, `4 CONSTRAINT 'public'.'t t_email' ['t']`, `4 VIEW 'public'.'grouped' ['t' 't t_pkey']`,
		`4 RULE 'public'.'t shout' ['t']`, `4 FK CONSTRAINT 'line break'.'a b a b_t_fkey' ['a|b' 't' 't t_pkey']`,
		`2 ENCODING "".'ENCODING' []`, `2 SEARCHPATH "".'SEARCHPATH' []`,
	}
	for i := range want {
		want[i] = strings.NewReplacer("'", `"`, "|", `\n`).Replace(want[i])
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("the entries are\n%s\nfrom %d on; want\n%s", strings.Join(got[min(i, len(got)):], "\n"), i, strings.Join(want[min(i, len(want)):], "\n"))
		}
	}
	rows, err := a.Rows(t.Context(), &a.Entries[10], nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(rows)
	if start := strings.Index(plainScript, "1\t\\\\."); err != nil || string(text) != plainScript[start:start+strings.Index(plainScript[start:], "\n\\.\n")+1] {
		t.Errorf("the rows are %q, %v", text, err)
	}
	if definition := a.Entries[6].Definition; !strings.HasSuffix(definition, "email public.citext  \n);\n") || strings.Contains(definition, "OWNER") {
		t.Errorf("the table is %q", definition)
	}
	if definition := a.Entries[5].Definition; !strings.HasSuffix(definition, "\nEND;\n") {
		t.Errorf("the function is %q", definition)
	}
}

// TestNeedsRestore changes the script into ones that pg_dump does not write for a database.
func TestNeedsRestore(t *testing.T) {
	t.Parallel()
	for name, change := range map[string][2]string{
		"INSERT statements":     {"COPY public.t (id, \"semi;colon\", dollar$name, email) FROM stdin;\n", "INSERT INTO public.t VALUES (1, 'x');\n\n-- "},
		"two databases":         {"\\unrestrict abc123\n\n", "\\connect other\n"},
		"another psql command":  {"\\connect shop", "\\! rm -rf /"},
		"a statement before":    {"DROP TABLE IF EXISTS public.t;", "CREATE TABLE x ();"},
		"a statement behind":    {"\\unrestrict abc123\n\n", "SELECT 1;"},
		"a second dump":         {"\\unrestrict abc123\n\n", "--\n-- PostgreSQL database dump\n--\n"},
		"an old search path":    {"SELECT pg_catalog.set_config('search_path', '', false);", "SET search_path = public, pg_catalog;"},
		"old strings":           {"standard_conforming_strings = on", "standard_conforming_strings = off"},
		"another encoding":      {"SET check_function_bodies = false", "SET client_encoding = 'LATIN1'"},
		"through another table": {"COPY public.t (", "COPY public.parent ("},
		"rows from a program":   {"dollar$name, email) FROM stdin;", "dollar$name, email) FROM PROGRAM 'x';"},
		"tables behind rows":    {"Type: BLOB METADATA", "Type: TABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := strings.Replace(plainScript, change[0], change[1], 1)
			if script == plainScript {
				t.Fatalf("the script has no %q", change[0])
			}
			if _, err := openBytes(t, []byte(script)); !NeedsRestore(err) || mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
				t.Errorf("open: %v; want an error that NeedsRestore recognises", err)
			}
		})
	}
}

func TestDetect(t *testing.T) {
	t.Parallel()
	data := makeArchive(t, 16, "gzip", true)
	for _, c := range []struct {
		name, text string
		want       Format
	}{
		{"custom", string(data), Custom}, {"plain", plainScript, Plain},
		{"cluster", "--\n-- PostgreSQL database cluster dump\n--\n\nSET x = 1;\n", Script}, {"by hand", "\n/* mine */\ncreate table x();\n", Script},
		{"toc", string(makeTOC(t, formatDirectory)), Unknown}, {"noise", strings.Repeat("noise", 1000), Unknown}, {"empty", "", Unknown},
		{"zip", "PK\x03\x04abc", Unknown}, {"binary", "SELECT 1;\x00\x01", Unknown},
		{"tar", string(makeTar(t, formatTar)), Tar}, {"backup", string(tarOf(t, "data/PG_VERSION", "15")), BaseBackup}, {"other tar", string(tarOf(t, "x", "y")), Unknown},
	} {
		for _, how := range []Compression{CompressionNone, CompressionGzip, CompressionZstd, CompressionLZ4} {
			path := filepath.Join(t.TempDir(), "dump")
			if err := os.WriteFile(path, packWhole(t, how, []byte(c.text)), 0o600); err != nil {
				t.Fatal(err)
			}
			format, compression, err := Detect(path)
			if format != c.want || compression != how || (err == nil) != (c.want != Unknown) {
				t.Errorf("%s in %s: detected %s in %s, %v", c.name, how, format, compression, err)
			}
			if err != nil && (mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid || mayfly.ErrorHint(err) == "") {
				t.Errorf("%s in %s: %q, %v has no hint", c.name, how, mayfly.ErrorCode(err), err)
			}
		}
	}
}

// TestNamesInStatements finds names with schemas, and nothing that only looks so.
func TestNamesInStatements(t *testing.T) {
	t.Parallel()
	for statement, want := range map[string][]name{
		`SELECT a.b, "x ""y".z FROM (public.t JOIN s.u USING (id))`:               {{"a", "b"}, {`x "y`, "z"}, {"public", "t"}, {"s", "u"}},
		`COMMENT ON COLUMN public.t.c IS 'not.this'`:                              {{"public", "t"}},
		`SELECT E'it\'s not.this', $$not.this$$, $a$not.this$$not.this$a$, s.f()`: {{"s", "f"}},
		`CREATE OPERATOR public.=== (FUNCTION = public.eq)`:                       {{"public", "==="}, {"public", "eq"}},
		`SELECT 1.5, pg_catalog.now(), $1.x`:                                      {{"1", "5"}, {"1", "x"}},
	} {
		if got := names(tokenize(statement)); !slices.Equal(got, want) {
			t.Errorf("the names in %s are %v; want %v", statement, got, want)
		}
	}
}
