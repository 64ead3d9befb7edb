package cow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// backend is what differs between the drivers that keep volumes in directories. Every method works inside one locked
// wrapper and may be interrupted by a crash at any point: the wrapper of a half-made volume is never seen, and goes
// through destroy.
type backend interface {
	name() string
	// create makes an empty data directory.
	create(ctx context.Context, w wrapper, owner driver.Owner) error
	// freeze makes the data directory durable and, as far as it can, read-only. It may be called again after a crash.
	freeze(ctx context.Context, w wrapper) error
	// clone makes the data directory of `to` from that of the frozen `from`.
	clone(ctx context.Context, from origin, to wrapper, limit int64) error
	// snapshot makes the data directory of `to` from that of a volume that is not frozen and that nothing writes to for now.
	snapshot(ctx context.Context, from origin, to wrapper) error
	// destroy removes everything in the wrapper. It may be called again after a crash, and on any half-made thing.
	destroy(ctx context.Context, w wrapper) error
	// keepsOrigins is true if clones need the files of what they were cloned from. inUse then reports whether a frozen
	// layer still carries clones and so must not be destroyed yet.
	keepsOrigins() bool
	inUse(layer string) (bool, error)
	// attach brings a whole volume back after a reboot; detach is its reverse.
	attach(ctx context.Context, w wrapper) error
	detach(w wrapper) error
	// needs is how many bytes a clone of a volume of the given size takes at once.
	needs(size int64) int64
	// copyOnWrite and sharesBlocks are those of driver.PoolStat.
	copyOnWrite() bool
	sharesBlocks() bool
}

// origin is a frozen volume that is being cloned, under a shared lock.
type origin struct {
	wrapper
	frozenInfo
	tree *tree
}

// dirs keeps volumes in directories: the machinery that makes every backend atomic and safe between processes.
type dirs struct {
	root    string
	backend backend
	space   space
	log     *slog.Logger
	fault   func(step string)

	mu    sync.Mutex
	trees map[string]*tree // by layer: parsed tree.json of what was cloned lately
}

// maxTrees bounds the parsed trees that are kept: a few hundred KiB each.
const maxTrees = 16

func (d *dirs) volumesDir() string         { return filepath.Join(d.root, "volumes") }
func (d *dirs) tmpDir() string             { return filepath.Join(d.root, "tmp") }
func (d *dirs) trashDir() string           { return filepath.Join(d.root, "trash") }
func (d *dirs) volumeDir(id string) string { return filepath.Join(d.root, "volumes", id) }
func (d *dirs) exists(id string) bool      { return unix.Access(d.volumeDir(id), unix.F_OK) == nil }
func (d *dirs) close() error               { return nil }
func notFound(id string) error             { return fmt.Errorf("volume %s: %w", id, driver.ErrNotFound) }
func invalidID(id string) error            { return fmt.Errorf("volume %.60q: %w", id, driver.ErrInvalidID) }
func (d *dirs) step(name string)           { d.fault(name) }
func (d *dirs) data(id string) string      { return filepath.Join(d.volumeDir(id), dataDir) }
func (d *dirs) describe(err error) error   { return d.space.translate(err) }

// prepare makes the pool's directories.
func (d *dirs) prepare() error {
	for _, dir := range []string{d.root, d.volumesDir(), d.tmpDir(), d.trashDir()} {
		mode := os.FileMode(0o700)
		if dir != d.root && dir != d.volumesDir() {
			mode = 0o700
		}
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make the pool's directories: %w", err)
		}
	}
	return nil
}

// Create implements driver.Volumes.
func (d *dirs) Create(ctx context.Context, id string, owner driver.Owner) error {
	if !driver.ValidID(id) {
		return invalidID(id)
	}
	if d.exists(id) {
		return nil
	}
	if err := d.space.check(0); err != nil {
		return fmt.Errorf("create volume %s: %w", id, err)
	}
	err := d.build(ctx, id, func(w wrapper) error { return d.backend.create(ctx, w, owner) })
	if err != nil {
		return fmt.Errorf("create volume %s: %w", id, d.describe(err))
	}
	return nil
}

// Clone implements driver.Volumes.
func (d *dirs) Clone(ctx context.Context, from, to string, limitBytes int64) error {
	for _, id := range []string{from, to} {
		if !driver.ValidID(id) {
			return invalidID(id)
		}
	}
	if d.exists(to) {
		return nil
	}
	o, err := d.openOrigin(ctx, from)
	if err != nil {
		return fmt.Errorf("clone %s to %s: %w", from, to, err)
	}
	defer o.close()
	if err := d.space.check(d.backend.needs(o.Bytes)); err != nil {
		return fmt.Errorf("clone %s to %s: %w", from, to, err)
	}
	err = d.build(ctx, to, func(w wrapper) error { return d.backend.clone(ctx, o, w, limitBytes) })
	if err != nil {
		return fmt.Errorf("clone %s to %s: %w", from, to, d.describe(err))
	}
	return nil
}

// openOrigin locks a frozen volume so that it is not removed while it is cloned.
func (d *dirs) openOrigin(ctx context.Context, id string) (origin, error) {
	w, err := openWrapper(ctx, d.volumeDir(id), unix.LOCK_SH)
	if errors.Is(err, errGone) {
		return origin{}, notFound(id)
	}
	if err != nil {
		return origin{}, err
	}
	info, frozen, err := w.frozen()
	if err == nil && !frozen {
		err = fmt.Errorf("volume %s is not frozen: %w", id, driver.ErrNotFound)
	}
	o := origin{wrapper: w, frozenInfo: info}
	if err == nil {
		o.tree, err = d.treeOf(w, info.Layer)
	}
	if err != nil {
		w.close()
		return origin{}, err
	}
	return o, nil
}

func (d *dirs) treeOf(w wrapper, layer string) (*tree, error) {
	d.mu.Lock()
	t := d.trees[layer]
	d.mu.Unlock()
	if t != nil {
		return t, nil
	}
	t = &tree{}
	if err := w.readJSON(treeJSON, t); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.trees) >= maxTrees {
		clear(d.trees)
	}
	d.trees[layer] = t
	return t, nil
}

// build makes a volume in tmp and renames it into place once it is whole. If the volume appeared meanwhile, that one
// stays.
func (d *dirs) build(ctx context.Context, id string, fill func(wrapper) error) error {
	d.step("build: start")
	w, path, err := newWrapper(ctx, d.tmpDir(), id)
	if err != nil {
		return err
	}
	defer w.close()
	d.step("build: directory made")
	err = fill(w)
	if err == nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		d.step("build: filled")
		err = os.Rename(path, d.volumeDir(id))
		if err == nil {
			d.step("build: renamed")
			return nil
		}
	}
	if cleanErr := d.discard(context.WithoutCancel(ctx), w, path); cleanErr != nil {
		d.log.Warn("a half-made volume stays until the next sweep", "volume", id, "err", cleanErr)
	}
	// A directory that is not empty is never replaced by a rename, so the first one to finish wins.
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) {
		return nil
	}
	return err
}

// discard destroys what is in a wrapper that is locked exclusively, then the wrapper.
func (d *dirs) discard(ctx context.Context, w wrapper, path string) error {
	if err := d.backend.destroy(ctx, w); err != nil {
		return err
	}
	d.step("discard: emptied")
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the volume's directory: %w", err)
	}
	d.step("discard: removed")
	return nil
}

// Freeze implements driver.Volumes.
func (d *dirs) Freeze(ctx context.Context, id string) error {
	if !driver.ValidID(id) {
		return invalidID(id)
	}
	w, err := openWrapper(ctx, d.volumeDir(id), unix.LOCK_SH)
	if err == nil {
		_, frozen, frozenErr := w.frozen()
		w.close()
		if frozen || frozenErr != nil {
			return frozenErr
		}
		w, err = openWrapper(ctx, d.volumeDir(id), unix.LOCK_EX)
	}
	if errors.Is(err, errGone) {
		return fmt.Errorf("freeze: %w", notFound(id))
	}
	if err != nil {
		return fmt.Errorf("freeze volume %s: %w", id, err)
	}
	defer w.close()
	if err := d.freezeLocked(ctx, w); err != nil {
		return fmt.Errorf("freeze volume %s: %w", id, d.describe(err))
	}
	return nil
}

func (d *dirs) freezeLocked(ctx context.Context, w wrapper) error {
	if _, frozen, err := w.frozen(); frozen || err != nil {
		return err
	}
	data, err := w.openData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	// Before the scan: delayed allocation has given the files no blocks to count yet.
	if err := unix.Syncfs(data); err != nil {
		return fmt.Errorf("write the volume to disk: %w", err)
	}
	t, err := scan(ctx, data)
	if err != nil {
		return err
	}
	d.step("freeze: scanned")
	if err := w.writeJSON(treeJSON, t); err != nil {
		return err
	}
	d.step("freeze: tree written")
	if err := d.backend.freeze(ctx, w); err != nil {
		return err
	}
	d.step("freeze: protected")
	if err := w.writeJSON(frozenFile, frozenInfo{Layer: randomName(), Bytes: t.Bytes}); err != nil {
		return err
	}
	d.step("freeze: marked")
	return nil
}

// Delete implements driver.Volumes.
func (d *dirs) Delete(ctx context.Context, id string) error {
	if !driver.ValidID(id) {
		return invalidID(id)
	}
	d.step("delete: start")
	err := os.Rename(d.volumeDir(id), filepath.Join(d.trashDir(), id+"."+randomName()))
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	d.step("delete: in the trash")
	if err := errors.Join(
		d.sweep(ctx, d.tmpDir(), id, unix.LOCK_EX|unix.LOCK_NB),
		d.sweep(ctx, d.trashDir(), id, unix.LOCK_EX),
	); err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	if !d.backend.keepsOrigins() {
		return nil
	}
	// This may have been the last clone of something that was deleted before.
	if err := d.sweep(ctx, d.trashDir(), "", unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

// sweep removes the leftovers of one id, or of all with "", from tmp or trash. With LOCK_NB it passes over those that
// somebody is working on.
func (d *dirs) sweep(ctx context.Context, dir, id string, how int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var failed []error
	for _, e := range entries {
		of, _, _ := strings.Cut(e.Name(), ".")
		if id != "" && of != id {
			continue
		}
		if err := d.sweepOne(ctx, filepath.Join(dir, e.Name()), how); err != nil {
			failed = append(failed, fmt.Errorf("sweep %s: %w", e.Name(), err))
		}
	}
	return errors.Join(failed...)
}

func (d *dirs) sweepOne(ctx context.Context, path string, how int) error {
	w, err := openWrapper(ctx, path, how)
	if errors.Is(err, errGone) || errors.Is(err, unix.EWOULDBLOCK) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.close()
	info, frozen, err := w.frozen()
	if err != nil {
		// An unreadable mark does not keep anything alive; only a layer with clones does, and its mark is durable.
		d.log.Warn("a deleted volume's mark cannot be read", "path", path, "err", err)
	}
	if frozen {
		if used, err := d.backend.inUse(info.Layer); used || err != nil {
			return err
		}
		d.forget(info.Layer)
		// First the mark: a Clone that waits for this lock must not take the half-removed files for a volume.
		if err := unix.Unlinkat(w.fd, frozenFile, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmark: %w", err)
		}
		d.step("sweep: unmarked")
	}
	return d.discard(ctx, w, path)
}

func (d *dirs) forget(layer string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.trees, layer)
}

// List implements driver.Volumes.
func (d *dirs) List(ctx context.Context) ([]driver.Volume, error) {
	entries, err := os.ReadDir(d.volumesDir())
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	list := make([]driver.Volume, 0, len(entries))
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("list volumes: %w", context.Cause(ctx))
		}
		if !driver.ValidID(e.Name()) || !e.IsDir() {
			continue
		}
		err := unix.Access(filepath.Join(d.volumeDir(e.Name()), frozenFile), unix.F_OK)
		list = append(list, driver.Volume{ID: e.Name(), Frozen: err == nil})
	}
	return list, nil
}

// Size implements driver.Volumes.
func (d *dirs) Size(ctx context.Context, id string) (int64, error) {
	if !driver.ValidID(id) {
		return 0, invalidID(id)
	}
	// Opened without a lock: a volume that is being cloned, frozen or deleted can be measured.
	fd, err := unix.Open(d.volumeDir(id), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return 0, fmt.Errorf("size: %w", notFound(id))
	}
	if err != nil {
		return 0, fmt.Errorf("size of volume %s: %w", id, err)
	}
	w := wrapper{fd: fd}
	defer w.close()
	if info, frozen, err := w.frozen(); frozen || err != nil {
		return info.Bytes, err
	}
	bytes, err := occupied(ctx, w.path(dataDir))
	if err != nil && !d.exists(id) {
		return 0, fmt.Errorf("size: %w", notFound(id))
	}
	if err != nil {
		return 0, fmt.Errorf("size of volume %s: %w", id, err)
	}
	return bytes, nil
}

// Stat implements driver.Volumes.
func (d *dirs) Stat(context.Context) (driver.PoolStat, error) {
	total, free, err := d.space.measure()
	if err != nil {
		return driver.PoolStat{}, fmt.Errorf("pool capacity: %w", err)
	}
	return driver.PoolStat{
		Driver: d.backend.name(), TotalBytes: total, FreeBytes: free,
		CopyOnWrite: d.backend.copyOnWrite(), SharesBlocks: d.backend.sharesBlocks(),
	}, nil
}

func (d *dirs) path(id string) (string, error) {
	if !driver.ValidID(id) {
		return "", invalidID(id)
	}
	if !d.exists(id) {
		return "", notFound(id)
	}
	return d.data(id), nil
}

// recover brings every volume back after a reboot and removes leftovers of crashed processes.
func (d *dirs) recover(ctx context.Context) error {
	list, err := d.List(ctx)
	if err != nil {
		return err
	}
	for _, v := range list {
		w, err := openWrapper(ctx, d.volumeDir(v.ID), unix.LOCK_SH)
		if errors.Is(err, errGone) {
			continue
		}
		if err == nil {
			err = d.backend.attach(ctx, w)
			w.close()
		}
		if err != nil {
			return fmt.Errorf("bring back volume %s: %w", v.ID, err)
		}
	}
	for _, dir := range []string{d.tmpDir(), d.trashDir()} {
		if err := d.sweep(ctx, dir, "", unix.LOCK_EX|unix.LOCK_NB); err != nil {
			d.log.Warn("leftovers could not be removed", "dir", dir, "err", err)
		}
	}
	return nil
}

// unmount detaches every volume, and those in the trash that still carry clones.
func (d *dirs) unmount(ctx context.Context) error {
	for _, dir := range []string{d.volumesDir(), d.trashDir()} {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
		for _, e := range entries {
			w, err := openWrapper(ctx, filepath.Join(dir, e.Name()), unix.LOCK_SH)
			if err != nil {
				continue
			}
			err = d.backend.detach(w)
			w.close()
			if err != nil {
				return fmt.Errorf("detach volume %s: %w", e.Name(), err)
			}
		}
	}
	return nil
}
