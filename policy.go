package mayfly

import (
	"slices"
	"time"
)

// PullRequestPolicy says which pull requests of a project get a preview, and what becomes of it afterwards. The zero value is
// what holds unless somebody says otherwise: every pull request of the repository itself, drafts too, and none of a fork.
type PullRequestPolicy struct {
	// Disabled means none: a repository turned it off (enabled: false in .mayfly.yml).
	Disabled bool
	// SkipDrafts leaves out drafts until they are ready for review.
	SkipDrafts bool
	// OnlyLabel, if not "", leaves out pull requests without that label.
	OnlyLabel string
	// Paths are patterns of files ("services/shop/**"); a pull request that touches none of them is left out. None means all.
	// RepositoryPaths are those of .mayfly.yml: both must match.
	Paths, RepositoryPaths []string
	// Size is the size class that .mayfly.yml asks for; "" for the server's. A label can ask for another.
	Size string
	// Grace is how long a preview sleeps after its pull request was closed before it is removed. 0 removes it at once.
	Grace time.Duration
	// Forks is one of the Forks constants; "" is ForksDeny.
	Forks string
	// Bots is one of the Bots constants, for pull requests that BotLogins opened; "" is BotsMigrations. BotLogins nil means
	// DefaultBotLogins.
	Bots      string
	BotLogins []string
}

// What forks get (PullRequestPolicy.Forks).
const (
	ForksDeny       = "deny"        // nothing
	ForksApprove    = "approve"     // a preview for one commit, after somebody with write access approved it
	ForksSchemaOnly = "schema-only" // a preview without rows
)

// What pull requests of bots get (PullRequestPolicy.Bots).
const (
	BotsPreview    = "preview"    // what everybody gets
	BotsMigrations = "migrations" // a preview if they touch migrations
	BotsSkip       = "skip"       // nothing
)

// DefaultBotLogins are the bots whose pull requests seldom need a database.
func DefaultBotLogins() []string {
	return []string{"dependabot[bot]", "renovate[bot]"}
}

// IsBot reports whether the policy for bots is for this login.
func (p PullRequestPolicy) IsBot(login string) bool {
	logins := p.BotLogins
	if logins == nil {
		logins = DefaultBotLogins()
	}
	return slices.Contains(logins, login)
}

// The labels of pull requests that Mayfly heeds. The short forms are for people; the long ones cannot be meant otherwise.
const (
	LabelKeep      = "mayfly:keep"       // never removed because its time is up
	LabelNoPreview = "mayfly:no-preview" // no preview
	LabelApprove   = "mayfly:approve"    // set by somebody with write access, approves a fork's commit
	LabelSize      = "mayfly:size="      // followed by a size class
)

// WantsKeep reports whether a label asks for the preview to be kept.
func (pr *PullRequest) WantsKeep() bool { return pr.HasLabel(LabelKeep) || pr.HasLabel("keep") }

// WantsNoPreview reports whether a label asks for no preview.
func (pr *PullRequest) WantsNoPreview() bool {
	return pr.HasLabel(LabelNoPreview) || pr.HasLabel("no-preview")
}
