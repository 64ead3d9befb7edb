package migrations

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// prisma follows `prisma migrate deploy` of Prisma 7 (its schema engine's applyMigrations).
type prisma struct{}

const (
	prismaTable  = "_prisma_migrations"
	prismaScript = "migration.sql"
	prismaLock   = "migration_lock.toml"
	// prismaLockID is the key of the engine's advisory lock.
	prismaLockID int64 = 72707369
)

func (prisma) rules() rules { return rules{gaps: gapRun} }

func (prisma) compare(a, b string) int { return cmp.Compare(a, b) }

func (p prisma) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	dir := path.Clean(strings.Trim(settings.Path, "/"))
	others := map[string]string{} // a file of each directory that has no script
	for _, f := range filesBelow(settings, files) {
		name := strings.TrimPrefix(f.Path, dir+"/")
		if dir == "." {
			name = f.Path
		}
		directory, file, nested := strings.Cut(name, "/")
		switch {
		case !nested && name == prismaLock:
			if err := checkPrismaProvider(f); err != nil {
				return nil, err
			}
		case !nested:
			history.Findings = append(history.Findings, ignored(f.Path, "migrations are directories with a "+prismaScript))
		case file == prismaScript:
			sum := sha256.Sum256(f.Content)
			history.Migrations = append(history.Migrations, Migration{
				Version: directory, Name: directory, Up: &f, Checksum: hex.EncodeToString(sum[:]), refused: prismaRefused(f, directory),
			})
		default:
			others[directory] = f.Path
		}
	}
	for _, m := range history.Migrations {
		delete(others, m.Version)
	}
	for _, directory := range slices.Sorted(maps.Keys(others)) {
		return nil, invalid("Prisma stops there, too (P3015): add the file, or remove the directory",
			"%s: the directory has no %s", path.Join(dir, directory), prismaScript)
	}
	history.order(p.compare)
	return history, nil
}

func prismaRefused(f File, directory string) error {
	if len(directory) > 255 {
		return invalid("shorten it", "%s: the directory's name is longer than the 255 bytes that %s holds", f.Path, prismaTable)
	}
	return badName(f)
}

// checkPrismaProvider is error_on_changed_provider of the engine (P3019).
func checkPrismaProvider(f File) error {
	for line := range strings.Lines(string(f.Content)) {
		line = strings.TrimRight(line, "\r\n")
		if !strings.HasPrefix(line, "provider") {
			continue
		}
		_, value, _ := strings.Cut(line, "=")
		if provider := strings.Trim(strings.TrimSpace(value), `"`); provider != "postgresql" && provider != "postgres" {
			return invalid("Prisma stops there, too (P3019)", "%s: the migrations are for %q, not for postgresql", f.Path, excerpt(provider, 40))
		}
		return nil
	}
	return nil
}

// judge compares with any line ends, as the engine does. `migrate deploy` does not look at checksums: only `migrate dev`
// and `migrate status` say that a file was edited.
func (prisma) judge(m Migration, a Applied) (edited, refuse bool) { //nolint:unparam // an interface's method
	text := string(m.Up.Content)
	for _, candidate := range []string{text, strings.ReplaceAll(text, "\r\n", "\n"), strings.ReplaceAll(text, "\n", "\r\n")} {
		sum := sha256.Sum256([]byte(candidate))
		if hex.EncodeToString(sum[:]) == a.Checksum || len(a.Checksum) < 64 && unpaddedHex(sum[:]) == a.Checksum {
			return false, false
		}
	}
	return true, false
}

// unpaddedHex is how old releases of the engine wrote a checksum: without the zero of a byte below 16.
func unpaddedHex(sum []byte) string {
	var b strings.Builder
	for _, c := range sum {
		fmt.Fprintf(&b, "%x", c)
	}
	return b.String()
}

func (prisma) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, prismaTable)
	if err != nil {
		return State{}, err
	}
	query := `SELECT migration_name, checksum, started_at, finished_at IS NULL FROM ` + table.quoted() + ` WHERE rolled_back_at IS NULL ORDER BY started_at, migration_name`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var a Applied
		var at time.Time
		err := row.Scan(&a.Version, &a.Checksum, &at, &a.Failed)
		a.Name, a.At = a.Version, &at
		return a, err
	})
}

func (prisma) lock(ctx context.Context, r *run) (unlock func(), err error) {
	return r.advisoryLock(ctx, Prisma, prismaLockID)
}

func (prisma) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, prismaTable)
	if err != nil || exists {
		return err
	}
	if err := r.refuseOccupied(ctx, "Prisma stops there, too (P3005): baseline production with `prisma migrate resolve --applied`, and build a new template"); err != nil {
		return err
	}
	return r.exec(ctx, `CREATE TABLE `+r.table.quoted()+` (
    id                      VARCHAR(36) PRIMARY KEY NOT NULL,
    checksum                VARCHAR(64) NOT NULL,
    finished_at             TIMESTAMPTZ,
    migration_name          VARCHAR(255) NOT NULL,
    logs                    TEXT,
    rolled_back_at          TIMESTAMPTZ,
    started_at              TIMESTAMPTZ NOT NULL DEFAULT now(),
    applied_steps_count     INTEGER NOT NULL DEFAULT 0
)`)
}

// refuseOccupied refuses a schema that has tables, but not the tracking table: the tool does not know what of its migrations
// is in it.
func (r *run) refuseOccupied(ctx context.Context, hint string) error {
	var table *string
	err := r.conn.QueryRow(ctx, `SELECT (SELECT c.relname::text FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE n.nspname = $1 AND c.relkind IN ('r', 'p') AND NOT EXISTS (
			SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'e')
		ORDER BY c.relname LIMIT 1)`, pgx.QueryExecModeExec, r.table.schema).Scan(&table)
	if err != nil {
		return fmt.Errorf("look for tables in the schema: %w", err)
	}
	if table == nil {
		return nil
	}
	return invalid(hint, "the schema %q has tables (%q for one), and there is no tracking table %s", r.table.schema, *table, r.table.quoted())
}

// script is the whole file in one query: the engine begins no transaction, but the protocol makes one of it.
func (prisma) script(m Migration) (script, error) {
	return wholeScript(string(m.Up.Content), false), nil
}

// record is not used: migrate writes a row before and after.
func (prisma) record(context.Context, *run, Migration, time.Duration) error { return nil }

func (p prisma) migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure) {
	var id string
	err := r.conn.QueryRow(ctx, `INSERT INTO `+r.table.quoted()+` (id, checksum, started_at, migration_name)
		VALUES (pg_catalog.gen_random_uuid()::text, $1, $2, $3) RETURNING id`,
		pgx.QueryExecModeExec, m.Checksum, r.opts.Now().UTC(), m.Version).Scan(&id)
	if err != nil {
		return outcome{err: err}, r.failure(m, "the tracking table could not be written: ", err)
	}
	result, failure := r.file(ctx, m, s)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if failure != nil {
		r.report.Dirty = true
		if err := r.exec(after, `UPDATE `+r.table.quoted()+` SET logs = $1 WHERE id = $2`, prismaLog(m, failure), id); err != nil {
			result.err = errors.Join(result.err, err)
		}
		return result, failure
	}
	err = r.exec(after, `UPDATE `+r.table.quoted()+` SET applied_steps_count = applied_steps_count + 1, finished_at = $1 WHERE id = $2`, r.opts.Now().UTC(), id)
	if err != nil {
		result.err = err
		return result, r.failure(m, "the migration was executed, but the tracking table could not be written afterwards: ", err)
	}
	return result, nil
}

// prismaLog is the beginning of what the engine writes about a failure.
func prismaLog(m Migration, failure *Failure) string {
	return "A migration failed to apply. New migrations cannot be applied before the error is recovered from. " +
		"Read more about how to resolve migration issues in a production database: https://pris.ly/d/migrate-resolve\n\n" +
		"Migration name: " + m.Version + "\n\nDatabase error code: " + failure.SQLState + "\n\nDatabase error:\nERROR: " + failure.Message + "\n"
}
