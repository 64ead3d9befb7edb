package migrations

import (
	"slices"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// FindingRefused says that the tool would refuse what the preview has, now that the base branch is another one.
const FindingRefused FindingKind = "refused"

// planned are the kinds of findings that come of comparing files, and not of running them.
func planned(kind FindingKind) bool {
	switch kind {
	case FindingIgnored, FindingEmpty, FindingMissing, FindingLate, FindingEdited, FindingRemoved, FindingOutOfOrder, FindingDuplicate, FindingRefused:
		return true
	}
	return false
}

// Rebase brings what a report says of the files up to a base branch that changed after the run. plan compares the same files with the
// database as it was before anything was applied, refused is what that gave. The figures of the run stay.
func (r *Report) Rebase(plan Plan, refused error) {
	r.Migrations = slices.Clone(plan.Migrations)
	r.Skipped = append([]Skipped{}, plan.Skipped...)
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return planned(f.Kind) })
	r.Findings = append(graded(plan.Findings), r.Findings...)
	if refused != nil {
		r.Findings = append(r.Findings, Finding{
			Kind: FindingRefused, Severity: lint.Error, Message: refused.Error(), Instead: mayfly.ErrorHint(refused),
		})
	}
}
