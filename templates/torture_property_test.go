package templates

import (
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// propertySQL has the same people in five forms: a key, a foreign key, elements of an array, a document and a column with NULLs.
const propertySQL = `
CREATE TABLE people (id int PRIMARY KEY, email text NOT NULL UNIQUE, name text, phone text UNIQUE, card text, iban text, plan text, city text, born date, seen timestamptz, ref uuid UNIQUE, doc jsonb,
	UNIQUE (email, plan));
INSERT INTO people SELECT g, 'person' || g || '@mail' || g % 40 || '.corp-one.com', 'Person ' || g, '+49 30 ' || 1000000 + g, '4111111111111111', 'DE89370400440532013000',
	(ARRAY['free', 'free', 'free', 'free', 'free', 'free', 'pro', 'pro', 'team', NULL])[1 + g % 10], 'City ' || g % 7, date '1950-01-01' + g * 3, timestamptz '2020-01-01 00:00:00Z' + g * interval '1 hour',
	md5(g::text)::uuid, jsonb_build_object('mail', 'person' || g || '@mail' || g % 40 || '.corp-one.com', 'n', g, 'tags', jsonb_build_array('a', g)) FROM generate_series(1, 4000) g;
CREATE UNIQUE INDEX people_lower ON people (lower(email));
CREATE TABLE orders (id int PRIMARY KEY, person int REFERENCES people, contact text REFERENCES people (email), copies text[], loud text, total numeric(10,2) CHECK (total > 0));
INSERT INTO orders SELECT g, p, 'person' || p || '@mail' || p % 40 || '.corp-one.com', ARRAY['person' || p || '@mail' || p % 40 || '.corp-one.com', 'person' || q || '@mail' || q % 40 || '.corp-one.com', NULL],
	CASE WHEN g % 5 > 0 THEN 'person' || p || '@mail' || p % 40 || '.corp-one.com' END, 1 + g % 100 FROM (SELECT g, 1 + g * 7 % 4000 AS p, 1 + g * 11 % 4000 AS q FROM generate_series(1, 8000) g) n;
CREATE TABLE strangers (email text PRIMARY KEY);
INSERT INTO strangers SELECT 'stranger' || g || '@corp-two.com' FROM generate_series(1, 500) g;
INSERT INTO strangers SELECT email FROM people WHERE id % 9 = 0;
`

const propertyRules = `
version: 1
domains: {mail: email}
tables:
  public.people:
    columns:
      id: keep
      email: {domain: mail}
      name: person_name
      phone: phone
      card: card
      iban: iban
      plan: resample
      city: shuffle
      born: {mask: birth_date}
      seen: {mask: date_shift, by: constant}
      ref: uuid
      doc: {mask: json, default: keep, paths: {$.mail: {domain: mail}}}
  public.orders: {columns: {id: keep, person: keep, contact: {domain: mail}, copies: {domain: mail}, loud: {domain: mail}, total: number}}
  public.strangers: {columns: {email: {domain: mail}}}
`

// TestMaskedDataBehaves: joins, keys, constraints, formats and distributions are after masking what they were before.
func TestMaskedDataBehaves(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, propertySQL)
	req := request(t, mayfly.Source{DSN: endpoint.DSN()}, propertyRules)
	result := b.build(t, req)
	_, template := b.clone(t, req.Template.ID, result.Image)
	source := pgtest.Cluster(t).Connect(t, endpoint.Database)
	sameCounts(t, source, template)
	uniqueIndexes(t, template)
	oneMapping(t, source, template)
	formats(t, template)
	distributions(t, source, template)
}

// sameCounts runs queries whose results masking must not change.
func sameCounts(t *testing.T, source, template *pgx.Conn) {
	t.Helper()
	for _, query := range []string{
		`SELECT count(*) FROM orders o JOIN people p ON p.id = o.person`,
		`SELECT count(*) FROM orders o JOIN people p ON p.email = o.contact`,
		`SELECT count(*) FROM orders o JOIN people p ON p.email = o.contact AND p.id = o.person`,
		`SELECT count(*) FROM orders o CROSS JOIN LATERAL unnest(o.copies) c JOIN people p ON p.email = c`,
		`SELECT count(*) FROM orders o JOIN people p ON p.email = o.copies[1] AND o.copies[1] = o.contact`,
		`SELECT count(*) FROM orders o JOIN people p ON p.email = o.loud`,
		`SELECT count(*) FROM people WHERE doc ->> 'mail' = email`,
		`SELECT count(*) FROM people JOIN strangers USING (email)`,
		`SELECT count(*) FROM strangers s LEFT JOIN people p USING (email) WHERE p.id IS NULL`,
		`SELECT count(DISTINCT contact) || ' ' || count(DISTINCT loud) || ' ' || count(loud) FROM orders`,
		`SELECT count(DISTINCT (phone, email, ref)) FROM people`,
		`SELECT md5(string_agg((doc - 'mail')::text, ',' ORDER BY id)) FROM people`,
		`SELECT max(seen) - min(seen) FROM people`,
		`SELECT bool_and(total > 0) FROM orders`,
		`SELECT count(*) FROM people WHERE plan IS NULL`,
	} {
		if got, want := value(t, template, query), value(t, source, query); got != want {
			t.Errorf("%s: %s; in the source %s", query, got, want)
		}
	}
}

// uniqueIndexes counts what unique indexes are about, without using them.
func uniqueIndexes(t *testing.T, template *pgx.Conn) {
	t.Helper()
	var indexes [][2]string
	for _, line := range column(t, template, `SELECT indrelid::regclass || '|' || array_to_string(ARRAY(SELECT pg_get_indexdef(indexrelid, k, false) FROM generate_series(1, indnkeyatts) k), ', ')
		FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid WHERE indisunique AND relnamespace = 'public'::regnamespace`) {
		table, columns, _ := strings.Cut(line, "|")
		indexes = append(indexes, [2]string{table, columns})
	}
	if len(indexes) < 7 {
		t.Errorf("there are only %d unique indexes", len(indexes))
	}
	if _, err := template.Exec(t.Context(), "SET enable_indexscan = off; SET enable_indexonlyscan = off; SET enable_bitmapscan = off"); err != nil {
		t.Fatal(err)
	}
	for _, index := range indexes {
		query := fmt.Sprintf("SELECT count(*) FROM (SELECT 1 FROM %s WHERE (%s) IS NOT NULL GROUP BY %s HAVING count(*) > 1) d", index[0], strings.Split(index[1], ", ")[0], index[1])
		if got := value(t, template, query); got != "0" {
			t.Errorf("%s (%s): %s keys are there more than once", index[0], index[1], got)
		}
	}
}

// oneMapping reads the pairs of addresses before and after, from each place that has them: together they are one mapping,
// and no two addresses become one.
func oneMapping(t *testing.T, source, template *pgx.Conn) {
	t.Helper()
	forward, back := map[string]string{}, map[string]string{}
	for _, query := range []string{
		`SELECT email FROM people ORDER BY id`, `SELECT contact FROM orders ORDER BY id`, `SELECT copies[2] FROM orders ORDER BY id`,
		`SELECT loud FROM orders WHERE loud IS NOT NULL ORDER BY id`, `SELECT doc ->> 'mail' FROM people ORDER BY id`,
	} {
		before, after := column(t, source, query), column(t, template, query)
		if len(before) != len(after) {
			t.Fatalf("%s: %d values; in the source %d", query, len(after), len(before))
		}
		for i := range before {
			if have, seen := forward[before[i]]; seen && have != after[i] {
				t.Fatalf("%s: equal addresses become different ones", query)
			}
			if have, seen := back[after[i]]; seen && have != before[i] {
				t.Fatalf("%s: different addresses become one", query)
			}
			if before[i] == after[i] {
				t.Fatalf("%s: an address stays as it is", query)
			}
			forward[before[i]], back[after[i]] = after[i], before[i]
		}
	}
	if len(forward) != 4000 {
		t.Errorf("%d addresses were seen; want 4000", len(forward))
	}
}

func column(t *testing.T, conn *pgx.Conn, query string) []string {
	t.Helper()
	rows, err := conn.Query(t.Context(), query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}

// formats checks masked values by the rules for what they are.
func formats(t *testing.T, template *pgx.Conn) {
	t.Helper()
	matches := func(pattern string) func(string) bool { return regexp.MustCompile(pattern).MatchString }
	for query, valid := range map[string]func(string) bool{
		`SELECT email FROM people`:      matches(`^[a-z0-9._-]+@example\.com$`),
		`SELECT phone FROM people`:      matches(`^\+\d\d \d\d \d{7}$`),
		`SELECT card FROM people`:       func(v string) bool { return len(v) == 16 && v != "4111111111111111" && luhnValid(v) },
		`SELECT iban FROM people`:       func(v string) bool { return len(v) == 22 && v != "DE89370400440532013000" && ibanValid(v) },
		`SELECT ref::text FROM people`:  matches(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`),
		`SELECT name FROM people`:       matches(`^\p{L}[\p{L}'’. -]+ [\p{L}'’. -]+$`),
		`SELECT born::text FROM people`: matches(`^19\d\d-\d\d-\d\d$`),
	} {
		for _, v := range column(t, template, query) {
			if !valid(v) {
				t.Errorf("%s: %q is not valid", query, v)
				break
			}
		}
	}
}

func luhnValid(number string) bool {
	sum := 0
	for i := range number {
		d := int(number[len(number)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// ibanValid checks the remainder (ISO 13616).
func ibanValid(iban string) bool {
	var digits strings.Builder
	for _, c := range iban[4:] + iban[:4] {
		if c >= 'A' && c <= 'Z' {
			fmt.Fprint(&digits, c-'A'+10)
			continue
		}
		digits.WriteRune(c)
	}
	n, ok := new(big.Int).SetString(digits.String(), 10)
	return ok && new(big.Int).Mod(n, big.NewInt(97)).Int64() == 1
}

// distributionBound is how far the share of any value may be from the source's.
const distributionBound = 0.03

func distributions(t *testing.T, source, template *pgx.Conn) {
	t.Helper()
	for _, query := range []string{
		`SELECT coalesce(plan, '') FROM people ORDER BY id`, `SELECT city FROM people ORDER BY id`, `SELECT (extract(year FROM born)::int / 10)::text FROM people ORDER BY id`,
	} {
		before, after := column(t, source, query), column(t, template, query)
		had, has, moved := shares(before), shares(after), 0
		for v := range maps.Keys(had) {
			if math.Abs(had[v]-has[v]) > distributionBound {
				t.Errorf("%s: a value has a share of %.3f; in the source %.3f", query, has[v], had[v])
			}
		}
		for v := range maps.Keys(has) {
			if _, known := had[v]; !known {
				t.Errorf("%s: %q is not a value of the source", query, v)
			}
		}
		for i := range before {
			if before[i] != after[i] {
				moved++
			}
		}
		if !strings.Contains(query, "born") && moved < len(before)/4 {
			t.Errorf("%s: only %d of %d rows have another value", query, moved, len(before))
		}
	}
}

func shares(values []string) map[string]float64 {
	out := map[string]float64{}
	for _, v := range values {
		out[v] += 1 / float64(len(values))
	}
	return out
}
