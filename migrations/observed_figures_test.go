package migrations

import (
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/observe"
)

func TestObservedFigures(t *testing.T) {
	t.Parallel()
	for _, major := range []int{15, 13} {
		t.Run(map[int]string{15: "PostgreSQL 15", 13: "PostgreSQL 13"}[major], func(t *testing.T) {
			t.Parallel()
			b := observedServer(t, major).schema(t)
			b.asApplication(t, "CREATE TABLE a (id int PRIMARY KEY); INSERT INTO a SELECT generate_series(1, 1000); CREATE TABLE b (id int REFERENCES a ON DELETE CASCADE); INSERT INTO b SELECT generate_series(1, 500); ANALYZE")
			report, err := b.apply(t, settings(), files(
				"1_rows.up.sql", "INSERT INTO a SELECT generate_series(2001, 2100);\nUPDATE a SET id = -id WHERE id > 2050;\nDELETE FROM a WHERE id BETWEEN 1 AND 10",
				"2_locks.up.sql", "ALTER TABLE a ADD x int; SELECT pg_sleep(0.05)",
				"3_sort.up.sql", "SET work_mem = '64kB'; CREATE TABLE c AS SELECT i, repeat('x', 50) AS pad FROM generate_series(1, 20000) i ORDER BY md5(i::text)",
				"4_discard.up.sql", "DISCARD ALL", "5_again.up.sql", "ALTER TABLE a ADD y int",
				"6_fails.up.sql", "ALTER TABLE a ADD z int;\nSELECT 1/0;\nSELECT 2",
			), ApplyOptions{Observe: true})
			if mayfly.ErrorCode(err) != mayfly.CodeMigrationFailed || len(report.Applied) != 6 || report.Unobserved != "" {
				t.Fatalf("%d applied: %v; %s", len(report.Applied), err, report.Unobserved)
			}
			statement := func(migration, index int) *observe.Statement {
				all := report.Applied[migration-1].Observed.Statements
				if len(all) < index {
					t.Fatalf("migration %d: %d statements", migration, len(all))
				}
				return all[index-1]
			}
			a, child := b.role+".a", b.role+".b"
			for i, want := range [][]observe.Data{{{Table: a, Inserted: 100}}, {{Table: a, Updated: 50}}, {{Table: a, Deleted: 10}, {Table: child, Deleted: 10}}} {
				got := statement(1, i+1)
				if len(got.Data) != len(want) || got.Line != i+1 {
					t.Errorf("statement %d at line %d changed %+v, want %+v", i+1, got.Line, got.Data, want)
				}
				for _, w := range want {
					if !strings.Contains(strings.Join(tables(got.Data), ";"), strings.Join(tables([]observe.Data{w}), ";")) {
						t.Errorf("statement %d changed %+v, want %+v", i+1, got.Data, w)
					}
				}
				if got.WALBytes <= 0 || got.Observed != observe.FromTransaction {
					t.Errorf("statement %d: %d bytes of WAL, %s", i+1, got.WALBytes, got.Observed)
				}
			}
			if alter := statement(2, 1); len(alter.Locks) != 1 || alter.Locks[0].Mode != "AccessExclusiveLock" || alter.Locks[0].HeldMS < 50 || alter.DurationMS > alter.Locks[0].HeldMS {
				t.Errorf("the lock until the end of the transaction: %+v", alter.Locks[0])
			}
			if sort := report.Applied[2].Observed; major >= 15 && (sort.TempBytes == 0 || sort.TempFiles == 0) || sort.DiskBytes < 20000*50 {
				t.Errorf("a sort on disk: %d bytes in %d files, disk %d", sort.TempBytes, sort.TempFiles, sort.DiskBytes)
			}
			if again := statement(5, 1); len(again.Locks) == 0 {
				t.Error("nothing is observed after DISCARD ALL")
			}
			if before, failed := statement(6, 1), statement(6, 2); len(before.Locks) == 0 || !failed.Failed || failed.SQLState != "22012" || failed.Line != 2 {
				t.Errorf("a migration that fails: %+v, then %+v", before, failed)
			}
			if report.Failure.Line != 2 || report.Failure.Column != 1 || report.Failure.Statement != "SELECT 1/0" {
				t.Errorf("the failure is at %d:%d: %s", report.Failure.Line, report.Failure.Column, report.Failure.Statement)
			}
			if len(report.Annotations) == 0 || report.Annotations[0].Code != "failed" || report.Environment.WALLevel == "" {
				t.Errorf("annotations %+v, environment %+v", report.Annotations, report.Environment)
			}
			if text := report.Schema.Text(); !strings.Contains(text, "+ column y integer") || strings.Contains(text, "schema_migrations") {
				t.Errorf("the schema changed by\n%s", text)
			}
		})
	}
}

// A tool that wraps the file in a transaction of its own, and sends it in parts.
func TestObservedInTheToolsTransaction(t *testing.T) {
	t.Parallel()
	database := setup(t)
	for _, tool := range []string{Goose, Dbmate, PlainSQL, Drizzle} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := database.schema(t)
			b.admin(t, "GRANT CREATE ON DATABASE "+b.database+" TO "+b.role) // Drizzle has a schema of its own
			b.asApplication(t, "CREATE TABLE a (id int); INSERT INTO a VALUES (1)")
			content := "ALTER TABLE a ADD x int;\nUPDATE a SET x = 1;"
			switch tool {
			case Goose:
				content = "-- +goose Up\n" + content
			case Dbmate:
				content = "-- migrate:up\n" + content + "\n-- migrate:down\n"
			case Drizzle:
				content = strings.Replace(content, "\n", "--> statement-breakpoint\n", 1)
			}
			list := []File{{Path: "db/migrations/0001_x.sql", Content: []byte(content)}}
			if tool == Drizzle {
				list = append(list, File{Path: "db/migrations/meta/_journal.json", Content: []byte(`{"version":"7","dialect":"postgresql","entries":[{"idx":0,"version":"7","when":1700000000000,"tag":"0001_x","breakpoints":true}]}`)})
			}
			report, err := b.apply(t, mayfly.MigrationSettings{Tool: tool, Path: "db/migrations"}, list, ApplyOptions{Observe: true})
			if err != nil || len(report.Applied) != 1 || report.Unobserved != "" {
				t.Fatalf("%d applied: %v %s", len(report.Applied), err, report.Unobserved)
			}
			seen := report.Applied[0].Observed.Statements
			if len(seen) != 2 || len(seen[0].Locks) == 0 || seen[0].Locks[0].HeldMS <= seen[0].DurationMS || len(seen[1].Data) != 1 || seen[1].Data[0].Updated != 1 || seen[1].Line != seen[0].Line+1 {
				for _, s := range seen {
					t.Errorf("statement %+v", *s)
				}
			}
			if !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Kind == "missing-lock-timeout" && f.Line == seen[0].Line }) {
				t.Errorf("findings %+v", report.Findings)
			}
		})
	}
}

func tables(data []observe.Data) []string {
	var out []string
	for _, d := range data {
		out = append(out, strings.Join([]string{d.Table, strconvInt(d.Inserted), strconvInt(d.Updated), strconvInt(d.Deleted)}, " "))
	}
	return out
}

// What fails must be located as if nobody looked on.
func TestObservedFailuresAreWhereTheyAre(t *testing.T) {
	t.Parallel()
	database := setup(t)
	for name, content := range map[string]string{
		"syntax":      "CREATE TABLE t (id int);\nINSERT INTO t VALUES (1);\nALTER TABLE t\n  ADD COLUM x int;\nSELECT 1",
		"characters":  "SELECT 'ÄÖÜ 🦋'; SELECT 2;\nSELECT '🦋🦋', nope;",
		"unclosed":    "SELECT 1;\nSELECT 'a;\nb",
		"end":         "SELECT 1;\nCREATE TABLE x (\n  id int\n",
		"comment":     "SELECT 1; SELECT 1/0 -- ;",
		"in function": "SELECT 1;\nDO $$ BEGIN EXECUTE 'SELEC 1'; END $$;",
		"deferred":    "CREATE TABLE t (d int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO t VALUES (1), (1);",
		"concurrent":  "CREATE TABLE t (d int);\nCREATE INDEX CONCURRENTLY ON t (d);",
		"rollback":    "BEGIN;\nCREATE TABLE t (d int);\nROLLBACK;\nSELECT 1/0",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var failures []Failure
			for _, observed := range []bool{false, true} {
				b := database.schema(t)
				report, _ := b.apply(t, settings(), files("1_x.up.sql", content), ApplyOptions{Observe: observed})
				if report.Failure == nil {
					t.Fatalf("no failure (observed: %v)", observed)
				}
				report.Failure.Where = ""
				failures = append(failures, *report.Failure)
				if report.Applied[0].Statements != 0 && observed && len(report.Applied[0].Observed.Statements) == 0 {
					t.Errorf("nothing was observed")
				}
			}
			if failures[0] != failures[1] {
				t.Errorf("observed, the failure is\n%+v, and otherwise\n%+v", failures[1], failures[0])
			}
		})
	}
}
