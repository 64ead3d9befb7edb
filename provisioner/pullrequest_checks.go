package provisioner

import (
	"context"
	"regexp"
	"slices"
	"strconv"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/migrations"
)

// handleCheck runs a check again that somebody asked for, or does what the button on it says. GitHub shows both to people with
// write access only; they are asked for all the same.
func (s *Service) handleCheck(ctx context.Context, d *store.Delivery, body *payload) (done, error) {
	if d.Action != "rerequested" && d.Action != "requested_action" {
		return ignored("the action changes nothing for a preview")
	}
	if body.Sender.Type != "User" {
		return ignored("the sender is not a person")
	}
	may, err := s.Forge.MayWrite(ctx, d.RepositoryID, body.Sender.Login, body.Sender.ID)
	if err != nil {
		return done{}, err
	}
	if !may {
		return ignored("the sender may not write to the repository")
	}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: "github:" + body.Sender.Login})
	sha := or(body.CheckRun.HeadSHA, body.CheckSuite.HeadSHA)
	only, number, named := forge.ParseExternalID(body.CheckRun.ExternalID)
	previews, err := s.Store.PreviewsAt(ctx, d.RepositoryID, sha)
	if err != nil {
		return done{}, err
	}
	numbers, err := s.Store.PullRequestsAt(ctx, d.RepositoryID, sha)
	if err != nil {
		return done{}, err
	}
	for _, p := range previews {
		if named && (p.Project != only || p.PR.Number != number) {
			continue
		}
		if err := s.again(ctx, p, d, body.RequestedAction.Identifier); err != nil {
			return done{}, err
		}
	}
	if named && !slices.Contains(numbers, number) {
		return ignored("the check is of a commit that is no pull request's head")
	}
	if len(numbers) == 0 {
		return ignored("no pull request is known to have this commit as its head")
	}
	for _, n := range numbers { // they are told again also where nothing changed
		if err := s.Store.ForgetPublished(ctx, d.RepositoryID, n); err != nil {
			return done{}, err
		}
	}
	return look(numbers...)
}

// again makes a preview anew: for the buttons always, and for a check that is run again if the preview failed. A redelivery finds it
// begun already.
func (s *Service) again(ctx context.Context, p *mayfly.Preview, d *store.Delivery, button string) error {
	reset := button == forge.ActionReset
	if d.Action == "rerequested" && p.State != mayfly.PreviewFailed {
		return s.Store.RequestPublish(ctx, p.ID)
	}
	if d.Action == "requested_action" && !reset && button != forge.ActionRebuild {
		return nil
	}
	remembered, fresh, err := s.remember(ctx, d.RepositoryID, commandOfDelivery(d.ID), map[string]int64{p.ID: p.Generation})
	if err != nil || (!fresh && p.Generation > remembered[p.ID]) {
		return err
	}
	if reset {
		_, err = s.Reset(ctx, p.Name)
		return err
	}
	return s.remake(ctx, p)
}

// remake asks for a new generation of the same template, with the same password.
func (s *Service) remake(ctx context.Context, p *mayfly.Preview) error {
	_, err := s.change(ctx, p.Name, func(p *mayfly.Preview) error {
		p.Generation++
		p.WantSuspended = false
		return nil
	})
	return err
}

// mergeQueueRef is the branch that GitHub makes for a merge group: it names the pull request that was added last.
var mergeQueueRef = regexp.MustCompile(`/pr-([0-9]+)-[0-9a-f]+$`)

// handleMergeGroup concludes the checks on the commit of a merge group, so that they can be required there: with what the combined
// migrations say. Reading them warms what the previews after the merge need.
func (s *Service) handleMergeGroup(ctx context.Context, d *store.Delivery, body *payload, projects []mayfly.Project) (done, error) {
	if d.Action != "checks_requested" {
		return ignored("the action changes nothing for a preview")
	}
	group := body.MergeGroup
	number := 0
	if m := mergeQueueRef.FindStringSubmatch(group.HeadRef); m != nil {
		number, _ = strconv.Atoi(m[1])
	}
	for _, project := range projects {
		pr := &forge.PullRequest{
			RepositoryID: d.RepositoryID, Repository: d.Repository, Number: number, State: "open", HeadSHA: group.HeadSHA,
			BaseSHA: group.BaseSHA, BaseRef: group.BaseRef,
		}
		if err := s.concludeGroup(ctx, project, pr); err != nil {
			return done{}, err
		}
	}
	if number > 0 {
		return look(number)
	}
	return done{}, nil
}

func (s *Service) concludeGroup(ctx context.Context, project mayfly.Project, group *forge.PullRequest) error {
	settings, findings, err := s.settingsFor(ctx, project, pullRequestOf(group))
	if len(findings) > 0 {
		return s.TellOutcome(ctx, project, group, *invalidConfig(findings).tell)
	}
	if err != nil {
		return err
	}
	outcome := Outcome{State: forge.StateSkipped, Reason: "The migrations of the merge group fit together"}
	if tool := settings.Migrations.Tool; tool == "" || !slices.Contains(mayfly.MigrationTools(), tool) {
		outcome.Reason = "Nothing to do for a merge group"
		return s.TellOutcome(ctx, project, group, outcome)
	}
	files, err := s.filesOf(ctx, &mayfly.Preview{PR: pullRequestOf(group)}, group.HeadSHA, settings.Migrations)
	if err == nil {
		_, err = migrations.Parse(settings.Migrations, files)
	}
	switch code := mayfly.ErrorCode(err); {
	case code == mayfly.CodeMigrationInvalid:
		outcome = Outcome{State: forge.StateFailed, Reason: err.Error()}
	case code == mayfly.CodeHeadGone: // the group was dissolved
		return nil
	case err != nil:
		return err
	}
	return s.TellOutcome(ctx, project, group, outcome)
}
