package migrations

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// sqlx follows sqlx-core and sqlx-postgres 0.8 (Migrator::run, `sqlx migrate run`).
type sqlx struct{}

const (
	sqlxTable = "_sqlx_migrations"
	// sqlxLockFactor is what generate_lock_id of the tool multiplies with.
	sqlxLockFactor int64 = 0x3d32ad9e
)

func (sqlx) rules() rules { return rules{gaps: gapRun, refuseEdited: true, refuseMissing: true} }

func (sqlx) compare(a, b string) int { return compareNumbers(a, b) }

func (x sqlx) parse(settings mayfly.MigrationSettings, files []File) (*History, error) {
	history := &History{}
	downs := map[string]*File{}
	for _, f := range filesIn(settings, files) {
		base := path.Base(f.Path)
		before, rest, found := strings.Cut(base, "_")
		if !found || !strings.HasSuffix(rest, ".sql") {
			history.Findings = append(history.Findings, ignored(f.Path, "its name is not <version>_<description>.sql"))
			continue
		}
		version, err := strconv.ParseInt(before, 10, 64)
		if err != nil || version < 0 {
			return nil, invalid("sqlx reads every <version>_<description>.sql of the directory, and the version must be a number: move the file elsewhere",
				"%s: %q is not a version", f.Path, excerpt(before, 40))
		}
		suffix := ".sql"
		switch {
		case strings.HasSuffix(rest, ".down.sql"):
			downs[strconv.FormatInt(version, 10)] = &f
			continue
		case strings.HasSuffix(rest, ".up.sql"):
			suffix = ".up.sql"
		}
		sum := sha512.Sum384(f.Content)
		history.Migrations = append(history.Migrations, Migration{
			Version: strconv.FormatInt(version, 10), Name: strings.ReplaceAll(trimEnd(rest, suffix), "_", " "),
			Up: &f, Checksum: hex.EncodeToString(sum[:]), refused: badName(f),
			NoTransaction: strings.HasPrefix(string(f.Content), "-- no-transaction"),
		})
	}
	history.order(x.compare)
	history.addDowns(downs)
	return history, nil
}

// trimEnd takes a suffix off as often as it is there (trim_end_matches in Rust).
func trimEnd(s, suffix string) string {
	for strings.HasSuffix(s, suffix) {
		s = strings.TrimSuffix(s, suffix)
	}
	return s
}

func (sqlx) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTable(ctx, conn, settings.Table, sqlxTable)
	if err != nil {
		return State{}, err
	}
	query := `SELECT version, description, checksum, installed_on, success FROM ` + table.quoted() + ` ORDER BY version`
	return readApplied(ctx, conn, table, query, func(row pgx.CollectableRow) (Applied, error) {
		var version int64
		var sum []byte
		var at time.Time
		var success bool
		var a Applied
		err := row.Scan(&version, &a.Name, &sum, &at, &success)
		a.Version, a.Checksum, a.At, a.Failed = strconv.FormatInt(version, 10), hex.EncodeToString(sum), &at, !success
		return a, err
	})
}

// lock is generate_lock_id of the tool.
func (sqlx) lock(ctx context.Context, r *run) (unlock func(), err error) {
	database, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	return r.advisoryLock(ctx, SQLx, sqlxLockFactor*int64(crc32.ChecksumIEEE([]byte(database))))
}

func (sqlx) prepare(ctx context.Context, r *run) error {
	exists, err := r.find(ctx, sqlxTable)
	if err != nil || exists {
		return err
	}
	return r.exec(ctx, `CREATE TABLE IF NOT EXISTS `+r.table.quoted()+` (
    version BIGINT PRIMARY KEY,
    description TEXT NOT NULL,
    installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
    success BOOLEAN NOT NULL,
    checksum BYTEA NOT NULL,
    execution_time BIGINT NOT NULL
)`)
}

func (sqlx) script(m Migration) (script, error) {
	return wholeScript(string(m.Up.Content), !m.NoTransaction), nil
}

func (x sqlx) migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure) {
	start := r.opts.Now()
	result, failure := r.standard(ctx, m, s, x.record)
	if failure != nil {
		return result, failure
	}
	// The time is written once the transaction is over, in nanoseconds.
	err := r.exec(ctx, `UPDATE `+r.table.quoted()+` SET execution_time = $1 WHERE version = $2`, r.opts.Now().Sub(start).Nanoseconds(), m.Version)
	if err != nil {
		result.err = err
		return result, r.failure(m, "the migration was applied, but its time could not be written into the tracking table: ", err)
	}
	return result, nil
}

func (sqlx) record(ctx context.Context, r *run, m Migration, _ time.Duration) error {
	sum, err := hex.DecodeString(m.Checksum)
	if err != nil {
		return fmt.Errorf("read the checksum: %w", err)
	}
	return r.exec(ctx, `INSERT INTO `+r.table.quoted()+` (version, description, success, checksum, execution_time) VALUES ($1, $2, TRUE, $3, -1)`,
		m.Version, m.Name, sum)
}
