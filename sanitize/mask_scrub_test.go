package sanitize_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/recognise"
)

// scrubbed masks one text.
func scrubbed(t *testing.T, spec, text string) string {
	t.Helper()
	return maskOne(t, spec, sanitize.Column{Type: "text"}, text)
}

func TestScrubReplacesWhatItRecognises(t *testing.T) {
	t.Parallel()
	email := scrubbed(t, "email", "jane@corp.example")
	phone := scrubbed(t, "phone", "+44 20 7946 0018")
	got := scrubbed(t, "scrub", "Please write to jane@corp.example or call +44 20 7946 0018!")
	if want := "Please write to " + email + " or call " + phone + "!"; got != want {
		t.Errorf("got  %s\nwant %s: an item maps as columns do", got, want)
	}
	originals := []string{
		"4111 1111 1111 1111", "GB82 WEST 1234 5698 7654 32", "078-05-1120", "192.0.2.17", "postgres://app:s3cret@db.corp.example/app",
		"ghp_" + strings.Repeat("a1B2", 9), "6f1c2d3e-0000-4000-8000-0123456789ab", "AB 12 34 56 C", "52.52000, 13.40495", "$2b$12$" + strings.Repeat("abcdefgh", 6) + "abcde",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.c2lnbmF0dXJl", "08:00:2b:01:02:03", "12-3456789", "ABCPE1234F", "912-70-1234",
	}
	scanner, err := recognise.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, original := range originals {
		before := scanner.Find(nil, []byte(original))
		masked := scrubbed(t, "scrub", "a "+original+" b")
		if !strings.HasPrefix(masked, "a ") || !strings.HasSuffix(masked, " b") || strings.Contains(masked, original) || masked == "a  b" {
			t.Errorf("%s became %s", original, masked)
		}
		after := scanner.Find(nil, []byte(masked))
		if k := before[0].Kind; !k.Credential() && k != recognise.USEIN && k != recognise.USITIN && k != recognise.INPAN && (len(after) != 1 || after[0].Kind != k) {
			t.Errorf("%s became %s, which is not of the kind %s", original, masked, k)
		}
	}
	if got := scrubbed(t, "scrub", "born 12/03/1985 in"); got == "born 12/03/1985 in" || len(got) != len("born 12/03/1985 in") {
		t.Errorf("a date of birth became %s", got)
	}
}

func TestScrubParameters(t *testing.T) {
	t.Parallel()
	const text = "mail jane@corp.example, call +44 20 7946 0018"
	if got := scrubbed(t, "{mask: scrub, only: phone}", text); !strings.HasPrefix(got, "mail jane@corp.example, call +") || strings.HasSuffix(got, "0018") {
		t.Errorf("only phone: %s", got)
	}
	if got, want := scrubbed(t, "{mask: scrub, only: email, else: redact_words}", text), "xxxx "+scrubbed(t, "email", "jane@corp.example")+"x xxxx xxx xx xxxx xxxx"; got != want {
		t.Errorf("redact_words: %s, want %s", got, want)
	}
	rules := `version: 1
domains: {customer_email: {mask: email, domain_name: keep}}
tables: {public.t: {columns: {a: {domain: customer_email}, c: {mask: scrub, row: false, items: {email: {domain: customer_email}, phone: redact}}}}}`
	out := maskText(t, planFor(t, rules, tableOf("t", "a text", "c text")).Table("public", "t"), "jane@corp.example\t"+text+"\n")
	column, rest, _ := strings.Cut(strings.TrimSpace(out), "\t")
	if want := "mail " + column + ", call xxx xx xxxx xxxx"; rest != want {
		t.Errorf("items: %s, want %s", rest, want)
	}
	for spec, want := range map[string]string{
		"{mask: scrub, only: emial}":                         "emial",
		"{mask: scrub, only: phone, items: {email: redact}}": "not looked for",
		"{mask: scrub, items: {email: scrub}}":               "does not work on parts of a text",
	} {
		rules, table := oneColumn(spec, sanitize.Column{Type: "text"})
		if _, err := parse(t, rules).Plan([]sanitize.Table{table}, testKey); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error with %q", spec, err, want)
		}
	}
}

func TestScrubKnowsTheRow(t *testing.T) {
	t.Parallel()
	rules := `version: 1
tables: {public.t: {columns: {first: {mask: person_name, part: first}, last: {mask: person_name, part: last}, full: person_name, email: email, city: keep, note: scrub, tags: scrub, doc: {mask: json, paths: {$..text: scrub}}}}}`
	plan := planFor(t, rules, tableOf("t", "first text", "last text", "full text", "email text", "city text", "note text", "tags text[]", "doc jsonb"))
	row := "Jane\tRoe\tZoë van der Ångström\tjane@corp.example\tLondon\t%s\t{jane@corp.example,x}\t{\"text\": \"call +44 20 7946 0018\", \"other\": \"y\"}\n"
	for _, note := range []string{
		"Spoke to JANE about roe.", "zoë, ÅNGSTRÖM; jane@corp.example", "Zoë van der Ångström from London", "Janeway met Roebuck", "", "x",
	} {
		out := strings.Split(strings.TrimSuffix(maskText(t, plan.Table("public", "t"), fmt.Sprintf(row, note)), "\n"), "\t")
		if note == "Janeway met Roebuck" && out[5] != note {
			t.Errorf("parts of other words were replaced: %s", out[5])
		}
		if note == "x" && out[5] != "x" {
			t.Errorf("x became %s", out[5])
		}
		for _, word := range strings.FieldsFunc(strings.ToLower(out[5]), func(r rune) bool { return strings.ContainsRune(" .,;@", r) }) {
			if strings.Contains(" jane roe zoë ångström corp ", " "+word+" ") {
				t.Errorf("%q became %q: %q is left", note, out[5], word)
			}
		}
		if strings.HasPrefix(note, "Spoke") && !strings.Contains(out[5], "Spoke to "+out[0]+" about "+out[1]+".") {
			t.Errorf("the names are not those of the row, %s %s: %s", out[0], out[1], out[5])
		}
		if strings.HasSuffix(note, "London") && out[5] != out[2]+" from London" {
			t.Errorf("the full name is not the row's, %s: %s", out[2], out[5])
		}
		if strings.Contains(out[6], "jane") || strings.Contains(out[7], "7946") || !strings.Contains(out[7], `call +`) {
			t.Errorf("inside of values: %s %s", out[6], out[7])
		}
	}
}

func TestScrubFitsTheColumn(t *testing.T) {
	t.Parallel()
	got := maskOne(t, "scrub", sanitize.Column{Type: "character varying(20)", MaxLength: 20}, "to a@b.example")
	if len(got) > 20 || !strings.HasPrefix(got, "to ") || strings.Contains(got, "a@b.example") {
		t.Errorf("got %q", got)
	}
}

func FuzzScrub(f *testing.F) {
	f.Add("Jane", "Jane said jane@corp.example and +44 20 7946 0018")
	f.Add("a@b.example", "xa@b.examplex a@b.example")
	f.Add("\xff", "\xff\xfe born 1/1/2000")
	plan := planFor(f, "version: 1\ntables: {public.t: {columns: {a: {mask: person_name}, c: {mask: scrub, only: email}}}}", tableOf("t", "a text", "c text"))
	f.Fuzz(func(t *testing.T, name, text string) {
		if strings.ContainsAny(name+text, "\t\n\\\x00\r") {
			t.Skip()
		}
		var out bytes.Buffer
		w := plan.Table("public", "t").Writer(&out)
		if _, err := w.Write([]byte(name + "\t" + text + "\n")); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil || bytes.Count(out.Bytes(), []byte("\t")) != 1 {
			t.Fatalf("%q %q: %q, %v", name, text, out.String(), err)
		}
	})
}
