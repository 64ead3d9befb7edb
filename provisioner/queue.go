package provisioner

import (
	"context"
	"fmt"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// Quotas bound what previews may use together: of the whole server, of each project, of each person, and of each token.
type Quotas struct {
	Server, Project, Person, Token store.Quota
	// Projects are for single projects, in the place of Project.
	Projects map[string]store.Quota
}

// limitsOf returns the limits that a project's previews have.
func (s *Service) limitsOf(name string) store.Limits {
	project, _ := s.Projects.Project(name)
	ofProject, own := s.Quotas.Projects[name]
	if !own {
		ofProject = s.Quotas.Project
	}
	return store.Limits{
		Project: project.Previews.MaxPreviews, Total: s.MaxPreviews,
		OfServer: s.Quotas.Server, OfProject: ofProject, OfPerson: s.Quotas.Person, OfToken: s.Quotas.Token,
	}
}

// add stores a new preview, the only way in: within the quotas, and while the pool has room. Otherwise it waits in the queue, if queue says so,
// or is refused.
func (s *Service) add(ctx context.Context, p *mayfly.Preview, settings mayfly.PreviewSettings, queue bool) error {
	return s.addOnce(ctx, nil, p, settings, queue)
}

// addOnce is add for a request that may be made again: a *store.DoneError if it was made before.
func (s *Service) addOnce(ctx context.Context, once *store.Once, p *mayfly.Preview, settings mayfly.PreviewSettings, queue bool) error {
	settings = s.sized(p, settings)
	limits := s.limitsOf(p.Project)
	limits.Queue = queue
	err := s.checkSpace(ctx)
	if err != nil && mayfly.ErrorCode(err) != mayfly.CodePoolFull {
		return err
	}
	limits.Full = err
	p.ReservedMemory = or(p.ReservedMemory, or(settings.MemoryBytes, defaultMemoryBytes))
	p.ReservedDisk = or(p.ReservedDisk, or(settings.DiskBytes, defaultDiskBytes))
	err = s.Store.CreatePreviewOnce(ctx, once, p, limits)
	if reached := store.ReachedQuota(err); reached != nil {
		s.makeRoom(ctx, p, reached)
	}
	return err
}

// Promote lets previews in that wait for room, in their turns. Where only the number of running previews, or their memory, keeps one out,
// an idle one is put to sleep: it wakes when somebody connects. It is called when something has ended, and periodically in case that
// whoever ended it died.
func (s *Service) Promote(ctx context.Context) error {
	full := s.checkSpace(ctx)
	if full != nil && mayfly.ErrorCode(full) != mayfly.CodePoolFull {
		return full
	}
	promoted, held, err := s.Store.Promote(ctx, full)
	if promoted > 0 {
		s.Logger.InfoContext(ctx, "previews leave the queue", "previews", promoted)
	}
	if reached := store.ReachedQuota(held); reached != nil && err == nil {
		s.makeRoomForQueued(ctx, reached)
	}
	return err
}

// letOthersIn is called when a preview has come to rest: what it was given up for may have room now.
func (s *Service) letOthersIn(ctx context.Context, p *mayfly.Preview) error {
	if p.State != mayfly.PreviewDeleted && p.State != mayfly.PreviewSuspended {
		return nil
	}
	if err := s.Promote(ctx); err != nil {
		s.Logger.WarnContext(ctx, "cannot look at the queue; the periodic job does", "error", err)
	}
	return nil
}

// idleBeforeRoom is for how long nobody used a preview that is put to sleep for another. The gateway says every minute who uses one.
const idleBeforeRoom = 2 * time.Minute

// makeRoomForQueued makes room for the queued previews that the quota keeps out.
func (s *Service) makeRoomForQueued(ctx context.Context, reached *store.QuotaError) {
	queued, err := s.Store.Previews(ctx, store.Filter{State: mayfly.PreviewQueued, Page: store.Page{Limit: 1}})
	if err != nil || len(queued) == 0 {
		return
	}
	s.makeRoom(ctx, queued[0], reached)
}

// makeRoom asks for the preview to be suspended that nobody has used for longest, of those that count against the quota that keeps p
// out. Nothing is done if that would not help, or all of them are in use.
func (s *Service) makeRoom(ctx context.Context, p *mayfly.Preview, reached *store.QuotaError) {
	if reached.What != "running" && reached.What != "memory" {
		return
	}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: "system:make_room"})
	filter := store.Filter{State: mayfly.PreviewReady}
	if reached.Scope == store.OfProject {
		filter.Project = p.Project
	}
	ready, err := s.Store.Previews(ctx, filter)
	if err != nil {
		s.Logger.WarnContext(ctx, "cannot look for idle previews", "error", err)
		return
	}
	var idlest *mayfly.Preview
	for _, other := range ready {
		counts := reached.Scope != store.OfPerson || other.CreatedBy == p.CreatedBy
		counts = counts && (reached.Scope != store.OfToken || other.CreatedToken == p.CreatedToken)
		if counts && other.ID != p.ID && s.mayRest(other) && (idlest == nil || usedAt(other).Before(usedAt(idlest))) {
			idlest = other
		}
	}
	if idlest == nil {
		return
	}
	s.Logger.InfoContext(ctx, "an idle preview makes room", "preview", idlest.Name, "for", p.Name)
	_, err = s.Store.ChangePreview(ctx, idlest.ID, func(now *mayfly.Preview) error {
		now.WantSuspended = now.WantSuspended || s.mayRest(now) // somebody may have connected since
		return nil
	})
	if err != nil {
		s.Logger.WarnContext(ctx, "cannot suspend an idle preview", "preview", idlest.Name, "error", err)
	}
}

// mayRest reports whether nobody will miss a preview that runs.
func (s *Service) mayRest(p *mayfly.Preview) bool {
	return p.State == mayfly.PreviewReady && p.Settled() && !p.WantDeleted && s.Connections.Active(p.ID) == 0 &&
		s.Clock().Sub(usedAt(p)) > idleBeforeRoom
}

// usedAt is when a preview was used last, made ready or made.
func usedAt(p *mayfly.Preview) time.Time {
	used := p.CreatedAt
	for _, at := range []*time.Time{p.ReadyAt, p.LastUsedAt} {
		if at != nil && at.After(used) {
			used = *at
		}
	}
	return used
}

// wakeRetry is how often waking is tried again while an idle preview is being put to sleep for it.
const wakeRetry = 250 * time.Millisecond

// wakeForClient is Wake for somebody who waits: while only idle previews are in the way, they are put to sleep. CodeQuotaExceeded when ctx
// ends before there is room.
func (s *Service) wakeForClient(ctx context.Context, name string) (*mayfly.Preview, error) {
	for {
		p, err := s.Wake(ctx, name)
		reached := store.ReachedQuota(err)
		if reached == nil {
			return p, err
		}
		if p, findErr := s.Store.PreviewByName(ctx, name); findErr == nil {
			s.makeRoom(ctx, p, reached)
		}
		timer := time.NewTimer(wakeRetry)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, err
		}
	}
}

// queuedText says where a queued preview stands, to go after "<name> is ".
func (s *Service) queuedText(ctx context.Context, p *mayfly.Preview) string {
	places, err := s.Store.QueuePlaces(ctx)
	place, ok := places[p.ID]
	if err != nil || !ok {
		return string(p.State)
	}
	return fmt.Sprintf("queued, position %d of %d", place.Position, place.Length)
}
