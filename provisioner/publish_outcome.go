package provisioner

import (
	"context"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
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

// TellOutcome concludes the checks of a pull request that gets no preview. Nothing is sent that was sent before. What GitHub did not
// take is told once it is back: the error is for the log, and for the job to be tried again.
func (s *Service) TellOutcome(ctx context.Context, project mayfly.Project, pr *forge.PullRequest, o Outcome) error {
	status := forge.StatusFor(forge.StatusData{State: o.State})
	if o.Reason != "" {
		status.Description = o.Reason
	}
	return s.setStatus(ctx, project.Name, pr.RepositoryID, pr.Number, pr.HeadSHA, status)
}
