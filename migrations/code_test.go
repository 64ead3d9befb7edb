package migrations_test

import (
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
)

// TestCode reads histories whose migrations are code, each in the form that its tool writes, and compares them with what its tracking
// table has after the first of them.
func TestCode(t *testing.T) {
	t.Parallel()
	file := func(path, text string) migrations.File { return migrations.File{Path: path, Content: []byte(text)} }
	for tool, test := range map[string]struct {
		files    []migrations.File
		versions string
		applied  []string
		pending  string
	}{
		"rails": {
			files:    []migrations.File{file("db/migrate/002_b.rb", ""), file("db/migrate/20240101000000_c.rb", ""), file("db/migrate/001_a.rb", ""), file("db/schema.rb", "")},
			versions: "1 2 20240101000000", applied: []string{"1", "20240101000000"}, pending: "2",
		},
		"ecto": {
			files:    []migrations.File{file("priv/repo/migrations/20240102000000_b.exs", ""), file("priv/repo/migrations/20240101000000_a.exs", ""), file("priv/repo/migrations/.formatter.exs", "")},
			versions: "20240101000000 20240102000000", applied: []string{"20240101000000"}, pending: "20240102000000",
		},
		"django": {
			files: []migrations.File{
				file("shop/migrations/__init__.py", ""), file("shop/migrations/0001_initial.py", "class Migration(migrations.Migration):"),
				file("src/billing/migrations/0001_initial.py", "class Migration(migrations.Migration):"), file("shop/models.py", "Migration"),
			},
			versions: "shop.0001_initial billing.0001_initial", applied: []string{"auth.0001_initial", "shop.0001_initial"}, pending: "billing.0001_initial",
		},
		"alembic": {
			files: []migrations.File{
				file("alembic/versions/9_first.py", "revision = \"9\"\ndown_revision = None\n"),
				file("alembic/versions/5_left.py", "revision: str = '5'\ndown_revision: Union[str, None] = '9'\n"),
				file("alembic/versions/1_merge.py", "revision = '1'\ndown_revision = ('5', '7')\n"),
				file("alembic/versions/7_right.py", "revision = '7'\ndown_revision = '9'\n"),
			},
			versions: "9 5 7 1", applied: []string{"5"}, pending: "7 1",
		},
		"knex": {
			files:    []migrations.File{file("migrations/1_a.js", ""), file("migrations/2_b.ts", ""), file("migrations/types.d.ts", "")},
			versions: "1_a.js 2_b.ts", applied: []string{"1_a.js"}, pending: "2_b.ts",
		},
		"sequelize": {
			files:    []migrations.File{file("migrations/1-a.js", ""), file("migrations/2-b.cjs", "")},
			versions: "1-a.js 2-b.cjs", applied: []string{"1-a.js"}, pending: "2-b.cjs",
		},
		"typeorm": {
			files: []migrations.File{
				file("src/migrations/b.ts", "export class Second1700000000002 implements MigrationInterface {\n"),
				file("src/migrations/a.ts", "export class X implements MigrationInterface {\n  name = 'First1700000000001'\n"), file("src/migrations/index.ts", "export * from './a'"),
			},
			versions: "First1700000000001 Second1700000000002", applied: []string{"First1700000000001"}, pending: "Second1700000000002",
		},
		"prisma-client": {
			files:    []migrations.File{file("prisma/migrations/1_a/migration.sql", ""), file("prisma/migrations/2_b/migration.sql", ""), file("prisma/migrations/migration_lock.toml", "")},
			versions: "1_a 2_b", applied: []string{"1_a"}, pending: "2_b",
		},
		"command": {files: []migrations.File{file("db/a", "")}, versions: "", pending: ""},
	} {
		history, err := migrations.Parse(mayfly.MigrationSettings{Tool: tool}, test.files)
		if err != nil {
			t.Errorf("%s: %v", tool, err)
			continue
		}
		if got := versions(history.Migrations); got != test.versions {
			t.Errorf("%s: the versions are %q, not %q", tool, got, test.versions)
		}
		state := migrations.State{Exists: true}
		for _, v := range test.applied {
			state.Applied = append(state.Applied, migrations.Applied{Version: v})
		}
		plan, err := history.Pending(state)
		if err != nil || versions(plan.Pending) != test.pending {
			t.Errorf("%s: pending is %q (%v), not %q", tool, versions(plan.Pending), err, test.pending)
		}
		if slices.ContainsFunc(plan.Findings, func(f migrations.Finding) bool { return f.Kind == migrations.FindingMissing }) {
			t.Errorf("%s: something is missing: %+v", tool, plan.Findings)
		}
	}
}

func versions(all []migrations.Migration) string {
	list := make([]string, len(all))
	for i, m := range all {
		list[i] = m.Version
	}
	return strings.Join(list, " ")
}

// What another branch was faster to merge than is told: it runs in another order than on a new database.
func TestCodeOutOfOrder(t *testing.T) {
	t.Parallel()
	for tool, names := range map[string][3]string{
		"rails":     {"db/migrate/20240101000000_a.rb", "db/migrate/20240102000000_b.rb", "20240102000000"},
		"ecto":      {"priv/repo/migrations/9_a.exs", "priv/repo/migrations/10_b.exs", "10"},
		"knex":      {"migrations/20240101000000_a.js", "migrations/20240102000000_b.js", "20240102000000_b.js"},
		"sequelize": {"migrations/1-a.js", "migrations/2-b.js", "2-b.js"},
	} {
		settings := mayfly.MigrationSettings{Tool: tool}
		history, err := migrations.Parse(settings, []migrations.File{{Path: names[0]}, {Path: names[1]}})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := history.Compare(migrations.Comparison{State: migrations.State{Current: names[2], Applied: []migrations.Applied{{Version: names[2]}}}})
		if err != nil || len(plan.Pending) != 1 || len(plan.Migrations) != 2 || plan.Migrations[0].Status != migrations.StatusOutOfOrder {
			t.Errorf("%s: %v, pending %+v, status %+v", tool, err, plan.Pending, plan.Migrations)
		}
	}
}
