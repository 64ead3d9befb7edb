package migrations

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

// sqitchFiles is the shop as Sqitch has it: with a project URI, notes, dependencies, tags and a change that is reworked.
func sqitchFiles(steps []step) []File {
	var plan strings.Builder
	plan.WriteString("%syntax-version=1.0.0\n%project=shop\n%uri=https://example.com/shop/\n\n")
	var list []File
	for i, s := range steps {
		needs := ""
		if i > 0 {
			needs = " [" + steps[i-1].name + "]"
		}
		if i == 3 {
			needs = " [" + steps[1].name + " " + steps[2].name + "@v1 !other:nothing]"
		}
		fmt.Fprintf(&plan, "%s%s 2024-01-%02dT12:00:00Z Ada Lovelace <ada@example.com> # Step %d, with ü\n", s.name, needs, i+1, i+1)
		if i == 2 || i == 8 {
			fmt.Fprintf(&plan, "@v%d 2024-01-%02dT13:00:00Z Ada Lovelace <ada@example.com> # Release %d\n\n", i/2, i+1, i)
		}
		text := "-- Deploy shop:" + s.name + " to pg\n\\set ON_ERROR_STOP on\n\nBEGIN;\n\n" + s.up + "\n\nCOMMIT;\n"
		if s.alone {
			text = s.up + "\n"
		}
		name := s.name
		if i == 6 {
			name += "@v4" // reworked behind the tag
		}
		list = append(list, file("db/deploy/"+name+".sql", text))
	}
	plan.WriteString("view [view@v4] 2024-02-01T12:00:00Z Ada Lovelace <ada@example.com> # Reworked\n")
	list = append(list, file("db/deploy/view.sql", "BEGIN;\nCREATE OR REPLACE VIEW big_orders AS SELECT id, total FROM orders WHERE total > 200;\nCOMMIT;\n"))
	return append(list, file("db/sqitch.plan", plan.String()), file("db/revert/view.sql", "DROP VIEW big_orders"))
}

// sqitchSteps avoids a column list that CREATE OR REPLACE VIEW would have to keep.
func sqitchSteps() []step {
	steps := shop()
	steps[6].up = "CREATE VIEW big_orders AS SELECT id, total FROM orders WHERE total > 100;"
	return steps
}

func sqitchSettings() mayfly.MigrationSettings {
	return mayfly.MigrationSettings{Tool: Sqitch, Path: "db"}
}

// sqitchRows are the registry without times and names of people.
func sqitchRows(t *testing.T, b *testBundle) string {
	t.Helper()
	var out []string
	for _, query := range []string{
		`SELECT version::text || ' ' || (installed_at IS NOT NULL) AS line, 1 AS n FROM sqitch.releases`,
		`SELECT concat_ws('|', project, uri) AS line, 1 AS n FROM sqitch.projects`,
		`SELECT concat_ws('|', change_id, script_hash, change, project, note, planned_at AT TIME ZONE 'UTC', planner_name, planner_email) AS line, row_number() OVER (ORDER BY committed_at) AS n FROM sqitch.changes`,
		`SELECT concat_ws('|', tag_id, tag, project, change_id, note, planned_at AT TIME ZONE 'UTC', planner_name, planner_email) AS line, row_number() OVER (ORDER BY committed_at, tag) AS n FROM sqitch.tags`,
		`SELECT concat_ws('|', change_id, type, dependency, coalesce(dependency_id, 'NULL')) AS line, row_number() OVER (ORDER BY change_id, dependency) AS n FROM sqitch.dependencies`,
		`SELECT concat_ws('|', event, change_id, change, project, note, requires, conflicts, tags, planned_at AT TIME ZONE 'UTC', planner_name, planner_email) AS line, row_number() OVER (ORDER BY committed_at) AS n FROM sqitch.events`,
	} {
		out = append(out, one[string](t, b, `SELECT coalesce(string_agg(line, E'\n' ORDER BY n), '') FROM (`+query+`) x`))
	}
	return strings.Join(out, "\n")
}

func TestSqitchAppliesAPlan(t *testing.T) {
	t.Parallel()
	b := setup(t)
	report := b.mustApply(t, sqitchSettings(), sqitchFiles(sqitchSteps()))
	if len(report.Applied) != 13 || report.Applied[6].File != "db/deploy/view@v4.sql" || report.Applied[12].File != "db/deploy/view.sql" {
		t.Errorf("applied %+v", report.Applied)
	}
	golden, err := os.ReadFile("testdata/sqitch-registry.txt") // of Sqitch 1.3.1, see TestSqitchItselfAgrees
	if err != nil {
		t.Fatal(err)
	}
	if got := sqitchRows(t, b); got != strings.TrimSpace(string(golden)) {
		t.Errorf("the registry has\n%s\nwant\n%s", got, golden)
	}
	if again := b.mustApply(t, sqitchSettings(), sqitchFiles(sqitchSteps())); len(again.Applied) != 0 {
		t.Errorf("a second run applied %+v", again.Applied)
	}
	edited := sqitchFiles(sqitchSteps())
	for i, f := range edited {
		if f.Path == "db/sqitch.plan" {
			edited[i].Content = []byte(strings.Replace(string(f.Content), "Step 4", "Step IV", 1))
		}
	}
	history, err := Parse(sqitchSettings(), edited)
	if err != nil {
		t.Fatal(err)
	}
	state, err := ReadState(t.Context(), b.connect(t), sqitchSettings())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := history.Pending(state); err == nil || !strings.Contains(err.Error(), "was edited") {
		t.Errorf("an edited plan gave %v", err)
	}
}

// TestSqitchItselfAgrees runs Sqitch, as Debian has it, on what Mayfly has deployed the first half of, and the other way round.
// Confirmed with Sqitch 1.3.1.
func TestSqitchItselfAgrees(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("sqitch")
	if os.Getenv("MAYFLY_ORACLES") == "" || err != nil {
		t.Skip("MAYFLY_ORACLES is not set, or there is no sqitch")
	}
	dir := t.TempDir()
	steps := sqitchSteps()
	for _, f := range append(sqitchFiles(steps), file("db/sqitch.conf", "[core]\n\tengine = pg\n[user]\n\tname = Mayfly\n\temail = mayfly@localhost\n")) {
		name := filepath.Join(dir, filepath.FromSlash(f.Path))
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	deploy := func(b *testBundle, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, append([]string{"deploy", "--target", "db:pg:///" + b.database}, args...)...)
		cmd.Dir = filepath.Join(dir, "db")
		cmd.Env = append(os.Environ(), "PGHOST="+b.server.SocketDir, "PGUSER="+b.role, "PGPASSWORD="+b.password, "TZ=UTC", "LC_ALL=C.UTF-8")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Errorf("sqitch deploy: %v\n%s", err, out)
		}
		return string(out)
	}
	alone, first, second := setup(t), setup(t), setup(t)
	deploy(alone)
	want := sqitchRows(t, alone)
	if os.Getenv("MAYFLY_ORACLES") == "update" {
		if err := os.WriteFile("testdata/sqitch-registry.txt", []byte(want+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	first.mustApply(t, sqitchSettings(), sqitchFiles(steps))
	if out := deploy(first); !strings.Contains(out, "Nothing to deploy") {
		t.Errorf("after us, sqitch says %s", out)
	}
	deploy(second, "--to", steps[5].name)
	if report := second.mustApply(t, sqitchSettings(), sqitchFiles(steps)); len(report.Applied) != 7 {
		t.Errorf("on top of sqitch %d were applied", len(report.Applied))
	}
	if out := deploy(second); !strings.Contains(out, "Nothing to deploy") {
		t.Errorf("after both, sqitch says %s", out)
	}
	for _, b := range []*testBundle{first, second} {
		if got := sqitchRows(t, b); got != want {
			t.Errorf("registry\n%s\nof the tool alone\n%s", got, want)
		}
	}
}

func TestSqitchRefusesWhatOnlyPsqlCanDo(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"SELECT 1;\n\\i other.sql":           `db/deploy/a.sql:2: the command of psql "\\i" cannot`,
		"\\set ON_ERROR_STOP off\nSELECT 1;": `db/deploy/a.sql:1: the command of psql`,
		"SELECT 1;\n\\! rm -rf /":            `db/deploy/a.sql:2:`,
		"SELECT 1 \\gexec":                   `db/deploy/a.sql:1:`,
		"CREATE SCHEMA :\"registry\";":       `db/deploy/a.sql:1: a variable of psql`,
		"\\set ON_ERROR_STOP on\n\\echo hi\nSELECT 1::int, 'a:registry', '{1,2}'::int[];": "",
		"SELECT (ARRAY[1,2])[1:n] FROM t;":                                                "",
	} {
		history, err := Parse(sqitchSettings(), []File{
			file("db/sqitch.plan", "%project=x\n\na 2024-01-01T12:00:00Z A <a@b.c>\n"), file("db/deploy/a.sql", text),
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = history.Pending(State{})
		if (want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave %v, want %q", text, err, want)
		}
	}
}

func TestSqitchPlansThatAreRefused(t *testing.T) {
	t.Parallel()
	const who = " 2024-01-01T12:00:00Z A <a@b.c>\n"
	for plan, want := range map[string]string{
		"a" + who:                           "no %project line",
		"%project=x\n\na\n":                 "sqitch.plan:3: the line has no timestamp",
		"%project=x\n\na" + who + "a" + who: "sqitch.plan:4: change \"a\" is there twice",
		"%project=x\n\na [b]" + who:         "requires \"b\"",
		"%project=x\n\n../../a" + who:       "sqitch.plan:3:",
		"%project=x\n\n@v1" + who:           "sqitch.plan:3: tag @v1",
		"%project=x\n\nHEAD" + who:          "reserved",
		"%project=x\n\n<<<<<<< HEAD\n":      "sqitch.plan:3:",
		"%project=x\n\n\xff" + who:          "not UTF-8",
	} {
		_, err := Parse(sqitchSettings(), []File{file("db/sqitch.plan", plan)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gave %v, want %q", plan, err, want)
		}
	}
}
