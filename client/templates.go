package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	mayfly "github.com/mayflydb/mayfly"
)

// Projects lists the projects that the token may see.
func (c *Client) Projects(ctx context.Context) ([]Project, error) {
	var list ProjectList
	err := c.call(ctx, http.MethodGet, "/projects", nil, nil, &list)
	return list.Items, err
}

// RevokeToken makes the access token with that id invalid.
func (c *Client) RevokeToken(ctx context.Context, id string) error {
	var revoked RevokedToken
	return c.call(ctx, http.MethodPost, "/tokens/"+url.PathEscape(id)+"/revoke", nil, nil, &revoked)
}

// TemplateOptions select and sort templates; zero fields select all, oldest first.
type TemplateOptions struct {
	State string
	// Descending begins with the newest.
	Descending bool
	// After is TemplateList.Next of the page before; Limit the size of a page.
	After string
	Limit int
}

// ListTemplates returns one page of the templates of a project.
func (c *Client) ListTemplates(ctx context.Context, project string, o TemplateOptions) (*TemplateList, error) {
	q := url.Values{}
	for key, value := range map[string]string{"state": o.State, "after": o.After} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if o.Descending {
		q.Set("order", "desc")
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	var list TemplateList
	return &list, c.call(ctx, http.MethodGet, "/projects/"+url.PathEscape(project)+"/templates", q, nil, &list)
}

// Templates lists all templates of a project, oldest first.
func (c *Client) Templates(ctx context.Context, project string) ([]Template, error) {
	var o TemplateOptions
	return all(pages("", func(after string) ([]Template, string, error) {
		o.After = after
		list, err := c.ListTemplates(ctx, project, o)
		return list.Items, list.Next, err
	}))
}

// BuildTemplate asks for a new template of a project and returns at once.
func (c *Client) BuildTemplate(ctx context.Context, project string) (*Template, error) {
	var t Template
	return &t, c.call(ctx, http.MethodPost, "/projects/"+url.PathEscape(project)+"/templates", nil, nil, &t)
}

// CancelBuild asks for a template's build to be stopped and returns at once; FollowTemplate tells when it has.
func (c *Client) CancelBuild(ctx context.Context, id, reason string) (*Template, error) {
	var t Template
	return &t, c.call(ctx, http.MethodPost, "/templates/"+url.PathEscape(id)+"/cancel", nil, Reason{Reason: reason}, &t)
}

// RollBackTemplates makes an older template of a project the one that new previews use.
func (c *Client) RollBackTemplates(ctx context.Context, project string, r RollBack) (*RolledBack, error) {
	var out RolledBack
	return &out, c.call(ctx, http.MethodPost, "/projects/"+url.PathEscape(project)+"/templates/rollback", nil, r, &out)
}

// RemoveTemplate deletes a template that no preview uses; the current one only with force.
func (c *Client) RemoveTemplate(ctx context.Context, id string, force bool) (*Template, error) {
	query := url.Values{}
	if force {
		query.Set("force", "true")
	}
	var t Template
	return &t, c.call(ctx, http.MethodDelete, "/templates/"+url.PathEscape(id), query, nil, &t)
}

// Template returns a template with its timeline and its report.
func (c *Client) Template(ctx context.Context, id string) (*Template, error) {
	var t Template
	return &t, c.call(ctx, http.MethodGet, "/templates/"+url.PathEscape(id), nil, nil, &t)
}

// Attestation returns the signed statement about a template.
func (c *Client) Attestation(ctx context.Context, id string) (*Attestation, error) {
	var out Attestation
	return &out, c.call(ctx, http.MethodGet, "/templates/"+url.PathEscape(id)+"/attestation", nil, nil, &out)
}

// AttestationKey returns the public key that checks attestations, as the server knows it.
func (c *Client) AttestationKey(ctx context.Context) (*AttestationKey, error) {
	var out AttestationKey
	return &out, c.call(ctx, http.MethodGet, "/attestation-key", nil, nil, &out)
}

// RescanTemplate scans a template again for originals of its source, and waits until that is done.
func (c *Client) RescanTemplate(ctx context.Context, id string) (*Rescan, error) {
	var out Rescan
	return &out, c.call(ctx, http.MethodPost, "/templates/"+url.PathEscape(id)+"/rescan", nil, nil, &out)
}

// FollowTemplate calls fn with the template now and after every change, until fn returns false, the build has ended, or ctx ends.
// A connection that breaks is made again, which calls fn again too.
func (c *Client) FollowTemplate(ctx context.Context, id string, fn func(*Template) bool) error {
	return follow(ctx, c, "/templates/"+url.PathEscape(id)+"/events", "template", func(t *Template) bool {
		return fn(t) && t.State == string(mayfly.TemplateBuilding)
	})
}
