package gateway

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// scriptedConn is a client that sends fixed bytes and then nothing more.
type scriptedConn struct {
	io.Reader

	answers bytes.Buffer
}

func (c *scriptedConn) Write(p []byte) (int, error)      { return c.answers.Write(p) }
func (*scriptedConn) Close() error                       { return nil }
func (*scriptedConn) LocalAddr() net.Addr                { return &net.TCPAddr{} }
func (*scriptedConn) RemoteAddr() net.Addr               { return &net.TCPAddr{} }
func (*scriptedConn) SetDeadline(_ time.Time) error      { return nil }
func (*scriptedConn) SetReadDeadline(_ time.Time) error  { return nil }
func (*scriptedConn) SetWriteDeadline(_ time.Time) error { return nil }

// FuzzStartup feeds the startup phase what strangers may send. It must not panic, must not answer more than it has to, and
// what it accepts must reach the backend as the same packet with nothing but the database's name changed.
func FuzzStartup(f *testing.F) {
	good := &startup{version: 3 << 16, user: "app", rest: []string{"options", "-c a=b", "_pq_.x", ""}}
	packet, err := good.encode("shop-pr-42")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packet)
	f.Add(append([]byte{0, 0, 0, 8, 4, 210, 22, 48, 0, 0, 0, 8, 4, 210, 22, 47}, packet...))
	f.Add([]byte{0, 0, 0, 12, 4, 210, 22, 46, 0, 0, 0, 1})
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add([]byte{0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0})
	f.Add(bytes.Replace(packet, []byte("options"), []byte("replication"), 1))
	f.Add(bytes.Replace(packet, []byte("app"), []byte("mayfly_admin"), 1))
	f.Fuzz(func(t *testing.T, input []byte) {
		g := New(Options{AllowPlaintext: true})
		conn := &scriptedConn{Reader: bytes.NewReader(input)}
		o, err := g.open(t.Context(), conn)
		if strings.Trim(conn.answers.String(), "N") != "" || conn.answers.Len() > 2 {
			t.Errorf("the startup phase answered %q", conn.answers.Bytes())
		}
		switch {
		case err != nil:
			return
		case o.cancel != nil:
			if n := len(o.cancel.key); n < 8 || n > 4+maxCancelKey || o.startup != nil {
				t.Errorf("accepted a cancel request with %d bytes", n)
			}
			return
		}
		to := route("previews.example.com", o)
		if refuseEarly(o.startup, to) == nil && (strings.HasPrefix(o.startup.user, "mayfly_") || o.startup.replication || to.name == "") {
			t.Errorf("let in user %q, replication %t, preview %q", o.startup.user, o.startup.replication, to.name)
		}
		checkEncoding(t, o.startup)
	})
}

func checkEncoding(t *testing.T, s *startup) {
	t.Helper()
	encoded, err := s.encode("real")
	if err != nil {
		return // too long with the new name
	}
	body, err := readStartupBody(bytes.NewReader(encoded[4:]), encoded[:4])
	if err != nil {
		t.Fatalf("the packet for the backend cannot be read: %v", err)
	}
	again, err := parseStartup(body)
	if err != nil {
		t.Fatalf("the packet for the backend cannot be parsed: %v", err)
	}
	if again.version != s.version || again.user != s.user || again.database != "real" || again.replication || !slices.Equal(again.rest, s.rest) {
		t.Errorf("the backend gets %+v for %+v", again, s)
	}
}

func TestHostNameRouting(t *testing.T) {
	t.Parallel()
	preview := &mayfly.Preview{Name: "shop-pr-42", Database: "shop"}
	cases := []struct {
		name, domain, sni, database string
		want                        string // preview
		refused                     bool   // the database
	}{
		{"database name", "previews.example.com", "", "shop-pr-42", "shop-pr-42", false},
		{"host name, real database", "previews.example.com", "shop-pr-42.previews.example.com", "shop", "shop-pr-42", false},
		{"host name, preview's name", "previews.example.com", "shop-pr-42.previews.example.com", "shop-pr-42", "shop-pr-42", false},
		{"host name, user's name", "previews.example.com", "shop-pr-42.previews.example.com", "app", "shop-pr-42", false},
		{"host name, none", "previews.example.com", "shop-pr-42.previews.example.com", "", "shop-pr-42", false},
		{"host name, another", "previews.example.com", "shop-pr-42.previews.example.com", "shop-pr-43", "shop-pr-42", true},
		{"host name, template1", "previews.example.com", "shop-pr-42.previews.example.com", "template1", "shop-pr-42", true},
		{"the gateway's own name", "previews.example.com", "db.previews.example.com", "shop-pr-42", "shop-pr-42", false},
		{"the base domain", "previews.example.com", "previews.example.com", "shop-pr-42", "shop-pr-42", false},
		{"two labels", "previews.example.com", "shop-pr-41.x.previews.example.com", "shop-pr-42", "shop-pr-42", false},
		{"another domain", "previews.example.com", "shop-pr-41.example.com", "shop-pr-42", "shop-pr-42", false},
		{"no base domain", "", "shop-pr-41.", "shop-pr-42", "shop-pr-42", false},
	}
	for _, c := range cases {
		o := opening{sni: c.sni, startup: &startup{user: "app", database: c.database}}
		to := route(c.domain, o)
		if to.name != c.want {
			t.Errorf("%s: leads to %q, want %q", c.name, to.name, c.want)
		}
		if database, err := realDatabase(o.startup, to, preview); (err != nil) != c.refused || err == nil && database != "shop" {
			t.Errorf("%s: the database is %q, %v; want refused %t", c.name, database, err, c.refused)
		}
	}
}
