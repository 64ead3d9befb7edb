package cow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly"
)

// minImage is a little above the smallest file system that mkfs.xfs makes (300 MiB).
const minImage = 320 * mib

// image is a sparse file with an XFS in it, mounted over the pool's directory.
type image struct {
	file, dir string
	log       *slog.Logger
}

func (i image) exists() bool {
	_, err := os.Stat(i.file)
	return err == nil
}

// mounted reports whether a file system is mounted at the pool's directory itself.
func (i image) mounted() (bool, error) {
	resolved, err := filepath.EvalSymlinks(i.dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("resolve %s: %w", i.dir, err)
	}
	m, err := mountOf(resolved)
	return err == nil && m.point == resolved && m.fsType == "xfs", err
}

// unable says why no image can be made here, or "".
func (i image) unable() string {
	if os.Geteuid() != 0 {
		return "making and mounting a file system needs root"
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "there are no loop devices: /dev/loop-control is missing (modprobe loop; in a container: run it privileged)"
	}
	_, free, err := statfs(existingOr(filepath.Dir(i.file)))
	if err == nil && free < 2*minImage {
		return fmt.Sprintf("only %d MiB are free for an image", free/mib)
	}
	return ""
}

func existingOr(path string) string {
	if resolved, err := existing(path); err == nil {
		return resolved
	}
	return path
}

func errNoXFSProgs() error {
	return mayfly.Errorf(mayfly.CodeInvalid, "the pool's directory is on a file system that cannot share blocks, and mkfs.xfs, which would make one that can, is not installed").
		WithHint("apt-get install xfsprogs (dnf install xfsprogs), or put the pool on XFS, btrfs or ZFS, or choose the driver overlay or copy")
}

// ensure makes the image if there is none, grows it if it is smaller than size, and mounts it. The caller holds the
// pool's lock.
func (i image) ensure(ctx context.Context, size int64) error {
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return fmt.Errorf("make the pool's directory: %w", err)
	}
	if !i.exists() {
		if err := i.make(ctx, size); err != nil {
			return err
		}
	}
	grown, err := i.extend(size)
	if err != nil {
		return err
	}
	mounted, err := i.mounted()
	if err != nil {
		return err
	}
	if !mounted || grown {
		if err := i.mount(ctx, mounted); err != nil {
			return err
		}
	}
	if !grown {
		return nil
	}
	return i.run(ctx, "grow the pool's file system", "xfs_growfs", "-d", i.dir)
}

// make makes the image under another name and gives it its own when it can be mounted: a crash leaves no half-made one.
func (i image) make(ctx context.Context, size int64) error {
	if _, err := exec.LookPath("mkfs.xfs"); err != nil {
		return errNoXFSProgs()
	}
	if size == 0 {
		_, free, err := statfs(filepath.Dir(i.file))
		if err != nil {
			return err
		}
		size = free / 5 * 4
	}
	size -= size % mib
	if size < minImage {
		return mayfly.Errorf(mayfly.CodeInvalid, "a pool of %d MiB is too small: an XFS needs %d MiB", size/mib, minImage/mib).
			WithHint("give the pool more space, or put its directory on a larger disk")
	}
	draft := image{file: i.file + ".new", dir: i.dir + ".new", log: i.log}
	defer func() {
		_ = os.Remove(draft.file)
		_ = os.Remove(draft.dir)
	}()
	// Newer mkfs.xfs turn on features by default that older kernels refuse; -i nrext64=0 is the one that matters (5.19).
	var failed error
	for _, extra := range [][]string{nil, {"-i", "nrext64=0"}} {
		err := draft.format(ctx, size, extra)
		if err == nil {
			err = os.Rename(draft.file, i.file)
		}
		if err == nil {
			i.log.Info("made the pool's image", "file", i.file, "bytes", size)
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}

// format makes the file system and proves that it mounts.
func (i image) format(ctx context.Context, size int64, extra []string) error {
	_ = unix.Unmount(i.dir, unix.MNT_DETACH) // of a crashed attempt
	_ = os.Remove(i.file)
	f, err := os.OpenFile(i.file, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("make the pool's image: %w", err)
	}
	err = errors.Join(f.Truncate(size), f.Close())
	if err != nil {
		return fmt.Errorf("make the pool's image: %w", err)
	}
	args := append([]string{"-q", "-f", "-K", "-m", "reflink=1,crc=1,rmapbt=0", "-s", fmt.Sprintf("size=%d", imageBlock)}, extra...)
	if err := i.run(ctx, "format the pool's image", "mkfs.xfs", append(args, i.file)...); err != nil {
		return err
	}
	if err := os.MkdirAll(i.dir, 0o700); err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	if err := i.mount(ctx, false); err != nil {
		return err
	}
	return i.unmount(ctx)
}

// extend makes the file as large as size, if it is smaller.
func (i image) extend(size int64) (bool, error) {
	st, err := os.Stat(i.file)
	if err != nil {
		return false, fmt.Errorf("stat the pool's image: %w", err)
	}
	if st.Size() >= size-size%mib {
		return false, nil
	}
	if err := os.Truncate(i.file, size-size%mib); err != nil {
		return false, fmt.Errorf("grow the pool's image: %w", err)
	}
	return true, nil
}

// mount attaches the image and mounts it; if it is mounted already, only the loop device learns the file's size.
func (i image) mount(ctx context.Context, mounted bool) error {
	device, fd, err := attachLoop(ctx, i.file)
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "attach the pool's image %s: %w", i.file, err).
			WithHint("mounting it needs root and loop devices (modprobe loop); in a container: run it privileged")
	}
	// Until the mount holds the device, this descriptor keeps it from detaching itself.
	defer closeFD(fd)
	if err := unix.IoctlSetInt(fd, unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("update the size of %s: %w", device, err)
	}
	if mounted {
		return nil
	}
	const flags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID
	// discard gives the blocks of deleted volumes back to the disk under the image. Kernels without XFS quotas refuse
	// prjquota with EINVAL.
	err = unix.Mount(device, i.dir, "xfs", flags, "prjquota,discard")
	if errors.Is(err, unix.EINVAL) {
		err = unix.Mount(device, i.dir, "xfs", flags, "discard")
	}
	if errors.Is(err, unix.ENODEV) {
		return mayfly.Errorf(mayfly.CodeInvalid, "mount the pool's image: this kernel has no XFS: %w", err).
			WithHint("load the xfs module, or put the pool on btrfs or ZFS, or choose the driver overlay or copy")
	}
	if err != nil {
		return fmt.Errorf("mount %s (%s) at %s: %w", i.file, device, i.dir, err)
	}
	return nil
}

func (i image) unmount(ctx context.Context) error {
	for {
		err := unix.Unmount(i.dir, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil, errors.Is(err, unix.EINVAL): // EINVAL: it is not mounted
			return nil
		case errors.Is(err, unix.EBUSY) && ctx.Done() != nil:
			if pauseErr := pause(ctx, retryUnmount); pauseErr != nil {
				return fmt.Errorf("unmount %s: %w", i.dir, err)
			}
		default:
			return fmt.Errorf("unmount %s: %w", i.dir, err)
		}
	}
}

func (image) run(ctx context.Context, what, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %s: %w: %s", what, program, err, strings.TrimSpace(out.String()))
	}
	return nil
}
