package migrations

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestNpmToolsThemselvesAgree has the migrators of Prisma and Drizzle apply one half of a history and Mayfly the other, both ways
// round. It installs them, so it runs where MAYFLY_ORACLES is set. Confirmed with the schema engine 8.1.0-2 of Prisma (7.10.1) and
// drizzle-orm 0.45.4.
func TestNpmToolsThemselvesAgree(t *testing.T) {
	t.Parallel()
	npm, err := exec.LookPath("npm")
	if os.Getenv("MAYFLY_ORACLES") == "" || err != nil {
		t.Skip("MAYFLY_ORACLES is not set, or there is no npm")
	}
	home := t.TempDir()
	if err := os.CopyFS(home, os.DirFS("testdata/npm")); err != nil {
		t.Fatal(err)
	}
	install := exec.CommandContext(t.Context(), npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", home)
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("install the tools: %v\n%s", err, out)
	}
	for _, d := range directories() {
		if d.tool != Prisma && d.tool != Drizzle {
			continue
		}
		t.Run(d.tool, func(t *testing.T) {
			t.Parallel()
			tool := func(b *testBundle, list []File, want string) {
				t.Helper()
				dir := t.TempDir()
				for _, f := range list {
					name := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(f.Path, d.path+"/")))
					if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(name, f.Content, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				cmd := exec.CommandContext(t.Context(), "node", filepath.Join(home, d.tool+".js"), dir)
				cmd.Env = append(os.Environ(), "PGHOST="+b.server.SocketDir, "PGUSER="+b.role, "PGPASSWORD="+b.password, "PGDATABASE="+b.database)
				out, err := cmd.CombinedOutput()
				if got := strings.TrimSpace(string(out)); err != nil || got != want {
					t.Errorf("the tool applied %s, want %s: %v", got, want, err)
				}
			}
			steps := d.steps()
			if d.tool == Prisma { // its driver of JavaScript cuts at every semicolon, which the engine's own does not
				plain := strings.NewReplacer(" -- ; not the end", "", "paid;", "paid", "who; did", "who did")
				for i := range steps {
					if steps[i].up = plain.Replace(steps[i].up); strings.Contains(steps[i].up, "touch") {
						steps[i].up = "SELECT 1;"
					}
				}
			}
			half, all := d.files(steps[:6]), d.files(steps)
			alone, first, second := setup(t), setup(t), setup(t)
			tool(alone, all, "12")
			first.mustApply(t, d.settings(), half)
			tool(first, all, "6")
			tool(second, half, "6")
			if report := second.mustApply(t, d.settings(), all); len(report.Applied) != 6 {
				t.Errorf("on top of the tool %d were applied", len(report.Applied))
			}
			tool(second, all, "0")
			for _, b := range []*testBundle{first, second} {
				if got, want := d.rows(t, b), d.rows(t, alone); got != want {
					t.Errorf("rows\n%s\nand of the tool alone\n%s", got, want)
				}
				if got, want := d.columns(t, b), d.columns(t, alone); got != want {
					t.Errorf("table\n%s\nand of the tool alone\n%s", got, want)
				}
				if got, want := schemaOf(t, b), schemaOf(t, alone); got != want {
					t.Errorf("schema\n%s\nand of the tool alone\n%s", got, want)
				}
			}
		})
	}
}
