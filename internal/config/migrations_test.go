package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
)

func TestMigrations(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ yaml, tool, err string }{
		"found out":        {yaml: "{path: db/migrations}", tool: mayfly.MigrationToolAuto},
		"auto":             {yaml: "{tool: auto, path: db}", tool: mayfly.MigrationToolAuto},
		"named":            {yaml: "{tool: goose, path: db}", tool: "goose"},
		"none":             {yaml: "{}", tool: ""},
		"no path":          {yaml: "{tool: goose}", err: "path is missing"},
		"seeds only":       {yaml: "{seed: [db/seed.sql]}", err: "needs migrations.path"},
		"seed outside":     {yaml: "{path: db, seed: [../x.sql]}", err: "not a path"},
		"rehearsals off":   {yaml: "{path: db, rehearse_rollback: off, load: {writers: 2}}", tool: mayfly.MigrationToolAuto},
		"rehearsals maybe": {yaml: "{path: db, rehearse_rollback: maybe}", err: "rehearse_rollback"},
		"too much load":    {yaml: "{path: db, load: {readers: 99}}", err: "migrations.load"},
		"seed and rebuild": {yaml: "{path: db, seed: [seeds/a.sql], always_rebuild: true}", tool: mayfly.MigrationToolAuto},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := directory(t)
			write(t, dir, "mayfly.yaml", strings.Replace(valid, "{tool: golang-migrate, path: /db/migrations/}", test.yaml, 1), 0o644)
			c, err := config.Load(filepath.Join(dir, "mayfly.yaml"))
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) {
					t.Fatalf("error %v does not say %q", err, test.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			p, _ := c.Project("shop")
			if p.Migrations.Tool != test.tool {
				t.Errorf("tool %q, want %q", p.Migrations.Tool, test.tool)
			}
			if off := name == "rehearsals off"; p.Migrations.NoRehearsal != off || off && p.Migrations.Load != (mayfly.MigrationLoad{Readers: 1, Writers: 2}) {
				t.Errorf("read %+v", p.Migrations)
			}
			if name == "seed and rebuild" && (!p.Migrations.AlwaysRebuild || !slices.Equal(p.Migrations.Seed, []string{"seeds/a.sql"})) {
				t.Errorf("read %+v", p.Migrations)
			}
		})
	}
}
