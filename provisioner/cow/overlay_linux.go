package cow

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

const (
	overlayFile = "overlay.json"
	upperDir    = "upper"
	workDir     = "work"
)

// overlay clones a frozen volume by mounting an OverlayFS over its data directory. A frozen volume that is deleted stays
// in the trash until no clone is on top of it.
type overlay struct {
	root   string
	quotas *quotas
}

// overlayInfo is overlay.json, in the wrapper of a clone.
type overlayInfo struct {
	// Layer is the frozen volume below; ids may be used again, layers are not.
	Layer string `json:"layer"`
}

func (o *overlay) name() string       { return DriverOverlay }
func (o *overlay) copyOnWrite() bool  { return true }
func (o *overlay) sharesBlocks() bool { return false }
func (o *overlay) keepsOrigins() bool { return true }
func (o *overlay) needs(int64) int64  { return 0 }

func (o *overlay) create(_ context.Context, w wrapper, owner driver.Owner) error {
	data, err := w.makeData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	return own(data, owner.UID, owner.GID, 0o700, 0o700)
}

// freeze cannot protect the files: OverlayFS would copy the immutable flag up into the clones.
func (o *overlay) freeze(_ context.Context, w wrapper) error {
	return syncFS(w.fd)
}

func (o *overlay) clone(_ context.Context, from origin, to wrapper, limit int64) error {
	// On the wrapper, so that upper and work are of one project: OverlayFS renames from one to the other.
	if err := o.quotas.prepare(to.fd, limit); err != nil {
		return err
	}
	root := from.tree.Dirs[0]
	for _, name := range []string{dataDir, workDir, upperDir} {
		if err := unix.Mkdirat(to.fd, name, 0o700); err != nil {
			return fmt.Errorf("make the directory %s: %w", name, err)
		}
	}
	if err := os.Chown(to.path(upperDir), root.UID, root.GID); err != nil {
		return fmt.Errorf("own the upper directory: %w", err)
	}
	if err := unix.Fchmodat(to.fd, upperDir, root.Mode, 0); err != nil {
		return fmt.Errorf("set the mode of the upper directory: %w", err)
	}
	if err := to.writeJSON(overlayFile, overlayInfo{Layer: from.Layer}); err != nil {
		return err
	}
	return o.mount(from.wrapper, to)
}

// mount names the directories by descriptor: their paths may change at any time, and may hold the commas and colons that
// separate the options.
func (o *overlay) mount(lower, w wrapper) error {
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower.path(dataDir), w.path(upperDir), w.path(workDir))
	if err := unix.Mount("overlay", w.path(dataDir), "overlay", unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, options); err != nil {
		return fmt.Errorf("mount the overlay: %w", err)
	}
	return nil
}

func (o *overlay) detach(w wrapper) error {
	if !w.isOverlay() {
		return nil
	}
	if err := unix.Unmount(w.path(dataDir), unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount the overlay: %w", err)
	}
	return nil
}

func (w wrapper) isOverlay() bool {
	var st unix.Statfs_t
	return unix.Statfs(w.path(dataDir), &st) == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC && unix.Access(w.path(overlayFile), unix.F_OK) == nil
}

func (o *overlay) destroy(ctx context.Context, w wrapper) error {
	if err := o.detach(w); err != nil {
		return err
	}
	defer o.quotas.release(w.fd)
	return removeTree(ctx, w.fd)
}

// attach mounts a clone again after a reboot, and first what it is on top of, which may be a clone itself.
func (o *overlay) attach(ctx context.Context, w wrapper) error {
	var info overlayInfo
	err := w.readJSON(overlayFile, &info)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && w.isOverlay()) {
		return nil
	}
	if err != nil {
		return err
	}
	lower, err := o.findLayer(ctx, info.Layer)
	if err != nil {
		return err
	}
	defer lower.close()
	if err := o.attach(ctx, lower); err != nil {
		return err
	}
	return o.mount(lower, w)
}

func (o *overlay) findLayer(ctx context.Context, layer string) (wrapper, error) {
	for _, dir := range o.wrappers() {
		w, err := openWrapper(ctx, dir, unix.LOCK_SH)
		if err != nil {
			continue
		}
		if info, frozen, err := w.frozen(); err == nil && frozen && info.Layer == layer {
			return w, nil
		}
		w.close()
	}
	return wrapper{}, fmt.Errorf("the frozen volume %s below it is gone", layer)
}

// wrappers lists the directories of all volumes, deleted ones that still carry clones included.
func (o *overlay) wrappers() []string {
	var list []string
	for _, dir := range []string{"volumes", "trash"} {
		// The only error of Glob is a malformed pattern.
		found, _ := filepath.Glob(filepath.Join(globEscape(o.root), dir, "*"))
		list = append(list, found...)
	}
	return list
}

func globEscape(path string) string {
	var out []rune
	for _, r := range path {
		if r == '*' || r == '?' || r == '[' || r == '\\' {
			out = append(out, '\\')
		}
		out = append(out, r)
	}
	return string(out)
}

// inUse is asked under the exclusive lock of the layer's wrapper, so no clone of it is being made.
func (o *overlay) inUse(layer string) (bool, error) {
	for _, dir := range o.wrappers() {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		w := wrapper{fd: fd}
		var info overlayInfo
		err = w.readJSON(overlayFile, &info)
		w.close()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return false, err
		}
		if info.Layer == layer {
			return true, nil
		}
	}
	return false, nil
}
