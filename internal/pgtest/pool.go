package pgtest

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// poolBytes is the size of the pool's sparse image; only what is written takes space.
const poolBytes = 16 << 30

func poolDir(base string) string { return filepath.Join(base, "pool") }

// storage is the shared pool, made at its first use.
type storage struct {
	dir string

	mu   sync.Mutex
	pool *cow.Pool
}

// Pool returns the shared copy-on-write pool: the automatic choice of driver, usually reflink on an XFS image of its
// own. Engine finds its volumes. Tests use ids of their own (mayfly.NewID) and delete what they make.
func Pool(tb testing.TB) *cow.Pool {
	tb.Helper()
	pool, err := current(tb).storage.open()
	if err != nil {
		tb.Fatalf("open a pool for tests: %v (%s)", err, mayfly.ErrorHint(err))
	}
	return pool
}

func (s *storage) open() (*cow.Pool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool != nil {
		return s.pool, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	pool, err := cow.Open(ctx, cow.Options{Dir: s.dir, SizeBytes: poolBytes})
	if err != nil {
		return nil, err
	}
	s.pool = pool
	return pool, nil
}

// path finds a volume of the pool, if the pool was opened.
func (s *storage) path(id string) (string, error) {
	s.mu.Lock()
	pool := s.pool
	s.mu.Unlock()
	if pool == nil {
		return "", fmt.Errorf("volume %s: %w", id, driver.ErrNotFound)
	}
	return pool.Path(id)
}

// close unmounts the pool. Its files go with the test directory.
func (s *storage) close(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pool == nil {
		return nil
	}
	if err := errors.Join(s.pool.Unmount(ctx), s.pool.Close()); err != nil {
		return fmt.Errorf("unmount the tests' pool: %w", err)
	}
	return nil
}
