package client

import (
	"context"
	"io"
	"iter"
	"net/http"
	"net/url"
	"time"
)

// Self returns who the token belongs to, and what it allows.
func (c *Client) Self(ctx context.Context) (*Self, error) {
	var self Self
	return &self, c.call(ctx, http.MethodGet, "/auth/self", nil, nil, &self)
}

// Tokens lists the access tokens that were used or made through the API and have not expired, newest first.
func (c *Client) Tokens(ctx context.Context) ([]TokenInfo, error) {
	var list TokenList
	err := c.call(ctx, http.MethodGet, "/tokens", nil, nil, &list)
	return list.Items, err
}

// CreateToken makes an access token. It can do no more than the one that asks for it.
func (c *Client) CreateToken(ctx context.Context, r CreateToken) (*CreatedToken, error) {
	var created CreatedToken
	return &created, c.call(ctx, http.MethodPost, "/tokens", nil, r, &created)
}

// AuditOptions select entries of the audit log; zero fields select all.
type AuditOptions struct {
	// Action is one, such as preview.delete, or all of a kind, such as preview.
	Project, Actor, Action, Outcome, Name, Object, Token string
	Since, Until                                         time.Time
}

func (o AuditOptions) query() url.Values {
	q := url.Values{}
	for key, value := range map[string]string{
		"project": o.Project, "actor": o.Actor, "action": o.Action, "outcome": o.Outcome, "name": o.Name, "object": o.Object, "token": o.Token,
	} {
		if value != "" {
			q.Set(key, value)
		}
	}
	for key, at := range map[string]time.Time{"since": o.Since, "until": o.Until} {
		if !at.IsZero() {
			q.Set(key, at.UTC().Format(time.RFC3339))
		}
	}
	return q
}

// Audit walks through the audit log, newest first.
func (c *Client) Audit(ctx context.Context, o AuditOptions) iter.Seq2[AuditEntry, error] {
	return pages("", func(before string) ([]AuditEntry, string, error) {
		q := o.query()
		if before != "" {
			q.Set("before", before)
		}
		var list AuditList
		err := c.call(ctx, http.MethodGet, "/audit", q, nil, &list)
		return list.Items, list.Next, err
	})
}

// ExportAudit returns the audit log, newest first, as JSON lines ("jsonl") or "csv". The caller closes it.
func (c *Client) ExportAudit(ctx context.Context, o AuditOptions, format string) (io.ReadCloser, error) {
	q := o.query()
	q.Set("format", format)
	response, err := c.request(ctx, http.MethodGet, "/audit", q, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// Providers lists the ways to sign in. It needs no token.
func (c *Client) Providers(ctx context.Context) ([]Provider, error) {
	var list ProviderList
	err := c.call(ctx, http.MethodGet, "/auth/providers", nil, nil, &list)
	return list.Items, err
}

// StartDevice begins to sign in with GitHub: somebody is to enter a code in a browser. It needs no token.
func (c *Client) StartDevice(ctx context.Context, r StartDevice) (*Device, error) {
	var device Device
	return &device, c.call(ctx, http.MethodPost, "/auth/device", nil, r, &device)
}

// PollDevice asks whether the code was entered. It needs no token.
func (c *Client) PollDevice(ctx context.Context, r PollDevice) (*SignedIn, error) {
	var signed SignedIn
	return &signed, c.call(ctx, http.MethodPost, "/auth/device/token", nil, r, &signed)
}

// SignInOIDC signs in with an ID token. It needs no token of this server.
func (c *Client) SignInOIDC(ctx context.Context, r SignInOIDC) (*SignedIn, error) {
	var signed SignedIn
	return &signed, c.call(ctx, http.MethodPost, "/auth/oidc", nil, r, &signed)
}

// RefreshSession returns the next access token, and the next refresh token: the old one is good for nothing then.
func (c *Client) RefreshSession(ctx context.Context, r Refresh) (*SignedIn, error) {
	var signed SignedIn
	return &signed, c.call(ctx, http.MethodPost, "/auth/refresh", nil, r, &signed)
}

// SignOut ends a session: its tokens are good for nothing any more.
func (c *Client) SignOut(ctx context.Context, r SignOut) error {
	var ended SignedIn
	return c.call(ctx, http.MethodPost, "/auth/logout", nil, r, &ended)
}

// LoginCredentials returns how to connect with a login of your own: "personal" or "read-only". CodeNotFound if you have made none.
func (c *Client) LoginCredentials(ctx context.Context, preview, role string) (*Credentials, error) {
	var credentials Credentials
	return &credentials, c.call(ctx, http.MethodGet, previewPath(preview, "/credentials"), url.Values{"role": {role}}, nil, &credentials)
}

// CreateCredentials makes a login of your own, or gives it a new password.
func (c *Client) CreateCredentials(ctx context.Context, preview string, r CreateCredentials) (*Credentials, error) {
	var credentials Credentials
	return &credentials, c.call(ctx, http.MethodPost, previewPath(preview, "/credentials"), nil, r, &credentials)
}

// Logins lists the logins of a preview besides the owner's.
func (c *Client) Logins(ctx context.Context, preview string) ([]Login, error) {
	var list LoginList
	err := c.call(ctx, http.MethodGet, previewPath(preview, "/logins"), nil, nil, &list)
	return list.Items, err
}

// RevokeLogin takes a login away.
func (c *Client) RevokeLogin(ctx context.Context, preview, role string) (*Login, error) {
	var login Login
	return &login, c.call(ctx, http.MethodDelete, previewPath(preview, "/logins/"+url.PathEscape(role)), nil, nil, &login)
}
