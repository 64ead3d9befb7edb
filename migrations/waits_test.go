package migrations

import (
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// A statement that is cut off while it waits for a lock says for whom.
func TestFailureNamesWhoHeldTheLock(t *testing.T) {
	t.Parallel()
	for _, tool := range []string{GolangMigrate, Diesel} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.asApplication(t, "CREATE TABLE orders (id int)")
			holder := b.connect(t)
			if _, err := holder.Exec(t.Context(), "SET application_name = 'worker 7'; BEGIN; SELECT count(*) FROM orders"); err != nil {
				t.Fatal(err)
			}
			file := map[string]string{GolangMigrate: "1_x.up.sql", Diesel: "1_x/up.sql"}[tool]
			for _, kind := range []string{"lock_timeout", "statement_timeout"} {
				settings := mayfly.MigrationSettings{Tool: tool, Path: "m"}
				var err error
				var f *Failure
				// A limit that the machine is too busy for cuts off before anybody can have looked: then a longer one has to do.
				for limit := 500 * time.Millisecond; (f == nil || f.Wait == nil) && limit < time.Minute; limit *= 2 {
					opts := ApplyOptions{LockTimeout: limit}
					if kind == "statement_timeout" {
						opts = ApplyOptions{StatementTimeout: limit}
					}
					if tool == GolangMigrate {
						b.asApplication(t, "DROP TABLE IF EXISTS schema_migrations")
					}
					var report *Report
					report, err = b.apply(t, settings, []File{{Path: "m/" + file, Content: []byte("SELECT 1;\nALTER TABLE orders ADD COLUMN x int")}}, opts)
					if f = report.Failure; err == nil {
						t.Fatal("nothing was cut off")
					}
				}
				if f == nil || f.Wait == nil || f.Line != 2 {
					t.Fatalf("error %v, failure %+v", err, f)
				}
				if w := f.Wait; w.Mode != "AccessExclusiveLock" || w.On != "public.orders" || len(w.Holders) != 1 {
					t.Fatalf("wait %+v", w)
				}
				h := f.Wait.Holders[0]
				if h.PID != int32(holder.PgConn().PID()) || h.Application != "worker 7" || h.Modes != "AccessShareLock" || h.State != "idle in transaction" || !strings.Contains(h.Statement, "count(*)") {
					t.Errorf("holder %+v", h)
				}
				if want := `it waited for AccessExclusiveLock on public.orders, which the session of process`; !strings.Contains(mayfly.ErrorHint(err), want) || strings.Contains(f.Hint, "count(") {
					t.Errorf("hint %q", f.Hint)
				}
			}
		})
	}
}

func TestSeeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	list := []File{
		{Path: "db/seed.sql", Content: []byte("CREATE TABLE t (id int); INSERT INTO t VALUES (1), (2)")},
		{Path: "db/more/2.sql", Content: []byte("INSERT INTO t VALUES (4);\nINSERT INTO nowhere VALUES (5)")},
		{Path: "db/more/1.sql", Content: []byte("INSERT INTO t VALUES (3)")},
		{Path: "db/more/README.md"},
	}
	seeds, err := Seeds(mayfly.MigrationSettings{Seed: []string{"/db/seed.sql", "db/more/"}}, list)
	if err != nil || len(seeds) != 3 || seeds[1].Path != "db/more/1.sql" || seeds[1].SHA == "" {
		t.Fatalf("seeds %+v, %v", seeds, err)
	}
	if _, err := Seeds(mayfly.MigrationSettings{Seed: []string{"db/nothing"}}, list); mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid {
		t.Errorf("a seed that is not there gave %v", err)
	}
	report := &Report{}
	err = ApplySeeds(t.Context(), b.connect(t), seeds, ApplyOptions{Observe: true}, report)
	if mayfly.ErrorCode(err) != mayfly.CodeMigrationFailed || report.Failure == nil || report.Failure.File != "db/more/2.sql" || report.Failure.Line != 2 {
		t.Errorf("error %v, failure %+v", err, report.Failure)
	}
	if seen := report.Seeds[0].Observed; seen == nil || len(seen.Statements) == 0 || len(report.Findings) != 0 || report.Data != nil {
		t.Errorf("what the first seed did: %+v, findings %v", seen, report.Findings)
	}
	if len(report.Seeds) != 3 || report.Seeds[0].RowsAffected != 2 || report.Seeds[2].Error == "" {
		t.Errorf("report %+v", report.Seeds)
	}
	if got := one[int](t, b, "SELECT count(*)::int FROM t"); got != 3 {
		t.Errorf("%d rows, want those of the seeds that did not fail: 3", got)
	}
}
