package migrations

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// filesIn returns the files directly in the settings' directory, sorted by name, each with its SHA. The result is the
// caller's own.
func filesIn(settings mayfly.MigrationSettings, files []File) []File {
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	return slices.DeleteFunc(filesBelow(settings, files), func(f File) bool { return path.Dir(f.Path) != dir })
}

// filesBelow is filesIn with the files of all directories below.
func filesBelow(settings mayfly.MigrationSettings, files []File) []File {
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	var out []File
	for _, f := range files {
		if dir != "." && !strings.HasPrefix(f.Path, dir+"/") {
			continue
		}
		if f.SHA == "" {
			f.SHA = blobSHA(f.Content)
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return out
}

// badName refuses a name that would make a mess of messages and reports; nil if there is nothing wrong with it.
func badName(f File) error {
	if !strings.ContainsFunc(f.Path, unicode.IsControl) && utf8.ValidString(f.Path) {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeMigrationInvalid, "%q: the file name has control characters or is not UTF-8", f.Path).
		WithHint("rename the file")
}

// order sorts the migrations by a comparison of versions, repeatable ones behind all others, and marks all but the
// first with the same version as duplicates.
func (h *History) order(compare func(a, b string) int) {
	slices.SortStableFunc(h.Migrations, func(a, b Migration) int {
		switch {
		case a.Repeatable != b.Repeatable && b.Repeatable:
			return -1
		case a.Repeatable != b.Repeatable:
			return 1
		case a.Repeatable:
			return cmp.Compare(a.Name, b.Name)
		}
		return compare(a.Version, b.Version)
	})
	h.markDuplicates()
}

// addDowns gives the migrations the files that undo them, by their versions.
func (h *History) addDowns(downs map[string]*File) {
	for i := range h.Migrations {
		if m := &h.Migrations[i]; m.duplicateOf == "" {
			m.down = downs[m.Version]
		}
	}
}

// markDuplicates marks all but the first with the same version.
func (h *History) markDuplicates() {
	first := map[string]string{}
	for i := range h.Migrations {
		m := &h.Migrations[i]
		if file, ok := first[m.Version]; ok {
			m.duplicateOf = path.Base(file)
			continue
		}
		first[m.Version] = m.file()
	}
}

// findTable completes the name of a tracking table with the session's current schema. A setting may have a schema, with
// quotes or without.
func findTable(ctx context.Context, conn *pgx.Conn, setting, standard string) (trackingTable, error) {
	if schema, name, dotted := strings.Cut(setting, "."); dotted && !strings.Contains(setting, `"`) {
		return trackingTable{schema: schema, name: name}, nil
	}
	return findTrackingTable(ctx, conn, cmp.Or(setting, standard))
}

// readApplied reads the rows of a tracking table. exists is false if there is no such table.
func readApplied(
	ctx context.Context, conn *pgx.Conn, table trackingTable, query string, row func(pgx.CollectableRow) (Applied, error),
) (state State, err error) {
	state.Table = table.quoted()
	err = conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relname = $2 AND c.relkind IN ('r', 'p', 'v', 'f'))`, pgx.QueryExecModeExec, table.schema, table.name).Scan(&state.Exists)
	if err != nil {
		return state, fmt.Errorf("look for the tracking table: %w", err)
	}
	if !state.Exists || row == nil {
		return state, nil
	}
	rows, err := conn.Query(ctx, query, pgx.QueryExecModeExec)
	if err == nil {
		state.Applied, err = pgx.CollectRows(rows, row)
	}
	if pgErr := asPgError(err); pgErr != nil {
		return state, (&mayfly.Error{
			Code: mayfly.CodeMigrationInvalid, Message: fmt.Sprintf("read the tracking table %s: %s", state.Table, pgErr.Message), Err: err,
		}).WithHint("it is not a table of this tool, or the application's role may not read it")
	}
	if err != nil {
		return state, fmt.Errorf("read the tracking table %s: %w", state.Table, err)
	}
	return state, nil
}

// invalid is an error about a migration file.
func invalid(hint, format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeMigrationInvalid, format, args...).WithHint("%s", hint)
}

// lineError is what the parser of a tool's own notation says.
type lineError struct {
	line int
	text string
	hint string
}

func (e *lineError) Error() string { return e.text }

// inFile points an error of a parser at its line.
func inFile(f File, err error) error {
	var e *lineError
	if errors.As(err, &e) {
		return invalid(e.hint, "%s: %s", at(f.Path, e.line), e.text)
	}
	return invalid("", "%s: %v", f.Path, err)
}
