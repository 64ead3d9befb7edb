package migrations

import (
	"context"
	"fmt"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func dieselFiles(pairs ...string) []File {
	var list []File
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, File{Path: "m/" + pairs[i], Content: []byte(pairs[i+1])})
	}
	return list
}

func TestFailuresAroundATransaction(t *testing.T) {
	t.Parallel()
	const noTransaction = "run_in_transaction = false"
	tests := []struct {
		name          string
		up, metadata  string
		line          int
		state         string
		message, hint string
		left          bool // whether the table of the migration is still there
		applied       bool // whether it succeeds
	}{
		{name: "deferred constraint", up: "CREATE TABLE own (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO own VALUES (1);\nINSERT INTO own VALUES (1);\n", line: 3, state: "23505", message: "duplicate key"},
		{name: "tracking table dropped", up: "CREATE TABLE own ();\nDROP TABLE __diesel_schema_migrations;", state: "42P01", message: "the tracking table could not be written"},
		{name: "no transaction, first half stays", up: "BEGIN;\nCREATE TABLE own ();\nCOMMIT;\nSELECT nope;", metadata: noTransaction, line: 4, state: "42703", message: `"nope" does not exist`, left: true},
		{name: "no transaction, left open", up: "BEGIN;\nCREATE TABLE own ();", metadata: noTransaction, message: "ends inside a transaction", hint: "COMMIT"},
		{name: "commits by itself", up: "CREATE TABLE own ();\nCOMMIT;", left: true, applied: true},
		{name: "concurrently without the marker", up: "CREATE INDEX CONCURRENTLY ON base (id);", line: 1, state: "25001", message: "cannot run inside a transaction block"},
		{name: "more rights", up: "SET SESSION AUTHORIZATION mayfly_admin;", line: 1, state: "42501", message: "permission denied"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			list := dieselFiles("1_base/up.sql", "CREATE TABLE base (id int)", "2_own/up.sql", test.up, "3_next/up.sql", "SELECT 1")
			if test.metadata != "" {
				list = append(list, dieselFiles("2_own/metadata.toml", test.metadata)...)
			}
			report, err := b.apply(t, mayfly.MigrationSettings{Tool: Diesel, Path: "m"}, list, ApplyOptions{})
			if left := one[bool](t, b, "SELECT to_regclass('own') IS NOT NULL"); left != test.left {
				t.Errorf("the migration's table is there: %v, want %v", left, test.left)
			}
			if test.applied {
				if err != nil || len(report.Applied) != 3 {
					t.Errorf("error %v, applied %+v", err, report.Applied)
				}
				return
			}
			f := report.Failure
			if f == nil || f.Line != test.line || f.SQLState != test.state || !strings.Contains(f.Message, test.message) || !strings.Contains(f.Hint, test.hint) {
				t.Fatalf("error %v, failure %+v", err, f)
			}
			if got := one[string](t, b, "SELECT coalesce(string_agg(version, ','), '') FROM __diesel_schema_migrations"); got != "1" || report.ToVersion != "1" {
				t.Errorf("recorded %s, at version %s", got, report.ToVersion)
			}
		})
	}
}

func TestStalePlanIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	settings := mayfly.MigrationSettings{Tool: Diesel, Path: "m"}
	list := dieselFiles("1_a/up.sql", "CREATE TABLE a ()", "2_b/up.sql", "CREATE TABLE b ()")
	conn := b.connect(t)
	stale := b.plan(t, conn, settings, list)
	b.mustApply(t, settings, list[:1])
	if _, err := Apply(t.Context(), conn, stale, ApplyOptions{}); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("error %v, want a conflict", err)
	}
}

func TestCancelledInTheMiddle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	settings := mayfly.MigrationSettings{Tool: Diesel, Path: "m"}
	list := dieselFiles("1_a/up.sql", "CREATE TABLE a ()", "2_b/up.sql", "CREATE TABLE b ();\nSELECT pg_sleep(3600)")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	conn := b.connect(t)
	plan := b.plan(t, conn, settings, list)
	observer := b.connect(t)
	go func() {
		if err := until(ctx, observer, "SELECT count(*) > 0 FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep'", int32(conn.PgConn().PID())); err == nil {
			cancel()
		}
	}()
	report, err := Apply(ctx, conn, plan, ApplyOptions{})
	if mayfly.ErrorCode(err) != mayfly.CodeCancelled || report.ToVersion != "1" {
		t.Errorf("error %v at version %s", err, report.ToVersion)
	}
	if one[bool](t, b, "SELECT to_regclass('b') IS NOT NULL OR (SELECT count(*) FROM __diesel_schema_migrations) <> 1") {
		t.Error("the cancelled migration left something")
	}
}

func TestGolangMigrateStatus(t *testing.T) {
	t.Parallel()
	parse := func(list []File) *History {
		history, err := Parse(settings(), list)
		if err != nil {
			t.Fatal(err)
		}
		return history
	}
	before := parse(files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "4_d.up.sql", "SELECT 4"))
	head := parse(files("1_a.up.sql", "SELECT 11", "2_b.up.sql", "SELECT 2", "4_d.up.sql", "SELECT 4", "5_e.up.sql", "SELECT 5"))
	for name, c := range map[string]Comparison{"base branch": {Base: before}, "recorded files": {Recorded: before.Files()}} {
		c.State = State{Tool: GolangMigrate, Exists: true, Current: "4"}
		plan, err := head.Compare(c)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range plan.Migrations {
			got = append(got, fmt.Sprint(s.Version, " ", s.Status))
		}
		if want := "1 edited, 2 skipped, 4 applied, 5 pending, 3 missing"; strings.Join(got, ", ") != want {
			t.Errorf("%s: %s, want %s", name, strings.Join(got, ", "), want)
		}
		if len(plan.FromPullRequest) != 1 || len(plan.Skipped) != 1 {
			t.Errorf("%s: %d from the pull request, %d skipped", name, len(plan.FromPullRequest), len(plan.Skipped))
		}
	}
	plan, err := head.Pending(State{Tool: GolangMigrate, Exists: true, Current: "4", Dirty: true})
	if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || plan.Migrations[2].Status != StatusFailed || len(plan.Pending) != 0 {
		t.Errorf("a dirty table gave %v and %+v", err, plan.Migrations)
	}
}

func TestManyMigrations(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var pairs []string
	for i := range 300 {
		pairs = append(pairs, fmt.Sprintf("%04d_x/up.sql", i+1), fmt.Sprintf("CREATE TABLE t%d (id int)", i))
	}
	report := b.mustApply(t, mayfly.MigrationSettings{Tool: Diesel, Path: "m"}, dieselFiles(pairs...))
	if len(report.Applied) != 300 {
		t.Errorf("%d applied", len(report.Applied))
	}
	t.Logf("300 migrations took %.0f ms", report.DurationMS)
}
