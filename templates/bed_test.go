package templates

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

//go:embed testdata/source.sql
var sourceSQL string

//go:embed testdata/rules.yaml
var rulesYAML string

const (
	testDatabase = "shop"
	testOwner    = "shop_app"
	testTimeout  = 3 * time.Minute
)

func testKey() []byte { return []byte("0123456789abcdef-0123456789abcdef") }

// bed is what a test builds with.
type bed struct {
	engine  driver.Engine
	volumes driver.Volumes
	builder *Builder
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{engine: pgtest.Engine(t), volumes: pgtest.Pool(t)}
	b.builder = NewBuilder(BuilderOptions{Engine: b.engine, Volumes: b.volumes, Logger: slog.New(slog.DiscardHandler), Clock: time.Now})
	return b
}

// sourceDatabase makes a database on the shared server from statements, and returns how a build reaches it.
func sourceDatabase(t *testing.T, statements string) pgtest.Endpoint {
	t.Helper()
	server := pgtest.Cluster(t)
	database := server.Database(t)
	suffix := strings.ToLower(rand.Text())
	server.Exec(t, database, strings.ReplaceAll(statements, "@suffix@", suffix))
	endpoint := server.TCP(t, database)
	server.Exec(t, database, "ALTER ROLE "+endpoint.Role+" BYPASSRLS; ALTER DATABASE "+database+" SET statement_timeout = '7min'; ALTER DATABASE "+database+` SET search_path = "$user", public`)
	if server.Image.Major < 14 { // there is no pg_read_all_data yet
		server.Exec(t, database, strings.ReplaceAll(grantAll, "@role@", endpoint.Role))
	}
	return endpoint
}

const grantAll = `DO $$ DECLARE s name; BEGIN
	FOR s IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
		EXECUTE format('GRANT USAGE ON SCHEMA %1$I TO @role@; GRANT SELECT ON ALL TABLES IN SCHEMA %1$I TO @role@;
			GRANT SELECT ON ALL SEQUENCES IN SCHEMA %1$I TO @role@', s);
	END LOOP; END $$`

// request returns a build of the endpoint's database.
func request(t *testing.T, source mayfly.Source, rules string) BuildRequest {
	t.Helper()
	parsed, err := sanitize.Parse("rules.yaml", []byte(rules))
	if err != nil {
		t.Fatalf("parse the rules: %v", err)
	}
	return BuildRequest{
		Template: &mayfly.Template{ID: mayfly.NewID("t")},
		Project: mayfly.Project{
			Name: "shop", Source: source,
			Postgres: mayfly.PostgresSettings{Major: pgtest.Image(t, 0).Major, Database: testDatabase, Owner: testOwner},
		},
		Rules: parsed, Key: testKey(),
	}
}

// build builds a template that is deleted when the test ends.
func (b *bed) build(t *testing.T, req BuildRequest) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	result, err := b.builder.Build(ctx, req)
	if err != nil {
		t.Fatalf("build: %v (%s)", err, mayfly.ErrorHint(err))
	}
	t.Cleanup(func() {
		if err := b.builder.Discard(context.Background(), req.Template.ID); err != nil {
			t.Errorf("discard the template: %v", err)
		}
	})
	return result
}

// nothingLeft fails the test if a build left an instance or a volume.
func (b *bed) nothingLeft(t *testing.T, templateID string) {
	t.Helper()
	ctx := context.Background()
	instances, err := b.engine.List(ctx, map[string]string{"template": templateID})
	if err != nil {
		t.Fatalf("list instances: %v", err)
	}
	if len(instances) > 0 {
		t.Errorf("the build left %d instances", len(instances))
	}
	volumes, err := b.volumes.List(ctx)
	if err != nil {
		t.Fatalf("list volumes: %v", err)
	}
	for _, v := range volumes {
		if v.ID == templateID {
			t.Error("the build left its volume")
		}
	}
}

// clone clones a template, runs the clone as a preview, and returns a connection as the superuser.
func (b *bed) clone(t *testing.T, templateID string, image driver.Image) (string, *pgx.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	id := mayfly.NewID("p")
	t.Cleanup(func() {
		if err := b.builder.Discard(context.Background(), id); err != nil {
			t.Errorf("discard the clone: %v", err)
		}
	})
	if err := b.volumes.Clone(ctx, templateID, id, 0); err != nil {
		t.Fatalf("clone the template: %v", err)
	}
	spec := driver.InstanceSpec{ID: id, Image: image.ID, Volume: id, Args: cluster.Args(cluster.Preview), Labels: map[string]string{"role": "preview"}}
	if err := b.engine.Create(ctx, spec); err != nil {
		t.Fatalf("create the clone's instance: %v", err)
	}
	if err := b.engine.Start(ctx, id); err != nil {
		t.Fatalf("start the clone: %v", err)
	}
	conn, err := cluster.WaitReady(ctx, b.engine, id, testDatabase, nil)
	if err != nil {
		t.Fatalf("the clone does not accept connections: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return id, conn
}

// dump runs pg_dump of the image against a database that config reaches, and returns what it wrote.
func (b *bed) dump(t *testing.T, config *pgx.ConnConfig, image driver.Image, seekable bool, args ...string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	var out bytes.Buffer
	command := append([]string{"pg_dump", "--host=" + driver.SocketDir, "--username=x", "--dbname=x"}, args...)
	if seekable { // into a file first: pg_dump then goes back and fills in where the data is
		command = append([]string{"sh", "-c", `"$@" --file=/tmp/dump && cat /tmp/dump`, "sh"}, command...)
	}
	relay := newRelay(ctx, config)
	result, err := b.engine.Run(ctx, driver.RunSpec{Image: image.ID, Command: command, Listener: relay.serve, Stdout: &out})
	if err != nil || result.ExitCode != 0 {
		t.Fatalf("pg_dump: exit code %d, %v, %v: %s", result.ExitCode, err, relay.err(), result.Stderr)
	}
	return out.Bytes()
}

// archiveOf writes a custom-format archive of an endpoint's database into a file.
func (b *bed) archiveOf(t *testing.T, endpoint pgtest.Endpoint, seekable bool, args ...string) string {
	t.Helper()
	config, err := pgx.ParseConfig(endpoint.DSN())
	if err != nil {
		t.Fatalf("parse the endpoint's DSN: %v", err)
	}
	data := b.dump(t, config, pgtest.Image(t, 0), seekable, append([]string{"--format=custom"}, args...)...)
	return writeFile(t, data)
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "source.dump")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// find runs grep over the raw files of a volume and returns those that hold the text.
func (b *bed) find(t *testing.T, volume string, image driver.Image, text string) []string {
	t.Helper()
	var out bytes.Buffer
	result, err := b.engine.Run(t.Context(), driver.RunSpec{
		Image: image.ID, Command: []string{"grep", "-rlaiF", "-e", text, driver.VolumeMount}, Volume: volume, Stdout: &out,
	})
	if err != nil || result.ExitCode > 1 {
		t.Fatalf("search the volume: exit code %d, %v: %s", result.ExitCode, err, result.Stderr)
	}
	return strings.Fields(out.String())
}

// value runs a query that returns one value, as text.
func value(t *testing.T, conn *pgx.Conn, query string, args ...any) string {
	t.Helper()
	var got any
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&got); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return fmt.Sprint(got)
}

// flakyEndpoint forwards to an endpoint until limit bytes came back in total, and then cuts all connections and accepts no more.
func flakyEndpoint(t *testing.T, to pgtest.Endpoint, limit int64) pgtest.Endpoint {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &flaky{listener: listener, target: fmt.Sprintf("%s:%d", to.Host, to.Port), left: limit}
	f.wait.Go(f.accept)
	t.Cleanup(func() {
		f.cut()
		f.wait.Wait()
	})
	to.Port = listener.Addr().(*net.TCPAddr).Port
	return to
}
