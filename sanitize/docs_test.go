package sanitize_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

const docsFile = "../docs/sanitize.md"

// docsKey is the key made for the documentation's page.
const docsKey = "a masking key for docs/sanitize.md"

// docsExamples are the rows of the table of examples.
func docsExamples() []struct{ spec, typ, value string } {
	return []struct{ spec, typ, value string }{
		{"redact", "text", "Call +1 555 0100, ask for Zoë"},
		{"redact", "text[]", "{vip,\"late payer\"}"},
		{"token", "text", "s3cret"},
		{"token", "character varying(12)", "s3cret"},
		{"{mask: token, format: hex, length: 16, prefix: sk_}", "text", "s3cret"},
		{"token", "uuid", "6f1c2d3e-0000-4000-8000-0123456789ab"},
		{"email", "text", "jane@corp.example"},
		{"email", "character varying(30)", "jane@corp.example"},
		{"{mask: email, domain_name: keep}", "text", "jane@corp.example"},
		{"username", "text", "jane77"},
		{"person_name", "text", "Jane Roe"},
		{"{mask: person_name, part: first}", "text", "Jane"},
		{"company", "text", "Roe & Sons"},
		{"phone", "text", "+44 20 7946 0018"},
		{"{mask: phone, country: keep}", "text", "+44 20 7946 0018"},
		{"street_address", "text", "221b Baker Street"},
		{"city", "text", "London"},
		{"postcode", "text", "NW1 6XE"},
		{"url", "text", "https://corp.example/u/jane"},
		{"inet", "inet", "192.0.2.17/24"},
		{"{mask: inet, network: keep}", "inet", "192.0.2.17"},
		{"{mask: person_name, locale: de}", "text", "Jane Roe"},
		{"{mask: person_name, locale: ja}", "text", "Jane Roe"},
		{"{mask: email, domain_name: map}", "text", "jane@corp.example"},
		{"{mask: url, host: keep, path: shape}", "text", "https://corp.example/u/jane?page=2"},
		{"address", "text", "221b Baker Street, London"},
		{"fpe", "text", "AB-1234567"},
		{"card", "text", "4111 1111 1111 1111"},
		{"iban", "text", "DE89 3704 0044 0532 0130 00"},
		{"{mask: national_id, scheme: us_ssn}", "text", "078-05-1120"},
		{"uuid", "uuid", "6f1c2d3e-0000-4000-8000-0123456789ab"},
		{"mac", "macaddr", "08:00:2b:01:02:03"},
		{"noise", "integer", "48213"},
		{"{mask: bucket, width: 1000}", "integer", "48213"},
		{"birth_date", "date", "1984-02-29"},
		{"{mask: date_trunc, to: month}", "date", "1984-02-29"},
		{"{mask: geo_jitter, part: latitude}", "numeric", "52.520008"},
		{"number", "integer", "48213"},
		{"number", "numeric(12,2)", "-48.20"},
		{"date_shift", "timestamp with time zone", "2024-02-29 10:11:12+00"},
		{"scrub", "text", "Jane Roe (jane@corp.example) paid with 4111 1111 1111 1111"},
		{"{mask: json, paths: {$.email: email}}", "jsonb", `{"email": "jane@corp.example", "age": 33}`},
	}
}

// TestDocumentedExamplesAreTrue is not parallel: with -update it rewrites the page that the other test reads.
func TestDocumentedExamplesAreTrue(t *testing.T) {
	raw, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	var rows strings.Builder
	for _, e := range docsExamples() {
		column := sanitize.Column{Type: e.typ}
		_, _ = fmt.Sscanf(e.typ, "character varying(%d)", &column.MaxLength)
		text, table := oneColumn(e.spec, column)
		plan, err := parse(t, text).Plan([]sanitize.Table{table}, []byte(docsKey))
		if err != nil {
			t.Fatal(err)
		}
		result := strings.TrimSpace(maskText(t, plan.Table("public", "t"), e.value+"\n"))
		fmt.Fprintf(&rows, "| `%s` | `%s` | `%s` | `%s` |\n", e.spec, e.typ, e.value, result)
	}
	const header = "| transformer | column | value | result |\n| --- | --- | --- | --- |\n"
	before, after, ok := strings.Cut(page, header)
	if !ok {
		t.Fatalf("%s has no table of examples", docsFile)
	}
	documented, rest, ok := strings.Cut(after, "\n\n")
	if !ok {
		t.Fatalf("%s ends inside the table of examples", docsFile)
	}
	if documented+"\n" == rows.String() {
		return
	}
	if !*update {
		t.Fatalf("the examples in %s are not what happens (rewrite them with -update); now:\n%s", docsFile, rows.String())
	}
	if err := os.WriteFile(docsFile, []byte(before+header+rows.String()+"\n"+rest), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDocumentationNamesEverything(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(docsFile)
	if err != nil {
		t.Fatal(err)
	}
	page := string(raw)
	for _, tr := range sanitize.Transformers() {
		if !strings.Contains(page, "\n| `"+tr.Name+"` |") {
			t.Errorf("%s has no row for %s", docsFile, tr.Name)
		}
		for _, p := range tr.Params {
			if !strings.Contains(page, "`"+p.Name) {
				t.Errorf("%s does not name the parameter %s of %s", docsFile, p.Name, tr.Name)
			}
		}
	}
	blocks := strings.Split(page, "```yaml\n")
	if len(blocks) < 2 {
		t.Fatalf("%s shows no rules", docsFile)
	}
	for _, block := range blocks[1:] {
		rules, _, _ := strings.Cut(block, "```")
		if !strings.HasPrefix(rules, "version:") { // a part of a file
			rules = "version: 1\n" + rules
		}
		if _, err := sanitize.Parse("docs.yaml", []byte(rules)); err != nil {
			t.Errorf("rules in %s: %v", docsFile, err)
		}
	}
}
