package forgetest

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// PROptions are what a pull request may have besides branches and a title. The zero value is a pull request by "dev"
// from the repository itself.
type PROptions struct {
	// Fork is the owner of the fork that the head branch is in, or "".
	Fork   string
	Author string
	Body   string
	Draft  bool
	Labels []string
}

// PR is a pull request. Its fields are guarded by the server's lock.
type PR struct {
	repo    *Repo
	number  int
	title   string
	body    string
	author  string
	draft   bool
	labels  []string
	head    string // branch
	base    string // branch
	fork    string // owner, or ""
	forkID  int64
	headRef string // where the head is in our Git repository

	open     bool
	merged   bool
	headGone bool // its repository too, if it is a fork
	headSHA  string
	baseSHA  string
	mergeSHA string
	created  time.Time
	updated  time.Time
	closed   time.Time
}

// OpenPullRequest opens a pull request for the branch head, which must exist (CommitFork makes one in a fork).
func (r *Repo) OpenPullRequest(ctx context.Context, head, base, title string, o PROptions) (*PR, error) {
	p := &PR{
		repo: r, title: title, body: o.Body, author: o.Author, draft: o.Draft, labels: o.Labels,
		head: head, base: base, fork: o.Fork, headRef: headRef(o.Fork, head), open: true,
		created: r.server.now(), updated: r.server.now(),
	}
	if p.author == "" {
		p.author = "dev"
	}
	if p.baseSHA = r.git.resolve(ctx, "refs/heads/"+base); p.baseSHA == "" {
		return nil, fmt.Errorf("there is no branch %s", base)
	}
	if p.headSHA = r.git.resolve(ctx, p.headRef); p.headSHA == "" {
		return nil, fmt.Errorf("there is no branch %s", head)
	}
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.lastPull++
	p.number = r.lastPull
	if p.fork != "" {
		p.forkID = r.server.nextID()
	}
	r.pulls[p.number] = p
	return p, nil
}

// headRef is where the branch of a fork is kept. GitHub too has the objects of forks and their parent in one place.
func headRef(fork, branch string) string {
	if fork == "" {
		return "refs/heads/" + branch
	}
	return "refs/forks/" + fork + "/" + branch
}

// CommitFork commits files to a branch of a fork of the repository, and returns the commit.
func (r *Repo) CommitFork(ctx context.Context, owner, branch string, files map[string]string, message string) (string, error) {
	ref := headRef(owner, branch)
	parent := r.git.resolve(ctx, ref)
	if parent == "" {
		parent = r.git.resolve(ctx, "refs/heads/main")
	}
	return r.git.commit(ctx, ref, parent, edit{write: files}, message)
}

// Number returns the pull request's number.
func (p *PR) Number() int { return p.number }

// Repo returns the repository that it is in.
func (p *PR) Repo() *Repo { return p.repo }

// HeadSHA returns the commit at its head.
func (p *PR) HeadSHA(ctx context.Context) string {
	p.refresh(ctx)
	p.repo.server.mu.Lock()
	defer p.repo.server.mu.Unlock()
	return p.headSHA
}

// refresh follows the branches: somebody may have pushed to them with git.
func (p *PR) refresh(ctx context.Context) {
	head, base := p.repo.git.resolve(ctx, p.headRef), p.repo.git.resolve(ctx, "refs/heads/"+p.base)
	p.repo.server.mu.Lock()
	defer p.repo.server.mu.Unlock()
	if !p.open {
		return
	}
	if head != "" && head != p.headSHA {
		p.headSHA, p.updated = head, p.repo.server.now()
	}
	if base != "" {
		p.baseSHA = base
	}
}

// Push commits files to the head branch and returns the new head.
func (p *PR) Push(ctx context.Context, files map[string]string) (string, error) {
	return p.push(ctx, p.repo.git.resolve(ctx, p.headRef), files)
}

// ForcePush replaces the head branch with one commit of files on top of the base, and returns the new head.
func (p *PR) ForcePush(ctx context.Context, files map[string]string) (string, error) {
	return p.push(ctx, p.repo.git.resolve(ctx, "refs/heads/"+p.base), files)
}

func (p *PR) push(ctx context.Context, parent string, files map[string]string) (string, error) {
	sha, err := p.repo.git.commit(ctx, p.headRef, parent, edit{write: files}, "Change "+p.head)
	if err != nil {
		return "", err
	}
	p.refresh(ctx)
	return sha, nil
}

// Close closes the pull request, after merging it into its base if merged.
func (p *PR) Close(ctx context.Context, merged bool) error {
	p.refresh(ctx)
	var merge string
	if merged {
		var err error
		message := fmt.Sprintf("Merge pull request #%d from %s", p.number, p.head)
		if merge, err = p.repo.git.merge(ctx, "refs/heads/"+p.base, p.headSHA, message); err != nil {
			return fmt.Errorf("merge pull request %d: %w", p.number, err)
		}
	}
	p.repo.server.mu.Lock()
	defer p.repo.server.mu.Unlock()
	if !p.open {
		return errors.New("the pull request is closed already")
	}
	p.open, p.merged, p.mergeSHA = false, merged, merge
	p.closed, p.updated = p.repo.server.now(), p.repo.server.now()
	return nil
}

// Reopen opens a closed pull request again.
func (p *PR) Reopen(ctx context.Context) error {
	p.repo.server.mu.Lock()
	if p.open || p.merged {
		p.repo.server.mu.Unlock()
		return errors.New("only a pull request that was closed without merging can be reopened")
	}
	p.open, p.closed, p.updated = true, time.Time{}, p.repo.server.now()
	p.repo.server.mu.Unlock()
	p.refresh(ctx)
	return nil
}

// DeleteHead removes the head branch (and the fork, if it is in one) and the commits that only it had. The pull request
// stays open: for a while GitHub says so, too.
func (p *PR) DeleteHead(ctx context.Context) error {
	p.refresh(ctx)
	if err := p.repo.git.forget(ctx, p.headRef); err != nil {
		return err
	}
	p.repo.server.mu.Lock()
	defer p.repo.server.mu.Unlock()
	p.headGone = true
	return nil
}

// Comments returns the pull request's comments, oldest first.
func (p *PR) Comments() []Comment {
	var mine []Comment
	for _, c := range p.repo.Comments() {
		if c.Number == p.number {
			mine = append(mine, c)
		}
	}
	return mine
}
