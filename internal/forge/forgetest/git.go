package forgetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

// gitRepository is a bare repository on disk. Reads run at any time; writes take turns, because removing unreachable
// objects must not meet a commit that is not referenced yet.
type gitRepository struct {
	dir string
	now func() time.Time

	mu    sync.Mutex // held by whoever writes
	count int        // of temporary index files

	known sync.Map // commits that were seen, by id: they stay until forget
}

func initGit(ctx context.Context, dir string, now func() time.Time) (*gitRepository, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the directory of a repository: %w", err)
	}
	g := &gitRepository{dir: dir, now: now}
	if _, err := g.run(ctx, nil, "", "init", "--quiet", "--bare", "--initial-branch=main", "."); err != nil {
		return nil, err
	}
	return g, nil
}

// errNoObject is returned when Git does not find what was asked for.
var errNoObject = errors.New("no such object")

// run runs git with args and returns its output. env is added to an environment that has nothing of the user's.
func (g *gitRepository) run(ctx context.Context, env []string, stdin string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = g.dir
	cmd.Stdin = strings.NewReader(stdin)
	stamp := strconv.FormatInt(g.now().Unix(), 10) + " +0000"
	cmd.Env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + g.dir, "LC_ALL=C", "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + os.DevNull,
		"GIT_TERMINAL_PROMPT=0",
		"GIT_AUTHOR_NAME=Developer", "GIT_AUTHOR_EMAIL=dev@example.com", "GIT_AUTHOR_DATE=" + stamp,
		"GIT_COMMITTER_NAME=Developer", "GIT_COMMITTER_EMAIL=dev@example.com", "GIT_COMMITTER_DATE=" + stamp,
	}, env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// line runs git and returns its output without the line end.
func (g *gitRepository) line(ctx context.Context, args ...string) (string, error) {
	out, err := g.run(ctx, nil, "", args...)
	return strings.TrimSpace(out), err
}

// resolve returns the commit that ref points at, or "" if there is no such ref.
func (g *gitRepository) resolve(ctx context.Context, ref string) string {
	// Starting git takes longer than everything else here, and this is asked all the time: a branch that is a file of its own is read.
	// After somebody packed the branches, git is asked.
	if strings.HasPrefix(ref, "refs/") && filepath.IsLocal(ref) {
		if text, err := os.ReadFile(filepath.Join(g.dir, ref)); err == nil && sha.MatchString(strings.TrimSpace(string(text))) {
			return strings.TrimSpace(string(text))
		}
	}
	if _, ok := g.known.Load(ref); ok {
		return ref
	}
	found := g.resolveByGit(ctx, ref)
	if found == ref {
		g.known.Store(ref, true)
	}
	return found
}

func (g *gitRepository) resolveByGit(ctx context.Context, ref string) string {
	sha, err := g.line(ctx, "rev-parse", "--verify", "--quiet", ref+"^{commit}")
	if err != nil {
		return ""
	}
	return sha
}

// edit is a change to make in one commit.
type edit struct {
	write    map[string]string
	symlinks map[string]string
	remove   []string
}

// commit makes a commit with the change on top of parent ("" for none), and points ref at it.
func (g *gitRepository) commit(ctx context.Context, ref, parent string, change edit, message string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var stream strings.Builder
	fmt.Fprintf(&stream, "commit %s\nmark :1\ncommitter Developer <dev@example.com> %d +0000\ndata %d\n%s\n\n", ref, g.now().Unix(), len(message)+1, message)
	if parent != "" {
		fmt.Fprintf(&stream, "from %s\n", parent)
	}
	for _, path := range change.remove {
		fmt.Fprintf(&stream, "D %s\n", quotePath(path))
	}
	for mode, files := range map[string]map[string]string{"100644": change.write, "120000": change.symlinks} {
		for path, content := range files {
			fmt.Fprintf(&stream, "M %s inline %s\ndata %d\n%s\n", mode, quotePath(path), len(content), content)
		}
	}
	stream.WriteString("get-mark :1\n")
	// The limit keeps git from packing what it reads: forget removes single objects.
	out, err := g.run(ctx, nil, stream.String(), "-c", "fastimport.unpackLimit=1000000", "fast-import", "--quiet", "--force")
	return strings.TrimSpace(out), err
}

// quotePath writes a path as fast-import reads it.
func quotePath(path string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(path) + `"`
}

// withIndex gives f an index of its own.
func (g *gitRepository) withIndex(f func(env []string) (string, error)) (string, error) {
	g.count++
	index := filepath.Join(g.dir, fmt.Sprintf("index.%d", g.count))
	defer func() { _ = os.Remove(index) }()
	return f([]string{"GIT_INDEX_FILE=" + index})
}

// commitIndex makes a commit of the index and points ref at it.
func (g *gitRepository) commitIndex(ctx context.Context, env []string, ref, message string, parents ...string) (string, error) {
	tree, err := g.run(ctx, env, "", "write-tree")
	if err != nil {
		return "", err
	}
	args := []string{"commit-tree", strings.TrimSpace(tree), "-F", "-"}
	for _, parent := range parents {
		if parent != "" {
			args = append(args, "-p", parent)
		}
	}
	out, err := g.run(ctx, nil, message+"\n", args...)
	if err != nil {
		return "", err
	}
	sha := strings.TrimSpace(out)
	_, err = g.run(ctx, nil, "", "update-ref", ref, sha)
	return sha, err
}

// merge merges head into the branch and returns the merge commit. Files changed on both sides are a conflict.
func (g *gitRepository) merge(ctx context.Context, branch, head, message string) (string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	ours := g.resolve(ctx, branch)
	base, err := g.line(ctx, "merge-base", ours, head)
	if err != nil {
		return "", err
	}
	return g.withIndex(func(env []string) (string, error) {
		if _, err := g.run(ctx, env, "", "read-tree", "-i", "-m", "--aggressive", base, ours, head); err != nil {
			return "", err
		}
		return g.commitIndex(ctx, env, branch, message, ours, head)
	})
}

// forget removes refs, and every object that nothing refers to any more.
func (g *gitRepository) forget(ctx context.Context, refs ...string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	defer g.known.Clear()
	for _, ref := range refs {
		if _, err := g.run(ctx, nil, "", "update-ref", "-d", ref); err != nil {
			return err
		}
	}
	_, err := g.run(ctx, nil, "", "prune", "--expire=now")
	return err
}

// treeLine is one line of git ls-tree.
type treeLine struct {
	mode, kind, sha, path string
	size                  int64 // of blobs; -1 otherwise
}

// tree lists the tree of sha, which may be a commit or a tree, and returns the id of the tree itself.
func (g *gitRepository) tree(ctx context.Context, sha string, recursive bool) (string, []treeLine, error) {
	id, err := g.line(ctx, "rev-parse", "--verify", "--quiet", sha+"^{tree}")
	if err != nil {
		return "", nil, errNoObject
	}
	args := []string{"ls-tree", "-z", "-l"}
	if recursive {
		args = append(args, "-r", "-t")
	}
	out, err := g.run(ctx, nil, "", append(args, id)...)
	if err != nil {
		return "", nil, err
	}
	var lines []treeLine
	for record := range strings.SplitSeq(strings.TrimSuffix(out, "\x00"), "\x00") {
		if record == "" {
			continue
		}
		meta, path, _ := strings.Cut(record, "\t")
		fields := strings.Fields(meta)
		if len(fields) != 4 {
			return "", nil, fmt.Errorf("git ls-tree said %q", record)
		}
		size, err := strconv.ParseInt(fields[3], 10, 64)
		if err != nil {
			size = -1
		}
		lines = append(lines, treeLine{mode: fields[0], kind: fields[1], sha: fields[2], path: path, size: size})
	}
	return id, lines, nil
}

// blob returns the content of a blob.
func (g *gitRepository) blob(ctx context.Context, sha string) (string, error) {
	kind, err := g.line(ctx, "cat-file", "-t", sha)
	if err != nil || kind != "blob" {
		return "", errNoObject
	}
	return g.run(ctx, nil, "", "cat-file", "blob", sha)
}
