package forge

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// BranchHead returns the id of the newest commit of a branch. CodeNotFound if there is no such branch.
func (c *Client) BranchHead(ctx context.Context, repoID int64, branch string) (string, error) {
	var b github.Branch
	err := c.asRepository(ctx, repoID, func(who account) error {
		return c.get(ctx, who, fmt.Sprintf("repositories/%d/branches/%s", repoID, url.PathEscape(branch)), &b)
	})
	switch sha := b.GetCommit().GetSHA(); {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return "", err
	case errors.Is(err, errNotFound):
		return "", notFound(err, "there is no branch %q in repository %d", branch, repoID)
	case err != nil:
		return "", fmt.Errorf("read branch %q of repository %d: %w", branch, repoID, err)
	case !shaPattern.MatchString(sha):
		return "", mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's description of branch %q of repository %d is incomplete", branch, repoID)
	default:
		return sha, nil
	}
}

// CommitParents returns the ids of a commit's parents. CodeHeadGone if the repository has no such commit.
func (c *Client) CommitParents(ctx context.Context, repoID int64, sha string) ([]string, error) {
	gone := mayfly.Errorf(mayfly.CodeHeadGone, "there is no commit %.40q in repository %d", sha, repoID)
	if !shaPattern.MatchString(sha) {
		return nil, gone
	}
	var commit github.Commit
	err := c.asRepository(ctx, repoID, func(who account) error {
		return c.get(ctx, who, fmt.Sprintf("repositories/%d/git/commits/%s", repoID, sha), &commit)
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return nil, err
	case errors.Is(err, errNotFound):
		return nil, gone
	case err != nil:
		return nil, fmt.Errorf("read commit %s of repository %d: %w", sha, repoID, err)
	}
	parents := make([]string, len(commit.Parents))
	for i, parent := range commit.Parents {
		parents[i] = parent.GetSHA()
	}
	return parents, nil
}
