package docker_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

const socketName = ".s.PGSQL.5432"

// startInstance runs a real Postgres that ends with the test, and returns its socket directory.
func startInstance(t *testing.T, b *bench, id string) string {
	t.Helper()
	ctx, image := t.Context(), pgtest.Image(t, 0)
	b.volume(t, id, image.User)
	if err := cluster.Init(ctx, b.engine, image, id, cluster.InitOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.engine.Create(ctx, driver.InstanceSpec{ID: id, Image: image.ID, Volume: id, Args: cluster.Args(cluster.Preview)}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.engine.Remove(context.Background(), id) })
	if err := b.engine.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	wantPostgres(t, b, id)
	return b.engine.SocketDir(id)
}

func wantPostgres(t *testing.T, b *bench, id string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := cluster.WaitReady(ctx, b.engine, id, "postgres", nil)
	if err != nil {
		t.Fatalf("connect to instance %s: %v", id, err)
	}
	_ = conn.Close(ctx)
}

// A host's socket must not be reachable by putting something that leads to it in the place of an instance's socket.
func TestDialRefusesWhatTheInstancesPostgresDidNotMake(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := startInstance(t, b, "hostile")
	socket := filepath.Join(dir, socketName)
	away := filepath.Join(dir, "real")
	hosts := filepath.Join(b.dir, "host.sock") // on the same file system, so that a hard link is possible
	listener, err := net.Listen("unix", hosts)
	if err != nil {
		t.Fatal(err)
	}
	reached := make(chan struct{}, 100)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				close(reached)
				return
			}
			_ = conn.Close()
			reached <- struct{}{}
		}
	}()
	if err := os.Rename(socket, away); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func() error{
		"symbolic link":           func() error { return os.Symlink(hosts, socket) },
		"link to its own socket":  func() error { return os.Symlink("real", socket) },
		"hard link":               func() error { return os.Link(hosts, socket) },
		"regular file":            func() error { return os.WriteFile(socket, []byte("x"), 0o600) },
		"directory":               func() error { return os.Mkdir(socket, 0o700) },
		"link into the host's fs": func() error { return os.Symlink("/var/run/docker.sock", socket) },
	} {
		if err := put(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		conn, err := b.engine.Dial(t.Context(), "hostile")
		if err == nil {
			_ = conn.Close()
			t.Errorf("%s: Dial connected", name)
		}
		if errors.Is(err, driver.ErrNotFound) {
			t.Errorf("%s: Dial says %v, want a refusal that tells it from an instance that is not up", name, err)
		}
		if err := os.Remove(socket); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if _, err := b.engine.Dial(t.Context(), "hostile"); !errors.Is(err, driver.ErrNotFound) {
		t.Errorf("without a socket, Dial says %v, want ErrNotFound", err)
	}
	_ = listener.Close()
	if _, ok := <-reached; ok {
		t.Error("the host's socket was connected to")
	}
	if err := os.Rename(away, socket); err != nil {
		t.Fatal(err)
	}
	wantPostgres(t, b, "hostile")
}

// The directory entry itself is root's, but should it ever be a link, it is not followed either.
func TestDialDoesNotFollowTheSocketDirectory(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := startInstance(t, b, "linked")
	if err := os.Symlink(dir, filepath.Join(b.runDir, "other")); err != nil {
		t.Fatal(err)
	}
	if conn, err := b.engine.Dial(t.Context(), "other"); err == nil {
		_ = conn.Close()
		t.Error("Dial followed a link in the place of a socket directory")
	}
	if err := os.Remove(filepath.Join(b.runDir, "other")); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAnInstancePutsBesideItsSocketIsRemoved(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := startInstance(t, b, "hoarder")
	outside := filepath.Join(b.dir, "outside")
	held, err := os.Create(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	_, err = held.Write(make([]byte, 1<<20))
	if err := errors.Join(
		err,
		os.WriteFile(outside, []byte("keep"), 0o600),
		os.Symlink(outside, filepath.Join(dir, "link")),
		os.MkdirAll(filepath.Join(dir, "a", "b"), 0o700),
		os.Symlink(b.dir, filepath.Join(dir, "a", "b", "link")),
	); err != nil {
		t.Fatal(err)
	}
	if err := b.open(t, docker.Options{}).RemoveStaleRuns(t.Context()); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != socketName && entry.Name() != socketName+".lock" {
			t.Errorf("%s is left", entry.Name())
		}
	}
	if len(entries) != 2 {
		t.Errorf("%d entries are left, want the socket and its lock", len(entries))
	}
	if info, err := held.Stat(); err != nil || info.Size() != 0 {
		t.Errorf("a removed file that is open still takes %v, error %v", info.Size(), err)
	}
	if content, err := os.ReadFile(outside); err != nil || string(content) != "keep" {
		t.Errorf("a file outside holds %q, error %v: a link was followed", content, err)
	}
	wantPostgres(t, b, "hoarder")
}
