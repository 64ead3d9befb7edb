package docker_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func TestNewRefusesBadOptions(t *testing.T) {
	t.Parallel()
	volumePath := func(string) (string, error) { return "", driver.ErrNotFound }
	for name, opts := range map[string]docker.Options{
		"relative run directory": {RunDir: "run", Installation: "a", VolumePath: volumePath},
		"long run directory":     {RunDir: "/tmp/" + strings.Repeat("x", 60), Installation: "a", VolumePath: volumePath},
		"no installation":        {RunDir: "/tmp/mft-never", VolumePath: volumePath},
		"odd installation":       {RunDir: "/tmp/mft-never", Installation: "a/b", VolumePath: volumePath},
		"no volumes":             {RunDir: "/tmp/mft-never", Installation: "a"},
		"odd host":               {RunDir: "/tmp/mft-never", Installation: "a", VolumePath: volumePath, Host: "nonsense"},
	} {
		if engine, err := docker.New(opts); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: got %v, %v; want code %s", name, engine, err, mayfly.CodeInvalid)
		}
	}
	_ = os.Remove("/tmp/mft-never") // made before the host is looked at
}

// calls does everything that an engine can do.
func calls(ctx context.Context, engine *docker.Engine, image driver.Image) map[string]error {
	errs := map[string]error{
		"create": engine.Create(ctx, driver.InstanceSpec{ID: "x", Image: image.ID, Volume: "x"}),
		"start":  engine.Start(ctx, "x"),
		"stop":   engine.Stop(ctx, "x", time.Second),
		"remove": engine.Remove(ctx, "x"),
		"stale":  engine.RemoveStaleRuns(ctx),
	}
	_, errs["image"] = engine.Image(ctx, "", image.Major)
	_, errs["image by reference"] = engine.Image(ctx, "localhost:1/none:1", 0)
	_, errs["list"] = engine.List(ctx, nil)
	_, errs["inspect"] = engine.Inspect(ctx, "x")
	_, errs["logs"] = engine.Logs(ctx, "x", 1)
	_, errs["memory"] = engine.Memory(ctx, "x")
	_, errs["probe"] = engine.Probe(ctx)
	_, errs["run"] = engine.Run(ctx, driver.RunSpec{Image: image.ID, Command: []string{"true"}})
	return errs
}

func wantUnavailable(t *testing.T, call string, err error) {
	t.Helper()
	if mayfly.ErrorCode(err) != mayfly.CodeEngineUnavailable || mayfly.ErrorHint(err) == "" {
		t.Errorf("%s without an engine: got %v (hint %q), want code %s and a hint", call, err, mayfly.ErrorHint(err), mayfly.CodeEngineUnavailable)
	}
}

func TestEngineIsDown(t *testing.T) {
	t.Parallel()
	b, image := newBench(t), pgtest.Image(t, 0)
	engine := b.open(t, docker.Options{Host: "unix:///tmp/mft-no-such-engine.sock"})
	for call, err := range calls(t.Context(), engine, image) {
		wantUnavailable(t, call, err)
	}
}

// flaky forwards a Unix socket to the engine's until it is cut.
type flaky struct {
	path     string
	engine   string // the real one's
	mu       sync.Mutex
	down     bool
	listener net.Listener
	conns    []net.Conn
}

func newFlaky(t *testing.T, dir string) *flaky {
	t.Helper()
	engine, local := strings.CutPrefix(newClient(t).DaemonHost(), "unix://")
	if !local {
		t.Skip("the engine is not reached through a Unix socket")
	}
	f := &flaky{path: filepath.Join(dir, "engine.sock"), engine: engine}
	var err error
	if f.listener, err = net.Listen("unix", f.path); err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			conn, err := f.listener.Accept()
			if err != nil {
				return
			}
			done.Go(func() { f.serve(conn) })
		}
	})
	t.Cleanup(func() {
		f.cut()
		_ = f.listener.Close()
		done.Wait()
	})
	return f
}

func (f *flaky) serve(conn net.Conn) {
	engine, err := net.Dial("unix", f.engine)
	if err != nil {
		_ = conn.Close()
		return
	}
	f.mu.Lock()
	down := f.down
	f.conns = append(f.conns, conn, engine)
	f.mu.Unlock()
	if down {
		_, _ = conn.Close(), engine.Close()
		return
	}
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(engine, conn); _ = engine.(*net.UnixConn).CloseWrite() })
	both.Go(func() { _, _ = io.Copy(conn, engine); _ = conn.(*net.UnixConn).CloseWrite() })
	both.Wait()
	_, _ = conn.Close(), engine.Close()
}

func (f *flaky) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = true
	for _, conn := range f.conns {
		_ = conn.Close()
	}
	f.conns = nil
}

func (f *flaky) restore() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = false
}

// TestEngineGoesAway cuts the connection in the middle of a run, and then lets the engine come back.
func TestEngineGoesAway(t *testing.T) {
	t.Parallel()
	b, image := newBench(t), pgtest.Image(t, 0)
	socket := newFlaky(t, filepath.Dir(b.dir))
	engine := b.open(t, docker.Options{Host: "unix://" + socket.path})
	reader, writer := io.Pipe()
	go func() {
		_, _ = reader.Read(make([]byte, 8)) // "up": the command runs
		socket.cut()
		_, _ = io.Copy(io.Discard, reader)
	}()
	_, err := engine.Run(t.Context(), sleeper(image.ID, writer))
	wantUnavailable(t, "run, cut in the middle,", err)
	for call, err := range calls(t.Context(), engine, image) {
		wantUnavailable(t, call, err)
	}
	socket.restore()
	if _, err := engine.Probe(t.Context()); err != nil {
		t.Errorf("probe after the engine came back: %v", err)
	}
	// The run's container could not be removed. Its process still lives, so only closing it gives the container up.
	if err := engine.Close(); err != nil {
		t.Fatal(err)
	}
	if err := b.engine.RemoveStaleRuns(t.Context()); err != nil {
		t.Errorf("remove the run that was cut off: %v", err)
	}
}

// TestRunDirectoryIsLost is a reboot with the run directory in memory.
func TestRunDirectoryIsLost(t *testing.T) {
	t.Parallel()
	b, image := newBench(t), pgtest.Image(t, 0)
	ctx := t.Context()
	b.volume(t, "v", image.User)
	if err := cluster.Init(ctx, b.engine, image, "v", cluster.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	spec := driver.InstanceSpec{ID: "lost", Image: image.ID, Volume: "v", Args: cluster.Args(cluster.Preview)}
	if err := b.engine.Create(ctx, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.engine.Remove(context.Background(), "lost") })
	if err := errors.Join(os.RemoveAll(filepath.Join(b.runDir, "lost")), os.RemoveAll(filepath.Join(b.runDir, ".volumes"))); err != nil {
		t.Fatal(err)
	}
	fresh := b.open(t, docker.Options{}) // knows nothing from before
	if err := fresh.Start(ctx, "lost"); err != nil {
		t.Fatalf("start without the run directory: %v", err)
	}
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	conn, err := cluster.WaitReady(wait, fresh, "lost", "postgres", nil)
	if err != nil {
		t.Fatalf("connect: %v", err)
	}
	_ = conn.Close(ctx)
}
