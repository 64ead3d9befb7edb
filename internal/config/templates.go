package config

import (
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
}

type fileHooks struct {
	AfterLoad        []string `yaml:"after_load"`
	AfterMasking     []string `yaml:"after_masking"`
	StatementTimeout Duration `yaml:"statement_timeout"`
}

func (t *fileTemplates) resolve(dir string) (mayfly.TemplateSettings, error) {
	out := mayfly.TemplateSettings{
		Schedule: t.Schedule, TimeZone: t.TimeZone, Jitter: time.Duration(t.Jitter), MaxAge: max(time.Duration(t.MaxAge), 0),
		Hooks: mayfly.HookSettings{
			AfterLoad: allInDir(dir, t.Hooks.AfterLoad), AfterMasking: allInDir(dir, t.Hooks.AfterMasking),
			StatementTimeout: time.Duration(t.Hooks.StatementTimeout),
		},
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
