package runner

import (
	"net"
	"net/url"
	"slices"
	"strconv"

	mayfly "github.com/mayflydb/mayfly"
)

// The tools whose migrations are code, as in MigrationSettings.Tool.
const (
	Rails        = "rails"
	Django       = "django"
	Alembic      = "alembic"
	Ecto         = "ecto"
	Knex         = "knex"
	TypeORM      = "typeorm"
	Sequelize    = "sequelize"
	PrismaClient = "prisma-client"
	// Command is any command: nothing is known about its files and its tracking table.
	Command = "command"
)

// Preset is what is known about a tool, so that a project need not say it.
type Preset struct {
	Tool string
	// Argv is the command; nil for Command.
	Argv []string
	// Paths are where the tool keeps its migrations unless the settings say otherwise. None means anywhere.
	Paths []string
	// Scheme is that of DATABASE_URL.
	Scheme string
	// Env are further variables that the tool needs to run unattended.
	Env map[string]string
}

// Presets lists all tools, in the order of the documentation.
func Presets() []Preset {
	const postgresql = "postgresql"
	return []Preset{
		{
			Tool: Rails, Argv: []string{"bin/rails", "db:migrate"}, Paths: []string{"db/migrate"}, Scheme: postgresql,
			// A production image has the gems of production alone; and in production no schema.rb is written.
			// SECRET_KEY_BASE_DUMMY: Rails 7.1 and newer boot without the credentials' key.
			Env: map[string]string{"RAILS_ENV": "production", "RACK_ENV": "production", "SECRET_KEY_BASE_DUMMY": "1"},
		},
		{
			Tool: Django, Argv: []string{"python", "manage.py", "migrate", "--noinput"}, Scheme: postgresql,
			Env: map[string]string{"PYTHONUNBUFFERED": "1"},
		},
		{
			Tool: Alembic, Argv: []string{"alembic", "upgrade", "head"}, Scheme: postgresql,
			Paths: []string{"alembic/versions", "migrations/versions"}, Env: map[string]string{"PYTHONUNBUFFERED": "1"},
		},
		{
			Tool: Ecto, Argv: []string{"mix", "ecto.migrate"}, Paths: []string{"priv/repo/migrations"}, Scheme: "ecto",
			Env: map[string]string{"MIX_ENV": "prod"},
		},
		{
			Tool: Knex, Argv: []string{"node_modules/.bin/knex", "migrate:latest"}, Paths: []string{"migrations"}, Scheme: postgresql,
			Env: map[string]string{"NODE_ENV": "production"},
		},
		{
			Tool: TypeORM, Argv: []string{"node_modules/.bin/typeorm", "migration:run", "-d", "dist/data-source.js"}, Scheme: postgresql,
			Paths: []string{"src/migrations", "src/migration"}, Env: map[string]string{"NODE_ENV": "production"},
		},
		{
			Tool: Sequelize, Argv: []string{"node_modules/.bin/sequelize-cli", "db:migrate"}, Paths: []string{"migrations"}, Scheme: "postgres",
			Env: map[string]string{"NODE_ENV": "production"},
		},
		{
			Tool: PrismaClient, Argv: []string{"node_modules/.bin/prisma", "migrate", "deploy"}, Paths: []string{"prisma/migrations"},
			Scheme: postgresql, Env: map[string]string{"NODE_ENV": "production", "CHECKPOINT_DISABLE": "1", "PRISMA_HIDE_UPDATE_MESSAGE": "1"},
		},
		{Tool: Command, Scheme: postgresql},
	}
}

// PresetOf returns the preset of a tool. False if its migrations are not run by a command.
func PresetOf(tool string) (Preset, bool) {
	presets := Presets()
	i := slices.IndexFunc(presets, func(p Preset) bool { return p.Tool == tool })
	if i < 0 {
		return Preset{}, false
	}
	return presets[i], true
}

// Is reports whether the settings' tool runs as a command of the project.
func Is(settings mayfly.MigrationSettings) bool {
	_, ok := PresetOf(settings.Tool)
	return ok
}

// Where the preview's Postgres is inside the container.
const (
	loopback     = "127.0.0.1"
	postgresPort = 5432
	proxyPort    = 3128
	// SocketDir is the directory of sockets. It is mounted a second time as ClientDir, where libpq looks by itself.
	SocketDir = "/mayfly/socket"
	ClientDir = "/var/run/postgresql"
	// HomeDir is a writable directory for whatever the command calls its home.
	HomeDir = "/mayfly/home"
	// DefaultDir is where the checkout is unless the settings say otherwise.
	DefaultDir = "/mayfly/checkout"
)

// Login is how the command logs in. Password is a secret.
type Login struct {
	User, Password, Database string
}

// url returns DATABASE_URL with the scheme of the tool.
func (l Login) url(scheme string) string {
	u := url.URL{
		Scheme: scheme, User: url.UserPassword(l.User, l.Password), Host: net.JoinHostPort(loopback, strconv.Itoa(postgresPort)),
		Path: "/" + l.Database,
	}
	return u.String()
}

// secrets are the forms in which the password can turn up in output.
func (l Login) secrets() []string {
	all := []string{l.Password, url.QueryEscape(l.Password), url.PathEscape(l.Password)}
	if _, escaped, ok := cutUserInfo(url.UserPassword("x", l.Password).String()); ok {
		all = append(all, escaped)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func cutUserInfo(info string) (user, password string, ok bool) {
	for i := range len(info) {
		if info[i] == ':' {
			return info[:i], info[i+1:], true
		}
	}
	return info, "", false
}

// environment returns what the command finds beside the image's own variables. It holds the password: it goes to the
// relay and nowhere else.
func environment(preset Preset, settings mayfly.RunnerSettings, login Login) []string {
	env := map[string]string{
		"DATABASE_URL": login.url(preset.Scheme),
		"PGHOST":       loopback, "PGPORT": strconv.Itoa(postgresPort), "PGDATABASE": login.Database,
		"PGUSER": login.User, "PGPASSWORD": login.Password, "PGSSLMODE": "disable", "PGAPPNAME": "mayfly-runner",
		"HOME": HomeDir, "XDG_CACHE_HOME": HomeDir + "/.cache", "TMPDIR": "/tmp", "CI": "true",
	}
	if len(settings.Allow) > 0 {
		proxy := "http://" + net.JoinHostPort(loopback, strconv.Itoa(proxyPort))
		for _, name := range []string{"HTTPS_PROXY", "https_proxy"} {
			env[name] = proxy
		}
		for _, name := range []string{"NO_PROXY", "no_proxy"} {
			env[name] = loopback + ",localhost"
		}
	}
	for _, more := range []map[string]string{preset.Env, settings.Env, settings.Secrets} {
		for name, value := range more {
			env[name] = value
		}
	}
	list := make([]string, 0, len(env))
	for name, value := range env {
		list = append(list, name+"="+value)
	}
	slices.Sort(list)
	return list
}
