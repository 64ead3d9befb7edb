package cow

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

type stillFunc = func(context.Context) (held context.Context, resume func(), err error)

// Snapshot implements driver.Snapshotter.
func (d *dirs) Snapshot(ctx context.Context, from, to string, still stillFunc) error {
	for _, id := range []string{from, to} {
		if !driver.ValidID(id) {
			return invalidID(id)
		}
	}
	if d.exists(to) {
		return nil
	}
	source, err := openWrapper(ctx, d.volumeDir(from), unix.LOCK_SH)
	if errors.Is(err, errGone) {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, notFound(from))
	}
	if err != nil {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
	}
	defer source.close()
	var size int64
	if d.backend.needs(1) > 0 {
		if size, err = occupied(ctx, source.path(dataDir)); err != nil {
			return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
		}
	}
	if err := d.space.check(d.backend.needs(size)); err != nil {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
	}
	err = d.build(ctx, to, func(w wrapper) error { return d.fillSnapshot(ctx, source, w, still) })
	if err != nil {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, d.describe(err))
	}
	return nil
}

// fillSnapshot makes the frozen contents of a snapshot's wrapper. What the source has written is brought to disk before it is held: the
// file system would do that for each file as it is shared, and everybody would wait.
func (d *dirs) fillSnapshot(ctx context.Context, source, w wrapper, still stillFunc) error {
	data, err := source.openData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	if err := syncFS(data); err != nil {
		return err
	}
	held, resume, err := still(ctx)
	if err != nil {
		return err
	}
	err = d.fillHeld(held, source, data, w)
	resume()
	if err != nil {
		return err
	}
	d.step("snapshot: filled")
	return d.freezeLocked(ctx, w)
}

func (d *dirs) fillHeld(ctx context.Context, source wrapper, data int, w wrapper) error {
	d.step("snapshot: held")
	t, err := scan(ctx, data)
	if err != nil {
		return err
	}
	return d.backend.snapshot(ctx, origin{wrapper: source, frozenInfo: frozenInfo{Bytes: t.Bytes}, tree: t}, w)
}

func (p *plain) snapshot(ctx context.Context, from origin, to wrapper) error {
	return p.clone(ctx, from, to, 0)
}

func (b *btrfs) snapshot(ctx context.Context, from origin, to wrapper) error {
	return b.clone(ctx, from, to, 0)
}

// snapshot copies every file: the layers of a clone in use cannot be shared, since it goes on writing to the uppermost.
func (o *overlay) snapshot(ctx context.Context, from origin, to wrapper) error {
	src, err := from.openData()
	if err != nil {
		return err
	}
	defer closeFD(src)
	dst, err := to.makeData()
	if err != nil {
		return err
	}
	defer closeFD(dst)
	return from.tree.replicate(ctx, src, dst, sendFile)
}

// sendFile copies src to dst between two file systems, which copyFile cannot: an overlay is one of its own.
func sendFile(ctx context.Context, src, dst int, size int64) error {
	const piece = 8 << 20
	for done := int64(0); done < size; {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		n, err := unix.Sendfile(dst, src, nil, int(min(piece, size-done)))
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

// Snapshot implements driver.Snapshotter: a snapshot of the dataset at one moment, a clone of it, and that frozen. The clone is made
// under a name that no volume can have, and renamed when it is whole.
func (z *zfs) Snapshot(ctx context.Context, from, to string, still stillFunc) error {
	for _, id := range []string{from, to} {
		if !driver.ValidID(id) {
			return invalidID(id)
		}
	}
	if ok, err := z.has(ctx, z.name(to)); ok || err != nil {
		return err
	}
	if ok, err := z.has(ctx, z.name(from)); !ok || err != nil {
		return errors.Join(fmt.Errorf("snapshot %s as %s: %w", from, to, notFound(from)), err)
	}
	if err := z.check(ctx); err != nil {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
	}
	fd, err := unix.Open(z.lock, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
	}
	defer closeFD(fd)
	if err := lock(ctx, fd, unix.LOCK_SH); err != nil {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
	}
	moment, tmp := z.name(from)+"@live-"+randomName(), z.name(zfsTmp+to+"-"+randomName())
	err = z.snapshotHeld(ctx, moment, still)
	if err == nil {
		err = z.freezeMoment(ctx, moment, tmp, to)
	}
	// Deferred: it goes when the last clone of it does.
	clean := context.WithoutCancel(ctx)
	if cleanErr := z.change(clean, "destroy", "-d", moment); cleanErr != nil && !errors.Is(cleanErr, driver.ErrNotFound) {
		z.log.Debug("a snapshot stays", "dataset", moment, "err", cleanErr)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("snapshot %s as %s: %w", from, to, err)
	}
	return nil
}

func (z *zfs) snapshotHeld(ctx context.Context, moment string, still stillFunc) error {
	held, resume, err := still(ctx)
	if err != nil {
		return err
	}
	defer resume()
	return z.change(held, "snapshot", moment)
}

func (z *zfs) freezeMoment(ctx context.Context, moment, tmp, to string) error {
	err := z.change(ctx, "clone", "-o", "readonly=on", moment, tmp)
	if err == nil {
		err = z.change(ctx, "snapshot", tmp+zfsSnapshot)
	}
	if err == nil {
		z.fault("zfs: made")
		err = z.change(ctx, "rename", tmp, z.name(to))
	}
	if err == nil {
		return nil
	}
	if cleanErr := z.change(context.WithoutCancel(ctx), "destroy", "-r", "-f", tmp); cleanErr != nil && !errors.Is(cleanErr, driver.ErrNotFound) {
		z.log.Warn("a half-made snapshot stays until the next sweep", "volume", to, "err", cleanErr)
	}
	return err
}
