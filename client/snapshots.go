package client

import (
	"context"
	"iter"
	"net/http"
	"net/url"
)

// CreateSnapshot keeps the data of a preview as it is now. Its clients notice a short pause, and nothing else.
func (c *Client) CreateSnapshot(ctx context.Context, preview string, r CreateSnapshot, opts ...Option) (*Snapshot, error) {
	var s Snapshot
	_, err := c.do(ctx, http.MethodPost, previewPath(preview, "/snapshots"), nil, r, &s, append([]Option{once()}, opts...)...)
	return &s, err
}

// Snapshots walks through the snapshots of a preview, oldest first.
func (c *Client) Snapshots(ctx context.Context, preview string) iter.Seq2[Snapshot, error] {
	return c.snapshots(ctx, previewPath(preview, "/snapshots"))
}

// ProjectSnapshots walks through the snapshots of all previews of a project, also of those that are gone, oldest first.
func (c *Client) ProjectSnapshots(ctx context.Context, project string) iter.Seq2[Snapshot, error] {
	return c.snapshots(ctx, "/projects/"+url.PathEscape(project)+"/snapshots")
}

func (c *Client) snapshots(ctx context.Context, path string) iter.Seq2[Snapshot, error] {
	return pages("", func(after string) ([]Snapshot, string, error) {
		q := url.Values{}
		if after != "" {
			q.Set("after", after)
		}
		var list SnapshotList
		err := c.call(ctx, http.MethodGet, path, q, nil, &list)
		return list.Items, list.Next, err
	})
}

// RestoreSnapshot makes a preview go back to one of its snapshots, by id or name. What was written since is lost; the password stays.
func (c *Client) RestoreSnapshot(ctx context.Context, preview, snapshot string, opts ...Option) (*Preview, error) {
	return c.preview(ctx, http.MethodPost, previewPath(preview, "/snapshots/"+url.PathEscape(snapshot)+"/restore"), nil, append([]Option{once()}, opts...)...)
}

// DeleteSnapshot removes a snapshot of a preview, by id or name. Previews that were made from it keep their data.
func (c *Client) DeleteSnapshot(ctx context.Context, preview, snapshot string) error {
	var deleted DeletedSnapshot
	return c.call(ctx, http.MethodDelete, previewPath(preview, "/snapshots/"+url.PathEscape(snapshot)), nil, nil, &deleted)
}

// DeleteProjectSnapshot removes a snapshot by id, also one whose preview is gone.
func (c *Client) DeleteProjectSnapshot(ctx context.Context, project, id string) error {
	var deleted DeletedSnapshot
	return c.call(ctx, http.MethodDelete, "/projects/"+url.PathEscape(project)+"/snapshots/"+url.PathEscape(id), nil, nil, &deleted)
}
