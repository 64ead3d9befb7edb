package client

import (
	"bufio"
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

// WaitReady waits until the preview is settled (with sha, until exactly that commit is applied) or ctx ends. A preview that failed
// is returned without an error: look at State and Failure.
func (c *Client) WaitReady(ctx context.Context, name, sha string) (*Preview, error) {
	q := url.Values{"wait": {"ready"}, "timeout": {waitPerRequest.String()}}
	if sha != "" {
		q.Set("sha", sha)
	}
	for {
		var p Preview
		err := c.call(ctx, http.MethodGet, "/previews/"+url.PathEscape(name), q, nil, &p)
		if mayfly.ErrorCode(err) != mayfly.CodeTimeout || ctx.Err() != nil {
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

// FollowPreview calls fn with the preview now and after every change, until fn returns false, the preview is gone, or ctx ends.
func (c *Client) FollowPreview(ctx context.Context, name string, fn func(*Preview) bool) error {
	return follow(ctx, c, "/previews/"+url.PathEscape(name)+"/events", fn)
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

// Template returns a template with its timeline and its report.
func (c *Client) Template(ctx context.Context, id string) (*Template, error) {
	var t Template
	return &t, c.call(ctx, http.MethodGet, "/templates/"+url.PathEscape(id), nil, nil, &t)
}

// FollowTemplate calls fn with the template now and after every change, until fn returns false, the build has ended, or ctx ends.
func (c *Client) FollowTemplate(ctx context.Context, id string, fn func(*Template) bool) error {
	return follow(ctx, c, "/templates/"+url.PathEscape(id)+"/events", fn)
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

func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		code := mayfly.CodeTimeout
		if errors.Is(ctx.Err(), context.Canceled) {
			code = mayfly.CodeCancelled
		}
		return &mayfly.Error{Code: code, Message: "the request did not end in time or was cancelled", Err: ctx.Err()}
	}
	return mayfly.Errorf(mayfly.CodeInternal, "the server cannot be reached: %w", err).
		WithHint("is mayfly serve running, and is --server (or MAYFLY_URL) its address?")
}

func refusal(response *http.Response) error {
	const longest = 1 << 20
	raw, err := io.ReadAll(io.LimitReader(response.Body, longest))
	var p Problem
	if err != nil || json.Unmarshal(raw, &p) != nil || p.Code == "" {
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
		return fmt.Errorf("read the server's answer: %w", err)
	}
	return nil
}

// follow reads server-sent events (WHATWG HTML, 9.2) whose data is one JSON value on one line.
func follow[T any](ctx context.Context, c *Client, path string, fn func(*T) bool) error {
	response, err := c.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	reader := bufio.NewReader(response.Body)
	for {
		line, err := reader.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.unreachable(ctx, err)
		}
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		value := new(T)
		if err := json.Unmarshal(data, value); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if !fn(value) {
			return nil
		}
	}
}
