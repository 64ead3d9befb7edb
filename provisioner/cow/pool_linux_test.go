package cow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/provisioner/driver/drivertest"
)

// childEnv makes this test binary carry out one operation instead of tests: see child.
const childEnv = "MAYFLY_COW_TEST_CHILD"

// child is what the other process of a test is asked for.
type child struct {
	Dir    string               `json:"dir"`
	Driver string               `json:"driver"`
	Op     drivertest.VolumesOp `json:"op"`
	Step   int                  `json:"step"` // at which it kills itself; 0: never
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		os.Exit(runChild(text)) //nolint:forbidigo // this is the main of the other process
	}
	m.Run()
}

func runChild(text string) int {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var count atomic.Int64
	var armed atomic.Bool
	opts := Options{Dir: c.Dir, Driver: c.Driver, fault: func(string) {
		if armed.Load() && count.Add(1) == int64(c.Step) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // until the signal arrives
		}
	}}
	ctx := context.Background()
	pool, err := Open(ctx, opts)
	if err == nil {
		armed.Store(true)
		err = c.Op.Do(ctx, pool)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// inChild runs a child to its end and reports whether it lived to see it.
func inChild(tb testing.TB, c child) (ended bool, err error) {
	tb.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		return false, err
	}
	cmd := exec.CommandContext(tb.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signal() == syscall.SIGKILL && c.Step > 0 {
			return false, nil
		}
	}
	if err != nil {
		return false, fmt.Errorf("%w: %s", err, out)
	}
	return true, nil
}

// openPool opens a pool for the length of a test.
func openPool(tb testing.TB, opts Options) *Pool {
	tb.Helper()
	pool, err := Open(tb.Context(), opts)
	if err != nil {
		tb.Fatalf("open the pool: %v", err)
	}
	tb.Cleanup(func() { _ = pool.Close() })
	return pool
}

// poolUnderTest returns what the conformance suite needs of the pool at a directory, which is unmounted at the end.
func poolUnderTest(t *testing.T, opts Options, want string) drivertest.VolumesUnderTest {
	t.Helper()
	pool := openPool(t, opts)
	if got := pool.Describe().Driver; got != want {
		t.Fatalf("the driver chosen is %s, want %s: %+v", got, want, pool.Describe())
	}
	t.Cleanup(func() { unmountPool(t, pool) })
	full := opts
	full.ReserveBytes = 1 << 60
	return drivertest.VolumesUnderTest{
		Open: func(tb testing.TB) driver.Volumes {
			tb.Helper()
			return openPool(tb, opts)
		},
		Full: func(tb testing.TB) driver.Volumes {
			tb.Helper()
			return openPool(tb, full)
		},
		Path: pool.Path,
		Process: func(tb testing.TB, op drivertest.VolumesOp, step int) (bool, error) {
			tb.Helper()
			return inChild(tb, child{Dir: opts.Dir, Driver: opts.Driver, Op: op, Step: step})
		},
		Leftovers: func() ([]string, error) { return leftovers(opts.Dir) },
		Limits:    pool.Describe().Quota != "",
	}
}

func unmountPool(tb testing.TB, pool *Pool) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := pool.Unmount(ctx); err != nil {
		tb.Errorf("unmount the pool: %v", err)
	}
}

func createOp(i int) drivertest.VolumesOp {
	return drivertest.VolumesOp{Name: "create", ID: fmt.Sprintf("v%d", i)}
}

func leftovers(dir string) ([]string, error) {
	var names []string
	for _, part := range []string{"tmp", "trash"} {
		entries, err := os.ReadDir(filepath.Join(dir, part))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			names = append(names, filepath.Join(part, e.Name()))
		}
	}
	return names, nil
}

// mountImage mounts a fresh file system, made by the given program, for the length of a test.
func mountImage(t *testing.T, fsType, options string, mkfs ...string) string {
	t.Helper()
	dir, err := tryImage(t, fsType, options, mkfs...)
	if err != nil {
		t.Fatalf("mount a fresh %s: %v", fsType, err)
	}
	return dir
}

func tryImage(t *testing.T, fsType, options string, mkfs ...string) (string, error) {
	t.Helper()
	base := t.TempDir()
	img := image{file: filepath.Join(base, "disk.img"), dir: filepath.Join(base, "disk")}
	if err := errors.Join(os.WriteFile(img.file, nil, 0o600), os.Truncate(img.file, gib), os.Mkdir(img.dir, 0o700)); err != nil {
		return "", err
	}
	if err := img.run(t.Context(), "make a file system", mkfs[0], append(mkfs[1:], img.file)...); err != nil {
		return "", err
	}
	device, fd, err := attachLoop(t.Context(), img.file)
	if err != nil {
		return "", err
	}
	defer closeFD(fd)
	if err := unix.Mount(device, img.dir, fsType, unix.MS_NOATIME, options); err != nil {
		return "", err
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := img.unmount(ctx); err != nil {
			t.Error(err)
		}
	})
	return img.dir, nil
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounting needs root")
	}
}

func TestReflinkOnImage(t *testing.T) {
	needRoot(t)
	t.Parallel()
	drivertest.RunVolumes(t, func(t *testing.T) drivertest.VolumesUnderTest {
		v := poolUnderTest(t, Options{Dir: filepath.Join(t.TempDir(), "pool"), SizeBytes: gib}, DriverReflink)
		v.ReadOnly = true
		return v
	})
}

func TestReflinkOnBtrfs(t *testing.T) {
	needRoot(t)
	t.Parallel()
	drivertest.RunVolumes(t, func(t *testing.T) drivertest.VolumesUnderTest {
		dir := mountImage(t, "btrfs", "", "mkfs.btrfs", "-q")
		v := poolUnderTest(t, Options{Dir: filepath.Join(dir, "pool"), Driver: DriverReflink}, DriverReflink)
		v.ReadOnly = true
		return v
	})
}

func TestBtrfs(t *testing.T) {
	needRoot(t)
	t.Parallel()
	drivertest.RunVolumes(t, func(t *testing.T) drivertest.VolumesUnderTest {
		dir := mountImage(t, "btrfs", "", "mkfs.btrfs", "-q")
		enableSimpleQuotas(t, dir)
		v := poolUnderTest(t, Options{Dir: filepath.Join(dir, "pool")}, DriverBtrfs)
		v.ReadOnly = true
		return v
	})
}

// enableSimpleQuotas does what `btrfs quota enable --simple` does; Debian 12's btrfs-progs do not have it. Kernels before
// 6.7 do not either: the limits are not tested then.
func enableSimpleQuotas(t *testing.T, dir string) {
	t.Helper()
	const quotaControl, enableSimple = 0xc0109428, 4 // BTRFS_IOC_QUOTA_CTL, BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer closeFD(fd)
	args := struct{ command, status uint64 }{command: enableSimple}
	if err := ioctl(fd, quotaControl, &args); err != nil {
		t.Logf("no simple quotas: %v", err)
	}
}

func TestCopy(t *testing.T) {
	needRoot(t)
	t.Parallel()
	drivertest.RunVolumes(t, func(t *testing.T) drivertest.VolumesUnderTest {
		v := poolUnderTest(t, Options{Dir: filepath.Join(ext4WithQuotas(t), "pool"), Driver: DriverCopy}, DriverCopy)
		v.ReadOnly = true
		return v
	})
}

func TestOverlay(t *testing.T) {
	needRoot(t)
	t.Parallel()
	drivertest.RunVolumes(t, func(t *testing.T) drivertest.VolumesUnderTest {
		return poolUnderTest(t, Options{Dir: filepath.Join(ext4WithQuotas(t), "pool"), Driver: DriverOverlay}, DriverOverlay)
	})
}

// ext4WithQuotas mounts an ext4 with project quotas, which are set by the same calls as those of XFS, where the kernel has
// them.
func ext4WithQuotas(t *testing.T) string {
	t.Helper()
	dir, err := tryImage(t, "ext4", "prjquota", "mkfs.ext4", "-q", "-O", "quota,project", "-E", "quotatype=prjquota")
	if err == nil {
		return dir
	}
	t.Logf("limits are not tested: this kernel has no quotas on ext4: %v", err)
	return mountImage(t, "ext4", "", "mkfs.ext4", "-q")
}

func TestZFS(t *testing.T) {
	needRoot(t)
	if !hasProgram("zfs") || !hasProgram("zpool") {
		t.Skip("ZFS is not installed")
	}
	t.Parallel()
	drivertest.RunVolumes(t, func(t *testing.T) drivertest.VolumesUnderTest {
		base := t.TempDir()
		disk, name := filepath.Join(base, "disk"), "mayflytest"+strings.ToLower(randomName()[:8])
		if err := errors.Join(os.WriteFile(disk, nil, 0o600), os.Truncate(disk, gib)); err != nil {
			t.Fatal(err)
		}
		if err := (image{}).run(t.Context(), "make a pool", "zpool", "create", "-m", filepath.Join(base, "mnt"), name, disk); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := (image{}).run(context.Background(), "destroy the pool", "zpool", "destroy", "-f", name); err != nil {
				t.Error(err)
			}
		})
		v := poolUnderTest(t, Options{Dir: filepath.Join(base, "mnt", "pool")}, DriverZFS)
		v.ReadOnly, v.Leftovers = true, nil
		return v
	})
}
