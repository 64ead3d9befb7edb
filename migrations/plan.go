package migrations

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
	Pending  []Migration
	Skipped  []Skipped
	Findings []Finding

	impl  tool
	table string // settings.Table
}

// To is the version that the database will be at if all goes well, "" for none.
func (p Plan) To() string {
	if len(p.Pending) == 0 {
		return p.From
	}
	return p.Pending[len(p.Pending)-1].Version
}

// Pending compares the history with a database. It returns an *mayfly.Error with CodeMigrationInvalid if the database is
// dirty, or if a pending file holds something that only psql could execute.
func (h *History) Pending(applied State) (Plan, error) {
	return h.PendingSince(nil, applied)
}

// PendingSince is Pending with the history of the base branch at hand, which makes more visible: what the branch adds
// below the database's version, and what it edits or removes there. Those the tool will pass over in silence, on the
// preview as in production. base may be nil.
func (h *History) PendingSince(base *History, applied State) (Plan, error) {
	return h.impl.plan(h, base, applied)
}
