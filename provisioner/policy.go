package provisioner

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bmatcuk/doublestar/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// wish is what should become of a pull request's preview.
type wish int

const (
	wishPreview wish = iota // there should be one
	wishNone                // there should be none; one that is there goes after the grace period
	wishGone                // there should be none; one that is there goes at once
	wishHold                // nothing is made, changed or removed
)

// verdict is what the policies say about a pull request in a project.
type verdict struct {
	wish wish
	// settings are those that hold for it.
	settings   mayfly.Project
	schemaOnly bool
	keep       bool
	size       string
	// tell is what people are told when there is no preview; nil for nothing.
	tell *Outcome
}

func none(w wish, state forge.State, format string, args ...any) verdict {
	return verdict{wish: w, tell: &Outcome{State: state, Reason: fmt.Sprintf(format, args...)}}
}

func skipped(format string, args ...any) verdict {
	return none(wishNone, forge.StateSkipped, format, args...)
}

// judge decides about an open or closed pull request. It asks the forge only for what the settings need: the base's configuration
// (once for each commit), and the changed files where paths or bots matter. Strangers cost nothing.
func (s *Service) judge(ctx context.Context, project mayfly.Project, pr *forge.PullRequest, known *store.KnownPullRequest, archived bool) (verdict, error) {
	forks := or(project.Previews.PullRequests.Forks, mayfly.ForksDeny)
	switch {
	case !pr.Open():
		return verdict{wish: wishNone, settings: project}, nil
	case pr.Fork && forks == mayfly.ForksDeny:
		return none(wishGone, forge.StateForkDenied, ""), nil
	case archived:
		return skipped("The repository is archived"), nil
	}
	settings, findings, err := s.settingsFor(ctx, project, pullRequestOf(pr))
	if len(findings) > 0 {
		return invalidConfig(findings), nil
	}
	if err != nil {
		return verdict{}, err
	}
	policy := settings.Previews.PullRequests
	v := verdict{
		settings: settings, keep: known.Keep || pullRequestOf(pr).WantsKeep(), size: policy.Size,
		schemaOnly: pr.Fork && policy.Forks == mayfly.ForksSchemaOnly,
	}
	if size := sizeLabel(pr.Labels); size != "" {
		if err := s.CheckSize(settings, size); err != nil { // a slip must not cost the preview
			s.Logger.WarnContext(ctx, "a label asks for a size that there is not", "project", project.Name, "number", pr.Number, "size", size)
		} else {
			v.size = size
		}
	}
	if refusal := judgeFork(policy, pr, known); refusal != nil {
		return *refusal, nil
	}
	if refusal := judgeState(policy, pr); refusal != nil {
		return *refusal, nil
	}
	refusal, err := s.judgeFiles(ctx, settings, pr)
	if err != nil {
		return verdict{}, err
	}
	if refusal != nil {
		return *refusal, nil
	}
	return v, nil
}

// judgeFork decides by where the pull request comes from.
func judgeFork(policy mayfly.PullRequestPolicy, pr *forge.PullRequest, known *store.KnownPullRequest) *verdict {
	if !pr.Fork {
		return nil
	}
	var v verdict
	switch {
	case policy.Forks == mayfly.ForksSchemaOnly:
		return nil
	case policy.Forks == mayfly.ForksApprove && known.ApprovedSHA == pr.HeadSHA:
		return nil
	case policy.Forks == mayfly.ForksApprove:
		v = none(wishGone, forge.StateAwaitingApproval, "Waiting for /mayfly approve by somebody with write access")
		v.tell.Comment = true
	default:
		v = none(wishGone, forge.StateForkDenied, "")
	}
	return &v
}

// judgeState decides by what can be seen of the pull request itself.
func judgeState(policy mayfly.PullRequestPolicy, pr *forge.PullRequest) *verdict {
	described := pullRequestOf(pr)
	var v verdict
	switch {
	case policy.Disabled:
		v = skipped("Previews are turned off in .mayfly.yml")
	case described.WantsNoPreview():
		v = skipped("A label asks for no preview")
	case policy.OnlyLabel != "" && !described.HasLabel(policy.OnlyLabel):
		v = skipped("Pull requests get a preview with the label %s", policy.OnlyLabel)
	case policy.SkipDrafts && pr.Draft:
		v = skipped("Drafts get a preview when they are ready for review")
	case policy.IsBot(pr.Author) && policy.Bots == mayfly.BotsSkip:
		v = skipped("Pull requests of bots get no preview")
	default:
		return nil
	}
	return &v
}

// judgeFiles decides by the files that the pull request changes.
func (s *Service) judgeFiles(ctx context.Context, settings mayfly.Project, pr *forge.PullRequest) (*verdict, error) {
	policy := settings.Previews.PullRequests
	forBot := policy.IsBot(pr.Author) && or(policy.Bots, mayfly.BotsMigrations) == mayfly.BotsMigrations
	if len(policy.Paths) == 0 && len(policy.RepositoryPaths) == 0 && !forBot {
		return nil, nil //nolint:nilnil // no objection
	}
	files, complete, err := s.Forge.ChangedFiles(ctx, pr.RepositoryID, pr.Number)
	if err != nil {
		return nil, err
	}
	var v verdict
	switch {
	case !complete: // too many to know; more than anybody leaves out on purpose
		return nil, nil //nolint:nilnil // as above
	case !touches(files, policy.Paths) || !touches(files, policy.RepositoryPaths):
		v = skipped("Nothing to do: no file of %s is changed", settings.Name)
	case forBot && !touches(files, migrationPatterns(settings.Migrations)):
		v = skipped("A bot's pull request that changes no migration gets no preview")
	default:
		return nil, nil //nolint:nilnil // as above
	}
	return &v, nil
}

// touches reports whether one of the files fits one of the patterns; without patterns every pull request does.
func touches(files, patterns []string) bool {
	if len(patterns) == 0 {
		return true
	}
	for _, pattern := range patterns {
		for _, file := range files {
			if ok, err := doublestar.Match(pattern, file); ok && err == nil {
				return true
			}
		}
	}
	return false
}

// migrationPatterns are patterns of the files that change what is in a preview. There is always one.
func migrationPatterns(m mayfly.MigrationSettings) []string {
	patterns := []string{".mayfly.yml"}
	if m.Tool != "" {
		patterns = append(patterns, strings.Trim(literal(m.Path)+"/**", "/"))
	}
	for _, seed := range m.Seed {
		seed = literal(strings.Trim(seed, "/"))
		patterns = append(patterns, seed, seed+"/**")
	}
	return patterns
}

// literal escapes what patterns have a meaning for.
func literal(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `{`, `\{`, `}`, `\}`).Replace(path)
}

// sizeLabel returns the size class that a label asks for, "" if none does. Of several the first in the alphabet holds.
func sizeLabel(labels []string) string {
	var sizes []string
	for _, label := range labels {
		if size, ok := strings.CutPrefix(strings.ToLower(label), mayfly.LabelSize); ok && size != "" {
			sizes = append(sizes, size)
		}
	}
	slices.Sort(sizes)
	if len(sizes) == 0 {
		return ""
	}
	return sizes[0]
}

// shownFindings bounds the remarks on a file that has nothing but mistakes.
const shownFindings = 20

// invalidConfig holds everything as it is until the file is right.
func invalidConfig(findings []Finding) verdict {
	o := &Outcome{State: forge.StateInvalidConfig, Reason: fmt.Sprintf("%s:%d: %s", findings[0].File, findings[0].Line, findings[0].Message)}
	for _, f := range findings[:min(len(findings), shownFindings)] {
		text := f.Message
		if f.Hint != "" {
			text += "\n" + f.Hint
		}
		o.Annotations = append(o.Annotations, forge.Annotation{
			Path: f.File, Line: f.Line, Level: forge.AnnotationFailure, Title: "Mayfly cannot use this", Text: text,
		})
	}
	return verdict{wish: wishHold, tell: o}
}

// fingerprint is of everything that a decision depends on, so that the periodic reconcile need not decide, and ask the forge, again.
func fingerprint(project mayfly.Project, pr *forge.PullRequest, archived bool) string {
	encoded, err := json.Marshal([]any{*pullRequestOf(pr), pr.State, archived, project.Previews.PullRequests, project.Migrations})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(encoded)
	return hex.EncodeToString(sum[:])
}
