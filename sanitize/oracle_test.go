package sanitize_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

// TestRowsAreReadAsPostgresReadsThem gives Postgres rows in every way of writing COPY text, as they are and masked: fields
// and rows must end at the same places, kept fields be the same, and redacted ones of the same shape.
func TestRowsAreReadAsPostgresReadsThem(t *testing.T) {
	t.Parallel()
	parts := []string{
		"a", "bc", "é", "😀", " ", ",", `\\`, `\t`, `\n`, `\b`, `\f`, `\r`, `\v`, `\x41`, `\x4`, "\\x9 ", `\xg`, `\101`, `\11`, `\12`, `\134`, `\7`, `\q`,
		"\\\t", "\\\n", `\"`, "\x01", `\x5c`, `\\N`, "N", ".",
	}
	random := rand.New(rand.NewPCG(8, 9))
	field := func() string {
		switch random.IntN(10) {
		case 0:
			return `\N`
		case 1:
			return ""
		}
		var b strings.Builder
		for range 1 + random.IntN(6) {
			b.WriteString(parts[random.IntN(len(parts))])
		}
		if text := b.String(); utf8.ValidString(text) && text != `\N` {
			return text
		}
		return "x"
	}
	const rows = 4000
	var raw bytes.Buffer
	for i := range rows {
		fmt.Fprintf(&raw, "%d\t%s\t%s\t%s\n", i, field(), field(), field())
	}
	server := pgtest.Cluster(t)
	conn := server.Connect(t, server.Database(t))
	if _, err := conn.Exec(t.Context(), "CREATE TABLE source (i int, a text, b text, c text); CREATE TABLE masked (LIKE source)"); err != nil {
		t.Fatal(err)
	}
	rules := "version: 1\ntables: {public.source: {columns: {i: keep, a: redact, b: keep, c: redact}}}"
	table := tableOf("source", "i integer", "a text", "b text", "c text")
	masked := maskText(t, planFor(t, rules, table).Table("public", "source"), raw.String())
	for name, data := range map[string]string{"source": raw.String(), "masked": masked} {
		if _, err := conn.PgConn().CopyFrom(t.Context(), strings.NewReader(data), "COPY "+name+" FROM STDIN"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var compared, different int
	var example *string
	err := conn.QueryRow(t.Context(), `
		SELECT count(*), count(*) FILTER (WHERE wrong), min(format('%s: %s became %s', s.i, to_jsonb(s), to_jsonb(m))) FILTER (WHERE wrong)
		FROM source s FULL JOIN masked m USING (i) CROSS JOIN LATERAL (SELECT s.b IS DISTINCT FROM m.b
			OR regexp_replace(s.a, E'[^ \t\n\r\f\x0b]', 'x', 'g') IS DISTINCT FROM m.a OR regexp_replace(s.c, E'[^ \t\n\r\f\x0b]', 'x', 'g') IS DISTINCT FROM m.c) AS w(wrong)`,
	).Scan(&compared, &different, &example)
	if err != nil {
		t.Fatal(err)
	}
	if compared != rows || different > 0 {
		t.Errorf("%d of %d rows are different, for example %v", different, compared, *example)
	}
}
