package migrations

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/migrations/lint"
	"github.com/mayflydb/mayfly/migrations/observe"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// Findings about other pull requests.
const (
	// FindingSameVersion: another open pull request adds a migration with the same version.
	FindingSameVersion FindingKind = "same-version"
	// FindingSameTable: the migrations of another open pull request work on the same table.
	FindingSameTable FindingKind = "same-table"
)

// Touched is what a pull request adds and works on.
type Touched struct {
	// Versions are the migrations that the base branch does not have.
	Versions []AppliedFile `json:"versions,omitempty"`
	// Tables are those from before that its migrations changed or wrote rows of, with their schema.
	Tables []string `json:"tables,omitempty"`
}

// Touched returns what the pull request of a run adds and works on. before is what it was after the runs before on the same
// preview.
func (r *Report) Touched(h *History, before Touched) Touched {
	var t Touched
	added := map[string]bool{}
	for _, s := range r.Migrations {
		added[s.Version] = s.Origin != OriginBase && s.Status != StatusMissing
	}
	// Without the base branch's history all that is pending is taken for the pull request's.
	based := slices.ContainsFunc(r.Migrations, func(s Status) bool { return s.Origin != "" })
	for _, m := range h.Migrations {
		s, known := r.status(m.Version)
		if !known || !added[m.Version] || !based && (s.Status == StatusApplied || s.Status == StatusEdited) {
			continue
		}
		t.Versions = append(t.Versions, AppliedFile{Version: m.Version, Path: m.file(), SHA: m.sha(), Repeatable: m.Repeatable})
	}
	t.Tables = append(t.Tables, before.Tables...)
	observed := false
	for _, step := range r.Applied {
		if step.Observed == nil || !added[step.Version] {
			continue
		}
		observed = true
		for _, s := range step.Observed.Statements {
			t.Tables = append(t.Tables, touchedBy(s)...)
		}
	}
	if r.Schema != nil && !observed { // a tool whose statements nobody sees
		t.Tables = append(t.Tables, changedTables(*r.Schema)...)
	}
	slices.Sort(t.Tables)
	t.Tables = slices.Compact(t.Tables)
	return t
}

func (r *Report) status(version string) (Status, bool) {
	i := slices.IndexFunc(r.Migrations, func(s Status) bool { return s.Version == version && s.Status != StatusDuplicate })
	if i < 0 {
		return Status{}, false
	}
	return r.Migrations[i], true
}

// touchedBy lists the tables from before of which a statement wrote rows, or that it locked in more than the way that reading them does.
func touchedBy(s *observe.Statement) []string {
	var tables []string
	fresh := map[string]bool{}
	for _, l := range s.Locks {
		fresh[l.Relation] = fresh[l.Relation] || l.New
		switch {
		case l.New, l.Kind == "index", l.Kind == "sequence":
		case l.Mode == "AccessShareLock", l.Mode == "RowShareLock":
		default:
			tables = append(tables, l.Relation)
		}
	}
	for _, d := range s.Data {
		if !fresh[d.Table] {
			tables = append(tables, d.Table)
		}
	}
	return tables
}

// changedTables lists the tables of a diff that were there before.
func changedTables(diff schemadiff.Diff) []string {
	var tables []string
	added := map[string]bool{}
	for _, c := range diff.Changes {
		if c.Kind == schemadiff.KindTable && c.Action == schemadiff.Added {
			added[c.Name] = true
		}
	}
	for _, c := range diff.Changes {
		switch {
		case c.Parent != "" && !added[c.Parent]:
			tables = append(tables, c.Parent)
		case c.Kind == schemadiff.KindTable && c.Action != schemadiff.Added:
			tables = append(tables, c.Name)
		}
	}
	return tables
}

// OtherPullRequest is another open pull request that is in the way of this one.
type OtherPullRequest struct {
	Number  int    `json:"number"`
	Title   string `json:"title,omitempty"`
	Preview string `json:"preview"`
	// Versions are those that both add, with different contents; File is this pull request's, Theirs the other one's.
	Versions []SameVersion `json:"versions,omitempty"`
	// Tables are those that both work on.
	Tables []string `json:"tables,omitempty"`
}

// SameVersion is a version that two pull requests add.
type SameVersion struct {
	Version string `json:"version"`
	File    string `json:"file"`
	Theirs  string `json:"theirs"`
}

// InTheWay compares what two pull requests touch. What is the same file in both is no conflict: one branch builds on the other.
func (t Touched) InTheWay(other Touched) (versions []SameVersion, tables []string) {
	shared := map[string]bool{}
	for _, ours := range t.Versions {
		for _, theirs := range other.Versions {
			switch {
			case ours.Version != theirs.Version || ours.Repeatable:
			case ours.SHA == theirs.SHA && ours.Path == theirs.Path:
				shared[ours.Version] = true
			default:
				versions = append(versions, SameVersion{Version: ours.Version, File: ours.Path, Theirs: theirs.Path})
			}
		}
	}
	if len(shared) == len(t.Versions) || len(shared) == len(other.Versions) { // one holds all of the other
		return versions, nil
	}
	for _, table := range t.Tables {
		if slices.Contains(other.Tables, table) {
			tables = append(tables, table)
		}
	}
	return versions, tables
}

// OtherFindings says in words what Others holds.
func (r *Report) OtherFindings() []Finding {
	var findings []Finding
	for _, o := range r.Others {
		for _, v := range o.Versions {
			findings = append(findings, Finding{
				Kind: FindingSameVersion, Version: v.Version, File: v.File, Severity: lint.Warning,
				Message: fmt.Sprintf("pull request #%d adds version %s, too (%s): whichever is merged last has to be renumbered", o.Number, v.Version, v.Theirs),
				Instead: "give one of the two another version before either is merged",
			})
		}
		if len(o.Tables) > 0 {
			findings = append(findings, Finding{
				Kind: FindingSameTable, Severity: lint.Warning, Relation: o.Tables[0],
				Message: fmt.Sprintf("the migrations of pull request #%d work on %s, too: neither preview shows what both together do", o.Number, list(o.Tables)),
				Instead: "agree which is merged first, and look at the other's preview again after that",
			})
		}
	}
	r.waive(findings)
	slices.SortStableFunc(findings, func(a, b Finding) int { return cmp.Compare(a.Kind, b.Kind) })
	return findings
}

// list names a few of many.
func list(names []string) string {
	const most = 5
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// WithState returns the files of a history that a database has applied, as they are to be recorded with it. The database is one that the
// history's branch was applied to: without a tracking table a tool that trusts its branch has all of it.
func (h *History) WithState(state State) []AppliedFile {
	plan, _ := h.Compare(Comparison{State: state, Base: h}) // what the tool would refuse does not matter here
	var files []AppliedFile
	for _, s := range plan.Migrations {
		m, ok := h.find(s.Version)
		if !ok || s.Status != StatusApplied && s.Status != StatusEdited {
			continue
		}
		files = append(files, AppliedFile{Version: m.Version, Path: m.file(), SHA: m.sha(), Repeatable: m.Repeatable})
	}
	return files
}
