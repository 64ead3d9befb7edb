package provisioner

import (
	"context"
	"fmt"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// LaterError means: nothing is wrong, look again after some time. The queue snoozes the job.
type LaterError struct {
	After  time.Duration
	Reason string
}

// Error implements error.
func (e *LaterError) Error() string { return e.Reason }

// RetryAfter says when to look again.
func (e *LaterError) RetryAfter() time.Duration { return e.After }

// HandleDelivery looks at a stored delivery: one about a pull request of a known repository leads to that pull request
// being looked at; every other is recorded as ignored with the reason.
func (s *Service) HandleDelivery(ctx context.Context, id string) error {
	d, err := s.Store.Delivery(ctx, id)
	if err != nil || d.State != store.DeliveryReceived {
		return err
	}
	ignore := func(reason string) error {
		s.Logger.InfoContext(ctx, "delivery ignored", "delivery", id, "event", d.Event, "repository", d.Repository, "reason", reason)
		return s.Store.FinishDelivery(ctx, id, store.DeliveryIgnored, reason, 0, 0)
	}
	if d.Event != "pull_request" {
		return ignore("the event is not about a pull request")
	}
	switch d.Action {
	case "opened", "reopened", "synchronize", "closed", "edited", "ready_for_review", "converted_to_draft":
	default:
		return ignore("the action changes nothing for a preview")
	}
	projects, err := s.projectsOf(ctx, d.RepositoryID)
	if err != nil {
		return err
	}
	if len(projects) == 0 {
		return ignore("no project has this repository")
	}
	return s.Store.FinishDelivery(ctx, id, store.DeliveryDone, "", d.RepositoryID, d.Number)
}

// repositoryTTL is how long a repository's name is taken to mean the same id.
const repositoryTTL = 10 * time.Minute

// repositoryID resolves a project's repository to its id on the forge.
func (s *Service) repositoryID(ctx context.Context, fullName string) (int64, error) {
	key := strings.ToLower(fullName)
	s.mu.Lock()
	known, ok := s.repositories[key]
	s.mu.Unlock()
	if ok && s.Clock().Sub(known.at) < repositoryTTL {
		return known.id, nil
	}
	repository, err := s.Forge.Repository(ctx, fullName)
	if err != nil {
		if ok && mayfly.ErrorCode(err) == mayfly.CodeForgeUnavailable {
			return known.id, nil // names seldom move; the forge may be down for longer than the cache lives
		}
		return 0, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.repositories[key] = knownRepository{id: repository.ID, branch: repository.DefaultBranch, at: s.Clock()}
	return repository.ID, nil
}

// projectsOf returns the projects whose repository has this id. A project whose repository cannot be found is passed over.
func (s *Service) projectsOf(ctx context.Context, repositoryID int64) ([]mayfly.Project, error) {
	var found []mayfly.Project
	if s.Forge == nil {
		return nil, nil
	}
	for _, project := range s.Projects.Projects() {
		if project.Repository == "" {
			continue
		}
		id, err := s.repositoryID(ctx, project.Repository)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			s.Logger.WarnContext(ctx, "repository of a project cannot be found", "project", project.Name, "repository", project.Repository)
			continue
		}
		if err != nil {
			return nil, err
		}
		if id == repositoryID {
			found = append(found, project)
		}
	}
	return found, nil
}

// SyncPullRequest reads a pull request from the forge and makes what should be follow it, in every project of its
// repository. It is safe to call at any time for any pull request.
func (s *Service) SyncPullRequest(ctx context.Context, repositoryID int64, number int) error {
	projects, err := s.projectsOf(ctx, repositoryID)
	if err != nil || len(projects) == 0 {
		return err
	}
	pr, err := s.Forge.PullRequest(ctx, repositoryID, number)
	if err != nil {
		// A pull request is never deleted on GitHub: "not found" means that access was lost, and destroys nothing.
		return fmt.Errorf("read pull request %d of repository %d: %w", number, repositoryID, err)
	}
	for _, project := range projects {
		if err := s.syncIn(ctx, project, pr); err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) syncIn(ctx context.Context, project mayfly.Project, pr *forge.PullRequest) error {
	// Two jobs for one pull request (two deliveries close together) must not both create.
	unlock, err := s.Store.Lock(ctx, fmt.Sprintf("pull request:%s:%d:%d", project.Name, pr.RepositoryID, pr.Number))
	if err != nil {
		return err
	}
	defer unlock()
	existing, err := s.Store.PreviewByPullRequest(ctx, project.Name, pr.RepositoryID, pr.Number)
	if err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		return err
	}
	if !pr.Open() || pr.Fork {
		if existing != nil && !existing.WantDeleted {
			if _, err := s.delete(ctx, existing); err != nil {
				return err
			}
		}
		if pr.Open() {
			return s.refuseFork(ctx, project, pr)
		}
		return nil
	}
	if existing == nil {
		return s.createForPullRequest(ctx, project, pr)
	}
	if existing.WantDeleted { // reopened while it is being torn down: the new one comes after
		return &LaterError{After: 300 * time.Millisecond, Reason: "the preview before is still being removed"}
	}
	return s.follow(ctx, existing, pr)
}

func pullRequestOf(pr *forge.PullRequest) *mayfly.PullRequest {
	return &mayfly.PullRequest{
		RepositoryID: pr.RepositoryID, Number: pr.Number, Repository: pr.Repository, HeadSHA: pr.HeadSHA,
		BaseRef: pr.BaseRef, BaseSHA: pr.BaseSHA, Title: pr.Title, HeadRef: pr.HeadRef, Author: pr.Author, Draft: pr.Draft,
		Fork: pr.Fork, Labels: pr.Labels,
	}
}

func (s *Service) createForPullRequest(ctx context.Context, project mayfly.Project, pr *forge.PullRequest) error {
	expired, err := s.Store.PullRequestExpired(ctx, project.Name, pr.RepositoryID, pr.Number, pr.HeadSHA)
	if err != nil || expired {
		return err // its time was up; the next push makes a new one
	}
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: mayfly.PullRequestName(project.Name, pr.Number), Project: project.Name,
		Kind: mayfly.KindPullRequest, PR: pullRequestOf(pr), Generation: 1, CreatedBy: "github:" + pr.Author,
		Database: project.Postgres.Database, Owner: project.Postgres.Owner,
	}
	if ttl := project.Previews.PullRequestTTL; ttl > 0 {
		expires := s.Clock().Add(ttl)
		p.ExpiresAt = &expires
	}
	s.newPassword(p)
	return s.add(ctx, p, project.Previews, true)
}

// follow makes an existing preview follow its pull request. Nothing is written when nothing changed.
func (s *Service) follow(ctx context.Context, existing *mayfly.Preview, pr *forge.PullRequest) error {
	now := pullRequestOf(pr)
	if existing.PR.Equal(now) {
		return nil
	}
	_, err := s.Store.ChangePreview(ctx, existing.ID, func(p *mayfly.Preview) error {
		if p.PR.HeadSHA != now.HeadSHA {
			p.WantSuspended = false // a suspended preview wakes to get the new migrations
		}
		p.PR = now
		return nil
	})
	return err
}

// refuseFork tells a fork's pull request that it gets no database, and does nothing else.
func (s *Service) refuseFork(ctx context.Context, project mayfly.Project, pr *forge.PullRequest) error {
	s.Logger.InfoContext(ctx, "pull request from a fork gets no database", "project", project.Name, "number", pr.Number)
	return s.setStatus(ctx, project.Name, pr.RepositoryID, pr.Number, pr.HeadSHA, forge.StatusFor(forge.StatusData{State: forge.StateForkDenied}))
}
