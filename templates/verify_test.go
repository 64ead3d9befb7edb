package templates

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// variedSQL has something of every kind that is compared.
const variedSQL = peopleSQL + `
CREATE SCHEMA other;
CREATE TYPE other.mood AS ENUM ('sad', 'glad');
CREATE DOMAIN public.positive AS int CHECK (VALUE > 0);
CREATE TABLE other.notes (id serial PRIMARY KEY, person int REFERENCES public.people, mood other.mood, n public.positive UNIQUE, CONSTRAINT sane CHECK (n < 1000));
INSERT INTO other.notes (person, mood, n) SELECT i, 'glad', i FROM generate_series(1, 100) i;
ALTER TABLE other.notes ADD CONSTRAINT unchecked CHECK (person > 5) NOT VALID;
ALTER TABLE other.notes ENABLE ROW LEVEL SECURITY;
CREATE POLICY mine ON other.notes USING (person > 0);
CREATE VIEW public.names AS SELECT id, email FROM public.people;
CREATE RULE quiet AS ON DELETE TO public.names DO INSTEAD NOTHING;
CREATE FUNCTION public.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION public.double(v int, OUT d int) LANGUAGE sql IMMUTABLE AS 'SELECT v * 2';
CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE TRIGGER touched BEFORE UPDATE ON other.notes FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE TRIGGER asleep BEFORE INSERT ON other.notes FOR EACH ROW EXECUTE FUNCTION public.touch();
ALTER TABLE other.notes DISABLE TRIGGER asleep;
CREATE TABLE public.parted (id int, at date, person int REFERENCES public.people, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE public.parted_1 PARTITION OF public.parted FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
CREATE TABLE public.parted_2 PARTITION OF public.parted FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE INDEX ON public.parted (person);
CREATE TRIGGER counted AFTER INSERT ON public.parted FOR EACH ROW EXECUTE FUNCTION public.touch();
CREATE UNIQUE INDEX broken ON public.people (filler); UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'public.broken'::regclass;
GRANT SELECT ON public.people TO PUBLIC;`

const variedRules = `version: 1
tables:
  public.people: {columns: {id: keep, email: email, filler: keep}}
  other.notes: {columns: {id: keep, person: keep, mood: keep, n: keep}}
  public.parted: {columns: {id: keep, at: keep, person: keep}}
  public.parted_1: {columns: {id: keep, at: keep, person: keep}}
  public.parted_2: {columns: {id: keep, at: keep, person: keep}}
`

func TestVerification(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, variedSQL)
	for _, source := range []mayfly.Source{{DSN: endpoint.DSN()}, {Archive: b.archiveOf(t, endpoint, true)}} {
		t.Run(strings.Fields(source.Describe())[0], func(t *testing.T) {
			t.Parallel()
			result := b.build(t, request(t, source, variedRules))
			v := result.Report.Verification
			if v.Indexes.Checked < 100 || v.Indexes.Skipped != "" {
				t.Errorf("%d indexes were checked (%s)", v.Indexes.Checked, v.Indexes.Skipped)
			}
			if !slices.Equal(v.NotValidated, []string{"other.notes.unchecked"}) || v.Constraints < 8 {
				t.Errorf("of %d constraints these are not validated: %v", v.Constraints, v.NotValidated)
			}
			if v.Sequences != 1 || len(v.BehindSequences) > 0 || len(v.Collations) == 0 || v.Collations[0].Locale == "" {
				t.Errorf("sequences %d, behind %v, collations %v", v.Sequences, v.BehindSequences, v.Collations)
			}
			for _, k := range v.Inventory {
				if k.Kind == kindTable && k.Template != 5 || k.Kind == kindFunction && k.Template != 3 {
					t.Errorf("the template has %d of kind %s", k.Template, k.Kind)
				}
			}
			for _, d := range v.Differences {
				if d.Because == "" || strings.HasPrefix(d.Object, kindTable) {
					t.Errorf("a difference that should not be: %+v", d)
				}
			}
			broken := slices.ContainsFunc(v.Differences, func(d Difference) bool { return d.Object == "index public.broken" && d.Because == codeIndexInvalid })
			if broken != (source.DSN != "") { // an archive does not know of it
				t.Errorf("the differences are %v", v.Differences)
			}
			if result.Report.ManifestVersion != 1 {
				t.Errorf("the manifest's version is %d", result.Report.ManifestVersion)
			}
		})
	}
}

// TestPlantedDifferences changes the template behind the build's back, just before it is verified.
func TestPlantedDifferences(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	endpoint := sourceDatabase(t, variedSQL)
	for _, c := range []struct{ name, statements, names string }{
		{"missing objects", `DROP INDEX public.people_email_idx; DROP FUNCTION public.double(int); DROP POLICY mine ON other.notes; DROP VIEW public.names;
			ALTER TABLE other.notes DROP CONSTRAINT sane; DROP TRIGGER touched ON other.notes`,
			"constraint other.notes.sane (missing), function public.double(integer) (missing), index public.people_email_idx (missing), " +
				"policy other.notes.mine (missing), rule public.names.quiet (missing), trigger other.notes.touched (missing), view public.names (missing)"},
		{"changed and added objects", `CREATE TABLE public.extra_view_of (id int); DROP TABLE public.extra_view_of; CREATE INDEX extra ON public.people (id);
			ALTER TABLE other.notes ENABLE TRIGGER asleep; ALTER TABLE other.notes DISABLE ROW LEVEL SECURITY; CREATE FUNCTION public.extra() RETURNS int LANGUAGE sql AS 'SELECT 1';
			UPDATE pg_constraint SET convalidated = false WHERE conname = 'sane'`,
			"constraint other.notes.sane (changed), table other.notes (changed), trigger other.notes.asleep (changed), function public.extra() (added), index public.extra (added)"},
		// The index is in ascending order; from now on the catalog says that it is in descending order.
		{"a damaged index", `UPDATE pg_index SET indoption = '1' WHERE indexrelid = 'public.people_email_idx'::regclass`, "public.people_email_idx"},
		{"a lost row", `SET session_replication_role = replica; DELETE FROM public.people WHERE id = 17`, "public.people has 3999 rows"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			req := request(t, mayfly.Source{DSN: endpoint.DSN()}, variedRules)
			req.Phase = func(name string) func(string, error) {
				if name == PhaseVerify {
					conn, err := cluster.Connect(t.Context(), b.engine, req.Template.ID, testDatabase)
					if err != nil {
						t.Errorf("connect to the build: %v", err)
						return func(string, error) {}
					}
					if _, err := conn.Exec(t.Context(), c.statements, pgx.QueryExecModeSimpleProtocol); err != nil {
						t.Errorf("plant the difference: %v", err)
					}
					_ = conn.Close(t.Context())
				}
				return func(string, error) {}
			}
			_, err := b.refused(t.Context(), t, req, mayfly.CodeVerificationFailed, c.names)
			if mayfly.ErrorHint(err) == "" {
				t.Errorf("no hint says what to do about: %v", err)
			}
		})
	}
}

// TestDamagedPage turns bits of an index's file while the server is down.
func TestDamagedPage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.StartOptions{Labels: map[string]string{"role": "pgtest"}})
	server.Exec(t, "postgres", "CREATE ROLE app LOGIN PASSWORD 'x'")
	server.Exec(t, "postgres", `CREATE TABLE public.items (id int PRIMARY KEY, name text); INSERT INTO public.items SELECT i, md5(i::text) FROM generate_series(1, 20000) i;
		CREATE INDEX items_name ON public.items (name); CHECKPOINT`)
	admin := server.Connect(t, "postgres")
	verifier, err := cluster.ScramVerifier("x")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := admin.Exec(t.Context(), "ALTER ROLE app PASSWORD '"+verifier+"'"); err != nil {
		t.Fatal(err)
	}
	target := &target{engine: pgtest.Engine(t), instance: server.ID, database: "postgres", owner: "app", password: "x", encoding: "UTF8"}
	check, err := target.checkIndexes(t.Context(), admin, 2, time.Now)
	if err != nil || check.Checked == 0 {
		t.Fatalf("sound indexes: %+v, %v", check, err)
	}
	if got := value(t, admin, "SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'"); got != "0" {
		t.Error("the extension amcheck was left behind")
	}
	file := value(t, admin, "SELECT pg_relation_filepath('public.items_name')")
	_ = admin.Close(t.Context())
	engine := pgtest.Engine(t)
	if err := engine.Stop(t.Context(), server.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	// The third page is a leaf; its line pointers begin after the header of 24 bytes. Two of them change places.
	swap := `set -eu; f=$1; dd if="$f" of=/tmp/a bs=1 skip=$((2*8192+40)) count=4 2>/dev/null; dd if="$f" of=/tmp/b bs=1 skip=$((2*8192+44)) count=4 2>/dev/null
		dd if=/tmp/b of="$f" bs=1 seek=$((2*8192+40)) conv=notrunc 2>/dev/null; dd if=/tmp/a of="$f" bs=1 seek=$((2*8192+44)) conv=notrunc 2>/dev/null`
	result, err := engine.Run(t.Context(), driver.RunSpec{
		Image: server.Image.ID, Command: []string{"sh", "-c", swap, "swap", filepath.Join(driver.DataDir, file)}, Volume: server.Volume,
	})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("damage the index: %v, exit code %d: %s", err, result.ExitCode, result.Stderr)
	}
	if err := engine.Start(t.Context(), server.ID); err != nil {
		t.Fatal(err)
	}
	if err := server.WaitReady(t.Context()); err != nil {
		t.Fatal(err)
	}
	_, err = target.checkIndexes(t.Context(), server.Connect(t, "postgres"), 2, time.Now)
	if mayfly.ErrorCode(err) != mayfly.CodeVerificationFailed || !strings.Contains(err.Error(), "public.items_name") {
		t.Errorf("a damaged index: %v; want %s with its name", err, mayfly.CodeVerificationFailed)
	}
}

// TestComparison explains differences by findings and by nothing else.
func TestComparison(t *testing.T) {
	t.Parallel()
	inv := func(partial bool, keys ...string) *inventory {
		out := &inventory{items: map[itemKey]item{}, partial: partial}
		for _, key := range keys {
			kind, name, _ := strings.Cut(key, ":")
			name, parent, _ := strings.Cut(name, "@")
			out.items[itemKey{kind, name}] = item{parent: parent, valid: true}
		}
		return out
	}
	find := func(code, object string) []Finding { return []Finding{{Code: code, Object: object}} }
	for name, c := range map[string]struct {
		source, template *inventory
		findings         []Finding
		hooks            bool
		want             int // unexplained
	}{
		"the same":                  {inv(false, "table:a.b"), inv(false, "table:a.b"), nil, false, 0},
		"missing":                   {inv(false, "index:a.i@a.b"), inv(false), nil, false, 1},
		"left out":                  {inv(false, "index:a.i@a.b"), inv(false), find(codeDuplicateKeys, "index a.i"), false, 0},
		"another left out":          {inv(false, "index:a.i@a.b"), inv(false), find(codeDuplicateKeys, "index a.j"), false, 1},
		"its table left out":        {inv(false, "view:a.v", "rule:a.v.r@a.v"), inv(false), find(codeDependent, "view a.v"), false, 0},
		"a finding that says less":  {inv(false, "index:a.i@a.b"), inv(false), find(codeUnlogged, "table a.b"), false, 1},
		"the index of a constraint": {inv(false, "index:a.b_key@a.b", "constraint:a.b.b_key@a.b"), inv(false), find(codeDuplicateKeys, "constraint a.b b_key"), false, 0},
		"added":                     {inv(false), inv(false, "function:a.f()"), nil, false, 1},
		"added by a hook":           {inv(false), inv(false, "function:a.f()"), nil, true, 0},
		"an aggregate of a dump":    {inv(true, "function:a.f()"), inv(false, "function:a.f()"), nil, false, 0},
		"an index no dump lists":    {inv(true), inv(false, "index:a.i@a.b"), nil, false, 0},
		"a table no dump lists":     {inv(true), inv(false, "table:a.b"), nil, false, 1},
		"grants":                    {inv(false, "grants:on relations"), inv(false), nil, false, 0},
		"replaced foreign table":    {inv(false, "foreign table:a.f"), inv(false, "table:a.f"), find(codeForeignTable, "foreign table a.f"), false, 0},
		"names with blanks":         {inv(true, "trigger:a.b c.t@a.b"), inv(false, "trigger:a.b c.t@a.b c"), nil, false, 0},
	} {
		explained, unexplained := newComparison(c.source, c.template, c.findings, c.hooks).differences()
		if len(unexplained) != c.want {
			t.Errorf("%s: %v is unexplained, %v is explained; want %d unexplained", name, unexplained, explained, c.want)
		}
	}
}
