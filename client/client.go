package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Client talks to one Mayfly server. It is safe for concurrent use. Errors that the server answers are *mayfly.Error
// with the server's code and hint; mayfly.ErrorCode tells them apart.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// New makes a client for the server at address ("https://mayfly.example.com"), authenticating with token. httpClient may
// be nil.
func New(address, token string, httpClient *http.Client) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%q is not a server's address", address).WithHint("use something like https://mayfly.example.com")
	}
	if httpClient == nil {
		httpClient = &http.Client{}
	}
	return &Client{base: strings.TrimRight(address, "/") + "/api/v1", token: token, http: httpClient}, nil
}

// ListOptions select previews; zero fields select all.
type ListOptions struct {
	Project, Kind, State string
	// After is PreviewList.Next of the page before; Limit the size of a page.
	After string
	Limit int
}

// ListPreviews returns one page of previews, oldest first.
func (c *Client) ListPreviews(ctx context.Context, o ListOptions) (*PreviewList, error) {
	q := url.Values{}
	for key, value := range map[string]string{"project": o.Project, "kind": o.Kind, "state": o.State, "after": o.After} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	var list PreviewList
	return &list, c.call(ctx, http.MethodGet, "/previews", q, nil, &list)
}

// CreatePreview creates a sandbox and returns at once; WaitReady waits for it.
func (c *Client) CreatePreview(ctx context.Context, r CreatePreview) (*Preview, error) {
	var p Preview
	return &p, c.call(ctx, http.MethodPost, "/previews", nil, r, &p)
}

// Preview returns a preview with its timeline.
func (c *Client) Preview(ctx context.Context, name string) (*Preview, error) {
	var p Preview
	return &p, c.call(ctx, http.MethodGet, "/previews/"+url.PathEscape(name), nil, nil, &p)
}

// waitPerRequest is how long one request is held by the server: short enough for proxies that cut idle connections.
const waitPerRequest = 50 * time.Second

// WaitReady waits until the preview is settled or ctx ends. With sha, a whole commit id, it waits for exactly that commit, also for
// a pull request's preview that does not exist yet. A preview that failed is returned without an error: look at State and Failure.
func (c *Client) WaitReady(ctx context.Context, name, sha string) (*Preview, error) {
	q := url.Values{"wait": {"ready"}, "timeout": {waitPerRequest.String()}}
	if sha != "" {
		q.Set("sha", sha)
	}
	var retry retries
	for {
		var p Preview
		asked := time.Now()
		err := c.call(ctx, http.MethodGet, "/previews/"+url.PathEscape(name), q, nil, &p)
		if mayfly.ErrorCode(err) == mayfly.CodeTimeout && ctx.Err() == nil {
			if time.Since(asked) > time.Second {
				continue
			}
			err = fmt.Errorf("%w (%w)", err, errCut) // it answers early when it is being stopped
		}
		if err = retry.after(ctx, err); err != nil || p.Name != "" {
			return &p, err
		}
	}
}

// ChangePreview extends, suspends or wakes a preview.
func (c *Client) ChangePreview(ctx context.Context, name string, change ChangePreview) (*Preview, error) {
	var p Preview
	return &p, c.call(ctx, http.MethodPatch, "/previews/"+url.PathEscape(name), nil, change, &p)
}

// ResetPreview makes a preview anew from the newest template, with a new password.
func (c *Client) ResetPreview(ctx context.Context, name string) (*Preview, error) {
	var p Preview
	return &p, c.call(ctx, http.MethodPost, "/previews/"+url.PathEscape(name)+"/reset", nil, nil, &p)
}

// DeletePreview asks for a preview to be removed and returns at once.
func (c *Client) DeletePreview(ctx context.Context, name string) (*Preview, error) {
	var p Preview
	return &p, c.call(ctx, http.MethodDelete, "/previews/"+url.PathEscape(name), nil, nil, &p)
}

// Credentials returns how to connect to a preview.
func (c *Client) Credentials(ctx context.Context, name string) (*Credentials, error) {
	var credentials Credentials
	return &credentials, c.call(ctx, http.MethodGet, "/previews/"+url.PathEscape(name)+"/credentials", nil, nil, &credentials)
}

// Report returns what the pull request's migrations did, as JSON.
func (c *Client) Report(ctx context.Context, name string) (json.RawMessage, error) {
	var report json.RawMessage
	err := c.call(ctx, http.MethodGet, "/previews/"+url.PathEscape(name)+"/report", nil, nil, &report)
	return report, err
}

// FollowPreview calls fn with the preview now and after every change, until fn returns false, the preview is deleted, or ctx ends.
// A connection that breaks is made again, which calls fn again too.
func (c *Client) FollowPreview(ctx context.Context, name string, fn func(*Preview) bool) error {
	return follow(ctx, c, "/previews/"+url.PathEscape(name)+"/events", func(p *Preview) bool {
		return fn(p) && p.State != string(mayfly.PreviewDeleted)
	})
}

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

// Templates lists the templates of a project, oldest first.
func (c *Client) Templates(ctx context.Context, project string) ([]Template, error) {
	var list TemplateList
	err := c.call(ctx, http.MethodGet, "/projects/"+url.PathEscape(project)+"/templates", nil, nil, &list)
	return list.Items, err
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
	return follow(ctx, c, "/templates/"+url.PathEscape(id)+"/events", func(t *Template) bool {
		return fn(t) && t.State == string(mayfly.TemplateBuilding)
	})
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	address := c.base + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	var reader io.Reader
	if body != nil {
		encoded, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encode request: %w", err)
		}
		reader = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, reader)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+c.token)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if response.StatusCode >= http.StatusBadRequest {
		defer func() { _ = response.Body.Close() }()
		return nil, refusal(response)
	}
	return response, nil
}

// errCut is the cause of errors that another try may mend: the server cannot be reached, or the connection broke.
var errCut = errors.New("the connection broke")

func (c *Client) unreachable(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return &mayfly.Error{Code: mayfly.CodeCancelled, Message: "cancelled", Err: ctx.Err()}
	case ctx.Err() != nil:
		return &mayfly.Error{Code: mayfly.CodeTimeout, Message: "the server did not answer in time", Err: ctx.Err()}
	}
	return (&mayfly.Error{Code: mayfly.CodeInternal, Message: "the server cannot be reached: " + err.Error(), Err: errors.Join(errCut, err)}).
		WithHint("is mayfly serve running, and is --server (or MAYFLY_URL) its address?")
}

func refusal(response *http.Response) error {
	const longest = 1 << 20
	raw, err := io.ReadAll(io.LimitReader(response.Body, longest))
	var p Problem
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Code == "" {
		switch response.StatusCode {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout: // a proxy before a server that is restarted
			return mayfly.Errorf(mayfly.CodeInternal, "the server cannot be reached: its proxy answered %s: %w", response.Status, errCut)
		}
		return mayfly.Errorf(mayfly.CodeInternal, "the server answered %s without saying why", response.Status).
			WithHint("is something else than mayfly at this address?")
	}
	return &mayfly.Error{Code: mayfly.Code(p.Code), Message: p.Detail, Hint: p.Hint}
}

func (c *Client) call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	response, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		if ctx.Err() != nil {
			return c.unreachable(ctx, err)
		}
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}
