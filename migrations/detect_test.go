package migrations

import (
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func TestDetect(t *testing.T) {
	t.Parallel()
	table := func(name string, columns ...string) TrackingTable {
		schema := "public"
		if before, after, ok := strings.Cut(name, "."); ok {
			schema, name = before, after
		}
		return TrackingTable{Schema: schema, Name: name, Columns: columns}
	}
	golang := table("schema_migrations", "version bigint", "dirty boolean")
	versions := table("schema_migrations", "version character varying")
	metadata := table("ar_internal_metadata", "key character varying", "value character varying")
	sqlxTable := table("_sqlx_migrations", "version bigint", "description text", "installed_on timestamp with time zone", "success boolean", "checksum bytea", "execution_time bigint")
	empty := versions
	empty.Empty = true
	tests := []struct {
		name   string
		files  []string // path, content
		tables []TrackingTable
		want   string
		err    string
	}{
		{name: "nothing"},
		{name: "goose by its annotation", files: []string{"m/1_a.sql", "-- +goose Up\nSELECT 1;"}, want: Goose},
		{name: "dbmate by its annotation", files: []string{"m/1_a.sql", "-- migrate:up\n-- migrate:down"}, tables: []TrackingTable{versions}, want: Dbmate},
		{name: "flyway by its names", files: []string{"m/V1__a.sql", ""}, want: Flyway},
		{name: "flyway's repeatable ones", files: []string{"m/R__views.sql", ""}, want: Flyway},
		{name: "atlas by its sum", files: []string{"m/1_a.sql", "", "m/atlas.sum", ""}, want: Atlas},
		{name: "prisma", files: []string{"m/migration_lock.toml", "", "m/1_a/migration.sql", ""}, want: Prisma},
		{name: "drizzle", files: []string{"m/0000_a.sql", "", "m/meta/_journal.json", "{}"}, want: Drizzle},
		{name: "diesel", files: []string{"m/2024-01-01-120000_a/up.sql", ""}, want: Diesel},
		{name: "supabase by its directory", files: []string{"supabase/migrations/20240101120000_a.sql", ""}, want: Supabase},
		{name: "liquibase", files: []string{"m/a.sql", "--liquibase formatted sql\n--changeset a:1"}, want: Liquibase},
		{name: "sqitch", files: []string{"m/sqitch.plan", "%project=a"}, want: Sqitch},
		{name: "rails", files: []string{"db/migrate/20240101120000_a.rb", ""}, tables: []TrackingTable{versions, metadata}, want: Rails},
		{name: "ecto", files: []string{"m/20240101120000_a.exs", ""}, want: Ecto},
		{name: "alembic", files: []string{"m/versions/ab12_a.py", "down_revision = None"}, want: Alembic},
		{name: "django", files: []string{"m/0001_initial.py", "class Migration(migrations.Migration)"}, want: Django},
		{name: "pairs without a table", files: []string{"m/1_a.up.sql", "", "m/1_a.down.sql", ""}, want: GolangMigrate},
		{name: "pairs with golang-migrate's table", files: []string{"m/1_a.up.sql", ""}, tables: []TrackingTable{golang}, want: GolangMigrate},
		{name: "pairs with sqlx's table", files: []string{"m/1_a.up.sql", ""}, tables: []TrackingTable{sqlxTable}, want: SQLx},
		{name: "numbered without a table", files: []string{"m/001-a.sql", ""}, want: PlainSQL},
		{name: "numbered with sqlx's table", files: []string{"m/1_a.sql", ""}, tables: []TrackingTable{sqlxTable}, want: SQLx},
		{name: "a table that is empty decides nothing", files: []string{"m/1_a.up.sql", ""}, tables: []TrackingTable{empty}, want: GolangMigrate},
		{name: "the table is another tool's", files: []string{"m/1_a.sql", "-- +goose Up"}, tables: []TrackingTable{versions}, err: "every migration would look pending"},
		{name: "names fit, the table is another tool's", files: []string{"m/1_a.up.sql", ""}, tables: []TrackingTable{versions, metadata}, err: "rows of rails"},
		{name: "two marks", files: []string{"m/1_a.sql", "-- +goose Up", "m/V1__b.sql", ""}, err: "several tools: flyway, goose"},
		{name: "two marks, one table", files: []string{"m/1_a.sql", "-- +goose Up", "m/atlas.sum", ""}, tables: []TrackingTable{table("goose_db_version", "id integer", "version_id bigint", "is_applied boolean")}, want: Goose},
		{name: "tables alone: golang-migrate", tables: []TrackingTable{golang}, want: GolangMigrate},
		{name: "tables alone: dbmate", tables: []TrackingTable{versions}, want: Dbmate},
		{name: "tables alone: rails", tables: []TrackingTable{versions, metadata}, want: Rails},
		{name: "tables alone: ecto", tables: []TrackingTable{table("schema_migrations", "version bigint", "inserted_at timestamp without time zone")}, want: Ecto},
		{name: "tables alone: supabase", tables: []TrackingTable{table("supabase_migrations.schema_migrations", "version text", "statements text[]", "name text")}, want: Supabase},
		{name: "tables alone: two tools", tables: []TrackingTable{golang, sqlxTable}, err: "several tools"},
		{name: "a table of the application", tables: []TrackingTable{table("schema_migrations", "version character varying", "note text")}},
	}
	for _, test := range tests {
		var list []File
		for i := 0; i < len(test.files); i += 2 {
			list = append(list, File{Path: test.files[i], Content: []byte(test.files[i+1])})
		}
		got, err := Detect(list, test.tables)
		if test.err != "" {
			if mayfly.ErrorCode(err) != mayfly.CodeMigrationInvalid || !strings.Contains(err.Error(), test.err) || mayfly.ErrorHint(err) == "" {
				t.Errorf("%s: error %v (hint %q), want %q", test.name, err, mayfly.ErrorHint(err), test.err)
			}
			continue
		}
		if err != nil || got.Tool != test.want || got.Reason == "" {
			t.Errorf("%s: %+v, %v; want %q", test.name, got, err, test.want)
		}
	}
}

// What each tool leaves in a database leads back to it.
func TestResolve(t *testing.T) {
	t.Parallel()
	for _, n := range notations() {
		t.Run(n.tool, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.mustApply(t, n.settings(), n.list(shop()[:2]))
			settings := n.settings()
			settings.Tool = Auto
			got, found, err := Resolve(t.Context(), b.connect(t), settings, n.list(shop()))
			if err != nil || got.Tool != n.tool || !found.Native || !strings.Contains(found.Reason, "tracking table") {
				t.Errorf("resolved to %q, %+v, %v", got.Tool, found, err)
			}
		})
	}
}
