package migrations

import (
	"cmp"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// golangMigrate follows github.com/golang-migrate/migrate/v4 v4.20.1 with its pgx5 and postgres drivers.
type golangMigrate struct{}

// golangMigrateName is source.Regex of the tool. Any extension counts, not only .sql.
var golangMigrateName = regexp.MustCompile(`^([0-9]+)_(.*)\.(down|up)\.(.*)$`)

func (golangMigrate) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	inDir := slices.DeleteFunc(slices.Clone(files), func(f File) bool { return path.Dir(f.Path) != dir })
	slices.SortFunc(inDir, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })

	history := &History{}
	byNumber := map[uint64]*Migration{}
	for i := range inDir {
		if err := addGolangMigrateFile(history, byNumber, &inDir[i]); err != nil {
			return nil, err
		}
	}
	for _, m := range byNumber {
		history.Migrations = append(history.Migrations, *m)
	}
	slices.SortFunc(history.Migrations, func(a, b Migration) int { return cmp.Compare(a.number, b.number) })
	for _, m := range history.Migrations {
		if m.Up == nil {
			history.Findings = append(history.Findings, Finding{Kind: FindingEmpty, Version: m.Version, File: m.file(), Message: fmt.Sprintf(
				"version %s has no up file: golang-migrate records it as applied without doing anything", m.Version)})
		}
	}
	return history, nil
}

// addGolangMigrateFile sorts one file of the directory into the history, as source/iofs of the tool does.
func addGolangMigrateFile(history *History, byNumber map[uint64]*Migration, file *File) error {
	name := path.Base(file.Path)
	match := golangMigrateName.FindStringSubmatch(name)
	if match == nil {
		history.Findings = append(history.Findings, ignored(file.Path, "its name is not <version>_<title>.up.sql or .down.sql"))
		return nil
	}
	number, err := strconv.ParseUint(match[1], 10, 64)
	if err != nil {
		history.Findings = append(history.Findings, ignored(file.Path, "its version does not fit 64 bits"))
		return nil //nolint:nilerr // the tool passes it over, too
	}
	if number > math.MaxInt64 {
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s: version %d is too large", file.Path, number).
			WithHint("the tracking table holds versions up to %d", uint64(math.MaxInt64))
	}
	if strings.ContainsFunc(file.Path, unicode.IsControl) || !utf8.ValidString(file.Path) {
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%q: the file name has control characters or is not UTF-8", file.Path).
			WithHint("rename the file")
	}
	if file.SHA == "" {
		file.SHA = blobSHA(file.Content)
	}
	m := byNumber[number]
	if m == nil {
		m = &Migration{Version: strconv.FormatUint(number, 10), Name: match[2], number: number}
		byNumber[number] = m
	}
	slot := &m.Up
	if match[3] == "down" {
		slot = &m.down
	} else {
		m.Name = match[2]
	}
	if *slot != nil {
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s: version %s is already used by %s", file.Path, m.Version, path.Base((*slot).Path)).
			WithHint("golang-migrate refuses a directory with two %s files of one version: renumber one of them", match[3])
	}
	*slot = file
	return nil
}

func ignored(file, why string) Finding {
	return Finding{Kind: FindingIgnored, File: file, Message: fmt.Sprintf("%q is not a migration: %s", path.Base(file), why)}
}

func (golangMigrate) plan(history *History, c Comparison) (Plan, error) {
	applied := c.State
	plan := Plan{
		Tool: history.Tool, From: applied.Current, Findings: slices.Clone(history.Findings),
		impl: golangMigrate{}, state: applied, table: history.settings.Table,
	}
	current, err := parseVersion(applied.Current)
	if err != nil {
		return plan, err
	}
	found := false // whether a file has the database's version
	for _, m := range history.Migrations {
		status := statusOf(m, StatusPending, "")
		if versionOf(m) > current {
			plan.Pending = append(plan.Pending, m)
		} else {
			plan.AlreadyApplied++
			found = found || versionOf(m) == current
			status = appliedGolangMigrate(&plan, m, c)
		}
		if applied.Dirty && versionOf(m) == current {
			status = statusOf(m, StatusFailed, "it began and did not end well: the tracking table says dirty")
		}
		plan.Migrations = append(plan.Migrations, status)
	}
	if current >= 0 && !found {
		reason := fmt.Sprintf("the database is at version %s, and no file has it: golang-migrate itself would stop with \"no migration found for version %s\"; "+
			"the branch is probably behind its base, so merge or rebase it", applied.Current, applied.Current)
		plan.Findings = append(plan.Findings, Finding{Kind: FindingMissing, Version: applied.Current, Message: reason})
		plan.Migrations = append(plan.Migrations, Status{Version: applied.Current, Status: StatusMissing, Reason: reason})
	}
	removedGolangMigrate(&plan, history, c, current)
	if applied.Dirty {
		plan.Pending = nil
		return plan, dirtyError(applied)
	}
	for _, m := range plan.Pending {
		if err := checkFile(m); err != nil {
			return plan, err
		}
	}
	return plan, nil
}

// appliedGolangMigrate looks at a version at or below the database's, where the tool does not look. Whether it was ever
// run only the base branch and what was recorded can tell: the tracking table has one number.
func appliedGolangMigrate(plan *Plan, m Migration, c Comparison) Status {
	was, inBase := c.Base.find(m.Version)
	recorded, isRecorded := c.recordedSHA(m.Version)
	switch {
	case c.Base != nil && !inBase || c.Base == nil && c.Recorded != nil && !isRecorded:
		reason := fmt.Sprintf("added with a version below %s, where the database already is: golang-migrate never runs it", c.State.Current)
		plan.Skipped = append(plan.Skipped, Skipped{Version: m.Version, Name: m.Name, File: m.file(), Reason: reason})
		plan.Findings = append(plan.Findings, Finding{Kind: FindingLate, Version: m.Version, File: m.file(), Message: m.file() + " was " + reason})
		return statusOf(m, StatusSkipped, reason)
	case inBase && was.sha() != m.sha() || isRecorded && recorded != m.sha():
		reason := "edited after it was applied: golang-migrate does not run it again"
		if inBase && was.sha() == m.sha() {
			reason = "edited after it was applied, on the base branch already: golang-migrate does not run it again"
		}
		f := Finding{Kind: FindingEdited, Version: m.Version, File: m.file(), Message: m.file() + " was " + reason}
		if inBase && was.sha() == m.sha() {
			f.Severity = lint.Info
		}
		plan.Findings = append(plan.Findings, f)
		return statusOf(m, StatusEdited, reason)
	}
	return statusOf(m, StatusApplied, "")
}

// removedGolangMigrate finds what was applied and is not among the files any more.
func removedGolangMigrate(plan *Plan, history *History, c Comparison, current int64) {
	var before []Status
	if c.Base != nil {
		for _, m := range c.Base.Migrations {
			if versionOf(m) <= current {
				before = append(before, statusOf(m, StatusMissing, ""))
			}
		}
	} else {
		for _, f := range c.Recorded {
			if version, err := parseVersion(f.Version); err == nil && version <= current {
				before = append(before, Status{Version: f.Version, File: f.Path, Status: StatusMissing})
			}
		}
	}
	for _, s := range before {
		if history.has(s.Version) {
			continue
		}
		s.Reason = "applied and not in this branch: it was removed, or the branch is behind its base"
		plan.Findings = append(plan.Findings, Finding{Kind: FindingRemoved, Version: s.Version, File: s.File, Message: s.File + " is " + s.Reason})
		s.File = ""
		if s.Version != plan.From || !slices.ContainsFunc(plan.Migrations, func(o Status) bool { return o.Version == s.Version }) {
			plan.Migrations = append(plan.Migrations, s)
		}
	}
}

// versionOf is the version as the tracking table holds it; parse refuses what does not fit.
func versionOf(m Migration) int64 { return int64(m.number) }

// parseVersion reads State.Current; -1 is the tool's database.NilVersion.
func parseVersion(current string) (int64, error) {
	if current == "" {
		return -1, nil
	}
	version, err := strconv.ParseInt(current, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the version in the tracking table: %w", err)
	}
	return version, nil
}

func dirtyError(state State) error {
	return mayfly.Errorf(mayfly.CodeMigrationInvalid, "the tracking table %s says that version %s is dirty: a migration began and did not end well",
		state.Table, state.Current).
		WithHint("if this is how the template came from production, repair production's schema, run `migrate force`, and build a new template; " +
			"if a migration failed on this preview, reset the preview")
}

// checkFile refuses what the server cannot execute, before anything is executed.
func checkFile(m Migration) error {
	if m.Up == nil {
		return nil
	}
	return checkText(GolangMigrate, m.Up.Path, string(m.Up.Content))
}
