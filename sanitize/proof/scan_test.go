package proof

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/sanitize"
)

func testKey() []byte { return []byte("0123456789abcdef-0123456789abcdef") }

// recorded returns the originals of one masked column, public.secret.value, masked by a transformer with results of its own.
func recorded(t *testing.T, values ...string) *Originals {
	t.Helper()
	return recordedAs(t, "token", values...)
}

func recordedAs(t *testing.T, transformer string, values ...string) *Originals {
	t.Helper()
	r, err := NewRecorder(filepath.Join(t.TempDir(), "prints"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	o := r.Table("public", "secret", []sanitize.ColumnPlan{{Column: "id", Transformer: "keep"}, {Column: "value", Type: "text", Transformer: transformer}})
	for i, v := range values {
		o.Original(0, []byte("kept value number one"))
		o.Result(0, []byte("kept value number one"))
		o.Original(1, []byte(v))
		o.Result(1, fmt.Appendf(nil, "the result of number %d", i))
	}
	o.Close()
	originals, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return originals
}

// scanned scans a database as its owner and superuser, and returns what was found.
func scanned(t *testing.T, o *Originals, statements string, allow ...sanitize.Allowance) *Outcome {
	t.Helper()
	server := pgtest.Cluster(t)
	database := server.Database(t)
	server.Exec(t, database, statements)
	conn := server.Connect(t, database)
	s := NewScanner(o)
	if err := s.Rest(t.Context(), conn, conn, conn.Config().User); err != nil {
		t.Fatalf("scan the tables: %v", err)
	}
	if err := s.Catalog(t.Context(), conn, server.Image.Major); err != nil {
		t.Fatalf("scan the catalog: %v", err)
	}
	out, err := s.Outcome(allow)
	if err != nil {
		t.Fatalf("end the scan: %v", err)
	}
	return out
}

// TestScanFindsOriginals plants an original in one place at a time.
func TestScanFindsOriginals(t *testing.T) {
	t.Parallel()
	const mail, phone, name, id = "Quirina.Zebulon@planted.example", "+49 170 55511223", "Quirina Zebulon-Fitzwilliam", "6f1e0d3c-2b4a-4c5d-8e7f-90a1b2c3d4e5"
	const address = "Flat 3, 12 Old Kent Road, London SE1 5AB"
	cases := []struct{ name, place, sql string }{
		{"text", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('quirina.zebulon@PLANTED.example ')`},
		{"varchar", "public.t.v", `CREATE TABLE t (v varchar(80)); INSERT INTO t VALUES ('` + mail + `')`},
		{"char", "public.t.v", `CREATE TABLE t (v char(60)); INSERT INTO t VALUES ('` + mail + `')`},
		{"name", "public.t.v", `CREATE TABLE t (v name); INSERT INTO t VALUES ('` + mail + `')`},
		{"within a text", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('Please write to <` + mail + `>, thanks.')`},
		{"a name within a text", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('yesterday ` + name + `, again, called')`},
		{"a phone number within a text", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('call (+49) 170-555 11 223 at night')`},
		{"a phone number as a number", "public.t.v", `CREATE TABLE t (v bigint); INSERT INTO t VALUES (4917055511223)`},
		{"numeric", "public.t.v", `CREATE TABLE t (v numeric); INSERT INTO t VALUES (4917055511223)`},
		{"uuid", "public.t.v", `CREATE TABLE t (v uuid); INSERT INTO t VALUES ('` + id + `')`},
		{"inet", "public.t.v", `CREATE TABLE t (v inet); INSERT INTO t VALUES ('203.0.113.77')`},
		{"toast", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES (repeat('nothing here ', 5000) || '` + mail + `' || repeat(' more', 5000))`},
		{"array", "public.t.v", `CREATE TABLE t (v text[]); INSERT INTO t VALUES (ARRAY['a', '` + name + `'])`},
		{"json", "public.t.v", `CREATE TABLE t (v json); INSERT INTO t VALUES ('{"a": [{"b": "` + mail + `"}]}')`},
		{"jsonb", "public.t.v", `CREATE TABLE t (v jsonb); INSERT INTO t VALUES ('{"a": [{"b": 4917055511223}]}')`},
		{"composite", "public.t.v", `CREATE TYPE pair AS (a int, b text); CREATE TABLE t (v pair); INSERT INTO t VALUES (ROW(1, '` + name + `'))`},
		{"range", "public.t.v", `CREATE TABLE t (v int8range); INSERT INTO t VALUES (int8range(1, 4917055511223))`},
		{"domain", "public.t.v", `CREATE DOMAIN d AS text; CREATE TABLE t (v d); INSERT INTO t VALUES ('` + mail + `')`},
		{"bytea", "public.t.v", `CREATE TABLE t (v bytea); INSERT INTO t VALUES ('\x00' || convert_to('` + mail + `', 'UTF8'))`},
		{"tsvector", "public.t.v", `CREATE TABLE t (v tsvector); INSERT INTO t VALUES (to_tsvector('simple', 'mail ` + mail + `'))`},
		{"materialized view", "public.m.v", `CREATE MATERIALIZED VIEW m AS SELECT '` + mail + `'::text AS v WITH DATA`},
		{"partition", "public.p1.v", `CREATE TABLE p (v text) PARTITION BY LIST (v); CREATE TABLE p1 PARTITION OF p DEFAULT; INSERT INTO p VALUES ('` + mail + `')`},
		{"index expression", "index expression public.i", `CREATE TABLE t (a text, b text); CREATE INDEX i ON t ((a || '@planted.example')) WHERE b IS NOT NULL; INSERT INTO t VALUES ('Quirina.Zebulon', 'x')`},
		{"statistics", "statistics of public.t.v", `CREATE TABLE t (v text); INSERT INTO t SELECT '` + mail + `' FROM generate_series(1, 200); INSERT INTO t SELECT 'x'||g FROM generate_series(1,200) g; ANALYZE t; DELETE FROM t`},
		{"sequence", "sequence public.s", `CREATE SEQUENCE s; SELECT setval('s', 4917055511223)`},
		{"comment", "comment table public.t", `CREATE TABLE t (); COMMENT ON TABLE t IS 'ask ` + mail + `'`},
		{"function", "function public.f()", `CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '` + name + `' $$`},
		{"argument default", "function public.f(text)", `CREATE FUNCTION f(a text DEFAULT '` + mail + `') RETURNS int LANGUAGE sql AS $$ SELECT 1 $$`},
		{"default", "default of public.t.v", `CREATE TABLE t (v text DEFAULT '` + mail + `')`},
		{"missing value", "missing value of public.t.v", `CREATE TABLE t (a int); INSERT INTO t VALUES (1); ALTER TABLE t ADD v text DEFAULT '` + mail + `'; ALTER TABLE t ALTER v DROP DEFAULT; DELETE FROM t`},
		{"constraint", "constraint public.t.c", `CREATE TABLE t (v text, CONSTRAINT c CHECK (v <> '` + mail + `'))`},
		{"partition bound", "partition bound of public.p1", `CREATE TABLE p (v text) PARTITION BY LIST (v); CREATE TABLE p1 PARTITION OF p FOR VALUES IN ('` + mail + `')`},
		{"policy", "policy public.t.q", `CREATE TABLE t (v text); CREATE POLICY q ON t USING (v = '` + mail + `')`},
		{"view", "view public.w", `CREATE VIEW w AS SELECT '` + name + `'::text AS v`},
		{"trigger", "trigger public.t.g", `CREATE TABLE t (v text); CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'; CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f('` + mail + `')`},
		{"rule", "rule public.t.r", `CREATE TABLE t (v text); CREATE RULE r AS ON INSERT TO t WHERE NEW.v = '` + mail + `' DO INSTEAD NOTHING`},
		{"index definition", "index public.i", `CREATE TABLE t (v text); CREATE INDEX i ON t (v) WHERE v <> '` + mail + `'`},
		{"enum label", "enum label of public.e", `CREATE TYPE e AS ENUM ('` + mail + `')`},
		{"domain constraint", "constraint public.d.d_check", `CREATE DOMAIN d AS text CHECK (VALUE <> '` + mail + `')`},
		{"large object", "large object 4242", `SELECT lo_from_bytea(4242, convert_to(repeat(E'x\n', 131000) || '` + mail + `', 'UTF8'))`},
		{"name of a column", "column name public.t.quirina.zebulon@planted.example", `CREATE TABLE t ("quirina.zebulon@planted.example" int)`},
		{"the query of an address", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('/unsubscribe?email=` + mail + `&list=3')`},
		{"the path of an address", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('https://x.example/u/` + mail + `/edit#top')`},
		{"escaped in an address", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('/u?email=Quirina.Zebulon%40planted.example&list=3')`},
		{"the name of a file", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('s3://bucket/users/user_` + id + `.thumb.png')`},
		{"a UUID without dashes", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('files/6F1E0D3C2B4A4C5D8E7F90A1B2C3D4E5/x')`},
		{"a UUID in bytes", "public.t.v", `CREATE TABLE t (v bytea); INSERT INTO t VALUES ('\x6f1e0d3c2b4a4c5d8e7f90a1b2c3d4e5')`},
		{"a document in a text", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('{"who": "J\u00fcrgen M\u00fcller-L\u00fcdenscheidt"}')`},
		{"a document in a document", "public.t.v", `CREATE TABLE t (v jsonb); INSERT INTO t VALUES (jsonb_build_object('body', 'sent {\"who\": \"J\u00fcrgen M\u00fcller-L\u00fcdenscheidt\"}'))`},
		{"HTML", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('<b>Quirina.Zebulon&#64;planted.example</b>')`},
		{"beside letters of another script", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('邮箱` + mail + `请')`},
		{"a long address within a text", "public.t.v", `CREATE TABLE t (v text); INSERT INTO t VALUES ('ship to: ` + address + ` today')`},
		{"a network", "public.t.v", `CREATE TABLE t (v inet); INSERT INTO t VALUES ('203.0.113.77/24')`},
		{"a quote in a literal", "view public.w", `CREATE VIEW w AS SELECT 'Pat O''Brien-Fitzgerald'::text AS v`},
		{"a quote in a default", "default of public.t.v", `CREATE TABLE t (v text DEFAULT 'Pat O''Brien-Fitzgerald')`},
		{"name of a policy", "policy public.t.quirina.zebulon@planted.example", `CREATE TABLE t (v text); CREATE POLICY "` + mail + `" ON t`},
		{"foreign server", "foreign server s", `CREATE EXTENSION postgres_fdw SCHEMA public; CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '` + mail + `')`},
	}
	o := recorded(t, mail, phone, name, id, address, "Jürgen Müller-Lüdenscheidt", "Pat O'Brien-Fitzgerald", "203.0.113.77", "+49 (0)30 9000111", "2020-01-02", "short", "true")
	var all strings.Builder
	schemaOf := func(i int) string { return fmt.Sprintf("case%d", i) }
	for i, c := range cases {
		fmt.Fprintf(&all, "CREATE SCHEMA %[1]s; SET search_path = %[1]s;\n%[2]s;\n", schemaOf(i), c.sql)
	}
	found := map[string]Hit{}
	for _, h := range scanned(t, o, all.String()).Hits {
		found[strings.ToLower(h.Place.String())] = h
	}
	for i, c := range cases {
		place := strings.ReplaceAll(c.place, "public.", schemaOf(i)+".")
		if h := found[place]; h.Of != "public.secret.value" || h.Count == 0 || h.Allowed {
			t.Errorf("%s: the hit in %s is %+v; want one of public.secret.value, not allowed", c.name, place, h)
		}
	}
}

// TestNamesInTheCatalogAreScanned: what has a name of its own and no other text.
func TestNamesInTheCatalogAreScanned(t *testing.T) {
	t.Parallel()
	out := scanned(t, recorded(t, "quirina@planted.example"), `CREATE TEXT SEARCH CONFIGURATION "quirina@planted.example" (COPY = simple); CREATE COLLATION "quirina@planted.example" (locale = 'C')`)
	got := fmt.Sprint(out.Hits)
	for _, want := range []string{"text search configuration", "collation"} {
		if !strings.Contains(got, "name of "+want) {
			t.Errorf("nothing was found in the name of a %s; hits: %s", want, got)
		}
	}
}

func TestScanFindsSettings(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.StartOptions{})
	server.Exec(t, "postgres", `ALTER DATABASE postgres SET application.contact = 'quirina@planted.example'; CREATE ROLE r; ALTER ROLE r SET application.who = 'zebulon@planted.example'; COMMENT ON DATABASE postgres IS 'fitzwilliam@planted.example'`)
	conn := server.Connect(t, "postgres")
	s := NewScanner(recorded(t, "quirina@planted.example", "zebulon@planted.example", "fitzwilliam@planted.example"))
	if err := s.Catalog(t.Context(), conn, server.Image.Major); err != nil {
		t.Fatal(err)
	}
	out, err := s.Outcome(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(out.Hits)
	for _, want := range []string{"setting of  postgres", "setting of r ", "comment database postgres"} {
		if !strings.Contains(got, want) {
			t.Errorf("nothing was found in %q; hits: %s", want, got)
		}
	}
}

func TestScanPassesWhatIsClean(t *testing.T) {
	t.Parallel()
	o := recorded(t, "Quirina.Zebulon@planted.example", "pending", "true", "42", "2024-01-31", "2024-01-31 10:20:30.123456+00", "Alexander", "127.0.0.1", "--------------", "00000000-0000-0000-0000-000000000000", "999")
	out := scanned(t, o, `CREATE TYPE e AS ENUM ('pending', 'done');
		CREATE TABLE t (a text, b e, c boolean, d int, e date, f timestamptz, g jsonb, h inet, i uuid, j text);
		INSERT INTO t SELECT 'Alexander', 'pending', true, 42, '2024-01-31', '2024-01-31 10:20:30.123456+00', '{"a": true, "b": "pending"}', '127.0.0.1',
			'00000000-0000-0000-0000-000000000000', '--------------' FROM generate_series(1, 1000);
		CREATE INDEX ON t (lower(a)); CREATE MATERIALIZED VIEW m AS SELECT a, count(*) FROM t GROUP BY a; ANALYZE`)
	if len(out.Hits) > 0 {
		t.Errorf("a clean database has hits: %v", out.Hits)
	}
	var values int64
	for _, l := range out.Looked {
		values += l.Values
	}
	if values < 10_000 {
		t.Errorf("only %d values were looked at", values)
	}
}

func TestAllowances(t *testing.T) {
	t.Parallel()
	out := scanned(t, recorded(t, "San Francisco Bay"), `CREATE TABLE stores (city text); INSERT INTO stores SELECT 'San Francisco Bay' FROM generate_series(1, 100); ANALYZE stores`,
		sanitize.Allowance{Place: "public.stores.city", Reason: "stores are public"}, sanitize.Allowance{Place: "public.stores.name", Reason: "none"})
	if got := out.Surviving(); len(got) > 0 {
		t.Errorf("hits in an allowed column, or its statistics, survive: %v", got)
	}
	if len(out.Hits) == 0 {
		t.Error("allowed hits are not reported")
	}
	if unused := out.Unused(); len(unused) != 1 || unused[0].Place != "public.stores.name" {
		t.Errorf("unused allowances are %v; want that of public.stores.name", unused)
	}
}

func TestResultsOfSharedTransformersAreNoEvidence(t *testing.T) {
	t.Parallel()
	r, err := NewRecorder(filepath.Join(t.TempDir(), "prints"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	o := r.Table("public", "people", []sanitize.ColumnPlan{{Column: "name", Type: "text", Transformer: "person_name"}})
	pairs := [][2]string{{"Quirina Zebulon", "Maximilian Longname"}, {"Maximilian Longname", "Theodora Otherone"}, {"Unchanged Original", "Unchanged Original"}}
	for _, p := range pairs {
		o.Original(0, []byte(p[0]))
		o.Result(0, []byte(p[1]))
	}
	o.Close()
	originals, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	out := scanned(t, originals, `CREATE TABLE people (name text); INSERT INTO people VALUES ('Maximilian Longname'), ('Theodora Otherone'), ('Unchanged Original');
		CREATE MATERIALIZED VIEW m AS SELECT name FROM people; ANALYZE`)
	if len(out.Hits) == 0 || out.Coincidences == 0 {
		t.Fatalf("hits are %v with %d coincidences; want the unchanged original, and the other as a coincidence", out.Hits, out.Coincidences)
	}
	for _, h := range out.Hits {
		if h.Values != 1 {
			t.Errorf("%s; want the unchanged original alone", h)
		}
	}
	if c := originals.Columns[0]; c.Values != 3 || c.Unchanged != 1 || c.Distinct != 3 {
		t.Errorf("the column is recorded as %+v", c)
	}
}

// TestShuffledColumnsHideNothing: where a column's own values stay by its rule, originals of other columns are found all the same.
func TestShuffledColumnsHideNothing(t *testing.T) {
	t.Parallel()
	r, err := NewRecorder(filepath.Join(t.TempDir(), "prints"), testKey())
	if err != nil {
		t.Fatal(err)
	}
	o := r.Table("public", "people", []sanitize.ColumnPlan{{Column: "email", Type: "text", Transformer: "email"}, {Column: "contact", Type: "text", Transformer: "shuffle"}})
	const mail, other = "quirina@planted.example", "only-here@planted.example"
	for _, row := range [][3]string{{mail, other, mail}, {"zebulon@planted.example", mail, other}} {
		o.Original(0, []byte(row[0]))
		o.Result(0, []byte("made-up@example.com"))
		o.Original(1, []byte(row[1]))
		o.Result(1, []byte(row[2]))
	}
	o.Close()
	originals, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	out := scanned(t, originals, `CREATE TABLE people (email text, contact text); INSERT INTO people VALUES ('made-up@example.com', '`+mail+`'), ('made-up@example.com', '`+other+`')`)
	if len(out.Hits) != 1 || out.Hits[0].Place.String() != "public.people.contact" || out.Hits[0].Of != "public.people.email" || out.Hits[0].Values != 1 {
		t.Errorf("hits are %v; want one value of public.people.email in public.people.contact", out.Hits)
	}
}

func TestFilesAreSearched(t *testing.T) {
	t.Parallel()
	const planted = "Quirina.Zebulon@planted.example"
	values := []string{planted}
	for i := range 3000 {
		values = append(values, fmt.Sprintf("somebody.%d@elsewhere.example", i*7919))
	}
	// Only a sample is searched for: it must not be too small for this test.
	o := recorded(t, values[:20]...)
	for at := range 20 {
		content := bytes.Repeat([]byte{0, 'e', 'x', 'a', 'm', 'p', 'l', 'e', '@'}, 400_000)
		copy(content[filePart-10+at:], planted)
		s := NewScanner(o)
		files := map[string][]byte{"base/5/16384": content, "pg_wal/1": []byte("clean"), "base/5/16385.1": []byte("x" + values[3])}
		describe := func(path string) string { return strings.Replace(path, "base/5/16385.1", "index public.i", 1) }
		var err error
		if at%2 == 0 {
			err = s.Files(tarOf(t, files), describe)
		} else {
			err = s.Directory(t.Context(), directoryOf(t, files), 2, describe)
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := s.Outcome(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(out.Hits); len(out.Hits) != 2 || !strings.Contains(got, "file base/5/16384") || !strings.Contains(got, "file index public.i") {
			t.Fatalf("planted at %d, hits are %s", at, got)
		}
		if out.Files.Files != 3 || out.Files.Patterns != 20 {
			t.Errorf("%+v; want 3 files and 20 patterns", out.Files)
		}
	}
}

func TestWhatPostgresBringsIsNoEvidence(t *testing.T) {
	t.Parallel()
	const country, person = "United Kingdom of Somewhere", "Quirina Zebulon Planted"
	o := recorded(t, country, person)
	files := map[string][]byte{
		"base/4/2609": []byte("English (" + country + ")"), "base/5/2609": []byte("English (" + country + ")"),
		"base/41/2609": []byte(person), "base/5/16384": []byte("x" + country),
	}
	describe := func(string) string { return "" }
	for name, search := range map[string]func(*Scanner) error{
		"archive":   func(s *Scanner) error { return s.Files(tarOf(t, files), describe) },
		"directory": func(s *Scanner) error { return s.Directory(t.Context(), directoryOf(t, files), 2, describe) },
	} {
		s := NewScanner(o)
		s.Pristine("base/4")
		if err := search(s); err != nil {
			t.Fatal(err)
		}
		out, err := s.Outcome(nil)
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(out.Hits); len(out.Hits) != 1 || !strings.Contains(got, "file base/41/2609") {
			t.Errorf("%s: hits are %s; want the person alone", name, got)
		}
	}
}

// directoryOf also has a link that leads to a file elsewhere, which is none of the cluster's.
func directoryOf(t *testing.T, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, content, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "base", "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

func tarOf(t *testing.T, files map[string][]byte) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

// TestNoFalseAlarms asks about a million random values that are no originals.
func TestNoFalseAlarms(t *testing.T) {
	t.Parallel()
	values := make([]string, 200_000)
	for i := range values {
		values[i] = fmt.Sprintf("original-%d@source.example", i)
	}
	m := newMatcher(recorded(t, values...))
	p := m.prober()
	p.place = m.place(Place{KindColumn, "public.t.v"})
	for i := range 1_000_000 {
		p.value(fmt.Appendf(nil, "another.%d@template.example", i))
	}
	hits, err := m.hits(func(Place) bool { return false })
	if err != nil || p.err != nil || len(hits) > 0 {
		t.Fatalf("a million other values gave %v, %v, %v", hits, err, p.err)
	}
	for i := range 1000 {
		p.value([]byte(values[i*200]))
	}
	hits, err = m.hits(func(Place) bool { return false })
	if err != nil || len(hits) != 1 || hits[0].Values != 1000 {
		t.Fatalf("a thousand originals gave %v, %v", hits, err)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	if got := len(newFilter(1<<50, maxFilterBytes).blocks) * blockBits / 8; got > maxFilterBytes {
		t.Errorf("a filter for 2^50 values takes %d bytes; want %d at most", got, maxFilterBytes)
	}
	m := newMatcher(recorded(t, "Quirina.Zebulon@planted.example"))
	// A filter that lets everything pass is the worst that many originals can make of it.
	for i := range m.originals.filter.blocks {
		for j := range m.originals.filter.blocks[i] {
			m.originals.filter.blocks[i][j] = ^uint64(0)
		}
	}
	p := m.prober()
	p.place = m.place(Place{KindColumn, "public.t.v"})
	var value [16]byte
	copy(value[8:], "@example")
	most := 0
	for i := range 3 * maxCandidates {
		binary.BigEndian.PutUint64(value[:], uint64(i)*0x9e3779b97f4a7c15|0x8080808080808080)
		p.value(value[:])
		most = max(most, len(m.candidates))
	}
	p.value([]byte("Quirina.Zebulon@planted.example"))
	if most > maxCandidates || p.err != nil {
		t.Errorf("%d candidates were kept, %v; want %d at most", most, p.err, maxCandidates)
	}
	if hits, err := m.hits(func(Place) bool { return false }); err != nil || len(hits) != 1 || hits[0].Values != 1 {
		t.Errorf("hits are %v, %v; want the one original", hits, err)
	}
	observer := (&Recorder{byName: map[string]uint32{}, begins: newPrefixes()}).Table("s", "t", make([]sanitize.ColumnPlan, 1600))
	size := 0
	for i := range observer.columns {
		size += cap(observer.columns[i].prints) * 16
	}
	if size > 2*observerBytes {
		t.Errorf("the buffers of a table with 1600 masked columns take %d bytes", size)
	}
}

func TestGroups(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	database := server.Database(t)
	server.Exec(t, database, `CREATE TABLE people (born int, postcode text); INSERT INTO people SELECT g % 3, 'A' FROM generate_series(1, 30) g; INSERT INTO people VALUES (7, NULL), (7, NULL), (8, 'B')`)
	g, err := CountGroups(t.Context(), server.Connect(t, database), sanitize.QuasiIdentifiers{Table: "public.people", Columns: []string{"born", "postcode"}, MinGroup: 5})
	if err != nil {
		t.Fatal(err)
	}
	if g.Rows != 33 || g.Groups != 5 || g.Smallest != 1 || g.SmallGroups != 2 || g.SmallRows != 3 || fmt.Sprint(g.Rarest) != "[1 2 10 10 10]" || !g.Below() {
		t.Errorf("the groups are %+v", g)
	}
}

// forgetful hides that an observer remembers.
type forgetful struct{ sanitize.Observer }

// TestRememberedValues masks values that come again and again, with an observer that is shown them once and one that is
// shown them each time.
func TestRememberedValues(t *testing.T) {
	t.Parallel()
	table := sanitize.Table{Schema: "public", Name: "t", Columns: []sanitize.Column{
		{Name: "name", Type: "text"}, {Name: "mail", Type: "text"}, {Name: "phone", Type: "text"}, {Name: "kept", Type: "text"},
	}}
	rules, err := sanitize.Parse("rules.yaml", []byte("version: 1\ntables:\n  public.t:\n    columns: {name: person_name, mail: email, phone: phone, kept: keep}\n"))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := rules.Plan([]sanitize.Table{table}, testKey())
	if err != nil {
		t.Fatal(err)
	}
	masker := plan.Table("public", "t")
	recorded := func(wrap func(*Observer) sanitize.Observer) (counts []string, prints map[string]bool) {
		r, err := NewRecorder(filepath.Join(t.TempDir(), "prints"), testKey())
		if err != nil {
			t.Fatal(err)
		}
		o := r.Table("public", "t", masker.Columns())
		w := masker.Writer(io.Discard)
		w.Observe(wrap(o))
		for i := range 3000 {
			long := strings.Repeat("x", 60*(i%2)) // does not fit the memory
			if _, err := fmt.Fprintf(w, "Quirina Zebulon%d\tq%d%s@planted.example\t+49 170 555%04d\t\\N\n", i%7, i%5000/3, long, i%11); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		o.Close()
		originals, err := r.Finish()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range originals.Columns {
			counts = append(counts, fmt.Sprintf("%s: %d values, %d provable, %d unchanged, %d of them provable, %d different", c.Column, c.Values, c.Provable, c.Unchanged, c.UnchangedProvable, c.Distinct))
		}
		prints = map[string]bool{}
		if err := originals.read(io.Discard, func(column uint32, block []byte) {
			for ; len(block) > 0; block = block[fingerprintBytes:] {
				prints[fmt.Sprint(column, decode(block))] = true
			}
		}); err != nil {
			t.Fatal(err)
		}
		return counts, prints
	}
	once, oncePrints := recorded(func(o *Observer) sanitize.Observer { return o })
	each, eachPrints := recorded(func(o *Observer) sanitize.Observer { return forgetful{o} })
	if !slices.Equal(once, each) || !maps.Equal(oncePrints, eachPrints) || len(once) != 3 {
		t.Errorf("shown once: %q, %d different fingerprints; each time: %q, %d", once, len(oncePrints), each, len(eachPrints))
	}
}
