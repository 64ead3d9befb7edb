package migrations

import (
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4/source"
	"github.com/golang-migrate/migrate/v4/source/iofs"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

func settings() mayfly.MigrationSettings {
	return mayfly.MigrationSettings{Tool: GolangMigrate, Path: "db/migrations"}
}

// files makes the files of a commit from names and contents in turn. Names without "/" are in the migrations directory.
func files(namesAndContents ...string) []File {
	var out []File
	for i := 0; i < len(namesAndContents); i += 2 {
		name := namesAndContents[i]
		if !strings.Contains(name, "/") {
			name = "db/migrations/" + name
		}
		out = append(out, File{Path: name, Content: []byte(namesAndContents[i+1])})
	}
	return out
}

func mustParse(t *testing.T, files []File) *History {
	t.Helper()
	history, err := Parse(settings(), files)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	return history
}

func versions(migrations []Migration) string {
	var out []string
	for _, m := range migrations {
		out = append(out, m.Version)
	}
	return strings.Join(out, " ")
}

// toolVersions asks the real tool's source driver which versions a directory has, in order.
func toolVersions(t *testing.T, names []string) (string, error) {
	t.Helper()
	tree := fstest.MapFS{"db/migrations/.keep": {}}
	for _, name := range names {
		tree["db/migrations/"+name] = &fstest.MapFile{Data: []byte("SELECT 1")}
	}
	driver, err := iofs.New(tree, "db/migrations")
	if err != nil {
		return "", err
	}
	var out []string
	version, err := driver.First()
	for ; err == nil; version, err = driver.Next(version) {
		out = append(out, strconv.FormatUint(uint64(version), 10))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("list the tool's versions: %v", err)
	}
	return strings.Join(out, " "), nil
}

func TestParseReadsNamesAsTheToolDoes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files []string
		// ours is true where Mayfly is stricter than the tool.
		stricter bool
	}{
		{name: "empty directory"},
		{name: "usual", files: []string{"0001_init.up.sql", "0001_init.down.sql", "0002_more.up.sql", "0010_ten.up.sql", "9_nine.up.sql"}},
		{name: "timestamps", files: []string{"20240101120000_a.up.sql", "20231231235959_b.up.sql"}},
		{name: "version zero", files: []string{"0_zero.up.sql", "1_one.up.sql"}},
		{name: "down only", files: []string{"1_a.up.sql", "2_b.down.sql", "3_c.up.sql"}},
		{name: "no title and odd titles", files: []string{"1_.up.sql", "2_a.up.b.up.sql", "3_a.up.down.sql", "4_ä ö.up.sql", "5_../x.up.sql"}[:4]},
		{name: "any extension", files: []string{"1_a.up.json", "2_b.up."}},
		{name: "not migrations", files: []string{"README.md", "schema.sql", "1.up.sql", "v1_a.up.sql", "1_a.sql", "1-a.up.sql", "_a.up.sql", "1_a.UP.sql", "-1_a.up.sql", "+1_a.up.sql", "1_a.up"}},
		{name: "version that does not fit", files: []string{"99999999999999999999_a.up.sql", "1_a.up.sql"}},
		{name: "duplicate version", files: []string{"1_a.up.sql", "0001_b.up.sql"}},
		{name: "duplicate down", files: []string{"1_a.up.sql", "1_a.down.sql", "1_b.down.sql"}},
		{name: "editor's copy counts as a duplicate", files: []string{"1_a.up.sql", "1_a.up.sql.orig"}},
		{name: "line break in the name", files: []string{"1_a\nb.up.sql", "2_b.up.sql"}},
		{name: "control character in the name", files: []string{"1_a\x1b[31m.up.sql"}, stricter: true},
		{name: "version too large for the table", files: []string{"9223372036854775808_a.up.sql"}, stricter: true},
		{name: "largest version", files: []string{"9223372036854775807_a.up.sql"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var list []File
			for _, name := range test.files {
				list = append(list, File{Path: "db/migrations/" + name, Content: []byte("SELECT 1")})
			}
			history, err := Parse(settings(), list)
			want, wantErr := toolVersions(t, test.files)
			if (err != nil) != (wantErr != nil || test.stricter) {
				t.Fatalf("our error: %v; the tool's: %v", err, wantErr)
			}
			if err != nil {
				if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || mayfly.ErrorHint(err) == "" || !strings.Contains(err.Error(), "db/migrations/") {
					t.Errorf("error %v: code %q, hint %q; want migration_invalid, a hint and the file's name", err, mayfly.ErrorCode(err), mayfly.ErrorHint(err))
				}
				return
			}
			if got := versions(history.Migrations); got != want {
				t.Errorf("versions %q, the tool's %q", got, want)
			}
		})
	}
}

func FuzzParseAgreesWithTool(f *testing.F) {
	f.Add("0001_init.up.sql")
	f.Add("1_a.up.b.down.sql")
	f.Add("18446744073709551616_a.up.sql")
	f.Fuzz(func(t *testing.T, name string) {
		if strings.ContainsAny(name, "/\x00") || name == "" || name == "." || name == ".." {
			return
		}
		m, wantErr := source.Parse(name)
		history, err := Parse(settings(), []File{{Path: "db/migrations/" + name}})
		if err != nil {
			return // stricter on purpose; the errors are in the table above
		}
		if wantErr != nil {
			if len(history.Migrations) != 0 {
				t.Fatalf("%q is a migration for us and not for the tool (%v)", name, wantErr)
			}
			return
		}
		if len(history.Migrations) != 1 || history.Migrations[0].number != uint64(m.Version) || history.Migrations[0].Name != m.Identifier ||
			(history.Migrations[0].Up != nil) != (m.Direction == source.Up) {
			t.Fatalf("%q: ours %+v, the tool's %+v", name, history.Migrations, m)
		}
	})
}

func TestParseTakesOnlyTheDirectory(t *testing.T) {
	t.Parallel()
	all := files("1_a.up.sql", "", "db/migrations/old/2_b.up.sql", "", "db/3_c.up.sql", "", "db/migrations/../4_d.up.sql", "", "/db/migrations/5_e.up.sql", "", "README.md", "x")
	for _, dir := range []string{"db/migrations", "db/migrations/", "/db/migrations", "./db//migrations"} {
		history, err := Parse(mayfly.MigrationSettings{Tool: GolangMigrate, Path: dir}, all)
		if err != nil {
			t.Fatal(err)
		}
		if got := versions(history.Migrations); got != "1" {
			t.Errorf("path %q: versions %q, want 1", dir, got)
		}
	}
	history, err := Parse(mayfly.MigrationSettings{Tool: GolangMigrate, Path: "none"}, all)
	if err != nil || len(history.Migrations) != 0 {
		t.Errorf("a directory that does not exist: %v, %v; want an empty history", history, err)
	}
	plan, err := history.Pending(State{})
	if err != nil || len(plan.Pending) != 0 {
		t.Errorf("plan of an empty history: %v, %v", plan, err)
	}
}

func TestParseWithoutTool(t *testing.T) {
	t.Parallel()
	history, err := Parse(mayfly.MigrationSettings{}, files("1_a.up.sql", ""))
	if err != nil {
		t.Fatal(err)
	}
	plan, err := history.Pending(State{})
	if err != nil || len(plan.Pending) != 0 {
		t.Errorf("a project without a tool has a plan: %+v, %v", plan, err)
	}
	if _, err := Parse(mayfly.MigrationSettings{Tool: "flywheel"}, nil); mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || mayfly.ErrorHint(err) == "" {
		t.Errorf("an unknown tool: %v", err)
	}
}

func TestParseComputesTheBlobID(t *testing.T) {
	t.Parallel()
	history := mustParse(t, files("1_a.up.sql", "hello\n"))
	// printf 'hello\n' | git hash-object --stdin
	if got := history.Files()[0].SHA; got != "ce013625030ba8dba906f756967f9e9ca394464a" {
		t.Errorf("blob id %s", got)
	}
}

func TestPending(t *testing.T) {
	t.Parallel()
	base := files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "5_e.up.sql", "SELECT 5")
	branch := files("1_a.up.sql", "SELECT 11", "2_b.up.sql", "SELECT 2", "5_e.up.sql", "SELECT 5", "6_f.down.sql", "", "7_g.up.sql", "SELECT 7", "notes.txt", "")
	tests := []struct {
		name     string
		state    State
		base     []File
		want     string
		already  int
		findings []FindingKind
		skipped  string
	}{
		{name: "nothing applied", want: "1 2 5 6 7", findings: []FindingKind{FindingIgnored, FindingEmpty}},
		{name: "above the current version", state: State{Exists: true, Current: "5"}, want: "6 7", already: 3, findings: []FindingKind{FindingIgnored, FindingEmpty}},
		{name: "all applied", state: State{Exists: true, Current: "7"}, want: "", already: 5, findings: []FindingKind{FindingIgnored, FindingEmpty}},
		{name: "branch is behind", state: State{Exists: true, Current: "4"}, want: "5 6 7", already: 2, findings: []FindingKind{FindingIgnored, FindingEmpty, FindingMissing}},
		{name: "branch is far behind", state: State{Exists: true, Current: "90"}, want: "", already: 5, findings: []FindingKind{FindingIgnored, FindingEmpty, FindingMissing}},
		{
			name: "with the base branch", state: State{Exists: true, Current: "5"}, base: base, want: "6 7", already: 3, skipped: "2",
			findings: []FindingKind{FindingIgnored, FindingEmpty, FindingEdited, FindingLate, FindingRemoved},
		},
		{name: "with the base branch and nothing applied", base: base, want: "1 2 5 6 7", findings: []FindingKind{FindingIgnored, FindingEmpty}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			var baseHistory *History
			if test.base != nil {
				baseHistory = mustParse(t, test.base)
			}
			plan, err := mustParse(t, branch).PendingSince(baseHistory, test.state)
			if err != nil {
				t.Fatal(err)
			}
			if got := versions(plan.Pending); got != test.want || plan.AlreadyApplied != test.already {
				t.Errorf("pending %q after %d, want %q after %d", got, plan.AlreadyApplied, test.want, test.already)
			}
			var kinds []FindingKind
			for _, f := range plan.Findings {
				kinds = append(kinds, f.Kind)
				if f.Message == "" {
					t.Errorf("finding without a message: %+v", f)
				}
			}
			if !slices.Equal(kinds, test.findings) {
				t.Errorf("findings %v, want %v: %+v", kinds, test.findings, plan.Findings)
			}
			var skipped []string
			for _, s := range plan.Skipped {
				skipped = append(skipped, s.Version)
			}
			if strings.Join(skipped, " ") != test.skipped {
				t.Errorf("skipped %v, want %q", skipped, test.skipped)
			}
		})
	}
}

func TestPendingRefuses(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		state   State
		content string
		want    string
	}{
		{name: "dirty", state: State{Exists: true, Current: "0", Dirty: true, Table: `"public"."schema_migrations"`}, content: "", want: "version 0 is dirty"},
		{name: "psql include", content: "SELECT 1;\n\n\\i other.sql\n", want: `db/migrations/1_a.up.sql:3: "\\i"`},
		{name: "psql connect after a comment", content: "-- x\n/* y */ \\connect shop\n", want: `1_a.up.sql:2: "\\connect"`},
		{name: "copy from stdin", content: "SELECT 'é';\nCOPY t (a)\nFROM stdin;\n1\n\\.\n", want: "1_a.up.sql:2: COPY"},
		{name: "NUL", content: "S\x00E\x00", want: "NUL byte at offset 1"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, err := mustParse(t, files("1_a.up.sql", test.content)).Pending(test.state)
			if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || mayfly.ErrorHint(err) == "" || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v (code %q, hint %q), want migration_invalid with %q", err, mayfly.ErrorCode(err), mayfly.ErrorHint(err), test.want)
			}
		})
	}
	// What is already applied is not looked at: it may be older than the rules.
	if _, err := mustParse(t, files("1_a.up.sql", "\\i x", "2_b.up.sql", "SELECT '\\i'")).Pending(State{Exists: true, Current: "1"}); err != nil {
		t.Errorf("a psql command in an applied file is refused: %v", err)
	}
}

func TestExtendsApplied(t *testing.T) {
	t.Parallel()
	before := mustParse(t, files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "4_d.down.sql", ""))
	tests := []struct {
		name  string
		files []File
		want  string // in the reason; "" means that it extends
		same  bool   // whether the fingerprint is the same
	}{
		{name: "unchanged", files: files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "4_d.down.sql", ""), same: true},
		{name: "renamed, and another down file", files: files("1_x.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "4_d.down.sql", "SELECT 4"), same: true},
		{name: "one more", files: files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "4_d.down.sql", "", "5_e.up.sql", "")},
		{name: "edited", files: files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 33", "4_d.down.sql", ""), want: "3_c.up.sql was edited after it was applied"},
		{name: "removed", files: files("1_a.up.sql", "SELECT 1", "4_d.down.sql", ""), want: "3_c.up.sql was removed or renumbered"},
		{name: "renumbered", files: files("1_a.up.sql", "SELECT 1", "5_c.up.sql", "SELECT 3", "4_d.down.sql", ""), want: "3_c.up.sql was removed or renumbered"},
		{name: "inserted", files: files("1_a.up.sql", "SELECT 1", "2_b.up.sql", "SELECT 2", "3_c.up.sql", "SELECT 3", "4_d.down.sql", ""), want: "2_b.up.sql was added before db/migrations/3_c.up.sql"},
		{name: "up file added to an empty version", files: files("1_a.up.sql", "SELECT 1", "3_c.up.sql", "SELECT 3", "4_d.up.sql", "SELECT 4"), want: "4_d.up.sql was edited"},
		{name: "all gone", files: nil, want: "1_a.up.sql was removed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			after := mustParse(t, test.files)
			extends, reason := after.ExtendsApplied(before.Files())
			if extends != (test.want == "") || !strings.Contains(reason, test.want) {
				t.Errorf("extends: %t, %q; want reason %q", extends, reason, test.want)
			}
			if same := after.Fingerprint() == before.Fingerprint(); same != test.same {
				t.Errorf("same fingerprint: %t, want %t", same, test.same)
			}
		})
	}
	if extends, reason := before.ExtendsApplied(nil); !extends || reason != "" {
		t.Errorf("a history does not extend nothing: %q", reason)
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	text := "SELECT 'é';\r\n\r\n-- comment\r\nINSERT INTO t\r\n  VALUES (1);\r\nSELECT 3"
	pieces := sqlsplit.Counted(sqlsplit.Split(text, true))
	at := strings.Index(text, "VALUES")
	tests := []struct {
		name      string
		position  int
		inBytes   bool
		completed int
		line, col int
		statement string
	}{
		{name: "position in characters", position: len([]rune(text[:at])) + 1, line: 5, col: 3, statement: "INSERT INTO t\r\n  VALUES (1)"},
		{name: "position in bytes", position: at + 1, inBytes: true, line: 5, col: 3, statement: "INSERT INTO t\r\n  VALUES (1)"},
		{name: "position behind the end", position: len([]rune(text)) + 1, line: 6, col: 9, statement: "SELECT 3"},
		{name: "no position, first", completed: 0, line: 1, col: 1, statement: "SELECT 'é'"},
		{name: "no position, second", completed: 1, line: 4, col: 1, statement: "INSERT INTO t\r\n  VALUES (1)"},
		{name: "no position, behind the last", completed: 3, line: 6, col: 1, statement: "SELECT 3"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := Failure{Position: test.position}
			f.locate(text, pieces, test.completed, test.inBytes)
			if f.Line != test.line || f.Column != test.col || f.Statement != test.statement {
				t.Errorf("line %d, column %d, %q; want %d, %d, %q", f.Line, f.Column, f.Statement, test.line, test.col, test.statement)
			}
		})
	}
}
