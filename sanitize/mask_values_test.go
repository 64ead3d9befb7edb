package sanitize_test

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"

	"github.com/mayflydb/mayfly/sanitize"
)

// maskLines masks one value per row in a table of one column.
func maskLines(t *testing.T, spec string, c sanitize.Column, values []string) []string {
	t.Helper()
	rules, table := oneColumn(spec, c)
	return strings.Split(strings.TrimSuffix(maskText(t, planFor(t, rules, table).Table("public", "t"), strings.Join(values, "\n")+"\n"), "\n"), "\n")
}

func TestNoiseStaysInItsBounds(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"smallint", "integer", "bigint", "numeric", "double precision"} {
		var values []string
		for i := range 3000 {
			values = append(values, strconv.Itoa((i-1500)*21))
		}
		sum, sumMasked := 0.0, 0.0
		for i, got := range maskLines(t, "{mask: noise, percent: 20}", sanitize.Column{Type: typ}, values) {
			x, _ := strconv.ParseFloat(values[i], 64)
			y, err := strconv.ParseFloat(got, 64)
			if err != nil || math.Abs(y-x) > 0.2*math.Abs(x) || x == y && math.Abs(x) >= 5 || typ == "smallint" && math.Abs(y) > math.MaxInt16 || len(strings.Trim(got, "-")) > len(strings.Trim(values[i], "-")) {
				t.Fatalf("%s: %s became %s", typ, values[i], got)
			}
			sum, sumMasked = sum+math.Abs(x), sumMasked+math.Abs(y)
		}
		if math.Abs(sumMasked/sum-1) > 0.05 {
			t.Errorf("%s: the mean moved from %g to %g", typ, sum, sumMasked)
		}
	}
}

func TestBirthDatesKeepTheirBand(t *testing.T) {
	t.Parallel()
	var values []string
	for i := range 3000 {
		values = append(values, time.Date(1920, 1, 1+i*12, 0, 0, 0, 0, time.UTC).Format(time.DateOnly))
	}
	asOf := time.Date(2026, 2, 28, 0, 0, 0, 0, time.UTC)
	age := func(text string) int {
		born, err := time.Parse(time.DateOnly, text)
		if err != nil {
			t.Fatal(err)
		}
		years := asOf.Year() - born.Year()
		if born.AddDate(years, 0, 0).After(asOf) {
			years--
		}
		return years
	}
	band := func(age int) int {
		n := 0
		for _, from := range []int{18, 40, 65} {
			if age >= from {
				n++
			}
		}
		return n
	}
	for i, got := range maskLines(t, `{mask: birth_date, ages: "18, 40, 65", as_of: "2026-02-28"}`, sanitize.Column{Type: "date"}, values) {
		if values[i] > "2026-02-28" {
			continue
		}
		if band(age(got)) != band(age(values[i])) || got == values[i] {
			t.Fatalf("%s (aged %d) became %s (aged %d)", values[i], age(values[i]), got, age(got))
		}
	}
	for i, got := range maskLines(t, "{mask: birth_date, band: 10}", sanitize.Column{Type: "date"}, values) {
		if got[:3] != values[i][:3] || got == values[i] {
			t.Fatalf("%s became %s", values[i], got)
		}
	}
}

func TestPlacesMoveByABoundedDistance(t *testing.T) {
	t.Parallel()
	const metres = 500
	rules := parse(t, `
version: 1
tables:
  public.t:
    columns:
      lat: {mask: geo_jitter, part: latitude, metres: 500}
      lon: {mask: geo_jitter, part: longitude, metres: 500, latitude: lat}
`)
	plan, err := rules.Plan([]sanitize.Table{{Schema: "public", Name: "t", Columns: []sanitize.Column{{Name: "lat", Type: "numeric(9,6)"}, {Name: "lon", Type: "numeric(9,6)"}}}}, testKey)
	if err != nil {
		t.Fatal(err)
	}
	var input strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&input, "%.6f\t%.6f\n", float64(i%1600)/10-80, float64(i)/6-160)
	}
	before, after := strings.Fields(input.String()), strings.Fields(maskText(t, plan.Table("public", "t"), input.String()))
	number := func(s string) float64 {
		x, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	for i := 0; i < len(before); i += 2 {
		lat, lon, toLat, toLon := number(before[i]), number(before[i+1]), number(after[i]), number(after[i+1])
		x, y := (toLon-lon)*math.Cos(lat*math.Pi/180), toLat-lat
		if d := math.Hypot(x, y) * 111320; d > metres+1 || d < metres/8 {
			t.Fatalf("%g %g moved by %.1f metres", lat, lon, d)
		}
	}
}

func TestDatesOfOneEntityMoveTogether(t *testing.T) {
	t.Parallel()
	column := func(name, typ string) sanitize.Column { return sanitize.Column{Name: name, Type: typ} }
	plan := planFor(t, `
version: 1
tables:
  public.customers: {columns: {id: keep, born: {mask: date_shift, entity: id}}}
  public.orders: {columns: {customer_id: keep, placed: {mask: date_shift, entity: customer_id}, shipped: {mask: date_shift, entity: customer_id}}}
`,
		sanitize.Table{Schema: "public", Name: "customers", Columns: []sanitize.Column{column("id", "bigint"), column("born", "date")}},
		sanitize.Table{Schema: "public", Name: "orders", Columns: []sanitize.Column{column("customer_id", "bigint"), column("placed", "date"), column("shipped", "timestamp with time zone")}})
	days := func(from, to string) int {
		a, errA := time.Parse(time.DateOnly, from)
		b, errB := time.Parse(time.DateOnly, to[:10])
		if errA != nil || errB != nil {
			t.Fatal(errA, errB)
		}
		return int(b.Sub(a).Hours() / 24)
	}
	distances := map[int]bool{}
	for id := range 50 {
		customer := strings.Split(strings.TrimSpace(maskText(t, plan.Table("public", "customers"), fmt.Sprintf("%d\t1984-02-29\n", id))), "\t")
		order := strings.Split(strings.TrimSpace(maskText(t, plan.Table("public", "orders"), fmt.Sprintf("%d\t2024-03-01\t2024-03-05 10:11:12+00\n", id))), "\t")
		d := days("1984-02-29", customer[1])
		if days("2024-03-01", order[1]) != d || days("2024-03-05", order[2]) != d || d == 0 {
			t.Fatalf("customer %d: born %s, placed %s, shipped %s", id, customer[1], order[1], order[2])
		}
		distances[d] = true
	}
	if len(distances) < 30 {
		t.Errorf("50 customers move by %d distances only", len(distances))
	}
}

func TestTemplateSeesWhatOtherColumnsBecome(t *testing.T) {
	t.Parallel()
	columns := []sanitize.Column{{Name: "mail", Type: "text", Unique: true}, {Name: "first", Type: "text"}, {Name: "last", Type: "text"}}
	plan := planFor(t, `
version: 1
tables:
  public.t:
    columns:
      mail: {mask: template, text: "{{first|slug}}.{{last|slug}}.{{token:12}}@example.com"}
      first: {mask: person_name, part: first, locale: de}
      last: {mask: person_name, part: last}
`, sanitize.Table{Schema: "public", Name: "t", Columns: columns})
	got := strings.Split(strings.TrimSpace(maskText(t, plan.Table("public", "t"), "jane@corp.example\tJane\tRoe\njohn@corp.example\tJane\t\\N\n")), "\n")
	first := strings.Split(got[0], "\t")
	if !strings.HasPrefix(first[0], strings.ToLower(first[1]+"."+first[2]+".")) || !strings.HasSuffix(first[0], "@example.com") || strings.Contains(first[0], "jane") {
		t.Errorf("the template gave %q beside %q and %q", first[0], first[1], first[2])
	}
	second := strings.Split(got[1], "\t")
	if !strings.Contains(second[0], "..") || second[2] != `\N` || second[1] != first[1] {
		t.Errorf("with NULL the template gave %q", got[1])
	}
	for spec, want := range map[string]string{
		`{mask: template, text: "{{first"}`:              "without }}",
		`{mask: template, text: "{{first|upper}}"}`:      "neither a column",
		`{mask: template, text: "{{token:99}}"}`:         "1 to 51 digits",
		`{mask: template, text: "{{nobody}}@x.example"}`: "does not have",
	} {
		_, err := parse(t, "version: 1\ntables: {public.t: {columns: {mail: "+spec+", first: redact, last: redact}}}\n").
			Plan([]sanitize.Table{{Schema: "public", Name: "t", Columns: []sanitize.Column{{Name: "mail", Type: "text"}, columns[1], columns[2]}}}, testKey)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", spec, err, want)
		}
	}
}

func TestResampleKeepsTheDistribution(t *testing.T) {
	t.Parallel()
	const rows = 20000
	share := map[string]float64{"red": 0.6, "green": 0.3, "blue": 0.099, "rare": 0.0001}
	sampler := sanitize.NewSampler(5000, rand.NewPCG(3, 4))
	random := rand.New(rand.NewPCG(5, 6))
	var values []string
	for range rows {
		x := random.Float64()
		value := "blue"
		switch {
		case x < 0.6:
			value = "red"
		case x < 0.9:
			value = "green"
		case x > 0.9999:
			value = "rare"
		}
		values = append(values, value)
		sampler.Add(value)
	}
	column := sanitize.Column{Type: "text", Distribution: sampler}
	for _, spec := range []string{"resample", "shuffle"} {
		counts, same := map[string]int{}, 0
		masked := maskLines(t, spec, column, values)
		for i, v := range masked {
			counts[v]++
			if v == values[i] {
				same++
			}
		}
		for value, want := range share {
			if got := float64(counts[value]) / rows; math.Abs(got-want) > 0.03 {
				t.Errorf("%s: %.3f of the rows are %s, want %.3f", spec, got, value, want)
			}
		}
		if spec == "resample" && counts["rare"] > 0 {
			t.Errorf("a rare value was drawn %d times", counts["rare"])
		}
		if same > rows*6/10 {
			t.Errorf("%s: %d of %d rows kept their value", spec, same, rows)
		}
	}
}

func TestOnlyResampledColumnsAreSampled(t *testing.T) {
	t.Parallel()
	rules := parse(t, `
version: 1
tables:
  public.a: {columns: {x: resample, y: keep}}
  public.b: {columns: {x: shuffle}}
  public.c: {rows: none}
defaults:
  - {match: "public.d.*", mask: resample}
`)
	text := func(names ...string) []sanitize.Column {
		var out []sanitize.Column
		for _, n := range names {
			out = append(out, sanitize.Column{Name: n, Type: "text"})
		}
		return out
	}
	tables := []sanitize.Table{
		{Schema: "public", Name: "a", Columns: text("y", "x")}, {Schema: "public", Name: "b", Columns: text("x")},
		{Schema: "public", Name: "c", Columns: text("x")}, {Schema: "public", Name: "d", Columns: text("z")},
	}
	if got, want := fmt.Sprint(rules.Sampled(tables)), "[[0 1] [1 0] [3 0]]"; got != want {
		t.Errorf("sampled are %s, want %s", got, want)
	}
	if _, err := rules.Plan(tables, testKey); err == nil || !strings.Contains(err.Error(), "were not sampled") {
		t.Errorf("without samples: %v", err)
	}
}

// TestPasswordsOpen checks each hash with the library that applications would check it with.
func TestPasswordsOpen(t *testing.T) {
	t.Parallel()
	hash := func(spec string) string {
		got := maskLines(t, spec, sanitize.Column{Type: "text"}, []string{"old", "other"})
		if got[0] != got[1] {
			t.Errorf("%s: two users have %q and %q", spec, got[0], got[1])
		}
		return got[0]
	}
	if err := bcrypt.CompareHashAndPassword([]byte(hash("{mask: password, algorithm: bcrypt, cost: 4, value: open}")), []byte("open")); err != nil {
		t.Errorf("bcrypt: %v", err)
	}
	part := strings.Split(hash("{mask: password, algorithm: argon2id}"), "$")
	salt, _ := base64.RawStdEncoding.DecodeString(part[4])
	if sum := argon2.IDKey([]byte("mayfly"), salt, 3, 64<<10, 4, 32); part[3] != "m=65536,t=3,p=4" || base64.RawStdEncoding.EncodeToString(sum) != part[5] {
		t.Errorf("argon2id does not open: %q", part)
	}
	part = strings.Split(hash("{mask: password, algorithm: scrypt}"), "$")
	salt, _ = base64.RawStdEncoding.DecodeString(part[3])
	if sum, err := scrypt.Key([]byte("mayfly"), salt, 1<<14, 8, 1, 32); err != nil || part[2] != "ln=14,r=8,p=1" || base64.RawStdEncoding.EncodeToString(sum) != part[4] {
		t.Errorf("scrypt does not open: %q (%v)", part, err)
	}
	part = strings.Split(hash("{mask: password, algorithm: pbkdf2_sha256}"), "$")
	rounds, _ := strconv.Atoi(part[1])
	if sum, err := pbkdf2.Key(sha256.New, "mayfly", []byte(part[2]), rounds, 32); err != nil || base64.StdEncoding.EncodeToString(sum) != part[3] {
		t.Errorf("pbkdf2_sha256 does not open: %q (%v)", part, err)
	}
}

// TestEveryTransformerTakesAnyText feeds texts of every kind to every transformer for texts: they must neither panic nor
// exceed the column nor give what is not UTF-8.
func TestEveryTransformerTakesAnyText(t *testing.T) {
	t.Parallel()
	huge := strings.Repeat("Zoë 日本 jane@corp.example +44 20 7946 0018 ", 1000)
	values := []string{"x", "0", "-", " ", "Zoë", "日本", "😀", "a@b", "@", "::", "/", "://", "{", "}", "(,)", "\x01", `\\`, "0000-00-00", "9999999999999999999999999999", "é́", huge}
	needs := map[string]string{
		"static": ", value: x", "national_id": ", scheme: us_ssn", "password": ", algorithm: bcrypt, cost: 4", "template": `, text: "{{token:10}}"`,
		"resample": ", least: 1", "fpe": ", small: widen",
	}
	for _, tr := range sanitize.Transformers() {
		if !slices.Contains(tr.Types, "text") && tr.Types[0] != "any" {
			continue
		}
		for _, limit := range []int{0, 64} {
			column := sanitize.Column{Type: "text", MaxLength: limit, Distribution: sampled("a", "b").Distribution}
			if limit > 0 {
				column.Type = fmt.Sprintf("character varying(%d)", limit)
			}
			rules, table := oneColumn("{mask: "+strconv.Quote(tr.Name)+needs[tr.Name]+"}", column)
			parsed, err := sanitize.Parse("rules.yaml", []byte(rules))
			if err != nil {
				t.Fatalf("%s: %v", tr.Name, err)
			}
			plan, err := parsed.Plan([]sanitize.Table{table}, testKey)
			if err != nil {
				continue // not for texts, or not for short ones
			}
			for _, v := range values {
				if limit > 0 && len([]rune(v)) > limit {
					continue
				}
				got := strings.TrimSuffix(maskText(t, plan.Table("public", "t"), v+"\n"), "\n")
				if limit > 0 && len([]rune(got)) > limit || strings.ToValidUTF8(got, "") != got {
					t.Errorf("%s: %.40q became %.80q", tr.Name, v, got)
				}
				if tr.Disjoint && got == v && v != `\\` {
					t.Errorf("%s says that it is disjoint, and %q stayed", tr.Name, v)
				}
			}
		}
	}
}

func TestSecretsAreNeverKept(t *testing.T) {
	t.Parallel()
	plan := func(name, typ, spec string) error {
		table := sanitize.Table{Schema: "public", Name: "t", Columns: []sanitize.Column{{Name: name, Type: typ}}}
		_, err := parse(t, "version: 1\ntables: {public.t: {columns: {"+name+": "+spec+"}}}\n").Plan([]sanitize.Table{table}, testKey)
		return err
	}
	for _, name := range []string{"token", "api_token", "refreshToken", "webhook_secret", "password", "password_hash", "api_keys", "tokens"} {
		if err := plan(name, "text", "keep"); err == nil || !strings.Contains(err.Error(), "are never kept") {
			t.Errorf("keep of %s: %v", name, err)
		}
		for _, spec := range []string{"token", "{mask: keep, harmless: true}"} {
			if err := plan(name, "text", spec); err != nil {
				t.Errorf("%s of %s: %v", spec, name, err)
			}
		}
	}
	for name, typ := range map[string]string{"token_count": "text", "token": "integer", "secretary": "text", "password_changed_at": "timestamp with time zone"} {
		if err := plan(name, typ, "keep"); err != nil {
			t.Errorf("keep of %s %s: %v", name, typ, err)
		}
	}
}
