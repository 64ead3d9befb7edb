package config_test

import (
	"strings"
	"testing"
	"time"
)

func TestLiveSource(t *testing.T) {
	t.Parallel()
	got, _, err := loadSource(t, "{dsn_file: dsn, max_connections: 3, rate_limit: 50MB/s, statement_timeout: 2h, lock_timeout: 10s}")
	if err != nil {
		t.Fatal(err)
	}
	if got.MaxConnections != 3 || got.RateLimit != 50_000_000 || got.StatementTimeout != 2*time.Hour || got.LockTimeout != 10*time.Second {
		t.Errorf("read %+v", got)
	}
}

func TestLiveSourceRefusals(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		"{archive: x.dump, rate_limit: 50MB/s}":    "belong to a live source",
		"{dsn_file: dsn, rate_limit: 50MB}":        "not a rate",
		"{dsn_file: dsn, rate_limit: fast}":        "not a rate",
		"{dsn_file: dsn, rate_limit: 10kB/s}":      "at least",
		"{dsn_file: dsn, max_connections: -1}":     "negative",
		"{dsn_file: dsn, statement_timeout: soon}": "not a duration",
	} {
		if _, _, err := loadSource(t, source); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want an error with %q", source, err, want)
		}
	}
}
