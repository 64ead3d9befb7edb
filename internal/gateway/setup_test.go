package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

const (
	baseDomain = "previews.example.com"
	// patience bounds waits for conditions that are certain to come true.
	patience = 30 * time.Second
)

func TestMain(m *testing.M) { os.Exit(pgtest.Run(leakCheck{m})) } //nolint:forbidigo // this is main here

// leakCheck fails the run if a goroutine of the gateway outlives all tests.
type leakCheck struct{ *testing.M }

func (l leakCheck) Run() int {
	code := l.M.Run()
	var stacks []byte
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		stacks = make([]byte, 4<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		if !bytes.Contains(stacks, []byte("gateway.(*")) {
			return code
		}
	}
	fmt.Fprintf(os.Stderr, "goroutines of the gateway outlive the tests:\n%s\n", stacks)
	return 1
}

// world is the previews that a test has: real Postgres servers behind a registry that the test controls.
type world struct {
	t      *testing.T
	engine driver.Engine

	mu       sync.Mutex
	previews map[string]*mayfly.Preview
	servers  map[string]string // instance by the name that the gateway dials
	touched  map[string]int
	progress string
	dials    int
	// await, if set, is AwaitConnectable.
	await func(ctx context.Context, name string) (*mayfly.Preview, error)
	// touch is told of every call of Touch.
	touch chan string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return &world{
		t: t, engine: pgtest.Engine(t), previews: map[string]*mayfly.Preview{}, servers: map[string]string{},
		touched: map[string]int{},
	}
}

// login is a ready preview with a role that may log in.
type login struct {
	preview  *mayfly.Preview
	password string
	server   *pgtest.Server
}

// add makes a ready preview of a fresh database on the server.
func (w *world) add(server *pgtest.Server, name string) login {
	w.t.Helper()
	database := server.Database(w.t)
	role, password := "app_"+strings.ToLower(rand.Text()), rand.Text()
	server.Exec(w.t, database, "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'; ALTER DATABASE "+database+" OWNER TO "+role+
		"; GRANT ALL ON SCHEMA public TO "+role)
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: name, State: mayfly.PreviewReady, Database: database, Owner: role,
		Generation: 1, ObservedGeneration: 1,
	}
	w.set(p)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.servers[p.Instance()] = server.ID
	return login{preview: p, password: password, server: server}
}

// set stores a copy of a preview.
func (w *world) set(p *mayfly.Preview) {
	w.mu.Lock()
	defer w.mu.Unlock()
	stored := *p
	w.previews[p.Name] = &stored
}

func (w *world) Preview(_ context.Context, name string) (*mayfly.Preview, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, ok := w.previews[name]
	if !ok {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no preview %q", name)
	}
	found := *p
	return &found, nil
}

func (w *world) AwaitConnectable(ctx context.Context, name string) (*mayfly.Preview, error) {
	w.mu.Lock()
	await := w.await
	w.mu.Unlock()
	if await != nil {
		return await(ctx, name)
	}
	return w.Preview(ctx, name)
}

func (w *world) Progress(context.Context, string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.progress
}

func (w *world) Touch(_ context.Context, id string) {
	w.mu.Lock()
	w.touched[id]++
	touch := w.touch
	w.mu.Unlock()
	if touch != nil {
		touch <- id
	}
}

func (w *world) Dial(ctx context.Context, instance string) (net.Conn, error) {
	w.mu.Lock()
	server, ok := w.servers[instance]
	w.dials++
	w.mu.Unlock()
	if !ok {
		return nil, fmt.Errorf("instance %s: %w", instance, driver.ErrNotFound)
	}
	return w.engine.Dial(ctx, server)
}

func (w *world) dialled() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dials
}

// running is a gateway that serves on a port of 127.0.0.1.
type running struct {
	*gateway.Gateway

	t     *testing.T
	port  int
	roots *x509.CertPool
	cert  string        // file, for sslrootcert
	ended chan struct{} // closed when Serve has returned
}

// serve starts a gateway that ends with the test.
func serve(t *testing.T, w *world, change func(*gateway.Options)) *running {
	t.Helper()
	dir := t.TempDir()
	config, err := gateway.TLSConfig("", "", dir, []string{"localhost", "127.0.0.1", "*." + baseDomain})
	if err != nil {
		t.Fatalf("make a certificate: %v", err)
	}
	opts := gateway.Options{
		Previews: w, Dialer: w, TLS: config, BaseDomain: baseDomain,
		Logger: slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
	if change != nil {
		change(&opts)
	}
	r := &running{Gateway: gateway.New(opts), t: t, cert: filepath.Join(dir, gateway.CertificateFile), ended: make(chan struct{})}
	r.roots = x509.NewCertPool()
	if content, err := os.ReadFile(r.cert); err != nil || !r.roots.AppendCertsFromPEM(content) {
		t.Fatalf("read the certificate for clients: %v", err)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	r.port = listener.Addr().(*net.TCPAddr).Port
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(r.ended)
		if err := r.Serve(ctx, listener); err != nil {
			t.Errorf("serve: %v", err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-r.ended
	})
	return r
}

// testWriter passes log lines on to the test.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

func (r *running) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(r.port)) }

// config returns pgx's settings for a login: database by name, TLS with verification.
func (r *running) config(l login) *pgx.ConnConfig {
	r.t.Helper()
	config, err := pgx.ParseConfig(fmt.Sprintf("host=127.0.0.1 port=%d user=%s password=%s dbname=%s sslmode=verify-full sslrootcert=%s",
		r.port, l.preview.Owner, l.password, l.preview.Name, r.cert))
	if err != nil {
		r.t.Fatalf("parse connection string: %v", err)
	}
	return config
}

// connect connects as a login with pgx until the test ends.
func (r *running) connect(l login) *pgx.Conn {
	r.t.Helper()
	conn, err := pgx.ConnectConfig(r.t.Context(), r.config(l))
	if err != nil {
		r.t.Fatalf("connect to %s: %v", l.preview.Name, err)
	}
	r.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// psql runs the program with the host's libpq and returns what it printed.
func (r *running) psql(l login, settings string, args ...string) (string, error) {
	r.t.Helper()
	return runPSQL(r.t, l.password, fmt.Sprintf("port=%d user=%s %s", r.port, l.preview.Owner, settings), args...)
}

func runPSQL(t *testing.T, password, settings string, args ...string) (string, error) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "psql", append([]string{"-XAtq", "-v", "ON_ERROR_STOP=1", "-d", settings}, args...)...)
	command.Env = append(os.Environ(), "PGPASSWORD="+password, "PGCONNECT_TIMEOUT=60")
	output, err := command.CombinedOutput()
	return strings.TrimSpace(string(output)), err
}

// dialTLS opens a raw connection and does the SSLRequest.
func (r *running) dialTLS(serverName string) *tls.Conn {
	r.t.Helper()
	conn := r.dial()
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		r.t.Fatalf("send SSLRequest: %v", err)
	}
	if answer := readN(r.t, conn, 1); answer[0] != 'S' {
		r.t.Fatalf("SSLRequest was answered with %q", answer)
	}
	return r.handshake(conn, serverName)
}

func (r *running) handshake(conn net.Conn, serverName string, alpn ...string) *tls.Conn {
	r.t.Helper()
	secure := tls.Client(conn, &tls.Config{RootCAs: r.roots, ServerName: serverName, NextProtos: alpn, MinVersion: tls.VersionTLS12})
	if err := secure.HandshakeContext(r.t.Context()); err != nil {
		r.t.Fatalf("TLS handshake: %v", err)
	}
	return secure
}

// dial opens a raw connection that ends with the test.
func (r *running) dial() net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp4", r.addr())
	if err != nil {
		r.t.Fatalf("dial the gateway: %v", err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

// eventually waits for a condition that is certain to come true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}
