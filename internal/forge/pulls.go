package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// Repository is a repository on GitHub.
type Repository struct {
	ID            int64
	FullName      string // "owner/name", today
	DefaultBranch string
	Archived      bool
	OwnerID       int64 // of the user or organization that it belongs to, today; 0 if GitHub does not say
}

// PullRequest is what GitHub says about a pull request now.
type PullRequest struct {
	RepositoryID int64
	Repository   string // "owner/name", today
	Number       int
	State        string // "open" or "closed"
	Merged       bool
	Draft        bool
	Title        string
	Author       string // login; "" if the account is gone
	Labels       []string
	HeadSHA      string
	HeadRef      string
	// HeadRepositoryID is where the head branch is; 0 if that repository is gone. Fork is true if it is not this
	// repository, and also if it is gone.
	HeadRepositoryID int64
	Fork             bool
	BaseRef          string
	BaseSHA          string
}

// Open reports whether the pull request is open.
func (p *PullRequest) Open() bool { return p.State == "open" }

var fullNamePattern = regexp.MustCompile(`^[A-Za-z0-9_-]+/[A-Za-z0-9._-]+$`)

// Repository finds a repository by "owner/name". A name that the repository had before is followed to today's.
// CodeNotFound if there is none that Mayfly may see.
func (c *Client) Repository(ctx context.Context, fullName string) (Repository, error) {
	if !fullNamePattern.MatchString(fullName) {
		return Repository{}, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a repository's full name", fullName).
			WithHint("write it as owner/name")
	}
	who, err := c.auth.account(ctx, 0, fullName, true)
	if err != nil {
		return Repository{}, err
	}
	found, err := c.repository(ctx, who, "repos/"+fullName, "repository "+fullName)
	if err == nil {
		c.auth.learn(found.ID, who)
	}
	return found, err
}

// RepositoryByID finds a repository by its id.
func (c *Client) RepositoryByID(ctx context.Context, id int64) (Repository, error) {
	var found Repository
	err := c.asRepository(ctx, id, func(who account) (err error) {
		found, err = c.repository(ctx, who, fmt.Sprintf("repositories/%d", id), fmt.Sprintf("repository %d", id))
		return err
	})
	return found, err
}

func (c *Client) repository(ctx context.Context, who account, path, name string) (Repository, error) {
	var r github.Repository
	if err := c.get(ctx, who, path, &r); err != nil {
		if errors.Is(err, errNotFound) {
			return Repository{}, invisible(err, name)
		}
		return Repository{}, fmt.Errorf("read %s: %w", name, err)
	}
	if r.GetID() == 0 {
		return Repository{}, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub named no id for %s", name)
	}
	c.learnNode(r.GetID(), r.GetNodeID())
	return Repository{ID: r.GetID(), FullName: r.GetFullName(), DefaultBranch: r.GetDefaultBranch(), Archived: r.GetArchived(), OwnerID: r.GetOwner().GetID()}, nil
}

// invisible is the error for a repository that GitHub does not find: it says the same for one that Mayfly may not see.
func invisible(err error, name string) error {
	return notFound(err, "%s is not on GitHub, or Mayfly may not see it", name).
		WithHint("check its name, and that the App is installed on it or the token has access to it")
}

// PullRequest reads one pull request. CodeNotFound if there is none with that number.
func (c *Client) PullRequest(ctx context.Context, repoID int64, number int) (*PullRequest, error) {
	var p github.PullRequest
	err := c.asRepository(ctx, repoID, func(who account) error {
		return c.get(ctx, who, fmt.Sprintf("repositories/%d/pulls/%d", repoID, number), &p)
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return nil, err
	case errors.Is(err, errNotFound):
		return nil, notFound(err, "there is no pull request %d in repository %d", number, repoID)
	case err != nil:
		return nil, fmt.Errorf("read pull request %d of repository %d: %w", number, repoID, err)
	}
	if p.Comments != nil {
		c.noteComments(repoID, number, p.GetComments())
	}
	c.learnNode(p.GetBase().GetRepo().GetID(), p.GetBase().GetRepo().GetNodeID())
	return pullRequest(repoID, &p)
}

// OpenPullRequests reads all open pull requests of a repository. The pages are not one snapshot: a pull request that
// closes while they are read can hide another one. So what is missing here is only perhaps closed; ask PullRequest
// before acting on it.
func (c *Client) OpenPullRequests(ctx context.Context, repoID int64) ([]*PullRequest, error) {
	var all []*PullRequest
	path := fmt.Sprintf("repositories/%d/pulls?state=open&sort=created&direction=asc", repoID)
	err := c.asRepository(ctx, repoID, func(who account) error {
		all = nil
		seen := map[int]bool{}
		return c.list(ctx, who, path, true, func(page []byte) (bool, error) {
			var pulls []*github.PullRequest
			if err := json.Unmarshal(page, &pulls); err != nil {
				return false, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's list of pull requests cannot be read: %w", err)
			}
			for _, p := range pulls {
				pull, err := pullRequest(repoID, p)
				if err != nil {
					return false, err
				}
				if !seen[pull.Number] {
					seen[pull.Number] = true
					all = append(all, pull)
				}
			}
			return true, nil
		})
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return nil, err
	case errors.Is(err, errNotFound):
		return nil, invisible(err, fmt.Sprintf("repository %d", repoID))
	case err != nil:
		return nil, fmt.Errorf("list open pull requests of repository %d: %w", repoID, err)
	}
	return all, nil
}

// pullRequest keeps of GitHub's description what Mayfly needs, and insists on what identifies it.
func pullRequest(repoID int64, p *github.PullRequest) (*PullRequest, error) {
	base, head := p.GetBase(), p.GetHead()
	if p.GetNumber() <= 0 || base.GetRepo().GetID() != repoID || !shaPattern.MatchString(head.GetSHA()) {
		return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable,
			"GitHub's description of pull request %d of repository %d is incomplete", p.GetNumber(), repoID)
	}
	pull := &PullRequest{
		RepositoryID: repoID, Repository: base.GetRepo().GetFullName(),
		Number: p.GetNumber(), State: p.GetState(), Merged: p.GetMerged() || !p.GetMergedAt().IsZero(), Draft: p.GetDraft(),
		Title: p.GetTitle(), Author: p.GetUser().GetLogin(),
		HeadSHA: head.GetSHA(), HeadRef: head.GetRef(), HeadRepositoryID: head.GetRepo().GetID(),
		BaseRef: base.GetRef(), BaseSHA: base.GetSHA(),
	}
	pull.Fork = pull.HeadRepositoryID != repoID
	for _, label := range p.Labels {
		pull.Labels = append(pull.Labels, label.GetName())
	}
	return pull, nil
}
