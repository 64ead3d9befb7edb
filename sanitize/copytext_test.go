package sanitize

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/mayflydb/mayfly/internal/pgtest"
)

// TestUnescapeAgreesWithPostgres lets Postgres read random fields twice: as they are, and unescaped and escaped again.
func TestUnescapeAgreesWithPostgres(t *testing.T) {
	t.Parallel()
	parts := []string{
		"a", "é", "\\\\", "\\t", "\\n", "\\N", "\\b", "\\f", "\\r", "\\v", "\\x41", "\\x4", "\\x4g", "\\x", "\\xg", "\\101", "\\60", "\\7", "\\77",
		"\\1018", "\\9", "\\q", "\\ ", "\\\t", "\\\n", "\\\"", "\\é", "\x01", "4", "x", "N", ",",
	}
	random := rand.New(rand.NewPCG(3, 4))
	var raw, again bytes.Buffer
	const rows = 5000
	for i := range rows {
		var field []byte
		for range 1 + random.IntN(8) {
			field = append(field, parts[random.IntN(len(parts))]...)
		}
		value := appendUnescaped(nil, field)
		if string(field) == nullMarker || !utf8.Valid(value) || bytes.IndexByte(value, 0) >= 0 {
			continue // Postgres would refuse it
		}
		fmt.Fprintf(&raw, "%d\t%s\n", i, field)
		fmt.Fprintf(&again, "%d\t%s\n", i, appendEscaped(nil, value))
	}
	server := pgtest.Cluster(t)
	conn := server.Connect(t, server.Database(t))
	if _, err := conn.Exec(t.Context(), "CREATE TABLE raw (i int, v text); CREATE TABLE again (i int, v text)"); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]*bytes.Buffer{"raw": &raw, "again": &again} {
		if _, err := conn.PgConn().CopyFrom(t.Context(), data, "COPY "+name+" FROM STDIN"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	var compared, different int
	var example *string
	err := conn.QueryRow(t.Context(), `SELECT count(*), count(*) FILTER (WHERE raw.v IS DISTINCT FROM again.v),
		min(raw.i || ': ' || raw.v || ' / ' || again.v) FILTER (WHERE raw.v IS DISTINCT FROM again.v) FROM raw FULL JOIN again USING (i)`).Scan(&compared, &different, &example)
	if err != nil {
		t.Fatal(err)
	}
	if different > 0 || compared < rows*8/10 {
		t.Errorf("%d of %d fields are read differently, for example %v", different, compared, example)
	}
}
