package sanitize

import (
	"bytes"
	"strings"
	"testing"
)

// joinKind reads columns and joins what they become, for tests.
func joinBinding(results bool, columns ...string) binding {
	return binding{
		columns: columns, results: results, replaceNull: true,
		makeRow: func(row rowReader) maskFunc {
			return func(dst, _ []byte) []byte {
				for i := range row.columns() {
					value, null := row.value(i)
					if results {
						value, null = row.masked(i)
					}
					if null {
						value = []byte("nothing")
					}
					dst = append(append(dst, value...), '+')
				}
				return dst
			}
		},
	}
}

// rowTable binds columns a, b, … of a table public.t; NULL stands for a column that is kept.
func rowTable(bindings ...binding) (*TableMasker, []problem) {
	table := Table{Schema: "public", Name: "t"}
	for i := range bindings {
		table.Columns = append(table.Columns, Column{Name: string(rune('a' + i)), Type: "text"})
	}
	table.Columns = append(table.Columns, Column{Name: "computed", Type: "text", Generated: true})
	b := newBinder(&Rules{name: "rules.yaml"}, []Table{table}, nil)
	m := &TableMasker{schema: "public", name: "t", rows: true}
	var bound []*boundColumn
	for i, one := range bindings {
		bound = append(bound, &boundColumn{target: newTarget(&table, &table.Columns[i]), spec: &spec{mask: "join"}, binding: one})
		m.bound = append(m.bound, one)
		m.columns = append(m.columns, ColumnPlan{Column: table.Columns[i].Name})
	}
	b.planRows(&table, m, bound)
	return m, b.problems
}

func TestTransformersReadOtherColumns(t *testing.T) {
	t.Parallel()
	keep := binding{keep: true}
	redact := binding{make: func() maskFunc { return redactText }, escape: true}
	null := binding{constant: []byte(nullMarker)}
	for _, c := range []struct {
		name        string
		bindings    []binding
		input, want string
	}{
		{"originals", []binding{redact, joinBinding(false, "a", "c"), keep}, "a\\nb\tx\tk\n", "x\\nx\ta\\nb+k+\tk\n"},
		{"results", []binding{joinBinding(true, "b", "c"), redact, keep}, "x\tab\tk\\\\\n", "xx+k\\\\+\txx\tk\\\\\n"},
		{"NULL", []binding{joinBinding(true, "b", "c"), null, keep}, "\\N\tab\t\\N\n", "nothing+nothing+\t\\N\t\\N\n"},
		{"results of results", []binding{joinBinding(true, "b"), joinBinding(true, "c"), redact}, "\t\tab\n", "xx++\txx+\txx\n"},
		{"siblings", []binding{keep, func() binding { b := joinBinding(false); b.siblings = true; return b }(), redact}, "k\tx\tab\n", "k\tab+\txx\n"},
		{"two of each other's originals", []binding{joinBinding(false, "b"), joinBinding(false, "a")}, "1\t2\n", "2+\t1+\n"},
	} {
		m, problems := rowTable(c.bindings...)
		if len(problems) > 0 {
			t.Errorf("%s: %v", c.name, problems)
			continue
		}
		var out bytes.Buffer
		w := m.Writer(&out)
		for range 2 {
			if _, err := w.Write([]byte(c.input)); err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
		}
		if err := w.Close(); err != nil || out.String() != c.want+c.want {
			t.Errorf("%s: %q became %q, want %q twice (%v)", c.name, c.input, out.String(), c.want, err)
		}
	}
	m, _ := rowTable(joinBinding(false, "b"), redact)
	for input, want := range map[string]string{"1\n": "row 1 has 1 fields", "1\t2\t3\n": "row 1 has 3 fields"} {
		if _, err := m.Writer(&bytes.Buffer{}).Write([]byte(input)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", input, err)
		}
	}
}

func TestColumnsThatCannotBeReadAreRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name     string
		bindings []binding
		want     string
	}{
		{"no such column", []binding{joinBinding(false, "computer")}, "join of public.t.a reads the column computer, which the table does not have; did you mean computed?"},
		{"a generated column", []binding{joinBinding(false, "computed")}, "join of public.t.a reads computed, which is generated: PostgreSQL computes it later"},
		{"itself", []binding{joinBinding(true, "a")}, "join of table public.t need each other's results: a -> a"},
		{"a cycle", []binding{joinBinding(true, "b"), joinBinding(true, "c"), joinBinding(true, "b")}, "join of table public.t need each other's results: b -> c -> b"},
	} {
		_, problems := rowTable(c.bindings...)
		if len(problems) != 1 || problems[0].text != c.want {
			t.Errorf("%s: %v, want %s", c.name, problems, c.want)
		}
	}
}
