package main

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

const (
	// manyMigrations and manyTables are the sizes that the goals name.
	manyMigrations = 300
	manyTables     = 1000
	// migratedRows is how many rows the table has that the observed migrations work on.
	migratedRows = 1_000_000
	// migrationRuns bounds the runs that take seconds each.
	migrationRuns = 10
)

// ownMigrations are those whose own time the observation is compared with: what is common, on a table with rows.
func ownMigrations() []string {
	return []string{
		`ALTER TABLE bench_orders ADD COLUMN token uuid NOT NULL DEFAULT gen_random_uuid()`,
		`CREATE INDEX bench_orders_status ON bench_orders (status, created_at)`,
		`ALTER TABLE bench_orders ADD COLUMN priority int; UPDATE bench_orders SET priority = 1 WHERE id % 10 = 0`,
		`ALTER TABLE bench_orders ADD CONSTRAINT amount_positive CHECK (amount >= 0)`,
		`CREATE TABLE bench_notes (id bigint PRIMARY KEY, order_id bigint REFERENCES bench_orders); INSERT INTO bench_notes SELECT id, id FROM bench_orders WHERE id % 20 = 0`,
		`ALTER TABLE bench_orders ALTER COLUMN amount TYPE numeric(14, 2)`,
	}
}

// measureMigrations measures what it costs to look on.
func (b *bench) measureMigrations(ctx context.Context) error {
	server, err := b.startPostgres(ctx, "migrations")
	if err != nil {
		return err
	}
	if err := server.exec(ctx, "postgres", `CREATE ROLE `+databaseOwner+` LOGIN`); err != nil {
		return err
	}
	for _, measure := range []func(context.Context, *postgres) error{b.measureObservation, b.measureManyMigrations, b.measureSchemaDiff} {
		if err := measure(ctx, server); err != nil {
			return err
		}
	}
	return nil
}

// asOwner logs in as the role that migrations run as.
func asOwner(ctx context.Context, server *postgres, database string) (*pgx.Conn, error) {
	config, err := cluster.ConnConfig(server.engine, server.id, database)
	if err != nil {
		return nil, err
	}
	config.User = databaseOwner
	return pgx.ConnectConfig(ctx, config)
}

// migrate applies migrations to a new database, a copy of template if that is not "", and returns how long that took.
func migrate(ctx context.Context, server *postgres, template string, bodies []string, observe bool) (took time.Duration, err error) {
	create := `CREATE DATABASE bench_run OWNER ` + databaseOwner
	if template != "" {
		create += ` TEMPLATE ` + template
	}
	if err := server.exec(ctx, "postgres", `DROP DATABASE IF EXISTS bench_run WITH (FORCE)`, create, `CHECKPOINT`); err != nil {
		return 0, err
	}
	files := make([]migrations.File, len(bodies))
	for i, body := range bodies {
		files[i] = migrations.File{Path: fmt.Sprintf("%s/%d_step.up.sql", migrationsPath, i+1), Content: []byte(body)}
	}
	settings := mayfly.MigrationSettings{Tool: migrations.GolangMigrate, Path: migrationsPath}
	history, err := migrations.Parse(settings, files)
	if err != nil {
		return 0, err
	}
	conn, err := asOwner(ctx, server, "bench_run")
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	start := time.Now()
	state, err := migrations.ReadState(ctx, conn, settings)
	if err != nil {
		return 0, err
	}
	plan, err := history.Pending(state)
	if err != nil {
		return 0, err
	}
	report, err := migrations.Apply(ctx, conn, plan, migrations.ApplyOptions{Observe: observe})
	if err != nil {
		return 0, err
	}
	if report.Unobserved != "" || len(report.Applied) != len(bodies) {
		return 0, fmt.Errorf("%d of %d migrations were applied: %s", len(report.Applied), len(bodies), report.Unobserved)
	}
	return time.Since(start), nil
}

// measureObservation applies the same migrations with somebody looking on and without, in turns.
func (b *bench) measureObservation(ctx context.Context, server *postgres) error {
	err := server.exec(ctx, "postgres", `CREATE DATABASE bench_origin OWNER `+databaseOwner)
	if err != nil {
		return err
	}
	rows := migratedRows
	if b.quick {
		rows /= 10
	}
	err = server.exec(ctx, "bench_origin",
		`SET ROLE `+databaseOwner,
		`CREATE TABLE bench_orders (id bigint PRIMARY KEY, status text NOT NULL, amount numeric(12, 2), created_at timestamptz NOT NULL)`,
		fmt.Sprintf(`INSERT INTO bench_orders SELECT i, (ARRAY['new', 'paid', 'sent'])[1 + i %% 3], i %% 1000, '2025-01-01'::timestamptz + i * interval '1 second' FROM generate_series(1, %d) i`, rows),
		`RESET ROLE`, `VACUUM ANALYZE bench_orders`)
	if err != nil {
		return err
	}
	var observed, plain series
	for range min(b.n, migrationRuns) {
		for _, run := range []struct {
			observe bool
			to      *series
		}{{true, &observed}, {false, &plain}} {
			took, err := migrate(ctx, server, "bench_origin", ownMigrations(), run.observe)
			if err != nil {
				return err
			}
			run.to.addMS(took)
		}
	}
	b.record(observed.result("migrate_observed_ms", "ms").beside("the same migrations without looking on", plain),
		map[string]any{"migrations": len(ownMigrations()), "rows": rows, "tool": migrations.GolangMigrate})
	return nil
}

// measureManyMigrations applies migrations that do next to nothing, observed as always.
func (b *bench) measureManyMigrations(ctx context.Context, server *postgres) error {
	bodies := make([]string, manyMigrations)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("CREATE TABLE t%d (id int)", i)
	}
	var took series
	for range min(b.n, migrationRuns) {
		d, err := migrate(ctx, server, "", bodies, true)
		if err != nil {
			return err
		}
		took.add(d.Seconds())
	}
	b.record(took.result("migrate_300_s", "s"), map[string]any{"migrations": manyMigrations, "observed": true, "tool": migrations.GolangMigrate})
	return nil
}

// measureSchemaDiff compares a large schema before and after one change: two readings of the catalog, and the comparison.
func (b *bench) measureSchemaDiff(ctx context.Context, server *postgres) error {
	err := server.exec(ctx, "postgres", `CREATE DATABASE bench_schema OWNER `+databaseOwner)
	if err == nil {
		err = server.exec(ctx, "bench_schema", `SET ROLE `+databaseOwner, fmt.Sprintf(`DO $$ BEGIN FOR i IN 1..%d LOOP
			EXECUTE format('CREATE TABLE t%%s (id bigint PRIMARY KEY, a text NOT NULL, b text DEFAULT ''x'', c int CHECK (c > 0), d numeric(10, 2),
				e timestamptz DEFAULT now(), f jsonb, g uuid, h text, i text)', i);
			EXECUTE format('CREATE INDEX ON t%%s (a); CREATE INDEX ON t%%s (e, c)', i, i); COMMIT; END LOOP; END $$`, manyTables))
	}
	if err != nil {
		return err
	}
	conn, err := asOwner(ctx, server, "bench_schema")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	var took series
	objects := 0
	for i := range b.n {
		begin := time.Now()
		before, err := schemadiff.Take(ctx, conn)
		if err != nil {
			return err
		}
		elapsed := time.Since(begin)
		if _, err := conn.Exec(ctx, fmt.Sprintf("ALTER TABLE t%d ADD COLUMN added%d int", 1+i%manyTables, i)); err != nil {
			return fmt.Errorf("change the schema: %w", err)
		}
		begin = time.Now()
		after, err := schemadiff.Take(ctx, conn)
		if err != nil {
			return err
		}
		diff := schemadiff.Compare(before, after)
		took.addMS(elapsed + time.Since(begin))
		if len(diff.Changes) != 1 {
			return fmt.Errorf("one column was added, and the diff has %d changes", len(diff.Changes))
		}
		objects = len(after.Objects)
	}
	b.record(took.result("schema_diff_1000_ms", "ms"), map[string]any{"tables": manyTables, "objects": objects})
	return nil
}
