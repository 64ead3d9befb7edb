package cow

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// plain keeps every volume as an ordinary directory, and clones it file by file: by FICLONE (reflink) or by copying.
type plain struct {
	share  bool // FICLONE; otherwise copy
	quotas *quotas
	fault  func(step string)
}

func (p *plain) name() string {
	if p.share {
		return DriverReflink
	}
	return DriverCopy
}

func (p *plain) copyOnWrite() bool          { return p.share }
func (p *plain) sharesBlocks() bool         { return p.share }
func (p *plain) inUse(string) (bool, error) { return false, nil }
func (p *plain) keepsOrigins() bool         { return false }
func (p *plain) detach(wrapper) error       { return nil }

func (p *plain) attach(context.Context, wrapper) error { return nil }

func (p *plain) needs(size int64) int64 {
	if p.share {
		return 0
	}
	return size
}

func (p *plain) create(_ context.Context, w wrapper, owner driver.Owner) error {
	data, err := w.makeData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	return own(data, owner.UID, owner.GID, 0o700, 0o700)
}

func (p *plain) freeze(ctx context.Context, w wrapper) error {
	data, err := w.openData()
	if err != nil {
		return err
	}
	defer closeFD(data)
	var t tree
	if err := w.readJSON(treeJSON, &t); err != nil {
		return err
	}
	if err := t.protect(ctx, data); err != nil {
		return err
	}
	return syncFS(data)
}

func (p *plain) clone(ctx context.Context, from origin, to wrapper, limit int64) error {
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
	// Before the first file: files and directories inherit project and extent size from the directory they are made in,
	// which costs nothing per file.
	if limit > 0 {
		limit += from.Bytes
	}
	if err := p.quotas.prepare(dst, limit); err != nil {
		return err
	}
	fill := copyFile
	if p.share {
		fill = shareFile
	}
	err = from.tree.replicate(ctx, src, dst, func(ctx context.Context, src, dst int, size int64) error {
		p.fault("clone: file made")
		return fill(ctx, src, dst, size)
	})
	if err != nil || p.share {
		return err
	}
	// A rename may reach the disk before the data it makes visible. (XFS logs shared blocks before the rename.)
	return syncFS(dst)
}

func (p *plain) destroy(ctx context.Context, w wrapper) error {
	if data, err := w.openData(); err == nil {
		defer closeFD(data)
		defer p.quotas.release(data)
	}
	return removeTree(ctx, w.fd)
}

func syncFS(fd int) error {
	if err := unix.Syncfs(fd); err != nil {
		return fmt.Errorf("write the volume to disk: %w", err)
	}
	return nil
}
