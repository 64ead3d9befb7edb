package config

import (
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// resolveRestore reads the keys of sources that are restored before they are read.
func (s *fileSource) resolveRestore(dir string, source *mayfly.Source) error {
	if s.Database == "" && s.WAL == "" && s.RecoverTo == "" {
		return nil
	}
	if s.Archive == "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "source.database, source.wal and source.recover_to belong to source.archive").
			WithHint("the connection string of a live source names its database")
	}
	if s.Database == "template0" || s.Database == "template1" {
		return mayfly.Errorf(mayfly.CodeInvalid, "source.database %q is not an application's", s.Database)
	}
	source.Database, source.WAL = s.Database, s.WAL
	if !strings.Contains(s.WAL, "://") {
		source.WAL = inDir(dir, s.WAL)
	}
	if s.RecoverTo == "" {
		return nil
	}
	to, err := time.Parse(time.RFC3339Nano, s.RecoverTo)
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "source.recover_to %q is not a time", s.RecoverTo).
			WithHint("write it with its zone, such as 2026-03-01T04:30:00Z or 2026-03-01T06:30:00+02:00")
	}
	source.RecoverTo = &to
	return nil
}
