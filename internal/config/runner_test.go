package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	mayfly "github.com/mayflydb/mayfly"
)

func runnerOf(t *testing.T, text string) (mayfly.MigrationSettings, error) {
	t.Helper()
	var m fileMigrations
	if err := yaml.NewDecoder(strings.NewReader(text), yaml.Strict(), yaml.DisallowUnknownField()).Decode(&m); err != nil {
		t.Fatalf("read %q: %v", text, err)
	}
	return m.resolve(t.TempDir())
}

// TestRunnerOneLine is what a project usually writes.
func TestRunnerOneLine(t *testing.T) {
	t.Parallel()
	for _, tool := range mayfly.RunnerTools() {
		text := "{tool: " + tool + ", runner: {image: shop:main}}"
		if tool == "command" {
			text = "{tool: command, runner: {image: shop:main, command: bin/migrate up && bin/seed}}"
		}
		got, err := runnerOf(t, text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if got.Tool != tool || got.Runner.Image != "shop:main" {
			t.Errorf("%s became %+v", text, got)
		}
		if tool == "command" && !slices.Equal(got.Runner.Command, []string{"/bin/sh", "-c", "bin/migrate up && bin/seed"}) {
			t.Errorf("a text became the command %q", got.Runner.Command)
		}
	}
}

// TestRunnerSecret reads secrets from files and keeps them apart.
func TestRunnerSecret(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("swordfish\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := runnerOf(t, "{tool: rails, runner: {image: shop, secrets: {RAILS_MASTER_KEY: "+file+"}, network: {allow: ['rubygems.org:443']}}}")
	if err != nil {
		t.Fatal(err)
	}
	if got.Runner.Secrets["RAILS_MASTER_KEY"] != "swordfish" || len(got.Runner.Env) != 0 || len(got.Runner.Allow) != 1 {
		t.Errorf("the settings are %+v", got.Runner)
	}
}

// TestRunnerRefused holds what would be misunderstood, or would lead the command elsewhere.
func TestRunnerRefused(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"{tool: rails}":                                                         "image is missing",
		"{tool: rails, runner: {memory: 1GiB}}":                                 "image is missing",
		"{tool: command, runner: {image: x}}":                                   "command is missing",
		"{tool: goose, path: m, runner: {image: x}}":                            "belongs to tools whose migrations are code",
		"{tool: rails, runner: {image: x, env: {DATABASE_URL: y}}}":             "no variable that can be set",
		"{tool: rails, runner: {image: x, env: {'A B': y}}}":                    "no variable that can be set",
		"{tool: rails, runner: {image: x, dir: /etc/app}}":                      "not a directory for a checkout",
		"{tool: rails, runner: {image: x, dir: app}}":                           "not a directory for a checkout",
		"{tool: rails, runner: {image: x, link: {../a: /b}}}":                   "no link",
		"{tool: rails, runner: {image: x, network: {allow: ['10.0.0.1:443']}}}": "not host:port",
		"{tool: rails, runner: {image: x, network: {allow: ['rubygems.org']}}}": "not host:port",
		"{tool: rails, runner: {image: x, network: {allow: ['*:443']}}}":        "not host:port",
		"{tool: rails, runner: {image: x, pids: 3}}":                            "limits are too low",
		"{tool: rails, runner: {image: x, secrets: {A: no-such-file}}}":         "migrations.runner.secrets.A",
		"{tool: rails, runner: {image: x, user: '$(id)'}}":                      "is no user",
	} {
		_, err := runnerOf(t, text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v, not %q", text, err, want)
		}
	}
}
