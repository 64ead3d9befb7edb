package provisioner

import (
	"path"
	"time"

	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/observe"
)

// observed puts into the comment what was seen of the migrations. What the file waives is left out.
func observed(data *forge.CommentData, report *migrations.Report) {
	if report == nil {
		return
	}
	for _, f := range append(report.OtherFindings(), report.Findings...) {
		if f.Severity != "" && f.Waived == "" {
			data.Findings = append(data.Findings, forge.CommentFinding{
				Severity: string(f.Severity), Code: string(f.Kind), File: f.File, Line: f.Line, Message: f.Message, Instead: f.Instead,
			})
		}
	}
	for _, m := range report.Applied {
		if m.Observed == nil || len(m.Observed.Statements) == 0 {
			continue
		}
		lock, held := longest(m.Observed)
		data.Costs = append(data.Costs, forge.CommentCost{
			Name: path.Base(m.File), Took: milliseconds(m.DurationMS).Round(time.Millisecond), Lock: lock, Locked: held, Rows: m.RowsAffected,
			WALBytes: m.Observed.WALBytes, DiskBytes: m.Observed.DiskBytes,
		})
	}
	if report.Schema != nil && !report.Schema.Empty() {
		added, removed, changed := report.Schema.Count()
		data.Schema = &forge.CommentSchema{Added: added, Removed: removed, Changed: changed, Text: report.Schema.Text()}
	}
}

// longest is the lock on a table from before that kept others waiting for the longest time.
func longest(m *observe.Migration) (mode string, held time.Duration) {
	for _, s := range m.Statements {
		for _, l := range s.Locks {
			if !l.New && l.Kind != "index" && l.Blocks() && milliseconds(l.HeldMS) >= held {
				mode, held = l.Mode, milliseconds(l.HeldMS).Round(time.Millisecond)
			}
		}
	}
	return mode, held
}
