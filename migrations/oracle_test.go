package migrations

import (
	"errors"
	"reflect"
	"testing"

	"github.com/golang-migrate/migrate/v4"
	"github.com/golang-migrate/migrate/v4/database"
)

type history struct {
	table string
	setup string // as the administrator
	files []File
}

// histories are directories that the real tool brings onto a database without an error. APP stands for the role, which
// is also the name of its schema.
func histories() map[string]history {
	return map[string]history{
		"usual": {files: files(
			"0001_init.up.sql", "CREATE TABLE t (id int PRIMARY KEY, name text);\nINSERT INTO t VALUES (1, 'a;b'), (2, $$c;$$);\n", "0001_init.down.sql", "DROP TABLE t",
			"0002_more.up.sql", "ALTER TABLE t ADD COLUMN more jsonb DEFAULT '{}';\nUPDATE t SET name = upper(name);",
		)},
		"gaps, zero and down only": {files: files("0_a.up.sql", "CREATE TABLE a ()", "7_b.down.sql", "", "20240101120000_c.up.sql", "CREATE TABLE c ()")},
		"down only at the end":     {files: files("1_a.up.sql", "CREATE TABLE a ()", "2_b.down.sql", "DROP TABLE b")},
		"empty files":              {files: files("1_a.up.sql", "", "2_b.up.sql", " \n\t", "3_c.up.sql", "-- nothing\n", "4_d.up.sql", ";;")},
		"concurrently":             {files: files("1_a.up.sql", "CREATE TABLE a (id int)", "2_b.up.sql", "CREATE INDEX CONCURRENTLY a_id ON a (id);\n")},
		"own transactions":         {files: files("1_a.up.sql", "BEGIN; CREATE TABLE a (); COMMIT;", "2_b.up.sql", "CREATE TABLE b (); COMMIT; CREATE TABLE c (); ROLLBACK;")},
		"session settings":         {files: files("1_a.up.sql", "SELECT pg_catalog.set_config('search_path', '', false); SET statement_timeout = 0", "2_b.up.sql", "CREATE TABLE APP.b ()")},
		"copy to stdout":           {files: files("1_a.up.sql", "CREATE TABLE a (id int); INSERT INTO a VALUES (1); COPY a TO STDOUT; INSERT INTO a VALUES (2)")},
		"old string syntax":        {files: files("1_a.up.sql", "SET standard_conforming_strings = off", "2_b.up.sql", `CREATE TABLE b (s text); INSERT INTO b VALUES ('it\'s;')`)},
		"another table":            {table: "my.migrations", files: files("1_a.up.sql", "CREATE TABLE a ()")},
		"another table, quoted":    {table: `"My Migrations"`, files: files("1_a.up.sql", "CREATE TABLE a ()")},
		"another schema":           {table: `"Audit APP"."schema_migrations"`, setup: `CREATE SCHEMA "Audit APP" AUTHORIZATION APP`, files: files("1_a.up.sql", "CREATE TABLE a ()", "2_b.up.sql", "SET search_path = nowhere")},
	}
}

func TestToolFindsNothingToDoAfterUs(t *testing.T) {
	t.Parallel()
	ourDatabase, theirDatabase := setup(t), setup(t)
	for name, h := range histories() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, other := ourDatabase.schema(t), theirDatabase.schema(t)
			report := applyOurs(t, b, h)
			tool := b.tool(t, b.named(h.table), b.own(h.files))
			if err := tool.Up(); !errors.Is(err, migrate.ErrNoChange) {
				t.Errorf("the real tool's up after ours: %v, want %v", err, migrate.ErrNoChange)
			}
			other.admin(t, other.named(h.setup))
			otherTool := other.tool(t, other.named(h.table), other.own(h.files))
			if err := otherTool.Up(); err != nil {
				t.Fatalf("the real tool alone: %v", err)
			}
			version, dirty, err := tool.Version()
			wantVersion, wantDirty, wantErr := otherTool.Version()
			if version != wantVersion || dirty != wantDirty || err != nil || wantErr != nil {
				t.Errorf("the version after us: %d, %t, %v; after the real tool: %d, %t, %v", version, dirty, err, wantVersion, wantDirty, wantErr)
			}
			if ours, theirs := schemaOf(t, b), schemaOf(t, other); !reflect.DeepEqual(ours, theirs) {
				t.Errorf("the schema after us:\n%s\nafter the real tool:\n%s", ours, theirs)
			}
			if len(report.Applied) == 0 || len(report.Pending) != 0 || report.Dirty {
				t.Errorf("report %+v", report)
			}
			settings := settings()
			settings.Table = other.named(h.table)
			if plan := other.plan(t, other.connect(t), settings, other.own(h.files)); len(plan.Pending) != 0 || plan.From != report.ToVersion {
				t.Errorf("after the real tool's up we find pending %q at version %q, want nothing at %q", versions(plan.Pending), plan.From, report.ToVersion)
			}
		})
	}
}

func applyOurs(t *testing.T, b *testBundle, h history) *Report {
	t.Helper()
	b.admin(t, b.named(h.setup))
	settings := settings()
	settings.Table = b.named(h.table)
	return b.mustApply(t, settings, b.own(h.files))
}

func TestToolAndWeTakeTurns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	all := files("1_a.up.sql", "CREATE TABLE a (id int)", "2_b.up.sql", "INSERT INTO a VALUES (2)", "3_c.up.sql", "INSERT INTO a VALUES (3)", "4_d.up.sql", "INSERT INTO a VALUES (4)")
	b.mustApply(t, settings(), all[:1])
	if err := b.tool(t, "", all[:2]).Up(); err != nil {
		t.Fatalf("the real tool's second migration: %v", err)
	}
	report := b.mustApply(t, settings(), all[:3])
	if report.FromVersion != "2" || report.ToVersion != "3" || report.AlreadyApplied != 2 || len(report.Applied) != 1 {
		t.Errorf("report of the third: %+v", report)
	}
	if err := b.tool(t, "", all).Up(); err != nil {
		t.Fatalf("the real tool's fourth migration: %v", err)
	}
	if sum := one[int](t, b, "SELECT sum(id) FROM a"); sum != 9 {
		t.Errorf("the sum is %d, want 9: each migration once", sum)
	}
}

func TestFailureLeavesWhatTheToolLeaves(t *testing.T) {
	t.Parallel()
	ourDatabase, theirDatabase := setup(t), setup(t)
	for name, content := range map[string]string{
		"rolled back":         "CREATE TABLE half (); SELECT 1/0",
		"partly committed":    "CREATE TABLE half (); COMMIT; SELECT 1/0",
		"in its own":          "BEGIN; CREATE TABLE half (); SELECT 1/0; COMMIT",
		"syntax":              "CREATE TABLE half (); SELEC 1",
		"drops the table":     "CREATE TABLE half (); DROP TABLE schema_migrations",
		"concurrently in two": "CREATE INDEX CONCURRENTLY ON a (id); CREATE INDEX CONCURRENTLY ON a (id)",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			list := files("1_a.up.sql", "CREATE TABLE a (id int)", "2_b.up.sql", content, "3_c.up.sql", "CREATE TABLE c ()")
			b, other := ourDatabase.schema(t), theirDatabase.schema(t)
			report, err := b.apply(t, settings(), list, ApplyOptions{})
			if report.Failure == nil || report.Failure.Version != "2" || len(report.Applied) != 2 || len(report.Pending) != 1 || !report.Dirty {
				t.Errorf("report %+v, error %v", report, err)
			}
			if err := other.tool(t, "", list).Up(); err == nil {
				t.Fatal("the real tool did not fail")
			}
			if ours, theirs := schemaOf(t, b), schemaOf(t, other); !reflect.DeepEqual(ours, theirs) {
				t.Errorf("the schema after us:\n%s\nafter the real tool:\n%s", ours, theirs)
			}
			// Not asked through the tool: after an error in a transaction it cannot give back its lock, and waits for itself.
			ours, err := ReadState(t.Context(), b.connect(t), settings())
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := ReadState(t.Context(), other.connect(t), settings())
			if err != nil {
				t.Fatal(err)
			}
			ours.Table, theirs.Table = "", "" // named after the role
			if !reflect.DeepEqual(ours, theirs) {
				t.Errorf("the tracking table after us: %+v, after the real tool: %+v", ours, theirs)
			}
		})
	}
}

func TestLockIDIsTheTools(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for _, id := range golangMigrateLockIDs(trackingTable{"public", "schema_migrations"}, "shop", "shop-pr-42") {
		ids[strconvInt(id)] = true
	}
	for _, name := range []string{"shop", "/shop", "shop-pr-42", "/shop-pr-42"} {
		want, err := database.GenerateAdvisoryLockId(name, "public", "schema_migrations")
		if err != nil {
			t.Fatal(err)
		}
		if !ids[want] {
			t.Errorf("the tool's lock for %s, %s, is not among %v", name, want, ids)
		}
	}
	if len(ids) != 4 {
		t.Errorf("locks %v, want 4", ids)
	}
}

// The one place where a migration ends differently; see docs/migrations.md.
func TestToolCommitsATransactionLeftOpen(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if err := b.tool(t, "", files("1_a.up.sql", "BEGIN; CREATE TABLE a ();")).Up(); err != nil {
		t.Fatalf("the real tool: %v; then ours need not refuse it in other words", err)
	}
	if !one[bool](t, b, "SELECT to_regclass('a') IS NOT NULL") {
		t.Error("the real tool rolled it back")
	}
}
