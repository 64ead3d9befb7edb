package docker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/docker/api/types/container"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

func frame(stream byte, payload string) []byte {
	header := make([]byte, 8, 8+len(payload))
	header[0] = stream
	binary.BigEndian.PutUint32(header[4:], uint32(len(payload)))
	return append(header, payload...)
}

func TestDemultiplex(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("0123456789", 100_000)
	whole := bytes.Join([][]byte{frame(1, "a"), frame(2, "problem"), frame(1, ""), frame(1, long), frame(0, "z")}, nil)
	var out, errs bytes.Buffer
	if err := demultiplex(bytes.NewReader(whole), &out, &errs); err != nil {
		t.Fatalf("a whole stream: %v", err)
	}
	if out.String() != "a"+long+"z" || errs.String() != "problem" {
		t.Errorf("%d bytes of output and %q", out.Len(), errs.String())
	}
	for _, cut := range []int{1, 7, 8, 9 + 3, len(whole) - 1} {
		if cut == 8 { // a header that promises a byte which never comes
			if err := demultiplex(bytes.NewReader(whole[:8]), io.Discard, io.Discard); err == nil {
				t.Error("a frame without its payload was accepted")
			}
			continue
		}
		if err := demultiplex(bytes.NewReader(whole[:cut]), io.Discard, io.Discard); err == nil {
			t.Errorf("a stream cut after %d bytes was accepted", cut)
		}
	}
	if err := demultiplex(bytes.NewReader(frame(7, "x")), io.Discard, io.Discard); err == nil {
		t.Error("a frame of an unknown stream was accepted")
	}
}

func FuzzDemultiplex(f *testing.F) {
	f.Add(frame(1, "a"))
	f.Add(append(frame(2, "b"), 1, 0, 0))
	f.Fuzz(func(t *testing.T, stream []byte) {
		var out bytes.Buffer
		_ = demultiplex(bytes.NewReader(stream), &out, &out)
		if out.Len() > len(stream) {
			t.Errorf("%d bytes came out of %d", out.Len(), len(stream))
		}
	})
}

func TestTailKeepsTheEnd(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	end := &tail{next: &all}
	for i := range 50_000 {
		_, _ = end.Write([]byte(strings.Repeat(string(rune('a'+i%26)), 7)))
	}
	want := all.Bytes()[all.Len()-tailBytes:]
	if !bytes.Equal(end.last(), want) {
		t.Errorf("kept %d bytes that are not the end of what was written", len(end.last()))
	}
}

func TestImageFacts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		out   string
		major int
		user  driver.Owner
	}{
		{"999\n999\npostgres (PostgreSQL) 17.2 (Debian 17.2-1.pgdg120+1)\n0\n", 17, driver.Owner{UID: 999, GID: 999}},
		{"70\n71\npostgres (PostgreSQL) 18beta1\n0\n", 18, driver.Owner{UID: 70, GID: 71}},
		{"101\n104\npostgres (PostgreSQL) 13devel\n       0\n", 13, driver.Owner{UID: 101, GID: 104}},
	} {
		var facts imageFacts
		if err := facts.parse(c.out); err != nil || facts.major != c.major || facts.user != c.user {
			t.Errorf("%q: %+v, error %v; want %d, %+v", c.out, facts, err, c.major, c.user)
		}
	}
	for _, out := range []string{"", "1\n2\n", "a\n1\npostgres (PostgreSQL) 17.2", "1\n1\npostgres", "1\n1\npostgres (PostgreSQL) devel\n0", "1\n1\npostgres (PostgreSQL) 15.1\nx"} {
		if err := new(imageFacts).parse(out); err == nil {
			t.Errorf("%q was accepted", out)
		}
	}
}

func TestExitCodeOfStatus(t *testing.T) {
	t.Parallel()
	for status, want := range map[string]int{
		"Exited (0) 2 seconds ago": 0, "Exited (137) About an hour ago": 137, "Up 3 minutes": 0, "Created": 0, "": 0,
	} {
		if got := exitCode(status); got != want {
			t.Errorf("%q: exit code %d, want %d", status, got, want)
		}
	}
}

func TestResidentLeavesOutThePageCache(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stats map[string]uint64
		want  int64
	}{
		"version 1":   {map[string]uint64{"total_active_file": 100, "total_inactive_file": 300, "active_file": 1, "inactive_file": 2}, 600},
		"version 2":   {map[string]uint64{"active_file": 100, "inactive_file": 300}, 600},
		"not running": {nil, 1000},
		"odd":         {map[string]uint64{"inactive_file": 5000}, 0},
	} {
		if got := resident(container.MemoryStats{Usage: 1000, Stats: c.stats}); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

func TestPullProgress(t *testing.T) {
	t.Parallel()
	alive := 0
	err := followPull(strings.NewReader(`{"status":"Pulling"} {"status":"Retrying in 5 seconds"} {"error":"toomanyrequests"}`), func() { alive++ })
	if err == nil || err.Error() != "toomanyrequests" || alive != 1 {
		t.Errorf("error %v, %d signs of life; want the registry's message, 1", err, alive)
	}
	if err := followPull(strings.NewReader(`{"status":"Pulling"} {`), func() {}); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a cut stream gives %v", err)
	}
}

// TestListenerBoundsConnections opens more connections than a command may have: each would take a file descriptor from everybody else.
func TestListenerBoundsConnections(t *testing.T) {
	t.Parallel()
	e := &Engine{runDir: t.TempDir(), log: slog.New(slog.DiscardHandler), owner: &owner{id: "o"}}
	handle := func(conn net.Conn) {
		_, _ = conn.Write([]byte("x"))
		_, _ = io.Copy(io.Discard, conn)
	}
	l, err := e.listenAt(t.Context(), map[string]func(net.Conn){"a": handle, "b": handle})
	if err != nil {
		t.Fatal(err)
	}
	var conns []net.Conn
	dial := func(name string) (net.Conn, bool) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "unix", filepath.Join(l.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		n, _ := conn.Read(make([]byte, 1))
		return conn, n == 1
	}
	t.Cleanup(func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
		if err := l.close(); err != nil {
			t.Error(err)
		}
	})
	served := 0
	for i := range maxRunConns + 20 {
		if _, ok := dial([]string{"a", "b"}[i%2]); ok {
			served++
		}
	}
	if served != maxRunConns {
		t.Errorf("%d connections are served, not %d", served, maxRunConns)
	}
	_ = conns[0].Close()
	for { // it is noticed a moment later
		if _, ok := dial("a"); ok {
			return
		}
	}
}
