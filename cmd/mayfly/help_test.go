package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var update = flag.Bool("update", false, "write the golden files of --help anew")

// TestHelp compares the help of every command with testdata/help, in an environment that must not show in it.
func TestHelp(t *testing.T) {
	for _, name := range []string{"MAYFLY_SERVER", "MAYFLY_URL", "MAYFLY_CONTEXT", "MAYFLY_TOKEN", "MAYFLY_TOKEN_FILE", "MAYFLY_PROJECT", "SUDO_USER"} {
		t.Setenv(name, "secret.example")
	}
	guide, err := os.ReadFile("../../docs/cli.md")
	check(t, err)
	seen := map[string]bool{}
	root, _ := newRootCommand(streams{}, hooks{})
	for _, path := range commandPaths(root) {
		name := strings.Join(append([]string{"mayfly"}, path...), "-") + ".txt"
		seen[name] = true
		var out, errs bytes.Buffer
		if code := run(t.Context(), append(path, "--help"), streams{out: &out, err: &errs}, hooks{}); code != exitDone || errs.Len() > 0 {
			t.Errorf("%v --help: exit code %d, %s", path, code, errs.String())
		}
		golden := filepath.Join("testdata", "help", name)
		if *update {
			check(t, os.MkdirAll(filepath.Dir(golden), 0o755))
			check(t, os.WriteFile(golden, out.Bytes(), 0o644))
		}
		want, err := os.ReadFile(golden)
		if err != nil || !bytes.Equal(want, out.Bytes()) {
			t.Errorf("%s is not what --help says (go test ./cmd/mayfly -run TestHelp -update): %v\n%s", golden, err, out.String())
		}
		if strings.Contains(out.String(), "secret.example") {
			t.Errorf("%s shows the environment", name)
		}
		if leaf := strings.Join(path, " "); leaf != "" && !strings.Contains(string(guide), "`"+leaf) {
			t.Errorf("docs/cli.md does not mention %s", leaf)
		}
	}
	files, err := filepath.Glob("testdata/help/*")
	check(t, err)
	for _, file := range files {
		if !seen[filepath.Base(file)] {
			t.Errorf("%s belongs to no command", file)
		}
	}
}

// commandPaths returns the path of every command, the root's is empty. Those that cobra adds are not ours.
func commandPaths(cmd *cobra.Command) [][]string {
	paths := [][]string{{}}
	for _, child := range cmd.Commands() {
		if child.Name() == "completion" || child.Name() == "help" {
			continue
		}
		for _, path := range commandPaths(child) {
			paths = append(paths, append([]string{child.Name()}, path...))
		}
	}
	return paths
}

// TestEveryCommandIsHelpful: an example each, a summary, and -o json wherever something is printed.
func TestEveryCommandIsHelpful(t *testing.T) {
	t.Parallel()
	root, _ := newRootCommand(streams{}, hooks{})
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, child := range cmd.Commands() {
			visit(child)
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s has no summary or no example", cmd.CommandPath())
		}
		if cmd.HasSubCommands() {
			return
		}
		if !slices.Contains([]string{"serve", "psql", "run"}, cmd.Name()) && cmd.Flag("output") == nil {
			t.Errorf("%s has no -o", cmd.CommandPath())
		}
	}
	visit(root)
}
