package migrations

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

// TestToolsThemselvesAgree has the real goose and dbmate apply one half of a history and Mayfly the other, both ways round, and
// compares the tracking tables with one that the tool has written alone. It builds the tools from their modules, so it is skipped
// where those cannot be had, unless MAYFLY_ORACLES is set.
func TestToolsThemselvesAgree(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds the tools")
	}
	download := exec.CommandContext(t.Context(), "go", "mod", "download")
	download.Dir = "testdata/oracle"
	if out, err := download.CombinedOutput(); err != nil && os.Getenv("MAYFLY_ORACLES") == "" {
		t.Skipf("the modules of the tools cannot be had: %v\n%s", err, out)
	}
	program := filepath.Join(t.TempDir(), "oracle")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "testdata/oracle", "-o", program, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the tools: %v\n%s", err, out)
	}
	for _, n := range notations() {
		if n.tool != Goose && n.tool != Dbmate {
			continue
		}
		t.Run(n.tool, func(t *testing.T) {
			t.Parallel()
			tool := func(b *testBundle, list []File, want string) {
				t.Helper()
				dir := t.TempDir()
				for _, f := range list {
					if err := os.WriteFile(filepath.Join(dir, filepath.Base(f.Path)), f.Content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				out, err := exec.CommandContext(t.Context(), program, n.tool, b.url("postgres", nil), dir).CombinedOutput()
				if got := strings.TrimSpace(string(out)); err != nil || got != want {
					t.Fatalf("the tool applied %s, want %s: %v", got, want, err)
				}
			}
			half, all := n.list(shop()[:6]), n.list(shop())
			alone, first, second := setup(t), setup(t), setup(t)
			tool(alone, all, "12")
			if report := alone.mustApply(t, n.settings(), all); len(report.Applied) != 0 {
				t.Errorf("behind the tool %d were left", len(report.Applied))
			}
			first.mustApply(t, n.settings(), half)
			tool(first, all, "6")
			tool(second, half, "6")
			second.mustApply(t, n.settings(), all)
			tool(second, all, "0")
			for _, b := range []*testBundle{first, second} {
				if got, want := n.rows(t, b), n.rows(t, alone); got != want {
					t.Errorf("rows\n%s\nand of the tool alone\n%s", got, want)
				}
				if got, want := n.columns(t, b), n.columns(t, alone); got != want {
					t.Errorf("table\n%s\nand of the tool alone\n%s", got, want)
				}
				if got, want := schemaOf(t, b), schemaOf(t, alone); got != want {
					t.Errorf("schema\n%s\nand of the tool alone\n%s", got, want)
				}
			}
			refusals(t, n, tool)
		})
	}
}

// refusals compares what is made of an old migration that was never applied.
func refusals(t *testing.T, n notation, tool func(*testBundle, []File, string)) {
	t.Helper()
	steps := shop()[:4]
	steps[3].up = "SELECT 1;"
	b := setup(t)
	b.mustApply(t, n.settings(), n.list(steps[:2]))
	var without []File
	for i, f := range n.list(steps) {
		if i != 2 {
			without = append(without, f)
		}
	}
	b.mustApply(t, n.settings(), without)
	_, err := plan(t, b, n, n.list(steps))
	if n.tool == Dbmate {
		if err != nil {
			t.Errorf("error %v, and dbmate applies it", err)
		}
		tool(b, n.list(steps), "1")
		return
	}
	if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid {
		t.Errorf("error %v, and goose refuses", err)
	}
}

func plan(t *testing.T, b *testBundle, n notation, list []File) (Plan, error) {
	t.Helper()
	history, err := Parse(n.settings(), list)
	if err != nil {
		t.Fatal(err)
	}
	state, err := ReadState(t.Context(), b.connect(t), n.settings())
	if err != nil {
		t.Fatal(err)
	}
	return history.Pending(state)
}
