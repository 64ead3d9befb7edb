package pgtest

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

func poolDir(base string) string { return filepath.Join(base, "pool") }

// storage is the shared pool, made at its first use.
type storage struct {
	dir string
}

func (s *storage) open() (any, error) { return nil, nil }

func (s *storage) path(id string) (string, error) {
	return "", fmt.Errorf("volume %s: %w", id, driver.ErrNotFound)
}

func (s *storage) close(context.Context) error { return nil }
