package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// Endpoint is a host and port behind which a server answers to a role with a password: what a production source
// looks like.
type Endpoint struct {
	Host     string // 127.0.0.1
	Port     int
	Role     string
	Password string
	Database string
}

// DSN returns the connection string, password included.
func (e Endpoint) DSN() string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(e.Role, e.Password),
		Host: fmt.Sprintf("%s:%d", e.Host, e.Port), Path: "/" + e.Database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// TCP makes a role, not a superuser, that owns the database and may read everything in it, and forwards a port of
// 127.0.0.1 to the server until the test ends.
func (s *Server) TCP(tb testing.TB, database string) Endpoint {
	tb.Helper()
	role, password := "source_"+strings.ToLower(rand.Text()), rand.Text()
	grant := ""
	if s.Image.Major >= 14 { // the role is new in 14
		grant = "GRANT pg_read_all_data TO " + role + ";"
	}
	s.Exec(tb, database, "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'; "+grant+"ALTER DATABASE "+database+" OWNER TO "+role)
	// The role stays until the server goes: it owns the database, which is dropped after everything made later.
	return Endpoint{Host: "127.0.0.1", Port: s.forward(tb), Role: role, Password: password, Database: database}
}

// forward listens on a free port and copies bytes between its connections and the server's socket.
func (s *Server) forward(tb testing.TB) int {
	tb.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		tb.Fatalf("listen for the test's Postgres: %v", err)
	}
	f := &forwarder{conns: make(map[net.Conn]struct{})}
	f.done.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			f.done.Go(func() { f.serve(tb.Context(), s, client) })
		}
	})
	tb.Cleanup(func() {
		_ = listener.Close()
		f.close()
		f.done.Wait()
	})
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		tb.Fatalf("a TCP listener has the address %v", listener.Addr())
	}
	return address.Port
}

type forwarder struct {
	done   sync.WaitGroup
	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
}

func (f *forwarder) serve(ctx context.Context, s *Server, client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := s.engine.Dial(ctx, s.ID)
	if err != nil {
		return // the client sees a closed connection, as with a server that is down
	}
	defer func() { _ = server.Close() }()
	if !f.add(client, server) {
		return
	}
	defer f.remove(client, server)
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(server, client); closeWrite(server) })
	both.Go(func() { _, _ = io.Copy(client, server); closeWrite(client) })
	both.Wait()
}

func closeWrite(conn net.Conn) {
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

func (f *forwarder) add(conns ...net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range conns {
		f.conns[conn] = struct{}{}
	}
	return !f.closed
}

func (f *forwarder) remove(conns ...net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, conn := range conns {
		delete(f.conns, conn)
	}
}

func (f *forwarder) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for conn := range f.conns {
		_ = conn.Close()
	}
}
