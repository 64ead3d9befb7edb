package sanitize_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

// domainTables hold the same addresses in every kind of place.
func domainTables() []sanitize.Table {
	pair := &sanitize.DataType{Name: "public.pair", Kind: sanitize.TypeComposite, Fields: []sanitize.Field{
		{Name: "address", Type: &sanitize.DataType{Name: "text"}}, {Name: "kind", Type: &sanitize.DataType{Name: "text"}},
	}}
	return []sanitize.Table{
		{Schema: "public", Name: "a", Columns: []sanitize.Column{
			{Name: "plain", Type: "text", Unique: true},
			{Name: "short", Type: "character varying(30)", MaxLength: 30},
			{Name: "list", Type: "text[]"},
			{Name: "document", Type: "jsonb"},
			{Name: "pair", Type: "public.pair", Inner: pair},
			{Name: "store", Type: "public.hstore"},
		}},
		{Schema: "public", Name: "b", Columns: []sanitize.Column{{Name: "plain", Type: "text", References: []string{"public.a.plain"}}}},
	}
}

const domainRules = `
version: 1
domains:
  mail: email
tables:
  public.a:
    columns:
      plain: {domain: mail}
      short: {mask: email, domain: mail}
      list: {domain: mail}
      document: {mask: json, paths: {"$..mail": {domain: mail}, "$.all[*]": {domain: mail}}}
      pair: {mask: composite, fields: {address: {domain: mail}, kind: keep}}
      store: {mask: hstore, entries: {mail: {domain: mail}}}
  public.b:
    columns:
      plain: {domain: mail}
`

func TestADomainIsOneMappingEverywhere(t *testing.T) {
	t.Parallel()
	plan := planFor(t, domainRules, domainTables()...)
	b := strings.TrimSpace(maskText(t, plan.Table("public", "b"), "jane@corp.example\n"))
	if len(b) > 30 || !strings.HasSuffix(b, "@example.com") {
		t.Errorf("the result %q does not fit the shortest column of the domain", b)
	}
	got := maskText(t, plan.Table("public", "a"), "jane@corp.example\tjane@corp.example\t{jane@corp.example,NULL}\t"+
		`{"deep": [{"mail": "jane@corp.example"}], "all": ["jane@corp.example"]}`+"\t(jane@corp.example,home)\t\"mail\"=>\"jane@corp.example\"\n")
	want := fmt.Sprintf("%[1]s\t%[1]s\t{%[1]s,NULL}\t{\"deep\": [{\"mail\": \"%[1]s\"}], \"all\": [\"%[1]s\"]}\t(%[1]s,home)\t\"mail\"=>\"%[1]s\"\n", b)
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// observed writes down what an Observer is shown.
type observed struct{ seen []string }

func (o *observed) Original(column int, value []byte) {
	o.seen = append(o.seen, fmt.Sprintf("%d original %s", column, value))
}

func (o *observed) Result(column int, value []byte) {
	o.seen = append(o.seen, fmt.Sprintf("%d result %s", column, value))
}

func TestADomainTakesForEqualWhatOneOfItsColumnsDoes(t *testing.T) {
	t.Parallel()
	tables := []sanitize.Table{{Schema: "public", Name: "t", Columns: []sanitize.Column{
		{Name: "folded", Type: "public.citext", Unique: true},
		{Name: "plain", Type: "text"},
		{Name: "padded", Type: "character(40)", MaxLength: 40},
		{Name: "document", Type: "jsonb"},
	}}}
	const row = "Jane@Corp.example\tJane@corp.example\tjane@corp.example   \t{\"a\": \"JANE@corp.example\"}\n"
	for name, rules := range map[string]string{
		"declared": `
version: 1
domains: {mail: email}
tables:
  public.t:
    columns: {folded: {domain: mail}, plain: {domain: mail}, padded: {domain: mail}, document: {mask: json, paths: {$.a: {domain: mail}}}}`,
		"named": `
version: 1
tables:
  public.t:
    columns: {folded: {mask: token, domain: d, length: 20}, plain: {mask: token, domain: d, length: 20}, padded: {mask: token, domain: d, length: 20}, document: {mask: json, paths: {$.a: {mask: token, domain: d, length: 20}}}}`,
		"not named": `
version: 1
tables:
  public.t: {columns: {folded: email, plain: email, padded: redact, document: {mask: json, paths: {$.a: email}}}}`,
	} {
		got := strings.Split(strings.TrimSuffix(maskText(t, planFor(t, rules, tables...).Table("public", "t"), row), "\n"), "\t")
		if got[1] != got[0] || got[3] != `{"a": "`+got[0]+`"}` || (name != "not named" && got[2] != got[0]) {
			t.Errorf("a domain that is %s gives %q: an address has several results, though one column ignores case", name, got)
		}
	}
	tokens := `
version: 1
tables:
  public.t: {columns: {folded: token, plain: token, padded: redact, document: redact}}`
	got := strings.Split(maskText(t, planFor(t, tokens, tables...).Table("public", "t"), row), "\t")
	if got[0] == got[1] {
		t.Error("case is ignored in a text whose tokens nobody put into a domain: two of them could become one")
	}
}

func TestObserversSeeWhatIsMasked(t *testing.T) {
	t.Parallel()
	table := domainTables()[0]
	table.Columns[0].Unique = false
	table.Columns = append(table.Columns, sanitize.Column{Name: "gone", Type: "text"}, sanitize.Column{Name: "fixed", Type: "text"}, sanitize.Column{Name: "kept", Type: "text"})
	plan := planFor(t, `
version: 1
tables:
  public.a:
    columns:
      plain: redact
      short: {mask: person_name, part: first}
      list: redact
      document: {mask: json, keys: mask, paths: {$.kept: keep, $.gone: "null"}}
      pair: {mask: composite, fields: {address: redact, kind: keep}}
      store: hstore
      gone: "null"
      fixed: {mask: static, value: same}
      kept: keep
`, table)
	masker := plan.Table("public", "a")
	w := masker.Writer(io.Discard)
	o := &observed{}
	w.Observe(o)
	key := strings.Split(maskText(t, masker, "\t\t\t{\"k1\": 1}\t\t\t\t\t\n"), `"`)[1]
	name := strings.Split(maskText(t, masker, "\tJane\\\\\t\t\t\t\t\t\t\n"), "\t")[1]
	input := `a\nb` + "\tJane\\\\\t{cd,NULL,\"\"}\t" + `{"kept": "k", "gone": "g", "k1": ["ef", 12, null, true]}` + "\t(gh,kind)\t\"hk\"=>\"ij\"\tkl\tmn\tkept\n"
	for range 2 {
		if _, err := w.Write([]byte(input)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{
		"0 original a\nb", "0 result x\nx", `1 original Jane\`, "1 result " + name, "2 original cd", "2 result xx", "3 original g", "3 original k1", "3 result " + key, "3 original ef", "3 result xx",
		"3 original 12", "3 result 0", "4 original gh", "4 result xx", "5 original ij", "5 result xx", "6 original kl", "7 original mn", "7 result same",
	}
	if want = append(want, want...); !reflect.DeepEqual(o.seen, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(o.seen, "\n"), strings.Join(want, "\n"))
	}
}

func TestJSONPathsOfADocument(t *testing.T) {
	t.Parallel()
	plan := planFor(t, `
version: 1
tables:
  public.a:
    columns:
      plain: keep
      short: keep
      list: keep
      document: {mask: json, default: keep, paths: {"$..mail": email, $.deep.kept: keep, "$.all[*]": redact}}
      pair: keep
      store: keep
`, domainTables()[0])
	paths, ok := plan.JSONPaths("public", "a", "document", []byte(`{"mail": "x", "deep": {"kept": 1, "new": null}, "all": ["x", ["y"]], "jane@corp.example": {"mail": "z"}, "a-b": true, "none": []}`))
	var got []string
	for _, p := range paths {
		got = append(got, fmt.Sprintf("%s %t %s %s", p.Path, p.Named, p.Transformer, p.Rule))
	}
	want := []string{
		"$.*.mail true email rules.yaml:9:64", "$.all[*] true redact rules.yaml:9:102", "$.all[*][*] true redact rules.yaml:9:102", "$.deep.kept true keep rules.yaml:9:84",
		"$.deep.new false keep ", "$.mail true email rules.yaml:9:64", `$["a-b"] false keep `,
	}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q (%t)\nwant %q", got, ok, want)
	}
	for name, call := range map[string][3]string{"not JSON": {"a", "document", "{"}, "another column": {"a", "plain", "{}"}, "no column": {"a", "x", "{}"}, "no table": {"x", "x", "{}"}, "nothing": {"a", "document", ""}} {
		if paths, ok := plan.JSONPaths("public", call[0], call[1], []byte(call[2])); ok || paths != nil {
			t.Errorf("%s: %v", name, paths)
		}
	}
}

// structureRefusals are rules for a table with one column c and other things that the rules say of it.
func structureRefusals() []struct {
	name  string
	spec  string
	table sanitize.Table
} {
	column := func(typ string, inner *sanitize.DataType) sanitize.Table {
		return sanitize.Table{Columns: []sanitize.Column{{Name: "c", Type: typ, Inner: inner}}}
	}
	kept := func(nullable bool) sanitize.Column {
		return sanitize.Column{Name: "k", Type: "integer", NotNull: !nullable, PrimaryKey: !nullable}
	}
	with := func(u sanitize.Unique, more ...sanitize.Unique) sanitize.Table {
		u.Name = "index"
		return sanitize.Table{Columns: []sanitize.Column{{Name: "c", Type: "text"}, kept(false)}, Uniques: append([]sanitize.Unique{u}, more...)}
	}
	return []struct {
		name  string
		spec  string
		table sanitize.Table
	}{
		{"an element of another type", "phone", column("integer[]", nil)},
		{"elements that are too short", "email", column("character varying(12)[]", nil)},
		{"elements of enums", "redact", column("public.mood[]", &sanitize.DataType{Name: "public.mood[]", Kind: sanitize.TypeArray, Element: &sanitize.DataType{Name: "public.mood", EnumLabels: []string{"sad"}}})},
		{"the one label of an enum", "enum_label", column("public.mood[]", &sanitize.DataType{Name: "public.mood[]", Kind: sanitize.TypeArray, Element: &sanitize.DataType{Name: "public.mood", EnumLabels: []string{"sad"}}})},
		{"a range without its order", "{mask: date_shift, by: value}", column("daterange", nil)},
		{"a range of numbers", "number", column("int4range", nil)},
		{"a multirange without its order", "number", column("nummultirange", nil)},
		{"a range of texts", "redact", column("public.textrange", &sanitize.DataType{Name: "public.textrange", Kind: sanitize.TypeRange, Element: &sanitize.DataType{Name: "text"}})},
		{"a composite without fields' rules", "{mask: composite, fields: {name: redact}}", column("public.person", personType())},
		{"a field that the type does not have", "{mask: composite, fields: {nam: redact}}", column("public.person", personType())},
		{"a field of another type", "{mask: composite, fields: {name: redact, kept: email, tags: keep, gone: keep, born: keep}}", column("public.person", personType())},
		{"a field that is too short", "{mask: composite, fields: {name: {mask: token, length: 41}, kept: keep, tags: keep, gone: keep, born: keep}}", column("public.person", personType())},
		{"a composite that is none", "{mask: composite, fields: {name: redact}}", column("text", nil)},
		{"hstore that is none", "hstore", column("jsonb", nil)},
		{"a value that hstore cannot hold", "{mask: hstore, entries: {a: number}}", column("hstore", nil)},
		{"bytes with a prefix", "{mask: token, prefix: x}", column("bytea", nil)},
		{"half a byte", "{mask: token, length: 7}", column("bytea", nil)},
		{"a unique index of two columns", "person_name", with(sanitize.Unique{Columns: []string{"k", "c"}})},
		{"a unique index where NULLs are equal", `"null"`, with(sanitize.Unique{Columns: []string{"c"}, NullsNotDistinct: true})},
		{"the condition of a unique index", "email", with(sanitize.Unique{Columns: []string{"k"}, Predicate: []string{"c"}})},
		{"an exclusion constraint", "redact", with(sanitize.Unique{Columns: []string{"c"}, Exclusion: true}, sanitize.Unique{Columns: []string{"k"}})},
		{"an expression with two columns", "city", with(sanitize.Unique{Columns: []string{"c", "k"}, Expression: true})},
	}
}

func TestStructuresAndConstraintsThatAreRefused(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, c := range structureRefusals() {
		c.table.Schema, c.table.Name = "public", "t"
		plan, err := parse(t, "version: 1\ntypes: {integer: keep}\ntables:\n  public.t:\n    columns:\n      c: "+c.spec+"\n").Plan([]sanitize.Table{c.table}, testKey)
		if err == nil || plan != nil {
			t.Errorf("%s: accepted", c.name)
			continue
		}
		fmt.Fprintf(&out, "== %s\n%s: %v\n-- %s\n", c.name, mayfly.ErrorCode(err), err, strings.TrimSpace(mayfly.ErrorHint(err)))
	}
	golden(t, "structure_refusals.golden", out.String())
}

func TestUniqueIndexesThatStillHold(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, spec string
		uniques    []sanitize.Unique
	}{
		{"a keyed mapping", "email", []sanitize.Unique{{Columns: []string{"c", "k"}}}},
		{"NULLs that differ", `"null"`, []sanitize.Unique{{Columns: []string{"c", "k"}}}},
		{"a smaller key guarantees it", "city", []sanitize.Unique{{Columns: []string{"k"}}, {Columns: []string{"c", "k"}}, {Columns: []string{"k", "c"}, Predicate: []string{"c"}}}},
		{"the condition reads what is kept", "email", []sanitize.Unique{{Columns: []string{"c"}, Predicate: []string{"k"}}}},
	} {
		table := sanitize.Table{Schema: "public", Name: "t", Uniques: c.uniques, Columns: []sanitize.Column{{Name: "c", Type: "text"}, {Name: "k", Type: "integer", NotNull: true}}}
		if _, err := parse(t, "version: 1\ntables: {public.t: {columns: {c: "+c.spec+", k: keep}}}").Plan([]sanitize.Table{table}, testKey); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestConditionsForRows(t *testing.T) {
	t.Parallel()
	table := func(name string) sanitize.Table {
		return sanitize.Table{Schema: "public", Name: name, Columns: []sanitize.Column{{Name: "n", Type: "integer"}}}
	}
	plan := planFor(t, "version: 1\ntypes: {integer: keep}\ntables: {public.a: {rows: {where: n > 1}}, public.b: {rows: {drop: n > 1}}, public.c: {truncate: true}}", table("a"), table("b"), table("c"), table("d"))
	for name, want := range map[string]string{"a": "n > 1", "b": "(n > 1) IS NOT TRUE", "c": "", "d": ""} {
		m := plan.Table("public", name)
		if m.Where() != want || m.Rows() != (name != "c") {
			t.Errorf("%s: where %q, rows %t", name, m.Where(), m.Rows())
		}
	}
}

func TestProbesSuggestWhatConstraintsAllow(t *testing.T) {
	t.Parallel()
	table := sanitize.Table{Schema: "public", Name: "t", Columns: []sanitize.Column{{Name: "c", Type: "character varying(12)", MaxLength: 12, NotNull: true}, {Name: "k", Type: "integer"}}}
	for expression, want := range map[string]string{
		`((c)::text = ANY (ARRAY['red'::text, 'it''s'::text]))`: "it's",
		`((c)::text ~ '^[A-Z]{2}-[0-9]{3,}$'::text)`:            "AA-000",
		`((c)::text ~~ '%@x.y'::text)`:                          "abc@x.y",
		`(char_length((c)::text) = 7)`:                          "7777777",
	} {
		table.Checks = []sanitize.Check{{Name: "check", Expression: expression, Columns: []string{"c"}}}
		probes := planFor(t, "version: 1\ntables: {public.t: {columns: {c: redact, k: keep}}}", table).Probes()
		if len(probes) != 1 {
			t.Fatalf("%s: %d probes", expression, len(probes))
		}
		found := false
		for i, row := range probes[0].Before {
			found = found || *row[0] == want
			if len(*row[0]) > 24 || strings.Trim(*probes[0].After[i][0], "x -'") == *row[0] {
				t.Errorf("%s: %q becomes %q", expression, *row[0], *probes[0].After[i][0])
			}
		}
		if !found {
			t.Errorf("%s: %q is not among the samples", expression, want)
		}
		p := probes[0]
		verdicts := func(first sanitize.Verdict) []sanitize.Verdict { return []sanitize.Verdict{first, sanitize.Holds} }
		for _, c := range []struct {
			before, after sanitize.Verdict
			refused       bool
		}{{sanitize.Holds, sanitize.Fails, true}, {sanitize.Fails, sanitize.Fails, false}, {sanitize.Unknown, sanitize.Fails, false}, {sanitize.Holds, sanitize.Unknown, false}} {
			err := p.Judge(verdicts(c.before), verdicts(c.after))
			if (err != nil) != c.refused || err != nil && (mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), "redact for public.t.c: results can break the constraint check of public.t, "+expression)) {
				t.Errorf("before %d, after %d: %v", c.before, c.after, err)
			}
		}
	}
}

// TestResultsAreRemembered masks more values than a cache holds, over and over: a result must not depend on it.
func TestResultsAreRemembered(t *testing.T) {
	t.Parallel()
	rules, table := oneColumn("{mask: person_name, part: first}", sanitize.Column{Type: "text"})
	m := planFor(t, rules, table).Table("public", "t")
	var once, all bytes.Buffer
	for i := range 9000 {
		fmt.Fprintf(&once, "Jane \\\\ %d\n", i)
	}
	want := maskText(t, m, once.String())
	w := m.Writer(&all)
	for range 4 {
		if _, err := w.Write(once.Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil || all.String() != strings.Repeat(want, 4) {
		t.Errorf("the same values became something else later (%v)", err)
	}
}

func TestProblemsAreInTheOrderOfTheFileWithTheLinesOfTheirHints(t *testing.T) {
	t.Parallel()
	_, err := parse(t, `version: 1
tables:
  public.b: {columns: {absent: keep, plain: keep}}
  public.a:
    columns: {plain: keep, short: keep, list: keep, document: keep, pair: keep, store: keep, gone: keep}
  public.c: {rows: none}
`).Plan(domainTables(), testKey)
	e, ok := errors.AsType[*mayfly.Error](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	where := regexp.MustCompile(`rules.yaml:(\d+)`).FindAllString(e.Message, -1)
	if !slices.IsSorted(where) || len(where) != 3 {
		t.Errorf("the problems are not in the order of the file: %s", e.Message)
	}
	if !strings.Contains(e.Hint, "line 3, 5, 6: remove") {
		t.Errorf("the hints do not say for which lines they are: %s", e.Hint)
	}
}
