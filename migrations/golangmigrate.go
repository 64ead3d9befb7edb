package migrations

import (
	"bytes"
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
	"github.com/mayflydb/mayfly/internal/sqlsplit"
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

func (golangMigrate) plan(history, base *History, applied State) (Plan, error) {
	plan := Plan{
		Tool: history.Tool, From: applied.Current, Findings: slices.Clone(history.Findings),
		impl: golangMigrate{}, table: history.settings.Table,
	}
	if applied.Dirty {
		return Plan{}, dirtyError(applied)
	}
	current, err := parseVersion(applied.Current)
	if err != nil {
		return Plan{}, err
	}
	found := false // whether a file has the database's version
	for _, m := range history.Migrations {
		if versionOf(m) > current {
			plan.Pending = append(plan.Pending, m)
			continue
		}
		plan.AlreadyApplied++
		found = found || versionOf(m) == current
	}
	if current >= 0 && !found {
		plan.Findings = append(plan.Findings, Finding{Kind: FindingMissing, Version: applied.Current, Message: fmt.Sprintf(
			"the database is at version %s, and no file has it: golang-migrate itself would stop with \"no migration found for version %s\"; "+
				"the branch is probably behind its base, so merge or rebase it", applied.Current, applied.Current)})
	}
	compareWithBase(&plan, history, base, current)
	for _, m := range plan.Pending {
		if err := checkFile(m); err != nil {
			return Plan{}, err
		}
	}
	return plan, nil
}

// compareWithBase finds what a branch changes at or below the database's version, where the tool does not look.
func compareWithBase(plan *Plan, history, base *History, current int64) {
	if base == nil {
		return
	}
	before := map[uint64]Migration{}
	for _, m := range base.Migrations {
		before[m.number] = m
	}
	for _, m := range history.Migrations {
		if versionOf(m) > current {
			break
		}
		was, ok := before[m.number]
		delete(before, m.number)
		switch {
		case !ok:
			reason := fmt.Sprintf("added with a version below %d, where the database already is: golang-migrate never runs it", current)
			plan.Skipped = append(plan.Skipped, Skipped{Version: m.Version, Name: m.Name, File: m.file(), Reason: reason})
			plan.Findings = append(plan.Findings, Finding{Kind: FindingLate, Version: m.Version, File: m.file(), Message: m.file() + " was " + reason})
		case was.sha() != m.sha():
			plan.Findings = append(plan.Findings, Finding{Kind: FindingEdited, Version: m.Version, File: m.file(), Message: m.file() +
				" was edited after it was applied: golang-migrate does not run it again"})
		}
	}
	for _, m := range base.Migrations {
		if _, left := before[m.number]; left && versionOf(m) <= current {
			plan.Findings = append(plan.Findings, Finding{Kind: FindingRemoved, Version: m.Version, File: m.file(), Message: m.file() +
				" is applied and not in this branch: it was removed, or the branch is behind its base"})
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
	if i := bytes.IndexByte(m.Up.Content, 0); i >= 0 {
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s: the file has a NUL byte at offset %d", m.Up.Path, i).
			WithHint("save the file as UTF-8 text")
	}
	text := string(m.Up.Content)
	for _, s := range sqlsplit.Split(text, true) {
		switch {
		case s.CopyIn:
			line, _ := lineColumn(text, s.First)
			return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s:%d: COPY … FROM STDIN cannot be in a migration", m.Up.Path, line).
				WithHint("golang-migrate sends the file to the server as it is, and the server would wait for rows that never come: use INSERT")
		case s.Backslash >= 0:
			line, _ := lineColumn(text, s.Backslash)
			return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%s:%d: %q is a command of psql, not SQL", m.Up.Path, line, firstWord(text[s.Backslash:])).
				WithHint("golang-migrate sends the file to the server as it is: write what the command stands for in SQL")
		}
	}
	return nil
}

// firstWord cuts a psql command out of the text, for the message.
func firstWord(text string) string {
	if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
		text = text[:end]
	}
	return excerpt(text, 20)
}
