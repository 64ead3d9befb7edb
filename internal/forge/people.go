package forge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// Reaction is a sign that GitHub shows below a comment.
type Reaction string

// The reactions that Mayfly gives to commands.
const (
	ReactionTaken   Reaction = "eyes"     // accepted, and the work goes on
	ReactionDone    Reaction = "rocket"   // done
	ReactionRefused Reaction = "-1"       // understood, and not possible
	ReactionUnclear Reaction = "confused" // not understood
)

// MayWrite reports whether somebody may push to a repository now (GitHub docs, "Get repository permissions for a user": the
// permission maintain is told as write, and triage as read). Somebody unknown may not, and neither may whoever has a login now that was
// somebody else's when that did something: userID, or 0 if it is not known.
func (c *Client) MayWrite(ctx context.Context, repoID int64, login string, userID int64) (bool, error) {
	if login == "" {
		return false, nil
	}
	var level github.RepositoryPermissionLevel
	err := c.asRepository(ctx, repoID, func(who account) error {
		return c.get(ctx, who, fmt.Sprintf("repositories/%d/collaborators/%s/permission", repoID, url.PathEscape(login)), &level)
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return false, err
	case errors.Is(err, errNotFound): // nobody of that name, unless it is the repository that cannot be seen
		_, err := c.RepositoryByID(ctx, repoID)
		return false, err
	case err != nil:
		return false, fmt.Errorf("read what %q may do in repository %d: %w", login, repoID, err)
	}
	if userID != 0 && level.GetUser().GetID() != userID {
		return false, nil
	}
	return level.GetPermission() == "admin" || level.GetPermission() == "write", nil
}

// React gives a comment a reaction. Giving it twice changes nothing. A comment that is gone needs none.
func (c *Client) React(ctx context.Context, repoID, commentID int64, reaction Reaction) error {
	in := call{
		method: http.MethodPost, path: fmt.Sprintf("repositories/%d/issues/comments/%d/reactions", repoID, commentID),
		body: map[string]string{"content": string(reaction)},
	}
	err := c.asRepository(ctx, repoID, func(who account) error {
		_, err := c.do(ctx, who, in)
		return err
	})
	if errors.Is(err, errNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("react to comment %d of repository %d: %w", commentID, repoID, err)
	}
	return nil
}
