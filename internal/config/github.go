package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	mayfly "github.com/mayflydb/mayfly"
)

// filePolicy is the part of previews that says which pull requests get one.
type filePolicy struct {
	Drafts    Switch   `yaml:"drafts"`
	OnlyLabel string   `yaml:"only_label"`
	Paths     []string `yaml:"paths"`
	Grace     Duration `yaml:"grace"`
	Forks     string   `yaml:"forks"`
	Bots      fileBots `yaml:"bots"`
}

type fileBots struct {
	Policy string   `yaml:"policy"`
	Logins []string `yaml:"logins"`
}

// Switch is something that is on or off, and on unless it is said.
type Switch string

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Switch) UnmarshalText(text []byte) error {
	switch strings.ToLower(string(text)) {
	case "on", "true", "yes":
		*s = "on"
	case "off", "false", "no":
		*s = "off"
	default:
		return fmt.Errorf("%q is neither on nor off", text)
	}
	return nil
}

// maxGrace keeps previews of closed pull requests from becoming an archive.
const maxGrace = 30 * 24 * time.Hour

func (p *filePolicy) resolve() (mayfly.PullRequestPolicy, error) {
	out := mayfly.PullRequestPolicy{
		SkipDrafts: p.Drafts == "off", OnlyLabel: p.OnlyLabel, Paths: p.Paths, Grace: time.Duration(p.Grace),
		Forks: p.Forks, Bots: p.Bots.Policy, BotLogins: p.Bots.Logins,
	}
	if out.Grace < 0 || out.Grace > maxGrace {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "grace is not between 0 and 30d")
	}
	if err := oneOf("forks", p.Forks, mayfly.ForksDeny, mayfly.ForksApprove, mayfly.ForksSchemaOnly); err != nil {
		return out, err
	}
	if err := oneOf("bots.policy", p.Bots.Policy, mayfly.BotsPreview, mayfly.BotsMigrations, mayfly.BotsSkip); err != nil {
		return out, err
	}
	for _, pattern := range p.Paths {
		if pattern == "" || strings.HasPrefix(pattern, "/") || !doublestar.ValidatePattern(pattern) {
			return out, mayfly.Errorf(mayfly.CodeInvalid, "paths: %q is not a pattern of files in a repository", pattern).
				WithHint("write it from the root of the repository, such as services/shop/**")
		}
	}
	return out, nil
}

func oneOf(key, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "%s: %q is not known", key, value).WithHint("use one of %s", strings.Join(allowed, ", "))
}
