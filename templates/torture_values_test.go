package templates

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// TestRandomValuesSurvive: whatever a source holds, rules that keep it give the same bytes, from a live source and from
// an archive. MAYFLY_TEST_SEEDS is how many random schemas there are, MAYFLY_TEST_SEED the first one's seed.
func TestRandomValuesSurvive(t *testing.T) {
	t.Parallel()
	number := func(name string, otherwise uint64) uint64 {
		if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
			return n
		}
		return otherwise
	}
	first := number("MAYFLY_TEST_SEED", 1)
	t.Logf("MAYFLY_TEST_SEED=%d", first)
	var statements, rules strings.Builder
	rules.WriteString("version: 1\ntables:\n")
	var tables []randomTable
	for i := range number("MAYFLY_TEST_SEEDS", 2) {
		s := &randomSchema{rnd: rand.New(rand.NewPCG(first+i, 0)), name: fmt.Sprintf("Seed %d", i)}
		tables = append(tables, s.make(&statements, &rules)...)
	}
	b := newBed(t)
	endpoint := sourceDatabase(t, statements.String())
	for _, c := range []struct {
		name   string
		source func() mayfly.Source
	}{
		{"live", func() mayfly.Source { return mayfly.Source{DSN: endpoint.DSN()} }},
		{"archive", func() mayfly.Source { return mayfly.Source{Archive: b.archiveOf(t, endpoint, true)} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req := request(t, c.source(), rules.String())
			result := b.build(t, req)
			_, template := b.clone(t, req.Template.ID, result.Image)
			source := pgtest.Cluster(t).Connect(t, endpoint.Database)
			for _, table := range tables {
				table.same(t, source, template)
			}
		})
	}
}

// randomTable is a table with the columns that are kept.
type randomTable struct {
	name string
	kept []string
}

// same compares the rows as COPY writes them, and the columns' names and types.
func (r *randomTable) same(t *testing.T, source, template *pgx.Conn) {
	t.Helper()
	columns := `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod) || ' ' || attnotnull, ', ' ORDER BY attnum)
		FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 AND NOT attisdropped`
	if got, want := value(t, template, columns, r.name), value(t, source, columns, r.name); got != want {
		t.Errorf("%s: the columns are %s; want %s", r.name, got, want)
	}
	got, want := copyOf(t, template, r), copyOf(t, source, r)
	if len(want) < 2 {
		t.Fatalf("%s: the source has %d rows", r.name, len(want)-1)
	}
	for i := range min(len(got), len(want)) {
		if bytes.Equal(got[i], want[i]) {
			continue
		}
		fields, wanted := bytes.Split(got[i], []byte("\t")), bytes.Split(want[i], []byte("\t"))
		for c := range min(len(fields), len(wanted), len(r.kept)) {
			if !bytes.Equal(fields[c], wanted[c]) {
				t.Errorf("%s: row %d, column %s: %.200q; want %.200q", r.name, i+1, r.kept[c], fields[c], wanted[c])
			}
		}
		return
	}
	if len(got) != len(want) {
		t.Errorf("%s: %d rows; want %d", r.name, len(got)-1, len(want)-1)
	}
}

func copyOf(t *testing.T, conn *pgx.Conn, r *randomTable) [][]byte {
	t.Helper()
	var out bytes.Buffer
	settings := "SET TimeZone = 'UTC'; SET DateStyle = ISO; SET IntervalStyle = postgres; SET extra_float_digits = 3; SET bytea_output = hex; SET lc_monetary = 'C'"
	if _, err := conn.PgConn().Exec(t.Context(), settings).ReadAll(); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.PgConn().CopyTo(t.Context(), &out, "COPY "+r.name+" ("+strings.Join(r.kept, ", ")+") TO STDOUT"); err != nil {
		t.Fatalf("read %s: %v", r.name, err)
	}
	return bytes.Split(out.Bytes(), []byte("\n"))
}

// randomSchema makes tables with a column of every type, and of arrays, composites and domains of them.
type randomSchema struct {
	rnd  *rand.Rand
	name string
}

const (
	randomColumns = 24 // of a table
	randomRows    = 30
)

func (s *randomSchema) make(statements, rules *strings.Builder) []randomTable {
	schema := pgx.Identifier{s.name}.Sanitize()
	fmt.Fprintf(statements, "CREATE SCHEMA %s;\n", schema)
	types := s.types(statements, schema)
	s.rnd.Shuffle(len(types), func(i, j int) { types[i], types[j] = types[j], types[i] })
	var tables []randomTable
	for len(types) > 0 {
		n := min(len(types), randomColumns)
		tables = append(tables, s.table(len(tables), types[:n], statements, rules))
		types = types[n:]
	}
	return tables
}

// types are all types, and those that are made of them.
func (s *randomSchema) types(statements *strings.Builder, schema string) []randomType {
	types := builtinTypes()
	labels := []string{"", "a", "A", "it's", `b\c`, "d,e", "Ünï 🦋", "tab\there", strings.Repeat("l", 63)}
	var quoted []string
	for _, l := range labels {
		quoted = append(quoted, quoteLiteral(l))
	}
	fmt.Fprintf(statements, "CREATE TYPE %s.\"An Enum\" AS ENUM (%s);\n", schema, strings.Join(quoted, ", "))
	types = append(types, oneOf(schema+`."An Enum"`, labels...))
	base := len(types)
	for i := range 6 {
		name := fmt.Sprintf(`%s."domain %d"`, schema, i)
		of := types[s.rnd.IntN(base)]
		if of.name == "box" { // whose arrays are written in another way
			of = types[0]
		}
		fmt.Fprintf(statements, "CREATE DOMAIN %s AS %s;\n", name, of.name)
		types = append(types, randomType{name, of.make})
	}
	for i := range 6 {
		types = append(types, s.composite(statements, fmt.Sprintf(`%s."composite %d"`, schema, i), types))
	}
	for _, of := range types[:len(types):len(types)] {
		types = append(types, randomType{of.name + "[]", of.array})
	}
	return types
}

// composite makes a type of up to five others, composites among them.
func (s *randomSchema) composite(statements *strings.Builder, name string, of []randomType) randomType {
	fields := make([]randomType, 1+s.rnd.IntN(5))
	var definitions []string
	for i := range fields {
		fields[i] = of[s.rnd.IntN(len(of))]
		definitions = append(definitions, fmt.Sprintf(`"field %d" %s`, i, fields[i].name))
	}
	fmt.Fprintf(statements, "CREATE TYPE %s AS (%s);\n", name, strings.Join(definitions, ", "))
	return randomType{name, func(rnd *rand.Rand) string {
		values := make([]string, len(fields))
		for i, f := range fields {
			if rnd.IntN(4) > 0 {
				values[i] = `"` + strings.NewReplacer(`"`, `""`, `\`, `\\`).Replace(f.make(rnd)) + `"`
			}
		}
		return "(" + strings.Join(values, ",") + ")"
	}}
}

// oddNames are names that something on the way could trip over.
func oddNames() []string {
	return []string{
		"plain", "UPPER", "select", "with blank", " leading", `quo"te`, "it's", `back\slash`, "semi;colon--", "dot.ted", "ünïcode 東京 🦋", "$1", "100%", "a*b?", "{curly}",
		"colon: value", "# no comment", "null", "~", "@at", "tab\there", "new\nline", strings.Repeat("n", 63), "-", "[0]", "/* c */", "oid", "user", "\u00a0", "end\\.",
	}
}

// table makes a table of these columns, with one that is masked, a dropped one, an identity and a generated one.
func (s *randomSchema) table(number int, types []randomType, statements, rules *strings.Builder) randomTable {
	names := oddNames()
	s.rnd.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	tableName := names[0] + strconv.Itoa(number)
	if len(tableName) > 63 {
		tableName = strconv.Itoa(number) + names[0][:60]
	}
	out := randomTable{name: pgx.Identifier{s.name, tableName}.Sanitize()}
	fmt.Fprintf(rules, "  %q:\n    columns:\n", s.name+"."+tableName)
	masked := s.rnd.IntN(3) > 0
	var definitions []string
	for i, of := range types {
		column := pgx.Identifier{names[i]}.Sanitize()
		definitions = append(definitions, column+" "+of.name)
		out.kept = append(out.kept, column)
		fmt.Fprintf(rules, "      %q: keep\n", names[i])
	}
	extra := []string{"made int GENERATED ALWAYS AS (1 + 1) STORED", "number bigint GENERATED ALWAYS AS IDENTITY", "gone text DEFAULT 'gone'", "masked text DEFAULT 'm'"}
	fmt.Fprintf(rules, "      number: keep\n      masked: %s\n", map[bool]string{false: "keep", true: `"null"`}[masked])
	at := s.rnd.IntN(len(definitions) + 1)
	definitions = append(definitions[:at:at], append(extra, definitions[at:]...)...)
	fmt.Fprintf(statements, "CREATE TABLE %s (%s);\n", out.name, strings.Join(definitions, ", "))
	for range randomRows {
		values := make([]string, len(types))
		for i, of := range types {
			values[i] = "NULL"
			if s.rnd.IntN(8) > 0 {
				values[i] = quoteLiteral(of.make(s.rnd)) + "::" + of.name
			}
		}
		fmt.Fprintf(statements, "INSERT INTO %s (%s) VALUES (%s);\n", out.name, strings.Join(out.kept, ", "), strings.Join(values, ", "))
	}
	fmt.Fprintf(statements, "ALTER TABLE %s DROP COLUMN gone;\n", out.name)
	out.kept = append(out.kept, "number")
	return out
}

// randomType is a type with what makes values of it, in text form.
type randomType struct {
	name string
	make func(*rand.Rand) string
}

// oneOf is a type whose values are taken from a list.
func oneOf(name string, values ...string) randomType {
	return randomType{name, func(rnd *rand.Rand) string { return values[rnd.IntN(len(values))] }}
}

// array makes an array of up to two dimensions; boxes are separated in a way of their own.
func (of randomType) array(rnd *rand.Rand) string {
	separator := ","
	if of.name == "box" {
		separator = ";"
	}
	one := func() string {
		if rnd.IntN(5) == 0 {
			return "NULL"
		}
		return `"` + strings.NewReplacer(`"`, `\"`, `\`, `\\`).Replace(of.make(rnd)) + `"`
	}
	row := func(n int) string {
		elements := make([]string, n)
		for i := range elements {
			elements[i] = one()
		}
		return "{" + strings.Join(elements, separator) + "}"
	}
	switch n := rnd.IntN(4); rnd.IntN(4) {
	case 0:
		return "{" + row(n+1) + separator + row(n+1) + "}"
	case 1:
		return fmt.Sprintf("[%d:%d]=%s", n-2, n, row(3))
	default:
		return row(n)
	}
}

// textOf makes texts of nasty pieces.
func textOf(rnd *rand.Rand) string {
	pieces := []string{
		"", `\N`, `\\N`, `\.`, "\n\\.\n", "\t", "\n", "\r", "\r\n", `\`, `\\`, `"`, `'`, `''`, "NULL", "null", "{}", "{,}", "()", ",", ";", "$$", "%", "\b\f\v", "\x01\x1f\x7f",
		"ä", "東京", "🦋", "\u200b\u202e", "\ufeff", "e\u0301", `\x41`, `\101`, "a", "Z", "0", " ", "  ", strings.Repeat("long ", 700), "\U0010ffff", "--", "/*",
	}
	var out strings.Builder
	for range rnd.IntN(6) {
		out.WriteString(pieces[rnd.IntN(len(pieces))])
	}
	return out.String()
}

// cut returns texts of at most n characters.
func cut(n int) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string {
		text := []rune(textOf(rnd))
		return string(text[:min(len(text), n)])
	}
}

func bytesOf(rnd *rand.Rand) string {
	out := make([]byte, rnd.IntN(40))
	for i := range out {
		out[i] = byte(rnd.IntN(256))
	}
	return `\x` + hex.EncodeToString(out)
}

func bitsOf(n int) func(*rand.Rand) string {
	return func(rnd *rand.Rand) string {
		length := n
		if n == 0 {
			length = rnd.IntN(70)
		}
		out := make([]byte, length)
		for i := range out {
			out[i] = "01"[rnd.IntN(2)]
		}
		return string(out)
	}
}

func floatOf(rnd *rand.Rand) string {
	return strconv.FormatFloat((rnd.Float64()-0.5)*float64(rnd.Uint64()), 'g', -1, 64)
}

func jsonOf(rnd *rand.Rand) string {
	switch rnd.IntN(7) {
	case 0:
		return `{"a" : 1, "a":  2,"":null, "\u00e9\ud83e\udd8b": [1.50, -0, 1e5, "\\N", "\t\"\\"]}`
	case 1:
		return "[" + jsonOf(rnd) + "," + jsonOf(rnd) + "]"
	case 2:
		return `{"k\n": ` + jsonOf(rnd) + "}"
	case 3:
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(strings.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, textOf(rnd))) + `"`
	case 4:
		return strconv.FormatInt(rnd.Int64(), 10) + ".000"
	case 5:
		return " [ ] "
	default:
		return "null"
	}
}
