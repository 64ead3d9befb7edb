package config

import (
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// resolveLive reads the keys that say how carefully a live source is read.
func (s *fileSource) resolveLive(source *mayfly.Source) error {
	if s.MaxConnections == 0 && s.RateLimit == 0 && s.StatementTimeout == 0 && s.LockTimeout == 0 {
		return nil
	}
	if s.Archive != "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "source.max_connections, source.rate_limit, source.statement_timeout and source.lock_timeout belong to a live source").
			WithHint("leave them out where source.archive is set")
	}
	if s.MaxConnections < 0 || s.StatementTimeout < 0 || s.LockTimeout < 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "source.max_connections, source.statement_timeout and source.lock_timeout cannot be negative").
			WithHint("leave a key out for its default")
	}
	source.MaxConnections, source.RateLimit = s.MaxConnections, int64(s.RateLimit)
	source.StatementTimeout, source.LockTimeout = time.Duration(s.StatementTimeout), time.Duration(s.LockTimeout)
	return nil
}
