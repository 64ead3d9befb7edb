package observe

// Migration is what was seen of one migration.
type Migration struct {
	Statements []*Statement `json:"statements"`
	// WALBytes is how much was written to the write-ahead log of the cluster meanwhile.
	WALBytes int64 `json:"wal_bytes"`
	// TempFiles and TempBytes are files for sorts and hashes that did not fit in memory, of all sessions with the database. Those of a transaction
	// are put down to its last migration. They are known from PostgreSQL 15 on.
	TempFiles int64 `json:"temp_files"`
	TempBytes int64 `json:"temp_bytes"`
	// DiskBytes is by how much the tables and indexes that it touched grew (or shrank, if negative).
	DiskBytes int64 `json:"disk_bytes"`
}

// How it is known what a statement did.
const (
	// FromTransaction: asked in its own transaction, before that ended. Complete.
	FromTransaction = "transaction"
	// FromWatching: seen from a second session every few milliseconds, and added to by what the kind of statement is documented to lock.
	FromWatching = "watched"
	// FromNothing: it was only timed.
	FromNothing = "timed"
)

// Statement is what one statement did.
type Statement struct {
	// Index counts from 1. Line is where it begins in its file, EndLine where it ends.
	Index   int `json:"index"`
	Line    int `json:"line"`
	EndLine int `json:"end_line"`
	// SQL is its beginning, Command PostgreSQL's own name of it ("ALTER TABLE"); "" if it did not complete.
	SQL     string `json:"sql"`
	Command string `json:"command,omitempty"`
	Failed  bool   `json:"failed,omitempty"`
	// Observed is one of the From constants.
	Observed   string  `json:"observed"`
	DurationMS float64 `json:"duration_ms"`
	Rows       int64   `json:"rows"`
	WALBytes   int64   `json:"wal_bytes"`

	Locks    []*Lock   `json:"locks,omitempty"`
	Rewrites []Rewrite `json:"rewrites,omitempty"`
	Scans    []Scan    `json:"scans,omitempty"`
	Data     []Data    `json:"data,omitempty"`
	Sizes    []Size    `json:"sizes,omitempty"`

	// SQLState is why it failed.
	SQLState string `json:"sqlstate,omitempty"`

	// Begin and End are its bytes in the file.
	Begin int `json:"-"`
	End   int `json:"-"`
	// Changes are the relations that it changed or locked in more than the way that reading and writing rows does.
	Changes []Change `json:"-"`
	// InTransaction is the number of the transaction that it ran in, within the run.
	InTransaction int `json:"-"`
}

// Lock is a lock on a relation that a statement was the first in its transaction to take.
type Lock struct {
	Relation string `json:"relation"`
	Kind     string `json:"kind"`
	Mode     string `json:"mode"`
	// HeldMS is from the beginning of the statement, so with its waiting for the lock, to the end of the transaction or of
	// the subtransaction that was rolled back.
	HeldMS float64 `json:"held_ms"`
	// New is true for a relation that this run created: nobody else can want it.
	New bool `json:"new,omitempty"`
	// Implied is true if the lock was not seen and is documented for this kind of statement.
	Implied bool `json:"implied,omitempty"`
}

// Rewrite is a relation that got new files (pg_class.relfilenode).
type Rewrite struct {
	Relation string `json:"relation"`
	Kind     string `json:"kind"`
	// Truncated is true if the new files are empty because the rows are gone.
	Truncated   bool  `json:"truncated,omitempty"`
	BytesBefore int64 `json:"bytes_before"`
	BytesAfter  int64 `json:"bytes_after"`
	// Rows is PostgreSQL's own estimate from before; -1 if it has none.
	Rows int64 `json:"rows"`
}

// Scan is a table that was read sequentially, or an index that was searched.
type Scan struct {
	Relation string `json:"relation"`
	Kind     string `json:"kind"`
	Scans    int64  `json:"scans"`
	// Read is how many rows or index entries were read. Those that parallel workers read are not counted.
	Read int64 `json:"read"`
	// Whole is true if nearly everything in it was read.
	Whole bool  `json:"whole"`
	Bytes int64 `json:"bytes"`
}

// Data is how many rows of a table were written, by triggers and foreign keys too. The counts are exact; those that a savepoint
// rolled back are in them.
type Data struct {
	Table    string `json:"table"`
	Inserted int64  `json:"inserted"`
	Updated  int64  `json:"updated"`
	Deleted  int64  `json:"deleted"`
}

// Size is a relation that grew or shrank. Of a table, TOAST and the free space map are in it, indexes are not.
type Size struct {
	Relation string `json:"relation"`
	Kind     string `json:"kind"`
	Before   int64  `json:"before"`
	After    int64  `json:"after"`
}

// Change is a relation before and after a statement. Before is nil if the statement created it, After if it dropped it.
type Change struct {
	Before, After *Relation
}

// Relation is a table, an index, a view or a sequence.
type Relation struct {
	OID         uint32
	Schema      string
	Name        string
	Kind        string // "table", "index" and so on
	Table       uint32 // of an index
	Filenode    uint32
	Bytes       int64
	Rows        int64 // estimated; -1 if unknown
	Persistence string
	// Existed is true if it was there before the run.
	Existed     bool
	Columns     []Column
	Constraints []Constraint
	Triggers    []Trigger
	Index       *Index
}

// Title is the name with the schema.
func (r *Relation) Title() string { return r.Schema + "." + r.Name }

// Column is a column of a table.
type Column struct {
	Number   int
	Name     string
	Type     string
	NotNull  bool
	Default  string
	Identity string
	// Generated is "s" for stored.
	Generated string
}

// Constraint is a constraint of a table. Type is pg_constraint.contype.
type Constraint struct {
	OID        uint32
	Name       string
	Type       string
	Validated  bool
	Index      uint32
	References uint32
	Columns    []int
	Definition string
}

// Trigger is a trigger of a table.
type Trigger struct {
	OID      uint32
	Name     string
	Internal bool
	Enabled  string
}

// Index is what an index has of its own.
type Index struct {
	Unique bool
	Valid  bool
	Keys   int // columns that it is searched by
}

// Blocks reports whether others cannot write the relation, or not even read it, while the lock is held.
func (l *Lock) Blocks() bool {
	switch l.Mode {
	case "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock":
		return true
	}
	return false
}
