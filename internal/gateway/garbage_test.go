package gateway_test

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/gateway"
)

func garbage() map[string][]byte {
	return map[string][]byte{
		"nothing":                     {},
		"one byte":                    {0},
		"HTTP":                        []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
		"SSH":                         []byte("SSH-2.0-OpenSSH_9.2p1\r\n"),
		"Redis":                       []byte("*1\r\n$4\r\nPING\r\n"),
		"zeros":                       make([]byte, 64),
		"length 4":                    {0, 0, 0, 4},
		"length 7":                    {0, 0, 0, 7, 0, 3, 0},
		"negative length":             {0xff, 0xff, 0xff, 0xff, 0, 3, 0, 0},
		"more than is ever read":      append([]byte{0, 0, 0x27, 0x15, 0, 3, 0, 0}, bytes.Repeat([]byte("x"), 20_000)...),
		"unknown code":                {0, 0, 0, 8, 0xde, 0xad, 0xbe, 0xef},
		"cut short":                   startupPacket(version30, "user", "app", "database", "shop")[:20],
		"TLS record that is not":      {0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0},
		"TLS with a wrong version":    {0x16, 9, 9, 0xff, 0xff, 0},
		"SSL request, then garbage":   append([]byte{0, 0, 0, 8, 4, 210, 22, 47}, "garbage and more of it"...),
		"SSL request, then nothing":   {0, 0, 0, 8, 4, 210, 22, 47},
		"cancel request without key":  cancelPacket(1, nil),
		"cancel request, foreign key": cancelPacket(1, []byte{1, 2, 3, 4}),
	}
}

func TestGarbageIsClosed(t *testing.T) {
	t.Parallel()
	g := serve(t, newWorld(t), func(o *gateway.Options) { o.StartupTimeout = 200 * time.Millisecond })
	for name, input := range garbage() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := g.dial()
			_, _ = conn.Write(input)        // the gateway may have closed before it was all sent
			answer, err := io.ReadAll(conn) // ends: the gateway closes
			if err != nil && !strings.Contains(err.Error(), "reset") {
				t.Errorf("reading ended with %v", err)
			}
			if len(answer) > 64 { // an S and a TLS alert at most
				t.Errorf("it was answered with %q", answer)
			}
		})
	}
}

func TestBrokenStartupPacketsAreAnswered(t *testing.T) {
	t.Parallel()
	g := serve(t, newWorld(t), func(o *gateway.Options) { o.AllowPlaintext = true })
	cases := []struct {
		name   string
		packet []byte
		code   string
	}{
		{"protocol 2", startupPacket(2<<16, "user", "app"), "0A000"},
		{"protocol 4", startupPacket(4<<16, "user", "app"), "0A000"},
		{"no terminator", []byte{0, 0, 0, 13, 0, 3, 0, 0, 'u', 's', 'e', 'r', 0}, "08P01"},
		{"a name without a value", startupPacket(version30, "user", "app", "database"), "08P01"},
		{"bytes behind the terminator", startupPacket(version30, "user", "app", "", "x"), "08P01"},
		{"nothing in it", startupPacket(version30), "28000"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := g.dial()
			send(t, conn, c.packet)
			if response := refused(t, conn); response.Code != c.code {
				t.Errorf("answered %s %q, want %s", response.Code, response.Message, c.code)
			}
		})
	}
}

// A client that sends one byte now and then is closed when the startup's time is up, however lively it is.
func TestSlowStartupIsClosed(t *testing.T) {
	t.Parallel()
	g := serve(t, newWorld(t), func(o *gateway.Options) { o.StartupTimeout = 100 * time.Millisecond })
	conn := g.dial()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.ReadAll(conn)
	}()
	packet := startupPacket(version30, "user", strings.Repeat("x", 5000))
	for sent := 0; ; sent++ {
		select {
		case <-ended:
			return
		case <-time.After(5 * time.Millisecond):
			_, _ = conn.Write(packet[sent%1000 : sent%1000+1])
		}
	}
}
