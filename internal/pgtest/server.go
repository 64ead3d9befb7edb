package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// readyTimeout bounds how long a Postgres may take to accept connections, on a machine that is busy with other tests.
const readyTimeout = time.Minute

// Server is a running Postgres in a container.
type Server struct {
	ID     string // the instance
	Volume string // its volume; a plain directory unless the test gave one
	Image  driver.Image
	// SocketDir is the host's directory with its socket. Root may connect there as cluster.AdminRole without a password.
	SocketDir string

	engine *docker.Engine

	mu     sync.Mutex
	models map[string]bool // databases that DatabaseLike copies
}

// StartOptions describe a Postgres that Start starts. The zero value is good.
type StartOptions struct {
	Major   int             // 0: whatever is present
	Profile cluster.Profile // Build by default: nothing is durable
	Args    []string        // further "-c", "name=value" pairs
	Volume  string          // an existing volume; "" makes one and removes it at the end
	Prepare string          // a shell script that runs on the volume before it is initialised
	Labels  map[string]string
	Limits  driver.Limits
}

// Engine returns the shared engine. It finds volumes of Pool and those that Start made.
func Engine(tb testing.TB) *docker.Engine {
	tb.Helper()
	engine, err := current(tb).engine()
	if err != nil {
		tb.Fatalf("these tests need a Docker engine and root: %v", err)
	}
	return engine
}

// majors is the order in which Image looks for a major version.
func majors() []int { return []int{15, 17, 18, 16, 14, 13} }

// Image returns a Postgres image that is present. Major 0 means MAYFLY_TEST_MAJOR, or else any.
func Image(tb testing.TB, major int) driver.Image {
	tb.Helper()
	image, err := findImage(tb.Context(), Engine(tb), major)
	if err != nil {
		tb.Fatalf("find a Postgres image: %v (%s)", err, mayfly.ErrorHint(err))
	}
	return image
}

func findImage(ctx context.Context, engine *docker.Engine, major int) (driver.Image, error) {
	wanted := []int{major}
	if set := os.Getenv("MAYFLY_TEST_MAJOR"); major == 0 && set != "" {
		number, err := strconv.Atoi(set)
		if err != nil {
			return driver.Image{}, fmt.Errorf("MAYFLY_TEST_MAJOR=%s is not a number", set)
		}
		wanted = []int{number}
	} else if major == 0 {
		wanted = majors()
	}
	for _, candidate := range wanted {
		image, err := engine.Present(ctx, "", candidate)
		if !errors.Is(err, driver.ErrNotFound) {
			return image, err
		}
	}
	return driver.Image{}, mayfly.Errorf(mayfly.CodeImageUnavailable, "no image for PostgreSQL %v is present", wanted).
		WithHint("run: make images")
}

// Cluster returns the shared Postgres: fast, not durable, with many connections. Make a database in it for each test.
func Cluster(tb testing.TB) *Server {
	tb.Helper()
	Engine(tb)
	server, err := current(tb).cluster()
	if err != nil {
		tb.Fatalf("start the shared Postgres: %v", err)
	}
	return server
}

func (p *process) startServer() (*Server, error) {
	engine, err := p.engine()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*readyTimeout)
	defer cancel()
	server, err := p.launch(ctx, engine, StartOptions{
		Args:   settings("max_connections=400", "shared_buffers=128MB", "autovacuum=on", "max_locks_per_transaction=256"),
		Limits: driver.Limits{ShmBytes: 512 << 20},
		Labels: map[string]string{"role": "pgtest"},
	})
	p.mu.Lock()
	p.madeServer = server
	p.mu.Unlock()
	return server, err
}

// Start starts a Postgres for this test alone, and removes it and the volume it made when the test ends.
func Start(tb testing.TB, opts StartOptions) *Server {
	tb.Helper()
	engine, p := Engine(tb), current(tb)
	if opts.Volume == "" {
		opts.Volume = Volume(tb, Image(tb, opts.Major))
	}
	server, err := p.launch(tb.Context(), engine, opts)
	if server != nil {
		tb.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
			defer cancel()
			if err := engine.Remove(ctx, server.ID); err != nil {
				tb.Errorf("remove the test's Postgres: %v", err)
			}
		})
	}
	if err != nil {
		tb.Fatalf("start a Postgres: %v", err)
	}
	return server
}

// Volume makes an empty volume, a plain directory, for the image's postgres user, and removes it when the test ends.
func Volume(tb testing.TB, image driver.Image) string {
	tb.Helper()
	p, id := current(tb), mayfly.NewID("v")
	if err := p.makePlain(id, image.User); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(p.plainDir(id)); err != nil {
			tb.Errorf("remove volume %s: %v", id, err)
		}
	})
	return id
}

// launch initialises and starts a Postgres. The server is not nil if there is anything to remove.
func (p *process) launch(ctx context.Context, engine *docker.Engine, opts StartOptions) (*Server, error) {
	image, err := findImage(ctx, engine, opts.Major)
	if err != nil {
		return nil, err
	}
	server := &Server{ID: mayfly.NewID("s"), Volume: opts.Volume, Image: image, engine: engine}
	server.SocketDir = engine.SocketDir(server.ID)
	if server.Volume == "" {
		server.Volume = server.ID
		if err := p.makePlain(server.Volume, image.User); err != nil {
			return server, err
		}
	}
	if opts.Prepare != "" {
		result, err := engine.Run(ctx, driver.RunSpec{Image: image.ID, Command: []string{"sh", "-c", opts.Prepare}, Volume: server.Volume})
		if err != nil || result.ExitCode != 0 {
			return server, fmt.Errorf("prepare the volume: exit code %d: %s %w", result.ExitCode, result.Stderr, err)
		}
	}
	if err := cluster.Init(ctx, engine, image, server.Volume, cluster.InitOptions{}); err != nil {
		return server, err
	}
	if err := engine.Create(ctx, driver.InstanceSpec{
		ID: server.ID, Image: image.ID, Volume: server.Volume,
		Args: append(cluster.Args(opts.Profile), opts.Args...), Labels: opts.Labels, Limits: opts.Limits,
	}); err != nil {
		return server, err
	}
	if err := engine.Start(ctx, server.ID); err != nil {
		return server, err
	}
	return server, server.WaitReady(ctx)
}

// WaitReady waits until the server accepts connections; after a test restarted it, for example.
func (s *Server) WaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	conn, err := cluster.WaitReady(ctx, s.engine, s.ID, "postgres", s.alive)
	if err != nil {
		log, _ := s.engine.Logs(context.WithoutCancel(ctx), s.ID, 20)
		return fmt.Errorf("%w; its log ends with:\n%s", err, log)
	}
	return conn.Close(ctx)
}

func (s *Server) alive(ctx context.Context) error {
	instance, err := s.engine.Inspect(ctx, s.ID)
	if err == nil && !instance.Running {
		err = fmt.Errorf("postgres ended with exit code %d", instance.ExitCode)
	}
	return err
}

// settings turns "name=value" into Postgres command line arguments.
func settings(values ...string) []string {
	args := make([]string, 0, 2*len(values))
	for _, value := range values {
		args = append(args, "-c", value)
	}
	return args
}

// Database makes an empty database, dropped when the test ends, and returns its name.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	return s.create(tb, "")
}

func (s *Server) create(tb testing.TB, options string) string {
	tb.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	s.Exec(tb, "postgres", "CREATE DATABASE "+name+options)
	tb.Cleanup(func() { s.exec(context.Background(), tb, "postgres", "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	return name
}

// DatabaseLike is Database with what prepare makes in it, such as a schema: prepare runs once for each name, and every
// database is a copy of what it made. To migrate a database for each test takes longer than most of the tests.
func (s *Server) DatabaseLike(tb testing.TB, name string, prepare func(ctx context.Context, dsn string) error) string {
	tb.Helper()
	return s.create(tb, " TEMPLATE "+s.model(tb, "model_"+name, prepare))
}

func (s *Server) model(tb testing.TB, name string, prepare func(ctx context.Context, dsn string) error) string {
	tb.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.models[name] {
		return name
	}
	s.Exec(tb, "postgres", "CREATE DATABASE "+name)
	if err := prepare(tb.Context(), s.DSN(name)); err != nil {
		s.Exec(tb, "postgres", "DROP DATABASE "+name+" WITH (FORCE)")
		tb.Fatalf("prepare the database %s: %v", name, err)
	}
	if s.models == nil {
		s.models = map[string]bool{}
	}
	s.models[name] = true
	return name
}

// DSN returns a connection string for the superuser cluster.AdminRole over the Unix socket, for processes that run as root.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s user=%s dbname=%s sslmode=disable", s.SocketDir, cluster.AdminRole, database)
}

// Connect connects to a database as cluster.AdminRole until the test ends.
func (s *Server) Connect(tb testing.TB, database string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), s.DSN(database))
	if err != nil {
		tb.Fatalf("connect to database %s of the test's Postgres: %v", database, err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Pool returns a pool of connections to a database as cluster.AdminRole, closed when the test ends.
func (s *Server) Pool(tb testing.TB, database string) *pgxpool.Pool {
	tb.Helper()
	pool, err := pgxpool.New(tb.Context(), s.DSN(database))
	if err != nil {
		tb.Fatalf("make a pool of connections to database %s: %v", database, err)
	}
	tb.Cleanup(pool.Close)
	return pool
}

// Exec runs statements, separated by semicolons, as cluster.AdminRole in a connection of their own.
func (s *Server) Exec(tb testing.TB, database, statements string) {
	tb.Helper()
	s.exec(tb.Context(), tb, database, statements)
}

func (s *Server) exec(ctx context.Context, tb testing.TB, database, statements string) {
	tb.Helper()
	conn, err := pgx.Connect(ctx, s.DSN(database))
	if err != nil {
		tb.Fatalf("connect to database %s of the test's Postgres: %v", database, err)
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.PgConn().Exec(ctx, statements).ReadAll(); err != nil {
		tb.Fatalf("run %q: %v", statements, err)
	}
}
