package templates

import (
	"crypto/ed25519"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize/proof"
)

const provedSource = `
CREATE TABLE people (id int PRIMARY KEY, email text UNIQUE, name text, phone text, city text, country text, born int, notes text, doc jsonb);
INSERT INTO people SELECT g, 'quirina.zebulon' || g || '@planted.example', 'Quirina Zebulon ' || g, '+49 170 555' || lpad(g::text, 6, '0'),
	'Gotham upon Hudson', 'United Kingdom', 1950 + g % 3, CASE WHEN g = 7 THEN repeat('long text, ', 3000) || 'quirina at the end' END,
	jsonb_build_object('mail', 'zebulon' || g || '@planted.example', 'kind', 'customer') FROM generate_series(1, 200) g;
CREATE INDEX ON people (lower(email));
CREATE MATERIALIZED VIEW mails AS SELECT lower(email) AS email FROM people;`

const provedRules = `
version: 1
tables:
  public.people:
    columns:
      email: email
      name: {mask: person_name}
      phone: phone
      city: redact
      country: redact # PostgreSQL's own catalogs name countries
      born: keep
      notes: redact
      doc: {mask: json, default: keep, paths: {$.mail: email}}
types: {key: keep}
`

// provedBed is a bed that keeps fingerprints and attests.
func provedBed(t *testing.T) (*bed, ed25519.PublicKey) {
	t.Helper()
	b := newBed(t)
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	b.builder.proofDir, b.builder.signer, b.builder.version = t.TempDir(), proof.NewSigner(private), "v1.2.3"
	return b, public
}

func TestProof(t *testing.T) {
	t.Parallel()
	b, public := provedBed(t)
	endpoint := sourceDatabase(t, provedSource+"\nALTER TABLE people ADD COLUMN rounded int; UPDATE people SET rounded = id * 10;")
	rules := strings.Replace(provedRules, "born: keep", "born: keep\n      rounded: {mask: bucket, width: 10}", 1) + "quasi_identifiers: [{table: public.people, columns: [born], min_group: 60}, {table: public.people, columns: [id], action: warn}]\n"
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, rules)
	result := b.build(t, req)
	s, err := proof.Verify(result.Attestation, public)
	if err != nil {
		t.Fatalf("the attestation: %v", err)
	}
	if s.Template != req.Template.ID || s.Rules.SHA256 != req.Rules.SHA256() || s.Source.Snapshot == "" || s.Tool.Version != "v1.2.3" || s.Image.Digest == "" {
		t.Errorf("the attestation says %+v", s)
	}
	unchanged := func(f Finding) bool {
		return f.Code == codeValuesUnchanged && strings.HasSuffix(f.Object, "people.rounded")
	}
	if !slices.ContainsFunc(result.Report.Findings, unchanged) {
		t.Errorf("a rounding that changes nothing was not told: %+v", result.Report.Findings)
	}
	for _, c := range s.Coverage {
		switch {
		case (c.Transformer == "keep") != (c.Masked == nil):
			t.Errorf("%s is kept, and masked: %+v", c.Column, c.Masked)
		case c.Column == "email" && (c.Masked.DistinctBefore < 195 || c.Masked.DistinctAfter < 195 || c.Masked.Values != 200 || c.Masked.Unchanged != 0 || c.Rows != 200):
			t.Errorf("email is covered by %+v", c.Masked)
		}
	}
	if len(s.Groups) != 2 || s.Groups[0].Smallest < 66 || s.Groups[0].Below() || s.Groups[1].SmallRows != 200 {
		t.Errorf("the groups are %+v", s.Groups)
	}
	if s.Scan.Files == nil || s.Scan.Files.Patterns < 20 || s.Scan.Files.Bytes < 1<<20 || len(s.Scan.Surviving()) > 0 {
		t.Errorf("the scan says %+v, files %+v", s.Scan, s.Scan.Files)
	}
	template := &mayfly.Template{
		ID: req.Template.ID, State: mayfly.TemplateReady, Image: result.Image.ID, Major: result.Image.Major, Database: testDatabase, Owner: testOwner,
		Attestation: result.Attestation,
	}
	if template.Report, err = json.Marshal(result.Report); err != nil {
		t.Fatal(err)
	}
	checkPages(t, template)
	checkRescan(t, b, template)
}

// checkPages makes sure that the reports for people say what matters, and no value.
func checkPages(t *testing.T, template *mayfly.Template) {
	t.Helper()
	var page strings.Builder
	if err := WriteHTML(&page, template); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Attestation", "public.people.email", "Quasi-identifiers", "Raw files", "SHA-256"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if text := strings.ToLower(page.String()); strings.Contains(text, "zebulon") || strings.Contains(text, "gotham") {
		t.Error("the page has an original")
	}
}

func checkRescan(t *testing.T, b *bed, template *mayfly.Template) {
	t.Helper()
	outcome, err := b.builder.Rescan(t.Context(), template, testKey())
	if err != nil {
		t.Fatalf("scan again: %v", err)
	}
	if len(outcome.Surviving()) > 0 || outcome.Prints.Count == 0 || len(outcome.Looked) < 10 {
		t.Errorf("another scan says %+v", outcome)
	}
	b.nothingLeft(t, rescanID(template.ID))
	if _, err := b.builder.Rescan(t.Context(), template, []byte("another key, 32 bytes or more of it")); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("another key: %v; want a conflict", err)
	}
	checkForged(t, b, template)
	file, err := os.OpenFile(b.builder.printsPath(template.ID), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.WriteAt([]byte{1, 2, 3, 4}, 40); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := b.builder.Rescan(t.Context(), template, testKey()); mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed {
		t.Errorf("changed fingerprints: %v; want a failed verification", err)
	}
}

// checkForged makes sure that an attestation decides nothing that is not this installation's, about this template.
func checkForged(t *testing.T, b *bed, template *mayfly.Template) {
	t.Helper()
	statement, err := proof.Read(template.Attestation)
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	replayed := *statement
	replayed.Template = "tanother"
	for name, sign := range map[string]func() ([]byte, error){
		"signed by a stranger": func() ([]byte, error) { return proof.NewSigner(stranger).Sign(statement) },
		"of another template":  func() ([]byte, error) { return b.builder.signer.Sign(&replayed) },
	} {
		forged := *template
		if forged.Attestation, err = sign(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.builder.Rescan(t.Context(), &forged, testKey()); mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed {
			t.Errorf("an attestation %s: %v; want a failed verification", name, err)
		}
	}
}

func TestSurvivingOriginalsStopTheBuild(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, sql, rules, place string }{
		{"a kept column", `CREATE TABLE logs (id int PRIMARY KEY, line text); INSERT INTO logs VALUES (1, 'mail to quirina.zebulon5@planted.example failed')`,
			"    columns: {line: keep}\n", "public.logs.line"},
		{"a comment", `CREATE TABLE logs (id int PRIMARY KEY); COMMENT ON TABLE people IS 'like quirina.zebulon5@planted.example'`, "    rows: none\ncatalog: {comments: keep}\n", "comment table public.people"},
		{"a function", `CREATE TABLE logs (id int PRIMARY KEY); CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT 'quirina.zebulon5@planted.example' $$`,
			"    rows: none\ncatalog: {literals: keep}\n", "function public.f()"},
		{"an original that no recogniser knows", `CREATE TABLE logs (id int PRIMARY KEY); CREATE VIEW v AS SELECT 'Quirina Zebulon 5'::text AS t`, "    rows: none\n", "view public.v"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, _ := provedBed(t)
			endpoint := sourceDatabase(t, provedSource+c.sql)
			rules := strings.Replace(provedRules, "types:", "  public.logs:\n"+c.rules+"types:", 1)
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, rules)
			result, err := b.builder.Build(t.Context(), req)
			if mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), " values of public.people.") {
				t.Fatalf("the build ended with: %v; want a failed verification that names %s", err, c.place)
			}
			report, _ := json.Marshal(result.Report)
			for _, text := range []string{err.Error(), mayfly.ErrorHint(err), string(report)} {
				if strings.Contains(strings.ToLower(text), "zebulon5") {
					t.Errorf("the value itself is told: %s", text)
				}
			}
			if result.Report.Proof == nil || len(result.Report.Proof.Surviving()) == 0 {
				t.Error("the report does not have the hits")
			}
			b.nothingLeft(t, req.Template.ID)
			if _, err := os.Stat(b.builder.printsPath(req.Template.ID)); !os.IsNotExist(err) {
				t.Errorf("the fingerprints of a failed build are still there: %v", err)
			}
		})
	}
}

func TestProofRulesThatDoNotHold(t *testing.T) {
	t.Parallel()
	cases := []struct{ name, rules, message string }{
		{"an allowance for nothing", `proof: {allow: [{place: public.people.born, reason: "years"}]}`, "rules.yaml:15:17: nothing of a masked column is in public.people.born"},
		{"a group that is too small", `quasi_identifiers: [{table: public.people, columns: [born, id], min_group: 3}]`, "the rarest combination has 1 rows"},
		{"an unknown table", `quasi_identifiers: [{table: public.persons, columns: [born]}]`, "table public.persons is not in the source"},
		{"an unknown column", `quasi_identifiers: [{table: public.people, columns: [birthday]}]`, "has no column birthday"},
	}
	endpoint := sourceDatabase(t, provedSource)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b, _ := provedBed(t)
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, provedRules+c.rules+"\n")
			_, err := b.builder.Build(t.Context(), req)
			if err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("the build ended with: %v; want %q", err, c.message)
			}
			b.nothingLeft(t, req.Template.ID)
		})
	}
}
