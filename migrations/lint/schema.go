package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// CheckSchema returns what only the schema before and after all migrations shows, and no statement by itself.
func CheckSchema(diff schemadiff.Diff) []Finding {
	var findings []Finding
	for _, change := range diff.Changes {
		if change.Kind != schemadiff.KindType {
			continue
		}
		for _, d := range change.Differences {
			if gone := removed(d); d.Property == "labels" && len(gone) > 0 {
				findings = append(findings, Finding{
					Code: EnumValueRemoved, Severity: Warning, Relation: change.Name,
					Message: fmt.Sprintf("the enum %s no longer has %s: code that still uses it fails", change.Name, strings.Join(gone, ", ")),
					Instead: "leave the value in the type, and keep it out of the tables with a CHECK constraint",
				})
			}
		}
	}
	return findings
}

// removed lists the labels of an enum that are gone.
func removed(d schemadiff.Difference) []string {
	now := strings.Split(d.After, ", ")
	return slices.DeleteFunc(strings.Split(d.Before, ", "), func(label string) bool { return slices.Contains(now, label) })
}
