package quarantine

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// recover replays the WAL and stops the server again.
func (b *backupRestore) recover(ctx context.Context) error {
	if err := b.configure(ctx); err != nil {
		return err
	}
	further := []string{"hot_standby=off", "log_error_verbosity=terse", "lc_messages=C"}
	if b.tablespaces {
		further = append(further, "allow_in_place_tablespaces=on") // they are directories, not links out of the volume
	}
	if err := b.createInstance(ctx, further...); err != nil {
		return err
	}
	if err := b.opts.Engine.Start(ctx, b.id); err != nil {
		return fmt.Errorf("start the quarantine's instance: %w", err)
	}
	if err := b.recovered(ctx); err != nil {
		return err
	}
	if err := b.opts.Engine.Stop(ctx, b.id, stopTimeout); err != nil {
		return fmt.Errorf("stop the quarantine's server: %w", err)
	}
	return nil
}

// recovered waits for the end of the recovery, however long the WAL is. Until then the server lets nobody in.
func (b *backupRestore) recovered(ctx context.Context) error {
	const interval = 50 * time.Millisecond
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		conn, err := cluster.Connect(ctx, b.opts.Engine, b.id, "template1")
		if err == nil {
			return conn.Close(ctx)
		}
		var server *pgconn.PgError
		if errors.As(err, &server) && server.Code != "57P03" { // cannot_connect_now
			return nil // it is up, and does not know our role or our database yet
		}
		if err := b.alive(ctx); err != nil {
			if errors.Is(err, errEnded) {
				return b.recoveryError(b.log(ctx), err)
			}
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// recoveryError says why the server gave up.
func (b *backupRestore) recoveryError(log string, err error) error {
	says := func(text string) bool { return strings.Contains(log, text) }
	const more = "give the WAL from the backup's start on with source.wal, or take the backup with `pg_basebackup -X stream`"
	switch {
	case says("before configured recovery target was reached"):
		return mayfly.Errorf(mayfly.CodeInvalid, "the WAL ends before source.recover_to (%s)", b.backup.RecoverTo.Format(time.RFC3339)).
			WithHint("give the WAL up to that moment with source.wal, or choose an earlier one")
	case says("requested recovery stop point is before consistent recovery point"):
		return tooEarly(*b.backup.RecoverTo)
	case says("WAL ends before end of online backup"), says("WAL ends before consistent recovery point"),
		says("could not locate required checkpoint record"), says("could not find redo location"), says("could not find a valid checkpoint"), says("could not locate a valid checkpoint"):
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup lacks WAL that it needs to become consistent").WithHint("%s", more)
	case says("No space left on device"):
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full").WithHint("free space in the pool, or enlarge it")
	case says("wal_level=minimal"):
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the WAL has a gap: the source ran with wal_level = minimal for a while").WithHint("take a new base backup")
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup cannot be started: %w: %s", err, lastFatal(log)).
		WithHint("look whether the backup and its WAL are of one server, whole and unchanged")
}

func tooEarly(to time.Time) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "source.recover_to (%s) is before the end of the base backup", to.Format(time.RFC3339)).
		WithHint("choose a later moment, or an older base backup")
}

// lastFatal returns the last message of the server that ended it. Those of the startup process name files and places.
func lastFatal(log string) string {
	last := "the server's log says nothing"
	for line := range strings.Lines(log) {
		for _, level := range []string{"FATAL:  ", "PANIC:  "} {
			if _, message, found := strings.Cut(line, level); found && !strings.HasPrefix(message, "the database system is") {
				last = strings.TrimSpace(message)
			}
		}
	}
	return last
}

// adminScript makes our superuser, as the bootstrap superuser, whose name does not matter in single-user mode, and in which
// no event trigger and no setting of a role is in force. Not every cluster has each database.
const adminScript = `
for database in template1 template0 postgres; do
	if printf '%s\n' "$2" "$3" "$4" "$5" | postgres --single -D "$1" -c shared_preload_libraries= -c fsync=off -c config_file="$1/postgresql.conf" \
		-c allow_system_table_mods=off -c session_preload_libraries= -c local_preload_libraries= -c log_min_messages=fatal "$database" >/dev/null; then exit 0; fi
done
exit 1
`

// open makes our superuser and starts the server for good.
func (b *backupRestore) open(ctx context.Context) error {
	result, err := b.run(ctx, driver.RunSpec{
		Command: []string{
			"sh", "-c", adminScript, "admin", driver.DataDir, "CREATE ROLE " + cluster.AdminRole, "ALTER ROLE " + cluster.AdminRole +
				" SUPERUSER LOGIN INHERIT CONNECTION LIMIT -1 VALID UNTIL 'infinity'", "ALTER ROLE " + cluster.AdminRole + " RESET ALL", "ALTER ROLE ALL RESET ALL",
		}, Volume: b.id,
	})
	if err != nil {
		return fmt.Errorf("make a superuser in the quarantine: %w", err)
	}
	if result.ExitCode != 0 {
		if strings.Contains(string(result.Stderr), "locale is incompatible") {
			return mayfly.Errorf(mayfly.CodeSourceInvalid, "the image lacks a locale that the base backup's databases have").
				WithHint("use an image that has the locale (postgres.image), or a dump instead of a base backup")
		}
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup cannot be opened: %s", lastFatal(string(result.Stderr)))
	}
	if err := b.opts.Engine.Start(ctx, b.id); err != nil {
		return fmt.Errorf("start the quarantine's instance: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for _, database := range []string{"postgres", "template1"} {
		var conn *pgx.Conn
		if conn, err = cluster.WaitReady(waiting, b.opts.Engine, b.id, database, b.alive); err == nil {
			return conn.Close(ctx)
		}
	}
	return fmt.Errorf("wait for the quarantine's cluster: %w", err)
}

const (
	unloggedTables = `SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind = 'r' AND c.relpersistence = 'u' ORDER BY 1`
	// collversion is NULL for collations without versions, such as C.
	changedCollations = `SELECT pg_catalog.format('%I.%I', n.nspname, c.collname) FROM pg_catalog.pg_collation c
		JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
		WHERE c.collversion IS NOT NULL AND c.collversion IS DISTINCT FROM pg_catalog.pg_collation_actual_version(c.oid) AND c.collencoding IN (-1, (
			SELECT d.encoding FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()))
		AND EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attcollation = c.oid AND a.attrelid >= 16384) ORDER BY 1`
	changedDatabase = `SELECT 'database default' FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()
		AND d.datcollversion IS NOT NULL AND d.datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(d.oid)`
	preparedTransactions = `SELECT gid FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database()`
)

// report ends what would be in the way of reading, and says what differs from the source.
func (b *backupRestore) report(ctx context.Context) error {
	conn, err := b.connect(ctx, b.Database)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	names := func(query string) (found []string) {
		rows, queryErr := conn.Query(ctx, query)
		if queryErr == nil {
			found, queryErr = pgx.CollectRows(rows, pgx.RowTo[string])
		}
		err = errors.Join(err, queryErr)
		return found
	}
	if b.label != "" {
		b.findMany(names(unloggedTables), Finding{
			Code: "unlogged_table_empty", Severity: Warning, Object: "unlogged tables", Cause: "a base backup does not hold the rows of unlogged tables",
			Done: "they are empty", Advice: "build from a dump or a live source if the rows matter",
		})
	}
	changed := names(changedCollations)
	if b.Image.Major >= 15 {
		changed = append(changed, names(changedDatabase)...)
	}
	b.findMany(changed, Finding{
		Code: "collation_version_differs", Severity: Info, Object: "collations", Cause: "the image's library sorts in another version than the source's",
		Done: "nothing was read through an index; the template's are built anew",
	})
	prepared := names(preparedTransactions)
	if err != nil {
		return fmt.Errorf("look at the restored database: %w", err)
	}
	for _, gid := range prepared {
		if _, err := conn.Exec(ctx, "ROLLBACK PREPARED '"+strings.ReplaceAll(gid, "'", "''")+"'"); err != nil {
			return fmt.Errorf("roll back a prepared transaction: %w", err)
		}
	}
	if len(prepared) > 0 {
		b.find(Finding{
			Code: "prepared_transaction", Severity: Warning, Object: "prepared transactions", Cause: "transactions were prepared and not committed (PREPARE TRANSACTION)",
			Done: "rolled back", Count: int64(len(prepared)),
		})
	}
	if b.strangers > 0 {
		var quoted []string
		for _, name := range b.strange {
			quoted = append(quoted, strconv.Quote(name))
		}
		b.find(Finding{
			Code: "foreign_file", Severity: Info, Object: "base backup", Cause: "files that are not Postgres's are in the data directory",
			Done: "left out", Count: int64(b.strangers), Samples: quoted,
		})
	}
	return nil
}

// findMany notes a finding about several objects, if there are any.
func (b *backupRestore) findMany(names []string, f Finding) {
	if len(names) == 0 {
		return
	}
	f.Count, f.Samples = int64(len(names)), names[:min(len(names), 10)]
	b.find(f)
}
