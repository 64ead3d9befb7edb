package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// baseDir holds the directories of all test processes. Not os.TempDir: paths of Unix sockets must stay short.
const baseDir = "/tmp"

// basePrefix starts the names of these directories.
const basePrefix = "mf-"

// cleanupTimeout bounds the removal of everything at the end.
const cleanupTimeout = 2 * time.Minute

// process is what the tests of one process share. Each part is made at its first use.
type process struct {
	base string
	lock *os.File // locked while the process lives; see removeLeftovers

	engine  func() (*docker.Engine, error)
	cluster func() (*Server, error)
	relay   func() (string, error)
	storage storage

	mu         sync.Mutex
	madeServer *Server // nil until cluster was called
	madeEngine *docker.Engine
}

// shared is set by Run for as long as the tests run.
var shared struct { //nolint:gochecknoglobals // doc.go says why
	sync.Mutex
	process *process
}

// Main runs the tests, cleans up and exits. It is the whole of a TestMain.
func Main(m *testing.M) { os.Exit(Run(m)) } //nolint:forbidigo // it is the main of a test binary

// Run is Main without the exit, for a TestMain that has more to do. It returns the exit code.
func Run(m interface{ Run() int }) int {
	p, err := newProcess()
	if err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		return 1
	}
	shared.Lock()
	shared.process = p
	shared.Unlock()
	code := m.Run()
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	if err := p.close(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest:", err)
		code = max(code, 1)
	}
	return code
}

func newProcess() (*process, error) {
	base, err := os.MkdirTemp(baseDir, basePrefix)
	if err != nil {
		return nil, fmt.Errorf("make the test directory: %w", err)
	}
	p := &process{base: base}
	p.storage.dir = poolDir(base)
	p.lock, err = lockBase(base)
	if err != nil {
		return nil, err
	}
	p.engine = sync.OnceValues(p.startEngine)
	p.cluster = sync.OnceValues(p.startServer)
	p.relay = sync.OnceValues(p.buildRelay)
	return p, nil
}

// lockBase marks a test directory as in use.
func lockBase(base string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(base, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the test directory: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("lock the test directory: %w", err)
	}
	return file, nil
}

// current returns the shared process of a test.
func current(tb testing.TB) *process {
	tb.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.process == nil {
		tb.Fatal("the package's tests use pgtest without: func TestMain(m *testing.M) { pgtest.Main(m) }")
	}
	return shared.process
}

func (p *process) startEngine() (*docker.Engine, error) {
	removeLeftovers()
	engine, err := openEngine(p.base, p.volumePath)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if _, err := engine.Probe(ctx); err != nil {
		return nil, errors.Join(err, engine.Close())
	}
	p.mu.Lock()
	p.madeEngine = engine
	p.mu.Unlock()
	return engine, nil
}

// openEngine returns the engine of a test directory: its name is the installation id.
func openEngine(base string, volumePath func(string) (string, error)) (*docker.Engine, error) {
	return docker.New(docker.Options{
		RunDir:       filepath.Join(base, "run"),
		Installation: "test-" + filepath.Base(base),
		VolumePath:   volumePath,
	})
}

// plainDir is the host path of a volume that is a plain directory: what Start and Cluster use, so that a package that
// does not care about storage need not make a pool.
func (p *process) plainDir(id string) string { return filepath.Join(p.base, "plain", id) }

// volumePath finds a volume in the pool, if there is one, or else among the plain directories.
func (p *process) volumePath(id string) (string, error) {
	if !driver.ValidID(id) {
		return "", fmt.Errorf("volume %q: %w", id, driver.ErrInvalidID)
	}
	if _, err := os.Stat(p.plainDir(id)); err == nil {
		return p.plainDir(id), nil
	}
	return p.storage.path(id)
}

// makePlain makes an empty plain directory for the image's postgres user.
func (p *process) makePlain(id string, owner driver.Owner) error {
	dir := p.plainDir(id)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make volume %s: %w", id, err)
	}
	if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
		return fmt.Errorf("give volume %s to its user: %w", id, err)
	}
	return nil
}

// close removes everything, and reports containers that tests left.
func (p *process) close(ctx context.Context) error {
	p.mu.Lock()
	engine, server := p.madeEngine, p.madeServer
	p.mu.Unlock()
	var problems []error
	if server != nil {
		problems = append(problems, engine.Remove(ctx, server.ID))
	}
	if engine != nil {
		left, err := engine.Containers(ctx, nil)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("these tests left containers behind: %v", left)
		}
		problems = append(problems, err, engine.RemoveAll(ctx), engine.Close())
	}
	// Nothing may be deleted under a pool that is still mounted: the lock goes, and the next run tries again.
	err := p.storage.close(ctx)
	if err == nil {
		err = os.RemoveAll(p.base)
	}
	return errors.Join(append(problems, err, p.lock.Close())...)
}
