package config_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
)

const lifeOfTemplates = `
    templates:
      schedule: "0 3 * * 1-5"
      time_zone: Europe/Berlin
      jitter: 20m
      max_age: 2d
      refuse_findings: warning
      policy: {publications: keep, foreign_tables: drop}
      hooks:
        after_load: [hooks/seed.sql]
        after_masking: [/etc/mayfly/trim.sql]
        statement_timeout: 5m
`

func TestTemplateSettings(t *testing.T) {
	t.Parallel()
	dir := directory(t)
	load := func(text string) (mayfly.Project, error) {
		c, err := config.Parse(filepath.Join(dir, "mayfly.yaml"), []byte(text))
		if err != nil {
			return mayfly.Project{}, err
		}
		return c.Projects()[0], nil
	}
	p, err := load(valid + lifeOfTemplates)
	if err != nil {
		t.Fatal(err)
	}
	got := p.Templates
	if got.Schedule != "0 3 * * 1-5" || got.TimeZone != "Europe/Berlin" || got.Jitter != 20*time.Minute || got.MaxAge != 48*time.Hour {
		t.Errorf("read wrongly: %+v", got)
	}
	if !slices.Equal(got.Hooks.AfterLoad, []string{filepath.Join(dir, "hooks/seed.sql")}) ||
		!slices.Equal(got.Hooks.AfterMasking, []string{"/etc/mayfly/trim.sql"}) || got.Hooks.StatementTimeout != 5*time.Minute {
		t.Errorf("hooks read wrongly: %+v", got.Hooks)
	}
	if got.RefuseFindings != "warning" || got.Policy.Publications != mayfly.PolicyKeep || got.Policy.ForeignTables != mayfly.PolicyDrop {
		t.Errorf("findings and policies read wrongly: %+v", got)
	}
	if p.KeepTemplates != 2 {
		t.Errorf("%d templates are kept unless the file says otherwise", p.KeepTemplates)
	}
	for _, change := range [][2]string{
		{"0 3 * * 1-5", "0 3 * *"}, {"0 3 * * 1-5", "0 0 31 2 *"}, {"Europe/Berlin", "Europe/Atlantis"}, {"jitter: 20m", "jitter: soon"}, {"jitter: 20m", "jitter: never"},
		{`schedule: "0 3 * * 1-5"`, `schedule: ""`}, {"after_load", "after_lunch"}, {"max_age", "max_agee"},
		{"refuse_findings: warning", "refuse_findings: warn"}, {"publications: keep", "publications: subscribe"}, {"foreign_tables: drop", "foreign_tables: keep"},
	} {
		if _, err := load(valid + strings.Replace(lifeOfTemplates, change[0], change[1], 1)); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s in place of %s gives %v", change[1], change[0], err)
		}
	}
}
