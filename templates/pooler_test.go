package templates

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// TestPoolers builds through poolers in transaction mode. MAYFLY_TEST_POOLERS has connection strings to databases with
// peopleSQL's table people and 4000 rows, separated by blanks; one with "/pooled?one" at its end has a single session.
func TestPoolers(t *testing.T) {
	t.Parallel()
	poolers := strings.Fields(os.Getenv("MAYFLY_TEST_POOLERS"))
	if len(poolers) == 0 {
		t.Skip("MAYFLY_TEST_POOLERS names no pooler")
	}
	b := newBed(t)
	for _, pooler := range poolers {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			dsn, single := strings.CutSuffix(pooler, "?one")
			report := b.build(t, request(t, mayfly.Source{DSN: dsn}, peopleRules)).Report
			if want := map[bool]int{false: 2, true: 1}[single]; report.Rows != 4000 || report.Source.Connections != want {
				t.Errorf("%d rows were read by %d connections; want 4000 by %d", report.Rows, report.Source.Connections, want)
			}
			if said := slices.Contains(findingCodes(report.Findings), codeSnapshotNotShared); said != single {
				t.Errorf("the findings are %v", findingCodes(report.Findings))
			}
			// Whoever gets a session after us must find it as it was.
			config, err := pgx.ParseConfig(dsn)
			if err != nil {
				t.Fatal(err)
			}
			config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(t.Context()) }()
			if got := value(t, conn, `SELECT string_agg(name, ' ') FROM pg_settings WHERE source = 'session' AND name NOT IN ('application_name', 'client_encoding', 'DateStyle', 'TimeZone', 'standard_conforming_strings')`); got != "<nil>" {
				t.Errorf("the build left settings in a session of the pooler: %s", got)
			}
			if got := value(t, conn, "SELECT count(*) FROM pg_prepared_statements"); got != "0" {
				t.Errorf("the build left %s prepared statements in a session of the pooler", got)
			}
		})
	}
}
