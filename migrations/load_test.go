package migrations

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestApplyUnderLoad(t *testing.T) {
	t.Parallel()
	database := setup(t)
	for _, test := range []struct {
		name, sql string
		check     func(t *testing.T, a LoadTable, l *Load)
	}{
		{"a lock on the whole table", "ALTER TABLE a ADD x int; SELECT pg_sleep(0.3)", func(t *testing.T, a LoadTable, l *Load) {
			if a.Reads.BlockedMS == 0 || a.Writes.BlockedMS == 0 || a.Reads.MaxMS == 0 || len(l.Findings) != 1 || l.Findings[0].Relation != a.Table {
				t.Errorf("nobody had to wait: %+v, %+v", a, l.Findings)
			}
		}},
		{"a lock on writing", "CREATE INDEX ON a (n); SELECT pg_sleep(0.3)", func(t *testing.T, a LoadTable, _ *Load) {
			if a.Reads.BlockedMS > a.Writes.BlockedMS || a.Writes.BlockedMS == 0 {
				t.Errorf("who writes waits, who reads does not: %+v", a)
			}
		}},
		{"a column that goes away", "ALTER TABLE a DROP id", func(t *testing.T, a LoadTable, l *Load) {
			if a.Reads.Errors > 0 || l.Error != "" {
				t.Errorf("%+v: %s", a, l.Error)
			}
		}},
		{"migrations that fail", "SELECT 1/0", func(t *testing.T, _ LoadTable, l *Load) {
			if !strings.Contains(l.Error, "division by zero") || len(l.Findings) == 0 || l.Findings[0].Kind != FindingLoadFailed {
				t.Errorf("the failure is not told: %+v", l)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := database.schema(t)
			b.asApplication(t, "CREATE TABLE a (id int, n int); INSERT INTO a SELECT i, i FROM generate_series(1, 100) i")
			conn := b.connect(t)
			plan := b.plan(t, conn, settings(), files("1_x.up.sql", test.sql))
			history, err := Parse(settings(), files("1_x.up.sql", test.sql))
			if err != nil {
				t.Fatal(err)
			}
			got, err := history.ApplyUnderLoad(t.Context(), plan, LoadOptions{
				Tables: []string{b.role + ".a", b.role + ".nowhere"}, Readers: 1, Writers: 2,
				Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, conn.Config()) },
			})
			if err != nil || len(got.Tables) != 1 || got.Tables[0].Reads.Statements == 0 || got.Tables[0].Writes.Statements == 0 {
				t.Fatalf("the load: %+v, %v", got, err)
			}
			test.check(t, got.Tables[0], got)
		})
	}
}
