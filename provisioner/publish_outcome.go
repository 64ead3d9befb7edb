package provisioner

import (
	"context"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// Outcome is what there is to say about a pull request that has no preview, and why.
type Outcome struct {
	// State is StateForkDenied, StateSkipped, StateAwaitingApproval, StateInvalidConfig, or StateQueued.
	State forge.State
	// Reason is a sentence for people. Text that strangers wrote may be in it.
	Reason string
	// Annotations are shown on the files that they name (.mayfly.yml).
	Annotations []forge.Annotation
	// Comment makes it be told in the comment too. Without it a comment that is there already is brought up to date, and none is made.
	Comment bool
}

// TellOutcome concludes the checks of a pull request that gets no preview, or of another commit such as a merge group's. Nothing is sent
// that was sent before. What GitHub did not take is told once it is back: the error is for the log, and for the job to be tried again.
func (s *Service) TellOutcome(ctx context.Context, project mayfly.Project, pr *forge.PullRequest, o Outcome) error {
	key := keyOf(project, pr)
	if err := s.Store.WantPublished(ctx, key); err != nil {
		return err
	}
	return patiently(s.tellOutcome(ctx, project, pr, key, o))
}

func (s *Service) tellOutcome(ctx context.Context, project mayfly.Project, pr *forge.PullRequest, key store.PullRequestKey, o Outcome) error {
	unlock, err := s.lockPublishing(ctx, key)
	if err != nil {
		return err
	}
	defer unlock()
	wanted, err := s.Store.PublishWanted(ctx, key)
	if err != nil {
		return err
	}
	known, err := s.Store.KnownPullRequest(ctx, key)
	if err != nil {
		return err
	}
	data := forge.CheckData{
		CommentData: forge.CommentData{
			RepositoryID: pr.RepositoryID, Number: pr.Number, Project: project.Name, State: o.State, HeadSHA: pr.HeadSHA, Note: o.Reason,
			LastCommand: lastCommand(known),
		},
		Named: s.namesChecks(project), Reason: o.Reason, Annotations: o.Annotations,
	}
	if err := s.publishChecks(ctx, key, pr.HeadSHA, data); err != nil {
		return err
	}
	later, err := s.outcomeComment(ctx, key, pr.HeadSHA == known.HeadSHA, data.CommentData, o)
	if err != nil {
		return err
	}
	if later > 0 {
		return &LaterError{After: later, Reason: "the comment is written a little later"}
	}
	return s.Store.Published(ctx, key, wanted)
}

// outcomeComment tells it in the comment, unless there is a preview, which has the word, or it is about another commit than the head.
func (s *Service) outcomeComment(ctx context.Context, key store.PullRequestKey, isHead bool, data forge.CommentData, o Outcome) (later time.Duration, err error) {
	record, err := s.Store.PullRequestRecord(ctx, key.Project, key.RepositoryID, key.Number)
	if err != nil || !isHead || (!o.Comment && record.CommentID == 0) {
		return 0, err
	}
	_, err = s.Store.PreviewByPullRequest(ctx, key.Project, key.RepositoryID, key.Number)
	if mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		return 0, err
	}
	return s.publishComment(ctx, &record, data)
}
