package pgtest

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// leftoverAge protects a directory that another process is just making and has not locked yet.
const leftoverAge = time.Minute

// removeLeftovers removes the containers, mounts and directories of test processes that were killed. It does what it
// can: what fails now is tried again by the next run, and must not fail the tests of this one.
func removeLeftovers() {
	bases, err := filepath.Glob(filepath.Join(baseDir, basePrefix+"*"))
	if err != nil {
		return
	}
	for _, base := range bases {
		info, err := os.Lstat(base)
		if err != nil || !info.IsDir() || time.Since(info.ModTime()) < leftoverAge {
			continue
		}
		if _, err := os.Stat(filepath.Join(base, "lock")); err != nil {
			continue // not one of ours
		}
		lock, err := lockBase(base)
		if err != nil {
			continue // its process lives
		}
		_ = removeBase(base)
		_ = lock.Close()
	}
}

func removeBase(base string) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	engine, err := openEngine(base, func(string) (string, error) { return "", driver.ErrNotFound })
	if err != nil {
		return err
	}
	defer func() { _ = engine.Close() }()
	if err := engine.RemoveAll(ctx); err != nil {
		return err
	}
	storage := storage{dir: poolDir(base)}
	if _, err := os.Stat(storage.dir); err == nil {
		if _, err := storage.open(); err != nil {
			return err
		}
		if err := storage.close(ctx); err != nil {
			return err
		}
	}
	return os.RemoveAll(base)
}
