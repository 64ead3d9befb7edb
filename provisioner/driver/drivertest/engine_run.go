package drivertest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func itoa(n int) string { return strconv.Itoa(n) }

func runTests() []engineTest {
	return []engineTest{
		{"run carries bytes both ways", testRunStreams},
		{"run reports exit code and standard error", testRunExit},
		{"run without reading its input", testRunUnreadInput},
		{"run what does not exist", testRunMissingCommand},
		{"run is cancelled", testRunCancel},
		{"run is cancelled at any moment", testRunCancelEarly},
		{"run whose output nobody takes", testRunWriterFails},
		{"run with environment, files and volume", testRunMounts},
		{"run reaches an instance", testRunSocket},
		{"run reaches a listener", testRunListener},
		{"run with a listener that hangs", testRunListenerCancel},
	}
}

// nothingLeft fails the test if a container with the role exists, or anything of a listener.
func (s *engineSuite) nothingLeft(t *testing.T, role string) {
	t.Helper()
	names, err := s.Containers(t.Context(), map[string]string{"role": role})
	s.must(t, "list all containers", err)
	if len(names) > 0 {
		t.Errorf("containers are left: %v", names)
	}
}

func testRunStreams(t *testing.T, s *engineSuite) {
	const size = 20 << 20
	sent, received := sha256.New(), sha256.New()
	source := rand.NewChaCha8([32]byte{1}) // all byte values, and not a multiple of any buffer's size
	result, err := s.Engine.Run(t.Context(), driver.RunSpec{
		Image: s.Image.ID, Command: []string{"cat"}, Stdin: io.TeeReader(io.LimitReader(source, size+17), sent), Stdout: received,
	})
	s.must(t, "run cat", err)
	if result.ExitCode != 0 || !bytes.Equal(sent.Sum(nil), received.Sum(nil)) {
		t.Errorf("what went through cat came back changed (exit code %d)", result.ExitCode)
	}
}

func testRunExit(t *testing.T, s *engineSuite) {
	var stdout, stderr bytes.Buffer
	out, result := s.shell(t, `echo to-stdout; i=0; while [ $i -lt 3000 ]; do echo "line $i of the standard error output" >&2; i=$((i+1)); done; exit 3`,
		func(r *driver.RunSpec) { r.Stdout, r.Stderr = &stdout, &stderr })
	if result.ExitCode != 3 || result.OOMKilled {
		t.Errorf("exit code %d, OOMKilled %t; want 3, false", result.ExitCode, result.OOMKilled)
	}
	if stdout.String() != "to-stdout\n" {
		t.Errorf("standard output is %q", stdout.String())
	}
	if !strings.HasPrefix(stderr.String(), "line 0 ") || !strings.HasSuffix(stderr.String(), "line 2999 of the standard error output\n") {
		t.Errorf("standard error of %d bytes is not whole", stderr.Len())
	}
	if len(result.Stderr) != 64<<10 || !strings.HasSuffix(out, "line 2999 of the standard error output") {
		t.Errorf("the kept end of standard error has %d bytes, want the last %d", len(result.Stderr), 64<<10)
	}
}

// endless is an input that blocks after its first bytes, as a network connection may.
type endless struct{ ctx context.Context }

func (e endless) Read([]byte) (int, error) { <-e.ctx.Done(); return 0, e.ctx.Err() }

func testRunUnreadInput(t *testing.T, s *engineSuite) {
	for name, in := range map[string]io.Reader{"blocked": endless{t.Context()}, "infinite": rand.NewChaCha8([32]byte{})} {
		result, err := s.Engine.Run(t.Context(), driver.RunSpec{Image: s.Image.ID, Command: []string{"true"}, Stdin: in})
		if err != nil || result.ExitCode != 0 {
			t.Errorf("true with %s input: %+v, error %v", name, result, err)
		}
	}
}

func testRunMissingCommand(t *testing.T, s *engineSuite) {
	role := mayfly.NewID("r")
	result, err := s.Engine.Run(t.Context(), driver.RunSpec{
		Image: s.Image.ID, Command: []string{"no-such-program"}, Labels: map[string]string{"role": role},
	})
	if err == nil && result.ExitCode == 0 {
		t.Error("running a program that does not exist succeeded")
	}
	if errors.Is(err, driver.ErrNotFound) {
		t.Errorf("a missing program looks like a missing volume: %v", err)
	}
	s.nothingLeft(t, role)
	if _, err := s.Engine.Run(t.Context(), driver.RunSpec{Image: s.Image.ID}); err == nil {
		t.Error("running no command at all succeeded")
	}
}

// signal is a writer that tells when the command has written something.
type signal struct {
	once sync.Once
	seen chan struct{}
}

func (s *signal) Write(p []byte) (int, error) {
	s.once.Do(func() { close(s.seen) })
	return len(p), nil
}

func testRunCancel(t *testing.T, s *engineSuite) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	started := &signal{seen: make(chan struct{})}
	go func() {
		<-started.seen
		cancel()
	}()
	role := mayfly.NewID("r")
	_, err := s.Engine.Run(ctx, driver.RunSpec{Image: s.Image.ID, Command: []string{"sh", "-c", "echo up; sleep 1000"}, Stdout: started,
		Labels: map[string]string{"role": role}})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run: got error %v, want context.Canceled", err)
	}
	s.nothingLeft(t, role)
}

func testRunCancelEarly(t *testing.T, s *engineSuite) {
	role := mayfly.NewID("r")
	var group sync.WaitGroup
	limit := make(chan struct{}, 3)
	for step := range 12 {
		group.Go(func() {
			limit <- struct{}{}
			defer func() { <-limit }()
			// The moments differ by milliseconds, the scale of the engine's own steps.
			cut := time.Duration(step*step) * time.Millisecond
			ctx, cancel := context.WithTimeout(t.Context(), cut)
			defer cancel()
			_, err := s.Engine.Run(ctx, driver.RunSpec{Image: s.Image.ID, Command: []string{"sleep", "1000"},
				Labels: map[string]string{"role": role}, Listener: func(c net.Conn) { _ = c.Close() }})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("a run cut after %s: got error %v, want context.DeadlineExceeded", cut, err)
			}
		})
	}
	group.Wait()
	s.nothingLeft(t, role)
}

func testRunWriterFails(t *testing.T, s *engineSuite) {
	broken := errors.New("the disk is full")
	role := mayfly.NewID("r")
	_, err := s.Engine.Run(t.Context(), driver.RunSpec{Image: s.Image.ID, Command: []string{"sh", "-c", "while :; do echo more; done"},
		Stdout: failing{broken}, Labels: map[string]string{"role": role}})
	if !errors.Is(err, broken) {
		t.Errorf("a run whose output cannot be written: got error %v, want %v", err, broken)
	}
	s.nothingLeft(t, role)
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

func testRunMounts(t *testing.T, s *engineSuite) {
	volume := mayfly.NewID("e")
	s.NewVolume(t, volume)
	file := filepath.Join(t.TempDir(), "input")
	s.must(t, "write a file", os.WriteFile(file, []byte("from the host"), 0o644))
	change := func(r *driver.RunSpec) {
		r.Volume, r.Env, r.Files = volume, []string{"GREETING=hello"}, map[string]string{"/input/file": file}
	}
	out, result := s.shell(t, `echo "$GREETING, $(cat /input/file), PGDATA=${PGDATA-unset}"; echo kept >/mayfly/volume/x; echo x >>/input/file`, change)
	if result.ExitCode == 0 || !strings.HasPrefix(out, "hello, from the host, PGDATA=unset") {
		t.Errorf("exit code %d, output %q; want the file to be readable, not writable", result.ExitCode, out)
	}
	if out, _ := s.shell(t, "cat /mayfly/volume/x", change); out != "kept" {
		t.Errorf("the volume holds %q after another run, want %q", out, "kept")
	}
}

func testRunSocket(t *testing.T, s *engineSuite) {
	spec, _ := s.running(t)
	out, result := s.shell(t, "pg_isready -h "+driver.SocketDir, func(r *driver.RunSpec) { r.Socket = spec.ID })
	if result.ExitCode != 0 {
		t.Errorf("pg_isready through the instance's socket: exit code %d: %s", result.ExitCode, out)
	}
}

func testRunListener(t *testing.T, s *engineSuite) {
	spec, conn := s.running(t)
	if _, err := conn.Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'for-this-test'"); err != nil {
		t.Fatal(err)
	}
	var accepted, returned atomic.Int32
	handle := func(client net.Conn) {
		accepted.Add(1)
		defer returned.Add(1)
		server, err := s.Engine.Dial(t.Context(), spec.ID)
		if err != nil {
			t.Errorf("dial for the listener: %v", err)
			return
		}
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		_, _ = io.Copy(client, server)
	}
	script := `pg_isready -q -h /mayfly/socket || exit 9
for i in 1 2 3; do psql -X -A -t -h /mayfly/socket -U app postgres -c "SELECT $i, current_user" & done; wait`
	out, result := s.shell(t, script, func(r *driver.RunSpec) {
		r.Listener, r.Env = handle, []string{"PGPASSWORD=for-this-test"}
	})
	if result.ExitCode != 0 || accepted.Load() < 4 {
		t.Errorf("exit code %d, %d connections: %s", result.ExitCode, accepted.Load(), out)
	}
	for i := 1; i <= 3; i++ {
		if !strings.Contains(out, fmt.Sprintf("%d|app", i)) {
			t.Errorf("psql number %d did not get through the listener: %s", i, out)
		}
	}
	if accepted.Load() != returned.Load() {
		t.Errorf("run returned while %d of %d callbacks were still busy", accepted.Load()-returned.Load(), accepted.Load())
	}
}

func testRunListenerCancel(t *testing.T, s *engineSuite) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	role := mayfly.NewID("r")
	_, err := s.Engine.Run(ctx, driver.RunSpec{
		Image: s.Image.ID, Command: []string{"psql", "-h", driver.SocketDir, "-U", "nobody", "postgres"},
		Listener: func(c net.Conn) {
			cancel()
			_, _ = io.Copy(io.Discard, c) // never answers
		},
		Labels: map[string]string{"role": role},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("a cancelled run with a listener: got error %v, want context.Canceled", err)
	}
	s.nothingLeft(t, role)
}
