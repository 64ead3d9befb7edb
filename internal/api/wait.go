package api

import (
	"context"
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
		return w, mayfly.InvalidField("wait", "wait: %q is neither ready nor deleted", wait)
	}
	if w.sha != "" && (c.QueryParam("wait") != "ready" || !commitPattern.MatchString(w.sha)) {
		return w, mayfly.InvalidField("sha", "sha: %q is not a commit to wait for", w.sha).
			WithHint("it goes with wait=ready and is a whole commit id, in lower-case hexadecimal")
	}
	if text := c.QueryParam("timeout"); text != "" {
		var err error
		if w.timeout, err = mayfly.ParseDuration(text); err != nil || w.timeout <= 0 || w.timeout > maximalWait {
			return w, mayfly.InvalidField("timeout", "timeout: %q is not a duration up to %s", text, maximalWait)
		}
	}
	return w, nil
}

// fits refuses a wish that can never come true.
func (w wish) fits(p *mayfly.Preview) error {
	if w.sha != "" && p.PR == nil {
		return mayfly.InvalidField("sha", "sha: preview %s is a sandbox, which has no commit", p.Name)
	}
	return nil
}

// await returns the preview as it is when the wish has come true, or an error with CodeTimeout when ctx has ended.
func (a *API) await(ctx context.Context, c echo.Context, id string, w wish) (*mayfly.Preview, error) {
	changes, stop := a.Watcher.Watch(id)
	defer stop()
	beat := time.NewTicker(a.Heartbeat)
	defer beat.Stop()
	for {
		// A database call that the deadline interrupts is a timeout like any other.
		p, err := a.Store.Preview(context.WithoutCancel(ctx), id)
		if err != nil || w.until(p) {
			return p, err
		}
		select {
		case <-changes:
		case <-beat.C:
			if err := a.stillAllowed(ctx, c); err != nil {
				return nil, err
			}
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
	tick, beat := time.NewTicker(appearInterval), time.NewTicker(a.Heartbeat)
	defer tick.Stop()
	defer beat.Stop()
	for {
		select {
		case <-tick.C:
		case <-beat.C:
			if err := a.stillAllowed(ctx, c); err != nil {
				return nil, err
			}
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

// waitParameters are the query of every request that is answered with a preview.
func waitParameters() []parameter {
	return []parameter{
		{"wait", "\"ready\" holds the answer until the preview is settled, \"deleted\" until it is gone", []string{"ready", "deleted"}},
		{"sha", "with wait=ready: until exactly this commit is applied, also for a preview that does not exist yet", nil},
		{"timeout", "how long to wait at most, such as 30s; 1m if left out, 10m at most; then the answer is 504 with code timeout", nil},
	}
}
