package cow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly"
)

const retryUnmount = 20 * time.Millisecond

// plan is what was chosen.
type plan struct {
	Description
	img image // used if Description.Image is set
}

// record is pool.json: what the pool was made as. A pool never changes its driver: its volumes depend on it.
type record struct {
	Driver string `json:"driver"`
}

const recordFile = "pool.json"

func probe(_ context.Context, opts Options) (Description, error) {
	p, err := choose(opts)
	if err != nil {
		return p.Description, err
	}
	return p.Description, describeLimits(opts, &p.Description)
}

// describeLimits says whether a preview's disk limit is enforced: of a pool that is there by asking its file system, of one that Open
// would make by asking the kernel.
func describeLimits(opts Options, d *Description) error {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return fmt.Errorf("find the pool: %w", err)
	}
	opts.Dir = dir
	if _, err := os.Stat(dir); err != nil && d.Image == "" {
		return nil // it is not there yet: nothing can be said
	}
	m, err := mountOf(dir)
	switch {
	case d.Driver == DriverZFS:
		return nil
	case d.Image != "" && (err != nil || m.fsType != "xfs" || m.point != opts.Dir):
		if !kernelHasXFSQuota() {
			d.warn(warnNoQuotas)
		}
		return nil
	case err != nil:
		return err
	}
	_, err = newBackend(opts, d)
	return err
}

const warnNoQuotas = "the pool's file system enforces no project quotas (kernel or mount without them): the disk limit of a preview is only watched, every few seconds"

// kernelHasXFSQuota reports what the kernel says of itself, true if it says nothing.
func kernelHasXFSQuota() bool {
	raw, err := os.ReadFile("/proc/fs/xfs/xqmstat") // there only with CONFIG_XFS_QUOTA, once xfs is loaded
	if err == nil && len(raw) > 0 {
		return true
	}
	_, err = os.Stat("/proc/fs/xfs/stat")
	return err != nil
}

func open(ctx context.Context, opts Options) (*Pool, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil || opts.Dir == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the pool needs a directory")
	}
	opts.Dir = dir
	if opts.fault == nil {
		opts.fault = func(string) {}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return nil, fmt.Errorf("make the pool's parent directory: %w", err)
	}
	unlock, err := lockFile(ctx, dir+".lock")
	if err != nil {
		return nil, fmt.Errorf("open the pool: %w", err)
	}
	defer unlock()
	p, err := choose(opts)
	if err != nil {
		return nil, err
	}
	if p.Image != "" {
		if err := p.img.ensure(ctx, opts.SizeBytes); err != nil {
			return nil, fmt.Errorf("open the pool %s: %w", dir, err)
		}
	}
	pool, err := assemble(ctx, opts, p)
	if err != nil {
		return nil, fmt.Errorf("open the pool %s: %w", dir, err)
	}
	return pool, nil
}

// assemble builds the pool on a directory that is ready for its driver.
func assemble(ctx context.Context, opts Options, p plan) (*Pool, error) {
	if p.Driver == DriverZFS {
		return assembleZFS(ctx, opts, p.Description)
	}
	s := space{dir: opts.Dir, reserve: opts.ReserveBytes}
	if p.Image != "" {
		s.backing = filepath.Dir(p.Image)
	}
	d := &dirs{root: opts.Dir, space: s, log: opts.Logger, fault: opts.fault, trees: map[string]*tree{}}
	if err := d.prepare(); err != nil {
		return nil, err
	}
	backend, err := newBackend(opts, &p.Description)
	if err != nil {
		return nil, err
	}
	d.backend = backend
	if err := remember(opts.Dir, p.Driver); err != nil {
		return nil, err
	}
	if err := d.recover(ctx); err != nil {
		return nil, err
	}
	p.Exists = true
	if m, err := mountOf(opts.Dir); err == nil {
		p.FileSystem = m.fsType
	}
	if total, _, err := s.measure(); err == nil {
		p.ReserveBytes = s.reserved(total)
	}
	return &Pool{volumes: &mountedDirs{dirs: d, plan: p}, desc: p.Description}, nil
}

func assembleZFS(ctx context.Context, opts Options, d Description) (*Pool, error) {
	z, err := openZFS(ctx, opts)
	if err != nil {
		return nil, err
	}
	if err := remember(opts.Dir, d.Driver); err != nil {
		return nil, err
	}
	st, err := z.Stat(ctx)
	if err != nil {
		return nil, err
	}
	d.Exists, d.Quota = true, "refquota"
	d.ReserveBytes = space{reserve: opts.ReserveBytes}.reserved(st.TotalBytes)
	return &Pool{volumes: z, desc: d}, nil
}

// mountedDirs are dirs whose file system Mayfly may have mounted itself.
type mountedDirs struct {
	*dirs
	plan plan
}

func (m *mountedDirs) unmount(ctx context.Context) error {
	if err := m.dirs.unmount(ctx); err != nil {
		return err
	}
	if m.plan.Image == "" {
		return nil
	}
	return m.plan.img.unmount(ctx)
}

func newBackend(opts Options, d *Description) (backend, error) {
	q, err := newQuotas(opts.Dir, opts.Logger)
	if err != nil {
		return nil, err
	}
	limited := q.enforced
	var b backend
	switch d.Driver {
	case DriverReflink, DriverCopy:
		b = &plain{share: d.Driver == DriverReflink, quotas: q, fault: opts.fault}
	case DriverOverlay:
		b = &overlay{root: opts.Dir, quotas: q}
	case DriverBtrfs:
		limited = btrfsHasLimits(opts.Dir)
		b = &btrfs{limits: limited}
	default:
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "unknown pool driver %q", d.Driver)
	}
	switch {
	case !limited && d.Driver == DriverBtrfs:
		d.warn("btrfs quotas are not enabled (btrfs quota enable --simple): the disk limit of a preview is only watched, every few seconds")
	case !limited:
		d.warn(warnNoQuotas)
	case d.Driver == DriverBtrfs:
		d.Quota = "btrfs quota groups"
	default:
		d.Quota = "project quotas"
	}
	return b, nil
}

// choose decides what the pool is made of; it changes nothing on disk.
func choose(opts Options) (plan, error) {
	known := []string{"", DriverReflink, DriverBtrfs, DriverZFS, DriverOverlay, DriverCopy}
	if !slices.Contains(known, opts.Driver) {
		return plan{}, mayfly.Errorf(mayfly.CodeInvalid, "unknown pool driver %q", opts.Driver).
			WithHint("leave it empty for the automatic choice, or use reflink, btrfs, zfs, overlay or copy")
	}
	m, err := mountOf(opts.Dir)
	if err != nil {
		return plan{}, fmt.Errorf("examine the pool's directory: %w", err)
	}
	p := plan{
		Description: Description{Dir: opts.Dir, FileSystem: m.fsType},
		img:         image{file: opts.Dir + ".img", dir: opts.Dir, log: opts.Logger},
	}
	made, err := recorded(opts.Dir)
	if err != nil {
		return plan{}, err
	}
	switch {
	case p.img.exists():
		made = DriverReflink
		p.Exists, p.Image, p.FileSystem = true, p.img.file, "xfs"
	case made != "":
		p.Exists = true
	}
	if made != "" && opts.Driver != "" && opts.Driver != made {
		return plan{}, mayfly.Errorf(mayfly.CodeInvalid, "the pool %s was made with the driver %s and cannot be opened with %s", opts.Dir, made, opts.Driver).
			WithHint("remove the driver setting, or choose another directory for the new pool")
	}
	switch {
	case made != "":
		p.Driver, p.Why = made, "the pool was made with it"
	case opts.Driver != "":
		p.Driver, p.Why = opts.Driver, "the configuration asks for it"
		err = p.force(opts.Dir)
	default:
		err = p.automatic(opts.Dir)
	}
	p.Cost = cost(p.Driver, p.Image != "")
	return p, err
}

// force checks that a driver that was asked for can work.
func (p *plan) force(dir string) error {
	refuse := func(why, hint string) error {
		return mayfly.Errorf(mayfly.CodeInvalid, "the pool driver %s cannot be used at %s: %s", p.Driver, dir, why).WithHint("%s", hint)
	}
	switch p.Driver {
	case DriverReflink:
		if canShare(dir) == nil {
			return nil
		}
		return p.useImage("the configuration asks for reflink, which the directory's file system cannot do itself")
	case DriverBtrfs:
		if p.FileSystem != "btrfs" {
			return refuse("it is on "+p.FileSystem, "put the pool's directory on btrfs, or leave the driver empty")
		}
	case DriverZFS:
		if why := zfsUnable(p.FileSystem); why != "" {
			return refuse(why, "put the pool's directory on a ZFS dataset and install zfsutils, or leave the driver empty")
		}
	case DriverOverlay:
		if os.Geteuid() != 0 {
			return refuse("mounting needs root", "run as root, or choose copy")
		}
		p.warn("overlay copies a whole file, up to 1 GiB, at the first write to it")
	case DriverCopy:
		p.warn("copy copies every byte for each preview")
	}
	return nil
}

// automatic tries the drivers from the best to the worst.
func (p *plan) automatic(dir string) error {
	if p.FileSystem == "zfs" {
		why := zfsUnable(p.FileSystem)
		if why == "" {
			p.Driver, p.Why = DriverZFS, "the directory is on ZFS"
			return nil
		}
		p.reject(DriverZFS, why)
	} else {
		p.reject(DriverZFS, "the directory is on "+p.FileSystem)
	}
	if p.FileSystem == "btrfs" && os.Geteuid() == 0 {
		p.Driver, p.Why = DriverBtrfs, "the directory is on btrfs: a snapshot of a subvolume takes a few milliseconds whatever its size"
		return nil
	}
	p.reject(DriverBtrfs, "the directory is on "+p.FileSystem)
	err := canShare(dir)
	if err == nil {
		p.Driver, p.Why = DriverReflink, "the directory's file system ("+p.FileSystem+") shares blocks between files (FICLONE works)"
		return nil
	}
	p.reject(DriverReflink+" in the directory itself", err.Error())
	why := p.img.unable()
	if why == "" {
		return p.useImage("the directory's file system (" + p.FileSystem + ") cannot share blocks between files, so Mayfly makes an XFS that can in an image file")
	}
	p.reject(DriverReflink+" in an image file", why)
	if os.Geteuid() == 0 {
		p.Driver, p.Why = DriverOverlay, "nothing better works here"
		p.warn("overlay copies a whole file, up to 1 GiB, at the first write to it: put the pool on XFS, btrfs or ZFS")
		return nil
	}
	p.reject(DriverOverlay, "mounting needs root")
	p.Driver, p.Why = DriverCopy, "nothing better works here"
	p.warn("copy copies every byte for each preview: run as root, or put the pool on XFS, btrfs or ZFS")
	return nil
}

func (p *plan) useImage(why string) error {
	if unable := p.img.unable(); unable != "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "the pool's image cannot be made: %s", unable).
			WithHint("run as root with loop devices, or put the pool on XFS, btrfs or ZFS, or choose the driver overlay or copy")
	}
	if !p.img.exists() && !hasProgram("mkfs.xfs") {
		return errNoXFSProgs()
	}
	p.Driver, p.Why, p.Image, p.FileSystem = DriverReflink, why, p.img.file, "xfs"
	return nil
}

func cost(name string, img bool) string {
	switch name {
	case DriverReflink:
		if img {
			return "a clone takes 20 to 30 ms per thousand files, whatever their size, and copies blocks as they are written; all I/O passes a loop device"
		}
		return "a clone takes 20 to 30 ms per thousand files, whatever their size, and copies blocks as they are written"
	case DriverBtrfs, DriverZFS:
		return "a clone takes a few milliseconds and copies blocks as they are written"
	case DriverOverlay:
		return "a clone takes a few milliseconds; the first write to a file copies all of it"
	default:
		return "a clone takes as long, and as much disk, as the template is large"
	}
}

// canShare tries FICLONE on two nameless files in the nearest directory that exists.
func canShare(dir string) error {
	dir, err := existing(dir)
	if err != nil {
		return err
	}
	var fds [2]int
	for i := range fds {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		if err != nil {
			return fmt.Errorf("make a file in %s: %w", dir, err)
		}
		defer closeFD(fd)
		fds[i] = fd
	}
	if _, err := unix.Write(fds[0], make([]byte, 4096)); err != nil {
		return fmt.Errorf("write a file in %s: %w", dir, err)
	}
	if err := unix.IoctlFileClone(fds[1], fds[0]); err != nil {
		return fmt.Errorf("FICLONE: %w", err)
	}
	return nil
}

func recorded(dir string) (string, error) {
	data, err := os.ReadFile(filepath.Join(dir, recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	var r record
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		return "", fmt.Errorf("read the pool's record: %w", err)
	}
	return r.Driver, nil
}

// remember writes pool.json, once. The caller holds the pool's lock.
func remember(dir, name string) error {
	if made, err := recorded(dir); made != "" || err != nil {
		return err
	}
	data, err := json.Marshal(record{Driver: name})
	if err != nil {
		return fmt.Errorf("write the pool's record: %w", err)
	}
	path := filepath.Join(dir, recordFile)
	if err := writeDurably(path+".new", data); err != nil {
		return fmt.Errorf("write the pool's record: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the pool's record: %w", err)
	}
	return nil
}

// lockFile serialises the processes that open one pool.
func lockFile(ctx context.Context, path string) (func(), error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	if err := lock(ctx, fd, unix.LOCK_EX); err != nil {
		closeFD(fd)
		return nil, err
	}
	return func() { closeFD(fd) }, nil
}
