package provisioner

import (
	"context"
	"errors"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

const (
	// logEvery is how often the forge's log of deliveries is read.
	logEvery = 3 * time.Minute
	// logOverlap is how much of the log is read again each time: attempts are listed a little after they were made.
	logOverlap = 10 * time.Minute
	// logReach is how far back the log is read after a pause: GitHub redelivers what is not older than 3 days.
	logReach = 3 * 24 * time.Hour
	// redeliveryDelay is how long a delivery may take to come by itself, and the time between attempts, doubled each time.
	redeliveryDelay = 2 * time.Minute
	// redeliveryAttempts is how often a delivery is asked for before it is left to the periodic reconcile.
	redeliveryAttempts = 4
	// redeliveriesAtOnce bounds what one pass asks for.
	redeliveriesAtOnce = 50
	// noHookEvery is how often a repository is searched for a webhook whose log may be read.
	noHookEvery = time.Hour
)

// PollDeliveries reads the forge's log of deliveries and asks for those again that have no success there and did not come: what a
// reconcile cannot find out by itself, such as commands, is not lost. It is called often and does something every few minutes.
func (s *Service) PollDeliveries(ctx context.Context) error {
	log, ok := s.Forge.(DeliveryLog)
	if !ok || s.Forge == nil {
		return nil
	}
	hooks, err := s.hooks(ctx, log)
	if err != nil {
		return err
	}
	var failures []error
	for _, hook := range hooks {
		if err := s.pollHook(ctx, log, hook); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

// hooks returns the webhooks whose logs can be read: the App's, or those of the repositories that send to us, if the token may.
func (s *Service) hooks(ctx context.Context, log DeliveryLog) ([]forge.Hook, error) {
	if log.IsApp() {
		return []forge.Hook{forge.AppHook()}, nil
	}
	if s.ExternalURL == "" {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := s.Clock(); now.Sub(s.hooksAt) < noHookEvery {
		return s.knownHooks, nil
	}
	if len(s.repositories) == 0 {
		return nil, nil // a process that has just begun asks again once it knows them, rather than after an hour
	}
	s.hooksAt, s.knownHooks = s.Clock(), nil
	seen := map[int64]bool{}
	for _, known := range s.repositories {
		if seen[known.id] {
			continue
		}
		seen[known.id] = true
		hook, ok, err := log.RepositoryHook(ctx, known.id, s.ExternalURL+"/webhooks/github")
		if err != nil {
			return nil, err
		}
		if ok {
			s.knownHooks = append(s.knownHooks, hook)
		}
	}
	return s.knownHooks, nil
}

// pollHook reads the log of one webhook from where it was read to, in whichever process that was.
func (s *Service) pollHook(ctx context.Context, log DeliveryLog, hook forge.Hook) error {
	unlock, ok, err := s.Store.TryLock(ctx, "deliveries:"+hook.String())
	if err != nil || !ok {
		return err
	}
	defer unlock()
	now := s.Clock()
	key := "deliveries of " + hook.String()
	text, err := s.Store.Recall(ctx, key)
	if err != nil {
		return err
	}
	last, err := time.Parse(time.RFC3339, text)
	if err != nil { // the first time: what came before this installation is not ours
		return s.Store.Remember(ctx, key, now.UTC().Format(time.RFC3339))
	}
	if now.Sub(last) >= logEvery {
		since := last.Add(-logOverlap)
		if reach := now.Add(-logReach); since.Before(reach) {
			since = reach
		}
		if err := s.readLog(ctx, log, hook, since); err != nil {
			return err
		}
		if err := s.Store.Remember(ctx, key, now.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return s.redeliver(ctx, log, hook)
}

// readLog records the deliveries that have no success in the log.
func (s *Service) readLog(ctx context.Context, log DeliveryLog, hook forge.Hook, since time.Time) error {
	entries, err := log.Deliveries(ctx, hook, since)
	if err != nil {
		return err
	}
	succeeded := map[string]bool{}
	for _, e := range entries {
		succeeded[e.GUID] = succeeded[e.GUID] || e.Succeeded
	}
	for _, e := range entries {
		if succeeded[e.GUID] {
			continue
		}
		missed := store.MissedDelivery{GUID: e.GUID, Hook: hook.String(), DeliveryID: e.ID, Event: e.Event}
		if err := s.Store.AddMissedDelivery(ctx, missed, e.DeliveredAt.Add(redeliveryDelay)); err != nil {
			return err
		}
	}
	return s.Store.PurgeMissedDeliveries(ctx, s.Clock().Add(-2*logReach))
}

// redeliver asks for the missed deliveries for which it is time.
func (s *Service) redeliver(ctx context.Context, log DeliveryLog, hook forge.Hook) error {
	due, err := s.Store.DueMissedDeliveries(ctx, hook.String(), s.Clock(), redeliveriesAtOnce)
	if err != nil {
		return err
	}
	for _, m := range due {
		err := log.Redeliver(ctx, hook, m.DeliveryID)
		var limited *forge.RateLimited
		if errors.As(err, &limited) || (err != nil && ctx.Err() != nil) {
			return err
		}
		last := m.Attempts+1 >= redeliveryAttempts
		s.Logger.InfoContext(ctx, "a delivery that was lost is asked for again", "delivery", m.GUID, "event", m.Event, "attempt", m.Attempts+1, "error", err)
		if err := s.Store.AttemptedMissedDelivery(ctx, m.GUID, s.Clock().Add(redeliveryDelay<<(m.Attempts+1)), last); err != nil {
			return err
		}
		if last {
			s.Logger.WarnContext(ctx, "a delivery is given up; the periodic reconcile repairs what it was about, unless it was a command", "delivery", m.GUID, "event", m.Event)
		}
	}
	return nil
}

// dismiss records that a pull request's preview was removed while the pull request is open, so that none is made again for that head.
func (s *Service) dismiss(ctx context.Context, p *mayfly.Preview) error {
	if p.PR == nil || p.WantDeleted {
		return nil
	}
	key := store.PullRequestKey{Project: p.Project, RepositoryID: p.PR.RepositoryID, Number: p.PR.Number}
	return s.Store.Dismiss(ctx, key, p.PR.HeadSHA, s.Clock())
}
