package provisioner

import (
	"context"
	"slices"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// ownerTTL is how long a repository is taken to belong to whom it did, and ownerStale how long while the forge does not answer.
const (
	ownerTTL   = 10 * time.Minute
	ownerStale = 24 * time.Hour
)

// PullRequestForCI returns the open pull request that a CI job's identity token names, if its repository is one of a project and
// belongs to whom the token says. What the state database knows is believed, so that jobs get their preview also while the forge
// does not answer; a pull request that has no preview yet is looked up.
func (s *Service) PullRequestForCI(ctx context.Context, q auth.CIQuery) (*auth.CIPullRequest, error) {
	if s.Forge == nil {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there are no pull requests without a forge")
	}
	if q.RepositoryID == 0 {
		project, ok := s.Projects.Project(q.Project)
		if !ok || project.Repository == "" {
			return nil, mayfly.Errorf(mayfly.CodeNotFound, "project %q has no repository", q.Project)
		}
		id, err := s.repositoryID(ctx, project.Repository)
		if err != nil {
			return nil, err
		}
		q.RepositoryID = id
	}
	projects, err := s.projectsOf(ctx, q.RepositoryID)
	if err != nil {
		return nil, err
	}
	if len(projects) == 0 {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "repository %d is not one of a project", q.RepositoryID)
	}
	if q.OwnerID != 0 {
		if err := s.checkOwner(ctx, q); err != nil {
			return nil, err
		}
	}
	out, err := s.knownPullRequest(ctx, q)
	if err == nil && out == nil {
		out, err = s.foundPullRequest(ctx, q)
	}
	if err != nil {
		return nil, err
	}
	for _, project := range projects {
		out.Projects = append(out.Projects, project.Name)
	}
	return out, nil
}

// checkOwner refuses a token of a repository that belongs to somebody else today, or did when the token was made.
func (s *Service) checkOwner(ctx context.Context, q auth.CIQuery) error {
	owner, seen, err := s.Store.RepositoryOwner(ctx, q.RepositoryID)
	if err != nil {
		return err
	}
	// One that differs is looked up again: the repository may have been transferred since. Not more often than once in a while, though.
	const atOnce = 10 * time.Second
	age := s.Clock().Sub(seen)
	if owner == 0 || age > ownerTTL || owner != q.OwnerID && age > atOnce {
		now, err := s.Forge.RepositoryByID(ctx, q.RepositoryID)
		switch {
		case mayfly.ErrorCode(err) == mayfly.CodeForgeUnavailable && owner != 0 && age < ownerStale:
		case err != nil:
			return err
		default:
			owner = now.OwnerID
			if err := s.Store.SetRepositoryOwner(ctx, q.RepositoryID, owner, s.Clock()); err != nil {
				return err
			}
		}
	}
	if owner == 0 || owner != q.OwnerID {
		return mayfly.Errorf(mayfly.CodeNotFound, "repository %d belongs to %d, not to %d", q.RepositoryID, owner, q.OwnerID)
	}
	return nil
}

// knownPullRequest looks among the previews; nil if none is of the pull request.
func (s *Service) knownPullRequest(ctx context.Context, q auth.CIQuery) (*auth.CIPullRequest, error) {
	previews, err := s.Store.Previews(ctx, store.Filter{Kind: mayfly.KindPullRequest, RepositoryID: q.RepositoryID})
	if err != nil {
		return nil, err
	}
	var of *mayfly.Preview
	for _, p := range previews {
		if p.PR == nil || p.WantDeleted || p.ClosedAt != nil || !asksFor(q, p.PR.Number, p.PR.HeadRef, p.PR.Fork) {
			continue
		}
		if of != nil && of.PR.Number != p.PR.Number {
			return nil, ambiguous(q)
		}
		of = p
	}
	if of == nil {
		return nil, nil //nolint:nilnil // no preview is not an error
	}
	approved := false
	if of.PR.Fork {
		if approved, err = s.approvedFor(ctx, of, q.Commit); err != nil {
			return nil, err
		}
	}
	return &auth.CIPullRequest{RepositoryID: q.RepositoryID, Number: of.PR.Number, Fork: of.PR.Fork, Approved: approved}, nil
}

// approvedFor reports whether a job on a commit may have the preview of a fork: if what the job runs on is the approved head, merged. What
// the state database knows is not enough: the head may have been pushed a moment ago, and a job of an earlier one may still be running.
func (s *Service) approvedFor(ctx context.Context, p *mayfly.Preview, commit string) (bool, error) {
	approved, err := s.Store.ForkApproved(ctx, p)
	if err != nil || !approved || commit == "" {
		return false, err
	}
	now, err := s.Forge.PullRequest(ctx, p.PR.RepositoryID, p.PR.Number)
	if err != nil {
		return false, err
	}
	if !now.Open() || now.HeadSHA != p.PR.HeadSHA {
		return false, nil
	}
	parents, err := s.Forge.CommitParents(ctx, p.PR.RepositoryID, commit)
	if mayfly.ErrorCode(err) == mayfly.CodeHeadGone {
		return false, nil
	}
	return slices.Contains(parents, p.PR.HeadSHA), err
}

// asksFor reports whether a pull request is the one that is asked for. The branch of a fork may have any name, and names none of ours.
func asksFor(q auth.CIQuery, number int, branch string, fork bool) bool {
	if q.Branch != "" && (fork || branch != q.Branch) {
		return false
	}
	return q.Number == number || q.Number == 0 && q.Branch != ""
}

func ambiguous(q auth.CIQuery) error {
	return mayfly.Errorf(mayfly.CodeNotFound, "several pull requests want the branch %q merged, and none was named", q.Branch)
}

// foundPullRequest asks the forge. A fork's pull request without a preview is not approved.
func (s *Service) foundPullRequest(ctx context.Context, q auth.CIQuery) (*auth.CIPullRequest, error) {
	var candidates []*forge.PullRequest
	if q.Number != 0 {
		pr, err := s.Forge.PullRequest(ctx, q.RepositoryID, q.Number)
		if err != nil {
			return nil, err
		}
		candidates = append(candidates, pr)
	} else {
		var err error
		if candidates, err = s.Forge.OpenPullRequests(ctx, q.RepositoryID); err != nil {
			return nil, err
		}
	}
	var of *forge.PullRequest
	for _, pr := range candidates {
		if !pr.Open() || !asksFor(q, pr.Number, pr.HeadRef, pr.Fork) {
			continue
		}
		if of != nil {
			return nil, ambiguous(q)
		}
		of = pr
	}
	if of == nil {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "repository %d has no such open pull request", q.RepositoryID)
	}
	return &auth.CIPullRequest{RepositoryID: q.RepositoryID, Number: of.Number, Fork: of.Fork}, nil
}
