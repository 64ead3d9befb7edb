package driver

import (
	"context"
	"errors"
)

// ErrNotFound is returned (wrapped) by Volumes and Engine when the named thing does not exist.
var ErrNotFound = errors.New("not found")

// ErrNoSpace is returned (wrapped) by Volumes when the pool has not enough space for the operation.
var ErrNoSpace = errors.New("no space left in the pool")

// ErrInvalidID is returned (wrapped) for an identifier that ValidID refuses.
var ErrInvalidID = errors.New("invalid identifier")

// ValidID reports whether id may name a volume or an instance: 1 to 40 bytes of a-z, 0-9 and '-', starting with a letter.
// Everything else (slashes, dots, NUL, upper case) is refused by every driver before it touches anything.
func ValidID(id string) bool {
	if len(id) == 0 || len(id) > 40 || id[0] < 'a' || id[0] > 'z' {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}

// Volumes is copy-on-write storage for Postgres data directories.
//
// All methods may be called concurrently, for the same and for different ids, and from several processes on one pool.
// All are idempotent: after a crash at any moment the same call again either finishes the work or finds it done.
// A volume is visible (List, Clone, Mount by an engine) only once it is whole: a half-made clone is never seen and is
// cleaned by the next Delete of its id or by Sweep of the pool at open.
// An id that ValidID refuses gives ErrInvalidID.
type Volumes interface {
	// Create makes an empty writable volume owned by the given user. Creating one that exists is not an error and
	// does not empty it.
	Create(ctx context.Context, id string, owner Owner) error

	// Freeze makes the volume durable on disk and read-only, so that it can be cloned. Freezing a frozen volume does
	// nothing. ErrNotFound if there is none.
	Freeze(ctx context.Context, id string) error

	// Clone makes a writable copy-on-write clone of a frozen volume. It is atomic: another process sees the whole
	// clone or none. If `to` exists already, Clone does nothing. limitBytes bounds what the clone may hold on top of
	// the size of its origin, where the driver can enforce it; 0 means no limit.
	// ErrNotFound if `from` does not exist or is not frozen. ErrNoSpace if the pool is too full.
	Clone(ctx context.Context, from, to string, limitBytes int64) error

	// Delete removes a volume, frozen or not, and what a crashed Create or Clone left of it. Deleting what does not
	// exist is not an error. Clones of a deleted template stay whole.
	Delete(ctx context.Context, id string) error

	// List returns every whole volume, in no particular order.
	List(ctx context.Context) ([]Volume, error)

	// Size returns the bytes that a volume's files occupy, counting blocks shared with other volumes as its own.
	Size(ctx context.Context, id string) (int64, error)

	// Stat returns the capacity of the pool.
	Stat(ctx context.Context) (PoolStat, error)
}

// Snapshotter is implemented by volumes that can be cloned while they are in use.
type Snapshotter interface {
	// Snapshot makes a frozen volume `to` with what the volume `from`, which is not frozen, holds at one moment. It is as atomic as
	// Clone: another process sees the whole snapshot or none. If `to` exists already, Snapshot does nothing.
	//
	// still is called when everything is prepared that can be, at most once. From then until Snapshot calls the function that still
	// returned, which it does whatever happens, nothing may write to `from`: the caller holds what writes. A driver that shares blocks
	// needs that for milliseconds; one that copies bytes (PoolStat.SharesBlocks is false) for as long as it takes to copy them, unless
	// the context that still returned ends before.
	//
	// The snapshot is as large as its source, shared blocks included, and has no limit. Deleting the source does not harm it.
	// ErrNotFound if `from` does not exist. ErrNoSpace if the pool is too full.
	Snapshot(ctx context.Context, from, to string, still func(context.Context) (held context.Context, resume func(), err error)) error
}

// Owner is the numeric user and group that the database process runs as.
type Owner struct{ UID, GID int }

// Volume is one entry of List.
type Volume struct {
	ID     string
	Frozen bool
}

// PoolStat describes a pool.
type PoolStat struct {
	Driver     string // "reflink", "btrfs", "zfs", "overlay" or "copy"
	TotalBytes int64
	FreeBytes  int64
	// CopyOnWrite is false for drivers that copy every byte; SharesBlocks is false for those that copy whole files at
	// the first write.
	CopyOnWrite  bool
	SharesBlocks bool
}
