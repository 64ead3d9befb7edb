package migrations

import (
	"context"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// The tools that Detect knows and that are not applied natively: their migrations are code of the project, which runs as the
// project's own command.
const (
	Rails     = "rails"
	Ecto      = "ecto"
	Django    = "django"
	Alembic   = "alembic"
	Knex      = "knex"
	TypeORM   = "typeorm"
	Sequelize = "sequelize"
)

// TrackingTable is a table of a database that may be a migration tool's.
type TrackingTable struct {
	Schema string
	Name   string
	// Columns are "name type", with the types as format_type writes them.
	Columns []string
	// Empty is true if it has no rows.
	Empty bool
}

func (t TrackingTable) has(columns ...string) bool {
	for _, column := range columns {
		if !slices.ContainsFunc(t.Columns, func(c string) bool { return c == column || strings.HasPrefix(c, column+" ") }) {
			return false
		}
	}
	return true
}

func (t TrackingTable) label() string { return t.Schema + "." + t.Name }

// Detection says which tool a project uses, and how that was found out.
type Detection struct {
	// Tool is the name of the tool, "" if there is neither a file nor a table of one.
	Tool string `json:"tool"`
	// Native is true if it is one of Tools; the others run as a command of the project.
	Native bool `json:"native"`
	// Reason is in words.
	Reason string `json:"reason"`
}

// likeness is how much a file looks like a tool's.
type likeness int

const (
	// fits: its name could be this tool's, and others'.
	fits likeness = iota + 1
	// marked: it has something that only this tool uses.
	marked
)

var (
	flywayMark  = regexp.MustCompile(`^(V[0-9][0-9_.]*|R)__.+\.sql$`)
	updownMark  = regexp.MustCompile(`^[0-9]+_.*\.(up|down)\.sql$`)
	numberMark  = regexp.MustCompile(`^[0-9]+_.*\.sql$`)
	stampMark   = regexp.MustCompile(`^[0-9]{14}_[^/]*\.(rb|exs|sql)$`)
	djangoMark  = regexp.MustCompile(`^[0-9]{4}_[^/]*\.py$`)
	dieselMark  = regexp.MustCompile(`(^|/)[0-9][0-9-]*_[^/]*/up\.sql$`)
	gooseMark   = regexp.MustCompile(`(?mi)^--\s*\+goose\s+up\s*$`)
	liquibaseMk = regexp.MustCompile(`(?i)^(\x{FEFF})?\s*--\s*liquibase formatted sql`)
)

// marks tells for each tool how much one file looks like its own.
func marks(f File) map[string]likeness {
	base, text := path.Base(f.Path), string(f.Content)
	found := map[string]likeness{}
	mark := func(tool string, how likeness, yes bool) {
		if yes {
			found[tool] = max(found[tool], how)
		}
	}
	sql := strings.HasSuffix(base, ".sql")
	mark(Goose, marked, sql && gooseMark.MatchString(text))
	mark(Dbmate, marked, sql && dbmateUp.MatchString(text))
	mark(Flyway, marked, flywayMark.MatchString(base))
	mark(Liquibase, marked, sql && liquibaseMk.MatchString(text))
	mark(Atlas, marked, base == "atlas.sum")
	mark(Sqitch, marked, base == "sqitch.plan")
	mark(Prisma, marked, base == "migration_lock.toml")
	mark(Prisma, fits, base == "migration.sql")
	mark(Drizzle, marked, strings.HasSuffix(f.Path, "meta/_journal.json"))
	mark(Drizzle, fits, base == "migration.sql")
	mark(Diesel, marked, dieselMark.MatchString(f.Path))
	mark(Supabase, marked, strings.Contains("/"+f.Path, "/supabase/migrations/") && stampMark.MatchString(base))
	mark(GolangMigrate, fits, updownMark.MatchString(base))
	mark(SQLx, fits, numberMark.MatchString(base))
	mark(PlainSQL, fits, plainName.MatchString(base) && !updownMark.MatchString(base))
	markCode(base, text, mark)
	return found
}

// markCode knows the migrations that are code.
func markCode(base, text string, mark func(string, likeness, bool)) {
	script := slices.Contains([]string{".js", ".ts", ".mjs", ".cjs"}, path.Ext(base))
	mark(Rails, marked, stampMark.MatchString(base) && strings.HasSuffix(base, ".rb"))
	mark(Ecto, marked, stampMark.MatchString(base) && strings.HasSuffix(base, ".exs"))
	mark(Django, marked, djangoMark.MatchString(base) && strings.Contains(text, "migrations.Migration"))
	mark(Alembic, marked, strings.HasSuffix(base, ".py") && strings.Contains(text, "down_revision"))
	mark(TypeORM, marked, script && strings.Contains(text, "MigrationInterface"))
	mark(Sequelize, marked, script && strings.Contains(text, "queryInterface"))
	mark(Knex, marked, script && strings.Contains(text, "knex") && !strings.Contains(text, "queryInterface"))
}

// tableTool says whose tracking table a table is, "" for nobody's. schema_migrations has several owners, which differ in
// their columns and in what is beside it.
func tableTool(t TrackingTable, all []TrackingTable) string {
	beside := func(name string) bool {
		return slices.ContainsFunc(all, func(o TrackingTable) bool { return o.Schema == t.Schema && o.Name == name })
	}
	switch {
	case t.has("version_id bigint", "is_applied boolean"):
		return Goose
	case t.Schema == "supabase_migrations" && t.Name == "schema_migrations":
		return Supabase
	case t.has("version bigint", "dirty boolean"):
		return GolangMigrate
	case t.has("version bigint", "inserted_at"):
		return Ecto
	case t.has("version", "checksum bytea", "execution_time bigint"):
		return SQLx
	case t.has("version", "run_on"):
		return Diesel
	case t.has("installed_rank", "checksum integer", "success boolean"):
		return Flyway
	case t.has("migration_name", "applied_steps_count"):
		return Prisma
	case t.Name == "__drizzle_migrations" && t.has("hash", "created_at"):
		return Drizzle
	case t.has("version", "executed_at", "partial_hashes"):
		return Atlas
	case t.has("id", "author", "filename", "md5sum"):
		return Liquibase
	case t.has("change_id", "change", "project", "committer_name"):
		return Sqitch
	case t.Name == plainTable && t.has("version text", "checksum text", "duration_ms"):
		return PlainSQL
	case t.Name == dbmateTable && t.has("version character varying") && len(t.Columns) == 1:
		if beside("ar_internal_metadata") {
			return Rails
		}
		return Dbmate
	}
	return frameworkTable(t)
}

func frameworkTable(t TrackingTable) string {
	switch {
	case t.Name == "django_migrations" && t.has("app", "name", "applied"):
		return Django
	case t.Name == "alembic_version" && t.has("version_num"):
		return Alembic
	case t.Name == "knex_migrations" && t.has("name", "batch"):
		return Knex
	case t.Name == "SequelizeMeta" && t.has("name"):
		return Sequelize
	case t.Name == "migrations" && t.has("id", "timestamp bigint", "name"):
		return TypeORM
	}
	return ""
}

// Detect finds out which tool a project uses, from the files of its directory and the tables of its database. It is pure.
// The precedence:
//
//  1. Files with a mark that only one tool uses, such as "-- +goose Up", atlas.sum or V1__name.sql.
//  2. Files whose names several tools use (0001_x.up.sql, 20240101120000_x.sql): of these the one whose tracking table the
//     database has.
//  3. Without such a table golang-migrate for pairs of up and down files, and numbered SQL for the rest.
//  4. Without files, the tracking table.
//
// An *mayfly.Error with CodeMigrationInvalid says that files and tables contradict each other, or that files have the marks of
// several tools: the setting has to decide.
func Detect(files []File, tables []TrackingTable) (Detection, error) {
	best := map[string]likeness{}
	counts := map[string]int{}
	for _, f := range files {
		for tool, how := range marks(f) {
			best[tool] = max(best[tool], how)
			counts[tool]++
		}
	}
	owners := map[string]TrackingTable{}
	for _, t := range tables {
		if tool := tableTool(t, tables); tool != "" {
			owners[tool] = t
		}
	}
	byFiles := withLikeness(best, marked)
	switch {
	case len(byFiles) > 1:
		return detectAmong(byFiles, owners)
	case len(byFiles) == 1:
		return detectMarked(byFiles[0], owners)
	case len(best) > 0:
		return detectFitting(withLikeness(best, fits), owners, counts)
	}
	return detectTables(owners)
}

func withLikeness(best map[string]likeness, how likeness) []string {
	var tools []string
	for tool, l := range best {
		if l == how {
			tools = append(tools, tool)
		}
	}
	slices.Sort(tools)
	return tools
}

func detected(tool, format string, args ...any) (Detection, error) {
	return Detection{Tool: tool, Native: slices.Contains(Tools(), tool), Reason: fmt.Sprintf(format, args...)}, nil
}

func undecided(format string, args ...any) (Detection, error) {
	return Detection{}, mayfly.Errorf(mayfly.CodeMigrationInvalid, format, args...).WithHint("set migrations.tool to the one that the project uses")
}

// detectMarked checks that the table does not say that it is somebody else.
func detectMarked(tool string, owners map[string]TrackingTable) (Detection, error) {
	if own, ok := owners[tool]; ok {
		return detected(tool, "the files are marked as %s's, and %s is its tracking table", tool, own.label())
	}
	for _, other := range ownersOf(owners) {
		if t := owners[other]; !t.Empty {
			return undecided("the files are marked as %s's, and the database has no table of it, but %s with rows of %s: every migration would look pending",
				tool, t.label(), other)
		}
	}
	return detected(tool, "the files are marked as %s's", tool)
}

// detectAmong decides between several marks: atlas.sum may stand beside another tool's files, for example.
func detectAmong(tools []string, owners map[string]TrackingTable) (Detection, error) {
	var withTable []string
	for _, tool := range tools {
		if _, ok := owners[tool]; ok {
			withTable = append(withTable, tool)
		}
	}
	if len(withTable) == 1 {
		return detected(withTable[0], "the files have marks of %s, and %s is the tracking table of %s",
			strings.Join(tools, " and "), owners[withTable[0]].label(), withTable[0])
	}
	return undecided("the files have marks of several tools: %s", strings.Join(tools, ", "))
}

func detectFitting(tools []string, owners map[string]TrackingTable, counts map[string]int) (Detection, error) {
	var withTable []string
	for _, tool := range tools {
		if _, ok := owners[tool]; ok {
			withTable = append(withTable, tool)
		}
	}
	if len(withTable) == 1 {
		return detected(withTable[0], "the names of the files fit %s, and %s is its tracking table", withTable[0], owners[withTable[0]].label())
	}
	if len(withTable) > 1 {
		return undecided("the names of the files fit several tools whose tables the database has: %s", strings.Join(withTable, ", "))
	}
	for _, other := range ownersOf(owners) {
		if t := owners[other]; !t.Empty {
			return undecided("the names of the files fit %s, and the database has rows of %s in %s", strings.Join(tools, " and "), other, t.label())
		}
	}
	switch {
	case counts[GolangMigrate] > 0:
		return detected(GolangMigrate, "the files are pairs of .up.sql and .down.sql, and the database has no tracking table")
	case counts[Prisma] > 0:
		return undecided("the files could be prisma's or drizzle's, and the database has no table of either")
	case counts[PlainSQL] > 0:
		return detected(PlainSQL, "the files are numbered SQL without the mark of a tool, and the database has no tracking table")
	}
	return undecided("the names of the files fit %s", strings.Join(tools, " and "))
}

func detectTables(owners map[string]TrackingTable) (Detection, error) {
	tools := ownersOf(owners)
	switch len(tools) {
	case 0:
		return Detection{Reason: "there is neither a migration nor a tracking table"}, nil
	case 1:
		return detected(tools[0], "there are no files, and %s is the tracking table of %s", owners[tools[0]].label(), tools[0])
	}
	return undecided("there are no files, and the database has the tables of several tools: %s", strings.Join(tools, ", "))
}

func ownersOf(owners map[string]TrackingTable) []string {
	tools := make([]string, 0, len(owners))
	for tool := range owners {
		tools = append(tools, tool)
	}
	slices.Sort(tools)
	return tools
}

// trackingNames are the tables that Detect is given: their usual names.
func trackingNames() []string {
	return []string{
		gooseTable, dbmateTable, sqlxTable, dieselTable, plainTable, "ar_internal_metadata", "flyway_schema_history", "_prisma_migrations",
		"__drizzle_migrations", "atlas_schema_revisions", "databasechangelog", "changes", "django_migrations", "alembic_version",
		"knex_migrations", "SequelizeMeta", "migrations",
	}
}

// ReadTables lists the tables of a database that may be a migration tool's, settings.Table among them.
func ReadTables(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) ([]TrackingTable, error) {
	names := trackingNames()
	if settings.Table != "" {
		table, err := findTable(ctx, conn, settings.Table, "")
		if err != nil {
			return nil, err
		}
		names = append(names, table.name)
	}
	rows, err := conn.Query(ctx, `
		SELECT n.nspname::text, c.relname::text,
			coalesce((SELECT pg_catalog.array_agg(a.attname || ' ' || pg_catalog.format_type(a.atttypid, NULL) ORDER BY a.attnum)
				FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), '{}')
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind = 'r' AND c.relname = ANY($1) AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'
		ORDER BY 1, 2`, pgx.QueryExecModeExec, names)
	if err != nil {
		return nil, fmt.Errorf("look for tracking tables: %w", err)
	}
	tables, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (TrackingTable, error) {
		var t TrackingTable
		return t, row.Scan(&t.Schema, &t.Name, &t.Columns)
	})
	if err != nil {
		return nil, fmt.Errorf("look for tracking tables: %w", err)
	}
	for i := range tables {
		name := pgx.Identifier{tables[i].Schema, tables[i].Name}.Sanitize()
		err := conn.QueryRow(ctx, `SELECT NOT EXISTS (SELECT FROM `+name+`)`, pgx.QueryExecModeExec).Scan(&tables[i].Empty)
		if asPgError(err) != nil { // not readable for this role: it counts as having rows
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look into %s: %w", tables[i].label(), err)
		}
	}
	return tables, nil
}

// Resolve replaces Auto in settings by the tool that files and database show. Other settings it returns as they are. A
// tool that is not native is an *mayfly.Error with CodeMigrationInvalid, with the Detection filled in.
func Resolve(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings, files []File) (mayfly.MigrationSettings, Detection, error) {
	if settings.Tool != Auto {
		return settings, Detection{Tool: settings.Tool, Native: native(settings.Tool) != nil, Reason: "it is set"}, nil
	}
	tables, err := ReadTables(ctx, conn, settings)
	if err != nil {
		return settings, Detection{}, err
	}
	found, err := Detect(filesBelow(settings, files), tables)
	if err != nil {
		return settings, found, err
	}
	settings.Tool = found.Tool
	if Code(settings) && settings.Runner.Image == "" {
		return settings, found, invalid("name the image of the project that it can run in: migrations.runner.image (docs/migrations.md, \"Rails, Django and others\")",
			"the project uses %s (%s), whose migrations are code: they run as the project's own command", found.Tool, found.Reason)
	}
	return settings, found, nil
}
