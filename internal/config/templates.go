package config

import (
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/schedule"
)

// defaultKeepTemplates leaves one to go back to.
const defaultKeepTemplates = 2

type fileTemplates struct {
	Schedule string    `yaml:"schedule"`
	TimeZone string    `yaml:"time_zone"`
	Jitter   Duration  `yaml:"jitter"`
	MaxAge   Duration  `yaml:"max_age"`
	Hooks    fileHooks `yaml:"hooks"`
	Disk     Bytes     `yaml:"disk_estimate"`

	RefuseFindings string             `yaml:"refuse_findings"`
	Policy         fileTemplatePolicy `yaml:"policy"`
}

type fileTemplatePolicy struct {
	Publications  string `yaml:"publications"`
	ForeignTables string `yaml:"foreign_tables"`
}

// checkFindings refuses words that are not known: a misspelt one must not let a template pass.
func (t *fileTemplates) checkFindings() error {
	for _, one := range []struct {
		key, value string
		known      []string
	}{
		{"refuse_findings", t.RefuseFindings, []string{"error", "warning", "info", "none"}},
		{"policy.publications", t.Policy.Publications, []string{mayfly.PolicyDrop, mayfly.PolicyKeep}},
		{"policy.foreign_tables", t.Policy.ForeignTables, []string{mayfly.PolicyReplace, mayfly.PolicyDrop}},
	} {
		if one.value != "" && !slices.Contains(one.known, one.value) {
			return mayfly.Errorf(mayfly.CodeInvalid, "templates.%s %q is not known", one.key, one.value).
				WithHint("one of: %s", strings.Join(one.known, ", "))
		}
	}
	return nil
}

type fileHooks struct {
	AfterLoad        []string `yaml:"after_load"`
	AfterMasking     []string `yaml:"after_masking"`
	StatementTimeout Duration `yaml:"statement_timeout"`
}

func (t *fileTemplates) resolve(dir string) (mayfly.TemplateSettings, error) {
	out := mayfly.TemplateSettings{
		Schedule: t.Schedule, TimeZone: t.TimeZone, Jitter: time.Duration(t.Jitter), MaxAge: max(time.Duration(t.MaxAge), 0),
		DiskEstimate: int64(t.Disk),
		Hooks: mayfly.HookSettings{
			AfterLoad: allInDir(dir, t.Hooks.AfterLoad), AfterMasking: allInDir(dir, t.Hooks.AfterMasking),
			StatementTimeout: time.Duration(t.Hooks.StatementTimeout),
		},
		RefuseFindings: t.RefuseFindings,
		Policy:         mayfly.TemplatePolicy{Publications: t.Policy.Publications, ForeignTables: t.Policy.ForeignTables},
	}
	if err := t.checkFindings(); err != nil {
		return out, err
	}
	if t.Jitter < 0 || t.Hooks.StatementTimeout < 0 {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "jitter and hooks.statement_timeout are durations such as 15m")
	}
	if t.Schedule == "" {
		if t.TimeZone != "" || t.Jitter != 0 {
			return out, mayfly.Errorf(mayfly.CodeInvalid, "time_zone and jitter belong to a schedule, and there is none").
				WithHint(`schedule: "0 3 * * *" builds every night at three`)
		}
		return out, nil
	}
	_, err := schedule.Parse(t.Schedule, t.TimeZone)
	return out, err
}

func allInDir(dir string, paths []string) []string {
	var out []string
	for _, path := range paths {
		out = append(out, inDir(dir, path))
	}
	return out
}
