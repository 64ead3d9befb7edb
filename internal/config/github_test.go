package config_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
)

// withPreviews loads the configuration with other previews and an id of the repository.
func withPreviews(t *testing.T, previews string) (mayfly.Project, error) {
	t.Helper()
	dir := directory(t)
	text := strings.Replace(valid, "    migrations: {tool", "    repository_id: 42\n    migrations: {tool", 1)
	start := strings.Index(text, "    previews:")
	if start < 0 {
		text = strings.Replace(text, "    migrations: {tool", "    previews: "+previews+"\n    migrations: {tool", 1)
	} else {
		end := start + strings.Index(text[start:], "\n")
		text = text[:start] + "    previews: " + previews + text[end:]
	}
	write(t, dir, "mayfly.yaml", text, 0o644)
	c, err := config.Load(filepath.Join(dir, "mayfly.yaml"))
	if err != nil {
		return mayfly.Project{}, err
	}
	p, _ := c.Project("shop")
	return p, nil
}

func TestPullRequestPolicies(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, previews, problem string }{
		{name: "an unknown policy for forks", previews: "{forks: everything}", problem: "forks"},
		{name: "an unknown policy for bots", previews: "{bots: {policy: sometimes}}", problem: "bots.policy"},
		{name: "a grace of years", previews: "{grace: 400d}", problem: "grace"},
		{name: "a pattern that is none", previews: `{paths: ["[a"]}`, problem: "paths"},
		{name: "a path of the host", previews: `{paths: ["/etc/**"]}`, problem: "paths"},
		{name: "drafts that are neither", previews: "{drafts: maybe}", problem: "neither on nor off"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, err := withPreviews(t, tt.previews); err == nil || !strings.Contains(err.Error(), tt.problem) {
				t.Errorf("%s: %v", tt.previews, err)
			}
		})
	}
	project, err := withPreviews(t, `{drafts: off, only_label: db, paths: ["services/**"], grace: 1h, forks: approve, bots: {policy: skip, logins: [x]}}`)
	if err != nil {
		t.Fatal(err)
	}
	policy := project.Previews.PullRequests
	if !policy.SkipDrafts || policy.OnlyLabel != "db" || len(policy.Paths) != 1 || policy.Grace != time.Hour || policy.Forks != mayfly.ForksApprove ||
		policy.Bots != mayfly.BotsSkip || !policy.IsBot("x") || policy.IsBot("dependabot[bot]") {
		t.Errorf("the policy is %+v", policy)
	}
	if project.RepositoryID != 42 {
		t.Errorf("the repository's id is %d", project.RepositoryID)
	}
}
