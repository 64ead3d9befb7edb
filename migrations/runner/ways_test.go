package runner_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/migrations/runner"
)

func zip(tb testing.TB, raw []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(raw); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// TestProxy lets through what is allowed and public, and nothing else.
func TestProxy(t *testing.T) {
	t.Parallel()
	echo, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = echo.Close() })
	go func() {
		for {
			conn, err := echo.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(conn, conn); _ = conn.Close() }()
		}
	}()
	names := map[string]string{
		"rubygems.org": "93.184.215.14", "index.rubygems.org": "93.184.215.14", "rebound.example.com": "127.0.0.1",
		"metadata.example.com": "169.254.169.254", "mapped.example.com": "::ffff:10.0.0.1", "nat.example.com": "64:ff9b::a00:1",
		"compatible.example.com": "::10.0.0.1", "translated.example.com": "::ffff:0:10.0.0.1",
	}
	dialled := make(chan netip.AddrPort, 20)
	proxy := &runner.Proxy{
		Allow: []string{"rubygems.org:443", "*.rubygems.org:443", "*.example.com:443"},
		Resolve: func(_ context.Context, host string) ([]netip.Addr, error) {
			if address, ok := names[host]; ok {
				return []netip.Addr{netip.MustParseAddr(address)}, nil
			}
			return nil, errors.New("no such host")
		},
		Dial: func(ctx context.Context, address netip.AddrPort) (net.Conn, error) {
			dialled <- address
			return new(net.Dialer).DialContext(ctx, "tcp", echo.Addr().String())
		},
	}
	for request, want := range map[string]int{
		"CONNECT rubygems.org:443":           200,
		"CONNECT RubyGems.org.:443":          200,
		"CONNECT index.rubygems.org:443":     200,
		"CONNECT rubygems.org:80":            403,
		"CONNECT evilrubygems.org:443":       403,
		"CONNECT rubygems.org.evil.de:443":   403,
		"CONNECT 93.184.215.14:443":          403,
		"CONNECT rebound.example.com:443":    403,
		"CONNECT metadata.example.com:443":   403,
		"CONNECT mapped.example.com:443":     403,
		"CONNECT nat.example.com:443":        403,
		"CONNECT compatible.example.com:443": 403,
		"CONNECT translated.example.com:443": 403,
		"CONNECT unknown.example.com:443":    502,
		"CONNECT nonsense":                   400,
		"GET http://rubygems.org/":           405,
	} {
		client, server := pipe(t)
		done := make(chan struct{})
		go func() { defer close(done); proxy.Serve(t.Context(), server); _ = server.Close() }()
		_, _ = io.WriteString(client, request+" HTTP/1.1\r\nHost: x\r\n\r\n")
		reader := bufio.NewReader(client)
		answer, err := http.ReadResponse(reader, &http.Request{Method: strings.Fields(request)[0]}) //nolint:bodyclose // the connection is closed
		if err != nil || answer.StatusCode != want {
			t.Errorf("%s: %v %v, not %d", request, answer, err, want)
		} else if want == 200 {
			_, _ = io.WriteString(client, "hello")
			heard := make([]byte, 5)
			if _, err := io.ReadFull(reader, heard); err != nil || string(heard) != "hello" {
				t.Errorf("%s: the way is not open: %q %v", request, heard, err)
			}
		}
		_ = client.Close()
		<-done
	}
	if len(dialled) != 3 {
		t.Errorf("%d addresses were dialled, not 3", len(dialled))
	}
	if refused := proxy.Refused(); len(refused) < 9 {
		t.Errorf("the report does not tell what was refused: %q", refused)
	}
}

func pipe(t *testing.T) (client, server net.Conn) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if client, err = new(net.Dialer).DialContext(t.Context(), "tcp", listener.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if server, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	_ = client.SetDeadline(time.Now().Add(patience))
	return client, server
}

// startup is a startup packet.
func startup(pairs ...string) []byte {
	body := binary.BigEndian.AppendUint32(nil, 3<<16)
	for _, p := range pairs {
		body = append(append(body, p...), 0)
	}
	body = append(body, 0)
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)
}

// FuzzGate sends packets to the gate: only the owner and its database ever reach the server, once each.
func FuzzGate(f *testing.F) {
	f.Add(startup("user", "app", "database", "shop"))
	f.Add(startup("user", "mayfly_admin", "database", "shop"))
	f.Add(startup("user", "app", "database", "shop", "user", "mayfly_admin"))
	f.Add(append([]byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}, startup("user", "app", "database", "shop", "options", "-c x=y")...))
	f.Fuzz(func(t *testing.T, packet []byte) {
		sent := make(chan []byte, 4)
		gate := &runner.Gate{
			User: "app", Database: "shop", Parameters: map[string]string{"lock_timeout": "1"},
			Dial: func(context.Context) (net.Conn, error) {
				near, far := net.Pipe()
				go func() {
					head := make([]byte, 4)
					if _, err := io.ReadFull(far, head); err == nil {
						body := make([]byte, binary.BigEndian.Uint32(head)-4)
						_, _ = io.ReadFull(far, body)
						sent <- body
					}
					_ = far.Close()
				}()
				return near, nil
			},
		}
		client, server := net.Pipe()
		go func() {
			go func() { _, _ = io.Copy(io.Discard, client) }()
			_, _ = client.Write(packet)
			_ = client.Close()
		}()
		gate.Serve(t.Context(), server)
		_ = server.Close()
		select {
		case body := <-sent:
			if binary.BigEndian.Uint32(body) == 80877102 {
				return // a cancel request
			}
			parts := strings.Split(string(body[4:]), "\x00")
			for i := 0; i+1 < len(parts) && parts[i] != ""; i += 2 {
				if parts[i] == "user" && parts[i+1] != "app" || parts[i] == "database" && parts[i+1] != "shop" || parts[i] == "replication" {
					t.Errorf("the gate let through %q", parts)
				}
			}
		default:
		}
	})
}
