package cow

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// frozenVolume makes a frozen volume t1 with one file and its clone p1.
func frozenVolume(t *testing.T, pool *Pool) {
	t.Helper()
	ctx := t.Context()
	if err := pool.Create(ctx, "t1", driver.Owner{UID: 999, GID: 999}); err != nil {
		t.Fatal(err)
	}
	path, err := pool.Path("t1")
	if err == nil {
		err = os.WriteFile(filepath.Join(path, "file"), []byte("contents"), 0o600)
	}
	if err == nil {
		err = pool.Freeze(ctx, "t1")
	}
	if err == nil {
		err = pool.Clone(ctx, "t1", "p1", 0)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func wantFile(t *testing.T, pool *Pool, id, want string) {
	t.Helper()
	path, err := pool.Path(id)
	if err != nil {
		t.Errorf("path of volume %s: %v", id, err)
		return
	}
	if got, err := os.ReadFile(filepath.Join(path, "file")); string(got) != want {
		t.Errorf("volume %s holds %q (%v), want %q", id, got, err, want)
	}
}

// TestReopen unmounts everything, as a reboot does, and expects the volumes back.
func TestReopen(t *testing.T) {
	needRoot(t)
	t.Parallel()
	for _, name := range []string{DriverReflink, DriverOverlay, DriverCopy} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := Options{Dir: filepath.Join(t.TempDir(), "pool"), Driver: name, SizeBytes: gib}
			pool := openPool(t, opts)
			t.Cleanup(func() { unmountPool(t, pool) })
			frozenVolume(t, pool)
			path, err := pool.Path("p1")
			if err == nil {
				err = os.WriteFile(filepath.Join(path, "file"), []byte("changed"), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := pool.Delete(t.Context(), "t1"); err != nil {
				t.Fatal(err)
			}
			unmountPool(t, pool)
			opts.Driver = ""
			again := openPool(t, opts)
			if got := again.Describe().Driver; got != name {
				t.Errorf("reopened with the driver %s, was made with %s", got, name)
			}
			wantFile(t, again, "p1", "changed")
			list, err := again.List(t.Context())
			if err != nil || len(list) != 1 {
				t.Errorf("the pool lists %v (%v), want p1 alone", list, err)
			}
		})
	}
}

func TestOpenedByManyAtOnce(t *testing.T) {
	needRoot(t)
	t.Parallel()
	opts := Options{Dir: filepath.Join(t.TempDir(), "pool"), SizeBytes: gib}
	errs := make([]error, 6)
	var wait sync.WaitGroup
	for i := range errs {
		wait.Go(func() {
			if i%2 == 0 {
				_, err := inChild(t, child{Dir: opts.Dir, Op: createOp(i)})
				errs[i] = err
				return
			}
			pool, err := Open(t.Context(), opts)
			if err == nil {
				err = createOp(i).Do(t.Context(), pool)
			}
			errs[i] = err
		})
	}
	wait.Wait()
	pool := openPool(t, opts)
	t.Cleanup(func() { unmountPool(t, pool) })
	if err := errors.Join(errs...); err != nil {
		t.Fatalf("open the pool from several processes: %v", err)
	}
	list, err := pool.List(t.Context())
	if err != nil || len(list) != len(errs) {
		t.Errorf("of %d volumes made through different handles, %v are seen (%v)", len(errs), list, err)
	}
}

func TestProbeLeavesNothing(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	d, err := Probe(t.Context(), Options{Dir: filepath.Join(base, "data", "pool")})
	if err != nil {
		t.Fatal(err)
	}
	if d.Driver == "" || d.Why == "" || d.Cost == "" || d.Exists {
		t.Errorf("the description of a pool to be made lacks something: %+v", d)
	}
	entries, err := os.ReadDir(base)
	if err != nil || len(entries) > 0 {
		t.Errorf("probing left %v (%v)", entries, err)
	}
}

func TestDescribe(t *testing.T) {
	needRoot(t)
	t.Parallel()
	pool := openPool(t, Options{Dir: filepath.Join(ext4WithQuotas(t), "pool"), SizeBytes: 512 * mib})
	t.Cleanup(func() { unmountPool(t, pool) })
	d := pool.Describe()
	if d.Driver != DriverReflink || d.FileSystem != "xfs" || !strings.HasSuffix(d.Image, "pool.img") || !d.Exists || d.ReserveBytes <= 0 {
		t.Errorf("on ext4 an XFS image should be made, but this was: %+v", d)
	}
	if len(d.Rejected) != 3 {
		t.Errorf("zfs, btrfs and reflink in the directory itself should be rejected with reasons, but these are: %+v", d.Rejected)
	}
	if (d.Quota == "") != (len(d.Warnings) > 0) {
		t.Errorf("a pool that enforces no limits should warn, and only then: quota %q, warnings %q", d.Quota, d.Warnings)
	}
	probed, err := Probe(t.Context(), Options{Dir: d.Dir})
	if err != nil || probed.Driver != d.Driver || probed.Image != d.Image || !probed.Exists {
		t.Errorf("probing an existing pool gives %+v (%v)", probed, err)
	}
}

func TestRefusedOptions(t *testing.T) {
	needRoot(t)
	t.Parallel()
	ext4, made := ext4WithQuotas(t), filepath.Join(t.TempDir(), "pool")
	openPool(t, Options{Dir: made, Driver: DriverCopy})
	for name, opts := range map[string]Options{
		"no directory":               {},
		"unknown driver":             {Dir: filepath.Join(ext4, "pool"), Driver: "lvm"},
		"btrfs on ext4":              {Dir: filepath.Join(ext4, "pool"), Driver: DriverBtrfs},
		"zfs on ext4":                {Dir: filepath.Join(ext4, "pool"), Driver: DriverZFS},
		"too small":                  {Dir: filepath.Join(ext4, "pool"), SizeBytes: mib},
		"another driver than before": {Dir: made, Driver: DriverOverlay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Open(t.Context(), opts)
			if mayfly.ErrorCode(err) != mayfly.CodeInvalid {
				t.Fatalf("got error %v, want one with code %s", err, mayfly.CodeInvalid)
			}
			if opts.Dir != "" && mayfly.ErrorHint(err) == "" {
				t.Errorf("the error %q has no hint", err)
			}
		})
	}
}

func TestGrow(t *testing.T) {
	needRoot(t)
	t.Parallel()
	opts := Options{Dir: filepath.Join(t.TempDir(), "pool"), SizeBytes: 512 * mib}
	pool := openPool(t, opts)
	t.Cleanup(func() { unmountPool(t, pool) })
	frozenVolume(t, pool)
	total := func(p *Pool) int64 {
		st, err := p.Stat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return st.TotalBytes
	}
	small := total(pool)
	opts.SizeBytes = gib
	mounted := openPool(t, opts)
	if got := total(mounted); got < small+400*mib {
		t.Errorf("a mounted pool of %d bytes should have grown to 1 GiB, but has %d", small, got)
	}
	unmountPool(t, pool)
	opts.SizeBytes = 2 * gib
	reopened := openPool(t, opts)
	if got := total(reopened); got < gib+900*mib {
		t.Errorf("an unmounted pool should have grown to 2 GiB, but has %d", got)
	}
	opts.SizeBytes = 512 * mib
	if got := total(openPool(t, opts)); got < gib+900*mib {
		t.Errorf("a pool must never shrink, but has %d", got)
	}
	wantFile(t, reopened, "p1", "contents")
}

// TestDiskUnderImageFull checks that what is free on the disk under a sparse image counts.
func TestDiskUnderImageFull(t *testing.T) {
	needRoot(t)
	t.Parallel()
	disk := ext4WithQuotas(t)
	pool := openPool(t, Options{Dir: filepath.Join(disk, "pool"), SizeBytes: 8 * gib, ReserveBytes: 64 * mib})
	t.Cleanup(func() { unmountPool(t, pool) })
	frozenVolume(t, pool)
	_, free, err := statfs(disk)
	if err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(disk, "ballast")
	f, err := os.Create(ballast)
	if err == nil {
		err = errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, free-32*mib), f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	err = pool.Clone(t.Context(), "t1", "p2", 0)
	if !errors.Is(err, driver.ErrNoSpace) || mayfly.ErrorCode(err) != mayfly.CodePoolFull || mayfly.ErrorHint(err) == "" {
		t.Errorf("cloning with a full disk under the image: got error %v, want ErrNoSpace with code %s and a hint", err, mayfly.CodePoolFull)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := pool.Clone(t.Context(), "t1", "p2", 0); err != nil {
		t.Errorf("cloning with space again: %v", err)
	}
}

// TestCrashedSetUp leaves what a set-up that was killed leaves.
func TestCrashedSetUp(t *testing.T) {
	needRoot(t)
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pool")
	if err := errors.Join(os.WriteFile(dir+".img.new", []byte("half-made"), 0o600), os.Mkdir(dir+".new", 0o700)); err != nil {
		t.Fatal(err)
	}
	pool := openPool(t, Options{Dir: dir, SizeBytes: gib})
	t.Cleanup(func() { unmountPool(t, pool) })
	for _, name := range []string{dir + ".img.new", dir + ".new"} {
		if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there (%v)", name, err)
		}
	}
	frozenVolume(t, pool)
	wantFile(t, pool, "p1", "contents")
}

func TestOpenCancelled(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pool")
	unlock, err := lockFile(t.Context(), dir+".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ctx, Options{Dir: dir, Driver: DriverCopy}); !errors.Is(err, context.Canceled) {
		t.Errorf("opening a pool that another process sets up, cancelled: got error %v", err)
	}
}

// TestKernelStructs compares sizes with those of the C structs, which the kernel reads and writes.
func TestKernelStructs(t *testing.T) {
	t.Parallel()
	for name, sizes := range map[string][2]uintptr{
		"fsxattr":                       {unsafe.Sizeof(fsxattr{}), 28},
		"fs_disk_quota":                 {unsafe.Sizeof(diskQuota{}), 112},
		"btrfs_ioctl_vol_args":          {unsafe.Sizeof(btrfsArgs{}), 4096},
		"btrfs_ioctl_vol_args_v2":       {unsafe.Sizeof(btrfsArgsV2{}), 4096},
		"btrfs_ioctl_qgroup_limit_args": {unsafe.Sizeof(btrfsLimit{}), 48},
	} {
		if sizes[0] != sizes[1] {
			t.Errorf("struct %s has %d bytes, want %d", name, sizes[0], sizes[1])
		}
	}
}

func TestProjectsAreUnique(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "projects")
	seen := map[uint32]bool{}
	for range 3 {
		p := projects{file: file} // as another process has it
		for range projectRange + 10 {
			id, err := p.take()
			if err != nil {
				t.Fatal(err)
			}
			if seen[id] || id < firstProject {
				t.Fatalf("project number %d was given out twice, or is too low", id)
			}
			seen[id] = true
		}
	}
}

// TestCowExtentSize checks that clones are spared XFS's default of copying 128 KiB around each written block.
func TestCowExtentSize(t *testing.T) {
	needRoot(t)
	t.Parallel()
	pool := openPool(t, Options{Dir: filepath.Join(t.TempDir(), "pool"), SizeBytes: gib})
	t.Cleanup(func() { unmountPool(t, pool) })
	frozenVolume(t, pool)
	path, err := pool.Path("p1")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(path, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var attr fsxattr
	if err := ioctl(int(f.Fd()), fsGetXattr, &attr); err != nil || attr.xflags&xflagCowExtSize == 0 || attr.cowextsize != cowExtentBytes {
		t.Errorf("a cloned file has the attributes %+v (%v), want a copy-on-write extent size of %d", attr, err, cowExtentBytes)
	}
}

func TestParseMount(t *testing.T) {
	t.Parallel()
	const text = `36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime master:1 - ext3 /dev/ro\040ot rw,errors=continue`
	got, ok := parseMount(text)
	want := mount{point: `/mnt 2\x`, fsType: "ext3", source: "/dev/ro ot", options: "rw,errors=continue"}
	if !ok || got != want {
		t.Errorf("got %+v (%t), want %+v", got, ok, want)
	}
	for _, broken := range []string{"", "x", " - ", "36 35 98:0 /mnt1 - ext3 /dev/root rw", "1 2 3 4 5 6 - a b"} {
		if got, ok := parseMount(broken); ok {
			t.Errorf("the line %q was parsed as %+v", broken, got)
		}
	}
}

// BenchmarkClone clones and deletes a volume with as many files as a small Postgres cluster has.
func BenchmarkClone(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("mounting needs root")
	}
	ctx := b.Context()
	pool := openPool(b, Options{Dir: filepath.Join(b.TempDir(), "pool"), SizeBytes: 2 * gib})
	b.Cleanup(func() { unmountPool(b, pool) })
	if err := pool.Create(ctx, "t1", driver.Owner{UID: 999, GID: 999}); err != nil {
		b.Fatal(err)
	}
	path, err := pool.Path("t1")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 1350 {
		dir := filepath.Join(path, fmt.Sprintf("base/%d", i/300))
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), make([]byte, i%7*8192), 0o600)); err != nil {
			b.Fatal(err)
		}
	}
	if err := pool.Freeze(ctx, "t1"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := pool.Clone(ctx, "t1", "p1", 0); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := pool.Delete(ctx, "p1"); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
