package migrations

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
	"github.com/mayflydb/mayfly/migrations/observe"
	"github.com/mayflydb/mayfly/migrations/runner"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// Report says what Apply did. Its JSON form is part of the external contract. It never holds more of the database's
// content than PostgreSQL's own error messages do.
type Report struct {
	Tool string `json:"tool"`
	// FromVersion and ToVersion are the versions before and after, "" for none. After a failure ToVersion is the version
	// that failed and Dirty is true.
	FromVersion string `json:"from_version"`
	ToVersion   string `json:"to_version"`
	Dirty       bool   `json:"dirty"`
	// AlreadyApplied is how many versions the database had before.
	AlreadyApplied int `json:"already_applied"`
	// Applied are the migrations that ran, in order. The last one has an Error if it failed.
	Applied []Step `json:"applied"`
	// Skipped are those that the tool will never run. Known only if the plan was made with the base branch's history.
	Skipped []Skipped `json:"skipped"`
	// Pending are those that were not reached.
	Pending []Remaining `json:"pending"`
	// Migrations says where every migration stood before this run.
	Migrations []Status `json:"migrations,omitempty"`
	// Seeds are the seed files that were executed after the migrations.
	Seeds    []Step    `json:"seeds,omitempty"`
	Findings []Finding `json:"findings"`
	Failure  *Failure  `json:"failure"`
	// Others are the open pull requests that are in the way of this one. It is computed when the report is read.
	Others []OtherPullRequest `json:"others,omitempty"`
	// DurationMS is the time of the whole of Apply, in milliseconds.
	DurationMS float64 `json:"duration_ms"`
	// DatabaseBytesBefore and DatabaseBytesAfter are pg_database_size; 0 if not measured.
	DatabaseBytesBefore int64 `json:"database_bytes_before"`
	DatabaseBytesAfter  int64 `json:"database_bytes_after"`

	// The rest is there if the run was observed.

	// Schema is what changed from before the run to after it.
	Schema *schemadiff.Diff `json:"schema,omitempty"`
	// Data is how many rows of which table were written, all migrations together.
	Data []observe.Data `json:"data,omitempty"`
	// Environment says under which settings the figures came about.
	Environment *observe.Environment `json:"environment,omitempty"`
	// Annotations are the failure and the findings that have a place in a file, as a forge shows them at the source.
	Annotations []Annotation `json:"annotations,omitempty"`
	// Rollback is the rehearsal of the down migrations, on a clone of its own. nil if there was none.
	Rollback *Rollback `json:"rollback,omitempty"`
	// Load is what others would have felt, on a clone of its own with a load of reads and writes. nil if there was none.
	Load *Load `json:"load,omitempty"`
	// Run is the run of the project's own command, for tools whose migrations are code. nil for the others.
	Run *runner.Report `json:"run,omitempty"`
	// Recorded is which files the template's migrations came from; nil if that is not known.
	Recorded *Recorded `json:"recorded,omitempty"`
	// Waivers are those of the files, for findings that are not about one statement.
	Waivers []Waiver `json:"waivers,omitempty"`
	// Unobserved says why something is missing here; "" if nothing is.
	Unobserved string `json:"unobserved,omitempty"`
}

// Recorded is which files a template's migrations came from.
type Recorded struct {
	// SHA is the commit of the default branch when the template became ready.
	SHA   string        `json:"sha"`
	Files []AppliedFile `json:"files"`
}

// Step is one migration being applied.
type Step struct {
	Version string `json:"version"`
	Name    string `json:"name"`
	File    string `json:"file"`
	SHA     string `json:"sha,omitempty"`
	// Index counts from 1 to Total, the number of migrations of this run.
	Index int `json:"index"`
	Total int `json:"total"`
	// Done is false only in the progress callback, when the migration begins.
	Done       bool    `json:"done"`
	DurationMS float64 `json:"duration_ms"`
	// Statements is how many statements the server completed; RowsAffected how many rows they wrote.
	Statements   int    `json:"statements"`
	RowsAffected int64  `json:"rows_affected"`
	Error        string `json:"error,omitempty"`
	// Observed is what each statement did, if the run was observed.
	Observed *observe.Migration `json:"observed,omitempty"`
}

// Remaining is a migration that was not reached.
type Remaining struct {
	Version string `json:"version"`
	Name    string `json:"name"`
	File    string `json:"file"`
}

// Failure says where and why a migration failed.
type Failure struct {
	File    string `json:"file"`
	Version string `json:"version"`
	// Line and Column count from 1, in characters; 0 if unknown. They point at what PostgreSQL points at, or else at the
	// start of the statement that failed.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Statement is the beginning of the statement that failed.
	Statement string `json:"statement,omitempty"`
	SQLState  string `json:"sqlstate,omitempty"`
	Message   string `json:"message"`
	Detail    string `json:"detail,omitempty"`
	Hint      string `json:"hint,omitempty"`
	// Where is PostgreSQL's context: the call stack of functions and triggers.
	Where string `json:"where,omitempty"`
	// Wait is what the statement waited for when it was cut off, if it did.
	Wait *Wait `json:"wait,omitempty"`
	// Position is PostgreSQL's own: the character in the file, from 1; 0 if it gave none.
	Position int `json:"position,omitempty"`
}

// String is one line for people: file, line, message and SQLSTATE.
func (f *Failure) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d", f.Line)
	}
	b.WriteString(": " + f.Message)
	if f.SQLState != "" {
		fmt.Fprintf(&b, " (SQLSTATE %s)", f.SQLState)
	}
	return b.String()
}

// excerptLength is how many characters of a failed statement are kept.
const excerptLength = 1000

// locate fills in where in the text of the file the error happened. completed is the number of statements that the
// server had completed before. positionsInBytes is true if the server counts bytes as characters.
func (f *Failure) locate(text string, pieces []sqlsplit.Statement, completed int, positionsInBytes bool) {
	at := -1
	if f.Position > 0 {
		at = f.Position - 1
		if !positionsInBytes {
			at = byteOffset(text, f.Position-1)
		}
	}
	failed := -1
	for i, p := range pieces {
		if at >= 0 && at >= p.Begin && at < p.End {
			failed = i
		}
	}
	if failed < 0 && len(pieces) > 0 && at < 0 {
		// Without a position it is the first statement that the server did not complete. What fails at the commit
		// behind the last one (a deferred constraint) is reported as the last one.
		failed = min(completed, len(pieces)-1)
		at = pieces[failed].First
	}
	if failed < 0 && len(pieces) > 0 { // the position is behind the last statement: unexpected end of input
		failed = len(pieces) - 1
	}
	if failed >= 0 {
		f.Statement = excerpt(text[pieces[failed].First:pieces[failed].Last], excerptLength)
	}
	if at >= 0 {
		f.Line, f.Column = lineColumn(text, min(at, len(text)))
	}
}

// atLast locates a failure that has no place of its own at the last statement of a part of a file.
func (f *Failure) atLast(text string, part span) {
	pieces := sqlsplit.Counted(sqlsplit.Split(text[part.begin:part.end], true))
	f.locate(text[part.begin:part.end], pieces, len(pieces), false)
	f.shift(text[:part.begin])
}

// fill copies what PostgreSQL said.
func (f *Failure) fill(e *pgconn.PgError) {
	f.SQLState, f.Message, f.Detail, f.Hint, f.Where, f.Position = e.Code, e.Message, e.Detail, e.Hint, e.Where, int(e.Position)
}

// ownHint is what Mayfly knows about an error that PostgreSQL has no hint for.
func ownHint(e *pgconn.PgError, opts ApplyOptions) string {
	switch {
	case e.Code == "55P03" && strings.Contains(e.Message, "lock timeout"):
		return fmt.Sprintf("the statement waited longer than %s for a lock that another session on this preview holds", opts.LockTimeout)
	case e.Code == "57014" && strings.Contains(e.Message, "statement timeout"):
		return fmt.Sprintf("the statement ran longer than %s, the limit for one statement", opts.StatementTimeout)
	case e.Code == "25001":
		return "a file with more than one statement runs as one transaction: put this statement into a migration file of its own"
	case e.Code == "42501":
		return "migrations run as the role that owns the database, which is not a superuser"
	case e.Code == "53100":
		return "the preview has used up its disk limit"
	case e.Code == "42601" && strings.Contains(e.Message, "\uFEFF"):
		return "the file starts with a byte order mark: save it as UTF-8 without one"
	}
	return ""
}

// byteOffset returns the byte offset of the n-th character (from 0) of a text; its length if there are fewer. An
// invalid byte counts as one character.
func byteOffset(text string, n int) int {
	at := 0
	for ; n > 0 && at < len(text); n-- {
		_, size := utf8.DecodeRuneInString(text[at:])
		at += size
	}
	return at
}

// lineColumn returns the line and the column, in characters and from 1, of a byte offset. Lines end with "\n"; the "\r"
// before it belongs to its line.
func lineColumn(text string, at int) (line, column int) {
	before := text[:at]
	start := strings.LastIndexByte(before, '\n') + 1
	return strings.Count(before, "\n") + 1, utf8.RuneCountInString(before[start:]) + 1
}

// excerpt returns at most n characters of a text, as valid UTF-8.
func excerpt(text string, n int) string {
	end := byteOffset(text, n)
	cut := strings.ToValidUTF8(text[:end], "\uFFFD")
	if end < len(text) {
		cut += "…"
	}
	return cut
}

// milliseconds is how durations are reported: with three decimals.
func milliseconds(d time.Duration) float64 {
	return float64(d.Microseconds()) / 1000
}
