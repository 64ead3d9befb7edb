package migrations

import "time"

// State is what the tracking table of a database says.
type State struct {
	Tool string `json:"tool"`
	// Table is the tracking table, quoted and with its schema.
	Table string `json:"table,omitempty"`
	// Exists is false if the database has no tracking table: nothing was ever applied.
	Exists bool `json:"exists"`
	// Current is the version that the database is at, "" for none.
	Current string `json:"current"`
	// Dirty is true if the migration to Current began and did not end well.
	Dirty bool `json:"dirty"`
	// Applied is every migration that the tracking table lists, in the order in which they were applied as far as the
	// table tells. It is empty for golang-migrate, which knows one version alone.
	Applied []Applied `json:"applied,omitempty"`
}

// Applied is one migration in a tracking table.
type Applied struct {
	Version string `json:"version"`
	Name    string `json:"name,omitempty"`
	// Checksum is in the form of Migration.Checksum; "" if the table has none.
	Checksum string `json:"checksum,omitempty"`
	// At is when it was applied, if the table says.
	At *time.Time `json:"at,omitempty"`
	// Failed is true if the table says that it did not end well.
	Failed bool `json:"failed,omitempty"`
	// Repeatable is Migration.Repeatable.
	Repeatable bool `json:"repeatable,omitempty"`
}

// Skipped is a migration that the tool will never run on this database.
type Skipped struct {
	Version string `json:"version"`
	Name    string `json:"name"`
	File    string `json:"file"`
	Reason  string `json:"reason"`
}

// Plan is what Apply will do to a database in a certain state.
type Plan struct {
	Tool string
	// From is the version that the database must be at, "" for none.
	From string
	// AlreadyApplied is how many versions of the history the tool takes as applied: those up to From.
	AlreadyApplied int
	// Pending is what will be applied, in order.
	Pending []Migration
	// FromPullRequest and FromBase part Pending: what the branch adds, and what the base branch has already and this
	// database does not have yet. Without the base branch's history all of it is in FromPullRequest.
	FromPullRequest []Migration
	FromBase        []Migration
	// Migrations says about every migration, of the files and of the tracking table, where it stands.
	Migrations []Status
	Skipped    []Skipped
	Findings   []Finding

	impl    tool
	state   State
	trusted []Migration // taken as applied although no table says so
	table   string      // settings.Table
}

// To is the version that the database will be at if all goes well, "" for none.
func (p Plan) To() string {
	if len(p.Pending) == 0 {
		return p.From
	}
	return p.Pending[len(p.Pending)-1].Version
}

// Comparison is what the files of a commit are compared with. Only State is needed; the more of the rest is there, the more
// can be told.
type Comparison struct {
	// State is what the database has.
	State State
	// Base is the history of the base branch. It shows what a branch adds, edits and removes.
	Base *History
	// Recorded are the files, with their hashes, that were in the repository when the database got its migrations: what a
	// template was built from. They show what was edited later, for tools that store no checksum.
	Recorded []AppliedFile
}

// recordedSHA returns the hash of a version's file when it was applied, if it is known.
func (c Comparison) recordedSHA(version string) (sha string, ok bool) {
	for _, f := range c.Recorded {
		if f.Version == version {
			return f.SHA, true
		}
	}
	return "", false
}

// trusts reports whether a version counts as applied although no table says so: the branch had it when the database got its
// migrations, or has it now if that is not known.
func (c Comparison) trusts(version string) bool {
	if c.Recorded == nil {
		return c.Base.has(version)
	}
	_, ok := c.recordedSHA(version)
	return ok
}

// Compare tells where every migration stands and what there is to apply. It returns an *mayfly.Error with
// CodeMigrationInvalid if the tool itself would refuse to go on with these files on this database; the plan then holds what is
// known (Migrations, Skipped, Findings), and must not be applied.
func (h *History) Compare(c Comparison) (Plan, error) {
	plan, err := h.impl.plan(h, c)
	plan.FromPullRequest, plan.FromBase = nil, nil
	for _, m := range plan.Pending {
		if c.Base.has(m.Version) {
			plan.FromBase = append(plan.FromBase, m)
		} else {
			plan.FromPullRequest = append(plan.FromPullRequest, m)
		}
	}
	for i := range plan.Migrations {
		s := &plan.Migrations[i]
		switch {
		case s.Status == StatusMissing:
		case c.Base == nil:
		case c.Base.has(s.Version):
			s.Origin = OriginBase
		default:
			s.Origin = OriginPullRequest
		}
	}
	return plan, err
}

// has reports whether a history, which may be nil, has a version.
func (h *History) has(version string) bool {
	_, ok := h.find(version)
	return ok
}

func (h *History) find(version string) (Migration, bool) {
	if h == nil {
		return Migration{}, false
	}
	for _, m := range h.Migrations {
		if m.Version == version {
			return m, true
		}
	}
	return Migration{}, false
}

// Pending compares the history with a database. It returns an *mayfly.Error with CodeMigrationInvalid if the database is
// dirty, or if a pending file holds something that only psql could execute.
func (h *History) Pending(applied State) (Plan, error) {
	return h.Compare(Comparison{State: applied})
}

// PendingSince is Pending with the history of the base branch at hand, which makes more visible: what the branch adds
// below the database's version, and what it edits or removes there. Those golang-migrate will pass over in silence, on
// the preview as in production. base may be nil.
func (h *History) PendingSince(base *History, applied State) (Plan, error) {
	return h.Compare(Comparison{State: applied, Base: base})
}
