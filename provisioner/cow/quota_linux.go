package cow

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	xflags     uint32
	_          [2]uint32
	projid     uint32
	cowextsize uint32
	_          [8]byte
}

// From linux/fs.h. The request numbers hold on all architectures that use the generic ioctl encoding (not MIPS, PowerPC
// and SPARC), which are those that Mayfly is built for.
const (
	fsGetXattr        = 0x801c581f // FS_IOC_FSGETXATTR
	fsSetXattr        = 0x401c5820 // FS_IOC_FSSETXATTR
	xflagProjInherit  = 0x00000200
	xflagCowExtSize   = 0x00010000
	cowExtentBytes    = 8192 // Postgres writes 8 KiB blocks; XFS would copy 128 KiB around each
	projectQuotaType  = 2    // PRJQUOTA
	quotaGetState     = 'X'<<8 + 8
	quotaSetLimits    = 'X'<<8 + 4
	quotaProjEnforced = 1 << 5 // FS_QUOTA_PDQ_ENFD
)

// diskQuota is struct fs_disk_quota of linux/dqblk_xfs.h. Blocks are 512 bytes.
type diskQuota struct {
	version    int8
	flags      int8
	fieldMask  uint16
	id         uint32
	hardBlocks uint64
	softBlocks uint64
	_          [4]uint64
	_          [4]int32
	_          [4]uint64
	_          [8]byte
}

const (
	diskQuotaVersion = 1
	quotaProject     = 1 << 1      // FS_PROJ_QUOTA
	quotaBlockLimits = 1<<2 | 1<<3 // FS_DQ_BSOFT | FS_DQ_BHARD
	quotaUnit        = 512
)

// quotas bound clones by project quotas, and give directories the attributes that their files inherit.
type quotas struct {
	log *slog.Logger
	// device is the block device of the file system, for kernels before 5.14, which have no quotactl_fd.
	device string
	// enforced is false where the file system has no project quotas or is mounted without: clones are then unlimited.
	enforced bool
	// cowExtents is true on XFS.
	cowExtents bool
	projects   projects
}

// newQuotas finds out what the file system of root can do.
func newQuotas(root string, log *slog.Logger) (*quotas, error) {
	m, err := mountOf(root)
	if err != nil {
		return nil, err
	}
	q := &quotas{log: log, device: m.source, cowExtents: m.fsType == "xfs"}
	q.projects.file = filepath.Join(root, "projects")
	fd, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open the pool: %w", err)
	}
	defer closeFD(fd)
	q.enforced = q.probe(fd)
	return q, nil
}

// probe asks for the state of project quotas (Q_XGETQSTATV).
func (q *quotas) probe(fd int) bool {
	// struct fs_quota_statv begins with a version byte (1, set by the caller), a pad byte and 16 bits of flags; the rest
	// is about 150 bytes.
	state := struct {
		version, _ uint8
		flags      uint16
		_          [256]byte
	}{version: 1}
	err := control(q, fd, quotaGetState, 0, &state)
	return err == nil && state.flags&quotaProjEnforced != 0
}

// prepare sets on an empty directory what everything in it inherits: the copy-on-write extent size and, with a limit
// above 0, a project of its own with that limit.
func (q *quotas) prepare(fd int, limit int64) error {
	limited := q.enforced && limit > 0
	if !limited && !q.cowExtents {
		return nil
	}
	var attr fsxattr
	if err := ioctl(fd, fsGetXattr, &attr); err != nil {
		return fmt.Errorf("read the directory's attributes: %w", err)
	}
	if q.cowExtents {
		attr.xflags |= xflagCowExtSize
		attr.cowextsize = cowExtentBytes
	}
	if limited {
		id, err := q.projects.take()
		if err != nil {
			return err
		}
		if err := q.setLimit(fd, id, limit); err != nil {
			return err
		}
		attr.xflags |= xflagProjInherit
		attr.projid = id
	}
	if err := ioctl(fd, fsSetXattr, &attr); err != nil {
		return fmt.Errorf("set the directory's attributes: %w", err)
	}
	return nil
}

// release lifts the limit of a directory's project, so that the quota file does not grow. The number is not used again.
func (q *quotas) release(fd int) {
	if !q.enforced {
		return
	}
	var attr fsxattr
	if err := ioctl(fd, fsGetXattr, &attr); err != nil || attr.projid < firstProject {
		return
	}
	if err := q.setLimit(fd, attr.projid, 0); err != nil {
		q.log.Warn("a deleted volume's quota stays", "project", attr.projid, "err", err)
	}
}

func (q *quotas) setLimit(fd int, project uint32, limit int64) error {
	blocks := uint64(limit+quotaUnit-1) / quotaUnit
	dq := diskQuota{
		version: diskQuotaVersion, flags: quotaProject, fieldMask: quotaBlockLimits,
		id: project, hardBlocks: blocks, softBlocks: blocks,
	}
	if err := control(q, fd, quotaSetLimits, project, &dq); err != nil {
		return fmt.Errorf("set the limit of project %d: %w", project, err)
	}
	return nil
}

// control is quotactl_fd(2), or quotactl(2) where the kernel does not have it.
func control[T any](q *quotas, fd int, command, id uint32, arg *T) error {
	request := uintptr(command<<8 | projectQuotaType)
	//nolint:gosec // G103: the kernel takes the argument by address
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), request, uintptr(id), uintptr(unsafe.Pointer(arg)), 0, 0)
	if errno == unix.ENOSYS {
		device, err := unix.BytePtrFromString(q.device)
		if err != nil {
			return fmt.Errorf("device %q: %w", q.device, err)
		}
		//nolint:gosec // G103: the kernel takes both by address
		_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL, request, uintptr(unsafe.Pointer(device)), uintptr(id), uintptr(unsafe.Pointer(arg)), 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// ioctl makes a request whose argument is a struct.
func ioctl[T any](fd int, request uintptr, arg *T) error {
	//nolint:gosec // G103: the kernel takes the argument by address
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(arg))); errno != 0 {
		return errno
	}
	return nil
}

const (
	// firstProject leaves the lower numbers to others on a file system that is not ours alone (Docker counts from 1).
	firstProject = 1 << 30
	// projectRange is how many numbers a process takes at a time, so that it syncs the file once for all of them.
	projectRange = 1024
)

// projects hands out project numbers that no other process of this pool and no earlier one ever got: the file holds the
// next free number.
type projects struct {
	file      string
	mu        sync.Mutex
	next, end uint32
}

func (p *projects) take() (uint32, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		start, err := p.takeRange()
		if err != nil {
			return 0, fmt.Errorf("take a project number: %w", err)
		}
		p.next, p.end = start, start+projectRange
	}
	id := p.next
	p.next++
	return id, nil
}

func (p *projects) takeRange() (uint32, error) {
	fd, err := unix.Open(p.file, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return 0, err
	}
	defer closeFD(fd)
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return 0, err
	}
	var buf [4]byte
	n, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return 0, err
	}
	start := uint32(firstProject)
	if n == len(buf) {
		start = max(start, binary.LittleEndian.Uint32(buf[:]))
	}
	if start > 1<<32-1-2*projectRange {
		return 0, errors.New("all numbers are used up")
	}
	binary.LittleEndian.PutUint32(buf[:], start+projectRange)
	if _, err := unix.Pwrite(fd, buf[:], 0); err != nil {
		return 0, err
	}
	return start, unix.Fdatasync(fd)
}
