package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// StatusState is the state of a commit status.
type StatusState string

// The states that GitHub knows.
const (
	StatusPending StatusState = "pending"
	StatusSuccess StatusState = "success"
	StatusFailure StatusState = "failure"
	StatusError   StatusState = "error"
)

// StatusContext is the name of a commit status that is given none.
const StatusContext = CheckDatabase

// maxDescription is GitHub's limit on the description, in characters.
const maxDescription = 140

// Status is a commit status.
type Status struct {
	State       StatusState
	Context     string // "" means StatusContext
	Description string // cut to 140 characters
	TargetURL   string // http(s), or ""
}

// SetStatus sets a status of the commit sha. CodeHeadGone if the commit no longer exists.
func (c *Client) SetStatus(ctx context.Context, repoID int64, sha string, status Status) error {
	if !shaPattern.MatchString(sha) {
		return mayfly.Errorf(mayfly.CodeInvalid, "%q is not a commit id", sha)
	}
	body := github.RepoStatus{
		State:       github.String(string(status.State)),
		Context:     github.String(StatusContext),
		Description: github.String(clip(oneLine(status.Description), maxDescription)),
	}
	if status.Context != "" {
		body.Context = &status.Context
	}
	if status.TargetURL != "" {
		body.TargetURL = &status.TargetURL
	}
	in := call{method: http.MethodPost, path: fmt.Sprintf("repositories/%d/statuses/%s", repoID, sha), body: body}
	err := c.asRepository(ctx, repoID, func(who account) error {
		_, err := c.do(ctx, who, in)
		return err
	})
	switch {
	case err == nil || mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return err
	case errors.Is(err, errNotFound):
		return invisible(err, fmt.Sprintf("repository %d", repoID))
	case errors.Is(err, errUnprocessable):
		return unprocessableStatus(sha, err)
	}
	return fmt.Errorf("set status of %s in repository %d: %w", short(sha), repoID, err)
}

// unprocessableStatus tells the reasons for a 422 apart. GitHub has only prose for them.
func unprocessableStatus(sha string, err error) error {
	switch text := strings.ToLower(err.Error()); {
	case strings.Contains(text, "maximum number of statuses"):
		e := mayfly.Errorf(mayfly.CodeConflict, "commit %s has as many statuses as GitHub allows", short(sha)).
			WithHint("push another commit")
		e.Err = err
		return e
	case strings.Contains(text, "url"), strings.Contains(text, "description"):
		return mayfly.Errorf(mayfly.CodeInvalid, "GitHub does not take the status: %w", err)
	}
	return headGone(sha, err)
}
