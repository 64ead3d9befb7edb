package forge

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/mayflydb/mayfly"
)

// Archive opens the archive of a repository at a commit: tar, gzip, everything below one directory that is named by the
// repository and the commit. It is read while it is used: ctx must live until the caller has closed it. Its size is not
// known before its end. CodeHeadGone if the commit does not exist.
//
// What is in it is whatever the repository's authors put there. Submodules and files of Git LFS are left out by GitHub.
func (c *Client) Archive(ctx context.Context, repoID int64, sha string) (io.ReadCloser, error) {
	if !shaPattern.MatchString(sha) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a commit id", sha)
	}
	var archive io.ReadCloser
	err := c.asRepository(ctx, repoID, func(who account) error {
		var err error
		archive, err = c.openArchive(ctx, who, repoID, sha)
		if refused := (*Refused)(nil); errors.As(err, &refused) && refused.Status == http.StatusUnauthorized && c.auth.forget(who) {
			archive, err = c.openArchive(ctx, who, repoID, sha)
		}
		return err
	})
	if err != nil {
		return nil, c.explainGone(ctx, repoID, sha, err)
	}
	return archive, nil
}

// openArchive asks for the archive. GitHub answers with a redirect to another host, whose address carries a token of its own; the
// credentials of the request stay behind (net/http, Client).
func (c *Client) openArchive(ctx context.Context, who account, repoID int64, sha string) (io.ReadCloser, error) {
	if until := c.blockedUntil(who); !until.IsZero() {
		return nil, rateLimited(until)
	}
	bearer, err := c.auth.bearer(ctx, who)
	if err != nil {
		return nil, err
	}
	in := call{method: http.MethodGet, path: fmt.Sprintf("repositories/%d/tarball/%s", repoID, sha)}
	request, err := c.requests.NewRequest(in.method, in.path, nil)
	if err != nil {
		return nil, fmt.Errorf("build request %s %s: %w", in.method, in.path, err)
	}
	request.Header.Set("Authorization", "Bearer "+bearer())
	reply, err := c.http.Do(request.WithContext(ctx))
	if err != nil {
		return nil, unreachable(ctx, in, withoutAddress(err))
	}
	if reply.StatusCode == http.StatusOK {
		return reply.Body, nil
	}
	defer func() { _ = reply.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(reply.Body, 64<<10))
	if err != nil {
		return nil, unreachable(ctx, in, err)
	}
	reply.Body = io.NopCloser(bytes.NewReader(body))
	return nil, c.failed(who, in, reply, body)
}

// withoutAddress leaves out where a request went: after a redirect the address has a token in it.
func withoutAddress(err error) error {
	if wrapped := (*url.Error)(nil); errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}
