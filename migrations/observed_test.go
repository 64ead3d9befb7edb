package migrations

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/migrations/lint"
	"github.com/mayflydb/mayfly/migrations/observe"
)

// observedSchema is what is there before each case. big is past the threshold for a warning.
const observedSchema = `
CREATE TABLE big (id bigint PRIMARY KEY, n int, note text, at timestamptz DEFAULT now());
INSERT INTO big SELECT i, i, repeat('x', 100) FROM generate_series(1, 2000) i;
CREATE INDEX big_n ON big (n);
CREATE TABLE small (id bigint PRIMARY KEY, big_id bigint);
INSERT INTO small VALUES (1, 1);
CREATE VIEW seen AS SELECT id FROM big;
CREATE MATERIALIZED VIEW sums AS SELECT count(*) FROM big;
CREATE TABLE parts (id int, at date NOT NULL) PARTITION BY RANGE (at);
CREATE TABLE part (id int, at date NOT NULL);
INSERT INTO part SELECT i, '2024-06-01' FROM generate_series(1, 100) i;
CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER guard BEFORE INSERT ON big FOR EACH ROW EXECUTE FUNCTION tf();
CREATE TYPE mood AS ENUM ('sad', 'glad');
`

// after fills in the planner's estimates.
const observedVacuum = `VACUUM ANALYZE big; VACUUM ANALYZE small; VACUUM ANALYZE part`

type observedCase struct {
	name string
	sql  string
	// locks are "relation mode", those that must be there; !relation mode must not.
	locks    string
	rewrites string
	scans    string // "*" for any
	// findings are all, but for missing-lock-timeout.
	findings string
}

func TestObserved(t *testing.T) {
	t.Parallel()
	tests := []observedCase{
		{name: "a new table", sql: "CREATE TABLE fresh (id bigint PRIMARY KEY); INSERT INTO fresh VALUES (1); ALTER TABLE fresh ADD x uuid NOT NULL DEFAULT gen_random_uuid()", locks: "fresh AccessExclusiveLock", rewrites: "fresh fresh_pkey", scans: "fresh"},
		{name: "add a column", sql: "ALTER TABLE big ADD x int DEFAULT 1", locks: "big AccessExclusiveLock"},
		{name: "add a column with a volatile default", sql: "ALTER TABLE big ADD x uuid NOT NULL DEFAULT gen_random_uuid()", locks: "big AccessExclusiveLock", rewrites: "big big_n big_pkey", scans: "big", findings: "add-column-rewrite"},
		{name: "add a stored generated column", sql: "ALTER TABLE big ADD x int GENERATED ALWAYS AS (n * 2) STORED", rewrites: "big big_n big_pkey", scans: "big", findings: "add-column-rewrite"},
		{name: "add a serial", sql: "ALTER TABLE big ADD x serial", rewrites: "big big_n big_pkey", scans: "big", findings: "add-column-rewrite serial-column"},
		{name: "add a required column", sql: "ALTER TABLE big ADD x int NOT NULL", findings: "add-required-column"},
		{name: "type change with a rewrite", sql: "ALTER TABLE big ALTER n TYPE bigint", locks: "big AccessExclusiveLock", rewrites: "big big_pkey", scans: "big", findings: "change-column-type"},
		{name: "type change without", sql: "ALTER TABLE big ALTER note TYPE varchar", findings: "change-column-type"},
		{name: "set not null", sql: "ALTER TABLE big ALTER n SET NOT NULL", scans: "big", findings: "set-not-null-scan"},
		{name: "set not null after a constraint", sql: "ALTER TABLE big ADD CONSTRAINT c CHECK (n IS NOT NULL) NOT VALID; ALTER TABLE big VALIDATE CONSTRAINT c; ALTER TABLE big ALTER n SET NOT NULL", locks: "big ShareUpdateExclusiveLock", scans: "big", findings: "scan-under-lock"},
		{name: "validate alone", sql: "ALTER TABLE big ADD CONSTRAINT c CHECK (n > 0) NOT VALID", locks: "big AccessExclusiveLock"},
		{name: "check", sql: "ALTER TABLE big ADD CONSTRAINT c CHECK (n > 0)", scans: "big", findings: "check-without-not-valid"},
		{name: "foreign key", sql: "ALTER TABLE small ADD FOREIGN KEY (big_id) REFERENCES big", locks: "small ShareRowExclusiveLock,big ShareRowExclusiveLock", scans: "small", findings: "foreign-key-without-not-valid"},
		{name: "foreign key not valid", sql: "ALTER TABLE small ADD FOREIGN KEY (big_id) REFERENCES big NOT VALID", locks: "small ShareRowExclusiveLock,big ShareRowExclusiveLock"},
		{name: "unique constraint", sql: "ALTER TABLE big ADD CONSTRAINT u UNIQUE (n)", locks: "big AccessExclusiveLock", scans: "big", findings: "unique-constraint-at-once"},
		{name: "unique constraint using an index", sql: "-- x\nCREATE UNIQUE INDEX CONCURRENTLY u ON big (n)", locks: "big ShareUpdateExclusiveLock,!big ShareLock", findings: "not-repeatable"},
		{name: "index", sql: "CREATE INDEX i ON big (note)", locks: "big ShareLock,i AccessExclusiveLock", scans: "big", findings: "index-not-concurrent"},
		{name: "wide index", sql: "CREATE INDEX i ON small (id, big_id, (id + 1), (id + 2))", locks: "small ShareLock", scans: "small", findings: "index-not-concurrent wide-index"},
		{name: "index concurrently", sql: "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON big (note)", locks: "big ShareUpdateExclusiveLock,!big ShareLock"},
		{name: "index concurrently in a transaction", sql: "SELECT 1; CREATE INDEX CONCURRENTLY i ON big (note)", findings: "concurrently-in-transaction"},
		{name: "drop index", sql: "DROP INDEX big_n", locks: "big AccessExclusiveLock,big_n AccessExclusiveLock", findings: "drop-index-not-concurrent"},
		{name: "rename column", sql: "ALTER TABLE big RENAME n TO m", findings: "rename-column"},
		{name: "rename table", sql: "ALTER TABLE big RENAME TO large", findings: "rename-table"},
		{name: "drop column", sql: "ALTER TABLE big DROP n", locks: "big AccessExclusiveLock", findings: "drop-column"},
		{name: "drop table", sql: "DROP TABLE small", locks: "small AccessExclusiveLock", findings: "drop-table"},
		{name: "drop not null", sql: "ALTER TABLE part ALTER at DROP NOT NULL", findings: "drop-not-null"},
		{name: "truncate", sql: "TRUNCATE small", locks: "small AccessExclusiveLock", rewrites: "small small_pkey", findings: "truncate"},
		{name: "backfill with DDL", sql: "ALTER TABLE big ADD x int;\nUPDATE big SET x = n", locks: "big AccessExclusiveLock,big RowExclusiveLock", scans: "big", findings: "backfill-large backfill-with-ddl"},
		{name: "column types", sql: "CREATE TABLE fresh (id serial PRIMARY KEY, a json, b char(3), c varchar(10), d timestamp)", findings: "char-column int-primary-key json-column serial-column timestamp-without-time-zone varchar-column"},
		{name: "lock timeout", sql: "SET lock_timeout = '1s'; ALTER TABLE big ADD x int", locks: "big AccessExclusiveLock"},
		{name: "vacuum full", sql: "VACUUM FULL big", locks: "big AccessExclusiveLock", rewrites: "big big_n big_pkey", findings: "vacuum-full"},
		{name: "cluster", sql: "CLUSTER big USING big_pkey", locks: "big AccessExclusiveLock", rewrites: "big big_n big_pkey", findings: "vacuum-full"},
		{name: "refresh", sql: "REFRESH MATERIALIZED VIEW sums", locks: "sums AccessExclusiveLock", rewrites: "sums", scans: "*", findings: "refresh-not-concurrent"},
		{name: "disable a trigger", sql: "ALTER TABLE big DISABLE TRIGGER guard", locks: "big ShareRowExclusiveLock", findings: "trigger-disabled"},
		{name: "attach a partition", sql: "ALTER TABLE parts ATTACH PARTITION part FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')", locks: "parts ShareUpdateExclusiveLock,part AccessExclusiveLock", scans: "part", findings: "attach-partition-scan"},
		{name: "set unlogged", sql: "ALTER TABLE big SET UNLOGGED", rewrites: "big big_n big_pkey", scans: "big", findings: "table-rewritten"},
		{name: "own transaction", sql: "BEGIN ISOLATION LEVEL SERIALIZABLE; ALTER TABLE big ADD x int; COMMIT; BEGIN; SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; SELECT 1; COMMIT", locks: "big AccessExclusiveLock", findings: "transaction-in-file transaction-in-file transaction-in-file transaction-in-file"},
		{name: "a function that commits", sql: "DO $$ BEGIN PERFORM 1; COMMIT; ALTER TABLE small ADD x int; END $$", findings: ""},
		{name: "locks of a subtransaction that was rolled back", sql: "BEGIN; SAVEPOINT s; LOCK TABLE big; ROLLBACK TO s; SELECT 1; COMMIT", locks: "big AccessExclusiveLock", findings: "transaction-in-file transaction-in-file"},
		{name: "waived", sql: "-- mayfly:ignore drop-column nobody reads it\nALTER TABLE big DROP n; ALTER TABLE big DROP note; -- mayfly:ignore drop-column neither this one", findings: "drop-column(nobody reads it) drop-column(neither this one)"},
		{name: "waived without a reason", sql: "-- mayfly:ignore drop-column\nALTER TABLE big DROP n", findings: "drop-column waiver-without-reason"},
		{name: "waived for the file", sql: "-- mayfly:ignore-file drop-column, nonsense: old\nALTER TABLE big DROP n;\n-- mayfly:ignore drop-table useless\nSELECT 1", findings: "drop-column(old) unused-waiver"},
		{name: "domain", sql: "CREATE DOMAIN d AS int CHECK (VALUE > 0)", findings: "domain-constraint"},
		{name: "enum value removed", sql: "CREATE TYPE mood2 AS ENUM ('glad'); DROP TYPE mood; ALTER TYPE mood2 RENAME TO mood", findings: "enum-value-removed"},
		{name: "drop schema", sql: "CREATE SCHEMA extra_APP; DROP SCHEMA extra_APP", findings: "drop-schema"},
		{name: "reindex", sql: "REINDEX TABLE big", locks: "big ShareLock", rewrites: "big_n big_pkey", findings: "reindex-not-concurrent"},
		{name: "exclusion constraint", sql: "ALTER TABLE small ADD EXCLUDE USING btree (big_id WITH =)", scans: "small", findings: "exclusion-constraint"},
	}
	for _, major := range []int{15, 17, 13, 18} {
		t.Run(fmt.Sprint("PostgreSQL ", major), func(t *testing.T) {
			t.Parallel()
			origin := observedServer(t, major)
			for _, test := range tests {
				t.Run(test.name, func(t *testing.T) { test.check(t, origin) })
			}
		})
	}
}

func (test observedCase) check(t *testing.T, origin *testBundle) {
	b := origin.schema(t)
	b.admin(t, "GRANT CREATE ON DATABASE "+b.database+" TO "+b.role)
	defer b.admin(t, "SET client_min_messages = warning; DROP OWNED BY "+b.role+" CASCADE") // every run looks at the whole database, and the next case is one
	conn := b.connect(t)
	for _, statement := range append([]string{observedSchema}, strings.Split(observedVacuum, ";")...) {
		if _, err := conn.PgConn().Exec(t.Context(), statement).ReadAll(); err != nil {
			t.Fatalf("run %q: %v", statement, err)
		}
	}
	_ = conn.Close(t.Context()) // what it counts is not to be taken for the migration's
	limits := lint.Defaults()
	limits.BackfillRows = 1000
	limits.WarnTime, limits.ErrorTime = time.Hour, time.Hour // whatever the machine
	report, _ := b.apply(t, settings(), b.own(files("1_x.up.sql", test.sql)), ApplyOptions{Observe: true, Thresholds: limits})
	if report.Unobserved != "" || len(report.Applied) != 1 || report.Applied[0].Observed == nil {
		t.Fatalf("not observed: %q %+v", report.Unobserved, report.Failure)
	}
	got := b.whatWasSeen(report)
	for lock := range strings.SplitSeq(test.locks, ",") {
		name, not := strings.CutPrefix(lock, "!")
		if lock != "" && slices.Contains(got.locks, name) == not {
			t.Errorf("locks %q, want %s", got.locks, lock)
		}
	}
	if got.rewrites != test.rewrites || got.findings != test.findings {
		t.Errorf("rewrites %q, want %q; findings %q, want %q (failure %v)", got.rewrites, test.rewrites, got.findings, test.findings, report.Failure)
	}
	if exact := report.Applied[0].Observed.Statements[0].Observed != observe.FromWatching; exact && got.scans != test.scans && test.scans != "*" {
		t.Errorf("scans %q, want %q", got.scans, test.scans)
	}
}

// Observing costs no round trip for a migration.
func TestObservingCostsNoRoundTrips(t *testing.T) {
	t.Parallel()
	const count = 20
	database := setup(t)
	measure := func(observed bool) (own, second int64) {
		b := database.schema(t)
		var names []string
		for i := range count {
			names = append(names, fmt.Sprintf("%d_x.up.sql", i+1), fmt.Sprintf("CREATE TABLE t%d (id int); CREATE INDEX ON t%d (id); INSERT INTO t%d VALUES (1)", i, i, i))
		}
		config, err := pgx.ParseConfig(b.url("postgres", nil))
		if err != nil {
			t.Fatal(err)
		}
		var sent [2]atomic.Int64
		connect := func(ctx context.Context, which int) (*pgx.Conn, error) {
			c := config.Copy()
			dial := c.DialFunc
			c.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				return &countedConn{conn, &sent[which]}, err
			}
			return pgx.ConnectConfig(ctx, c)
		}
		conn, err := connect(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close(t.Context()) }()
		plan := b.plan(t, conn, settings(), files(names...))
		before := sent[0].Load()
		report, err := Apply(t.Context(), conn, plan, ApplyOptions{
			Observe: observed, Observer: func(ctx context.Context) (*pgx.Conn, error) { return connect(ctx, 1) },
		})
		if err != nil || len(report.Applied) != count {
			t.Fatalf("%d applied: %v", len(report.Applied), err)
		}
		if observed && len(report.Applied[count-1].Observed.Statements) != 3 {
			t.Errorf("the last migration was not observed: %+v", report.Applied[count-1].Observed)
		}
		return sent[0].Load() - before, sent[1].Load()
	}
	plain, _ := measure(false)
	own, second := measure(true)
	if own > plain+2 { // the probe is prepared once; and the counters are flushed at the end
		t.Errorf("%d messages in the migrations' session, and %d with nobody looking", own, plain)
	}
	if second > 12 {
		t.Errorf("%d messages in the second session", second)
	}
}

// countedConn counts how often something is sent.
type countedConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.sent.Add(1)
	return c.Conn.Write(p)
}

// BenchmarkApply shows what observing adds: 300 migrations, each with a trivial body.
func BenchmarkApply(b *testing.B) {
	server := pgtest.Cluster(b)
	for _, observed := range []bool{false, true} {
		b.Run(fmt.Sprint("observed=", observed), func(b *testing.B) {
			for b.Loop() {
				name := server.Database(b)
				role := "app_" + strings.ToLower(rand.Text())
				server.Exec(b, name, "CREATE ROLE "+role+" LOGIN PASSWORD 'x'; CREATE SCHEMA AUTHORIZATION "+role)
				conn, err := pgx.Connect(b.Context(), fmt.Sprintf("host=%s user=%s password=x dbname=%s sslmode=disable", server.SocketDir, role, name))
				if err != nil {
					b.Fatal(err)
				}
				var list []File
				for i := range 300 {
					list = append(list, File{Path: fmt.Sprintf("db/migrations/%d_x.up.sql", i+1), Content: fmt.Appendf(nil, "CREATE TABLE t%d (id int)", i)})
				}
				history, err := Parse(settings(), list)
				if err != nil {
					b.Fatal(err)
				}
				plan, err := history.Pending(State{Tool: GolangMigrate})
				if err != nil {
					b.Fatal(err)
				}
				report, err := Apply(b.Context(), conn, plan, ApplyOptions{Observe: observed})
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(report.DurationMS, "ms/run")
				_ = conn.Close(b.Context())
			}
		})
	}
}

type whatWasSeen struct {
	locks                     []string
	rewrites, scans, findings string
}

// whatWasSeen writes down a report without the schema's name.
func (b *testBundle) whatWasSeen(report *Report) whatWasSeen {
	var seen whatWasSeen
	var rewrites, scans, findings []string
	for _, s := range report.Applied[0].Observed.Statements {
		for _, l := range s.Locks {
			seen.locks = append(seen.locks, strings.TrimPrefix(l.Relation, b.role+".")+" "+l.Mode)
		}
		for _, r := range s.Rewrites {
			rewrites = append(rewrites, strings.TrimPrefix(r.Relation, b.role+"."))
		}
		for _, r := range s.Scans {
			if r.Whole && r.Kind == "table" {
				scans = append(scans, strings.TrimPrefix(r.Relation, b.role+"."))
			}
		}
	}
	for _, f := range report.Findings {
		text := string(f.Kind)
		if f.Waived != "" {
			text += "(" + f.Waived + ")"
		}
		if f.Kind != FindingKind(lint.MissingLockTimeout) {
			findings = append(findings, text)
		}
	}
	for _, list := range [][]string{rewrites, scans, findings} {
		if !slices.ContainsFunc(findings, func(f string) bool { return strings.Contains(f, "(") }) {
			slices.Sort(list)
		}
	}
	seen.rewrites, seen.scans, seen.findings = strings.Join(rewrites, " "), strings.Join(slices.Compact(scans), " "), strings.Join(findings, " ")
	return seen
}

// observedServer starts a Postgres of a version, if its image is there: the suite needs 15 and 17 only.
func observedServer(t *testing.T, major int) *testBundle {
	t.Helper()
	if major != 15 && major != 17 {
		if _, err := pgtest.Engine(t).Present(t.Context(), "", major); err != nil {
			t.Skipf("no image of PostgreSQL %d: %v", major, err)
		}
	}
	b := &testBundle{server: pgtest.Start(t, pgtest.StartOptions{Major: major, Args: []string{"-c", "max_connections=200"}}), role: "app_" + strings.ToLower(rand.Text()), password: rand.Text()}
	b.database = b.server.Database(t)
	b.admins = b.server.Pool(t, b.database)
	b.admin(t, "CREATE ROLE "+b.role+" LOGIN PASSWORD '"+b.password+"'; ALTER DATABASE "+b.database+" OWNER TO "+b.role)
	return b
}
