package migrations

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// rehearse applies the first files, and rehearses all of them.
func rehearse(t *testing.T, b *testBundle, settings mayfly.MigrationSettings, first, all []File, tables ...string) *Rollback {
	t.Helper()
	b.mustApply(t, settings, first)
	base, err := Parse(settings, first)
	if err != nil {
		t.Fatal(err)
	}
	history, err := Parse(settings, all)
	if err != nil {
		t.Fatal(err)
	}
	conn := b.connect(t)
	state, err := ReadState(t.Context(), conn, settings)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := history.PendingSince(base, state)
	if err != nil {
		t.Fatal(err)
	}
	for i, table := range tables {
		tables[i] = "public." + table
	}
	got, err := history.Rehearse(t.Context(), plan, RehearseOptions{
		Tables: tables, Connect: func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, conn.Config()) },
	})
	if err != nil {
		t.Fatalf("rehearse: %v", err)
	}
	return got
}

func phases(r *Rollback) string {
	var out []string
	for _, s := range r.Steps {
		out = append(out, s.Phase+" "+s.Version)
	}
	return strings.Join(out, ", ")
}

func TestRehearsalOfEachToolThatHasDowns(t *testing.T) {
	t.Parallel()
	const up, down = "ALTER TABLE a ADD x int DEFAULT 1;\nCREATE INDEX a_x ON a (x);\n", "DROP INDEX a_x;\nALTER TABLE a DROP x;\n"
	const dir = "db/migrations/"
	for tool, list := range map[string][]string{
		GolangMigrate: {"1_a.up.sql", "CREATE TABLE a (id int)", "2_b.up.sql", up, "2_b.down.sql", down},
		Goose:         {"1_a.sql", "-- +goose Up\nCREATE TABLE a (id int);", "2_b.sql", "-- +goose Up\n" + up + "-- +goose Down\n" + down},
		Dbmate:        {"1_a.sql", "-- migrate:up\nCREATE TABLE a (id int);\n-- migrate:down\n", "2_b.sql", "-- migrate:up\n" + up + "-- migrate:down\n" + down},
		SQLx:          {"1_a.up.sql", "CREATE TABLE a (id int)", "2_b.up.sql", up, "2_b.down.sql", down},
		Diesel:        {"1_a/up.sql", "CREATE TABLE a (id int)", "2_b/up.sql", up, "2_b/down.sql", down},
		PlainSQL:      {"1_a.sql", "CREATE TABLE a (id int)", "2_b.sql", up, "2_b.down.sql", down},
		Liquibase: {
			"1.sql", "--liquibase formatted sql\n--changeset me:1\nCREATE TABLE a (id int);\n",
			"2.sql", "--liquibase formatted sql\n--changeset me:2\n" + up + "--rollback DROP INDEX a_x;\n--rollback ALTER TABLE a DROP x;\n",
			"db.changelog-master.yaml", "databaseChangeLog:\n  - includeAll:\n      path: db/migrations/\n",
		},
		Sqitch: {
			"deploy/a.sql", "BEGIN;\nCREATE TABLE a (id int);\nCOMMIT;\n", "sqitch.plan", "%syntax-version=1.0.0\n%project=shop\n\na 2026-01-01T00:00:00Z A <a@example.com> # a\n",
			"sqitch.plan", "%syntax-version=1.0.0\n%project=shop\n\na 2026-01-01T00:00:00Z A <a@example.com> # a\nb 2026-01-02T00:00:00Z A <a@example.com> # b\n",
			"deploy/b.sql", "BEGIN;\n" + up + "COMMIT;\n", "revert/b.sql", "BEGIN;\n" + down + "COMMIT;\n",
		},
	} {
		t.Run(tool, func(t *testing.T) {
			t.Parallel()
			b := setup(t) // whose schema nobody else changes
			settings := mayfly.MigrationSettings{Tool: tool, Path: strings.TrimSuffix(dir, "/")}
			if tool == Sqitch {
				settings.Table = "registry_" + b.role
				b.admin(t, "GRANT CREATE ON DATABASE "+b.database+" TO "+b.role)
			}
			var first, all []File
			for i := 0; i < len(list); i += 2 {
				f := File{Path: dir + list[i], Content: []byte(list[i+1])}
				if i == 0 || tool == Sqitch && i == 2 || strings.HasSuffix(f.Path, ".yaml") {
					first = append(first, f)
				}
				all = slices.DeleteFunc(all, func(o File) bool { return o.Path == f.Path })
				all = append(all, f)
			}
			got := rehearse(t, b, settings, first, all, "a")
			if got == nil || !got.Passed || len(got.Steps) != 3 || got.Steps[0].Phase != PhaseUp || got.Steps[1].Phase != PhaseDown || got.Steps[2].Phase != PhaseUpAgain {
				t.Fatalf("the rehearsal: %+v", got)
			}
			if got.Steps[1].Error != "" || got.Schema != nil || len(got.Data) != 0 {
				t.Errorf("undone: %+v", got)
			}
		})
	}
}

func TestRehearsalFinds(t *testing.T) {
	t.Parallel()
	const begin = "CREATE TABLE a (id int PRIMARY KEY, n int, note text); INSERT INTO a SELECT i, i, 'x' FROM generate_series(1, 10) i"
	for _, test := range []struct {
		name     string
		files    []string
		phases   string
		findings string
		says     string
	}{
		{"nothing to say without downs", []string{"2_b.up.sql", "ALTER TABLE a ADD x int"}, "", "", ""},
		{"a missing one", []string{"2_b.up.sql", "ALTER TABLE a ADD x int", "3_c.up.sql", "ALTER TABLE a ADD y int", "3_c.down.sql", "ALTER TABLE a DROP y"}, "up 3, down 3, up again 3", "rollback-missing 2", ""},
		{"the last has none", []string{"2_b.up.sql", "ALTER TABLE a ADD x int", "2_b.down.sql", "ALTER TABLE a DROP x", "3_c.up.sql", "SELECT 1", "3_c.down.sql", "-- nothing\n"}, "", "rollback-missing 3", "nothing of it"},
		{"one that fails", []string{"2_b.up.sql", "ALTER TABLE a ADD x int", "2_b.down.sql", "SELECT 1;\nALTER TABLE a DROP y"}, "up 2, down 2", "rollback-failed 2", "2_b.down.sql:2"},
		{"something left", []string{"2_b.up.sql", "ALTER TABLE a ADD x int; CREATE TABLE left_over (id int)", "2_b.down.sql", "ALTER TABLE a DROP x"}, "up 2, down 2, up again 2", "rollback-leaves-changes 2, rollback-up-again ", "left_over"},
		{"a column that comes back empty", []string{"2_b.up.sql", "ALTER TABLE a DROP note", "2_b.down.sql", "ALTER TABLE a ADD note text"}, "up 2, down 2, up again 2", "rollback-loses-data ", "values in public.a.note"},
		{"rows that are gone", []string{"2_b.up.sql", "DELETE FROM a WHERE id > 7", "2_b.down.sql", "SELECT 1"}, "up 2, down 2, up again 2", "rollback-loses-data ", "7 rows of public.a"},
		{"values that are others", []string{"2_b.up.sql", "UPDATE a SET n = n + 1", "2_b.down.sql", "SELECT 1"}, "up 2, down 2, up again 2", "rollback-changes-data ", "values in public.a.n"},
		{"all is well", []string{"2_b.up.sql", "UPDATE a SET n = n + 1", "2_b.down.sql", "UPDATE a SET n = n - 1"}, "up 2, down 2, up again 2", "", ""},
		{"the tracking table is gone", []string{"2_b.up.sql", "SELECT 1", "2_b.down.sql", "DROP TABLE schema_migrations"}, "up 2, down 2", "rollback-up-again ", "tracking table"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t) // whose schema nobody else changes
			first := files("1_a.up.sql", begin)
			got := rehearse(t, b, settings(), first, append(first, files(test.files...)...), "a")
			if got == nil {
				got = &Rollback{Passed: true}
			}
			var found []string
			said := []string{got.Reason}
			for _, f := range got.Findings {
				found = append(found, string(f.Kind)+" "+f.Version)
				said = append(said, f.Message)
			}
			text := strings.Join(said, "\n")
			if strings.Join(found, ", ") != test.findings || phases(got) != test.phases || !strings.Contains(text, b.named(test.says)) {
				t.Errorf("%s: findings %v, wanted %q; phases %q, wanted %q\n%s", test.name, found, test.findings, phases(got), test.phases, text)
			}
			if got.Passed != (test.findings == "") {
				t.Errorf("passed: %t: %+v", got.Passed, got)
			}
		})
	}
}
