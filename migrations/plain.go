package migrations

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// plain is numbered SQL files without a tool: a script of the project's own runs them in production. What was applied is kept
// in a small table of Mayfly's, in the previews. If production has no such table, what the base branch has counts as
// applied.
type plain struct{}

const plainTable = "mayfly_migrations"

var (
	plainName          = regexp.MustCompile(`^[vV]?(\d+)(?:[-_. ](.*))?\.sql$`)
	plainNoTransaction = regexp.MustCompile(`(?m)\A(\s*--[^\n]*\n)*?\s*--\s*(mayfly:)?no-transaction\s*$`)
)

func (plain) rules() rules { return rules{gaps: gapRun, trustBase: true} }

func (plain) compare(a, b string) int { return compareNumbers(a, b) }

func (p plain) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	downs := map[string]*File{}
	for _, f := range filesIn(settings, files) {
		base := path.Base(f.Path)
		match := plainName.FindStringSubmatch(base)
		if match == nil {
			history.Findings = append(history.Findings, ignored(f.Path, "its name is not <number>_<title>.sql"))
			continue
		}
		name := match[2]
		if name == "down" || strings.HasSuffix(name, ".down") || strings.HasSuffix(name, "_down") {
			downs[cmp.Or(strings.TrimLeft(match[1], "0"), "0")] = &f
			continue
		}
		sum := sha256.Sum256(f.Content)
		history.Migrations = append(history.Migrations, Migration{
			Version: cmp.Or(strings.TrimLeft(match[1], "0"), "0"), Name: strings.TrimSuffix(name, ".up"), Up: &f,
			Checksum: hex.EncodeToString(sum[:]), refused: badName(f),
			NoTransaction: plainNoTransaction.Match(f.Content),
		})
	}
	history.order(p.compare)
	history.addDowns(downs)
	return history, nil
}

func (plain) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, plainTable)
	if err != nil {
		return State{}, err
	}
	query := `SELECT version, name, checksum, applied_at FROM ` + table.quoted() + ` ORDER BY applied_at, pg_catalog.length(version), version`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var at time.Time
		err := row.Scan(&a.Version, &a.Name, &a.Checksum, &at)
		a.At = &at
		return a, err
	})
}

func (p plain) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, plainTable)
	if err != nil || exists {
		return err
	}
	err = r.exec(ctx, `CREATE TABLE `+r.table.quoted()+` (
	version text PRIMARY KEY,
	name text NOT NULL,
	checksum text NOT NULL,
	applied_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp(),
	duration_ms double precision NOT NULL
)`)
	for _, m := range r.plan.trusted {
		if err == nil {
			err = p.record(ctx, r, m, 0)
		}
	}
	return err
}

func (plain) script(m Migration) (script, error) {
	return wholeScript(string(m.Up.Content), !m.NoTransaction), nil
}

func (plain) record(ctx context.Context, r *run, m Migration, took time.Duration) error {
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` (version, name, checksum, duration_ms) VALUES ($1, $2, $3, $4)`,
		m.Version, m.Name, m.Checksum, milliseconds(took))
}
