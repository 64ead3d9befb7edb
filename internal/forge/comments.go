package forge

import (
	"context"
	"crypto/sha256"
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

// UnknownComment is given to UpsertComment in the place of an id where a comment may have been made whose id never arrived.
const UnknownComment = -1

// UpsertComment makes body the text of Mayfly's one comment on a pull request, and returns the comment's id for next
// time. known is the id from last time, 0 if none was ever made, or UnknownComment. If that comment is gone, Mayfly's own comments are searched for marker,
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
	ours, err := c.isOurs(ctx, who, repoID, known)
	if err != nil {
		return 0, err
	}
	if ours {
		if c.isText(known, body) {
			same, err := c.says(ctx, who, repoID, known, body)
			if err != nil || same {
				return known, err
			}
		}
		var edited github.IssueComment
		err := c.exchange(ctx, who, call{method: http.MethodPatch, path: commentPath(repoID, known), body: commentBody{body}}, &edited)
		if err == nil {
			c.noteOurs(known, body)
		}
		if !errors.Is(err, errNotFound) {
			return known, err
		}
	}
	var current *github.IssueComment
	if !c.isSilent(repoID, number) || known == UnknownComment {
		if current, err = c.searchComment(ctx, who, repoID, number, marker); err != nil {
			return 0, err
		}
	}
	if current != nil {
		c.noteOurs(current.GetID(), current.GetBody())
		if sameText(current.GetBody(), body) {
			return current.GetID(), nil
		}
		in := call{method: http.MethodPatch, path: commentPath(repoID, current.GetID()), body: commentBody{body}}
		err := c.exchange(ctx, who, in, new(github.IssueComment))
		if err == nil {
			c.noteOurs(current.GetID(), body)
		}
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
	c.noteOurs(created.GetID(), body)
	return created.GetID(), nil
}

// isOurs reports whether a comment was written with these credentials. What this process has written or read itself is not asked for
// again: an id is never given to another comment. The stored id may be from before the credentials were changed.
func (c *Client) isOurs(ctx context.Context, who account, repoID, id int64) (bool, error) {
	c.mu.Lock()
	_, ours := c.ours[id]
	c.mu.Unlock()
	if id <= 0 || ours {
		return ours, nil
	}
	var comment github.IssueComment
	err := c.get(ctx, who, commentPath(repoID, id), &comment)
	if errors.Is(err, errNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	self, err := c.Self(ctx)
	if err != nil || comment.GetUser().GetLogin() != self {
		return false, err
	}
	c.noteOurs(id, comment.GetBody())
	return true, nil
}

// pull names a pull request.
type pull struct {
	repository int64
	number     int
}

// noteComments remembers whether a pull request had any comment when it was read: in one without, nothing has to be searched for. A
// comment of ours that is made after that is known by its id.
func (c *Client) noteComments(repoID int64, number, comments int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.silent) >= maxOurs {
		clear(c.silent)
	}
	if comments == 0 {
		c.silent[pull{repoID, number}] = true
	} else {
		delete(c.silent, pull{repoID, number})
	}
}

func (c *Client) isSilent(repoID int64, number int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	silent := c.silent[pull{repoID, number}]
	delete(c.silent, pull{repoID, number}) // from now on there is one
	return silent
}

// maxOurs bounds how many comments are remembered.
const maxOurs = 10_000

func (c *Client) noteOurs(id int64, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.ours) >= maxOurs {
		clear(c.ours)
	}
	c.ours[id] = sha256.Sum256([]byte(normal(text)))
}

// isText reports whether a comment of ours had this text when it was seen last.
func (c *Client) isText(id int64, text string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ours[id] == sha256.Sum256([]byte(normal(text)))
}

// says asks whether a comment has this text: another process may have edited it since this one did.
func (c *Client) says(ctx context.Context, who account, repoID, id int64, text string) (bool, error) {
	var comment github.IssueComment
	err := c.get(ctx, who, commentPath(repoID, id), &comment)
	if errors.Is(err, errNotFound) { // deleted, which the edit finds too
		return false, nil
	}
	return err == nil && sameText(comment.GetBody(), text), err
}

func commentPath(repoID, id int64) string {
	return fmt.Sprintf("repositories/%d/issues/comments/%d", repoID, id)
}

// searchComment finds our own comment by its marker. nil if there is none.
func (c *Client) searchComment(ctx context.Context, who account, repoID int64, number int, marker string) (*github.IssueComment, error) {
	var found *github.IssueComment
	path := fmt.Sprintf("repositories/%d/issues/%d/comments", repoID, number)
	err := c.list(ctx, who, path, false, func(page []byte) (bool, error) {
		var comments []*github.IssueComment
		if err := json.Unmarshal(page, &comments); err != nil {
			return false, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's list of comments cannot be read: %w", err)
		}
		for _, comment := range comments {
			if !strings.Contains(comment.GetBody(), marker) {
				continue
			}
			self, err := c.Self(ctx) // asked only where somebody may have copied the marker
			if err != nil {
				return false, err
			}
			if comment.GetUser().GetLogin() == self {
				found = comment
				return false, nil
			}
		}
		return true, nil
	})
	return found, err
}

// sameText compares as GitHub stores.
func sameText(a, b string) bool { return normal(a) == normal(b) }

// normal is a text as GitHub stores it: it may trim, and browsers send CRLF.
func normal(s string) string { return strings.TrimSpace(strings.ReplaceAll(s, "\r\n", "\n")) }
