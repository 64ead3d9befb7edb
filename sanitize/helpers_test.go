package sanitize_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// testKey is 32 bytes that only tests use.
var testKey = []byte("a masking key of 32 bytes, tests")

// golden compares got with testdata/name, or writes it with -update.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (write it with -update)", err)
	}
	if got == string(want) {
		return
	}
	gotLines, wantLines := strings.Split(got, "\n"), strings.Split(string(want), "\n")
	for i := range max(len(gotLines), len(wantLines)) {
		g, w := "(end)", "(end)"
		if i < len(gotLines) {
			g = gotLines[i]
		}
		if i < len(wantLines) {
			w = wantLines[i]
		}
		if g != w {
			t.Fatalf("%s, line %d (rewrite with -update if this is wanted):\n got  %s\n want %s", path, i+1, g, w)
		}
	}
}

// parse parses a rules file that must be right.
func parse(tb testing.TB, text string) *sanitize.Rules {
	tb.Helper()
	rules, err := sanitize.Parse("rules.yaml", []byte(text))
	if err != nil {
		tb.Fatalf("parse: %v (%s)", err, text)
	}
	return rules
}

// planFor binds rules that must fit.
func planFor(tb testing.TB, text string, tables ...sanitize.Table) *sanitize.Plan {
	tb.Helper()
	plan, err := parse(tb, text).Plan(tables, testKey)
	if err != nil {
		tb.Fatalf("plan: %v", err)
	}
	return plan
}

// oneColumn is a table public.t with the one column, and rules that use the transformer for it.
func oneColumn(spec string, c sanitize.Column) (rules string, table sanitize.Table) {
	c.Name = "c"
	return "version: 1\ntables: {public.t: {columns: {c: " + spec + "}}}\n", sanitize.Table{Schema: "public", Name: "t", Columns: []sanitize.Column{c}}
}

// maskText runs COPY text through a table's writer.
func maskText(tb testing.TB, m *sanitize.TableMasker, input string) string {
	tb.Helper()
	var out bytes.Buffer
	w := m.Writer(&out)
	if _, err := w.Write([]byte(input)); err != nil {
		tb.Fatalf("write: %v", err)
	}
	if err := w.Close(); err != nil {
		tb.Fatalf("close: %v", err)
	}
	return out.String()
}

// maskOne masks one field, given and returned in COPY's text form, in a table of one column.
func maskOne(tb testing.TB, spec string, c sanitize.Column, field string) string {
	tb.Helper()
	rules, table := oneColumn(spec, c)
	return strings.TrimSuffix(maskText(tb, planFor(tb, rules, table).Table("public", "t"), field+"\n"), "\n")
}

// tableOf is a table of the schema public with columns that are written "name type".
func tableOf(name string, columns ...string) sanitize.Table {
	table := sanitize.Table{Schema: "public", Name: name}
	for _, c := range columns {
		column, typ, _ := strings.Cut(c, " ")
		table.Columns = append(table.Columns, sanitize.Column{Name: column, Type: typ})
	}
	return table
}
