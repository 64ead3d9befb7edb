package provisioner

import (
	"context"
	"errors"
	"fmt"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/driver"
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

// SyncPullRequest reads a pull request from the forge and makes what should be follow it, in every project of its
// repository. It is safe to call at any time for any pull request.
func (s *Service) SyncPullRequest(ctx context.Context, repositoryID int64, number int) error {
	projects, err := s.projectsOf(ctx, repositoryID)
	if err != nil || len(projects) == 0 {
		return err
	}
	// One at a time, and read within: of two jobs for one pull request the later one must not act on what was read earlier.
	unlock, err := s.Store.Lock(ctx, fmt.Sprintf("pull request:%d:%d", repositoryID, number))
	if err != nil {
		return err
	}
	defer unlock()
	pr, err := s.Forge.PullRequest(ctx, repositoryID, number)
	if err != nil {
		// A pull request is never deleted on GitHub: "not found" means that access was lost, and destroys nothing.
		return fmt.Errorf("read pull request %d of repository %d: %w", number, repositoryID, err)
	}
	if err := s.freshBase(ctx, pr); err != nil {
		return err
	}
	known, err := s.Store.Repository(ctx, repositoryID)
	if err != nil {
		return err
	}
	var failures []error
	for _, project := range projects {
		if err := s.syncIn(ctx, project, pr, known.State == store.RepositoryArchived); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// freshBase replaces the base commit by the tip of the base branch where that is known to have moved: GitHub says where the branch was
// when the pull request was pushed to last.
func (s *Service) freshBase(ctx context.Context, pr *forge.PullRequest) error {
	if !pr.Open() {
		return nil
	}
	tips, err := s.Store.Branches(ctx, pr.RepositoryID)
	if err != nil {
		return err
	}
	tip := tips[pr.BaseRef]
	if tip == "" || tip == pr.BaseSHA {
		return nil
	}
	// Either may be the newer one.
	now, err := s.branchTip(ctx, pr.RepositoryID, pr.BaseRef)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return nil // GitHub closes or retargets it
	}
	if err != nil {
		return err
	}
	pr.BaseSHA = now
	return nil
}

// branchTip asks for the tip of a branch, and remembers it.
func (s *Service) branchTip(ctx context.Context, repositoryID int64, branch string) (string, error) {
	tip, err := s.Forge.BranchHead(ctx, repositoryID, branch)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return "", errors.Join(err, s.Store.ForgetBranch(ctx, repositoryID, branch))
	}
	if err != nil {
		return "", err
	}
	return tip, s.Store.SetBranch(ctx, repositoryID, branch, tip)
}

func keyOf(project mayfly.Project, pr *forge.PullRequest) store.PullRequestKey {
	return store.PullRequestKey{Project: project.Name, RepositoryID: pr.RepositoryID, Number: pr.Number}
}

// syncIn makes the preview of a pull request in one project what the policies say. The caller holds the pull request's lock.
func (s *Service) syncIn(ctx context.Context, project mayfly.Project, pr *forge.PullRequest, archived bool) error {
	key := keyOf(project, pr)
	known, err := s.Store.KnownPullRequest(ctx, key)
	if err != nil {
		return err
	}
	if known.HeadSHA != pr.HeadSHA {
		if err := s.Store.SeeHead(ctx, key, pr.HeadSHA, s.Clock()); err != nil {
			return err
		}
	}
	if !pr.Open() && known.DismissedSHA != "" { // reopening it is a wish for a preview
		if err := s.Store.Undismiss(ctx, key, s.Clock()); err != nil {
			return err
		}
		known.DismissedSHA = ""
	}
	v, err := s.judge(ctx, project, pr, known, archived)
	if err != nil {
		return err
	}
	existing, err := s.Store.PreviewByPullRequest(ctx, project.Name, pr.RepositoryID, pr.Number)
	if err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		return err
	}
	if err := s.obey(ctx, project, pr, known, existing, v); err != nil {
		return err
	}
	if v.tell != nil {
		s.Logger.InfoContext(ctx, "pull request gets no preview", "project", project.Name, "number", pr.Number, "state", v.tell.State, "reason", v.tell.Reason)
		if err := s.TellOutcome(ctx, project, pr, *v.tell); err != nil {
			return err
		}
	} else if err := s.Store.NothingToTell(ctx, key); err != nil { // an outcome that GitHub did not take does not hold any more
		return err
	}
	return s.Store.Decided(ctx, key, v.wish == wishPreview, fingerprint(project, pr, archived))
}

// obey makes the preview what the verdict says; existing is the live one, or nil.
func (s *Service) obey(ctx context.Context, project mayfly.Project, pr *forge.PullRequest, known *store.KnownPullRequest, existing *mayfly.Preview, v verdict) error {
	gone := existing == nil || existing.WantDeleted
	switch {
	case v.wish == wishHold:
		return nil
	case v.wish != wishPreview && gone:
		return nil
	case v.wish == wishGone:
		_, err := s.delete(ctx, existing)
		return err
	case v.wish == wishNone:
		return s.rest(ctx, project, existing)
	case existing != nil && existing.WantDeleted: // reopened while it is being torn down: the new one comes after
		return &LaterError{After: 300 * time.Millisecond, Reason: "the preview before is still being removed"}
	case existing != nil:
		return s.follow(ctx, existing, pr, v)
	case known.DismissedSHA == pr.HeadSHA:
		return nil // somebody removed it, or its time was up; the next push makes a new one
	}
	return s.createForPullRequest(ctx, pr, v)
}

// rest puts a preview to sleep whose pull request is closed, or no longer one that gets a preview, for the grace period. What cannot be
// brought back as it was, and what strangers had, goes at once.
func (s *Service) rest(ctx context.Context, project mayfly.Project, existing *mayfly.Preview) error {
	whole := existing.ReadyAt != nil && existing.ObservedGeneration == existing.Generation
	if project.Previews.PullRequests.Grace <= 0 || !whole || existing.PR.Fork {
		_, err := s.delete(ctx, existing)
		return err
	}
	if existing.ClosedAt != nil {
		return nil
	}
	now := s.Clock()
	s.Connections.Disconnect(existing.ID)
	_, err := s.Store.ChangePreview(ctx, existing.ID, func(p *mayfly.Preview) error {
		p.ClosedAt, p.WantSuspended = &now, true
		return nil
	})
	return err
}

func pullRequestOf(pr *forge.PullRequest) *mayfly.PullRequest {
	return &mayfly.PullRequest{
		RepositoryID: pr.RepositoryID, Number: pr.Number, Repository: pr.Repository, HeadSHA: pr.HeadSHA,
		BaseRef: pr.BaseRef, BaseSHA: pr.BaseSHA, Title: pr.Title, HeadRef: pr.HeadRef, Author: pr.Author, Draft: pr.Draft,
		Fork: pr.Fork, Labels: pr.Labels,
	}
}

func (s *Service) createForPullRequest(ctx context.Context, pr *forge.PullRequest, v verdict) error {
	project := v.settings
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: mayfly.PullRequestName(project.Name, pr.Number), Project: project.Name,
		Kind: mayfly.KindPullRequest, PR: pullRequestOf(pr), Generation: 1, CreatedBy: "github:" + pr.Author,
		Database: project.Postgres.Database, Owner: project.Postgres.Owner, SchemaOnly: v.schemaOnly, Keep: v.keep,
		SizeClass: v.size,
	}
	if ttl := project.Previews.PullRequestTTL; ttl > 0 {
		expires := s.Clock().Add(ttl)
		p.ExpiresAt = &expires
	}
	s.newPassword(p)
	return s.add(ctx, p, s.sized(p, project.Previews), true)
}

// follow makes an existing preview follow its pull request. Nothing is written when nothing changed.
func (s *Service) follow(ctx context.Context, existing *mayfly.Preview, pr *forge.PullRequest, v verdict) error {
	now := pullRequestOf(pr)
	if existing.PR.Equal(now) && existing.Keep == v.keep && existing.SchemaOnly == v.schemaOnly && existing.SizeClass == v.size && existing.ClosedAt == nil {
		return nil
	}
	resized := existing.SizeClass != v.size
	changed, err := s.Store.ChangePreview(ctx, existing.ID, func(p *mayfly.Preview) error {
		if p.PR.HeadSHA != now.HeadSHA || p.ClosedAt != nil {
			p.WantSuspended = false // a suspended preview wakes to get the new migrations
		}
		if p.SchemaOnly != v.schemaOnly { // with rows or without: neither becomes the other
			p.SchemaOnly = v.schemaOnly
			p.Generation++
			s.newPassword(p)
		}
		p.PR, p.Keep, p.SizeClass, p.ClosedAt = now, v.keep, v.size, nil
		return nil
	})
	if err != nil || !resized {
		return err
	}
	return s.resize(ctx, changed)
}

// resize removes the container of a preview, so that it is made anew on the same volume with the limits that hold now. One that is being
// made has them the next time it is.
func (s *Service) resize(ctx context.Context, p *mayfly.Preview) error {
	unlock, ok, err := s.Store.TryLock(ctx, "preview:"+p.ID)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	if p, err = s.Store.Preview(ctx, p.ID); err != nil || !p.Settled() || !p.Connectable() {
		return err
	}
	s.Connections.Disconnect(p.ID)
	err = s.step(ctx, p, "resize", or(p.SizeClass, "the project's limits"), func(ctx context.Context) (string, error) {
		if err := s.Engine.Stop(ctx, p.Instance(), stopTimeout); err != nil && !errors.Is(err, driver.ErrNotFound) {
			return "", err
		}
		return "", s.Engine.Remove(ctx, p.Instance())
	})
	if err != nil {
		return err
	}
	return s.Recheck(ctx, p.ID)
}

// asleepForGood is the error for somebody who wants a preview whose pull request gets none now.
func asleepForGood(p *mayfly.Preview) error {
	return mayfly.Errorf(mayfly.CodeConflict, "preview %s sleeps because its pull request is closed", p.Name).
		WithHint("it comes back with its data when the pull request is opened again, until its grace period ends")
}
