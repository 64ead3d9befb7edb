package migrations

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5" // the real tool's driver, under the scheme pgx5
	"github.com/golang-migrate/migrate/v4/source/iofs"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// testBundle is one database owned by an ordinary role, as in a preview.
type testBundle struct {
	server   *pgtest.Server
	admins   *pgxpool.Pool // to the database, as the superuser: to connect takes longer than most statements
	database string
	role     string
	password string
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	b := &testBundle{server: pgtest.Cluster(t), role: "app_" + strings.ToLower(rand.Text()), password: rand.Text()}
	b.database = b.server.Database(t)
	b.admins = b.server.Pool(t, b.database)
	b.admin(t, "CREATE ROLE "+b.role+" LOGIN PASSWORD '"+b.password+"'; ALTER DATABASE "+b.database+" OWNER TO "+b.role)
	return b
}

// schema is another application in the same database: a role with a schema of its own, much cheaper than a database.
func (b *testBundle) schema(t *testing.T) *testBundle {
	t.Helper()
	c := *b
	c.role = "app_" + strings.ToLower(rand.Text())
	c.admin(t, "CREATE ROLE "+c.role+" LOGIN PASSWORD '"+c.password+"'; CREATE SCHEMA AUTHORIZATION "+c.role)
	return &c
}

// admin runs statements as the superuser.
func (b *testBundle) admin(t *testing.T, statements string) {
	t.Helper()
	b.asAdmin(t, func(conn *pgx.Conn) error {
		_, err := conn.PgConn().Exec(t.Context(), statements).ReadAll()
		return err
	}, statements)
}

// asAdmin borrows a session of the superuser, and gives it back as new.
func (b *testBundle) asAdmin(t *testing.T, do func(*pgx.Conn) error, what string) {
	t.Helper()
	conn, err := b.admins.Acquire(t.Context())
	if err != nil {
		t.Fatalf("connect as the superuser: %v", err)
	}
	defer conn.Release()
	if err := do(conn.Conn()); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if _, err := conn.Conn().PgConn().Exec(t.Context(), "DISCARD ALL").ReadAll(); err != nil {
		t.Fatalf("give the session back: %v", err)
	}
}

func (b *testBundle) url(scheme string, more url.Values) string {
	query := url.Values{"host": {b.server.SocketDir}, "sslmode": {"disable"}}
	for name, values := range more {
		query[name] = values
	}
	u := url.URL{Scheme: scheme, User: url.UserPassword(b.role, b.password), Path: "/" + b.database, RawQuery: query.Encode()}
	return u.String()
}

// connect connects as the application's role.
func (b *testBundle) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), b.url("postgres", nil))
	if err != nil {
		t.Fatalf("connect as the application's role: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) })
	return conn
}

func (b *testBundle) plan(t *testing.T, conn *pgx.Conn, settings mayfly.MigrationSettings, list []File) Plan {
	t.Helper()
	history, err := Parse(settings, list)
	if err != nil {
		t.Fatalf("parse: %v", err)
	}
	state, err := ReadState(t.Context(), conn, settings)
	if err != nil {
		t.Fatalf("read the state: %v", err)
	}
	plan, err := history.Pending(state)
	if err != nil {
		t.Fatalf("plan: %v (hint: %s)", err, mayfly.ErrorHint(err))
	}
	return plan
}

// apply does all that Mayfly does, in a connection of its own.
func (b *testBundle) apply(t *testing.T, settings mayfly.MigrationSettings, list []File, opts ApplyOptions) (*Report, error) {
	t.Helper()
	conn := b.connect(t)
	report, err := Apply(t.Context(), conn, b.plan(t, conn, settings, list), opts)
	if (report.Failure != nil) != (mayfly.ErrorCode(err) == mayfly.CodeMigrationFailed) {
		t.Errorf("failure %+v does not go with error %v", report.Failure, err)
	}
	return report, err
}

func (b *testBundle) mustApply(t *testing.T, settings mayfly.MigrationSettings, list []File) *Report {
	t.Helper()
	report, err := b.apply(t, settings, list, ApplyOptions{})
	if err != nil {
		t.Fatalf("apply: %v (hint: %s)", err, mayfly.ErrorHint(err))
	}
	return report
}

// tool is the real golang-migrate on the same files and database, as its command line opens them.
func (b *testBundle) tool(t *testing.T, table string, list []File) *migrate.Migrate {
	t.Helper()
	tree := fstest.MapFS{"db/migrations": {Mode: fs.ModeDir | 0o755}}
	for _, f := range list {
		tree[f.Path] = &fstest.MapFile{Data: f.Content}
	}
	files, err := iofs.New(tree, "db/migrations")
	if err != nil {
		t.Fatalf("open the files with the real tool: %v", err)
	}
	options := url.Values{}
	if table != "" {
		options.Set("x-migrations-table", table)
	}
	if strings.HasPrefix(table, `"`) {
		options.Set("x-migrations-table-quoted", "true")
	}
	tool, err := migrate.NewWithSourceInstance("iofs", files, b.url("pgx5", options))
	if err != nil {
		t.Fatalf("open the database with the real tool: %v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(tool.Close()); err != nil {
			t.Errorf("close the real tool: %v", err)
		}
	})
	return tool
}

// one reads one value as the superuser.
func one[T any](t *testing.T, b *testBundle, query string, args ...any) T {
	t.Helper()
	var value T
	b.asAdmin(t, func(conn *pgx.Conn) error {
		return conn.QueryRow(t.Context(), query, append([]any{pgx.QueryExecModeExec}, args...)...).Scan(&value)
	}, query)
	return value
}

// asApplication runs statements as the application's role.
func (b *testBundle) asApplication(t *testing.T, statements string) {
	t.Helper()
	if _, err := b.connect(t).PgConn().Exec(t.Context(), statements).ReadAll(); err != nil {
		t.Fatalf("run %q: %v", statements, err)
	}
}

// named writes the role's name where it says APP.
func (b *testBundle) named(text string) string { return strings.ReplaceAll(text, "APP", b.role) }

// own does that with files.
func (b *testBundle) own(list []File) []File {
	var out []File
	for _, f := range list {
		out = append(out, File{Path: f.Path, Content: []byte(b.named(string(f.Content)))})
	}
	return out
}

// schemaOf lists all columns and indexes in the role's schemas, one a line, with the role's name taken out.
func schemaOf(t *testing.T, b *testBundle) string {
	t.Helper()
	list := one[string](t, b, `
		SELECT coalesce(string_agg(line, E'\n' ORDER BY line COLLATE "C"), '') FROM (
			SELECT format('%s.%s', n.nspname, c.relname) || coalesce('.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod), '') AS line
			FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
			LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
			WHERE n.nspname LIKE '%' || $1
		) lines`, b.role)
	return strings.ReplaceAll(list, b.role, "app")
}

func strconvInt(n int64) string { return strconv.FormatInt(n, 10) }
