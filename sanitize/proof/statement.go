package proof

import (
	"time"

	"github.com/mayflydb/mayfly/sanitize"
)

// StatementVersion is the version of the format of Statement. Fields are only added within a version.
const StatementVersion = 1

// Statement is what an attestation says. It holds no value of a row.
type Statement struct {
	Version  int       `json:"version"`
	Template string    `json:"template"`
	Project  string    `json:"project"`
	MadeAt   time.Time `json:"made_at"`

	Source Source `json:"source"`
	Rules  Rules  `json:"rules"`
	Tool   Tool   `json:"tool"`
	Image  Image  `json:"image"`
	Rows   int64  `json:"rows"`

	// Coverage has every column of every table that was copied; Unread the tables of which only the structure was taken.
	Coverage []Covered `json:"coverage"`
	Unread   []string  `json:"unread,omitempty"`

	Scan     *Outcome       `json:"scan"`
	Groups   []*Groups      `json:"quasi_identifiers,omitempty"`
	Findings map[string]int `json:"findings"` // by severity
}

// Source is where the rows came from.
type Source struct {
	Kind          string     `json:"kind"`
	Database      string     `json:"database,omitempty"`
	ServerVersion string     `json:"server_version,omitempty"`
	Snapshot      string     `json:"snapshot,omitempty"` // what identifies the state that was read
	CreatedAt     *time.Time `json:"created_at,omitempty"`
}

// Rules is the file that decided.
type Rules struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"`
	// Key names the masking key without telling it (see KeyCheck).
	Key string `json:"key"`
}

// Tool is the program that masked and scanned.
type Tool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

// Image is the PostgreSQL that made the template.
type Image struct {
	Digest string `json:"digest"`
	Major  int    `json:"major"`
}

// Covered is what happened to one column.
type Covered struct {
	Schema string `json:"schema"`
	Table  string `json:"table"`
	sanitize.ColumnPlan
	Rows int64 `json:"rows"` // of the table
	// The rest is of masked columns only.
	Masked *Masked `json:"masked,omitempty"`
}

// Masked is what is known of a masked column.
type Masked struct {
	Class          Class `json:"class"`
	Values         int64 `json:"values"` // shown to the transformer: not NULL, not empty; parts of documents one by one
	Unchanged      int64 `json:"unchanged"`
	DistinctBefore int64 `json:"distinct_before"`
	DistinctAfter  int64 `json:"distinct_after"`
	// Provable values carry so much information that finding them again cannot be chance; only these are looked for
	// everywhere. Of the others only Unchanged can be said.
	Provable int64  `json:"provable"`
	Note     string `json:"note,omitempty"`
}

// notProvable is the note on a column that has values that cannot be looked for.
const notProvable = "not provable by value: too short or too common to be told from chance; compared row by row in the stream"

// trueValues is the note on a column whose values go to other rows.
const trueValues = "holds the source's own values, in other rows"

// knownForms is the note on a column of texts in which only what is recognised is replaced.
const knownForms = "free text: only what was recognised in it is replaced, and nothing is proved about the rest, nor about texts in which nothing was"

// Unproved says why nothing, or not all, can be proved about values of which enough is known to find them: "" where it can.
func (m *Masked) Unproved() string {
	switch m.Class {
	case ClassRows:
		return trueValues
	case ClassPassages:
		return knownForms
	case ClassOwn, ClassShared, ClassGiven, ClassParts:
	}
	return ""
}

// Covering makes the entry of a column.
func Covering(schema, table string, plan sanitize.ColumnPlan, rows int64, recorded *Column, s *Scanner) Covered {
	c := Covered{Schema: schema, Table: table, ColumnPlan: plan, Rows: rows}
	if recorded == nil {
		return c
	}
	after, _ := s.Distinct(recorded.Name())
	c.Masked = &Masked{
		Class: recorded.Class, Values: recorded.Values, Unchanged: recorded.Unchanged, Provable: recorded.Provable,
		DistinctBefore: recorded.Distinct, DistinctAfter: after,
	}
	if recorded.Class == ClassPassages {
		// A text that came out as it went in is nowhere looked for.
		c.Masked.Provable -= recorded.UnchangedProvable
	}
	if c.Masked.Note = c.Masked.Unproved(); c.Masked.Note == "" && recorded.Provable < recorded.Values {
		c.Masked.Note = notProvable
	}
	return c
}
