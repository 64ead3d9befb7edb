package outgoing

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// Previews gives what is pushed. It is called with the system as the actor, and writes into the audit log that it was.
type Previews interface {
	// Connection returns how to connect to a preview that can be connected to, and the preview as it is now. CodeNotFound if it is gone,
	// CodeConflict if there is nothing to connect to.
	Connection(ctx context.Context, previewID, target string) (*mayfly.Preview, *Connection, error)
}

// Options are what a Service is made of.
type Options struct {
	Targets  []*Target
	Store    *store.Store
	Previews Previews
	Logger   *slog.Logger
	Now      func() time.Time
}

// Service sends what is stored for receivers.
type Service struct {
	opts    Options
	targets map[string]*Target
	clients map[bool]*http.Client
	// places bound how many jobs one receiver keeps busy: one that hangs must leave some for the others.
	places map[string]chan struct{}
}

// maxPerTarget is how many deliveries to one receiver are under way in this process.
const maxPerTarget = 4

// New makes a Service.
func New(opts Options) *Service {
	s := &Service{
		opts: opts, targets: map[string]*Target{}, places: map[string]chan struct{}{},
		clients: map[bool]*http.Client{false: newClient(false), true: newClient(true)},
	}
	for _, t := range opts.Targets {
		s.targets[t.Name], s.places[t.Name] = t, make(chan struct{}, maxPerTarget)
	}
	return s
}

// Interested returns the names of the receivers of an event, for store.SetOutgoing.
func (s *Service) Interested(project, kind string) []string {
	var names []string
	for _, t := range s.opts.Targets {
		if t.Wants(project, kind) {
			names = append(names, t.Name)
		}
	}
	return names
}

// laterError says when to look again.
type laterError struct{ after time.Duration }

func (e *laterError) Error() string { return "the receiver is tried again later" }

// RetryAfter says when to look again.
func (e *laterError) RetryAfter() time.Duration { return e.after }

// Deliver sends what waits for a receiver about a preview, the oldest first, until nothing is left or one has to wait.
func (s *Service) Deliver(ctx context.Context, previewID, target string) error {
	if places := s.places[target]; places != nil {
		select {
		case places <- struct{}{}:
			defer func() { <-places }()
		default:
			return &laterError{after: time.Second}
		}
	}
	for {
		d, wait, err := s.opts.Store.ClaimOutgoing(ctx, previewID, target, lease)
		if err != nil {
			return err
		}
		if d == nil && wait == 0 {
			return nil
		}
		if d == nil {
			return &laterError{after: wait}
		}
		s.attempt(ctx, d)
		// Also when the service is being stopped: an attempt that was made has been made.
		if err := s.opts.Store.FinishOutgoing(context.WithoutCancel(ctx), d); err != nil {
			return err
		}
	}
}

// attempt tries a delivery and says in it how that ended.
func (s *Service) attempt(ctx context.Context, d *store.OutgoingDelivery) {
	t := s.targets[d.Target]
	if t == nil {
		d.State, d.Error = "failed", "the receiver is no longer in the configuration"
		return
	}
	var a *answer
	var err error
	if t.Push != nil {
		a, err = s.push(ctx, t, d)
	} else {
		a, err = s.hook(ctx, t, d)
	}
	now := s.opts.Now()
	d.Status, d.Error = 0, ""
	if a != nil {
		d.Status = a.status
	}
	switch {
	case err == nil && (a == nil || a.status/100 == 2):
		d.State = "delivered"
		return
	case err != nil:
		d.Error = err.Error()
	case t.Push == nil:
		d.Error = snippet(a.body) // what answers a push may repeat what it was given
	}
	d.NextAt = now.Add(backoff(d.Attempts))
	if a != nil && a.retryAfter > 0 {
		d.NextAt = now.Add(a.retryAfter)
	}
	if d.NextAt.After(d.GiveUpAt) || d.Status == http.StatusGone {
		d.State = "failed"
	}
	s.opts.Logger.WarnContext(ctx, "a receiver was not told", "target", t.Name, "event", d.Kind, "delivery", d.ID, "attempt", d.Attempts,
		"status", d.Status, "error", d.Error, "given_up", d.State == "failed")
}

// snippet is the beginning of an answer, in one line of text.
func snippet(body []byte) string {
	const longest = 300
	text := strings.ToValidUTF8(string(body[:min(len(body), longest)]), "")
	return strings.Join(strings.Fields(strings.ReplaceAll(text, "\x00", "")), " ")
}

// hook sends a webhook, signed as standard-webhooks has it.
func (s *Service) hook(ctx context.Context, t *Target, d *store.OutgoingDelivery) (*answer, error) {
	body, err := json.Marshal(map[string]any{"type": d.Kind, "timestamp": d.CreatedAt.UTC(), "data": map[string]any{"preview": d.Payload}})
	if err != nil {
		return nil, fmt.Errorf("encode the event: %w", err)
	}
	signer, err := standardwebhooks.NewWebhookRaw(t.Secret)
	if err != nil {
		return nil, fmt.Errorf("sign the event: %w", err)
	}
	now := s.opts.Now()
	signature, err := signer.Sign(d.EventID, now, body)
	if err != nil {
		return nil, fmt.Errorf("sign the event: %w", err)
	}
	return send(ctx, s.clients[t.AllowLinkLocal], &made{method: http.MethodPost, url: t.URL, body: body, headers: map[string]string{
		"Content-Type": "application/json", standardwebhooks.HeaderWebhookID: d.EventID,
		standardwebhooks.HeaderWebhookTimestamp: strconv.FormatInt(now.Unix(), 10), standardwebhooks.HeaderWebhookSignature: signature,
	}})
}
