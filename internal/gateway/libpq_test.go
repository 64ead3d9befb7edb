package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// needMajor skips the test if there is no image of that major version: `make test` provides 15 and 17 only.
func needMajor(t *testing.T, major int) {
	t.Helper()
	if _, err := pgtest.Engine(t).Present(t.Context(), "", major); errors.Is(err, driver.ErrNotFound) {
		t.Skipf("needs an image of PostgreSQL %d: make images MAJORS=%d", major, major)
	}
}

// servers are Postgres servers shared by the cases of one test, one for each major version.
type servers struct {
	t    *testing.T // which outlives its cases
	mu   sync.Mutex
	made map[int]*pgtest.Server
}

func newServers(t *testing.T) *servers {
	t.Helper()
	shared := pgtest.Cluster(t)
	return &servers{t: t, made: map[int]*pgtest.Server{shared.Image.Major: shared}}
}

func (s *servers) of(major int) *pgtest.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.made[major] == nil {
		s.made[major] = pgtest.Start(s.t, pgtest.StartOptions{Major: major})
	}
	return s.made[major]
}

// The libpq of each major version logs in, in a container whose connections go straight to the gateway. libpq uses no TLS
// on Unix sockets; TestPSQL has that.
func TestOtherVersionsOfLibpq(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name          string
		client        int
		settings      string
		server        int
		wantsProtocol string // as psql 18's \conninfo says
	}{
		{"13 to 15", 13, "", 15, ""},
		{"17 to 15", 17, "", 15, ""},
		{"18 to 15", 18, "", 15, "3.0"},
		{"18 asking for 3.2 to 15", 18, "max_protocol_version=3.2", 15, "3.0"},
		{"18 asking for 3.2 to 18", 18, "max_protocol_version=3.2", 18, "3.2"},
	}
	servers := newServers(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			needMajor(t, c.client)
			needMajor(t, c.server)
			w := newWorld(t)
			l := w.add(servers.of(c.server), "shop-pr-42")
			listener := newHandedListener()
			g := gateway.New(gateway.Options{Previews: w, Dialer: w, AllowPlaintext: true})
			var serving sync.WaitGroup
			serving.Go(func() {
				if err := g.Serve(context.Background(), listener); err != nil {
					t.Errorf("serve: %v", err)
				}
			})
			command := []string{"psql", "-XAtq", "-d", "host=" + driver.SocketDir + " dbname=shop-pr-42 user=" + l.preview.Owner + " " + c.settings}
			if c.wantsProtocol != "" {
				command = append(command, "-c", `\conninfo`)
			}
			command = append(command, "-c", "SELECT current_database()")
			var output bytes.Buffer
			result, err := w.engine.Run(t.Context(), driver.RunSpec{
				Image: pgtest.Image(t, c.client).ID, Command: command, Env: []string{"PGPASSWORD=" + l.password},
				Listener: listener.hand, Stdout: &output, Labels: map[string]string{"role": "pgtest"},
			})
			if err != nil || result.ExitCode != 0 {
				t.Errorf("psql ended with %d, %v: %s", result.ExitCode, err, result.Stderr)
			}
			if !containsAll(output.String(), l.preview.Database) ||
				c.wantsProtocol != "" && !containsAll(output.String(), "Protocol Version|"+c.wantsProtocol) {
				t.Errorf("psql printed %q, want database %s and protocol %s", strings.TrimSpace(output.String()), l.preview.Database, c.wantsProtocol)
			}
			if err := g.Shutdown(t.Context()); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			serving.Wait()
		})
	}
}

// handedListener accepts the connections that it is handed.
type handedListener struct {
	conns  chan *handedConn
	closed chan struct{}
	once   sync.Once
}

// handedConn tells when it is closed.
type handedConn struct {
	net.Conn

	once   sync.Once
	closed chan struct{}
}

func (c *handedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { close(c.closed) })
	return err
}

func newHandedListener() *handedListener {
	return &handedListener{conns: make(chan *handedConn), closed: make(chan struct{})}
}

// hand returns when the connection has been closed: the engine closes it then.
func (l *handedListener) hand(conn net.Conn) {
	handed := &handedConn{Conn: conn, closed: make(chan struct{})}
	select {
	case l.conns <- handed:
		<-handed.closed
	case <-l.closed:
	}
}

func (l *handedListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handedListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (*handedListener) Addr() net.Addr { return &net.UnixAddr{Name: "handed", Net: "unix"} }
