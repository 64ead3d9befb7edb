package cow

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// From linux/btrfs.h.
const (
	btrfsSubvolCreate   = 0x5000940e // BTRFS_IOC_SUBVOL_CREATE
	btrfsSnapDestroy    = 0x5000940f // BTRFS_IOC_SNAP_DESTROY
	btrfsSnapCreateV2   = 0x50009417 // BTRFS_IOC_SNAP_CREATE_V2
	btrfsSubvolGetFlags = 0x80089419 // BTRFS_IOC_SUBVOL_GETFLAGS
	btrfsSubvolSetFlags = 0x4008941a // BTRFS_IOC_SUBVOL_SETFLAGS
	btrfsQgroupLimit    = 0x8030942b // BTRFS_IOC_QGROUP_LIMIT
	btrfsReadOnly       = 1 << 1     // BTRFS_SUBVOL_RDONLY
	btrfsLimitExclusive = 1 << 1     // BTRFS_QGROUP_LIMIT_MAX_EXCL
	btrfsRootInode      = 256        // BTRFS_FIRST_FREE_OBJECTID: the inode number of every subvolume's root
)

type btrfsArgs struct {
	_    int64 // a descriptor, in other calls
	name [4088]byte
}

type btrfsArgsV2 struct {
	fd   int64 // of the subvolume that the snapshot is of
	_    [6]uint64
	name [4040]byte
}

type btrfsLimit struct {
	_            uint64 // a quota group, 0 for that of the subvolume the call is made on
	flags        uint64
	_            uint64
	maxExclusive uint64
	_            [2]uint64
}

// btrfs keeps the data directory of each volume as a subvolume, and clones it by a snapshot.
type btrfs struct {
	// limits is true if the file system has quotas enabled.
	limits bool
}

func (b *btrfs) name() string                          { return DriverBtrfs }
func (b *btrfs) copyOnWrite() bool                     { return true }
func (b *btrfs) sharesBlocks() bool                    { return true }
func (b *btrfs) needs(int64) int64                     { return 0 }
func (b *btrfs) inUse(string) (bool, error)            { return false, nil }
func (b *btrfs) keepsOrigins() bool                    { return false }
func (b *btrfs) attach(context.Context, wrapper) error { return nil }
func (b *btrfs) detach(wrapper) error                  { return nil }

func (b *btrfs) create(_ context.Context, w wrapper, owner driver.Owner) error {
	var args btrfsArgs
	copy(args.name[:], dataDir)
	if err := ioctl(w.fd, btrfsSubvolCreate, &args); err != nil {
		return fmt.Errorf("make a subvolume: %w", err)
	}
	data, err := w.openData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	// A subvolume is made 0777 less the umask.
	return own(data, owner.UID, owner.GID, 0o700, 0)
}

func (b *btrfs) freeze(_ context.Context, w wrapper) error {
	data, err := w.openData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	if err := syncFS(data); err != nil {
		return err
	}
	var flags uint64
	if err := ioctl(data, btrfsSubvolGetFlags, &flags); err != nil {
		return fmt.Errorf("read the subvolume's flags: %w", err)
	}
	flags |= btrfsReadOnly
	if err := ioctl(data, btrfsSubvolSetFlags, &flags); err != nil {
		return fmt.Errorf("make the subvolume read-only: %w", err)
	}
	return nil
}

func (b *btrfs) clone(_ context.Context, from origin, to wrapper, limit int64) error {
	src, err := from.openData()
	if err != nil {
		return err
	}
	defer closeFD(src)
	args := btrfsArgsV2{fd: int64(src)}
	copy(args.name[:], dataDir)
	if err := ioctl(to.fd, btrfsSnapCreateV2, &args); err != nil {
		return fmt.Errorf("make a snapshot: %w", err)
	}
	if limit <= 0 || !b.limits {
		return nil
	}
	dst, err := to.openData()
	if err != nil {
		return err
	}
	defer closeFD(dst)
	return limitExclusive(dst, limit)
}

// limitExclusive bounds what a subvolume may hold that it shares with no other: exactly what was written to a clone.
func limitExclusive(fd int, limit int64) error {
	args := btrfsLimit{flags: btrfsLimitExclusive, maxExclusive: uint64(limit)}
	if err := ioctl(fd, btrfsQgroupLimit, &args); err != nil {
		return fmt.Errorf("limit the subvolume: %w", err)
	}
	return nil
}

func (b *btrfs) destroy(ctx context.Context, w wrapper) error {
	var st unix.Stat_t
	err := unix.Fstatat(w.fd, dataDir, &st, unix.AT_SYMLINK_NOFOLLOW)
	if err == nil && st.Ino == btrfsRootInode {
		var args btrfsArgs
		copy(args.name[:], dataDir)
		err = ioctl(w.fd, btrfsSnapDestroy, &args)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			// A read-only subvolume cannot be emptied file by file.
			return fmt.Errorf("destroy the subvolume: %w", err)
		}
	}
	return removeTree(ctx, w.fd)
}

// btrfsHasLimits reports whether quotas are enabled on the file system of a directory: it sets no limit on its own
// subvolume, which changes nothing and fails where there are no quotas. Mayfly does not enable them by itself: it would
// change a file system that others use too.
func btrfsHasLimits(dir string) bool {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	var args btrfsLimit
	return ioctl(fd, btrfsQgroupLimit, &args) == nil
}
