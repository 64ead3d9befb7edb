package templates

import (
	"time"

	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/sanitize/proof"
)

// manifestVersion is of the Report's JSON. It changes when a field changes its meaning, not when one is added.
const manifestVersion = 1

// Report is what a build did and what came of it: the manifest that is kept with the template as JSON. It never holds a
// secret or a value of a row. The names of the fields are stable.
type Report struct {
	ManifestVersion int `json:"manifest_version"`

	Source     SourceReport `json:"source"`
	Image      string       `json:"image,omitempty"` // digest
	Major      int          `json:"major,omitempty"`
	StartedAt  time.Time    `json:"started_at"`
	FinishedAt time.Time    `json:"finished_at"`
	// Rows and Bytes are what was streamed, in COPY text format and before masking; SizeBytes is what the frozen data
	// directory takes.
	Rows      int64                    `json:"rows"`
	Bytes     int64                    `json:"bytes"`
	SizeBytes int64                    `json:"size_bytes"`
	Disk      *DiskReport              `json:"disk,omitempty"`
	Hooks     []HookReport             `json:"hooks,omitempty"`
	Phases    []PhaseReport            `json:"phases"`
	Tables    []TableReport            `json:"tables"`
	Coverage  []sanitize.TableCoverage `json:"coverage"`
	Sizes     *SizeReport              `json:"sizes,omitempty"`
	Findings  []Finding                `json:"findings,omitempty"` // the worst first
	// Verification is nil if the build did not get that far.
	Verification *Verification `json:"verification,omitempty"`
	// Proof is what the scan for surviving originals looked at and found; nil if the build did not get that far.
	Proof *proof.Outcome `json:"proof,omitempty"`
}

// SourceReport describes a source without any secret.
type SourceReport struct {
	Kind          string      `json:"kind"` // "live" or "archive"
	Database      string      `json:"database,omitempty"`
	ServerVersion string      `json:"server_version,omitempty"`
	Encoding      string      `json:"encoding,omitempty"`
	Snapshot      string      `json:"snapshot,omitempty"`    // live: the exported snapshot that everything was read in
	Replica       bool        `json:"replica,omitempty"`     // live: the server was in recovery
	Connections   int         `json:"connections,omitempty"` // live: that read at the same time
	Collations    []Collation `json:"collations,omitempty"`  // live
	Archive       string      `json:"archive,omitempty"`     // archive: path
	Format        string      `json:"format,omitempty"`      // archive: "custom 1.14.0, gzip"
	CreatedAt     *time.Time  `json:"created_at,omitempty"`  // archive: when pg_dump made it, by its machine's clock
	DumpVersion   string      `json:"dump_version,omitempty"`
	File          string      `json:"file,omitempty"`      // archive: the file that was read, of those that a pattern matches
	FileTime      *time.Time  `json:"file_time,omitempty"` // archive: when that file was written
	Checksum      string      `json:"checksum,omitempty"`  // archive: the checksum that was verified, or the name of the list of them
}

// PhaseReport is one phase of a build.
type PhaseReport struct {
	Name       string `json:"name"`
	DurationMS int64  `json:"duration_ms"`
}

// TableReport is one table of a template. SourceRows is the number of rows that the source sent, HookRows how many hooks added to
// them (negative: removed), Rows the number that was counted in the template at the end; a build with a difference fails.
type TableReport struct {
	Schema        string `json:"schema"`
	Table         string `json:"table"`
	SourceRows    int64  `json:"source_rows"`
	HookRows      int64  `json:"hook_rows,omitempty"`
	ByHook        bool   `json:"by_hook,omitempty"` // a hook made the table
	Rows          int64  `json:"rows"`
	Bytes         int64  `json:"bytes"` // COPY text format, before masking
	MaskedColumns int    `json:"masked_columns"`
	StructureOnly bool   `json:"structure_only,omitempty"` // the rules say `rows: none`
	DurationMS    int64  `json:"duration_ms"`
}
