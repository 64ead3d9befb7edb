package outgoing

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// push gives the receiver the URL that the preview has now, or takes it away. An event is a hint: what is sent is what is true when it is
// sent. A nil answer without an error means that there was nothing to do.
func (s *Service) push(ctx context.Context, t *Target, d *store.OutgoingDelivery) (*answer, error) {
	if d.Kind == store.EventDeleted {
		return s.takeBack(ctx, t, d)
	}
	p, connection, err := s.opts.Previews.Connection(mayfly.WithActor(ctx, mayfly.Actor{Subject: "system:outgoing"}), d.PreviewID, t.Name)
	switch mayfly.ErrorCode(err) {
	case "":
	case mayfly.CodeNotFound, mayfly.CodeConflict:
		return nil, nil //nolint:nilnil // it is gone or has failed since, of which there is, or will be, an event
	default:
		return nil, err
	}
	if t.Push.PullRequestsOnly && p.PR == nil || p.PR != nil && p.PR.Fork {
		return nil, nil //nolint:nilnil // not one of those; and a fork's branch may be called as one of ours
	}
	kept, err := s.opts.Store.OutgoingKept(ctx, d.PreviewID, t.Name)
	if err != nil {
		return nil, err
	}
	values := valuesOf(p)
	values.Connection, values.Secrets, values.Kept = connection, t.Push.Secrets, kept
	m, err := t.Push.Set.fill(values)
	if err != nil {
		return nil, err
	}
	if kept == nil {
		kept = map[string]string{}
	}
	kept["preview"] = p.Name // known before it is sent: what was perhaps given is taken back
	if p.PR != nil {
		kept["number"], kept["repository"], kept["branch"] = strconv.Itoa(p.PR.Number), p.PR.Repository, p.PR.HeadRef
	}
	if err := s.opts.Store.SetOutgoingKept(ctx, d.PreviewID, t.Name, kept); err != nil {
		return nil, err
	}
	a, err := send(ctx, s.clients[t.AllowLinkLocal], m)
	if err != nil || a.status/100 != 2 || len(t.Push.Keep) == 0 {
		return a, err
	}
	if err := keep(kept, t.Push.Keep, a.body); err != nil {
		return a, err
	}
	return a, s.opts.Store.SetOutgoingKept(ctx, d.PreviewID, t.Name, kept)
}

// takeBack removes what the receiver was given. One that does not have it any more is content.
func (s *Service) takeBack(ctx context.Context, t *Target, d *store.OutgoingDelivery) (*answer, error) {
	kept, err := s.opts.Store.OutgoingKept(ctx, d.PreviewID, t.Name)
	if err != nil || kept == nil || t.Push.Remove == nil {
		return nil, err
	}
	values := Values{Preview: Preview{ID: d.PreviewID, Name: kept["preview"], Project: d.Project}, Kept: kept, Secrets: t.Push.Secrets}
	values.PullRequest.Number, _ = strconv.Atoi(kept["number"]) // 0 for a sandbox
	values.PullRequest.Repository, values.PullRequest.Branch = kept["repository"], kept["branch"]
	for name := range t.Push.Keep {
		if kept[name] == "" {
			return nil, s.opts.Store.SetOutgoingKept(ctx, d.PreviewID, t.Name, nil) // it never answered that it has it
		}
	}
	m, err := t.Push.Remove.fill(values)
	if err != nil {
		return nil, err
	}
	a, err := send(ctx, s.clients[t.AllowLinkLocal], m)
	if err != nil {
		return nil, err
	}
	if a.status == http.StatusNotFound || a.status == http.StatusGone {
		a.status = http.StatusNoContent
	}
	if a.status/100 != 2 {
		return a, nil
	}
	return a, s.opts.Store.SetOutgoingKept(ctx, d.PreviewID, t.Name, nil)
}

func valuesOf(p *mayfly.Preview) Values {
	v := Values{Preview: Preview{ID: p.ID, Name: p.Name, Project: p.Project}}
	if p.PR != nil {
		v.PullRequest = PullRequest{Number: p.PR.Number, Repository: p.PR.Repository, Branch: p.PR.HeadRef, HeadSHA: p.PR.HeadSHA}
	}
	return v
}

// keep finds the parts of an answer that are needed later.
func keep(into, paths map[string]string, body []byte) error {
	var root any
	if err := json.Unmarshal(body, &root); err != nil {
		return fmt.Errorf("the answer is not JSON, or longer than %d bytes", maxAnswer)
	}
	for name, path := range paths {
		value, ok := at(root, strings.Split(path, "."))
		if !ok {
			return fmt.Errorf("the answer has no %s", path)
		}
		into[name] = value
	}
	return nil
}

// at follows a path. Where the answer is a list of one and the path does not say so, that one is meant: some receivers answer with
// what was made, others with a list of it.
func at(value any, path []string) (string, bool) {
	if len(path) == 0 {
		switch v := value.(type) {
		case string:
			return v, v != ""
		case float64:
			return strconv.FormatFloat(v, 'f', -1, 64), true
		}
		return "", false
	}
	switch v := value.(type) {
	case map[string]any:
		return at(v[path[0]], path[1:])
	case []any:
		if i, err := strconv.Atoi(path[0]); err == nil && i >= 0 && i < len(v) {
			return at(v[i], path[1:])
		}
		if len(v) == 1 {
			return at(v[0], path)
		}
	}
	return "", false
}
