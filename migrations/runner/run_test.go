package runner_test

import (
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/runner"
)

// TestRun is a command that looks at what it was given: the checkout, the way to Postgres by URL, by PG* and by the usual
// socket, and its own limits.
func TestRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, user := range []string{"", "1234:1234"} {
		settings := shell(`
			pwd; cat db/file; id -u
			echo written >db/new; mkdir -p "$HOME/.cache/x"; echo "$HOME"
			python3 - <<'PY'
import os, psycopg2
for dsn in (os.environ["DATABASE_URL"], "", "host=/var/run/postgresql", "host=/mayfly/socket"):
    with psycopg2.connect(dsn) as c:
        cur = c.cursor()
        cur.execute("select current_user, current_database(), current_setting('lock_timeout'), current_setting('statement_timeout')")
        print(cur.fetchone())
PY
			ls -d "$PWD"/node_modules/knex`)
		settings.User = user
		settings.Link = map[string]string{"node_modules": "/opt/knex/node_modules"}
		got := b.run(t, settings, map[string]string{"db/file": "of the checkout\n"})
		if got.err != nil {
			t.Fatalf("as user %q: %v\n%s", user, got.err, got.report.Log)
		}
		want := "('" + b.owner + "', '" + b.database + "', '1min', '10min')"
		if n := strings.Count(got.report.Log, want); n != 4 {
			t.Errorf("as user %q: %d of 4 ways lead to the database:\n%s", user, n, got.report.Log)
		}
		if !strings.HasPrefix(got.report.Log, runner.DefaultDir+"\nof the checkout\n") {
			t.Errorf("as user %q: the checkout is not where it should be:\n%s", user, got.report.Log)
		}
	}
}

// TestFailure keeps the exit code and the end of the output, and gives a hint.
func TestFailure(t *testing.T) {
	t.Parallel()
	b := setup(t)
	got := b.run(t, shell(`echo one; echo two >&2; exit 7`), nil)
	if code := mayfly.ErrorCode(got.err); code != mayfly.CodeMigrationFailed {
		t.Fatalf("the code is %s: %v", code, got.err)
	}
	if text := got.err.Error(); !strings.Contains(text, "exit code 7") || !strings.Contains(text, "two") {
		t.Errorf("the words are: %s", text)
	}
	if got.report.ExitCode != 7 || got.report.Log != "one\ntwo\n" {
		t.Errorf("the report is %+v", got.report)
	}
}
