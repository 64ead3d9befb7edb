package migrations

import "time"

// StatusKind says where a migration stands.
type StatusKind string

// The kinds of status.
const (
	// StatusApplied: the database has it, and the file is as it was.
	StatusApplied StatusKind = "applied"
	// StatusPending: it will be applied.
	StatusPending StatusKind = "pending"
	// StatusSkipped: it is older than what the database has, and the tool will silently never run it.
	StatusSkipped StatusKind = "skipped"
	// StatusEdited: the file changed after it was applied.
	StatusEdited StatusKind = "edited"
	// StatusMissing: the database has it, and no file does.
	StatusMissing StatusKind = "missing"
	// StatusOutOfOrder: it is older than what the database has; the tool applies it all the same, or refuses to.
	StatusOutOfOrder StatusKind = "out_of_order"
	// StatusDuplicate: another file has the same version.
	StatusDuplicate StatusKind = "duplicate"
	// StatusFailed: the tracking table says that it began and did not end well.
	StatusFailed StatusKind = "failed"
)

// The origins of a migration's file, known if the base branch's history was at hand.
const (
	OriginBase        = "base"         // the base branch has it, too
	OriginPullRequest = "pull_request" // the branch adds it
)

// Status says where one migration stands.
type Status struct {
	Version string `json:"version"`
	Name    string `json:"name,omitempty"`
	// File is "" for a migration that only the tracking table has.
	File   string     `json:"file,omitempty"`
	Status StatusKind `json:"status"`
	// Reason says why in words; "" if there is nothing to explain.
	Reason string `json:"reason,omitempty"`
	// Origin is OriginBase or OriginPullRequest, or "" if it is not known.
	Origin string `json:"origin,omitempty"`
	// AppliedAt is when it was applied, if the tracking table says.
	AppliedAt *time.Time `json:"applied_at,omitempty"`
}

func statusOf(m Migration, kind StatusKind, reason string) Status {
	return Status{Version: m.Version, Name: m.Name, File: m.file(), Status: kind, Reason: reason}
}
