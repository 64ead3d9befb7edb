package auth

import (
	"errors"
	"slices"

	mayfly "github.com/mayflydb/mayfly"
)

// Limit bounds a token to one preview, which need not exist yet. A name can be given to another preview later; what is behind a
// pull request's name is the repository.
type Limit struct {
	Name string `json:"name"`
	// RepositoryID is that of the pull request, 0 for a sandbox.
	RepositoryID int64 `json:"repository_id,omitempty"`
}

// Covers reports whether the preview is the one.
func (l *Limit) Covers(p *mayfly.Preview) bool {
	if p.PR == nil {
		return p.Name == l.Name && l.RepositoryID == 0
	}
	return p.Name == l.Name && l.RepositoryID == p.PR.RepositoryID
}

// AllowsOn reports whether the token has the scope for the preview.
func (t *Token) AllowsOn(scope Scope, p *mayfly.Preview) bool {
	if t.Limit == nil {
		return t.Allows(scope, p.Project)
	}
	return t.Limit.Covers(p) && slices.Contains(t.Projects, p.Project) && slices.Contains(t.Scopes, scope)
}

// AllowsNamed reports whether the token has the scope for a preview that has, or will have, this name in a project.
func (t *Token) AllowsNamed(scope Scope, project, name string) bool {
	if t.Limit == nil {
		return t.Allows(scope, project)
	}
	return t.Limit.Name == name && slices.Contains(t.Projects, project) && slices.Contains(t.Scopes, scope)
}

// checkLimit refuses a limited token that could do more by another claim: it has a project, and scopes that only read.
func (t *Token) checkLimit() error {
	readOnly := func(s Scope) bool { return s == ScopePreviewsRead || s == ScopeCredentialsRead }
	if t.Limit.Name == "" || len(t.Projects) != 1 || len(t.Grants) > 0 || t.Session != "" ||
		slices.ContainsFunc(t.Scopes, func(s Scope) bool { return !readOnly(s) }) {
		return errors.New("a token that is limited to a preview reads that preview and does nothing else")
	}
	return nil
}
