package memory

import (
	"context"
	"fmt"
	"sync"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// volumeBytes is what every volume is said to hold, and poolBytes what the pool has room for.
const (
	volumeBytes = 1 << 20
	poolBytes   = 1 << 40
)

// Volumes is a pool. Several processes are several users of one Volumes.
type Volumes struct {
	mu   sync.Mutex
	all  map[string]*volume
	full bool
}

// volume is what a data directory remembers.
type volume struct {
	frozen bool
	// verifiers are the passwords of roles, as SCRAM verifiers.
	verifiers map[string]string
}

// NewVolumes makes an empty pool.
func NewVolumes() *Volumes { return &Volumes{all: map[string]*volume{}} }

// Fill makes the pool too full for more volumes, or ends that.
func (v *Volumes) Fill(full bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.full = full
}

// enter checks what every operation checks.
func enter(ctx context.Context, ids ...string) error {
	for _, id := range ids {
		if !driver.ValidID(id) {
			return fmt.Errorf("volume %q: %w", id, driver.ErrInvalidID)
		}
	}
	return ctx.Err()
}

// Create implements driver.Volumes.
func (v *Volumes) Create(ctx context.Context, id string, _ driver.Owner) error {
	if err := enter(ctx, id); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.add(id, nil)
}

// add makes a volume with what another remembers. The caller holds mu.
func (v *Volumes) add(id string, verifiers map[string]string) error {
	if v.all[id] != nil {
		return nil
	}
	if v.full {
		return fmt.Errorf("volume %s: %w", id, driver.ErrNoSpace)
	}
	made := &volume{verifiers: map[string]string{}}
	for role, verifier := range verifiers {
		made.verifiers[role] = verifier
	}
	v.all[id] = made
	return nil
}

// Freeze implements driver.Volumes.
func (v *Volumes) Freeze(ctx context.Context, id string) error {
	if err := enter(ctx, id); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	found := v.all[id]
	if found == nil {
		return fmt.Errorf("freeze volume %s: %w", id, driver.ErrNotFound)
	}
	found.frozen = true
	return nil
}

// Clone implements driver.Volumes.
func (v *Volumes) Clone(ctx context.Context, from, to string, _ int64) error {
	if err := enter(ctx, from, to); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	origin := v.all[from]
	if origin == nil || !origin.frozen {
		return fmt.Errorf("clone volume %s: %w", from, driver.ErrNotFound)
	}
	return v.add(to, origin.verifiers)
}

// Delete implements driver.Volumes.
func (v *Volumes) Delete(ctx context.Context, id string) error {
	if err := enter(ctx, id); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.all, id)
	return nil
}

// List implements driver.Volumes.
func (v *Volumes) List(ctx context.Context) ([]driver.Volume, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	list := make([]driver.Volume, 0, len(v.all))
	for id, found := range v.all {
		list = append(list, driver.Volume{ID: id, Frozen: found.frozen})
	}
	return list, nil
}

// Size implements driver.Volumes.
func (v *Volumes) Size(ctx context.Context, id string) (int64, error) {
	if err := enter(ctx, id); err != nil {
		return 0, err
	}
	if !v.has(id) {
		return 0, fmt.Errorf("size of volume %s: %w", id, driver.ErrNotFound)
	}
	return volumeBytes, nil
}

// Stat implements driver.Volumes.
func (v *Volumes) Stat(ctx context.Context) (driver.PoolStat, error) {
	if err := ctx.Err(); err != nil {
		return driver.PoolStat{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	stat := driver.PoolStat{Driver: "memory", TotalBytes: poolBytes, FreeBytes: poolBytes - int64(len(v.all))*volumeBytes, CopyOnWrite: true, SharesBlocks: true}
	if v.full {
		stat.FreeBytes = volumeBytes
	}
	return stat, nil
}

func (v *Volumes) has(id string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.all[id] != nil
}

// setVerifier records a role's password in a volume, if it still exists.
func (v *Volumes) setVerifier(id, role, verifier string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if found := v.all[id]; found != nil {
		found.verifiers[role] = verifier
	}
}

// Verifier returns the SCRAM verifier of a role's password in a volume, "" if it has none.
func (v *Volumes) Verifier(id, role string) string {
	v.mu.Lock()
	defer v.mu.Unlock()
	if found := v.all[id]; found != nil {
		return found.verifiers[role]
	}
	return ""
}
