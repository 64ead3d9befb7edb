package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// maxChangedFiles is how many files GitHub lists of a pull request at most (GitHub docs, "List pull requests files").
const maxChangedFiles = 3000

// ChangedFiles returns the paths that a pull request changes, those that files were moved from included. complete is false if
// there are more than GitHub lists.
func (c *Client) ChangedFiles(ctx context.Context, repoID int64, number int) (paths []string, complete bool, err error) {
	listed := 0
	err = c.asRepository(ctx, repoID, func(who account) error {
		paths, listed = nil, 0
		return c.list(ctx, who, fmt.Sprintf("repositories/%d/pulls/%d/files", repoID, number), true, func(page []byte) (bool, error) {
			var files []*github.CommitFile
			if err := json.Unmarshal(page, &files); err != nil {
				return false, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's list of changed files cannot be read: %w", err)
			}
			for _, f := range files {
				listed++
				paths = append(paths, f.GetFilename())
				if from := f.GetPreviousFilename(); from != "" {
					paths = append(paths, from)
				}
			}
			return true, nil
		})
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound:
		return nil, false, err
	case errors.Is(err, errNotFound):
		return nil, false, notFound(err, "there is no pull request %d in repository %d", number, repoID)
	case err != nil:
		return nil, false, fmt.Errorf("list the files that pull request %d of repository %d changes: %w", number, repoID, err)
	}
	return paths, listed < maxChangedFiles, nil
}

// File reads one regular file of at most limit bytes at the commit sha. ok is false if there is none. The directories on the way
// are read one level at a time, and cached like those of Files.
func (c *Client) File(ctx context.Context, repoID int64, sha, name string, limit int) (content []byte, ok bool, err error) {
	if !shaPattern.MatchString(sha) {
		return nil, false, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a commit id", sha)
	}
	segments, err := split(name)
	if err != nil || len(segments) == 0 {
		return nil, false, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a file in a repository", name)
	}
	err = c.asRepository(ctx, repoID, func(who account) error {
		r := &reader{client: c, who: who, repoID: repoID}
		content, ok, err = r.file(ctx, sha, segments, limit)
		return err
	})
	if err != nil {
		return nil, false, c.explainGone(ctx, repoID, sha, err)
	}
	return content, ok, nil
}

// file reads the file at segments.
func (r *reader) file(ctx context.Context, sha string, segments []string, limit int) ([]byte, bool, error) {
	last := len(segments) - 1
	dir, err := r.find(ctx, sha, segments[:last])
	if err != nil || dir == "" {
		return nil, false, err
	}
	tree, err := r.tree(ctx, dir, false)
	if err != nil {
		return nil, false, err
	}
	for _, e := range tree.Entries {
		if e.GetPath() != segments[last] || e.GetType() != "blob" || (e.GetMode() != "100644" && e.GetMode() != "100755") {
			continue
		}
		if e.GetSize() > limit {
			return nil, false, mayfly.Errorf(mayfly.CodeTooLarge, "%s has %d bytes, more than the %d that Mayfly reads", segments[last], e.GetSize(), limit)
		}
		content, err := r.blob(ctx, e.GetSHA())
		return content, err == nil, err
	}
	if tree.GetTruncated() {
		return nil, false, tooManyFiles("")
	}
	return nil, false, nil
}
