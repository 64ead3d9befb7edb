package forgetest

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"
)

// Repo is a repository on the server. Its fields are guarded by the server's lock.
type Repo struct {
	server  *Server
	git     *gitRepository
	id      int64
	owner   string
	name    string
	created time.Time
	private bool

	archived bool
	hidden   bool
	lastPull int
	pulls    map[int]*PR
	comments map[int64]*Comment
	statuses map[string][]Status

	checks      map[int64]*CheckRun
	deployments map[int64]*Deployment
	roles       map[string]string    // of people, by lower-case login
	reactions   map[int64][]Reaction // to comments
}

// Comment is a comment on a pull request.
type Comment struct {
	ID        int64
	Number    int
	Author    string
	Body      string
	CreatedAt time.Time
	UpdatedAt time.Time

	bot bool
}

// Status is a commit status.
type Status struct {
	ID          int64
	State       string
	Context     string
	Description string
	TargetURL   string
	CreatedAt   time.Time
	Creator     string
}

// ID returns the repository's id, which never changes.
func (r *Repo) ID() int64 { return r.id }

// Dir returns the directory of the bare repository: git can clone from it and push to it.
func (r *Repo) Dir() string { return r.git.dir }

// FullName returns "owner/name".
func (r *Repo) FullName() string {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return r.owner + "/" + r.name
}

// Rename gives the repository another "owner/name". The old one is redirected.
func (r *Repo) Rename(fullName string) error {
	owner, name, ok := strings.Cut(fullName, "/")
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	if _, taken := r.server.byName[strings.ToLower(fullName)]; taken || !ok {
		return fmt.Errorf("cannot rename to %q", fullName)
	}
	r.owner, r.name = owner, name
	r.server.byName[strings.ToLower(fullName)] = r.id
	r.server.installation(owner)
	return nil
}

// Archive makes the repository archived.
func (r *Repo) Archive() {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.archived = true
}

// Hide makes the server answer as if the repository did not exist, or ends that: what GitHub does when access was taken
// away or the App was uninstalled.
func (r *Repo) Hide(hidden bool) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	r.hidden = hidden
}

// visible reports whether the caller may see the repository.
func (r *Repo) visible(who caller) bool {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	id := r.server.owners[strings.ToLower(r.owner)]
	gone := who.bot && !who.app && (r.server.removed[id] || r.server.suspended[id])
	return !r.hidden && !gone && (who.owner == "" || strings.EqualFold(who.owner, r.owner))
}

// Change is what a commit does.
type Change struct {
	Write    map[string]string // path to content
	Symlinks map[string]string // path to target
	Remove   []string
}

func (c Change) edit() edit { return edit{write: c.Write, symlinks: c.Symlinks, remove: c.Remove} }

// Commit adds files to a branch and returns the commit. A branch that does not exist starts at main.
func (r *Repo) Commit(ctx context.Context, branch string, files map[string]string, message string) (string, error) {
	return r.Apply(ctx, branch, Change{Write: files}, message)
}

// Apply commits a change to a branch and returns the commit. A branch that does not exist starts at main.
func (r *Repo) Apply(ctx context.Context, branch string, change Change, message string) (string, error) {
	ref := "refs/heads/" + branch
	parent := r.git.resolve(ctx, ref)
	if parent == "" {
		parent = r.git.resolve(ctx, "refs/heads/main")
	}
	return r.git.commit(ctx, ref, parent, change.edit(), message)
}

// Head returns the commit at the tip of a branch, or "".
func (r *Repo) Head(ctx context.Context, branch string) string {
	return r.git.resolve(ctx, "refs/heads/"+branch)
}

// Comments returns all comments of all pull requests, oldest first.
func (r *Repo) Comments() []Comment {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	all := make([]Comment, 0, len(r.comments))
	for _, id := range sortedKeys(r.comments) {
		all = append(all, *r.comments[id])
	}
	return all
}

// AddComment writes a comment as a person would, and returns its id.
func (r *Repo) AddComment(number int, author, body string) int64 {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return r.addComment(number, caller{login: author}, body).ID
}

// addComment stores a comment. The caller holds the server's lock.
func (r *Repo) addComment(number int, who caller, body string) *Comment {
	now := r.server.now()
	c := &Comment{ID: r.server.nextID(), Number: number, Author: who.login, bot: who.bot, Body: body, CreatedAt: now, UpdatedAt: now}
	r.comments[c.ID] = c
	return c
}

// DeleteComment removes a comment, as a person with write access can.
func (r *Repo) DeleteComment(id int64) {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	delete(r.comments, id)
}

// Statuses returns all statuses ever set for a commit, oldest first.
func (r *Repo) Statuses(sha string) []Status {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	return append([]Status(nil), r.statuses[sha]...)
}

// PullRequests returns all pull requests by number.
func (r *Repo) PullRequests() []*PR {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	all := make([]*PR, 0, len(r.pulls))
	for _, number := range sortedKeys(r.pulls) {
		all = append(all, r.pulls[number])
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].number < all[j].number })
	return all
}

// AllStatuses returns all statuses ever set, by commit, oldest first.
func (r *Repo) AllStatuses() map[string][]Status {
	r.server.mu.Lock()
	defer r.server.mu.Unlock()
	all := map[string][]Status{}
	for sha, statuses := range r.statuses {
		all[sha] = append([]Status(nil), statuses...)
	}
	return all
}
