package cow

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// fsImmutable is FS_IMMUTABLE_FL of linux/fs.h: not even root can write to, rename or remove the file.
const fsImmutable = 0x10

// setImmutable is best effort: file systems without the flag, and processes without CAP_LINUX_IMMUTABLE, have only the
// rule that nobody writes to frozen volumes.
func setImmutable(fd int, on bool) {
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	if err != nil {
		return
	}
	want := flags &^ fsImmutable
	if on {
		want |= fsImmutable
	}
	if want != flags {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, want)
	}
}

func immutable(fd int) bool {
	flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS)
	return err == nil && flags&fsImmutable != 0
}

// protect makes every file and directory of the tree immutable.
func (t *tree) protect(ctx context.Context, root int) error {
	r := &replica{tree: t}
	defer r.close()
	for i, d := range t.Dirs {
		parent, name := root, "."
		if i > 0 {
			parent, name = r.from[d.Parent], d.Name
		}
		fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("protect directory %s: %w", name, err)
		}
		r.from = append(r.from, fd)
	}
	for _, f := range t.Files {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		fd, err := unix.Openat(r.from[f.Dir], f.Name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("protect file %s: %w", f.Name, err)
		}
		setImmutable(fd, true)
		closeFD(fd)
	}
	for _, fd := range r.from {
		setImmutable(fd, true)
	}
	return nil
}

// shareFile makes dst share the blocks of src.
func shareFile(_ context.Context, src, dst int, _ int64) error {
	if err := unix.IoctlFileClone(dst, src); err != nil {
		return fmt.Errorf("share blocks (FICLONE): %w", err)
	}
	return nil
}

// copyFile copies src to dst in the kernel, in pieces, so that a cancelled copy of a large file ends soon.
func copyFile(ctx context.Context, src, dst int, size int64) error {
	const piece = 64 << 20
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := unix.CopyFileRange(src, nil, dst, nil, int(min(piece, size-done)), 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if n == 0 {
			return fmt.Errorf("copy: the file ended at %d of %d bytes", done, size)
		}
		done += int64(n)
	}
	return nil
}
