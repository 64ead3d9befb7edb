package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/sanitize"
)

// TestSanitizeCommands goes the way of somebody who writes rules: scan, check, a column that is added, scan again, explain, diff.
func TestSanitizeCommands(t *testing.T) {
	t.Parallel()
	sql, err := os.ReadFile("testdata/sanitize/source.sql")
	check(t, err)
	cluster := pgtest.Cluster(t)
	source := cluster.Database(t)
	cluster.Exec(t, source, string(sql))
	endpoint := cluster.TCP(t, source)
	cluster.Exec(t, source, "grant select on all tables in schema public to "+endpoint.Role)
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	check(t, os.WriteFile(path("dsn"), []byte(endpoint.DSN()+"\n"), 0o600))
	check(t, os.WriteFile(path("key"), []byte(strings.Repeat("0123456789abcdef", 4)), 0o600))
	mayfly := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		var out, errs bytes.Buffer
		if code := run(t.Context(), append([]string{"sanitize"}, args...), streams{out: &out, err: &errs}, hooks{}); code != want {
			t.Fatalf("sanitize %v: exit code %d, not %d\n%s%s", args, code, want, out.String(), errs.String())
		}
		if strings.Contains(errs.String(), "lanted") || strings.Contains(errs.String(), "Ottilie") {
			t.Errorf("sanitize %v: standard error has values of the source:\n%s", args, errs.String())
		}
		return out.String(), errs.String()
	}
	contains := func(what, text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not say %q:\n%s", what, want, text)
			}
		}
	}

	rules := path("sanitize.yaml")
	_, progress := mayfly(0, "scan", "--dsn-file", path("dsn"), "--key-file", path("key"), "-o", rules)
	contains("the progress", progress, ": public.kunden", "columns classified")
	raw, err := os.ReadFile(rules)
	check(t, err)
	text := string(raw)
	for _, planted := range []string{"lanted", "Ottilie", "54362315", "4711", "1984-02-29", "555", "Rock"} {
		if strings.Contains(text, planted) {
			t.Errorf("the rules have %q of the source:\n%s", planted, text)
		}
	}
	for name, want := range map[string]string{
		"e_mail": "email", "vorname": "{mask: person_name, part: first}", "telefon": "phone", "geburtsdatum": "birth_date", "plz": "postcode", "ort": "city",
		"courriel": "email", "numero_secu": "{mask: national_id, scheme: fr_nir}", "dni": "{mask: national_id, scheme: es_dni}", "movil": "phone", "tarjeta": "card", "cuenta_iban": "iban",
		"pesel": "fpe", "nazwisko": "{mask: person_name, part: last}", "parola": "token", "api_anahtari": "token", "klant_naam": "person_name", "geboortedatum": "birth_date",
		"BirthDate": "birth_date", "genre_id": "keep", "created_at": "keep", "bemerkung": "redact", "kontakte": "email", "user_email": "email", `"$.kontakt.mail"`: "email", "ip": "inet",
	} {
		contains("the rules", text, " "+name+": "+want)
	}
	if out, _ := mayfly(0, "check", rules, "--dsn-file", path("dsn")); !strings.Contains(out, "columns are classified") {
		t.Errorf("check says %q", out)
	}
	mayfly(1, "scan", "--dsn-file", path("dsn"), "-o", rules) // it is there
	mayfly(0, "scan", "--dsn-file", path("dsn"), "--columns", "-o", path("columns.json"))
	mayfly(0, "check", rules, "--columns", path("columns.json"))

	// A migration adds a column.
	cluster.Exec(t, source, "alter table kunden add telefon_2 text; alter table artist add country text; create table noch_eine (id int primary key, passwort text)")
	_, refused := mayfly(1, "check", rules, "--dsn-file", path("dsn"))
	contains("check", refused, "public.kunden.telefon_2", "telefon_2: phone", "passwort: token")
	mayfly(0, "scan", "--dsn-file", path("dsn"), "--rules", rules, "-o", rules)
	after, err := os.ReadFile(rules)
	check(t, err)
	for line := range strings.Lines(text) {
		if !strings.Contains(string(after), line) {
			t.Errorf("the line %q is gone", line)
		}
	}
	mayfly(0, "check", rules, "--dsn-file", path("dsn"))
	cluster.Exec(t, source, "drop table leeg")
	_, refused = mayfly(1, "check", rules, "--dsn-file", path("dsn"))
	contains("check", refused, "public.leeg is not in the source")
	cluster.Exec(t, source, "create table leeg (klant_naam text, opmerking text, geboortedatum date)")

	explained, _ := mayfly(0, "explain", "public.kunden.e_mail", "--dsn-file", path("dsn"), "--rules", rules)
	contains("explain", explained, "sanitize.yaml:", "email", "the scan proves", "different values get different results")
	_, refused = mayfly(3, "explain", "public.kunden.e_mial", "--dsn-file", path("dsn"), "--rules", rules)
	contains("explain", refused, "did you mean public.kunden.e_mail?")

	diff, _ := mayfly(0, "diff", "--dsn-file", path("dsn"), "--rules", rules, "--key-file", path("key"), "--table", "public.kunden", "--rows", "2", "-o", "table")
	contains("diff", diff, "kunde1@planted.example", "@example.com", "BEFORE")
	hidden, _ := mayfly(0, "diff", "--dsn-file", path("dsn"), "--rules", rules, "--table", "public.kunden", "--table", "public.events", "--after-only", "-o", "json")
	if strings.Contains(hidden, "lanted") || strings.Contains(hidden, "Ottilie") || !strings.Contains(hidden, "@example.com") {
		t.Errorf("--after-only shows values of the source, or nothing:\n%s", hidden)
	}
	mayfly(3, "diff", "--dsn-file", path("dsn"), "--rules", rules, "--table", "public.gone")
	mayfly(2, "diff", "--rules", rules)

	out, _ := mayfly(0, "scan", "--dsn-file", path("dsn"), "-o", "json", "--rows", "0")
	var answer struct {
		Rules       string                `json:"rules"`
		Suggestions []sanitize.Suggestion `json:"suggestions"`
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Suggestions) < 50 {
		t.Errorf("%d suggestions: %v", len(answer.Suggestions), err)
	}
	if _, err := sanitize.Parse("rules", []byte(answer.Rules)); err != nil {
		t.Errorf("the rules in JSON: %v", err)
	}
}
