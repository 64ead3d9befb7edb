package cow

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// zfs keeps each volume as a dataset <root>/<id>, mounted at <dir>/volumes/<id>. A frozen volume has the snapshot
// @frozen and is read-only. ZFS makes each step atomic; what takes several goes through datasets whose names no volume
// can have: _tmp-<id>-<random> while being made, _trash-<id>-<random> while clones still depend on it.
type zfs struct {
	dataset string
	dir     string
	lock    string // held shared while a _tmp- dataset is in use
	reserve int64
	log     *slog.Logger
	fault   func(step string)
}

const (
	zfsSnapshot = "@frozen"
	zfsTmp      = "_tmp-"
	zfsTrash    = "_trash-"
)

func hasProgram(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

// zfsUnable says why the zfs driver cannot be used on a file system, or "".
func zfsUnable(fsType string) string {
	switch {
	case fsType != "zfs":
		return "the directory is on " + fsType
	case !hasProgram("zfs"):
		return "the zfs program is not installed"
	case os.Geteuid() != 0:
		return "making datasets needs root"
	}
	return ""
}

// openZFS makes the pool's own dataset below the one that its directory is on. The caller holds the pool's lock.
func openZFS(ctx context.Context, opts Options) (*zfs, error) {
	if err := os.MkdirAll(filepath.Join(opts.Dir, "volumes"), 0o700); err != nil {
		return nil, fmt.Errorf("make the pool's directories: %w", err)
	}
	m, err := mountOf(opts.Dir)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(opts.Dir))
	z := &zfs{
		dataset: m.source + "/mayfly-" + hex.EncodeToString(sum[:4]), dir: opts.Dir, lock: opts.Dir + ".making",
		reserve: opts.ReserveBytes, log: opts.Logger, fault: opts.fault,
	}
	exists, err := z.has(ctx, z.dataset)
	if err != nil {
		return nil, err
	}
	if !exists {
		err = z.change(ctx, "create", "-o", "mountpoint="+filepath.Join(opts.Dir, "volumes"), "-o", "atime=off", "-o", "devices=off", "-o", "setuid=off", z.dataset)
		if err != nil {
			return nil, err
		}
	}
	// After a reboot the system has mounted them already, or does it now.
	if err := z.mountAll(ctx); err != nil {
		return nil, err
	}
	return z, z.sweep(ctx)
}

func (z *zfs) name(id string) string { return z.dataset + "/" + id }
func (z *zfs) close() error          { return nil }

// run runs the zfs program and returns what it prints.
func (z *zfs) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "zfs", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	text := strings.TrimSpace(stderr.String())
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case strings.Contains(text, "does not exist"):
		err = driver.ErrNotFound
	case strings.Contains(text, "already exists"):
		err = unix.EEXIST
	case strings.Contains(text, "out of space"), strings.Contains(text, "quota exceeded"):
		err = driver.ErrNoSpace
	}
	return "", fmt.Errorf("zfs %s: %w: %s", args[0], err, text)
}

func (z *zfs) change(ctx context.Context, args ...string) error {
	_, err := z.run(ctx, args...)
	return err
}

func (z *zfs) has(ctx context.Context, name string) (bool, error) {
	_, err := z.run(ctx, "list", "-H", "-p", "-o", "name", name)
	if errors.Is(err, driver.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Create implements driver.Volumes.
func (z *zfs) Create(ctx context.Context, id string, owner driver.Owner) error {
	if !driver.ValidID(id) {
		return invalidID(id)
	}
	if ok, err := z.has(ctx, z.name(id)); ok || err != nil {
		return err
	}
	if err := z.check(ctx); err != nil {
		return fmt.Errorf("create volume %s: %w", id, err)
	}
	fd, err := unix.Open(z.lock, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("create volume %s: %w", id, err)
	}
	defer closeFD(fd)
	if err := lock(ctx, fd, unix.LOCK_SH); err != nil {
		return fmt.Errorf("create volume %s: %w", id, err)
	}
	tmp := zfsTmp + id + "-" + randomName()
	err = z.makeOwned(ctx, tmp, owner)
	if err == nil {
		z.fault("zfs: made")
		err = z.change(ctx, "rename", z.name(tmp), z.name(id))
	}
	if err == nil {
		return nil
	}
	if cleanErr := z.change(context.WithoutCancel(ctx), "destroy", "-f", z.name(tmp)); cleanErr != nil && !errors.Is(cleanErr, driver.ErrNotFound) {
		z.log.Warn("a half-made volume stays until the next sweep", "volume", id, "err", cleanErr)
	}
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return fmt.Errorf("create volume %s: %w", id, err)
}

func (z *zfs) makeOwned(ctx context.Context, name string, owner driver.Owner) error {
	if err := z.change(ctx, "create", z.name(name)); err != nil {
		return err
	}
	dir := filepath.Join(z.dir, "volumes", name)
	if err := os.Chown(dir, owner.UID, owner.GID); err != nil {
		return fmt.Errorf("own the volume: %w", err)
	}
	//nolint:gosec // G302: it is a directory
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("set the volume's mode: %w", err)
	}
	return nil
}

// Freeze implements driver.Volumes. A snapshot is durable when the program returns.
func (z *zfs) Freeze(ctx context.Context, id string) error {
	if !driver.ValidID(id) {
		return invalidID(id)
	}
	if ok, err := z.has(ctx, z.name(id)+zfsSnapshot); ok || err != nil {
		return err
	}
	// Read-only first: whoever sees the snapshot sees a volume that no longer changes.
	err := z.change(ctx, "set", "readonly=on", z.name(id))
	if err == nil {
		z.fault("zfs: read-only")
		err = z.change(ctx, "snapshot", z.name(id)+zfsSnapshot)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("freeze volume %s: %w", id, err)
	}
	return nil
}

// Clone implements driver.Volumes.
func (z *zfs) Clone(ctx context.Context, from, to string, limitBytes int64) error {
	for _, id := range []string{from, to} {
		if !driver.ValidID(id) {
			return invalidID(id)
		}
	}
	if ok, err := z.has(ctx, z.name(to)); ok || err != nil {
		return err
	}
	size, err := z.number(ctx, "referenced", z.name(from)+zfsSnapshot)
	if err == nil {
		err = z.check(ctx)
	}
	if err == nil {
		args := []string{"clone"}
		if limitBytes > 0 {
			// refquota counts what the clone refers to, blocks shared with its origin included.
			args = append(args, "-o", "refquota="+strconv.FormatInt(size+limitBytes, 10))
		}
		err = z.change(ctx, append(args, z.name(from)+zfsSnapshot, z.name(to))...)
	}
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("clone %s to %s: %w", from, to, err)
	}
	return nil
}

// Delete implements driver.Volumes.
func (z *zfs) Delete(ctx context.Context, id string) error {
	if !driver.ValidID(id) {
		return invalidID(id)
	}
	err := z.change(ctx, "destroy", "-r", "-f", z.name(id))
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		// It has clones: hide it until they are gone.
		z.fault("zfs: has clones")
		err = z.change(ctx, "rename", "-f", z.name(id), z.name(zfsTrash+id+"-"+randomName()))
	}
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	if err := z.sweep(ctx); err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

// sweep destroys what crashed Creates left, unless one is at work, and deleted volumes whose last clone is gone.
func (z *zfs) sweep(ctx context.Context) error {
	fd, err := unix.Open(z.lock, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	defer closeFD(fd)
	idle := lock(ctx, fd, unix.LOCK_EX|unix.LOCK_NB) == nil
	names, err := z.children(ctx)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	for _, name := range names {
		if strings.HasPrefix(name, zfsTrash) || (idle && strings.HasPrefix(name, zfsTmp)) {
			if err := z.change(ctx, "destroy", "-r", "-f", z.name(name)); err != nil && ctx.Err() == nil {
				z.log.Debug("a deleted volume stays", "dataset", name, "err", err)
			}
		}
	}
	return nil
}

// children lists the datasets of the pool, and the snapshots as <name>@frozen.
func (z *zfs) children(ctx context.Context) ([]string, error) {
	out, err := z.run(ctx, "list", "-H", "-p", "-r", "-t", "filesystem,snapshot", "-o", "name", z.dataset)
	if err != nil {
		return nil, err
	}
	var names []string
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), z.dataset+"/"); ok {
			names = append(names, name)
		}
	}
	return names, nil
}

// List implements driver.Volumes.
func (z *zfs) List(ctx context.Context) ([]driver.Volume, error) {
	names, err := z.children(ctx)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	frozen := map[string]bool{}
	for _, name := range names {
		if id, ok := strings.CutSuffix(name, zfsSnapshot); ok {
			frozen[id] = true
		}
	}
	var list []driver.Volume
	for _, name := range names {
		if driver.ValidID(name) {
			list = append(list, driver.Volume{ID: name, Frozen: frozen[name]})
		}
	}
	return list, nil
}

// Size implements driver.Volumes.
func (z *zfs) Size(ctx context.Context, id string) (int64, error) {
	if !driver.ValidID(id) {
		return 0, invalidID(id)
	}
	n, err := z.number(ctx, "referenced", z.name(id))
	if err != nil {
		return 0, fmt.Errorf("size of volume %s: %w", id, err)
	}
	return n, nil
}

func (z *zfs) number(ctx context.Context, property, name string) (int64, error) {
	out, err := z.run(ctx, "get", "-H", "-p", "-o", "value", property, name)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("zfs get %s: %w", property, err)
	}
	return n, nil
}

// Stat implements driver.Volumes.
func (z *zfs) Stat(ctx context.Context) (driver.PoolStat, error) {
	used, err := z.number(ctx, "used", z.dataset)
	if err != nil {
		return driver.PoolStat{}, fmt.Errorf("pool capacity: %w", err)
	}
	free, err := z.number(ctx, "available", z.dataset)
	if err != nil {
		return driver.PoolStat{}, fmt.Errorf("pool capacity: %w", err)
	}
	return driver.PoolStat{Driver: DriverZFS, TotalBytes: used + free, FreeBytes: free, CopyOnWrite: true, SharesBlocks: true}, nil
}

func (z *zfs) check(ctx context.Context) error {
	st, err := z.Stat(ctx)
	if err != nil {
		return err
	}
	return space{reserve: z.reserve}.enough(st.TotalBytes, st.FreeBytes, 0)
}

func (z *zfs) path(id string) (string, error) {
	if !driver.ValidID(id) {
		return "", invalidID(id)
	}
	dir := filepath.Join(z.dir, "volumes", id)
	m, err := mountOf(dir)
	if err != nil || m.source != z.name(id) {
		return "", errors.Join(notFound(id), err)
	}
	return dir, nil
}

func (z *zfs) mountAll(ctx context.Context) error {
	names, err := z.children(ctx)
	if err != nil {
		return err
	}
	for _, name := range append([]string{""}, names...) {
		dataset := strings.TrimSuffix(z.name(name), "/")
		if strings.Contains(name, "@") || strings.HasPrefix(name, "_") {
			continue
		}
		out, err := z.run(ctx, "get", "-H", "-o", "value", "mounted", dataset)
		if err == nil && strings.TrimSpace(out) == "no" {
			err = z.change(ctx, "mount", dataset)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (z *zfs) unmount(ctx context.Context) error {
	names, err := z.children(ctx)
	if err != nil {
		return err
	}
	for _, name := range append(names, "") {
		if strings.Contains(name, "@") {
			continue
		}
		dataset := strings.TrimSuffix(z.name(name), "/")
		if err := z.change(ctx, "unmount", dataset); err != nil && !strings.Contains(err.Error(), "not currently mounted") {
			return err
		}
	}
	return nil
}
