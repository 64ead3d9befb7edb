package migrations

import (
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func TestGooseReadsAnnotations(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, text  string
		want        []string
		transaction bool
		err         string // with its line
	}{
		{name: "one statement a line", text: "-- +goose Up\nSELECT 1;\nSELECT 2; -- two\n", want: []string{"SELECT 1;", "SELECT 2; -- two"}, transaction: true},
		{name: "two statements on one line are one query", text: "-- +goose Up\nSELECT 1; SELECT 2;", want: []string{"SELECT 1; SELECT 2;"}, transaction: true},
		{name: "over several lines, with a comment inside", text: "-- +goose Up\n-- before\nSELECT\n  -- inside;\n  1;\n-- after\n", want: []string{"SELECT\n  -- inside;\n  1;"}, transaction: true},
		{name: "block", text: "-- +goose Up\n-- +goose StatementBegin\nDO $$ BEGIN\n  PERFORM 1;\nEND $$\n-- +goose StatementEnd\nSELECT 2;", want: []string{"DO $$ BEGIN\n  PERFORM 1;\nEND $$", "SELECT 2;"}, transaction: true},
		{name: "two statements in a block", text: "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\nSELECT 2;\n-- +goose StatementEnd", want: []string{"SELECT 1;\nSELECT 2;"}, transaction: true},
		{name: "down is left alone", text: "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2;\n-- +goose StatementBegin\nSELECT 3;\n-- +goose StatementEnd\n", want: []string{"SELECT 1;"}, transaction: true},
		{name: "no transaction", text: "-- +goose NO TRANSACTION\n-- +goose Up\nVACUUM;\n", want: []string{"VACUUM;"}},
		{name: "any case, without blanks", text: "--+goose up\nSELECT 1;\n-- +goose down\n", want: []string{"SELECT 1;"}, transaction: true},
		{name: "CRLF", text: "-- +goose Up\r\nSELECT\r\n 1;\r\n", want: []string{"SELECT\n 1;"}, transaction: true},
		{name: "nothing to do", text: "-- +goose Up\n-- +goose Down\n", transaction: true},
		{name: "ENVSUB OFF", text: "-- +goose ENVSUB OFF\n-- +goose Up\nSELECT '${HOME}';\n", want: []string{"SELECT '${HOME}';"}, transaction: true},
		{name: "ENVSUB ON", text: "-- +goose Up\n-- +goose ENVSUB ON\nSELECT '${HOME}';\n", err: "m/1_a.sql:2: the file takes values from environment variables"},
		{name: "empty", text: "", err: "no '-- +goose Up'"},
		{name: "SQL before", text: "SELECT 1;\n-- +goose Up\n", err: "m/1_a.sql:1: SQL before"},
		{name: "up twice", text: "-- +goose Up\nSELECT 1;\n-- +goose Up\n", err: "m/1_a.sql:3: '-- +goose Up' is there twice"},
		{name: "down first", text: "-- +goose Down\nSELECT 1;\n", err: "m/1_a.sql:1: '-- +goose Down' without"},
		{name: "no semicolon", text: "-- +goose Up\nSELECT 1;\nSELECT 2\n", err: "m/1_a.sql:3: a statement does not end"},
		{name: "no semicolon before down", text: "-- +goose Up\nSELECT 1\n-- +goose Down\nSELECT 2;", err: "m/1_a.sql:2: a statement does not end"},
		{name: "a down that goose cannot read", text: "-- +goose Up\nSELECT 1;\n-- +goose Down\nSELECT 2\n", err: "m/1_a.sql:4: a statement does not end"},
		{name: "block left open", text: "-- +goose Up\n-- +goose StatementBegin\nSELECT 1;\n", err: "StatementEnd' is missing"},
		{name: "end without begin", text: "-- +goose Up\n-- +goose StatementEnd\n", err: "m/1_a.sql:2: '-- +goose StatementEnd' without"},
		{name: "misspelt", text: "-- +goose Upp\n", err: `goose has no annotation "upp"`},
		{name: "indented", text: "  -- +goose Up\nSELECT 1;", err: "blanks before"},
	}
	for _, test := range tests {
		m := Migration{Version: "1", Up: &File{Path: "m/1_a.sql", Content: []byte(test.text)}}
		s, err := goose{}.script(m)
		if test.err != "" {
			if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || !strings.Contains(err.Error(), test.err) || mayfly.ErrorHint(err) == "" {
				t.Errorf("%s: error %v (hint %q), want %q", test.name, err, mayfly.ErrorHint(err), test.err)
			}
			continue
		}
		var got []string
		for _, q := range s.queries {
			got = append(got, s.text[q.begin:q.end])
		}
		if err != nil || !slices.Equal(got, test.want) || s.transaction != test.transaction {
			t.Errorf("%s: %q, transaction %v, %v; want %q, %v", test.name, got, s.transaction, err, test.want, test.transaction)
		}
	}
}

func TestGooseGoMigrationsAreRefusedWhenPending(t *testing.T) {
	t.Parallel()
	settings := mayfly.MigrationSettings{Tool: Goose, Path: "m"}
	history, err := Parse(settings, []File{
		{Path: "m/00001_a.sql", Content: []byte("-- +goose Up\nSELECT 1;")}, {Path: "m/00002_b.go", Content: []byte("package m")},
		{Path: "m/00002_b_test.go"}, {Path: "m/helpers.go"}, {Path: "m/embed.go"},
	})
	if err != nil || len(history.Migrations) != 2 {
		t.Fatalf("%+v, %v", history, err)
	}
	if _, err := history.Pending(State{Applied: []Applied{{Version: "1"}, {Version: "2"}}, Current: "2"}); err != nil {
		t.Errorf("one that is applied gave %v", err)
	}
	plan, err := history.Pending(State{Applied: []Applied{{Version: "1"}}, Current: "1"})
	if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || !strings.Contains(err.Error(), "m/00002_b.go") || !strings.Contains(mayfly.ErrorHint(err), "runner") {
		t.Errorf("error %v (hint %q)", err, mayfly.ErrorHint(err))
	}
	if len(plan.Migrations) != 2 || plan.Migrations[1].Status != StatusPending {
		t.Errorf("status %+v", plan.Migrations)
	}
}

func TestRepeatableMigrationsDoNotStopAnExtension(t *testing.T) {
	t.Parallel()
	migration := func(version, sha string, repeatable bool) Migration {
		return Migration{Version: version, Up: &File{Path: version, SHA: sha}, Repeatable: repeatable}
	}
	before := &History{Migrations: []Migration{migration("1", "a", false), migration("R:views", "b", true)}}
	after := &History{Migrations: []Migration{migration("1", "a", false), migration("2", "c", false), migration("R:views", "changed", true)}}
	if ok, why := after.ExtendsApplied(before.Files()); !ok {
		t.Errorf("does not extend: %s", why)
	}
	gone := &History{Migrations: after.Migrations[:2]}
	if ok, _ := gone.ExtendsApplied(before.Files()); ok {
		t.Error("a repeatable migration that is gone leaves its view behind")
	}
}

// Plain SQL has no table in production: what the base branch has counts as applied.
func TestPlainSQLTrustsTheBaseBranch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	settings := mayfly.MigrationSettings{Tool: PlainSQL, Path: "sql"}
	file := func(name, text string) File { return File{Path: "sql/" + name, Content: []byte(text)} }
	base, err := Parse(settings, []File{file("001_a.sql", "CREATE TABLE a ()")})
	if err != nil {
		t.Fatal(err)
	}
	b.asApplication(t, "CREATE TABLE a ()")
	for range 2 { // the second time the table tells
		head, err := Parse(settings, []File{file("001_a.sql", "CREATE TABLE a ()"), file("002_b.sql", "CREATE TABLE IF NOT EXISTS b ()")})
		if err != nil {
			t.Fatal(err)
		}
		conn := b.connect(t)
		state, err := ReadState(t.Context(), conn, settings)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := head.PendingSince(base, state)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Apply(t.Context(), conn, plan, ApplyOptions{}); err != nil {
			t.Fatal(err)
		}
		if got := one[string](t, b, "SELECT string_agg(version, ',' ORDER BY version) FROM mayfly_migrations"); got != "1,2" {
			t.Errorf("the table has %s, want 1,2", got)
		}
	}
}
