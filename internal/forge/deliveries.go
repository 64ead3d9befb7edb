package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// Hook is a webhook whose log of deliveries can be read: the App's, or one of a repository.
type Hook struct {
	repository, id int64
}

// AppHook is the App's own webhook.
func AppHook() Hook { return Hook{} }

// String names the hook for logs and records.
func (h Hook) String() string {
	if h.id == 0 {
		return "app"
	}
	return fmt.Sprintf("repository %d hook %d", h.repository, h.id)
}

// path is where the hook's deliveries are.
func (h Hook) path() string {
	if h.id == 0 {
		return "app/hook/deliveries"
	}
	return fmt.Sprintf("repositories/%d/hooks/%d/deliveries", h.repository, h.id)
}

// LoggedDelivery is one attempt at a delivery, as GitHub's log has it.
type LoggedDelivery struct {
	ID          int64
	GUID        string // what X-GitHub-Delivery has; all attempts at one delivery have the same
	Event       string
	DeliveredAt time.Time
	Succeeded   bool // the receiver answered with 2xx
}

// IsApp reports whether the client is a GitHub App.
func (c *Client) IsApp() bool {
	_, ok := c.auth.(*appAuth)
	return ok
}

// RepositoryHook finds the webhook of a repository that sends to an address. ok is false if there is none, or if the token may
// not read webhooks.
func (c *Client) RepositoryHook(ctx context.Context, repoID int64, address string) (hook Hook, ok bool, err error) {
	err = c.asRepository(ctx, repoID, func(who account) error {
		return c.list(ctx, who, fmt.Sprintf("repositories/%d/hooks", repoID), false, func(page []byte) (bool, error) {
			var hooks []*github.Hook
			if err := json.Unmarshal(page, &hooks); err != nil {
				return false, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's list of webhooks cannot be read: %w", err)
			}
			for _, h := range hooks {
				if h.Config.GetURL() == address {
					hook, ok = Hook{repository: repoID, id: h.GetID()}, true
				}
			}
			return !ok, nil
		})
	})
	if refused := (*Refused)(nil); errors.Is(err, errNotFound) || errors.As(err, &refused) {
		return Hook{}, false, nil
	}
	return hook, ok, err
}

// hookAccount is who may read a hook's log.
func (c *Client) hookAccount(ctx context.Context, h Hook) (account, error) {
	if h.id == 0 {
		return asApp, nil
	}
	return c.auth.account(ctx, h.repository, "", false)
}

// maxLogPages bounds what is read of a log at once: 2,000 deliveries. What is older is reconciled without it.
const maxLogPages = 20

// Deliveries reads a hook's log, newest first, back to the time since.
func (c *Client) Deliveries(ctx context.Context, h Hook, since time.Time) ([]LoggedDelivery, error) {
	who, err := c.hookAccount(ctx, h)
	if err != nil {
		return nil, err
	}
	var all []LoggedDelivery
	path := h.path() + "?per_page=100"
	for range maxLogPages {
		out, err := c.do(ctx, who, call{method: http.MethodGet, path: path})
		if err != nil {
			return nil, fmt.Errorf("read the log of deliveries of %s: %w", h, err)
		}
		var page []*github.HookDelivery
		if err := json.Unmarshal(out.body, &page); err != nil {
			return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's log of deliveries cannot be read: %w", err)
		}
		for _, d := range page {
			at := d.GetDeliveredAt().Time
			if at.Before(since) {
				return all, nil
			}
			code := d.GetStatusCode()
			all = append(all, LoggedDelivery{
				ID: d.GetID(), GUID: d.GetGUID(), Event: d.GetEvent(), DeliveredAt: at, Succeeded: code >= 200 && code <= 299,
			})
		}
		if out.cursor == "" {
			return all, nil
		}
		path = h.path() + "?per_page=100&cursor=" + url.QueryEscape(out.cursor)
	}
	return all, nil
}

// Redeliver asks GitHub to make another attempt at a delivery.
func (c *Client) Redeliver(ctx context.Context, h Hook, id int64) error {
	who, err := c.hookAccount(ctx, h)
	if err != nil {
		return err
	}
	if _, err := c.do(ctx, who, call{method: http.MethodPost, path: fmt.Sprintf("%s/%d/attempts", h.path(), id)}); err != nil {
		return fmt.Errorf("redeliver %d of %s: %w", id, h, err)
	}
	return nil
}

// nextCursor reads the cursor of the next page from the Link header, for listings that have cursors rather than numbers.
func nextCursor(header http.Header) string {
	for link := range strings.SplitSeq(header.Get("Link"), ",") {
		address, rest, ok := strings.Cut(strings.TrimSpace(link), ">")
		if !ok || !strings.Contains(rest, `rel="next"`) {
			continue
		}
		if u, err := url.Parse(strings.TrimPrefix(address, "<")); err == nil {
			return u.Query().Get("cursor")
		}
	}
	return ""
}
