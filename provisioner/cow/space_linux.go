package cow

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

const (
	mib = 1 << 20
	gib = 1 << 30
	// headroom is what the smallest operation may take: a clone's inodes and directories.
	headroom = 8 * mib
)

// space watches over the free space of a pool.
type space struct {
	dir string
	// backing is a directory on the file system that holds the pool's image, "" if there is none. The image is sparse,
	// so the pool is full when that file system is, whatever the pool's own file system believes.
	backing string
	reserve int64 // 0 means the default
}

// measure returns the capacity of the pool and what is free in it for real.
func (s space) measure() (total, free int64, err error) {
	total, free, err = statfs(s.dir)
	if err != nil || s.backing == "" {
		return total, free, err
	}
	_, hostFree, err := statfs(s.backing)
	if err != nil {
		return 0, 0, err
	}
	return total, min(free, hostFree), nil
}

func statfs(dir string) (total, free int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize, nil
}

func (s space) reserved(total int64) int64 {
	if s.reserve > 0 {
		return s.reserve
	}
	return min(total/20, 2*gib)
}

// check returns ErrNoSpace if an operation that takes the given bytes would eat into the reserve.
func (s space) check(bytes int64) error {
	total, free, err := s.measure()
	if err != nil {
		return err
	}
	return s.enough(total, free, bytes)
}

func (s space) enough(total, free, bytes int64) error {
	reserve := s.reserved(total)
	if free-reserve >= max(bytes, headroom) {
		return nil
	}
	return poolFull(driver.ErrNoSpace, fmt.Sprintf("%d MiB are free, %d MiB of them are kept for what runs, and this needs %d MiB",
		free/mib, reserve/mib, max(bytes, headroom)/mib))
}

// translate turns the kernel's "no space" into the driver's.
func (s space) translate(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return poolFull(fmt.Errorf("%w: %w", driver.ErrNoSpace, err), "the file system is full")
	}
	return err
}

func poolFull(cause error, detail string) error {
	return mayfly.Errorf(mayfly.CodePoolFull, "%w (%s)", cause, detail).
		WithHint("delete previews or old templates, or give the pool more space")
}
