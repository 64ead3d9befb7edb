package sanitize_test

import (
	"bytes"
	"fmt"
	"io"
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
