package templates

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// leftSQL puts values of people, whose columns are masked, into places that leftRules leave as they are.
const leftSQL = `
CREATE EXTENSION hstore;
CREATE TABLE people (id int PRIMARY KEY, name text NOT NULL, email text UNIQUE, device uuid, account bigint);
INSERT INTO people SELECT g, 'Vexilla Qorbin ' || g, 'vexilla.qorbin' || g || '@corp-one.com', '70717273-7475-4677-8879-707172737475', 707172737475700 + g FROM generate_series(1, 50) g;
CREATE TYPE pair AS (name text, n int);
CREATE TYPE label AS ENUM ('other', 'Vexilla Qorbin 1');
CREATE DOMAIN known AS text DEFAULT 'Vexilla Qorbin 2';
CREATE TABLE kept (
	id int PRIMARY KEY, c_text text, c_varchar varchar(40), c_char char(40), c_name name, c_json json, c_jsonb jsonb, c_key jsonb, c_array text[], c_pair pair, c_pairs pair[],
	c_known known, c_hstore hstore, c_bytea bytea, c_xml xml, c_uuid uuid, c_bigint bigint, c_numeric numeric, c_toasted text,
	c_default text DEFAULT 'Vexilla Qorbin 3', c_checked text CONSTRAINT checked CHECK (c_checked <> 'Vexilla Qorbin 4')
);
INSERT INTO kept SELECT g, 'see Vexilla Qorbin ' || g || ', please', 'Vexilla Qorbin ' || g, 'Vexilla Qorbin ' || g, 'vexilla.qorbin' || g || '@corp-one.com',
	json_build_object('a', ARRAY['Vexilla Qorbin ' || g]), jsonb_build_object('a', jsonb_build_object('b', 'vexilla.qorbin' || g || '@corp-one.com')),
	jsonb_build_object('vexilla.qorbin' || g || '@corp-one.com', 1), ARRAY[['Vexilla Qorbin ' || g]], ROW('Vexilla Qorbin ' || g, 1)::pair, ARRAY[ROW('Vexilla Qorbin ' || g, 1)::pair],
	'VEXILLA.QORBIN' || g || '@corp-one.com', hstore('vexilla.qorbin' || g || '@corp-one.com', 'x'), convert_to('Vexilla Qorbin ' || g, 'UTF8'),
	('<a>vexilla.qorbin' || g || '@corp-one.com</a>')::xml, '70717273-7475-4677-8879-707172737475', 707172737475700 + g, 707172737475700 + g,
	repeat('long text, ', 2000) || 'Vexilla Qorbin ' || g, 'none', 'none' FROM generate_series(1, 30) g;
CREATE TABLE parted (id int, who text) PARTITION BY LIST (who);
CREATE TABLE parted_one PARTITION OF parted FOR VALUES IN ('Vexilla Qorbin 5');
CREATE INDEX kept_index ON kept (replace(c_default, 'Vexilla Qorbin 6', '')) WHERE c_default <> 'Vexilla Qorbin 7';
CREATE INDEX made_index ON kept ((c_varchar || ' at home'));
CREATE STATISTICS kept_mcv (mcv) ON c_varchar, c_default FROM kept;
CREATE VIEW seen AS SELECT 'Vexilla Qorbin 8'::text AS who;
CREATE MATERIALIZED VIEW filled AS SELECT c_varchar FROM kept;
CREATE FUNCTION told() RETURNS text LANGUAGE sql AS $$ SELECT 'Vexilla Qorbin 9' $$;
CREATE FUNCTION touched() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER touched BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION touched('Vexilla Qorbin 10');
CREATE RULE logged AS ON DELETE TO kept DO ALSO SELECT 'Vexilla Qorbin 11';
ALTER TABLE kept ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON kept USING (c_text <> 'Vexilla Qorbin 12');
CREATE SEQUENCE numbers START 707172737475701;
CREATE AGGREGATE joined(text) (SFUNC = textcat, STYPE = text, INITCOND = 'Vexilla Qorbin 13');
COMMENT ON TABLE kept IS 'Vexilla Qorbin 14';
CREATE SCHEMA "vexilla.qorbin15@corp-one.com";
CREATE TABLE "vexilla.qorbin16@corp-one.com" ("vexilla.qorbin17@corp-one.com" int);
ANALYZE;
`

const leftRules = `
version: 1
tables:
  public.people: {columns: {id: keep, name: person_name, email: email, device: uuid, account: number}}
  public.parted_one: {columns: {id: keep, who: keep}}
defaults:
  - {match: public.kept.*, mask: keep}
  - {match: "*.*.vexilla*", mask: keep}
catalog: {comments: keep, literals: keep}
`

// TestWhatRulesLeave: what the rules would leave is found wherever it is, and there is no template.
func TestWhatRulesLeave(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 17} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			t.Parallel()
			b, _ := provedBed(t)
			pgtest.Image(t, major)
			_, endpoint := sourceServer(t, major, leftSQL)
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, leftRules)
			req.Project.Postgres.Major = major
			result, err := b.builder.Build(t.Context(), req)
			if mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed {
				t.Fatalf("the build ended with: %v (%s); want a failed verification", err, mayfly.ErrorHint(err))
			}
			var places []string
			for _, h := range result.Report.Proof.Surviving() {
				places = append(places, h.Place.String())
			}
			for _, place := range leftPlaces() {
				if !slices.Contains(places, place) {
					t.Errorf("what is left in %s is not found", place)
				}
			}
			if t.Failed() {
				t.Logf("found: %s", strings.Join(slices.Compact(slices.Sorted(slices.Values(places))), "; "))
			}
			report, _ := json.Marshal(result.Report)
			for _, text := range []string{err.Error(), mayfly.ErrorHint(err), string(report)} {
				if strings.Contains(text, "Vexilla Qorbin ") {
					t.Errorf("a value is told: %s", text)
				}
			}
			b.nothingLeft(t, req.Template.ID)
		})
	}
}

func leftPlaces() []string {
	places := []string{
		"view public.seen", "public.filled.c_varchar", "function public.told()", "function public.joined(text)", "trigger public.kept.touched", "rule public.kept.logged",
		"policy public.kept.own", "default of public.kept.c_default", "constraint public.kept.checked", "partition bound of public.parted_one",
		"index public.kept_index", "enum label of public.label", "type public.known", "comment table public.kept", "sequence public.numbers",
		"statistics of public.kept.c_varchar", "extended statistics public.kept_mcv", `relation public."vexilla.qorbin16@corp-one.com"`,
		`schema vexilla.qorbin15@corp-one.com`, `column name public."vexilla.qorbin16@corp-one.com".vexilla.qorbin17@corp-one.com`,
		"index expression public.made_index",
	}
	for _, column := range []string{
		"text", "varchar", "char", "name", "json", "jsonb", "key", "array", "pair", "pairs", "known", "hstore", "bytea", "xml", "uuid", "bigint", "numeric", "toasted",
	} {
		places = append(places, "public.kept.c_"+column)
	}
	return places
}

const stuckSQL = `
CREATE TYPE label AS ENUM ('other', 'jane.roe@corp-one.com');
CREATE DOMAIN known AS text CHECK (VALUE <> 'jane.roe@corp-one.com');
CREATE TABLE t (id int PRIMARY KEY, a text CHECK (a <> 'jane.roe@corp-one.com'), l label);
CREATE TABLE parted (who text) PARTITION BY LIST (who);
CREATE TABLE parted_one PARTITION OF parted FOR VALUES IN ('jane.roe@corp-one.com');
CREATE TABLE "jane.roe@corp-one.com" (id int);
CREATE VIEW seen AS SELECT 'jane.roe@corp-one.com'::text AS who;
`

const stuckRules = `
version: 1
defaults:
  - {match: "*.t.*", mask: keep}
  - {match: "*.parted*.*", mask: keep}
  - {match: "*.jane*.*", mask: keep}
`

// TestDefinitionsThatStopABuild: what cannot be replaced has to be decided about by the rules.
func TestDefinitionsThatStopABuild(t *testing.T) {
	t.Parallel()
	allow := func(objects ...string) string {
		var lines []string
		for _, o := range objects {
			lines = append(lines, fmt.Sprintf("{object: %q, reason: test}", o))
		}
		return "catalog: {allow: [" + strings.Join(lines, ", ") + "]}\n"
	}
	cases := []struct {
		name, sql, catalog string
		code               mayfly.Code
		messages           []string
	}{
		{"nothing is decided", stuckSQL, "", mayfly.CodeInvalid, []string{
			"type public.label: its definition holds email addresses in an enum label", "domain public.known: its definition holds email addresses in a check constraint",
			"table public.t: its definition holds email addresses in a check constraint", "in a partition bound or key", "@example.com: its definition holds email addresses in a name",
		}},
		{"refused", `CREATE VIEW seen AS SELECT 'jane.roe@corp-one.com'::text AS who; CREATE TABLE t (id int)`, "catalog: {literals: refuse}\n", mayfly.CodeInvalid,
			[]string{"view public.seen: its definition holds email addresses"}},
		{"an allowance for nothing", `CREATE VIEW seen AS SELECT 1; CREATE TABLE t (id int)`, allow("view public.seen"), mayfly.CodeInvalid,
			[]string{"nothing is recognised in view public.seen"}},
		{"refused by PostgreSQL", "CREATE TYPE label AS ENUM ('other', 'jane.roe@corp-one.com'); CREATE TABLE t (id int, l label DEFAULT 'jane.roe@corp-one.com')", allow("type public.label"),
			mayfly.CodeInvalid, []string{"table public.t cannot be restored", "SQLSTATE 22P02"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBed(t)
			endpoint := sourceDatabase(t, c.sql)
			rules := "\nversion: 1\ndefaults:\n  - {match: \"*.t.*\", mask: keep}\n"
			if c.sql == stuckSQL {
				rules = stuckRules
			}
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, rules+c.catalog)
			req.Project.Templates.RefuseFindings = "none" // this is not a matter of taste
			_, err := b.builder.Build(t.Context(), req)
			if mayfly.ErrorCode(err) != c.code || mayfly.ErrorHint(err) == "" {
				t.Fatalf("the build ended with %v (%s)", err, mayfly.ErrorHint(err))
			}
			for _, message := range c.messages {
				if !strings.Contains(err.Error(), message) {
					t.Errorf("the error does not say %q: %v", message, err)
				}
			}
			if strings.Contains(err.Error()+mayfly.ErrorHint(err), "jane.roe") {
				t.Errorf("the error tells the value: %v (%s)", err, mayfly.ErrorHint(err))
			}
			b.nothingLeft(t, req.Template.ID)
		})
	}
}
