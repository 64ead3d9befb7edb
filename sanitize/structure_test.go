package sanitize

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

// identity is a leaf that takes a value apart and puts it together again.
func identity() *leaf {
	return &leaf{see: &observation{}, mask: func(dst, value []byte) []byte { return append(dst, value...) }}
}

// hard returns a text of what is special in the text forms of types, or nil for NULL.
func hard(random *rand.Rand) *string {
	parts := []string{"a", "NULL", "null", `"`, `\`, "{", "}", "(", ")", "[", "]", ",", ";", " ", "\t", "\n", "\v", "=>", "é", "😀", ".", "'", "=", ":", "empty", "\x01"}
	switch random.IntN(8) {
	case 0:
		return nil
	case 1:
		empty := ""
		return &empty
	}
	var b strings.Builder
	for range 1 + random.IntN(5) {
		b.WriteString(parts[random.IntN(len(parts))])
	}
	text := b.String()
	return &text
}

func hardList(random *rand.Rand, n int) []*string {
	list := make([]*string, n)
	for i := range list {
		list[i] = hard(random)
	}
	return list
}

// nestedMask is for the type below.
func nestedMask() *compositeMask {
	inner := &compositeMask{fields: []*leaf{identity(), identity()}}
	array := &arrayMask{element: identity(), delimiter: ','}
	rows := &arrayMask{element: &leaf{see: &observation{}, nested: true, mask: inner.mask}, delimiter: ','}
	spans := &rangeMask{bound: identity()}
	nested := func(mask maskFunc) *leaf { return &leaf{see: &observation{}, nested: true, mask: mask} }
	return &compositeMask{fields: []*leaf{identity(), nested(array.mask), nested(inner.mask), nested(rows.mask), nested(spans.single)}}
}

// TestStructuresAgreeWithPostgres takes random values of nested types apart and puts them together again: what comes out
// must be, byte for byte, what Postgres wrote.
func TestStructuresAgreeWithPostgres(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	conn := server.Connect(t, server.Database(t))
	if _, err := conn.Exec(t.Context(), `
		CREATE EXTENSION hstore;
		CREATE TYPE textrange AS RANGE (subtype = text, collation = "C");
		CREATE TYPE pair AS (x text, y text);
		CREATE TYPE nested AS (a text, b text[], c pair, d pair[], e textrange)`); err != nil {
		t.Fatal(err)
	}
	array := &arrayMask{element: identity(), delimiter: ','}
	boxes := &arrayMask{element: identity(), delimiter: ';'}
	spans := &rangeMask{bound: identity()}
	store := &hstoreMask{other: identity(), see: &observation{}}
	nested := nestedMask()
	random := rand.New(rand.NewPCG(5, 6))
	for range 400 {
		a, b := hardList(random, random.IntN(5)), hardList(random, 6)
		for _, c := range []struct {
			sql  string
			args []any
			mask maskFunc
		}{
			{"SELECT $1::text[]::text", []any{a}, array.mask},
			{"SELECT (ARRAY[$1::text[], $1::text[]])::text", []any{b}, array.mask},
			{"SELECT array_fill($1::text, ARRAY[2, 1, 3], ARRAY[-1, 0, 7])::text", []any{b[0]}, array.mask},
			{"SELECT ARRAY[box(point($1, 2), point(3.5, 4)), NULL, box(point(1, 1), point(2, 2))]::text", []any{random.IntN(9)}, boxes.mask},
			{"SELECT ROW($1::text, $2::text[], ROW($3, $4)::pair, ARRAY[ROW($4, $5)::pair, NULL, ROW($6, $3)::pair], textrange(least($5, $6), greatest($5, $6), '[]'))::nested::text",
				[]any{b[0], a, b[2], b[3], b[4], b[5]}, nested.mask},
			{"SELECT textrange(least($1::text COLLATE \"C\", $2), greatest($1 COLLATE \"C\", $2), CASE WHEN $3 THEN '[]' ELSE '()' END)::text", []any{b[0], b[1], random.IntN(2) == 0}, spans.single},
			{"SELECT coalesce(hstore(array_remove($1::text[], NULL), (array_remove($1::text[], NULL))), '')::text", []any{b}, store.mask},
			{"SELECT hstore('k', $1)::text", []any{b[1]}, store.mask},
		} {
			var text string
			if err := conn.QueryRow(t.Context(), c.sql, c.args...).Scan(&text); err != nil {
				t.Fatalf("%s: %v", c.sql, err)
			}
			if text == "" {
				continue // no value reaches a mask empty
			}
			if got := string(c.mask(nil, []byte(text))); got != text {
				t.Errorf("%s: %q became %q", c.sql, text, got)
			}
		}
	}
}

func TestMultirangesKeepTheirForm(t *testing.T) {
	t.Parallel()
	m := &rangeMask{bound: identity()}
	for _, text := range []string{"{}", "{[1,3)}", `{(,3),[5,"7 8"],(9,)}`} {
		if got := string(m.multirange(nil, []byte(text))); got != text {
			t.Errorf("%q became %q", text, got)
		}
	}
}

// structureMasks are all of them, with the value that takes the place of what is not in the form of the type.
func structureMasks() map[string]struct {
	mask  maskFunc
	empty string
} {
	spans := &rangeMask{bound: identity()}
	return map[string]struct {
		mask  maskFunc
		empty string
	}{
		"array":      {(&arrayMask{element: identity(), delimiter: ','}).mask, "{}"},
		"composite":  {(&compositeMask{fields: []*leaf{identity(), identity()}}).mask, "(,)"},
		"range":      {spans.single, "empty"},
		"multirange": {spans.multirange, "{}"},
		"hstore":     {(&hstoreMask{other: identity(), see: &observation{}}).mask, ""},
	}
}

// FuzzStructures feeds what PostgreSQL would never send: no panic, and a value of the type, which stays as it is from then on.
func FuzzStructures(f *testing.F) {
	for _, s := range []string{
		"{a,b}", `{"a\"b",NULL}`, "[2:3]={a,b}", "[2:3={a}", "{", "{a", `{"a`, `{a\`, "{}}", "{a b ,c}", "{{a},{b}}", "{,}", "}", "{a\"b}",
		"(a,b)", `("a""b",)`, "(a", "(a,b", "(a,b,c)", "()", "(,)x", `(a\`, "[1,2)", "(,)", "[1,2", "[", "empty", "{[1,2),[3,4)}", "{[1,2)", "{[1,2);}", "{", "[a",
		`"a"=>"b"`, `"a"=>NULL, "b"=>"c"`, `"a"`, `"a"=>`, `"a"=>"b",`, `"a`, "x", "é", "[2024-01-01,2023-01-01)", `("0044-03-15 BC",2024-01-01)`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if text == "" {
			return
		}
		for name, m := range structureMasks() {
			got := string(m.mask(nil, []byte(text)))
			if got == "" {
				if name != "hstore" {
					t.Errorf("%s: %q became nothing", name, text)
				}
				continue
			}
			if again := string(m.mask(nil, []byte(got))); again != got {
				t.Errorf("%s: %q became %q, and that %q", name, text, got, again)
			}
		}
	})
}

func TestWhatIsNotOfTheTypeBecomesEmpty(t *testing.T) {
	t.Parallel()
	for name, m := range structureMasks() {
		for _, text := range []string{"jane@corp.example", `{"jane`, "(jane", `"jane"=>`, "[jane", "{[jane", "[2:3={jane}"} {
			if got := string(m.mask([]byte("before "), []byte(text))); got != "before "+m.empty {
				t.Errorf("%s: %q became %q", name, text, got)
			}
		}
	}
}
