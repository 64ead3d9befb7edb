package templates

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// migrationTool is how the tracking table of a migration tool tells that a migration did not finish.
type migrationTool struct {
	name    string
	table   string   // its usual name
	columns []string // that tell it from other tables of that name
	// unfinished lists what did not finish, as text; %s is the table.
	unfinished string
	// applied lists what the table says is done, by names that people gave; "" if it holds numbers alone.
	applied string
	advice  string
}

func migrationTools() []migrationTool {
	return []migrationTool{
		{
			name: "golang-migrate", table: "schema_migrations", columns: []string{"version", "dirty"},
			unfinished: `SELECT 'version ' || version FROM %s WHERE dirty`,
			advice:     "look at which statements of that migration are there, finish or undo them by hand, then `migrate force` the version; until then each preview refuses its migrations, too",
		},
		{
			name: "Flyway", table: "flyway_schema_history", columns: []string{"installed_rank", "script", "success"},
			unfinished: `SELECT coalesce('version ' || version, 'repeatable') || ', ' || script FROM %s WHERE NOT success ORDER BY installed_rank`,
			applied:    `SELECT description FROM %s WHERE success AND type <> 'SCHEMA' ORDER BY installed_rank`,
			advice:     "finish or undo its statements by hand, then `flyway repair`",
		},
		{
			name: "Prisma", table: "_prisma_migrations", columns: []string{"migration_name", "finished_at", "rolled_back_at"},
			unfinished: `SELECT migration_name || ' (' || applied_steps_count || ' steps applied)' FROM %s WHERE finished_at IS NULL AND rolled_back_at IS NULL ORDER BY started_at`,
			applied:    `SELECT migration_name FROM %s WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY started_at`,
			advice:     "`prisma migrate resolve` with --applied or --rolled-back, after finishing or undoing its statements by hand",
		},
		{
			name: "Alembic", table: "alembic_version", columns: []string{"version_num"},
			unfinished: `SELECT 'head ' || version_num FROM %[1]s WHERE (SELECT pg_catalog.count(*) FROM %[1]s) > 1 ORDER BY 1`,
			advice:     "`alembic merge` the heads: with several, `alembic upgrade head` refuses",
		},
		{
			name: "Liquibase", table: "databasechangeloglock", columns: []string{"locked", "lockedby"},
			unfinished: `SELECT 'lock ' || id FROM %s WHERE locked`,
			advice:     "an update was cut off: compare databasechangelog with the schema, then `liquibase release-locks`",
		},
		{
			name: "Atlas", table: "atlas_schema_revisions", columns: []string{"version", "applied", "total", "error"},
			unfinished: `SELECT 'version ' || version || ' (' || applied || ' of ' || total || ' statements applied)' FROM %s WHERE applied < total OR error <> '' ORDER BY 1`,
			advice:     "`atlas migrate set`, after finishing or undoing its statements by hand",
		},
		{
			name: "Knex", table: "knex_migrations_lock", columns: []string{"is_locked"},
			unfinished: `SELECT 'lock' FROM %s WHERE is_locked = 1 LIMIT 1`,
			advice:     "a run was cut off: compare knex_migrations with the schema, then `knex migrate:unlock`",
		},
		{
			name: "Knex", table: "knex_migrations", columns: []string{"name", "batch"},
			applied: `SELECT name FROM %s ORDER BY id`,
		},
		{
			name: "Sequelize", table: "SequelizeMeta", columns: []string{"name"},
			applied: `SELECT name FROM %s ORDER BY name`,
		},
		{
			name: "Django", table: "django_migrations", columns: []string{"app", "name", "applied"},
		},
	}
}

const trackingQuery = `
SELECT n.nspname, c.relname, pg_catalog.array_agg(a.attname::text)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind = 'r' AND (c.relname = ANY ($1::text[]) OR n.nspname || '.' || c.relname = $2 OR c.relname = $2) AND ` + userObject + `
GROUP BY 1, 2 ORDER BY 1, 2`

// checkMigrations reads the tracking tables of migration tools: an upgrade of production may have ended half-way.
func (r *run) checkMigrations(ctx context.Context, conn *pgx.Conn) error {
	var names []string
	for _, tool := range migrationTools() {
		names = append(names, tool.table)
	}
	custom := r.req.Project.Migrations.Table
	rows, err := conn.Query(ctx, trackingQuery, names, custom)
	if err != nil {
		return fmt.Errorf("look for tables of migration tools: %w", err)
	}
	type tracking struct {
		relation
		columns []string
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t tracking, err error) {
		return t, row.Scan(&t.schema, &t.name, &t.columns)
	})
	if err != nil {
		return fmt.Errorf("look for tables of migration tools: %w", err)
	}
	for _, t := range found {
		for _, tool := range migrationTools() {
			isCustom := custom != "" && tool.name == "golang-migrate" && (t.name == custom || t.String() == custom)
			if (t.name == tool.table || isCustom) && !slices.ContainsFunc(tool.columns, func(c string) bool { return !slices.Contains(t.columns, c) }) {
				r.checkTracking(ctx, conn, t.relation, tool)
			}
		}
	}
	return nil
}

// checkTracking asks one table. What cannot be asked, because columns are masked or a version of the tool differs, is not.
func (r *run) checkTracking(ctx context.Context, conn *pgx.Conn, on relation, tool migrationTool) {
	if masker := r.plan.Table(on.schema, on.name); masker == nil || !masker.Passthrough() {
		return // masked names and numbers say nothing
	}
	ask := func(query string) []string {
		if query == "" {
			return nil
		}
		rows, err := conn.Query(ctx, strings.ReplaceAll(strings.ReplaceAll(query, "%[1]s", on.sql()), "%s", on.sql()))
		if err != nil {
			return nil
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return nil
		}
		return all
	}
	applied := ask(tool.applied)
	if unfinished := ask(tool.unfinished); len(unfinished) > 0 {
		missing := r.missingTables(ctx, conn, unfinished)
		f := Finding{
			Code: codeMigrationUnfinished, Severity: SeverityWarning, Object: "table " + on.String(),
			Cause: tool.name + " says that migrations of the source did not finish: " + strings.Join(firstFew(unfinished), "; "),
			Done:  "taken over as it is", Advice: tool.advice, Count: int64(len(unfinished)),
		}
		if len(missing) > 0 {
			f.Cause += "; by their names, they would have made " + strings.Join(firstFew(missing), ", ") + ", which the schema lacks"
			f.Samples = firstFew(missing)
		}
		r.target.find(f)
	}
	if missing := r.missingTables(ctx, conn, applied); len(missing) > 0 {
		r.target.find(Finding{
			Code: codeMigrationMissing, Severity: SeverityWarning, Object: "table " + on.String(),
			Cause:  tool.name + " says that migrations are applied that, by their names, made tables which the schema lacks",
			Done:   "taken over as it is",
			Advice: "if no later migration dropped or renamed them, an upgrade of the source ended half-way: compare the migration with the schema",
			Count:  int64(len(missing)), Samples: firstFew(missing),
		})
	}
}

var (
	createdTable = regexp.MustCompile(`(?i)(?:^|[\s_.-])create[\s_-]+(?:table[\s_-]+)?([a-z][a-z0-9_ -]*?)(?:[\s_-]+table)?(?:\.[a-z]+)?$`)
	otherObject  = regexp.MustCompile(`(?i)\b(?:index|indexes|view|function|trigger|type|enum|extension|schema|role|user|constraint|policy|sequence|database)\b`)
)

// missingTables returns the tables that migrations called "create …" should have made and that are not there, unless a later one
// is about that table, which may have dropped or renamed it.
func (r *run) missingTables(ctx context.Context, conn *pgx.Conn, migrations []string) []string {
	var missing []string
	for i, name := range migrations {
		name, _, _ = strings.Cut(name, " (")
		name = name[strings.LastIndex(name, ", ")+1:]
		m := createdTable.FindStringSubmatch(strings.TrimSpace(name))
		if m == nil || otherObject.MatchString(strings.NewReplacer("_", " ", "-", " ").Replace(m[1])) {
			continue
		}
		table := strings.ToLower(strings.NewReplacer(" ", "_", "-", "_").Replace(m[1]))
		changed := slices.ContainsFunc(migrations[i+1:], func(later string) bool {
			later = strings.ToLower(strings.NewReplacer(" ", "_", "-", "_").Replace(later))
			return strings.Contains(later, "drop") || strings.Contains(later, "rename") || strings.Contains(later, "remove") || strings.Contains(later, "delete")
		})
		if changed || strings.Contains(table, "_and_") {
			continue
		}
		var there bool
		err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relkind IN ('r', 'p', 'f', 'v', 'm')
			AND pg_catalog.replace(pg_catalog.lower(c.relname), '_', '') IN (SELECT pg_catalog.replace($1, '_', '') || e FROM pg_catalog.unnest(ARRAY['', 's', 'es']) e
				UNION SELECT pg_catalog.regexp_replace(pg_catalog.replace($1, '_', ''), 'y$', 'ies') UNION SELECT pg_catalog.regexp_replace(pg_catalog.replace($1, '_', ''), 's$', '')))`, table).Scan(&there)
		if err == nil && !there {
			missing = append(missing, "table "+table)
		}
	}
	return missing
}
