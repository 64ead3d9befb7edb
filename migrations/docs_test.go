package migrations

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/migrations/lint"
)

// People look up a code that they see in a comment, or want to waive.
func TestTheDocumentationHasEveryCode(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile(filepath.Join("..", "docs", "migrations.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range append(lint.Codes(), lint.OtherCodes()...) {
		if !strings.Contains(string(page), "`"+string(code)+"`") {
			t.Errorf("docs/migrations.md does not say when %s appears", code)
		}
	}
	kinds := []FindingKind{
		FindingIgnored, FindingEmpty, FindingMissing, FindingLate, FindingEdited, FindingRemoved, FindingPersonal, FindingOutOfOrder, FindingDuplicate, FindingRefused,
		FindingSameVersion, FindingSameTable, FindingRollbackMissing, FindingRollbackFailed, FindingRollbackLeaves, FindingRollbackLoses, FindingRollbackChanges,
		FindingRollbackUpAgain, FindingLoadBlocked, FindingLoadFailed,
	}
	for _, kind := range kinds {
		if !slices.Contains(lint.OtherCodes(), lint.Code(kind)) {
			t.Errorf("%s cannot be waived", kind)
		}
	}
}

func TestFindingsAboutFilesAreWaivedInThem(t *testing.T) {
	t.Parallel()
	history, err := Parse(settings(), files("1_a.up.sql", "-- mayfly:ignore rollback-missing, same-version: nobody goes back\nSELECT 1", "2_b.up.sql", "SELECT 2"))
	if err != nil {
		t.Fatal(err)
	}
	const first, second = "db/migrations/1_a.up.sql", "db/migrations/2_b.up.sql"
	report := &Report{
		Migrations: []Status{{Version: "1", Origin: OriginPullRequest}, {Version: "2", Origin: OriginPullRequest}},
		Findings:   []Finding{{Kind: FindingRollbackMissing, File: first}, {Kind: FindingRollbackMissing, File: second}, {Kind: FindingRollbackLoses}},
		Others:     []OtherPullRequest{{Number: 3, Versions: []SameVersion{{Version: "1", File: first}, {Version: "2", File: second}}}},
	}
	report.Waive(history)
	var waived []string
	for _, f := range append(report.Findings, report.OtherFindings()...) {
		if f.Waived != "" {
			waived = append(waived, string(f.Kind)+" "+f.File+" "+f.Waived)
		}
	}
	if got, want := strings.Join(waived, "; "), "rollback-missing "+first+" nobody goes back; same-version "+first+" nobody goes back"; got != want {
		t.Errorf("waived are %q, not %q", got, want)
	}
	report.Migrations[0].Origin = OriginBase // it is not this pull request's file
	report.Findings[0].Waived = ""
	if report.Waive(history); report.Findings[0].Waived != "" {
		t.Error("a file of the base branch waives for the pull request")
	}
}
