package reportpage_test

import (
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/reportpage"
	"github.com/mayflydb/mayfly/migrations/runner"
)

// TestRun shows what the project's own command printed, as text whatever it is.
func TestRun(t *testing.T) {
	t.Parallel()
	report := &migrations.Report{Tool: runner.Rails, Run: &runner.Report{
		Command: []string{"bin/rails", "db:migrate"}, Image: "shop:main", ExitCode: 3, Log: "before\n```\n<script>alert(1)</script>\n", Truncated: true,
		Refused: []string{`the runner may log in as role "app" only`}, Errors: []runner.ServerError{{Severity: "ERROR", SQLState: "42703", Message: "no such <column>"}},
	}}
	var page, text strings.Builder
	if err := reportpage.Write(&page, reportpage.About{Preview: "shop-pr-1"}, report); err != nil {
		t.Fatal(err)
	}
	if err := reportpage.Markdown(&text, reportpage.About{Preview: "shop-pr-1"}, report); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"bin/rails db:migrate", "exit code 3", "the end of it", "no such &lt;column&gt;", "&lt;script&gt;"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	if strings.Contains(page.String(), "<script>") || !strings.Contains(text.String(), "\n````\nbefore\n") {
		t.Errorf("what was printed is taken for markup:\n%s", text.String())
	}
}
