package provisioner

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// empty removes every row from a clone before anybody can connect to it, for a stranger's pull request: the rows of tables, large
// objects and materialized views, and what statistics and sequences tell of them. The tracking table of the migration tool stays, and
// what PostGIS itself brings. It runs as the admin role, so nothing in it may run code of the database: no trigger, no query of a
// view, no expression of an index over rows.
func (s *Service) empty(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview) error {
	project, err := s.projectFor(ctx, p)
	if err != nil {
		return err
	}
	return s.step(ctx, p, "remove rows", "", func(ctx context.Context) (string, error) {
		if _, err := conn.Exec(ctx, `set search_path = pg_catalog; set session_replication_role = replica; set lock_timeout = '10s'`); err != nil {
			return "", fmt.Errorf("prepare to remove rows: %w", err)
		}
		tables, err := rowTables(ctx, conn, trackingTables(project.Migrations))
		if err != nil {
			return "", fmt.Errorf("list the tables: %w", err)
		}
		if err := pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return removeRows(ctx, tx, tables) }); err != nil {
			return "", fmt.Errorf("remove the rows: %w", err)
		}
		if err := leaveNothing(ctx, conn, tables); err != nil {
			return "", err
		}
		_, err = conn.Exec(ctx, `reset session_replication_role; reset search_path; reset lock_timeout`)
		return fmt.Sprintf("of %d tables", len(tables)), err
	})
}

// rowTable is a table whose rows have to go.
type rowTable struct {
	OID          uint32
	Schema, Name string
}

func (t rowTable) quoted() string { return pgx.Identifier{t.Schema, t.Name}.Sanitize() }

func rowTables(ctx context.Context, conn *pgx.Conn, keep []string) ([]rowTable, error) {
	rows, err := conn.Query(ctx, `
		select c.oid, n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname !~ '^pg_toast'
			and not exists (
				select from pg_depend d join pg_extension e on e.oid = d.refobjid
				where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.refclassid = 'pg_extension'::regclass and d.deptype = 'e'
					and e.extname = 'postgis' and c.relname = 'spatial_ref_sys')
		order by 2, 3`)
	if err != nil {
		return nil, err
	}
	tables, err := pgx.CollectRows(rows, pgx.RowToStructByPos[rowTable])
	return slices.DeleteFunc(tables, func(t rowTable) bool {
		return slices.Contains(keep, t.Name) || slices.Contains(keep, t.Schema+"."+t.Name)
	}), err
}

// trackingTables returns the names under which the tool keeps track of what ran: rows about the repository, not the business. Without
// them a tool would take an empty database with every table in it for a new one.
func trackingTables(m mayfly.MigrationSettings) []string {
	byTool := map[string][]string{
		"golang-migrate": {"schema_migrations"}, "dbmate": {"schema_migrations"}, "rails": {"schema_migrations", "ar_internal_metadata"},
		"ecto": {"schema_migrations"}, "goose": {"goose_db_version"}, "flyway": {"flyway_schema_history"}, "prisma": {"_prisma_migrations"},
		"drizzle": {"drizzle.__drizzle_migrations"}, "sqlx": {"_sqlx_migrations"}, "diesel": {"__diesel_schema_migrations"},
		"supabase": {"supabase_migrations.schema_migrations"}, "atlas": {"atlas_schema_revisions.atlas_schema_revisions"},
		"liquibase": {"databasechangelog", "databasechangeloglock"}, "alembic": {"alembic_version"}, "django": {"django_migrations"},
		"sqitch": {
			"sqitch.changes", "sqitch.dependencies", "sqitch.events", "sqitch.projects", "sqitch.releases", "sqitch.tags",
		},
		"knex": {"knex_migrations", "knex_migrations_lock"}, "sequelize": {"SequelizeMeta"},
		"sql": {"mayfly_migrations"},
	}
	names := slices.Clone(byTool[m.Tool])
	if m.Tool == mayfly.MigrationToolAuto {
		for _, tool := range mayfly.MigrationTools() {
			names = append(names, byTool[tool]...)
		}
	}
	if m.Table != "" {
		names = append(names, strings.ReplaceAll(m.Table, `"`, ""))
	}
	return names
}

// removeRows empties the tables in one statement, foreign keys and all.
func removeRows(ctx context.Context, tx pgx.Tx, tables []rowTable) error {
	restore, err := disableTriggers(ctx, tx)
	if err != nil {
		return err
	}
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = t.quoted()
	}
	if len(names) > 0 {
		if _, err := tx.Exec(ctx, `truncate `+strings.Join(names, ", ")+` restart identity`); err != nil {
			return err
		}
	}
	for _, sql := range restore {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	if err := emptyDerived(ctx, tx); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `
		select lo_unlink(oid) from pg_largeobject_metadata;
		delete from pg_statistic where starelid >= 16384;
		delete from pg_statistic_ext_data`)
	return err
}

// disableTriggers disables the few triggers that run in a session of replication too, and returns what makes them as they were.
func disableTriggers(ctx context.Context, tx pgx.Tx) (restore []string, err error) {
	rows, err := tx.Query(ctx, `
		select n.nspname, c.relname, t.tgname, t.tgenabled = 'A' from pg_trigger t join pg_class c on c.oid = t.tgrelid
			join pg_namespace n on n.oid = c.relnamespace
		where t.tgenabled in ('A', 'R') and t.tgtype & 32 <> 0 and not t.tgisinternal`) // 32: TRUNCATE (pg_trigger.h)
	if err != nil {
		return nil, err
	}
	type trigger struct {
		Schema, Table, Name string
		Always              bool
	}
	triggers, err := pgx.CollectRows(rows, pgx.RowToStructByPos[trigger])
	if err != nil {
		return nil, err
	}
	for _, t := range triggers {
		table, name := pgx.Identifier{t.Schema, t.Table}.Sanitize(), pgx.Identifier{t.Name}.Sanitize()
		if _, err := tx.Exec(ctx, `alter table `+table+` disable trigger `+name); err != nil {
			return nil, err
		}
		how := "replica"
		if t.Always {
			how = "always"
		}
		restore = append(restore, `alter table `+table+` enable `+how+` trigger `+name)
	}
	return restore, nil
}

// emptyDerived empties materialized views, without running their queries, and starts all sequences anew.
func emptyDerived(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `
		select case c.relkind when 'm' then 'refresh materialized view ' || c.oid::regclass || ' with no data'
			else 'alter sequence ' || c.oid::regclass || ' restart' end
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relkind in ('m', 'S') and n.nspname not in ('pg_catalog', 'information_schema')`)
	if err != nil {
		return err
	}
	statements, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, sql := range statements {
		if _, err := tx.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// leaveNothing proves that the tables are empty, and rewrites the catalogs that had values of rows, so that their files have none either.
func leaveNothing(ctx context.Context, conn *pgx.Conn, tables []rowTable) error {
	oids := make([]uint32, len(tables))
	for i, t := range tables {
		oids[i] = t.OID
	}
	var left int
	err := conn.QueryRow(ctx, `
		select count(*) from pg_class c where (c.oid = any ($1) or c.relkind = 'm') and pg_relation_size(c.oid) > 0`, oids).Scan(&left)
	if err != nil {
		return fmt.Errorf("check that no rows are left: %w", err)
	}
	if left > 0 {
		return fmt.Errorf("%d tables still have rows", left)
	}
	for _, catalog := range []string{"pg_statistic", "pg_statistic_ext_data", "pg_largeobject"} {
		if _, err := conn.Exec(ctx, `vacuum (full) pg_catalog.`+catalog); err != nil {
			return fmt.Errorf("rewrite %s: %w", catalog, err)
		}
	}
	if _, err := conn.Exec(ctx, `checkpoint`); err != nil {
		return fmt.Errorf("write out that the rows are gone: %w", err)
	}
	return nil
}
