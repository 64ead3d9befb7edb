package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// commentBody is what GitHub takes to create or edit a comment.
type commentBody struct {
	Body string `json:"body"`
}

// UpsertComment makes body the text of Mayfly's one comment on a pull request, and returns the comment's id for next
// time. known is the id from last time, or 0. If that comment is gone, Mayfly's own comments are searched for marker,
// which body should contain (Marker makes it); comments of others are never touched, whatever they contain. Only if
// there is none a comment is created. Nothing is written if the text is already there.
//
// Two calls for the same pull request at the same time may create two comments; callers hold the preview's lock.
func (c *Client) UpsertComment(ctx context.Context, repoID int64, number int, known int64, marker, body string) (int64, error) {
	var id int64
	err := c.asRepository(ctx, repoID, func(who account) (err error) {
		id, err = c.upsertComment(ctx, who, repoID, number, known, marker, body)
		return err
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return 0, err
	case errors.Is(err, errNotFound):
		return 0, notFound(err, "there is no pull request %d in repository %d", number, repoID)
	case err != nil:
		return 0, fmt.Errorf("comment on pull request %d of repository %d: %w", number, repoID, err)
	}
	return id, nil
}

func (c *Client) upsertComment(ctx context.Context, who account, repoID int64, number int, known int64, marker, body string) (int64, error) {
	self, err := c.Self(ctx)
	if err != nil {
		return 0, err
	}
	current, err := c.knownComment(ctx, who, repoID, known, self)
	if err != nil {
		return 0, err
	}
	if current == nil {
		if current, err = c.searchComment(ctx, who, repoID, number, self, marker); err != nil {
			return 0, err
		}
	}
	if current != nil {
		if sameText(current.GetBody(), body) {
			return current.GetID(), nil
		}
		in := call{method: http.MethodPatch, path: commentPath(repoID, current.GetID()), body: commentBody{body}}
		err := c.exchange(ctx, who, in, new(github.IssueComment))
		if !errors.Is(err, errNotFound) {
			return current.GetID(), err
		}
		// Deleted since it was read: make a new one.
	}
	var created github.IssueComment
	in := call{method: http.MethodPost, path: fmt.Sprintf("repositories/%d/issues/%d/comments", repoID, number), body: commentBody{body}}
	if err := c.exchange(ctx, who, in, &created); err != nil {
		return 0, err
	}
	return created.GetID(), nil
}

func commentPath(repoID, id int64) string {
	return fmt.Sprintf("repositories/%d/issues/comments/%d", repoID, id)
}

// knownComment reads the comment with a stored id. nil if it is gone or is not ours.
func (c *Client) knownComment(ctx context.Context, who account, repoID, id int64, self string) (*github.IssueComment, error) {
	if id == 0 {
		return nil, nil //nolint:nilnil // no comment is an answer, not an error
	}
	var comment github.IssueComment
	err := c.get(ctx, who, commentPath(repoID, id), &comment)
	if errors.Is(err, errNotFound) || (err == nil && comment.GetUser().GetLogin() != self) {
		return nil, nil //nolint:nilnil // as above
	}
	return &comment, err
}

// searchComment finds our own comment by its marker. nil if there is none.
func (c *Client) searchComment(ctx context.Context, who account, repoID int64, number int, self, marker string) (*github.IssueComment, error) {
	var found *github.IssueComment
	path := fmt.Sprintf("repositories/%d/issues/%d/comments", repoID, number)
	err := c.list(ctx, who, path, false, func(page []byte) (bool, error) {
		var comments []*github.IssueComment
		if err := json.Unmarshal(page, &comments); err != nil {
			return false, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's list of comments cannot be read: %w", err)
		}
		for _, comment := range comments {
			if comment.GetUser().GetLogin() == self && strings.Contains(comment.GetBody(), marker) {
				found = comment
				return false, nil
			}
		}
		return true, nil
	})
	return found, err
}

// sameText compares as GitHub stores: it may trim, and browsers send CRLF.
func sameText(a, b string) bool {
	normal := func(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
	return normal(a) == normal(b)
}
