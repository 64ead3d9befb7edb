package cow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// tree is the list of everything in a volume. It is made when the volume is frozen, so that a clone neither reads
// directories nor stats files: what remains per file is open, create, own, share.
type tree struct {
	// Dirs has the volume's root first, and every directory after its parent.
	Dirs  []treeDir  `json:"dirs"`
	Files []treeFile `json:"files"`
	Links []treeLink `json:"links,omitempty"`
	// Bytes is what the files occupy on disk, blocks shared with other volumes included.
	Bytes int64 `json:"bytes"`
}

type treeDir struct {
	Parent int    `json:"parent"` // index in Dirs; the root is its own
	Name   string `json:"name"`
	Mode   uint32 `json:"mode"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
}

type treeFile struct {
	Dir  int    `json:"dir"`
	Name string `json:"name"`
	Mode uint32 `json:"mode"`
	UID  int    `json:"uid"`
	GID  int    `json:"gid"`
	Size int64  `json:"size"`
}

type treeLink struct {
	Dir    int    `json:"dir"`
	Name   string `json:"name"`
	Target string `json:"target"`
	UID    int    `json:"uid"`
	GID    int    `json:"gid"`
}

const permissions = 0o7777

// scan lists the directory that root is open on. Sockets and pipes are left out: no stopped database needs one.
func scan(ctx context.Context, root int) (*tree, error) {
	base := fdPath(root)
	t := &tree{}
	index := map[string]int{}
	err := filepath.WalkDir(base+"/.", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return fmt.Errorf("stat %s: %w", d.Name(), err)
		}
		dir := index[filepath.Dir(path)]
		if d.IsDir() {
			index[filepath.Clean(path)] = len(t.Dirs)
		}
		return t.add(path, d, &st, dir)
	})
	if err != nil {
		return nil, fmt.Errorf("list the volume's files: %w", err)
	}
	return t, nil
}

func (t *tree) add(path string, d fs.DirEntry, st *unix.Stat_t, dir int) error {
	uid, gid, mode := int(st.Uid), int(st.Gid), st.Mode&permissions
	t.Bytes += st.Blocks * 512
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		t.Dirs = append(t.Dirs, treeDir{Parent: dir, Name: d.Name(), Mode: mode, UID: uid, GID: gid})
	case unix.S_IFREG:
		t.Files = append(t.Files, treeFile{Dir: dir, Name: d.Name(), Mode: mode, UID: uid, GID: gid, Size: st.Size})
	case unix.S_IFLNK:
		target, err := os.Readlink(path)
		if err != nil {
			return fmt.Errorf("read link %s: %w", d.Name(), err)
		}
		t.Links = append(t.Links, treeLink{Dir: dir, Name: d.Name(), Target: target, UID: uid, GID: gid})
	case unix.S_IFSOCK, unix.S_IFIFO:
	default:
		return fmt.Errorf("%s is a device: a volume holds files, directories and links only", d.Name())
	}
	return nil
}

// fillFunc gives a new empty file the contents of the file it is a copy of.
type fillFunc func(ctx context.Context, src, dst int, size int64) error

// batch is how many files a worker takes at a time: few enough to keep all workers busy to the end.
const batch = 16

// replicate makes the whole tree, read from the directory src is open on, in the directory dst is open on.
func (t *tree) replicate(ctx context.Context, src, dst int, fill fillFunc) error {
	workers := max(2, runtime.NumCPU())
	r := &replica{tree: t, fill: fill, lanes: workers}
	defer r.close()
	if err := r.makeDirs(src, dst); err != nil {
		return err
	}
	group, gctx := errgroup.WithContext(ctx)
	for range workers {
		group.Go(func() error { return r.work(gctx) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := r.makeLinks(); err != nil {
		return err
	}
	return r.finishDirs()
}

type replica struct {
	tree     *tree
	fill     fillFunc
	from, to []int // descriptors of the directories, by index in tree.Dirs
	lanes    int
	next     atomic.Int64
}

// take returns the next batch of files, or false. Files are listed directory by directory, and two workers that create in
// one directory wait for each other; so the list is cut into as many lanes as there are workers, and consecutive takers
// are sent to different lanes.
func (r *replica) take() ([]treeFile, bool) {
	files := r.tree.Files
	perLane := (len(files) + r.lanes*batch - 1) / (r.lanes * batch) // batches
	n := int(r.next.Add(1)) - 1
	if n >= perLane*r.lanes {
		return nil, false
	}
	start := (n%r.lanes*perLane + n/r.lanes) * batch
	return files[min(start, len(files)):min(start+batch, len(files))], true
}

func (r *replica) close() {
	for _, fd := range r.from {
		closeFD(fd)
	}
	for _, fd := range r.to {
		closeFD(fd)
	}
}

func (r *replica) makeDirs(src, dst int) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	for i, d := range r.tree.Dirs {
		fromDir, toDir, name := src, dst, "."
		if i > 0 {
			fromDir, toDir, name = r.from[d.Parent], r.to[d.Parent], d.Name
			if err := unix.Mkdirat(toDir, name, 0o700); err != nil {
				return fmt.Errorf("make directory %s: %w", name, err)
			}
		}
		from, err := unix.Openat(fromDir, name, flags, 0)
		if err != nil {
			return fmt.Errorf("open directory %s: %w", name, err)
		}
		r.from = append(r.from, from)
		to, err := unix.Openat(toDir, name, flags, 0)
		if err != nil {
			return fmt.Errorf("open directory %s: %w", name, err)
		}
		r.to = append(r.to, to)
		if err := own(to, d.UID, d.GID, 0o700, 0o700); err != nil {
			return fmt.Errorf("directory %s: %w", name, err)
		}
	}
	return nil
}

// finishDirs sets the modes. It comes last, because what is made in a directory with the set-group-id bit gets its group.
func (r *replica) finishDirs() error {
	for i, d := range r.tree.Dirs {
		if d.Mode == 0o700 {
			continue
		}
		if err := unix.Fchmod(r.to[i], d.Mode); err != nil {
			return fmt.Errorf("set the mode of directory %s: %w", d.Name, err)
		}
	}
	return nil
}

func (r *replica) work(ctx context.Context) error {
	for {
		files, ok := r.take()
		if !ok {
			return nil
		}
		for i := range files {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := r.copyFile(ctx, &files[i]); err != nil {
				return fmt.Errorf("file %s: %w", files[i].Name, err)
			}
		}
	}
}

func (r *replica) copyFile(ctx context.Context, f *treeFile) error {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	const made = 0o600
	dst, err := unix.Openat(r.to[f.Dir], f.Name, flags, made)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	defer closeFD(dst)
	if err := own(dst, f.UID, f.GID, f.Mode, made); err != nil {
		return err
	}
	if f.Size == 0 {
		return nil
	}
	src, err := unix.Openat(r.from[f.Dir], f.Name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	defer closeFD(src)
	return r.fill(ctx, src, dst, f.Size)
}

func (r *replica) makeLinks() error {
	for _, l := range r.tree.Links {
		if err := unix.Symlinkat(l.Target, r.to[l.Dir], l.Name); err != nil {
			return fmt.Errorf("make link %s: %w", l.Name, err)
		}
		if err := unix.Fchownat(r.to[l.Dir], l.Name, l.UID, l.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return fmt.Errorf("own link %s: %w", l.Name, err)
		}
	}
	return nil
}

// own sets owner and mode of what was just made with the mode `made` by this process, as far as they differ. The owner
// comes first: chown clears the set-id bits.
func own(fd, uid, gid int, mode, made uint32) error {
	if uid != os.Geteuid() || gid != os.Getegid() {
		if err := unix.Fchown(fd, uid, gid); err != nil {
			return fmt.Errorf("set owner: %w", err)
		}
	}
	if mode != made {
		if err := unix.Fchmod(fd, mode); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	return nil
}

// fdPath names what a descriptor is open on, wherever it has been renamed to meanwhile.
func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// removeTree removes everything below the directory that fd is open on. What another process removes at the same time
// is not missed. Immutable files are made mutable first.
func removeTree(ctx context.Context, fd int) error {
	r := &remover{slots: make(chan struct{}, max(2, runtime.NumCPU()))}
	if err := r.empty(ctx, fd); err != nil {
		return fmt.Errorf("remove files: %w", err)
	}
	return nil
}

type remover struct{ slots chan struct{} }

// empty removes the contents of a directory: the subdirectories each in a goroutine of its own while there are free
// slots, the files here.
func (r *remover) empty(ctx context.Context, dir int) error {
	entries, err := os.ReadDir(fdPath(dir))
	if err != nil {
		return err
	}
	if immutable(dir) {
		setImmutable(dir, false)
	}
	var (
		wait   sync.WaitGroup
		failed = make([]error, len(entries))
	)
	for i, e := range entries {
		if failed[i] = ctx.Err(); failed[i] != nil {
			break
		}
		if !e.IsDir() {
			failed[i] = unlink(dir, e.Name())
			continue
		}
		select {
		case r.slots <- struct{}{}:
			wait.Go(func() {
				failed[i] = r.removeDir(ctx, dir, e.Name())
				<-r.slots
			})
		default:
			failed[i] = r.removeDir(ctx, dir, e.Name())
		}
	}
	wait.Wait()
	return errors.Join(failed...)
}

func (r *remover) removeDir(ctx context.Context, parent int, name string) error {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer closeFD(fd)
	if err := r.empty(ctx, fd); err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove directory %s: %w", name, err)
	}
	return nil
}

func unlink(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if errors.Is(err, unix.EPERM) {
		if fd, openErr := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0); openErr == nil {
			setImmutable(fd, false)
			closeFD(fd)
			err = unix.Unlinkat(dir, name, 0)
		}
	}
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unlink %s: %w", name, err)
	}
	return nil
}

// occupied returns the bytes that the files below a directory occupy. Files that vanish meanwhile, as those of a running
// database do, are not counted.
func occupied(ctx context.Context, root string) (int64, error) {
	var total int64
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if errors.Is(err, fs.ErrNotExist) && path != root {
			return nil
		}
		total += st.Blocks * 512
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("measure the volume: %w", err)
	}
	return total, nil
}
