package sanitize_test

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mayflydb/mayfly/sanitize"
)

// transformerCase is a transformer on a column with values in COPY's text form.
type transformerCase struct {
	spec   string
	column sanitize.Column
	values []string
}

// sampled is a text column of which these values were sampled.
func sampled(values ...string) sanitize.Column {
	s := sanitize.NewSampler(1000, rand.NewPCG(1, 2))
	for _, v := range values {
		s.Add(v)
	}
	return sanitize.Column{Type: "text", Distribution: s}
}

func transformerCases() []transformerCase {
	text, of := sanitize.Column{Type: "text"}, func(typ string) sanitize.Column { return sanitize.Column{Type: typ} }
	short := func(n int) sanitize.Column {
		return sanitize.Column{Type: fmt.Sprintf("character varying(%d)", n), MaxLength: n}
	}
	emails := []string{"jane.planted@corp.example", "Jane.Planted@corp.example", "not an address", "", `\N`}
	names := []string{"Jane Planted", "Zoë Ångström", "Mary", "", `\N`}
	phones := []string{"+44 20 7946 0018", "(555) 867-5309", "00491701234567", "12", "7", "020 7946 0018 ext. 12", "-", "+1 123456789012345678901234", `\N`}
	addresses := []string{`221b Baker Street\nLondon`, "x", `\N`}
	numbers := []string{"0", "7", "42", "-42", "99999", "-7", `\N`}
	return []transformerCase{
		{"keep", text, []string{`a\tb\\c`, "", `\N`}},
		{"null", text, []string{"x", "", `\N`}},
		{"{mask: static, value: gone}", text, []string{"x", "", `\N`}},
		{`{mask: static, value: "a\tb", replace_null: true}`, text, []string{"x", "", `\N`}},
		{"{mask: static, value: 7}", of("integer"), []string{"1"}},
		{"{mask: static, value: '{}'}", of("jsonb"), []string{`{"a": 1}`}},
		{"redact", text, []string{`Call +1 555 0100\nAsk for Zoë.\n\n\tThanks`, "\xff\xfe abc", "", `\N`}},
		{"redact", of("text[]"), []string{`{abc,"de f",NULL,"NULL","a\\"b","x,y"}`, "{}", "[0:1]={ab,cd}", "{{a,b},{c,d}}", "oops", `\N`}},
		{"redact", of("bytea"), []string{`\\x0a1b2c`, `\\x`, "abc"}},
		{"redact", of("jsonb"), []string{`{"a": "secret", "b": [1, true, null]}`}},
		{"redact", of("tsvector"), []string{`'cat':2 'fat':1`}},
		{"token", text, []string{"s3cret", "S3cret", "", `\N`}},
		{"{mask: token, format: hex}", text, []string{"s3cret"}},
		{"{mask: token, length: 40, prefix: tok_}", text, []string{"s3cret"}},
		{"token", short(10), []string{"s3cret"}},
		{"token", of("uuid"), []string{"00000000-0000-0000-0000-000000000001", `\N`}},
		{"token", of("citext"), []string{"S3CRET", "s3cret"}},
		{"token", sanitize.Column{Type: "character(30)", MaxLength: 30}, []string{"abc", "abc   "}},
		{"email", text, emails},
		{"email", short(30), emails},
		{"email", short(20), emails},
		{"email", of("citext"), emails},
		{"{mask: email, domain_name: keep}", text, append(emails, `x@bad\\domain.org`, "x@[192.0.2.1]")},
		{"{mask: email, domain_name: keep}", short(40), emails},
		{"{mask: email, domain: customers}", text, emails},
		{"username", text, []string{"jplanted", "", `\N`}},
		{"username", short(8), []string{"jplanted"}},
		{"person_name", text, names},
		{"{mask: person_name, part: first}", text, names},
		{"{mask: person_name, part: last}", text, names},
		{"person_name", short(8), names},
		{"company", text, []string{"Planted & Sons", "", `\N`}},
		{"company", short(12), []string{"Planted & Sons"}},
		{"phone", text, phones},
		{"{mask: phone, country: keep}", text, phones},
		{"phone", short(5), []string{"12345", "none"}},
		{"street_address", text, addresses},
		{"street_address", short(10), addresses},
		{"city", text, []string{"London", "Ashford"}},
		{"postcode", text, []string{"NW1 6XE", "10115", "ñ1", "  ", `\N`}},
		{"url", text, []string{"http://corp.example/u/jane?x=1"}},
		{"inet", of("inet"), []string{"192.0.2.17", "192.0.2.17/24", "2001:db8::1", "2001:db8::1/64", "::ffff:192.0.2.1"}},
		{"{mask: inet, network: keep}", of("inet"), []string{"192.0.2.17", "2001:db8:1:2::1"}},
		{"inet", of("cidr"), []string{"192.0.2.0/24", "2001:db8::/32", "0.0.0.0/0"}},
		{"inet", text, []string{"192.0.2.17", "unknown"}},
		{"inet", short(20), []string{"2001:db8:1234:5678:9abc:def0:1234:5678"}},
		{"number", of("integer"), append(numbers, "2147483647", "-2147483648", "1999999999")},
		{"number", of("smallint"), append(numbers, "32767", "-32768", "10000")},
		{"number", of("bigint"), append(numbers, "9223372036854775807", "-9223372036854775808", "1000000000000000000")},
		{"number", of("numeric(12,2)"), []string{"0.00", "0.05", "-0.05", "7.50", "1234567.89", "NaN", "123456789012345678901234567890.12"}},
		{"number", of("double precision"), []string{"1.5e+20", "-Infinity", "3.14"}},
		{"date_shift", of("date"), []string{"1984-02-29", "1969-12-31", "0001-01-02", "9999-12-31", "infinity", "0044-03-15 BC", `\N`}},
		{"date_shift", of("timestamp with time zone"), []string{"2024-02-29 10:11:12.5+00", "1900-01-01 00:00:00-07:30"}},
		{"{mask: date_shift, by: value, days: 30}", of("date"), []string{"1984-02-29", "1984-03-01"}},
		{"{mask: composite, fields: {name: {mask: person_name, part: first}, kept: keep, tags: redact, gone: \"null\", born: date_shift}}", sanitize.Column{Type: "public.person", Inner: personType()}, []string{
			`("Jane ""J""",7,"{vip,\\"late payer\\"}",x,1984-02-29)`, `(,,,,)`, `("",7,,,)`, "(Jane)", `\N`,
		}},
		{"{mask: composite, fields: {name: token, kept: keep, tags: keep, gone: keep, born: keep}}", sanitize.Column{Type: "public.person[]", Inner: &sanitize.DataType{Name: "public.person[]", Kind: sanitize.TypeArray, Element: personType()}}, []string{
			`{"(Jane,7,,,)",NULL,"(\\"Jane Roe\\",8,\\"{a,b}\\",,)"}`,
		}},
		{"hstore", of("public.hstore"), []string{`"name"=>"Jane Roe", "age"=>NULL, "a\\"b"=>""`, "oops", `\N`}},
		{"{mask: hstore, entries: {email: email, kind: keep}, default: \"null\", keys: mask}", of("hstore"), []string{`"email"=>"jane@corp.example", "kind"=>"home", "Jane"=>"x"`}},
		{"enum_label", sanitize.Column{Type: "public.tier", EnumLabels: []string{"free", "paid", "it's \"x\""}}, []string{"free", "paid", `it's "x"`, "new", `\N`}},
		{"enum_label", sanitize.Column{Type: "public.tier[]", Inner: &sanitize.DataType{Name: "public.tier[]", Kind: sanitize.TypeArray, Element: &sanitize.DataType{Name: "public.tier", EnumLabels: []string{"free", "paid"}}}}, []string{"{free,paid,NULL}"}},
		{"email", of("text[]"), []string{`{jane@corp.example,NULL,""}`, "[3:3]={jane@corp.example}"}},
		{"number", of("integer[]"), []string{"{1,22,333}", "{{1,2},{3,4}}", "{}"}},
		{"date_shift", of("daterange"), []string{"[1984-02-28,1984-03-01)", "(,1984-03-01)", "[1984-02-29,)", "empty", "[0044-03-15 BC,1984-03-01)", "[9998-12-31,9999-01-02)", `\N`}},
		{"date_shift", of("tstzmultirange"), []string{`{["2024-02-28 00:00:00+00","2024-03-01 00:00:00+00"),["2025-01-01 10:00:00+00",)}`, "{}"}},
		{"token", of("bytea"), []string{`\\x0a1b2c`, `\N`}},
		{"{mask: token, length: 8}", of("bytea"), []string{`\\x0a1b2c`}},
		{"{mask: json, keys: mask, paths: {$.email: email}}", of("jsonb"), []string{`{"email": "jane@corp.example", "jane": {"age": "x"}}`}},
		{"{mask: person_name, locale: de}", text, names},
		{"{mask: person_name, locale: ja}", text, names},
		{"{mask: person_name, locale: zh, script: latin}", text, names},
		{"{mask: person_name, locale: ar, part: last}", short(5), names},
		{"{mask: email, domain_name: map}", text, append(emails, "x@CORP.example", "x@other.example")},
		{"{mask: url, host: keep, path: shape}", text, []string{"https://jane:secret@corp.example:8443/users/jane/avatar.png?session=s3cret&page=2#top", "mailto:jane@corp.example", "https://corp.example"}},
		{"{mask: url, path: shape}", text, []string{"https://corp.example/u/jane?x=1"}},
		{"address", text, []string{"221b Baker Street, London", `221b Baker Street\nLondon NW1`}},
		{"uuid", of("uuid"), []string{"6f1c2d3e-0000-4000-8000-0123456789ab", "01890a5d-ac96-774b-bcce-b302099a8057"}},
		{"uuid", text, []string{"6F1C2D3E-0000-4000-8000-0123456789AB", "none"}},
		{"mac", of("macaddr"), []string{"08:00:2b:01:02:03"}},
		{"{mask: mac, vendor: keep}", text, []string{"08-00-2B-01-02-03", "08002b010203", "none"}},
		{"fpe", text, []string{"AB-1234567", "order 77", "Zoë 日本 12", "--", "7", `a\tb`}},
		{"{mask: fpe, alphabet: digits}", text, []string{"AB-1234567", "Jane"}},
		{"{mask: fpe, small: widen}", short(3), []string{"A1", "x"}},
		{"card", text, []string{"4111 1111 1111 1111", "4111111111111112", "card"}},
		{"{mask: card, bin: mask}", text, []string{"5500-0055-5555-5559"}},
		{"iban", text, []string{"DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "DE00370400440532013000"}},
		{"{mask: iban, bank: keep}", text, []string{"DE89370400440532013000"}},
		{"{mask: national_id, scheme: us_ssn}", text, []string{"078-05-1120", "000-00-0000"}},
		{"{mask: national_id, scheme: it_codice_fiscale}", text, []string{"RSSMRA85T10A562S", "rssmra85t10a562s"}},
		{"noise", of("integer"), []string{"48213", "-48213", "7", "0", "2147483647"}},
		{"{mask: noise, percent: 50}", of("numeric(6,2)"), []string{"9999.99", "0.10", "NaN", "1234567890123456789012.5"}},
		{"{mask: bucket, width: 1000}", of("integer"), []string{"48213", "-48213", "999"}},
		{"{mask: bucket, width: 0.5, round: nearest}", of("numeric(6,2)"), []string{"7.30", "9999.99", "-0.20", "NaN"}},
		{"{mask: bucket, width: 100}", of("double precision"), []string{"1.2345e+20", "250.75"}},
		{"{mask: date_trunc, to: month}", of("date"), []string{"1984-02-29", "infinity", "0044-03-15 BC"}},
		{"{mask: date_trunc, to: quarter}", of("timestamp with time zone"), []string{"2024-05-29 10:11:12.5+00", "1900-01-31 00:00:00-07:30"}},
		{"{mask: date_trunc, to: day}", of("timestamp without time zone"), []string{"2024-05-29 10:11:12.123456"}},
		{"birth_date", of("date"), []string{"1984-02-29", "1980-01-01", "1984-12-31", "0003-01-01"}},
		{"{mask: birth_date, to: start}", of("timestamp without time zone"), []string{"1984-02-29 10:11:12.5"}},
		{`{mask: birth_date, ages: "18,65", as_of: "2026-01-01"}`, of("date"), []string{"2008-01-01", "2008-01-02", "1961-01-01", "1961-01-02", "1890-01-01", "2027-01-01"}},
		{"{mask: geo_jitter, part: latitude}", of("numeric(9,6)"), []string{"52.520008", "90.000000", "91", "x"}},
		{"{mask: geo_jitter, part: longitude, metres: 5000}", of("double precision"), []string{"13.404954", "180", "-179.9999999", "1e-05"}},
		{"geo_jitter", of("point"), []string{"(13.404954,52.520008)", "(1,95)"}},
		{"geo_jitter", of("public.geography(Point,4326)"), []string{"0101000020E6100000AED85F764FCE2A40F1F44A5986424A40", "x"}},
		{"{mask: password, algorithm: scrypt}", text, []string{"$2b$12$abcdefghijklmnopqrstuv", "", `\N`}},
		{`{mask: template, text: "user-{{token:10}}@example.com"}`, text, []string{"jane", `\N`}},
		{"{mask: resample, least: 1}", sampled("red", "red", "red", "blue"), []string{"red", "green", `\N`}},
		{"{mask: shuffle, block: 10}", sampled("red", "red", "red", "blue"), []string{"red", "green", `\N`}},
		{`{mask: json, paths: {"$.n": noise, "$.b": {mask: bucket, width: 10}, "$.d": birth_date, "$.lat": {mask: geo_jitter, part: latitude}, "$.card": card}}`, of("jsonb"), []string{
			`{"n": 100, "b": 1.25e3, "d": "1984-02-29", "lat": 52.52, "card": "4111111111111111"}`, `{"n": "100", "b": "x", "d": 5, "lat": "no", "card": 4111111111111111}`,
		}},
		{"scrub", text, []string{`Call +44 20 7946 0018\nor jane@corp.example, card 4111 1111 1111 1111`, "nothing in it", "", `\N`}},
		{"{mask: scrub, only: email, else: redact_words}", short(60), []string{"Zoë is jane@corp.example", "born 12/03/1985"}},
		{"json", of("jsonb"), []string{
			`{"name": "Zo\\u00eb", "n": 12.5, "ok": true, "none": null, "jane@corp.example": {"a": ["x y"]}, "": ""}`,
			`"text"`, "7", "[]", "{}", "not json", `{"a": 1} x`, `{"a": "\\ud83d\\ude00\\n"}`, `\N`,
		}},
		{`{mask: json, default: keep, paths: {"$.email": email, "$.n": number, "$..phone": phone, "$.tags[*]": redact, "$.gone": "null", "$.s": {mask: static, value: "q\"q"}, "$.contact": redact, "$.contact.kind": keep, '$["a.b"].*': token}}`, of("jsonb"), []string{
			`{"email": "jane@corp.example", "n": 123, "deep": [{"phone": "555-0100"}], "phone": 5550100, "tags": ["vip", "late payer"], "gone": {"x": 1}, "s": 5, "contact": {"kind": "home", "name": "Jane", "pets": [{"n": "Rex"}]}, "a.b": {"k": "v"}, "theme": "dark \\\\ \\"q\\""}`,
		}},
	}
}

// personType is a composite type with an array in it.
func personType() *sanitize.DataType {
	return &sanitize.DataType{Name: "public.person", Kind: sanitize.TypeComposite, Fields: []sanitize.Field{
		{Name: "name", Type: &sanitize.DataType{Name: "character varying", MaxLength: 40}},
		{Name: "kept", Type: &sanitize.DataType{Name: "integer"}},
		{Name: "tags", Type: &sanitize.DataType{Name: "text[]", Kind: sanitize.TypeArray, Element: &sanitize.DataType{Name: "text"}}},
		{Name: "gone", Type: &sanitize.DataType{Name: "text"}},
		{Name: "born", Type: &sanitize.DataType{Name: "date"}},
	}}
}

func TestTransformersGolden(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	for _, c := range transformerCases() {
		fmt.Fprintf(&out, "%s on %s\n", c.spec, c.column.Type)
		for _, v := range c.values {
			got := maskOne(t, c.spec, c.column, v)
			fmt.Fprintf(&out, "  %q\n    %q\n", v, got)
			if n := utf8.RuneCountInString(got); c.column.MaxLength > 0 && got != `\N` && n > c.column.MaxLength {
				t.Errorf("%s on %s: the result for %q has %d characters", c.spec, c.column.Type, v, n)
			}
		}
	}
	golden(t, "transformers.golden", out.String())
}

func TestEveryTransformerIsInTheGoldenCasesAndDescribed(t *testing.T) {
	t.Parallel()
	tested := map[string]bool{}
	for _, c := range transformerCases() {
		name := strings.TrimPrefix(c.spec, "{mask: ")
		tested[strings.FieldsFunc(name, func(r rune) bool { return r == ',' || r == '}' })[0]] = true
	}
	for _, tr := range sanitize.Transformers() {
		if !tested[tr.Name] {
			t.Errorf("transformer %s has no golden case", tr.Name)
		}
		if tr.Summary == "" || len(tr.Types) == 0 {
			t.Errorf("transformer %s is not described", tr.Name)
		}
		for _, p := range tr.Params {
			if p.Name == "" || p.Values == "" || p.Summary == "" {
				t.Errorf("parameter %s of %s is not described", p.Name, tr.Name)
			}
		}
	}
}

// maskingSpecs are transformers that must never let a value through, with a generator of realistic values.
func maskingSpecs() map[string]struct {
	column sanitize.Column
	value  func(i int) string
} {
	type generator = struct {
		column sanitize.Column
		value  func(i int) string
	}
	text := sanitize.Column{Type: "text"}
	first := []string{"Jane", "Mary", "Robert", "Ottilie", "Zoë", "Anna-Lena", "George"}
	last := []string{"Planted", "Smith", "Johnson", "O'Hara", "Garcia", "Müller"}
	full := func(i int) string { return first[i%len(first)] + " " + last[i/len(first)%len(last)] }
	return map[string]generator{
		"email":                              {text, func(i int) string { return fmt.Sprintf("%s%d@corp.example", strings.ToLower(first[i%len(first)]), i) }},
		"{mask: email, domain_name: keep}":   {text, func(i int) string { return fmt.Sprintf("jane%d@corp.example", i) }},
		"person_name":                        {text, full},
		"{mask: person_name, part: first}":   {text, func(i int) string { return first[i%len(first)] }},
		"{mask: person_name, part: last}":    {text, func(i int) string { return last[i%len(last)] }},
		"username":                           {text, func(i int) string { return fmt.Sprintf("user%d", i) }},
		"company":                            {text, func(i int) string { return last[i%len(last)] + " Widgets" }},
		"phone":                              {text, func(i int) string { return fmt.Sprintf("%04d", i%10000) }},
		"street_address":                     {text, func(i int) string { return fmt.Sprintf("%d Maple Street", i) }},
		"city":                               {text, func(i int) string { return []string{"London", "Springfield", "Ashford", "Northbridge"}[i%4] }},
		"postcode":                           {text, func(i int) string { return fmt.Sprintf("%05d", i*7) }},
		"url":                                {text, func(i int) string { return fmt.Sprintf("https://corp.example/%d", i) }},
		"token":                              {text, func(i int) string { return fmt.Sprintf("secret%d", i) }},
		"inet":                               {sanitize.Column{Type: "inet"}, func(i int) string { return fmt.Sprintf("10.%d.%d.9", i>>8&255, i&255) }},
		"number":                             {sanitize.Column{Type: "integer"}, func(i int) string { return strconv.Itoa(1000 + i) }},
		"date_shift":                         {sanitize.Column{Type: "date"}, func(i int) string { return fmt.Sprintf("19%02d-0%d-1%d", i%100, 1+i%9, i%10) }},
		"redact":                             {text, full},
		"{mask: person_name, locale: fr}":    {text, full},
		"{mask: person_name, locale: zh}":    {text, func(i int) string { return []string{"王伟", "李娜", "张三"}[i%3] }},
		"{mask: email, domain_name: map}":    {text, func(i int) string { return fmt.Sprintf("jane%d@corp.example", i) }},
		"address":                            {text, func(i int) string { return fmt.Sprintf("%d Maple Street, 12345 Ashford", i) }},
		"uuid":                               {sanitize.Column{Type: "uuid"}, func(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }},
		"mac":                                {sanitize.Column{Type: "macaddr"}, func(i int) string { return fmt.Sprintf("08:00:2b:%02x:%02x:03", i>>8&255, i&255) }},
		"{mask: mac, vendor: keep}":          {sanitize.Column{Type: "macaddr"}, func(i int) string { return fmt.Sprintf("08:00:2b:%02x:%02x:03", i>>8&255, i&255) }},
		"fpe":                                {text, func(i int) string { return fmt.Sprintf("AB-%07d", i) }},
		"card":                               {text, func(i int) string { return fmt.Sprintf("41111111%08d", i) }},
		"iban":                               {text, func(i int) string { return fmt.Sprintf("DE89%018d", i) }},
		"noise":                              {sanitize.Column{Type: "integer"}, func(i int) string { return strconv.Itoa(1000 + i) }},
		"birth_date":                         {sanitize.Column{Type: "date"}, func(i int) string { return fmt.Sprintf("19%02d-0%d-1%d", i%100, 1+i%9, i%10) }},
		"{mask: geo_jitter, part: latitude}": {sanitize.Column{Type: "numeric"}, func(i int) string { return fmt.Sprintf("%d.%06d", i%90, i) }},
		"json":                               {sanitize.Column{Type: "jsonb"}, func(i int) string { return fmt.Sprintf(`{"who": "%s"}`, full(i)) }},
	}
}

func TestMaskedRowsNeverHoldTheOriginal(t *testing.T) {
	t.Parallel()
	for spec, g := range maskingSpecs() {
		rules, table := oneColumn(spec, g.column)
		var input strings.Builder
		const rows = 4000
		for i := range rows {
			input.WriteString(g.value(i) + "\n")
		}
		m := planFor(t, rules, table).Table("public", "t")
		output := strings.Split(maskText(t, m, input.String()), "\n")
		for i := range rows {
			if value := g.value(i); strings.Contains(strings.ToLower(output[i]), strings.ToLower(value)) {
				t.Fatalf("%s: %q became %q", spec, value, output[i])
			}
		}
		if again := maskText(t, planFor(t, rules, table).Table("public", "t"), input.String()); again != strings.Join(output, "\n") {
			t.Errorf("%s: a second plan gave different results", spec)
		}
		other, err := parse(t, rules).Plan([]sanitize.Table{table}, []byte("another key, also of 32 bytes ok"))
		if err != nil {
			t.Fatal(err)
		}
		keyless := spec == "redact" || spec == "json"
		if same := maskText(t, other.Table("public", "t"), input.String()) == strings.Join(output, "\n"); same != keyless {
			t.Errorf("%s: with another key the results are the same: %t, want %t", spec, same, keyless)
		}
	}
}

func TestUniqueTransformersKeepValuesApart(t *testing.T) {
	t.Parallel()
	sequential := func(format string) func(int) string { return func(i int) string { return fmt.Sprintf(format, i) } }
	for _, c := range []struct {
		spec   string
		column sanitize.Column
		value  func(int) string
		rows   int
	}{
		{"email", sanitize.Column{Type: "text"}, sequential("user%d@corp.example"), 100000},
		{"email", sanitize.Column{Type: "character varying(24)", MaxLength: 24}, sequential("u%d@corp.example"), 100000},
		{"token", sanitize.Column{Type: "text"}, sequential("%d"), 100000},
		{"token", sanitize.Column{Type: "uuid"}, sequential("00000000-0000-0000-0000-%012d"), 100000},
		{"username", sanitize.Column{Type: "text"}, sequential("user%d"), 100000},
		{"url", sanitize.Column{Type: "text"}, sequential("http://corp.example/%d"), 100000},
		{"phone", sanitize.Column{Type: "text"}, sequential("%04d"), 10000},
		{"phone", sanitize.Column{Type: "text"}, sequential("%d"), 10},
		{"{mask: phone, country: keep}", sanitize.Column{Type: "text"}, sequential("+44 %04d"), 10000},
		{"phone", sanitize.Column{Type: "text"}, sequential("+1 (212) 5%06d"), 100000},
		{"phone", sanitize.Column{Type: "text"}, sequential("0%08d"), 100000},
		{"{mask: phone, country: mask}", sanitize.Column{Type: "text"}, sequential("+44 %07d"), 100000},
		{"uuid", sanitize.Column{Type: "uuid"}, sequential("00000000-0000-4000-8000-%012d"), 100000},
		{"mac", sanitize.Column{Type: "macaddr"}, func(i int) string { return fmt.Sprintf("08:00:2b:%02x:%02x:%02x", i>>16, i>>8&255, i&255) }, 100000},
		{"fpe", sanitize.Column{Type: "text"}, sequential("K-%06d"), 20000},
		{"{mask: url, host: keep}", sanitize.Column{Type: "text"}, sequential("http://corp.example/%d"), 100000},
		{"number", sanitize.Column{Type: "smallint"}, sequential("%d"), 32768},
		{"number", sanitize.Column{Type: "integer"}, func(i int) string { return fmt.Sprintf("-%d", i+1) }, 100000},
		{"number", sanitize.Column{Type: "integer"}, func(i int) string { return strconv.Itoa(2147483647 - i) }, 100000},
		{"date_shift", sanitize.Column{Type: "date"}, func(i int) string { return fmt.Sprintf("%04d-%02d-%02d", 1900+i/336, 1+i/28%12, 1+i%28) }, 36000},
	} {
		c.column.Unique, c.column.NotNull = true, true
		rules, table := oneColumn(c.spec, c.column)
		var input strings.Builder
		for i := range c.rows {
			input.WriteString(c.value(i) + "\n")
		}
		output := strings.Split(strings.TrimSuffix(maskText(t, planFor(t, rules, table).Table("public", "t"), input.String()), "\n"), "\n")
		seen := make(map[string]int, c.rows)
		for i, got := range output {
			if j, twice := seen[got]; twice {
				t.Fatalf("%s on %s: %q and %q both became %q", c.spec, c.column.Type, c.value(j), c.value(i), got)
			}
			seen[got] = i
			if got == c.value(i) {
				t.Fatalf("%s on %s: %q stayed", c.spec, c.column.Type, got)
			}
		}
		if len(output) != c.rows {
			t.Fatalf("%s: %d rows became %d", c.spec, c.rows, len(output))
		}
	}
}

func TestDomains(t *testing.T) {
	t.Parallel()
	text := []sanitize.Column{{Name: "c", Type: "text"}}
	tables := []sanitize.Table{{Schema: "public", Name: "a", Columns: text}, {Schema: "public", Name: "b", Columns: text}, {Schema: "public", Name: "d", Columns: text}}
	plan := planFor(t, `
version: 1
tables:
  public.a: {columns: {c: email}}
  public.b: {columns: {c: {mask: email, domain: other}}}
  public.d: {columns: {c: {mask: email}}}
`, tables...)
	results := map[string]string{}
	for _, name := range []string{"a", "b", "d"} {
		results[name] = maskText(t, plan.Table("public", name), "jane@corp.example\n")
	}
	if results["a"] != results["d"] {
		t.Errorf("without a domain, equal values in two tables differ: %q and %q", results["a"], results["d"])
	}
	if results["a"] == results["b"] {
		t.Errorf("two domains give the same result %q", results["a"])
	}
	fromJSON := maskOne(t, `{mask: json, paths: {"$.e": email}}`, sanitize.Column{Type: "json"}, `{"e": "jane@corp.example"}`)
	if want := `{"e": "` + strings.TrimSpace(results["a"]) + `"}`; fromJSON != want {
		t.Errorf("inside json: %s, want %s as in a column", fromJSON, want)
	}
}
