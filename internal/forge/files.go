package forge

import (
	"bytes"
	"context"
	"crypto/sha1" //nolint:gosec // the id of an object in Git is its SHA-1
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strings"
	"unicode"

	"github.com/google/go-github/v60/github"
	"golang.org/x/sync/errgroup"

	"github.com/mayflydb/mayfly"
)

// File is one file of a repository at one commit.
type File struct {
	Path    string // in the repository, with '/', for example "db/migrations/001_init.up.sql"
	SHA     string // of the blob
	Content []byte
}

// Limits bound what Files reads.
type Limits struct {
	Files      int   // in one directory with its subdirectories; default 10,000
	FileBytes  int64 // default 16 MiB
	TotalBytes int64 // default 64 MiB
}

func (l Limits) withDefaults() Limits {
	if l.Files <= 0 {
		l.Files = 10_000
	}
	if l.FileBytes <= 0 {
		l.FileBytes = 16 << 20
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = 64 << 20
	}
	return l
}

// parallelBlobs is how many files are read at once. GitHub asks to make requests one at a time and limits 100.
const parallelBlobs = 4

// shaPattern is a full object id: SHA-1, or SHA-256. Anything else that the API takes (a branch, an abbreviation) is not
// one commit forever.
var shaPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// Files reads the regular files in dir ("" is the root) and its subdirectories at the commit sha, in the order of their
// paths. Symbolic links and submodules are left out: what they point at is not part of the commit's directory. A
// directory that is not there has no files. CodeHeadGone if the commit does not exist, CodeTooLarge beyond the limits.
//
// Directories and blobs never change under their ids, so they are cached; reading the same commit again, or the next one
// of the same pull request, costs a few requests or none.
func (c *Client) Files(ctx context.Context, repoID int64, sha, dir string) ([]File, error) {
	if !shaPattern.MatchString(sha) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a commit id", sha)
	}
	segments, err := split(dir)
	if err != nil {
		return nil, err
	}
	var files []File
	err = c.asRepository(ctx, repoID, func(who account) error {
		r := &reader{client: c, who: who, repoID: repoID}
		var err error
		files, err = r.files(ctx, sha, segments)
		return err
	})
	if err != nil {
		return nil, c.explainGone(ctx, repoID, sha, err)
	}
	return files, nil
}

// split checks dir and returns its segments.
func split(dir string) ([]string, error) {
	dir = strings.TrimSuffix(dir, "/")
	if dir == "" || dir == "." {
		return nil, nil
	}
	if path.IsAbs(dir) || path.Clean(dir) != dir || dir == ".." || strings.HasPrefix(dir, "../") ||
		strings.ContainsFunc(dir, func(r rune) bool { return r == '\\' || unicode.IsControl(r) }) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a directory in a repository", dir).
			WithHint("write it from the root of the repository, without '..' and a leading '/': for example db/migrations")
	}
	return strings.Split(dir, "/"), nil
}

// explainGone decides what a missing object means: GitHub answers 404 for a missing commit, and for a repository that is
// gone or invisible.
func (c *Client) explainGone(ctx context.Context, repoID int64, sha string, err error) error {
	if mayfly.ErrorCode(err) != mayfly.CodeInternal {
		return err
	}
	if !errors.Is(err, errNotFound) && !errors.Is(err, errUnprocessable) && !errors.Is(err, errEmptyRepository) {
		return fmt.Errorf("read files of repository %d at %s: %w", repoID, sha, err)
	}
	if _, repoErr := c.RepositoryByID(ctx, repoID); repoErr != nil {
		return repoErr
	}
	return headGone(sha, err)
}

func headGone(sha string, err error) error {
	gone := mayfly.Errorf(mayfly.CodeHeadGone, "commit %s is no longer in the repository", short(sha)).
		WithHint("push the branch again; Mayfly looks again at the next push")
	gone.Err = err
	return gone
}

// reader reads one commit.
type reader struct {
	client *Client
	who    account
	repoID int64
}

// entry is a file found in a tree.
type entry struct {
	path, sha string
	size      int64
}

// find returns the id of the tree at segments below the commit, or "" if there is none. It goes down one level at a
// time: the tree of a whole repository may be too large for GitHub to list, one directory hardly ever is.
func (r *reader) find(ctx context.Context, sha string, segments []string) (string, error) {
	if len(segments) == 0 {
		return sha, nil // the API takes a commit's id for that of its tree
	}
	next := sha
	for i, segment := range segments {
		tree, err := r.tree(ctx, next, false)
		if err != nil {
			return "", err
		}
		next = ""
		for _, e := range tree.Entries {
			if e.GetPath() != segment {
				continue
			}
			if e.GetType() != "tree" {
				return "", mayfly.Errorf(mayfly.CodeInvalid, "%s is not a directory at %s", strings.Join(segments[:i+1], "/"), short(sha)).
					WithHint("make it a directory, or correct the path in the project's configuration")
			}
			next = e.GetSHA()
		}
		if next == "" {
			if tree.GetTruncated() {
				return "", tooManyFiles(strings.Join(segments[:i], "/"))
			}
			return "", nil
		}
	}
	return next, nil
}

// walk lists the regular files below the tree, with paths that start with prefix.
func (r *reader) walk(ctx context.Context, sha, prefix string) ([]entry, error) {
	tree, err := r.tree(ctx, sha, true)
	if err != nil {
		return nil, err
	}
	recursive := !tree.GetTruncated()
	if !recursive { // too much for one answer: level by level
		if tree, err = r.tree(ctx, sha, false); err != nil {
			return nil, err
		}
		if tree.GetTruncated() {
			return nil, tooManyFiles(prefix)
		}
	}
	var found []entry
	for _, e := range tree.Entries {
		name := e.GetPath()
		if !safeName(name) || !shaPattern.MatchString(e.GetSHA()) {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "the directory %q has an entry with the name %q", prefix, name)
		}
		full := path.Join(prefix, name)
		switch mode := e.GetMode(); {
		case e.GetType() == "blob" && (mode == "100644" || mode == "100755"):
			found = append(found, entry{path: full, sha: e.GetSHA(), size: int64(e.GetSize())})
		case e.GetType() == "tree" && !recursive:
			below, err := r.walk(ctx, e.GetSHA(), full)
			if err != nil {
				return nil, err
			}
			found = append(found, below...)
		}
		if len(found) > r.client.limits.Files {
			return nil, tooManyFiles(prefix)
		}
	}
	return found, nil
}

// safeName reports whether name is a relative path that stays where it is. Git refuses to make others; an API may not.
func safeName(name string) bool {
	return name != "" && !path.IsAbs(name) && path.Clean(name) == name && name != "." && name != ".." &&
		!strings.HasPrefix(name, "../") && !strings.ContainsRune(name, 0)
}

func tooManyFiles(dir string) error {
	if dir == "" {
		dir = "the repository"
	}
	return mayfly.Errorf(mayfly.CodeTooLarge, "%s has too many files to read", dir).
		WithHint("set the project's migrations path to a directory that holds migrations only")
}

// tree reads one tree.
func (r *reader) tree(ctx context.Context, sha string, recursive bool) (*github.Tree, error) {
	key, query := "tree "+sha, ""
	if recursive {
		key, query = "trees "+sha, "?recursive=1"
	}
	in := call{method: http.MethodGet, path: fmt.Sprintf("repositories/%d/git/trees/%s%s", r.repoID, sha, query)}
	body, ok := r.client.objects.get(r.repoKey(key))
	if !ok {
		out, err := r.client.do(ctx, r.who, in)
		if err != nil {
			return nil, err
		}
		body = out.body
	}
	tree := new(github.Tree)
	if err := json.Unmarshal(body, tree); err != nil {
		return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's answer to %s cannot be read: %w", in.path, err)
	}
	if !ok {
		r.client.objects.put(r.repoKey(key), body)
	}
	return tree, nil
}

// repoKey keeps the caches of repositories apart: that somebody knows the id of an object must not be enough to read it
// out of another repository.
func (r *reader) repoKey(key string) string { return fmt.Sprintf("%d %s", r.repoID, key) }

// read reads the blobs of all entries, a few at a time.
func (r *reader) read(ctx context.Context, entries []entry) ([]File, error) {
	limits := r.client.limits
	var total int64
	for _, e := range entries {
		total += e.size
		if e.size > limits.FileBytes {
			return nil, mayfly.Errorf(mayfly.CodeTooLarge, "%s has %d bytes, more than the %d that Mayfly reads", e.path, e.size, limits.FileBytes)
		}
	}
	if total > limits.TotalBytes {
		return nil, mayfly.Errorf(mayfly.CodeTooLarge, "the directory's files have %d bytes, more than the %d that Mayfly reads", total, limits.TotalBytes).
			WithHint("set the project's migrations path to a directory that holds migrations only")
	}
	files := make([]File, len(entries))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(parallelBlobs)
	for i, e := range entries {
		group.Go(func() error {
			content, err := r.blob(ctx, e.sha)
			if err != nil {
				return fmt.Errorf("read %s: %w", e.path, err)
			}
			files[i] = File{Path: e.path, SHA: e.sha, Content: content}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return files, nil
}

// blob reads one blob, and checks that it is the one asked for.
func (r *reader) blob(ctx context.Context, sha string) ([]byte, error) {
	key := r.repoKey("blob " + sha)
	if content, ok := r.client.objects.get(key); ok {
		return content, nil
	}
	out, err := r.client.do(ctx, r.who, call{
		method: http.MethodGet, path: fmt.Sprintf("repositories/%d/git/blobs/%s", r.repoID, sha),
		accept: "application/vnd.github.raw+json",
	})
	if err != nil {
		return nil, err
	}
	if blobID(len(sha), out.body) != sha {
		return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub sent other content than blob %s", short(sha)).
			WithHint("a proxy between Mayfly and GitHub may change answers; Mayfly tries again")
	}
	r.client.objects.put(key, out.body)
	return bytes.Clone(out.body), nil
}

// blobID returns the id that Git gives to content, in hexadecimal digits.
func blobID(digits int, content []byte) string {
	h := sha1.New() //nolint:gosec // see the import
	if digits == hex.EncodedLen(sha256.Size) {
		h = sha256.New()
	}
	_, _ = fmt.Fprintf(h, "blob %d\x00", len(content))
	_, _ = h.Write(content)
	return hex.EncodeToString(h.Sum(nil))
}

// short returns the first digits of a commit's id, as Git shows it.
func short(sha string) string {
	if len(sha) > 7 {
		return sha[:7]
	}
	return sha
}
