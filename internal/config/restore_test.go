package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
)

func loadSource(t *testing.T, source string) (mayfly.Source, string, error) {
	t.Helper()
	dir := directory(t)
	write(t, dir, "mayfly.yaml", strings.Replace(valid, "{dsn_file: dsn}", source, 1), 0o644)
	c, err := config.Load(filepath.Join(dir, "mayfly.yaml"))
	if err != nil {
		return mayfly.Source{}, dir, err
	}
	p, _ := c.Project("shop")
	return p.Source, dir, nil
}

func TestRestoredSource(t *testing.T) {
	t.Parallel()
	for _, written := range []string{"2026-03-01T04:30:00Z", `"2026-03-01T06:30:00+02:00"`} {
		s, dir, err := loadSource(t, "{archive: backup, database: shop_eu, wal: wal, recover_to: "+written+"}")
		if err != nil {
			t.Fatal(err)
		}
		want := time.Date(2026, 3, 1, 4, 30, 0, 0, time.UTC)
		if s.RecoverTo == nil || !s.RecoverTo.Equal(want) {
			t.Errorf("recover_to %s is read as %v", written, s.RecoverTo)
		}
		if s.Database != "shop_eu" || s.WAL != filepath.Join(dir, "wal") || s.Archive != filepath.Join(dir, "backup") {
			t.Errorf("the source is read wrongly: %+v", s)
		}
	}
	if s, _, err := loadSource(t, "{archive: backup}"); err != nil || s.WAL != "" || s.RecoverTo != nil {
		t.Errorf("without the keys: %+v, %v", s, err)
	}
}

func TestRestoredSourceRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ source, want string }{
		"a live source":     {"{dsn_file: dsn, database: x}", "belong to source.archive"},
		"no zone":           {"{archive: x, recover_to: 2026-03-01T04:30:00}", "is not a time"},
		"no time":           {"{archive: x, recover_to: yesterday}", "is not a time"},
		"initdb's database": {"{archive: x, database: template1}", "not an application's"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := loadSource(t, test.source); mayfly.ErrorCode(err) != mayfly.CodeInvalid || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v does not say %q", err, test.want)
			}
		})
	}
}
