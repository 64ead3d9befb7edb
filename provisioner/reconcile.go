package provisioner

import (
	"context"
	"errors"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Reconcile compares what the forge, the state database and the engine say, and starts what repairs each difference:
// pull requests without a preview or with one that is behind, previews whose pull request is closed, previews that are
// not what they should be, and previews whose Postgres is not running though it should.
func (s *Service) Reconcile(ctx context.Context) error {
	previews, err := s.Store.Previews(ctx, store.Filter{})
	if err != nil {
		return err
	}
	var failures []error
	if err := s.reconcileInstances(ctx, previews); err != nil {
		failures = append(failures, err)
	}
	if err := errors.Join(s.recordCommits(ctx), s.recheckTrials(ctx)); err != nil {
		failures = append(failures, err)
	}
	if s.Forge != nil {
		for _, project := range s.Projects.Projects() {
			if project.Repository == "" {
				continue
			}
			if err := s.reconcilePullRequests(ctx, project, previews); err != nil {
				failures = append(failures, err)
			}
		}
		if err := s.removeAbandoned(ctx, previews); err != nil {
			failures = append(failures, err)
		}
	}
	return errors.Join(failures...)
}

func (s *Service) reconcileInstances(ctx context.Context, previews []*mayfly.Preview) error {
	instances, err := s.Engine.List(ctx, map[string]string{"role": "preview"})
	if err != nil {
		return err
	}
	volumes, err := s.Volumes.List(ctx)
	if err != nil {
		return err
	}
	running, stored := map[string]bool{}, map[string]bool{}
	for _, instance := range instances {
		running[instance.ID] = instance.Running && !instance.Paused // one that a killed process held still is to go on
	}
	for _, volume := range volumes {
		stored[volume.ID] = true
	}
	for _, p := range previews {
		if p.State == mayfly.PreviewQueued && !p.WantDeleted {
			continue // Promote's
		}
		if p.Settled() && p.FollowsBase() && (p.State != mayfly.PreviewReady || (running[p.Instance()] && stored[p.Instance()])) {
			continue
		}
		if err := s.Recheck(ctx, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// reconcilePullRequests finds the open pull requests about which something has to be decided, and the previews whose pull request is not
// among them. It asks the forge with conditional requests, and decides nothing that was decided before: where nothing happens, it costs
// nothing of the rate limit.
func (s *Service) reconcilePullRequests(ctx context.Context, project mayfly.Project, previews []*mayfly.Preview) error {
	repositoryID, err := s.repositoryID(ctx, project.Repository)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return s.noteUnreachable(ctx, project)
	}
	if err != nil {
		return err
	}
	state, ok, err := s.checkRepository(ctx, repositoryID)
	if err != nil || !ok {
		return err
	}
	open, err := s.Forge.OpenPullRequests(ctx, repositoryID)
	if err != nil {
		return err
	}
	if err := s.freshBases(ctx, repositoryID, open); err != nil {
		return err
	}
	known, err := s.Store.KnownPullRequests(ctx, project.Name, repositoryID)
	if err != nil {
		return err
	}
	existing := map[int]*mayfly.Preview{}
	for _, p := range previews {
		if p.Project == project.Name && p.PR != nil && p.PR.RepositoryID == repositoryID && !p.WantDeleted {
			existing[p.PR.Number] = p
		}
	}
	for _, pr := range open {
		p := existing[pr.Number]
		delete(existing, pr.Number)
		if s.decided(project, pr, p, known[pr.Number], state == store.RepositoryArchived) {
			continue
		}
		if err := s.Store.RequestPullRequest(ctx, repositoryID, pr.Number); err != nil {
			return err
		}
	}
	for number, p := range existing { // not among the open ones: look at it by itself before anything is removed
		if p.ClosedAt != nil {
			continue
		}
		if err := s.Store.RequestPullRequest(ctx, repositoryID, number); err != nil {
			return err
		}
	}
	return nil
}

// decided reports whether the preview of an open pull request, nil for none, is what was decided about it as it is now.
func (s *Service) decided(project mayfly.Project, pr *forge.PullRequest, p *mayfly.Preview, known *store.KnownPullRequest, archived bool) bool {
	if known == nil || known.Decided != fingerprint(project, pr, archived) {
		return false
	}
	if known.Wanted {
		return p != nil && p.ClosedAt == nil || p == nil && known.DismissedSHA == pr.HeadSHA
	}
	return p == nil || p.ClosedAt != nil || !p.PR.Fork
}

// freshBases gives the pull requests the tips of their base branches, which are read again.
func (s *Service) freshBases(ctx context.Context, repositoryID int64, open []*forge.PullRequest) error {
	tips := map[string]string{}
	for _, pr := range open {
		tip, ok := tips[pr.BaseRef]
		if !ok {
			var err error
			if tip, err = s.branchTip(ctx, repositoryID, pr.BaseRef); err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
				return err
			}
			tips[pr.BaseRef] = tip
		}
		if tip != "" {
			pr.BaseSHA = tip
		}
	}
	return nil
}

// noteUnreachable notes that a project's repository cannot be found, and keeps what it has.
func (s *Service) noteUnreachable(ctx context.Context, project mayfly.Project) error {
	id := project.RepositoryID
	if id == 0 {
		var err error
		if id, err = s.Store.PinnedRepository(ctx, project.Repository); err != nil {
			return err
		}
	}
	if id == 0 {
		s.Logger.WarnContext(ctx, "repository of a project cannot be found", "project", project.Name, "repository", project.Repository)
		return nil
	}
	_, err := s.unreachable(ctx, id)
	return err
}

// Expire asks for previews to be removed whose time is up, and for idle ones to be suspended, and those that wrote too much.
func (s *Service) Expire(ctx context.Context) error {
	previews, err := s.Store.Previews(ctx, store.Filter{})
	if err != nil {
		return err
	}
	now := s.Clock()
	for _, p := range previews {
		switch {
		case p.WantDeleted:
		case s.overdue(p, now) && p.Protected(now): // until that is over
		case p.ClosedAt != nil && now.Sub(*p.ClosedAt) >= s.grace(p):
			s.Logger.InfoContext(ctx, "the grace period of a preview is over", "preview", p.Name)
			if _, err := s.delete(ctx, p); err != nil {
				return err
			}
		case p.ExpiresAt != nil && p.ExpiresAt.Before(now) && !p.Keep:
			s.Logger.InfoContext(ctx, "preview expired", "preview", p.Name)
			if err := s.dismiss(ctx, p); err != nil {
				return err
			}
			if _, err := s.delete(ctx, p); err != nil {
				return err
			}
		case s.idle(p, s.idleAfter(ctx, p), now):
			s.Logger.InfoContext(ctx, "preview is idle", "preview", p.Name)
			if _, err := s.suspendIdle(ctx, p); err != nil {
				return err
			}
		case s.WatchDisk && p.State == mayfly.PreviewReady && !p.WantSuspended:
			if err := s.watchDisk(ctx, p); err != nil {
				return err
			}
		}
	}
	return s.Store.PurgeOnce(ctx)
}

// overdue reports whether the preview would be removed now.
func (s *Service) overdue(p *mayfly.Preview, now time.Time) bool {
	return p.ClosedAt != nil && now.Sub(*p.ClosedAt) >= s.grace(p) || p.ExpiresAt != nil && p.ExpiresAt.Before(now) && !p.Keep
}

// grace is for how long a preview sleeps whose pull request is closed.
func (s *Service) grace(p *mayfly.Preview) time.Duration {
	project, _ := s.Projects.Project(p.Project) // a project that was removed has no grace any more
	return project.Previews.PullRequests.Grace
}

// idleAfter is after which time without a connection a preview is put to sleep; negative for never.
func (s *Service) idleAfter(ctx context.Context, p *mayfly.Preview) time.Duration {
	project, _ := s.Projects.Project(p.Project)
	return or(s.knownSettings(ctx, project, p).Previews.IdleAfter, defaultIdleAfter)
}

func (s *Service) idle(p *mayfly.Preview, after time.Duration, now time.Time) bool {
	if p.State != mayfly.PreviewReady || p.WantSuspended || after < 0 || s.Connections.Active(p.ID) > 0 {
		return false
	}
	used := p.CreatedAt
	for _, at := range []*time.Time{p.ReadyAt, p.LastUsedAt} {
		if at != nil && at.After(used) {
			used = *at
		}
	}
	return now.Sub(used) > after
}

// suspendIdle looks again with the row locked: somebody may have connected since the list was read.
func (s *Service) suspendIdle(ctx context.Context, p *mayfly.Preview) (*mayfly.Preview, error) {
	after := s.idleAfter(ctx, p)
	return s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error {
		p.WantSuspended = p.WantSuspended || s.idle(p, after, s.Clock())
		return nil
	})
}

// Sweep removes what exists without a reason: instances and volumes of previews that are gone or were never recorded. The
// row of a preview is stored before anything of it is made and removed after everything of it is gone, so whatever has
// no live row is garbage. Templates have their own collector.
func (s *Service) Sweep(ctx context.Context) error {
	// What exists is listed before the rows are read: a thing made in between belongs to a row that is read then.
	instances, err := s.Engine.List(ctx, map[string]string{"role": "preview"})
	if err != nil {
		return err
	}
	volumes, err := s.Volumes.List(ctx)
	if err != nil {
		return err
	}
	previews, err := s.Store.Previews(ctx, store.Filter{})
	if err != nil {
		return err
	}
	live := map[string]bool{}
	for _, p := range previews {
		live[p.ID] = true
	}
	for _, instance := range instances {
		if live[instance.Labels["preview"]] {
			continue
		}
		if err := s.sweepUnowned(ctx, instance.Labels["preview"], "container", instance.ID, s.Engine.Remove); err != nil {
			return err
		}
	}
	for _, volume := range volumes {
		owner, _, ok := strings.Cut(volume.ID, "-")
		if !ok || !strings.HasPrefix(owner, "p") || volume.Frozen || live[owner] {
			continue
		}
		if err := s.sweepUnowned(ctx, owner, "volume", volume.ID, s.Volumes.Delete); err != nil {
			return err
		}
	}
	if err := s.sweepTrials(ctx, previews, volumes); err != nil {
		return err
	}
	if err := s.sweepSnapshots(ctx, volumes, live); err != nil {
		return err
	}
	return s.sweepGenerations(ctx, previews, instances)
}

// sweepUnowned removes a container or a volume of a preview that has no row, unless somebody is at work on it.
func (s *Service) sweepUnowned(ctx context.Context, owner, kind, id string, remove func(ctx context.Context, id string) error) error {
	unlock, ok, err := s.Store.TryLock(ctx, "preview:"+owner)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	s.Logger.WarnContext(ctx, "removing what no preview owns", "kind", kind, "id", id)
	return remove(ctx, id)
}

// sweepGenerations asks for settled previews to be looked at that have an instance of another generation.
func (s *Service) sweepGenerations(ctx context.Context, previews []*mayfly.Preview, instances []driver.Instance) error {
	byPreview := map[string]*mayfly.Preview{}
	for _, p := range previews {
		byPreview[p.ID] = p
	}
	for _, instance := range instances {
		p := byPreview[instance.Labels["preview"]]
		if p == nil || !p.Settled() || instance.ID == p.Instance() {
			continue
		}
		if err := s.removeStale(ctx, p.ID); err != nil {
			return err
		}
	}
	return nil
}

// removeStale removes the other generations of a settled preview, unless somebody is at work on it.
func (s *Service) removeStale(ctx context.Context, id string) error {
	unlock, ok, err := s.Store.TryLock(ctx, "preview:"+id)
	if err != nil || !ok {
		return err
	}
	defer unlock()
	p, err := s.Store.Preview(ctx, id) // with the lock held: it may have been reset since it was listed
	if err != nil || !p.Settled() || p.State == mayfly.PreviewDeleted {
		return err
	}
	return s.removeGenerations(ctx, p, p.ObservedGeneration)
}

// deliveryKept is how long a delivery stays in the inbox: longer than GitHub offers to redeliver it (3 days), so that a redelivery
// is known.
const deliveryKept = 30 * 24 * time.Hour

// RetryDeliveries looks again at deliveries whose job was lost with a killed process, and forgets old ones.
func (s *Service) RetryDeliveries(ctx context.Context) error {
	now := s.Clock()
	if err := s.Store.RequeueDeliveries(ctx, now.Add(-time.Minute)); err != nil {
		return err
	}
	_, err := s.Store.PurgeDeliveries(ctx, now.Add(-deliveryKept))
	return err
}
