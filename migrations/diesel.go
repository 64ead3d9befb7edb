package migrations

import (
	"cmp"
	"context"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// diesel follows diesel_migrations 2 (`diesel migration run`, embed_migrations!).
type diesel struct{}

const dieselTable = "__diesel_schema_migrations"

// dieselTransaction finds the one key of metadata.toml that counts here. It is a plain key on a line of its own, before
// any [table].
var dieselTransaction = regexp.MustCompile(`(?m)^[ \t]*"?run_in_transaction"?[ \t]*=[ \t]*(true|false)[ \t]*(#.*)?\r?$`)

func (diesel) rules() rules { return rules{gaps: gapRun} }

func (diesel) compare(a, b string) int { return cmp.Compare(a, b) }

func (d diesel) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	root := path.Clean(strings.Trim(settings.Path, "/"))
	index := map[string]int{}
	for _, f := range filesBelow(settings, files) {
		relative := f.Path
		if root != "." {
			relative = strings.TrimPrefix(f.Path, root+"/")
		}
		dir, name, nested := strings.Cut(relative, "/")
		if !nested {
			history.Findings = append(history.Findings, ignored(f.Path, "it is not in a directory <version>_<name>"))
			continue
		}
		if strings.HasPrefix(dir, ".") || strings.Contains(name, "/") {
			continue
		}
		i, ok := index[dir]
		if !ok {
			i = len(history.Migrations)
			index[dir] = i
			version, title, _ := strings.Cut(dir, "_")
			history.Migrations = append(history.Migrations, Migration{Version: strings.ReplaceAll(version, "-", ""), Name: title, refused: badName(f)})
		}
		history.Migrations[i].addDieselFile(f, name)
	}
	for i := range history.Migrations {
		history.Migrations[i].checkDiesel(root)
	}
	history.order(d.compare)
	return history, nil
}

func (m *Migration) addDieselFile(f File, name string) {
	switch name {
	case "up.sql":
		m.Up = &f
	case "down.sql":
		m.down = &f
	case "metadata.toml":
		// A file without the key means false in serde's eyes (#[serde(default)] of a bool).
		match := dieselTransaction.FindStringSubmatch(string(f.Content))
		m.NoTransaction = match == nil || match[1] != "true"
	}
}

// checkDiesel finds what the tool would not run.
func (m *Migration) checkDiesel(root string) {
	switch {
	case m.refused != nil:
	case m.Up == nil:
		m.refused = invalid("diesel refuses a directory of migrations with one that it does not know the form of",
			"%s: the directory of version %s has no up.sql", root, m.Version)
	case len(m.Up.Content) == 0:
		m.refused = invalid("diesel refuses it, too: write at least a comment", "%s: the file is empty", m.Up.Path)
	}
}

func (diesel) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, dieselTable)
	if err != nil {
		return State{}, err
	}
	query := `SELECT version, run_on FROM ` + table.quoted() + ` ORDER BY run_on, version COLLATE "C"`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var at time.Time
		err := row.Scan(&a.Version, &at)
		a.At = &at
		return a, err
	})
}

func (diesel) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, dieselTable)
	if err != nil || exists {
		return err
	}
	return r.exec(ctx, `CREATE TABLE IF NOT EXISTS `+r.table.quoted()+` (
       version VARCHAR(50) PRIMARY KEY NOT NULL,
       run_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP
)`)
}

func (diesel) script(m Migration) (script, error) {
	return wholeScript(string(m.Up.Content), !m.NoTransaction), nil
}

func (diesel) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` (version) VALUES ($1)`, m.Version)
}
