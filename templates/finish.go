package templates

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// setSequences sets them, as the owner.
func setSequences(ctx context.Context, conn *pgx.Conn, values []sequenceValue) error {
	for _, v := range values {
		err := execOne(ctx, conn, "SELECT pg_catalog.setval($1::pg_catalog.text::pg_catalog.regclass, $2::pg_catalog.int8, $3::pg_catalog.bool)",
			[]byte(v.name), []byte(v.value), []byte(v.called))
		if err != nil {
			return mayfly.Errorf(mayfly.CodeSourceInvalid, "the sequence %s cannot be set: %s", v.name, sourceMessage(err))
		}
	}
	return nil
}

// verify counts the rows of every table in the template, compares them with what the source sent, and vacuums: with
// hint bits, visibility maps and statistics in place a preview does not rewrite a page because somebody reads it.
func (t *target) verify(ctx context.Context, tables []TableReport, workers int) error {
	order := make([]int, len(tables))
	for i := range tables {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(tables[b].Bytes, tables[a].Bytes) }) // the largest first
	return t.inSessions(ctx, workers, len(order), func(ctx context.Context, conn *pgx.Conn, i int) error {
		return t.verifyTable(ctx, conn, &tables[order[i]])
	})
}

// inSessions calls do for 0 to n-1, in this order, in several sessions of the owner side by side. It ends at the first error.
func (t *target) inSessions(ctx context.Context, workers, n int, do func(ctx context.Context, conn *pgx.Conn, i int) error) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range max(1, min(workers, n)) {
		group.Go(func() error {
			conn, err := t.connect(ctx)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(ctx, conn, i); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// verifyTable lets the proof read every row, which counts them.
func (t *target) verifyTable(ctx context.Context, conn *pgx.Conn, report *TableReport) error {
	r := relation{report.Schema, report.Table}
	var err error
	if report.Rows, err = t.scanner.Table(ctx, conn, r.schema, r.name, true); err != nil {
		return err
	}
	if report.Rows != report.SourceRows+report.HookRows {
		return countError(r, report.SourceRows+report.HookRows, report.Rows)
	}
	if err := execAll(ctx, conn, "VACUUM (FREEZE, ANALYZE) "+r.sql()); err != nil {
		return fmt.Errorf("vacuum %s: %w", r, err)
	}
	return nil
}

// vacuumRest vacuums what verify did not: materialized views and, as the superuser, the catalogs; and analyzes
// partitioned tables, whose statistics are their own.
func vacuumRest(ctx context.Context, owner, admin *pgx.Conn) error {
	for _, step := range []struct {
		conn           *pgx.Conn
		command, kinds string
	}{
		{owner, "VACUUM (FREEZE, ANALYZE)", `c.relkind = 'm' AND c.relowner = current_user::pg_catalog.regrole`},
		{owner, "ANALYZE", `c.relkind = 'p' AND c.relowner = current_user::pg_catalog.regrole`},
		{admin, "VACUUM (FREEZE, ANALYZE)", `c.relkind = 'r' AND n.nspname = 'pg_catalog'`},
	} {
		conn := step.conn
		rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c
			JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relpersistence <> 't' AND (`+step.kinds+`) ORDER BY 1, 2`)
		if err != nil {
			return fmt.Errorf("list what to vacuum: %w", err)
		}
		var names []string
		var one relation
		if _, err := pgx.ForEachRow(rows, []any{&one.schema, &one.name}, func() error {
			names = append(names, one.sql())
			return nil
		}); err != nil {
			return fmt.Errorf("list what to vacuum: %w", err)
		}
		if len(names) == 0 {
			continue
		}
		if err := execAll(ctx, conn, step.command+" "+strings.Join(names, ", ")); err != nil {
			return fmt.Errorf("vacuum the catalogs: %w", err)
		}
	}
	return nil
}

// dropOtherDatabases removes what initdb made beside the application's database. Nothing on a preview connects there: its gateway
// leads to the one database, and the application's role may not create others. Each has about 300 files, and a clone
// takes time for each file.
func dropOtherDatabases(ctx context.Context, conn *pgx.Conn, application string) error {
	statements := []string{"ALTER DATABASE template1 IS_TEMPLATE false", "DROP DATABASE IF EXISTS template1"}
	if application != "postgres" {
		statements = append(statements, "DROP DATABASE IF EXISTS postgres")
	}
	for _, statement := range statements {
		if err := execAll(ctx, conn, statement); err != nil {
			return fmt.Errorf("remove initdb's databases: %w", err)
		}
	}
	return nil
}

// freezeScript checks that the cluster was stopped cleanly and that its directory has nothing but what Postgres makes,
// writes anew the files that say who may log in, replaces its WAL by one new segment, and removes what the running
// server left. Segments are of 1 MiB from here on: the first thing that a preview writes is a WAL segment, and
// with the usual 16 MiB that alone would be most of what a fresh preview takes on disk.
const freezeScript = `
set -eu
LC_ALL=C; export LC_ALL
data=$1
state=$(pg_controldata -D "$data" | sed -n 's/^Database cluster state: *//p')
if [ "$state" != "shut down" ]; then echo "the cluster's state is: $state" >&2; exit 3; fi
odd=$(find "$data" ! -type f ! -type d | head -n 5)
if [ -n "$odd" ]; then echo "not a file of Postgres: $odd" >&2; exit 4; fi
for path in "$data"/* "$data"/.[!.]*; do
	[ -e "$path" ] || continue
	case ${path##*/} in
	PG_VERSION|base|current_logfiles|global|log|pg_commit_ts|pg_dynshmem|pg_hba.conf|pg_ident.conf|pg_logical|pg_multixact) ;;
	pg_notify|pg_replslot|pg_serial|pg_snapshots|pg_stat|pg_stat_tmp|pg_subtrans|pg_tblspc|pg_twophase|pg_wal|pg_xact) ;;
	postgresql.auto.conf|postgresql.conf|postmaster.opts|postmaster.pid) ;;
	*) echo "not a file of Postgres: $path" >&2; exit 4 ;;
	esac
done
printf '%s' "$2" >"$data/pg_hba.conf"
printf '%s' "$3" >"$data/pg_ident.conf"
: >"$data/postgresql.auto.conf"
pg_resetwal --wal-segsize=1 -D "$data" >&2
rm -rf "$data"/pg_stat/* "$data"/pg_stat_tmp/* "$data"/base/pgsql_tmp "$data"/log "$data"/postmaster.opts "$data"/postmaster.pid
`

// stopTimeout bounds the shutdown checkpoint, which writes everything that is dirty.
const stopTimeout = 10 * time.Minute

// stop stops the cluster cleanly, resets its WAL and removes the instance. The volume then is a template but for Freeze.
func (b *Builder) stop(ctx context.Context, id string, image driver.Image, labels map[string]string) error {
	if err := b.engine.Stop(ctx, id, stopTimeout); err != nil {
		return fmt.Errorf("stop the template's cluster: %w", err)
	}
	if err := b.engine.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove the template's instance: %w", err)
	}
	result, err := b.engine.Run(ctx, driver.RunSpec{
		Image: image.ID, Command: []string{"sh", "-c", freezeScript, "freeze", driver.DataDir, cluster.AccessRules, cluster.AccessMap},
		Volume: id, Labels: labels,
	})
	if err != nil {
		return fmt.Errorf("reset the template's WAL: %w", err)
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("reset the template's WAL: exit code %d: %s", result.ExitCode, lastLines(string(result.Stderr), 4))
	}
	return nil
}

// start initialises a data directory and starts a cluster on it, for building.
func (b *Builder) start(ctx context.Context, id string, image driver.Image, labels map[string]string) error {
	if err := cluster.Init(ctx, b.engine, image, id, cluster.InitOptions{}); err != nil {
		return err
	}
	err := b.engine.Create(ctx, driver.InstanceSpec{
		ID: id, Image: image.ID, Volume: id, Args: cluster.Args(cluster.Build), Labels: labels,
		Limits: driver.Limits{ShmBytes: 1 << 30}, // parallel queries put their hash tables there
	})
	if err != nil {
		return fmt.Errorf("create the template's instance: %w", err)
	}
	if err := b.engine.Start(ctx, id); err != nil {
		return fmt.Errorf("start the template's instance: %w", err)
	}
	return nil
}
