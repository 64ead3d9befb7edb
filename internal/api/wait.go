package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

const (
	defaultWait = time.Minute
	maximalWait = 10 * time.Minute
	heartbeat   = 15 * time.Second
)

// await holds the request while the query asks for it: wait=ready until the preview is settled (with sha: for exactly that commit),
// wait=deleted until it is gone; at most timeout, after which the answer is an error with CodeTimeout.
func (a *API) await(c echo.Context, p *mayfly.Preview) (*mayfly.Preview, error) {
	wait, sha := c.QueryParam("wait"), c.QueryParam("sha")
	if wait == "" {
		return p, nil
	}
	var until func(*mayfly.Preview) bool
	switch wait {
	case "ready":
		until = func(p *mayfly.Preview) bool {
			if sha != "" && (p.PR == nil || p.ObservedSHA != sha) && !p.WantDeleted {
				return false
			}
			return p.Settled()
		}
	case "deleted":
		until = func(p *mayfly.Preview) bool { return p.State == mayfly.PreviewDeleted }
	default:
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "wait: %q is neither ready nor deleted", wait)
	}
	timeout := defaultWait
	if text := c.QueryParam("timeout"); text != "" {
		var err error
		if timeout, err = mayfly.ParseDuration(text); err != nil || timeout <= 0 || timeout > maximalWait {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "timeout: %q is not a duration up to %s", text, maximalWait)
		}
	}
	ctx, cancel := context.WithTimeout(c.Request().Context(), timeout)
	defer cancel()
	return a.awaitPreview(ctx, p.ID, until)
}

func (a *API) awaitPreview(ctx context.Context, id string, until func(*mayfly.Preview) bool) (*mayfly.Preview, error) {
	changes, stop := a.Watcher.Watch(id)
	defer stop()
	for {
		// A database call that the deadline interrupts is a timeout like any other.
		p, err := a.Store.Preview(context.WithoutCancel(ctx), id)
		if err != nil || until(p) {
			return p, err
		}
		select {
		case <-changes:
		case <-ctx.Done():
			return nil, mayfly.Errorf(mayfly.CodeTimeout, "preview %s is still %s", p.Name, p.State).
				WithHint("it goes on; ask again, or see its timeline: mayfly get %s", p.Name)
		}
	}
}

// previewEvents streams a preview as server-sent events: one event "preview" with its whole state now and after every
// change, until it is gone or the client leaves.
func (a *API) previewEvents(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	return a.stream(c, "preview", p.ID, func(ctx context.Context) (any, bool, error) {
		now, err := a.Store.Preview(ctx, p.ID)
		if err != nil {
			return nil, false, err
		}
		steps, err := a.Store.Steps(ctx, p.ID)
		return a.previewJSON(now, steps), now.State == mayfly.PreviewDeleted, err
	})
}

// stream writes an event now and after every change of id, until read says that it was the last or the client leaves.
func (a *API) stream(c echo.Context, event, id string, read func(context.Context) (value any, last bool, err error)) error {
	ctx := c.Request().Context()
	changes, stop := a.Watcher.Watch(id)
	defer stop()
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, "text/event-stream")
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		value, last, err := read(ctx)
		if err != nil {
			return err
		}
		encoded, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("encode event: %w", err)
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, encoded); err != nil || last {
			return nil
		}
		w.Flush()
		if !waitForChange(ctx, w, changes, beat.C) {
			return nil
		}
	}
}

// waitForChange keeps the connection alive until there is a change; false when the client left.
func waitForChange(ctx context.Context, w *echo.Response, changes <-chan struct{}, beat <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-changes:
			return true
		case <-beat:
			if _, err := fmt.Fprint(w, ": still here\n\n"); err != nil {
				return false
			}
			w.Flush()
		}
	}
}
