package migrations

import (
	"crypto/sha1" //nolint:gosec // git's own object names are SHA-1; nothing is protected by it
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// File is one file of the repository at one commit.
type File struct {
	// Path is relative to the root of the repository, with "/".
	Path string
	// SHA is the git blob id. If it is "", Parse computes it.
	SHA     string
	Content []byte
}

// Migration is one version of a history.
type Migration struct {
	// Version is how the tool's tracking table and error messages write it: for golang-migrate the number without
	// leading zeros.
	Version string
	// Name is the title in the file name, for people.
	Name string
	// Up is the file that brings the database to this version; nil for a version that has only a down file, which
	// golang-migrate records as applied without doing anything.
	Up *File
	// Checksum is what the tool itself would store for the migration, in the form in which State.Applied has it; "" for
	// tools that store none.
	Checksum string
	// NoTransaction is true if the tool runs the migration outside of a transaction because the file says so.
	NoTransaction bool
	// Repeatable is true for a migration that runs again whenever its checksum changes. It has no place in the order of
	// versions, and Version is a name that identifies it.
	Repeatable bool

	number uint64 // Version as golang-migrate orders it
	down   *File
	// identity takes the place of the blob id of Up for tools with several migrations in one file.
	identity string
	// duplicateOf is the file that has the same version and came first.
	duplicateOf string
	// own is what the tool's dialect has read and needs later.
	own any
	// refused is why the tool would not accept the file. It counts only when the migration is pending.
	refused error
}

// file names the migration for people: the path of its up file, or of its down file if that is all there is.
func (m Migration) file() string {
	switch {
	case m.Up != nil:
		return m.Up.Path
	case m.down != nil:
		return m.down.Path
	}
	return ""
}

// sha identifies what applying the migration does.
func (m Migration) sha() string {
	switch {
	case m.identity != "":
		return m.identity
	case m.Up == nil:
		return ""
	}
	return m.Up.SHA
}

// FindingKind says what a Finding is about.
type FindingKind string

// The kinds of finding.
const (
	FindingIgnored  FindingKind = "ignored"  // a file in the directory that is not a migration
	FindingEmpty    FindingKind = "empty"    // a version without an up file: recorded, nothing executed
	FindingMissing  FindingKind = "missing"  // the database is at a version that no file has
	FindingLate     FindingKind = "late"     // added below the database's version: the tool never runs it
	FindingEdited   FindingKind = "edited"   // changed after it was applied: the tool never runs it again
	FindingRemoved  FindingKind = "removed"  // applied, and in the base branch but not in this one
	FindingPersonal FindingKind = "personal" // a migration adds a column that looks personal

	FindingOutOfOrder FindingKind = "out_of_order" // pending below a version that is applied: the tool runs it all the same
	FindingDuplicate  FindingKind = "duplicate"    // two migrations have the same version
)

// Finding is something that the developer should know, and that stops nothing: about the migrations directory, or about what a
// migration did (the kinds are then the codes of package lint).
type Finding struct {
	Kind    FindingKind `json:"kind"`
	Version string      `json:"version,omitempty"`
	File    string      `json:"file,omitempty"`
	Message string      `json:"message"`

	// The rest is there for what a migration did.

	// Severity is info, warning or error.
	Severity lint.Severity `json:"severity,omitempty"`
	// Line and EndLine are where the statement is in the file, from 1.
	Line    int `json:"line,omitempty"`
	EndLine int `json:"end_line,omitempty"`
	// Relation is what it is about.
	Relation string `json:"relation,omitempty"`
	// Instead is the safer way.
	Instead string `json:"instead,omitempty"`
	// Scale is what the statement cost on this data.
	Scale *lint.Scale `json:"scale,omitempty"`
	// Waived is the reason that the file gives for doing it all the same; "" if it is not waived.
	Waived string `json:"waived,omitempty"`
}

// History is every migration of one commit, in the order in which the tool applies them.
type History struct {
	Tool       string
	Migrations []Migration
	// Findings are about the files alone: FindingIgnored and FindingEmpty.
	Findings []Finding

	settings mayfly.MigrationSettings
	impl     tool
}

// AppliedFile is what is remembered about one migration of a history that was brought onto a preview.
type AppliedFile struct {
	Version string `json:"version"`
	Path    string `json:"path"`
	// SHA is the git blob id of the up file, "" if there is none. Tools with several migrations in one file have the hash
	// of the one migration here.
	SHA string `json:"sha"`
	// Repeatable is Migration.Repeatable.
	Repeatable bool `json:"repeatable,omitempty"`
}

// Files lists the whole history, to be stored with the preview it was applied to and given to ExtendsApplied when the
// next commit comes.
func (h *History) Files() []AppliedFile {
	files := make([]AppliedFile, len(h.Migrations))
	for i, m := range h.Migrations {
		files[i] = AppliedFile{Version: m.Version, Path: m.file(), SHA: m.sha(), Repeatable: m.Repeatable}
	}
	return files
}

// Fingerprint returns a hash that is the same for two histories exactly if applying them does the same: it covers the
// versions, their order and the contents of the up files, not the names.
func (h *History) Fingerprint() string {
	hash := sha256.New()
	fmt.Fprintf(hash, "%q\n", h.Tool)
	for _, m := range h.Migrations {
		fmt.Fprintf(hash, "%q %q\n", m.Version, m.sha())
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// ExtendsApplied reports whether the history begins with exactly what was applied before, so that the rest can be
// applied on top. previous is Files of the history that the preview is at: all of it, also what the template already had.
// If not, the preview must be rebuilt from the template, and the reason says why in a sentence for people.
//
// A preview on which a migration failed must be rebuilt in any case.
func (h *History) ExtendsApplied(previous []AppliedFile) (extends bool, reason string) {
	now := make(map[string]Migration, len(h.Migrations))
	var ordered []Migration
	for _, m := range h.Migrations {
		now[m.Version] = m
		if !m.Repeatable {
			ordered = append(ordered, m)
		}
	}
	known := make(map[string]bool, len(previous))
	var before []AppliedFile
	for _, p := range previous {
		known[p.Version] = true
		m, ok := now[p.Version]
		switch {
		case !ok:
			return false, p.Path + " was removed or renumbered after it was applied"
		case m.Repeatable != p.Repeatable:
			return false, m.file() + " became another kind of migration after it was applied"
		case m.Repeatable: // the tool runs it again when it was edited, wherever it stands
			continue
		case m.sha() != p.SHA:
			return false, m.file() + " was edited after it was applied"
		}
		before = append(before, p)
	}
	if len(ordered) < len(before) { // only if a version was there twice
		return false, "the versions of the applied migrations are no longer the same"
	}
	for i, p := range before {
		switch m := ordered[i]; {
		case m.Version == p.Version:
		case known[m.Version]:
			return false, m.file() + " was moved in the order of migrations after it was applied"
		default:
			return false, fmt.Sprintf("%s was added before %s, which is already applied", m.file(), p.Path)
		}
	}
	return true, ""
}

// blobSHA is the git object id of a file with this content (git hash-object).
func blobSHA(content []byte) string {
	hash := sha1.New() //nolint:gosec // see the import
	fmt.Fprintf(hash, "blob %d\x00", len(content))
	_, _ = hash.Write(content) // a hash never fails
	return hex.EncodeToString(hash.Sum(nil))
}
