package cow

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	dataDir    = "data"
	frozenFile = "frozen.json"
	treeJSON   = "tree.json"
)

// wrapper is the directory around one volume, held open and locked. All work goes through the descriptor: the directory
// may be renamed to the trash by a Delete at any moment, and what it holds is then still there until the lock is free.
type wrapper struct{ fd int }

// frozenInfo is the contents of frozen.json.
type frozenInfo struct {
	// Layer identifies this frozen volume among all that ever had its id.
	Layer string `json:"layer"`
	Bytes int64  `json:"bytes"`
}

// errGone says that a directory was renamed or removed before its lock was ours.
var errGone = errors.New("the directory is gone")

// openWrapper opens and locks a directory: how is LOCK_SH or LOCK_EX, with LOCK_NB to not wait. errGone if the path leads
// elsewhere by the time that the lock is held; unix.EWOULDBLOCK if it is taken.
func openWrapper(ctx context.Context, path string, how int) (wrapper, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return wrapper{}, errGone
	}
	if err != nil {
		return wrapper{}, fmt.Errorf("open %s: %w", path, err)
	}
	if err := lock(ctx, fd, how); err != nil {
		closeFD(fd)
		return wrapper{}, err
	}
	var byPath, byFD unix.Stat_t
	if err := unix.Fstat(fd, &byFD); err != nil {
		closeFD(fd)
		return wrapper{}, fmt.Errorf("stat %s: %w", path, err)
	}
	if err := unix.Stat(path, &byPath); err != nil || byPath.Ino != byFD.Ino {
		closeFD(fd)
		return wrapper{}, errGone
	}
	return wrapper{fd: fd}, nil
}

// lock takes a flock, waiting for it until ctx is done. It polls: a blocking flock could not be given up.
func lock(ctx context.Context, fd, how int) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		err := unix.Flock(fd, how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EWOULDBLOCK):
			return fmt.Errorf("lock: %w", err)
		case how&unix.LOCK_NB != 0:
			return err
		default:
			if err := pause(ctx, wait); err != nil {
				return fmt.Errorf("wait for a lock: %w", err)
			}
		}
	}
}

// newWrapper makes an empty directory parent/id.random, locked exclusively. A sweep of another process may remove it in
// the moment before it is locked; then another is made.
func newWrapper(ctx context.Context, parent, id string) (wrapper, string, error) {
	for {
		path := filepath.Join(parent, id+"."+randomName())
		if err := os.Mkdir(path, 0o700); err != nil {
			return wrapper{}, "", fmt.Errorf("make a volume's directory: %w", err)
		}
		w, err := openWrapper(ctx, path, unix.LOCK_EX)
		if err == nil {
			return w, path, nil
		}
		if !errors.Is(err, errGone) {
			_ = unix.Rmdir(path)
			return wrapper{}, "", err
		}
	}
}

// close releases the lock too.
func (w wrapper) close() { closeFD(w.fd) }

// path names a file of the wrapper wherever the wrapper is now.
func (w wrapper) path(name string) string { return filepath.Join(fdPath(w.fd), name) }

// openData opens the data directory.
func (w wrapper) openData() (int, error) {
	fd, err := unix.Openat(w.fd, dataDir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("open the data directory: %w", err)
	}
	return fd, nil
}

// makeData makes an empty data directory and opens it.
func (w wrapper) makeData() (int, error) {
	if err := unix.Mkdirat(w.fd, dataDir, 0o700); err != nil {
		return -1, fmt.Errorf("make the data directory: %w", err)
	}
	return w.openData()
}

func (w wrapper) frozen() (frozenInfo, bool, error) {
	var info frozenInfo
	err := w.readJSON(frozenFile, &info)
	if errors.Is(err, fs.ErrNotExist) {
		return frozenInfo{}, false, nil
	}
	return info, err == nil, err
}

func (w wrapper) readJSON(name string, v any) error {
	data, err := os.ReadFile(w.path(name))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	return nil
}

// writeJSON writes a file of the wrapper durably and atomically.
func (w wrapper) writeJSON(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := writeDurably(w.path(name+".new"), data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := unix.Renameat(w.fd, name+".new", w.fd, name); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if err := unix.Fsync(w.fd); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

func writeDurably(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func randomName() string { return strings.ToLower(rand.Text()) }
