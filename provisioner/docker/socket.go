package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// lockName is the file that Postgres keeps beside its socket. It holds eight short lines (src/include/utils/pidfile.h).
const (
	lockName     = socketName + ".lock"
	maxLockBytes = 4096
)

// errNotItsSocket is the error of dialling an instance that has put something else in the place of its socket.
var errNotItsSocket = errors.New("what is in the place of its socket was not made by its Postgres")

// Dial implements driver.Engine.
//
// Code inside the instance may write to its socket directory and Mayfly connects as the host's root, so a name in there is
// not to be followed: a symbolic link could lead to any socket of the host.
func (e *Engine) Dial(ctx context.Context, id string) (net.Conn, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	for {
		conn, err := e.dialSocket(ctx, id)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ECONNREFUSED):
			return nil, fmt.Errorf("dial instance %s: %w: %w", id, driver.ErrNotFound, err)
		case !errors.Is(err, syscall.EAGAIN):
			return nil, fmt.Errorf("dial instance %s: %w", id, err)
		}
		// EAGAIN: Postgres listens, but its queue of connections is full for now (unix(7)).
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("dial instance %s: its queue of connections is full: %w", id, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// dialSocket pins the socket by a descriptor, looks at it, and connects to just that: what its name means meanwhile does
// not matter.
func (e *Engine) dialSocket(ctx context.Context, id string) (net.Conn, error) {
	dir, err := openAt(unix.AT_FDCWD, e.socketDir(id), unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	socket, err := openAt(int(dir.Fd()), socketName, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = socket.Close() }()
	var of, is unix.Stat_t
	if err := errors.Join(unix.Fstat(int(dir.Fd()), &of), unix.Fstat(int(socket.Fd()), &is)); err != nil {
		return nil, fmt.Errorf("look at the socket: %w", err)
	}
	// The directory belongs to the instance's Postgres user, and nobody in the container can give it away.
	if is.Mode&unix.S_IFMT != unix.S_IFSOCK || is.Uid != of.Uid {
		return nil, errNotItsSocket
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(int(socket.Fd())))
}

// openAt opens a name for looking at it, whatever it is, and never what it links to.
func openAt(dir int, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// maxStrays bounds how many names are removed from one socket directory at a time: code inside the instance may be making
// more of them meanwhile.
const maxStrays = 1000

// strays counts what was removed from a socket directory.
type strays struct {
	names int
	bytes int64
}

// removeStrays removes what does not belong in an instance's socket directory and returns how much there was. The
// directory is on the host's file system, under no quota, and code inside the instance may write to it.
func (e *Engine) removeStrays(id string) (found strays, err error) {
	root, err := os.OpenRoot(e.socketDir(id)) // whatever links there are lead nowhere outside
	if errors.Is(err, os.ErrNotExist) {
		return found, nil
	}
	if err == nil {
		err = errors.Join(found.removeIn(root, belongs), root.Close())
	}
	if err != nil {
		return found, fmt.Errorf("clear the socket directory of instance %s: %w", id, err)
	}
	return found, nil
}

// reportStrays removes strays and logs that there were any. No instance shall be able to make its callers fail.
func (e *Engine) reportStrays(ctx context.Context, id string) {
	found, err := e.removeStrays(id)
	if err != nil || found.names > 0 {
		e.log.WarnContext(ctx, "an instance put files into its socket directory; they are removed",
			"instance", id, "files", found.names, "bytes", found.bytes, "error", err)
	}
}

// removeIn removes what is in a directory but for what is to stay.
func (s *strays) removeIn(dir *os.Root, stays func(fs.FileInfo) bool) error {
	list, err := dir.Open(".")
	if err != nil {
		return err
	}
	names, err := list.Readdirnames(maxStrays)
	_ = list.Close()
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	var problems []error
	for _, name := range names {
		info, err := dir.Lstat(name)
		if err != nil || stays(info) || s.names >= maxStrays {
			continue
		}
		s.names++
		problems = append(problems, s.remove(dir, info))
	}
	return errors.Join(problems...)
}

func (s *strays) remove(dir *os.Root, info fs.FileInfo) error {
	switch {
	case info.Mode().IsRegular():
		s.bytes += info.Size()
		truncate(dir, info.Name())
	case info.IsDir():
		below, err := dir.OpenRoot(info.Name())
		if err != nil {
			return err
		}
		err = errors.Join(s.removeIn(below, func(fs.FileInfo) bool { return false }), below.Close())
		if err != nil {
			return err
		}
	}
	if err := dir.Remove(info.Name()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// belongs reports whether Postgres makes such a thing in its socket directory.
func belongs(info fs.FileInfo) bool {
	switch info.Name() {
	case socketName:
		return info.Mode().Type() == fs.ModeSocket
	case lockName:
		return info.Mode().IsRegular() && info.Size() <= maxLockBytes
	}
	return false
}

// truncate gives a file's space back even if a process has it open. When it cannot, removing the file does what is left.
func truncate(dir *os.Root, name string) {
	// O_NONBLOCK: it may have become a pipe, whose other end nobody opens.
	file, err := dir.OpenFile(name, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return
	}
	_ = file.Truncate(0)
	_ = file.Close()
}
