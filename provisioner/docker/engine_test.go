package docker_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/client"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/provisioner/driver/drivertest"
)

func TestMain(m *testing.M) {
	if os.Getenv(hangVariable) != "" {
		os.Exit(hang()) //nolint:forbidigo // this is the main of another process
	}
	pgtest.Main(m)
}

func TestEngine(t *testing.T) {
	t.Parallel()
	drivertest.RunEngine(t, newEngineUnderTest)
}

// bench is an engine with storage of its own, so that a test may break it.
type bench struct {
	engine       *docker.Engine
	installation string
	dir          string // volumes are directories in it
	runDir       string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	base, err := os.MkdirTemp("/tmp", "mft-") // not TempDir: paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{installation: mayfly.NewID("test-"), dir: filepath.Join(base, "volumes"), runDir: filepath.Join(base, "run")}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	if err := os.Mkdir(b.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	b.engine = b.open(t, docker.Options{})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if left, err := b.engine.Containers(ctx, nil); err != nil || len(left) > 0 {
			t.Errorf("containers are left: %v, error %v", left, err)
		}
		if err := b.engine.RemoveAll(ctx); err != nil {
			t.Errorf("remove what is left: %v", err)
		}
	})
	return b
}

// open returns another engine on the same storage, as another process would have; opts may change what it sees.
func (b *bench) open(t *testing.T, opts docker.Options) *docker.Engine {
	t.Helper()
	if opts.Installation == "" {
		opts.Installation = b.installation
	}
	if opts.RunDir == "" {
		opts.RunDir = b.runDir
	}
	opts.VolumePath = b.path
	engine, err := docker.New(opts)
	if err != nil {
		t.Fatalf("open the engine: %v", err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close the engine: %v", err)
		}
	})
	return engine
}

func (b *bench) path(id string) (string, error) {
	path := filepath.Join(b.dir, id)
	if _, err := os.Stat(path); err != nil {
		return "", errors.Join(driver.ErrNotFound, err)
	}
	return path, nil
}

func (b *bench) volume(tb testing.TB, id string, owner driver.Owner) {
	tb.Helper()
	path := filepath.Join(b.dir, id)
	if err := errors.Join(os.Mkdir(path, 0o700), os.Chown(path, owner.UID, owner.GID)); err != nil {
		tb.Fatalf("make volume %s: %v", id, err)
	}
}

func newEngineUnderTest(t *testing.T) drivertest.EngineUnderTest {
	t.Helper()
	b := newBench(t)
	image := pgtest.Image(t, 0)
	api := newClient(t)
	return drivertest.EngineUnderTest{
		Engine:    b.engine,
		Other:     b.open(t, docker.Options{Installation: mayfly.NewID("other-"), RunDir: b.runDir + "2"}),
		Image:     image,
		NewVolume: func(tb testing.TB, id string) { tb.Helper(); b.volume(tb, id, image.User) },
		VolumeExists: func(id string) bool {
			_, err := os.Lstat(filepath.Join(b.dir, id))
			return err == nil
		},
		Containers: b.engine.Containers,
		Kill: func(tb testing.TB, id string) {
			tb.Helper()
			if err := api.ContainerKill(tb.Context(), b.name(id), "KILL"); err != nil {
				tb.Fatalf("kill instance %s: %v", id, err)
			}
			ended, failed := api.ContainerWait(tb.Context(), b.name(id), container.WaitConditionNotRunning)
			select {
			case <-ended:
			case err := <-failed:
				tb.Fatalf("wait for instance %s to end: %v", id, err)
			}
		},
		Foreign: func(tb testing.TB, id string) func() bool {
			tb.Helper()
			return foreign(tb, api, b.name(id), image.ID)
		},
		MissingImage: "localhost:1/mayfly/none:15",
	}
}

// name is what the engine calls an instance's container.
func (b *bench) name(id string) string { return "mayfly-" + b.installation + "-" + id }

// foreign starts a container without our labels under a name that the engine would use.
func foreign(tb testing.TB, api *client.Client, name, image string) func() bool {
	tb.Helper()
	ctx := tb.Context()
	created, err := api.ContainerCreate(ctx, &container.Config{Image: image, Entrypoint: []string{"sleep", "600"}},
		&container.HostConfig{NetworkMode: "none"}, nil, nil, name)
	if err != nil {
		tb.Fatalf("make a foreign container: %v", err)
	}
	tb.Cleanup(func() {
		if err := api.ContainerRemove(context.Background(), created.ID, container.RemoveOptions{Force: true}); err != nil {
			tb.Errorf("remove the foreign container: %v", err)
		}
	})
	if err := api.ContainerStart(ctx, created.ID, container.StartOptions{}); err != nil {
		tb.Fatalf("start a foreign container: %v", err)
	}
	return func() bool {
		found, err := api.ContainerInspect(ctx, created.ID)
		return err == nil && found.State.Running && found.Name == "/"+name
	}
}

func newClient(tb testing.TB) *client.Client {
	tb.Helper()
	api, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = api.Close() })
	return api
}
