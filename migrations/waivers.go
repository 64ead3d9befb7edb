package migrations

import (
	"slices"

	"github.com/mayflydb/mayfly/migrations/lint"
)

// Waiver is what a migration's file waives of findings that are not about one statement.
type Waiver struct {
	File string `json:"file"`
	lint.Waiver
}

// Waive notes what the files of the history waive, those alone that the base branch does not have, and applies it to the findings.
func (r *Report) Waive(h *History) {
	r.Waivers = nil
	if h == nil {
		return
	}
	for _, m := range h.Migrations {
		if s, ok := r.status(m.Version); ok && s.Origin == OriginBase {
			continue
		}
		for _, f := range []*File{m.Up, m.down} {
			if f == nil {
				continue
			}
			for _, w := range lint.Waivers(string(f.Content)) {
				r.Waivers = append(r.Waivers, Waiver{File: m.file(), Waiver: w})
			}
		}
	}
	r.waive(r.Findings)
}

// waive marks what is waived among findings that are about a file, or about the run as a whole.
func (r *Report) waive(findings []Finding) {
	for i := range findings {
		f := &findings[i]
		if f.Waived != "" || f.Line > 0 || !slices.Contains(lint.OtherCodes(), lint.Code(f.Kind)) {
			continue
		}
		for _, w := range r.Waivers {
			if (f.File == "" || f.File == w.File) && slices.Contains(w.Codes, lint.Code(f.Kind)) {
				f.Waived = w.Reason
			}
		}
	}
}

// severityOf is how bad a finding is that comes of comparing files.
func severityOf(kind FindingKind) lint.Severity {
	switch kind {
	case FindingDuplicate, FindingRefused:
		return lint.Error
	case FindingLate, FindingEdited, FindingRemoved, FindingOutOfOrder, FindingPersonal:
		return lint.Warning
	}
	return lint.Info
}

// graded gives findings that have no severity theirs.
func graded(findings []Finding) []Finding {
	out := slices.Clone(findings)
	for i := range out {
		if out[i].Severity == "" {
			out[i].Severity = severityOf(out[i].Kind)
		}
	}
	return out
}
