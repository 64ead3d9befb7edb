package migrations

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

const (
	// golangMigrateTable is DefaultMigrationsTable of the tool.
	golangMigrateTable = "schema_migrations"
	// golangMigrateLockSalt is advisoryLockIDSalt of the tool.
	golangMigrateLockSalt uint32 = 1486364155
)

// trackingTable is where the tool writes the version.
type trackingTable struct{ schema, name string }

func (t trackingTable) quoted() string { return pgx.Identifier{t.schema, t.name}.Sanitize() }

var quotedPart = regexp.MustCompile(`"(.*?)"`)

// parseTrackingTable reads the setting as the tool reads x-migrations-table: a name that starts and ends with '"' has
// x-migrations-table-quoted and may have a schema, every other one is a plain name, dots included. The schema is "" if
// it is the session's current one.
func parseTrackingTable(setting string) (trackingTable, error) {
	if setting == "" {
		return trackingTable{name: golangMigrateTable}, nil
	}
	if !strings.HasPrefix(setting, `"`) || !strings.HasSuffix(setting, `"`) {
		return trackingTable{name: setting}, nil
	}
	parts := quotedPart.FindAllStringSubmatch(setting, -1)
	switch len(parts) {
	case 1:
		return trackingTable{name: parts[0][1]}, nil
	case 2:
		return trackingTable{schema: parts[0][1], name: parts[1][1]}, nil
	}
	return trackingTable{}, mayfly.Errorf(mayfly.CodeMigrationInvalid, "the tracking table %s is not understood", setting).
		WithHint(`write a plain name, or "schema"."table" with the quotes`)
}

// findTrackingTable completes the setting with the session's current schema.
func findTrackingTable(ctx context.Context, conn *pgx.Conn, setting string) (trackingTable, error) {
	table, err := parseTrackingTable(setting)
	if err != nil || table.schema != "" {
		return table, err
	}
	var schema *string
	if err := conn.QueryRow(ctx, `SELECT pg_catalog.current_schema()::text`, pgx.QueryExecModeExec).Scan(&schema); err != nil {
		return table, fmt.Errorf("look up the current schema: %w", err)
	}
	if schema == nil {
		return table, mayfly.Errorf(mayfly.CodeMigrationInvalid, "the role %q has no current schema for the tracking table", conn.Config().User).
			WithHint(`no schema of its search_path exists or may be used: set migrations.table to "schema"."table"`)
	}
	table.schema = *schema
	return table, nil
}

func (golangMigrate) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	table, err := findTrackingTable(ctx, conn, settings.Table)
	if err != nil {
		return State{}, err
	}
	return readTrackingTable(ctx, conn, table)
}

func readTrackingTable(ctx context.Context, conn *pgx.Conn, table trackingTable) (State, error) {
	state := State{Tool: GolangMigrate, Table: table.quoted()}
	var version int64
	err := conn.QueryRow(ctx, `SELECT version, dirty FROM `+table.quoted()+` LIMIT 1`, pgx.QueryExecModeExec).Scan(&version, &state.Dirty)
	pgErr := asPgError(err)
	switch {
	case err == nil:
		state.Exists, state.Current = true, strconv.FormatInt(version, 10)
	case errors.Is(err, pgx.ErrNoRows):
		state.Exists = true
	case pgErr != nil && pgErr.Code == "42P01": // undefined_table
		return state, checkDottedName(ctx, conn, table)
	case pgErr != nil:
		return state, (&mayfly.Error{
			Code: mayfly.CodeMigrationInvalid, Message: fmt.Sprintf("read the tracking table %s: %s", table.quoted(), pgErr.Message), Err: err,
		}).WithHint("it is not a table of golang-migrate (version bigint, dirty boolean), or the application's role may not read it")
	default:
		return state, fmt.Errorf("read the tracking table %s: %w", table.quoted(), err)
	}
	return state, nil
}

// checkDottedName catches the setting audit.schema_migrations where "audit"."schema_migrations" is meant: taken
// literally, as the tool does, every migration would look pending.
func checkDottedName(ctx context.Context, conn *pgx.Conn, table trackingTable) error {
	schema, name, dotted := strings.Cut(table.name, ".")
	if !dotted {
		return nil
	}
	var exists bool
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE schemaname = $1 AND tablename = $2)`,
		pgx.QueryExecModeExec, schema, name).Scan(&exists)
	if err != nil {
		return fmt.Errorf("look for the tracking table: %w", err)
	}
	if exists {
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "there is no table %s, but there is %s.%s", table.quoted(), schema, name).
			WithHint(`golang-migrate takes a name without quotes literally: set migrations.table to '"%s"."%s"'`, schema, name)
	}
	return nil
}

// golangMigrateLockIDs computes database.GenerateAdvisoryLockId for every name the tool may know the database by. Given
// a URL it hashes the path, "/" included; given a connection, the name alone. The order is fixed, so that two runs
// cannot wait for each other.
func golangMigrateLockIDs(table trackingTable, databases ...string) []int64 {
	var ids []int64
	for _, database := range databases {
		for _, name := range []string{database, "/" + database} {
			sum := crc32.ChecksumIEEE([]byte(table.schema + "\x00" + table.name + "\x00" + name))
			ids = append(ids, int64(sum*golangMigrateLockSalt))
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// golangMigrateRun is one Apply.
type golangMigrateRun struct{ *run }

func (golangMigrate) apply(ctx context.Context, conn *pgx.Conn, plan Plan, opts ApplyOptions, report *Report) error {
	run := &golangMigrateRun{run: newRun(conn, plan, opts, report)}
	defer run.watch.close(context.WithoutCancel(ctx))
	var err error
	if run.table, err = findTrackingTable(ctx, conn, plan.table); err != nil {
		return err
	}
	if err := run.setTimeouts(ctx); err != nil {
		return err
	}
	unlock, err := run.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := run.prepare(ctx); err != nil {
		return err
	}
	report.DatabaseBytesBefore = run.size(ctx)
	for i, m := range plan.Pending {
		if err := run.migration(ctx, i, m, run.steps); err != nil {
			return err
		}
	}
	report.DatabaseBytesAfter = run.size(ctx)
	return nil
}

// lock takes the tool's advisory locks, so that the project's own tool and this run wait for each other.
func (r *golangMigrateRun) lock(ctx context.Context) (unlock func(), err error) {
	database, err := r.database(ctx)
	if err != nil {
		return nil, err
	}
	return r.advisoryLock(ctx, GolangMigrate, golangMigrateLockIDs(r.table, append([]string{database}, r.opts.DatabaseNames...)...)...)
}

// prepare makes the tracking table if there is none, and checks that the database is still as planned.
func (r *golangMigrateRun) prepare(ctx context.Context) error {
	var exists bool
	err := r.conn.QueryRow(ctx, `SELECT count(1) > 0 FROM information_schema.tables WHERE table_schema = $1 AND table_name = $2`,
		pgx.QueryExecModeExec, r.table.schema, r.table.name).Scan(&exists)
	if err != nil {
		return fmt.Errorf("look for the tracking table: %w", err)
	}
	if !exists {
		result := execute(ctx, r.conn, `CREATE TABLE IF NOT EXISTS `+r.table.quoted()+` (version bigint not null primary key, dirty boolean not null)`)
		if result.err != nil {
			return (&mayfly.Error{
				Code: mayfly.CodeMigrationInvalid, Message: fmt.Sprintf("create the tracking table %s: %v", r.table.quoted(), result.err), Err: result.err,
			}).WithHint("the application's role must be able to create tables in the schema %q", r.table.schema)
		}
	}
	state, err := readTrackingTable(ctx, r.conn, r.table)
	if err != nil {
		return err
	}
	if state.Dirty {
		return dirtyError(state)
	}
	if state.Current != r.plan.From {
		return mayfly.Errorf(mayfly.CodeConflict, "the database is at version %q, and the plan was made for %q", state.Current, r.plan.From).
			WithHint("somebody migrated the preview in the meantime; try again")
	}
	return nil
}

func (r *golangMigrateRun) steps(ctx context.Context, m Migration) (outcome, *Failure) {
	if err := r.setVersion(ctx, m, true); err != nil {
		return outcome{err: err}, r.failure(m, "the tracking table could not be written: ", err)
	}
	r.report.ToVersion, r.report.Dirty = m.Version, true
	var result outcome
	if m.Up != nil && strings.TrimSpace(string(m.Up.Content)) != "" {
		var failure *Failure
		if result, failure = r.file(ctx, m, wholeScript(string(m.Up.Content), false)); failure != nil {
			return result, failure
		}
	}
	// What was executed is recorded even if the context ends right now.
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	if err := r.setVersion(after, m, false); err != nil {
		result.err = err
		return result, r.failure(m, "the migration was executed, but the tracking table could not be written afterwards: ", err)
	}
	r.report.Dirty = false
	return result, nil
}

// setVersion is Postgres.SetVersion of the tool's driver.
func (r *golangMigrateRun) setVersion(ctx context.Context, m Migration, dirty bool) error {
	return pgx.BeginFunc(ctx, r.conn, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `TRUNCATE `+r.table.quoted(), pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO `+r.table.quoted()+` (version, dirty) VALUES ($1, $2)`, pgx.QueryExecModeExec, versionOf(m), dirty)
		return err
	})
}
