package provisioner_test

import (
	"context"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/migrations/runner"
	"github.com/mayflydb/mayfly/provisioner"
)

// runs makes the bed's project one whose migrations are code.
func (b *bed) runs(t *testing.T, settings mayfly.MigrationSettings) {
	t.Helper()
	settings.Runner.Image = pgtest.RunnerImage(t)
	b.projects.change(func(p *mayfly.Project) { p.Migrations = settings })
	client, ok := b.opts.Forge.(*forge.Client)
	if !ok {
		t.Fatal("the bed's forge is no client")
	}
	b.opts.Code = &provisioner.Code{
		Engine: pgtest.Engine(t), Program: pgtest.Relay(t),
		Archive: func(ctx context.Context, repositoryID int64, sha string) (io.ReadCloser, error) {
			return client.Archive(ctx, repositoryID, sha)
		},
	}
	b.opts.WatchDisk = pgtest.Pool(t).Describe().Quota == "" // as the daemon has it
	b.Service = provisioner.New(b.opts)
}

// codeProject is a repository of one tool: what every commit has, two migrations, and a third that comes later.
type codeProject struct {
	settings           mayfly.MigrationSettings
	base, first, later map[string]string
	tracked            string // a query for what the tool has recorded, in one text
	want, wantLater    string
}

func tools() map[string]codeProject {
	const rakefile = `
require "active_record"
ActiveRecord::Base.schema_migrations_table_name = "rails_migrations"
ActiveRecord::Base.establish_connection(ENV.fetch("DATABASE_URL"))
namespace :db do
  task :migrate do
    ActiveRecord::Tasks::DatabaseTasks.env = "production"
    ActiveRecord::MigrationContext.new("db/migrate", ActiveRecord::SchemaMigration).migrate
    File.write("db/schema.rb", "# written by the run")
  end
end
`
	const manage = `
import os, sys
from urllib.parse import urlsplit, unquote
from django.conf import settings
url = urlsplit(os.environ["DATABASE_URL"])
settings.configure(INSTALLED_APPS=["shop"], SECRET_KEY="x", DEFAULT_AUTO_FIELD="django.db.models.AutoField", USE_TZ=True, DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "USER": unquote(url.username), "PASSWORD": unquote(url.password),
    "HOST": url.hostname, "PORT": url.port}})
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
`
	django := func(dependency, operation string) string {
		return "from django.db import migrations, models\nclass Migration(migrations.Migration):\n    dependencies = [" + dependency + "]\n    operations = [" + operation + "]\n"
	}
	alembic := func(id, down, upgrade string) string {
		return "from alembic import op\nimport sqlalchemy as sa\nrevision = '" + id + "'\ndown_revision = " + down + "\ndef upgrade():\n    " + upgrade + "\n"
	}
	knex := func(up string) string {
		return "exports.up = (knex) => knex.schema." + up + ";\nexports.down = () => {};\n"
	}
	return map[string]codeProject{
		"rails": {
			settings: mayfly.MigrationSettings{Tool: runner.Rails, Table: "rails_migrations", Runner: mayfly.RunnerSettings{Command: []string{"rake", "db:migrate"}}},
			base:     map[string]string{"Rakefile": rakefile},
			first: map[string]string{
				"db/migrate/20240101000000_create_orders.rb": "class CreateOrders < ActiveRecord::Migration[6.1]\n  def change\n    create_table(:orders) { |t| t.integer :total }\n  end\nend\n",
				"db/migrate/20240102000000_fill_orders.rb":   "class FillOrders < ActiveRecord::Migration[6.1]\n  def up\n    3.times { |n| execute \"insert into orders (total) values (#{n})\" }\n  end\nend\n",
			},
			later:   map[string]string{"db/migrate/20240103000000_add_note.rb": "class AddNote < ActiveRecord::Migration[6.1]\n  def change\n    add_column :orders, :note, :text\n  end\nend\n"},
			tracked: "select string_agg(version, ' ' order by version) from rails_migrations",
			want:    "20240101000000 20240102000000", wantLater: "20240101000000 20240102000000 20240103000000",
		},
		"django": {
			settings: mayfly.MigrationSettings{Tool: runner.Django, Runner: mayfly.RunnerSettings{Command: []string{"python3", "manage.py", "migrate", "--noinput"}}},
			base:     map[string]string{"manage.py": manage, "shop/__init__.py": "", "shop/migrations/__init__.py": ""},
			first: map[string]string{
				"shop/migrations/0001_initial.py": django("", "migrations.CreateModel('Order', [('id', models.AutoField(primary_key=True)), ('total', models.IntegerField())], {'db_table': 'orders'})"),
				"shop/migrations/0002_fill.py":    django("('shop', '0001_initial')", "migrations.RunSQL('insert into orders (total) select n from generate_series(1, 3) n')"),
			},
			later:   map[string]string{"shop/migrations/0003_note.py": django("('shop', '0002_fill')", "migrations.AddField('Order', 'note', models.TextField(null=True))")},
			tracked: "select string_agg(name, ' ' order by id) from django_migrations where app = 'shop'",
			want:    "0001_initial 0002_fill", wantLater: "0001_initial 0002_fill 0003_note",
		},
		"alembic": {
			settings: mayfly.MigrationSettings{Tool: runner.Alembic},
			base: map[string]string{
				"alembic.ini":    "[alembic]\nscript_location = alembic\n",
				"alembic/env.py": "import os\nfrom alembic import context\nfrom sqlalchemy import create_engine\nwith create_engine(os.environ['DATABASE_URL']).connect() as c:\n    context.configure(connection=c)\n    with context.begin_transaction():\n        context.run_migrations()\n",
			},
			first: map[string]string{
				"alembic/versions/b2_fill.py":   alembic("b2", "'a1'", "op.execute('insert into orders (total) select n from generate_series(1, 3) n')"),
				"alembic/versions/a1_orders.py": alembic("a1", "None", "op.create_table('orders', sa.Column('id', sa.Integer, primary_key=True), sa.Column('total', sa.Integer))"),
			},
			later:   map[string]string{"alembic/versions/c3_note.py": alembic("c3", "'b2'", "op.add_column('orders', sa.Column('note', sa.Text))")},
			tracked: "select version_num from alembic_version",
			want:    "b2", wantLater: "c3",
		},
		"knex": {
			settings: mayfly.MigrationSettings{Tool: runner.Knex, Runner: mayfly.RunnerSettings{Link: map[string]string{"node_modules": "/opt/knex/node_modules"}}},
			base:     map[string]string{"knexfile.js": "module.exports = { client: 'pg', connection: process.env.DATABASE_URL };\n"},
			first: map[string]string{
				"migrations/20240101000000_orders.js": knex("createTable('orders', (t) => { t.increments('id'); t.integer('total'); })"),
				"migrations/20240102000000_fill.js":   knex("raw('insert into orders (total) select n from generate_series(1, 3) n')"),
			},
			later:   map[string]string{"migrations/20240103000000_note.js": knex("alterTable('orders', (t) => { t.text('note'); })")},
			tracked: "select string_agg(name, ' ' order by id) from knex_migrations",
			want:    "20240101000000_orders.js 20240102000000_fill.js", wantLater: "20240101000000_orders.js 20240102000000_fill.js 20240103000000_note.js",
		},
	}
}

func merged(all ...map[string]string) map[string]string {
	files := map[string]string{}
	for _, some := range all {
		maps.Copy(files, some)
	}
	return files
}

// TestProjectsOwnCommand runs real tools on real previews: what is pending, then a commit that adds to it in place, then one
// that changes what is applied, for which the preview is rebuilt.
func TestProjectsOwnCommand(t *testing.T) {
	t.Parallel()
	for name, tool := range tools() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.runs(t, tool.settings)
			pr := b.open(t, "orders", merged(tool.base, tool.first))
			p := b.ready(t, pr)
			if got := b.query(t, p, tool.tracked); got != tool.want {
				t.Errorf("the tool has recorded %q, not %q", got, tool.want)
			}
			if rows := b.query(t, p, "select count(*)::text from orders"); rows != "3" {
				t.Errorf("the table has %s rows, not 3", rows)
			}
			report := b.reportOf(t, p)
			if len(report.Applied) != 2 || len(report.Pending) != 0 || report.Run == nil || report.Run.ExitCode != 0 || report.Run.WALBytes <= 0 {
				t.Errorf("the report is %+v; the run: %+v", report, report.Run)
			}
			if report.Schema == nil || !strings.Contains(report.Schema.Text(), "orders") || strings.Contains(report.Schema.Text(), "alembic_version") {
				t.Errorf("the differences are %+v", report.Schema)
			}
			inserted := int64(0)
			for _, d := range report.Data {
				if d.Table == "public.orders" {
					inserted = d.Inserted
				}
			}
			if inserted != 3 {
				t.Errorf("rows written: %+v, not 3 inserted into orders", report.Data)
			}
			generation := p.Generation
			b.push(t, pr, tool.later)
			p = b.ready(t, pr)
			if got := b.query(t, p, tool.tracked); got != tool.wantLater || p.Generation != generation {
				t.Errorf("the tool has recorded %q in generation %d, not %q in %d", got, p.Generation, tool.wantLater, generation)
			}
			if report := b.reportOf(t, p); len(report.Applied) != 3 || len(report.Pending) != 0 {
				t.Errorf("the report of both is %+v", report)
			}
			for path, text := range tool.first {
				b.push(t, pr, map[string]string{path: text + "\n"})
				break
			}
			if p = b.ready(t, pr); p.Generation == generation {
				t.Error("an applied migration was edited, and the preview is not rebuilt")
			}
			b.noRunsLeft(t, p)
		})
	}
}

// noRunsLeft looks for volumes of runs.
func (b *bed) noRunsLeft(t *testing.T, p *mayfly.Preview) {
	t.Helper()
	volumes, err := b.shelf.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		if strings.HasPrefix(v.ID, p.ID) && strings.HasSuffix(v.ID, "-run") {
			t.Errorf("the volume %s is left of a run", v.ID)
		}
	}
}

// command is a project that has its own way.
func command(script string) mayfly.MigrationSettings {
	return mayfly.MigrationSettings{Tool: runner.Command, Path: "db", Runner: mayfly.RunnerSettings{Command: []string{"/bin/bash", "-euc", script}}}
}

// TestRunFails has commands fail in ways of their own. The preview says what happened, and others are as they were.
func TestRunFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := b.sandbox(t, "other")
	python := func(code string) string {
		return "python3 - <<'PY'\nimport psycopg2\nc = psycopg2.connect('')\nc.autocommit = True\ncur = c.cursor()\n" + code + "\nPY"
	}
	for _, test := range []struct {
		name     string
		settings mayfly.MigrationSettings
		disk     int64
		want     string
	}{
		{"middle", command("echo one is done; echo the second is not >&2; exit 3"), 0, "exit code 3"},
		{"large", command(python("cur.execute(\"create table big as select n, repeat('x', 500) from generate_series(1, 20000000) n\")")), 96 << 20, "ran out of room"},
		{"files", func() mayfly.MigrationSettings {
			s := command("head -c 10G /dev/zero >big")
			s.Runner.DiskBytes = 32 << 20
			return s
		}(), 0, "its disk is full: it may write 32 MiB"},
		{"hang", func() mayfly.MigrationSettings {
			s := command(python("d = psycopg2.connect('')\nd.cursor().execute('lock customer')\ncur.execute('alter table customer add n int')"))
			s.LockTimeout = time.Second
			return s
		}(), 0, "AccessExclusiveLock on public.customer"},
		{"time", func() mayfly.MigrationSettings {
			s := command(python("cur.execute('select pg_sleep(1000)')"))
			s.Timeout = 3 * time.Second
			return s
		}(), 0, "did not end"},
	} {
		b.runs(t, test.settings)
		b.projects.change(func(p *mayfly.Project) { p.Previews.DiskBytes = test.disk })
		pr := b.open(t, strings.ReplaceAll(test.name, " ", "-"), map[string]string{"db/" + test.name: "x"})
		b.sync(t, pr)
		p := b.converge(t, b.of(t, pr).ID)
		if p.State != mayfly.PreviewFailed {
			t.Errorf("%s: the preview is %s; its timeline:\n%s\n%+v", test.name, p.State, b.timeline(t, p.ID), b.reportOf(t, p).Run)
			continue
		}
		if p.Failure.Code != mayfly.CodeMigrationFailed || !strings.Contains(p.Failure.Message, test.want) {
			t.Errorf("%s: the failure is %+v, not %q", test.name, p.Failure, test.want)
		}
		if strings.Contains(p.Failure.Message, b.password(t, p.Name)) {
			t.Errorf("%s: the password is in the failure", test.name)
		}
		report := b.reportOf(t, p)
		if report.Run == nil || report.Failure == nil || report.Failure.Message == "" {
			t.Errorf("%s: the report is %+v", test.name, report)
		}
		b.noRunsLeft(t, p)
		if test.name == "time" || test.name == "hang" {
			if left := b.query(t, p, "select count(*)::text from pg_stat_activity where application_name = 'mayfly-runner'"); left != "0" {
				t.Errorf("%s: %s sessions of the command are left", test.name, left)
			}
		}
	}
	if rows := b.query(t, other, "select count(*)::text from customer"); rows != "100" {
		t.Errorf("another preview has %s customers", rows)
	}
}

// TestRunDropsTheTrackingTable is a run that succeeds, and after which the tool would begin anew.
func TestRunDropsTheTrackingTable(t *testing.T) {
	t.Parallel()
	b := setup(t)
	tool := tools()["alembic"]
	tool.settings.Runner.Command = []string{"/bin/bash", "-euc",
		`alembic upgrade head; if [ -e drop ]; then python3 -c "import psycopg2; c = psycopg2.connect(''); c.cursor().execute('drop table alembic_version'); c.commit()"; fi`}
	b.runs(t, tool.settings)
	pr := b.open(t, "orders", merged(tool.base, tool.first))
	b.ready(t, pr)
	b.push(t, pr, merged(tool.later, map[string]string{"drop": ""}))
	p := b.settle(t, pr, mayfly.PreviewFailed)
	if p.Failure.Code != mayfly.CodeMigrationFailed || !strings.Contains(p.Failure.Message, "removed the tracking table") {
		t.Errorf("the failure is %+v", p.Failure)
	}
}

// TestRunOfFork never runs a fork's code, whatever else is allowed.
func TestRunOfFork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.runs(t, command("touch /mayfly/home/ran; echo ran"))
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Forks = mayfly.ForksSchemaOnly })
	pr := b.fromFork(t, map[string]string{"db/x": "x"})
	b.sync(t, pr)
	p := b.of(t, pr)
	if p == nil {
		return // no preview at all is fine
	}
	p = b.converge(t, p.ID)
	if p.Failure == nil || p.Failure.Code != mayfly.CodeForkDenied {
		t.Errorf("a fork's code may have run: %s %+v\n%s", p.State, p.Failure, b.timeline(t, p.ID))
	}
}

// TestKilledRun has the process die while a command runs. The next one rebuilds the preview, and nothing is left.
func TestKilledRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.runs(t, command("echo done"))
	pr := b.open(t, "killed", map[string]string{"db/a": "x"})
	b.sync(t, pr)
	p := b.of(t, pr)
	b.dieAt(t, p.ID, "ran")
	p = b.ready(t, pr)
	if p.Generation < 2 {
		t.Errorf("the preview is of generation %d", p.Generation)
	}
	b.noRunsLeft(t, p)
}
