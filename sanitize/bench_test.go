package sanitize_test

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

// benchTable has 20 columns, of which the rules mask 8 with the transformers that real schemas need most.
func benchTable() (sanitize.Table, []byte) {
	columns := []sanitize.Column{
		{Name: "id", Type: "bigint", NotNull: true, PrimaryKey: true, Unique: true},
		{Name: "email", Type: "text", Unique: true},
		{Name: "first_name", Type: "text"},
		{Name: "last_name", Type: "text"},
		{Name: "phone", Type: "text"},
		{Name: "status", Type: "text"},
		{Name: "street", Type: "text"},
		{Name: "city", Type: "text"},
		{Name: "country", Type: "text"},
		{Name: "notes", Type: "text"},
		{Name: "session", Type: "text"},
	}
	for i := len(columns); i < 20; i++ {
		columns = append(columns, sanitize.Column{Name: fmt.Sprintf("c%d", i), Type: "timestamp with time zone"})
	}
	rules := []byte(`
version: 1
types: {key: keep, timestamptz: keep}
tables:
  public.t:
    columns:
      email: email
      first_name: {mask: person_name, part: first}
      last_name: {mask: person_name, part: last}
      phone: phone
      street: street_address
      city: city
      notes: redact
      session: token
      status: keep
      country: keep
`)
	return sanitize.Table{Schema: "public", Name: "t", Columns: columns}, rules
}

func benchRows(n int) []byte {
	var b bytes.Buffer
	for i := range n {
		fmt.Fprintf(&b, "%d\tcustomer%d@mail.example\tFirst%d\tLast%d\t+1 555 %07d\tactive\t%d Long Street\tTown%d\tDE", i, i, i%500, i%900, i, i%300, i%70)
		fmt.Fprintf(&b, "\tAsked about order %d, called back on Tuesday.\t%032x", i, i*7919)
		for range 9 {
			b.WriteString("\t2024-03-05 10:11:12.123456+00")
		}
		b.WriteByte('\n')
	}
	return b.Bytes()
}

func BenchmarkMask8of20(b *testing.B) {
	table, text := benchTable()
	rules, err := sanitize.Parse("rules.yaml", text)
	if err != nil {
		b.Fatal(err)
	}
	plan, err := rules.Plan([]sanitize.Table{table}, []byte("0123456789abcdef0123456789abcdef"))
	if err != nil {
		b.Fatal(err)
	}
	data := benchRows(30000) // more than the caches of the columns hold: addresses and tokens are computed each time
	w := plan.Table("public", "t").Writer(io.Discard)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Write(data); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMaskingAllocatesNothingPerRow is not parallel: what other tests allocate would count.
func TestMaskingAllocatesNothingPerRow(t *testing.T) {
	table, rules := benchTable()
	table.Columns = append(table.Columns, sanitize.Column{Name: "tags", Type: "text[]"}, sanitize.Column{Name: "document", Type: "jsonb"},
		sanitize.Column{Name: "person", Type: "public.person", Inner: personType()}, sanitize.Column{Name: "span", Type: "daterange"}, sanitize.Column{Name: "store", Type: "hstore"})
	text := string(rules) + `      tags: redact
      document: {mask: json, paths: {$.email: email, $.n: number}}
      person: {mask: composite, fields: {name: token, kept: keep, tags: redact, gone: phone, born: date_shift}}
      span: date_shift
      store: {mask: hstore, entries: {mail: email}}
`
	row := strings.TrimSuffix(string(benchRows(1)), "\n") + "\t{vip,\"late payer\",NULL}\t{\"email\": \"jane@corp.example\", \"n\": 12, \"x\": [true]}" +
		"\t(Jane,7,\"{a,b}\",+44 20 7946,1984-02-29)\t[2024-01-01,2024-02-01)\t\"mail\"=>\"jane@corp.example\", \"x\"=>NULL\n"
	const rows = 100
	data := []byte(strings.Repeat(row, rows))
	w := planFor(t, text, table).Table("public", "t").Writer(io.Discard)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations for %d rows", n, rows)
	}
}
