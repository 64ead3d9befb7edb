package provisioner

import (
	"context"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// publishDeployment shows the preview as a deployment of its commit to an environment of its own, which is gone with it. Credentials that
// do not allow deployments show none.
func (s *Service) publishDeployment(ctx context.Context, record *store.PullRequestRecord, p *mayfly.Preview, data forge.CheckData) error {
	if data.State == forge.StateDeleted {
		return s.retireDeployments(ctx, record, p.Name)
	}
	d := forge.Deployment{
		Environment: forge.Environment(p.Name), SHA: p.PR.HeadSHA, State: deploymentState(data.State), Description: "Preview database", URL: s.pageURL(p.Name),
	}
	hash := hashOf(d.SHA, string(d.State), d.URL)
	if record.DeploymentHash == hash {
		return nil
	}
	known := int64(0)
	if record.DeploymentSHA == d.SHA {
		known = record.DeploymentID
	}
	if known == 0 { // the answer may get lost: then there is one to be set inactive all the same
		record.DeploymentID, record.DeploymentSHA, record.DeploymentHash = 0, d.SHA, ""
		if err := s.Store.SetPullRequestRecord(ctx, *record); err != nil {
			return err
		}
	}
	id, err := s.Forge.SetDeployment(ctx, record.RepositoryID, known, d)
	if err != nil {
		return err
	}
	record.DeploymentID, record.DeploymentSHA, record.DeploymentHash = id, d.SHA, hash
	return s.Store.SetPullRequestRecord(ctx, *record)
}

func deploymentState(state forge.State) forge.DeploymentState {
	switch state {
	case forge.StateReady, forge.StateSuspended:
		return forge.DeploymentSuccess
	case forge.StateFailed:
		return forge.DeploymentFailure
	case forge.StateCreating, forge.StateMigrating, forge.StateQueued, forge.StateDeleted, forge.StateForkDenied, forge.StateSkipped,
		forge.StateAwaitingApproval, forge.StateInvalidConfig:
	}
	return forge.DeploymentRunning
}

// retireDeployments sets all deployments of the environment inactive: each push made one.
func (s *Service) retireDeployments(ctx context.Context, record *store.PullRequestRecord, name string) error {
	if record.DeploymentSHA == "" {
		return nil
	}
	if err := s.Forge.RetireDeployments(ctx, record.RepositoryID, forge.Environment(name)); err != nil {
		return err
	}
	record.DeploymentID, record.DeploymentSHA, record.DeploymentHash = 0, "", ""
	return s.Store.SetPullRequestRecord(ctx, *record)
}
