package sanitize_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/sanitize"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// oracleColumn is a column of a real table: n is the row number, the expression makes its value.
type oracleColumn struct {
	name, definition, expression, spec string
	maxLength                          int
	inner                              *sanitize.DataType
	unique                             bool
}

func oracleColumns() []oracleColumn {
	odd := `CASE n % 5 WHEN 0 THEN NULL WHEN 1 THEN '' WHEN 2 THEN E'tab\t line\n back\\slash \\N "quoted" ' || n WHEN 3 THEN 'Zoë Ångström 日本 😀 ' || n ELSE E'\x01\b\f\r\v' || n END`
	return []oracleColumn{
		{name: "id", definition: "bigint PRIMARY KEY", expression: "n", spec: "keep"},
		{name: "kept", definition: "text", expression: odd, spec: "keep"},
		{name: "notes", definition: "text", expression: odd, spec: "redact"},
		{name: "email", definition: "text UNIQUE", expression: "'user' || n || '@corp.example'", spec: "email", unique: true},
		{name: "email_short", definition: "varchar(24) UNIQUE", expression: "'u' || n || '@c.example'", spec: "email", maxLength: 24, unique: true},
		{name: "email_domain", definition: "varchar(40)", expression: "'Jane' || n || '@corp.example'", spec: "{mask: email, domain_name: keep}", maxLength: 40},
		{name: "token_char", definition: "char(12) UNIQUE", expression: "'k' || n", spec: "token", maxLength: 12, unique: true},
		{name: "name", definition: "varchar(9)", expression: "'Zoë ' || n", spec: "person_name", maxLength: 9},
		{name: "username", definition: "varchar(15) UNIQUE", expression: "'u' || n", spec: "username", maxLength: 15, unique: true},
		{name: "company", definition: "text", expression: odd, spec: "company"},
		{name: "phone", definition: "varchar(20) UNIQUE", expression: "'+44 20 ' || n", spec: "phone", maxLength: 20, unique: true},
		{name: "street", definition: "varchar(12)", expression: "n || ' High St'", spec: "street_address", maxLength: 12},
		{name: "city", definition: "text", expression: odd, spec: "city"},
		{name: "postcode", definition: "varchar(8)", expression: "CASE n % 2 WHEN 0 THEN 'ÑW1 6XE' ELSE to_char(n, 'FM00000') END", spec: "postcode", maxLength: 8},
		{name: "url", definition: "text", expression: odd, spec: "url"},
		{name: "address4", definition: "inet", expression: "'192.0.2.0'::inet + n % 200", spec: "inet"},
		{name: "address6", definition: "inet", expression: "'2001:db8::/48'::inet + n", spec: "{mask: inet, network: keep}"},
		{name: "network", definition: "cidr", expression: "set_masklen(('10.0.0.0'::inet + n % 500 * 1048576)::cidr, 12 + n % 15)", spec: "inet"},
		{name: "small", definition: "smallint UNIQUE", expression: "n - 1500", spec: "number", unique: true},
		{name: "whole", definition: "integer UNIQUE", expression: "2147483647 - n", spec: "number", unique: true},
		{name: "big", definition: "bigint UNIQUE", expression: "-9223372036854775807 + n", spec: "number", unique: true},
		{name: "amount", definition: "numeric(12,4)", expression: "n * -1.0001", spec: "number"},
		{name: "rate", definition: "double precision", expression: "CASE n % 4 WHEN 0 THEN 'NaN' WHEN 1 THEN '-Infinity' WHEN 2 THEN n * 1e200 ELSE n / 7.0 END", spec: "number"},
		{name: "single", definition: "real", expression: "n / 3.0 * 1e-20", spec: "number"},
		{name: "born", definition: "date", expression: "CASE n % 9 WHEN 0 THEN 'infinity' WHEN 1 THEN '0044-03-15 BC' WHEN 2 THEN '9999-12-31' ELSE date '1900-01-01' + n * 11 END", spec: "date_shift"},
		{name: "seen", definition: "timestamptz", expression: "timestamptz '2000-02-28 23:59:59.999999+00' + n * interval '1 day 1 second'", spec: "{mask: date_shift, by: value}"},
		{name: "local", definition: "timestamp", expression: "timestamp '2000-02-28 23:59:59' + n * interval '1 day'", spec: "date_shift"},
		{name: "key", definition: "uuid UNIQUE", expression: "md5(n::text)::uuid", spec: "token", unique: true},
		{name: "document", definition: "jsonb", expression: `CASE n % 3 WHEN 0 THEN to_jsonb(` + odd + `) ELSE jsonb_build_object('email', 'j@corp.example', E'odd\n"key"\\', ` + odd + `, 'n', n, 'deep', jsonb_build_array(1.5e10, true, null, jsonb_build_object('phone', n))) END`, spec: `{mask: json, paths: {$.email: email, $.n: number, $..phone: phone}}`},
		{name: "text_json", definition: "json", expression: `'{"a" : "\u00e9\ud83d\ude00\\", "b":[ ]}'`, spec: "{mask: json, default: keep}"},
		{name: "tags", definition: "text[]", expression: `ARRAY[` + odd + `, 'a "b" \ c,{}', NULL, 'NULL', '']`, spec: "redact"},
		{name: "grid", definition: "varchar(5)[]", expression: `'[0:1][3:4]={{a,b},{"c d",NULL}}'`, spec: "redact"},
		{name: "file", definition: "bytea", expression: "decode(md5(n::text), 'hex')", spec: "redact"},
		{name: "markup", definition: "xml", expression: "('<a>x ' || n || '</a>')::xml", spec: "redact"},
		{name: "words", definition: "tsvector", expression: "to_tsvector('simple', 'fat cats ate ' || n)", spec: "redact"},
		{name: "mood", definition: "mood", expression: "'sad'", spec: "{mask: static, value: happy}"},
		{name: "level", definition: "integer", expression: "CASE n % 2 WHEN 0 THEN n END", spec: "{mask: static, value: 7, replace_null: true}"},
		{name: "emails", definition: "varchar(40)[]", expression: `ARRAY['u' || n || '@c.example', NULL, 'odd "' || n]`, spec: "email", maxLength: 40},
		{name: "cube", definition: "int[]", expression: `ARRAY[[n, -n], [n + 1, 0]]`, spec: "number"},
		{name: "keys", definition: "uuid[]", expression: `ARRAY[md5(n::text)::uuid]`, spec: "token"},
		{name: "moods", definition: "mood[]", expression: `CASE n % 2 WHEN 0 THEN '{sad,happy}' ELSE '{sad}' END::mood[]`, spec: "enum_label",
			inner: &sanitize.DataType{Name: "mood[]", Kind: sanitize.TypeArray, Element: &sanitize.DataType{Name: "mood", EnumLabels: []string{"sad", "happy"}}}},
		{name: "people", definition: "person[]", expression: `ARRAY[ROW(` + odd + `, n, ARRAY[` + odd + `, 'x'], 'gone', date '2000-01-01' + n)::person, NULL]`,
			spec:  `{mask: composite, fields: {name: {mask: token, length: 20}, kept: keep, tags: redact, gone: "null", born: date_shift}}`,
			inner: &sanitize.DataType{Name: "person[]", Kind: sanitize.TypeArray, Element: personType()}},
		{name: "stay", definition: "daterange", expression: "daterange(date '2000-02-27' + n, CASE n % 2 WHEN 0 THEN date '2000-03-05' + n END, '[]')", spec: "date_shift"},
		{name: "opening", definition: "tstzrange", expression: "tstzrange(timestamptz '0044-01-01 00:00:00+00 BC' + n * interval '1 year', timestamptz '9998-01-01 00:00:00.5+00' + n * interval '1 day')", spec: "date_shift"},
		{name: "properties", definition: "hstore", expression: "hstore('email', 'u' || n) || hstore('x', " + odd + ")", spec: "{mask: hstore, entries: {email: email}, keys: mask}"},
		{name: "secret", definition: "bytea", expression: "decode(md5(n::text), 'hex')", spec: "token"},
		{name: "full_name", definition: "varchar(8)", expression: "'Zoë ' || n", spec: "{mask: person_name, locale: hi}", maxLength: 8},
		{name: "mapped", definition: "varchar(70)", expression: "'Jane' || n || '@corp' || n % 7 || '.example'", spec: "{mask: email, domain_name: map}", maxLength: 70},
		{name: "mobile", definition: "text UNIQUE", expression: "'+1 (212) 555-' || to_char(n, 'FM0000')", spec: "phone", unique: true},
		{name: "place", definition: "text", expression: odd, spec: "address"},
		{name: "link", definition: "text", expression: "'https://u:p@corp.example/x/' || n || '?q=' || n", spec: "{mask: url, host: keep, path: shape}"},
		{name: "code", definition: "char(12) UNIQUE", expression: "'K-' || to_char(n, 'FM000000')", spec: "fpe", maxLength: 12, unique: true},
		{name: "code_fold", definition: "text", expression: odd, spec: "fpe"},
		{name: "card", definition: "varchar(19) UNIQUE", expression: "'4111 1111 ' || to_char(n, 'FM0000') || ' 1111'", spec: "card", maxLength: 19, unique: true},
		{name: "iban", definition: "varchar(34) UNIQUE", expression: "'DE' || 10 + n % 89 || to_char(n, 'FM000000000000000000')", spec: "iban", maxLength: 34, unique: true},
		{name: "ssn", definition: "char(11) UNIQUE", expression: "'219-09-' || to_char(n, 'FM0000')", spec: "{mask: national_id, scheme: us_ssn}", maxLength: 11, unique: true},
		{name: "version7", definition: "uuid UNIQUE", expression: "('01890a5d-ac96-774b-bcce-' || to_char(n, 'FM000000000000'))::uuid", spec: "uuid", unique: true},
		{name: "mac", definition: "macaddr UNIQUE", expression: "('08:00:2b:00:' || to_char(n / 100, 'FM00') || ':' || to_char(n % 100, 'FM00'))::macaddr", spec: "mac", unique: true},
		{name: "mac8", definition: "macaddr8 UNIQUE", expression: "('08:00:2b:ff:fe:00:' || to_char(n / 100, 'FM00') || ':' || to_char(n % 100, 'FM00'))::macaddr8", spec: "{mask: mac, vendor: keep}", unique: true},
		{name: "salary", definition: "numeric(6,2)", expression: "9999.99 - n", spec: "noise"},
		{name: "points", definition: "smallint", expression: "32767 - n", spec: "noise"},
		{name: "income", definition: "integer", expression: "2147483647 - n", spec: "{mask: bucket, width: 1000000, round: nearest}"},
		{name: "month", definition: "timestamptz", expression: "timestamptz '2000-02-28 23:59:59.5+00' + n * interval '1 year 1 second'", spec: "{mask: date_trunc, to: month}"},
		{name: "birthday", definition: "date", expression: "date '1940-01-01' + n * 7", spec: "birth_date"},
		{name: "moved", definition: "timestamp", expression: "timestamp '2000-02-28 23:59:59' + n * interval '1 day'", spec: "{mask: date_shift, entity: id}"},
		{name: "lat", definition: "numeric(9,6)", expression: "n * 0.06 - 90", spec: "{mask: geo_jitter, part: latitude}"},
		{name: "lon", definition: "double precision", expression: "n * 0.12 - 180", spec: "{mask: geo_jitter, part: longitude, latitude: lat}"},
		{name: "spot", definition: "point", expression: "point(n * 0.1 - 150, n * 0.05 - 75)", spec: "geo_jitter"},
		{name: "hash", definition: "text", expression: "md5(n::text)", spec: "{mask: password, algorithm: scrypt}"},
		{name: "label", definition: "text UNIQUE", expression: "'label ' || n", spec: `{mask: template, text: "{{city}}\t{{token:16}}"}`, unique: true},
		{name: "gone", definition: "point", expression: "point(n, n)", spec: `"null"`},
	}
}

// TestPostgresAcceptsEveryResult copies a table of hard values out of a real Postgres, masks it and copies it into
// another table with the same types and unique constraints.
func TestPostgresAcceptsEveryResult(t *testing.T) {
	t.Parallel()
	const rows = 3000
	server := pgtest.Cluster(t)
	conn := server.Connect(t, server.Database(t))
	exec := func(sql string) {
		t.Helper()
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%v in %.200s", err, sql)
		}
	}
	exec("CREATE TYPE mood AS ENUM ('sad', 'happy')")
	exec("CREATE EXTENSION hstore")
	exec("CREATE TYPE person AS (name varchar(40), kept integer, tags text[], gone text, born date)")
	var definitions, expressions []string
	var rules strings.Builder
	table := sanitize.Table{Schema: "public", Name: "source"}
	rules.WriteString("version: 1\ntables:\n  public.source:\n    columns:\n")
	for _, c := range oracleColumns() {
		definitions = append(definitions, c.name+" "+c.definition)
		expressions = append(expressions, c.expression)
		fmt.Fprintf(&rules, "      %s: %s\n", c.name, c.spec)
		column := sanitize.Column{Name: c.name, MaxLength: c.maxLength, Unique: c.unique, Inner: c.inner}
		if c.name == "mood" {
			column.EnumLabels = []string{"sad", "happy"}
		}
		table.Columns = append(table.Columns, column)
	}
	exec("CREATE TABLE source (" + strings.Join(definitions, ", ") + ")")
	exec("CREATE TABLE masked (LIKE source INCLUDING ALL)")
	exec(fmt.Sprintf("INSERT INTO source SELECT %s FROM generate_series(1, %d) n", strings.Join(expressions, ", "), rows))
	typesOf(t, conn, &table)
	m := planFor(t, rules.String(), table).Table("public", "source")

	var raw, masked bytes.Buffer
	if _, err := conn.PgConn().CopyTo(t.Context(), &raw, "COPY source TO STDOUT"); err != nil {
		t.Fatal(err)
	}
	w := m.Writer(&masked)
	if _, err := w.Write(raw.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tag, err := conn.PgConn().CopyFrom(t.Context(), &masked, "COPY masked FROM STDIN")
	if err != nil {
		t.Fatalf("Postgres refuses the masked rows: %v", err)
	}
	if tag.RowsAffected() != rows || w.Rows() != rows {
		t.Errorf("%d rows loaded, %d counted, want %d", tag.RowsAffected(), w.Rows(), rows)
	}
	for _, c := range oracleColumns() {
		var same, nulls, wantNulls int
		sql := fmt.Sprintf("SELECT count(*) FILTER (WHERE s.%[1]s::text = m.%[1]s::text AND s.%[1]s::text NOT IN ('', '\"\"')), count(*) FILTER (WHERE m.%[1]s IS NULL), count(*) FILTER (WHERE s.%[1]s IS NULL) FROM source s JOIN masked m USING (id)", c.name)
		if err := conn.QueryRow(t.Context(), sql).Scan(&same, &nulls, &wantNulls); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		switch c.name {
		case "gone", "level":
			continue
		case "id", "kept", "text_json":
			continue // compared below
		case "rate", "born":
			same -= rows / 2 // NaN, infinity and "never" stay
		}
		if same > 0 || nulls != wantNulls {
			t.Errorf("%s (%s): %d values stayed; %d NULLs of %d", c.name, c.spec, same, nulls, wantNulls)
		}
	}
	var changed int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM source s JOIN masked m USING (id) WHERE s.kept IS DISTINCT FROM m.kept OR s.text_json::jsonb <> m.text_json::jsonb").Scan(&changed); err != nil {
		t.Fatal(err)
	}
	if changed > 0 {
		t.Errorf("%d rows that are kept changed", changed)
	}
}

// typesOf fills in the types as format_type prints them.
func typesOf(t *testing.T, conn *pgx.Conn, table *sanitize.Table) {
	t.Helper()
	for i := range table.Columns {
		c := &table.Columns[i]
		err := conn.QueryRow(t.Context(), "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = 'source'::regclass AND attname = $1", c.Name).Scan(&c.Type)
		if err != nil {
			t.Fatal(err)
		}
	}
}
