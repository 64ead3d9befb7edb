package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
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

// wish is what a request's query asks to wait for.
type wish struct {
	until   func(*mayfly.Preview) bool // nil: for nothing
	sha     string                     // the commit that until asks for, or ""
	timeout time.Duration
}

var commitPattern = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// readWish reads wait=ready (until the preview is settled; with sha: for exactly that commit), wait=deleted (until it is gone)
// and timeout. It comes before anything is changed, so that a request is refused whole or not at all.
func readWish(c echo.Context) (wish, error) {
	w := wish{sha: c.QueryParam("sha"), timeout: defaultWait}
	switch wait := c.QueryParam("wait"); wait {
	case "":
	case "ready":
		w.until = func(p *mayfly.Preview) bool {
			if w.sha != "" && p.ObservedSHA != w.sha && !p.WantDeleted {
				return false
			}
			return p.Settled()
		}
	case "deleted":
		w.until = func(p *mayfly.Preview) bool { return p.State == mayfly.PreviewDeleted }
	default:
		return w, mayfly.Errorf(mayfly.CodeInvalid, "wait: %q is neither ready nor deleted", wait)
	}
	if w.sha != "" && (c.QueryParam("wait") != "ready" || !commitPattern.MatchString(w.sha)) {
		return w, mayfly.Errorf(mayfly.CodeInvalid, "sha: %q is not a commit to wait for", w.sha).
			WithHint("it goes with wait=ready and is a whole commit id, in lower-case hexadecimal")
	}
	if text := c.QueryParam("timeout"); text != "" {
		var err error
		if w.timeout, err = mayfly.ParseDuration(text); err != nil || w.timeout <= 0 || w.timeout > maximalWait {
			return w, mayfly.Errorf(mayfly.CodeInvalid, "timeout: %q is not a duration up to %s", text, maximalWait)
		}
	}
	return w, nil
}

// fits refuses a wish that can never come true.
func (w wish) fits(p *mayfly.Preview) error {
	if w.sha != "" && p.PR == nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "sha: preview %s is a sandbox, which has no commit", p.Name)
	}
	return nil
}

// await returns the preview as it is when the wish has come true, or an error with CodeTimeout when ctx has ended.
func (a *API) await(ctx context.Context, id string, w wish) (*mayfly.Preview, error) {
	changes, stop := a.Watcher.Watch(id)
	defer stop()
	for {
		// A database call that the deadline interrupts is a timeout like any other.
		p, err := a.Store.Preview(context.WithoutCancel(ctx), id)
		if err != nil || w.until(p) {
			return p, err
		}
		select {
		case <-changes:
		case <-a.stopping:
			return nil, mayfly.Errorf(mayfly.CodeTimeout, "the server is being stopped").WithHint("ask again")
		case <-ctx.Done():
			return nil, mayfly.Errorf(mayfly.CodeTimeout, "preview %s is still %s", p.Name, progressOf(p, w)).
				WithHint("it goes on; ask again, or see its timeline: mayfly get %s", p.Name)
		}
	}
}

func progressOf(p *mayfly.Preview, w wish) string {
	if w.sha != "" && p.ObservedSHA != w.sha && p.ObservedSHA != "" {
		return string(p.State) + " at commit " + p.ObservedSHA
	}
	return string(p.State)
}

// appearInterval is how often a preview that does not exist yet is looked for.
const appearInterval = 500 * time.Millisecond

// appear waits for a pull request's preview that nobody made yet: whoever runs for a commit, such as a CI job, is often faster
// than the webhook. It is called only when the query names a commit, and returns missing for a name that can never appear.
func (a *API) appear(ctx context.Context, c echo.Context, missing error) (*mayfly.Preview, error) {
	name := c.Param("name")
	if !slices.ContainsFunc(a.Projects(), func(project string) bool {
		return strings.HasPrefix(name, project+"-pr-") && bearer(c).AllowsNamed(auth.ScopePreviewsRead, project, name)
	}) {
		return nil, missing
	}
	tick := time.NewTicker(appearInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-a.stopping:
			return nil, mayfly.Errorf(mayfly.CodeTimeout, "the server is being stopped").WithHint("ask again")
		case <-ctx.Done():
			return nil, mayfly.Errorf(mayfly.CodeTimeout, "there is no preview %s yet", name).
				WithHint("is the pull request open, and does the webhook reach this server? ask again")
		}
		p, err := a.preview(c, auth.ScopePreviewsRead) //nolint:contextcheck // the request's own context: the wait may end, not the look
		if mayfly.ErrorCode(err) != mayfly.CodeNotFound {
			return p, err
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
		if err != nil {
			return nil, false, err
		}
		out := a.previewJSON(now, steps)
		return out, now.State == mayfly.PreviewDeleted, a.addQueue(ctx, &out)
	})
}

// stream writes an event now and after every change of id, until read says that it was the last or the client leaves.
func (a *API) stream(c echo.Context, event, id string, read func(context.Context) (value any, last bool, err error)) error {
	ctx := c.Request().Context()
	changes, stop := a.Watcher.Watch(id)
	defer stop()
	w := c.Response()
	w.Header().Set(echo.HeaderContentType, "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	w.WriteHeader(http.StatusOK)
	beat := time.NewTicker(a.Heartbeat)
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
		if !a.waitForChange(ctx, w, changes, beat.C) {
			return nil
		}
	}
}

// waitForChange keeps the connection alive until there is a change; false when the client left or the server stops.
func (a *API) waitForChange(ctx context.Context, w *echo.Response, changes <-chan struct{}, beat <-chan time.Time) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-a.stopping:
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
