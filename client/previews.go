package client

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// ListOptions select and sort previews; zero fields select all, oldest first.
type ListOptions struct {
	Project, Kind, State, CreatedBy string
	// Labels are "key=value", or "key" for any value; a preview must have all of them.
	Labels []string
	// PullRequest is the number of a pull request.
	PullRequest int
	// Query is a part of the name.
	Query string
	// Sort is "created", "name", "expires" or "last_used"; Descending turns the order round.
	Sort       string
	Descending bool
	// After is PreviewList.Next of the page before; Limit the size of a page.
	After string
	Limit int
}

func (o ListOptions) query() url.Values {
	q := url.Values{}
	for key, value := range map[string]string{
		"project": o.Project, "kind": o.Kind, "state": o.State, "created_by": o.CreatedBy, "q": o.Query, "sort": o.Sort, "after": o.After,
	} {
		if value != "" {
			q.Set(key, value)
		}
	}
	if len(o.Labels) > 0 {
		q["label"] = o.Labels
	}
	if o.PullRequest > 0 {
		q.Set("pull_request", strconv.Itoa(o.PullRequest))
	}
	if o.Descending {
		q.Set("order", "desc")
	}
	if o.Limit > 0 {
		q.Set("limit", strconv.Itoa(o.Limit))
	}
	return q
}

// ListPreviews returns one page of previews.
func (c *Client) ListPreviews(ctx context.Context, o ListOptions) (*PreviewList, error) {
	var list PreviewList
	return &list, c.call(ctx, http.MethodGet, "/previews", o.query(), nil, &list)
}

// Previews walks through all previews that the options select, page by page. The first error is the last thing it yields.
func (c *Client) Previews(ctx context.Context, o ListOptions) iter.Seq2[Preview, error] {
	return pages(o.After, func(after string) ([]Preview, string, error) {
		o.After = after
		list, err := c.ListPreviews(ctx, o)
		return list.Items, list.Next, err
	})
}

// pages walks through lists that come in pages.
func pages[T any](after string, page func(after string) (items []T, next string, err error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			items, next, err := page(after)
			if err != nil {
				var none T
				yield(none, err)
				return
			}
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if next == "" {
				return
			}
			after = next
		}
	}
}

// all collects what pages walks through.
func all[T any](seq iter.Seq2[T, error]) ([]T, error) {
	var items []T
	for item, err := range seq {
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

func previewPath(name, rest string) string { return "/previews/" + url.PathEscape(name) + rest }

// preview makes a request that is answered with a preview.
func (c *Client) preview(ctx context.Context, method, path string, body any, opts ...Option) (*Preview, error) {
	var p Preview
	header, err := c.do(ctx, method, path, nil, body, &p, opts...)
	p.ETag = header.Get("ETag")
	return &p, err
}

// CreatePreview creates a sandbox and returns at once; WaitReady waits for it. A request that has to be made twice, because the
// server was busy or restarted, makes one preview.
func (c *Client) CreatePreview(ctx context.Context, r CreatePreview, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodPost, "/previews", r, append([]Option{once()}, opts...)...)
}

// Preview returns a preview with its timeline.
func (c *Client) Preview(ctx context.Context, name string, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodGet, previewPath(name, ""), nil, opts...)
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
		err := c.call(ctx, http.MethodGet, previewPath(name, ""), q, nil, &p)
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

// ChangePreview extends, labels, suspends or wakes a preview.
func (c *Client) ChangePreview(ctx context.Context, name string, change ChangePreview, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodPatch, previewPath(name, ""), change, opts...)
}

// ResetPreview makes a preview anew, with a new password: from what it was branched from or, if it was not, from the newest template.
// Its data is lost.
func (c *Client) ResetPreview(ctx context.Context, name string, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodPost, previewPath(name, "/reset"), nil, append([]Option{once()}, opts...)...)
}

// ResetPreviewTo is ResetPreview from the template that r names.
func (c *Client) ResetPreviewTo(ctx context.Context, name string, r Reset, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodPost, previewPath(name, "/reset"), r, append([]Option{once()}, opts...)...)
}

// ProtectPreview keeps everybody and everything from deleting a preview or its data for a while.
func (c *Client) ProtectPreview(ctx context.Context, name string, r Protect, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodPut, previewPath(name, "/protection"), r, opts...)
}

// UnprotectPreview ends a protection.
func (c *Client) UnprotectPreview(ctx context.Context, name string, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodDelete, previewPath(name, "/protection"), nil, opts...)
}

// DeletePreview asks for a preview to be removed and returns at once.
func (c *Client) DeletePreview(ctx context.Context, name string, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodDelete, previewPath(name, ""), nil, opts...)
}

// Credentials returns how to connect to a preview.
func (c *Client) Credentials(ctx context.Context, name string) (*Credentials, error) {
	var credentials Credentials
	return &credentials, c.call(ctx, http.MethodGet, previewPath(name, "/credentials"), nil, nil, &credentials)
}

// RotateCredentials gives a preview a new password, ends the connections that were made with the old one, and returns how to connect
// now.
func (c *Client) RotateCredentials(ctx context.Context, name string, opts ...Option) (*Credentials, error) {
	var credentials Credentials
	_, err := c.do(ctx, http.MethodPost, previewPath(name, "/credentials/rotate"), nil, nil, &credentials, opts...)
	return &credentials, err
}

// Report returns what the pull request's migrations did, as JSON.
func (c *Client) Report(ctx context.Context, name string) (json.RawMessage, error) {
	var report json.RawMessage
	err := c.call(ctx, http.MethodGet, previewPath(name, "/report"), nil, nil, &report)
	return report, err
}

// LogOptions say how much of a log is read.
type LogOptions struct {
	// Lines is how many of the last lines; 0 for 200.
	Lines int
	// Follow goes on with what is written, until the context ends, the Postgres stops or the server has had enough.
	Follow bool
}

// Logs returns what a preview's Postgres wrote, as text. The caller closes it.
func (c *Client) Logs(ctx context.Context, name string, o LogOptions) (io.ReadCloser, error) {
	q := url.Values{}
	if o.Lines > 0 {
		q.Set("lines", strconv.Itoa(o.Lines))
	}
	if o.Follow {
		q.Set("follow", "true")
	}
	response, err := c.request(ctx, http.MethodGet, previewPath(name, "/logs"), q, nil)
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}

// FollowPreview calls fn with the preview now and after every change, until fn returns false, the preview is deleted, or ctx ends.
// A connection that breaks is made again, which calls fn again too.
func (c *Client) FollowPreview(ctx context.Context, name string, fn func(*Preview) bool) error {
	return follow(ctx, c, previewPath(name, "/events"), "preview", func(p *Preview) bool {
		return fn(p) && p.State != string(mayfly.PreviewDeleted)
	})
}

// FollowSteps calls fn with every step of a preview when it begins and when it ends, in their order and each once, from the first on,
// until fn returns false or ctx ends. A connection that breaks is made again and goes on where it was.
func (c *Client) FollowSteps(ctx context.Context, name string, fn func(*StepEvent) bool) error {
	return follow(ctx, c, previewPath(name, "/events"), "step", fn)
}
