package templates

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Cancel stops the build of a template, whichever process runs it: that one notices within CancelPoll, removes what there is and
// records the state failed with CodeCancelled. One that nobody is building is settled here. CodeConflict if the template is not being built.
func (s *Service) Cancel(ctx context.Context, templateID, by, reason string) (*mayfly.Template, error) {
	t, err := s.store.CancelTemplate(ctx, templateID, mayfly.Mark{At: s.clock().UTC(), By: by, Reason: reason})
	if err != nil {
		return nil, err
	}
	s.log.InfoContext(ctx, "template build is being cancelled", "template", t.ID, "project", t.Project, "by", by)
	unlock, ok, err := s.store.TryLock(ctx, LockName(t.ID))
	if err != nil || !ok {
		return t, err
	}
	defer unlock()
	settle := context.WithoutCancel(ctx)
	if t, err = s.store.Template(settle, t.ID); err != nil || t.State != mayfly.TemplateBuilding {
		return t, err
	}
	if err := s.builder.Discard(settle, t.ID); err != nil {
		return t, err
	}
	cancelled := cancelledBy(t)
	s.metrics.built(t.Project, outcome(cancelled), 0)
	if err := s.fail(settle, t, nil, cancelled); mayfly.ErrorCode(err) != mayfly.CodeCancelled {
		return t, err
	}
	return t, nil
}

// cancelledBy is the error that a build ends with that somebody cancelled.
func cancelledBy(t *mayfly.Template) error {
	text := "the build was cancelled"
	if t.Cancelled.By != "" {
		text += " by " + t.Cancelled.By
	}
	if t.Cancelled.Reason != "" {
		text += ": " + t.Cancelled.Reason
	}
	return mayfly.Errorf(mayfly.CodeCancelled, "%s", text).WithHint("build again with: mayfly template build --project %s", t.Project)
}

// untilCancelled returns a context that ends when somebody cancels the build of that template, with the reason as its cause. stop
// must be called.
func (s *Service) untilCancelled(ctx context.Context, templateID string) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var watching sync.WaitGroup
	done := make(chan struct{})
	watching.Go(func() {
		ticker := time.NewTicker(s.cancelPoll)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			// A state database that does not answer is no reason to stop: it says so elsewhere.
			if t, err := s.store.Template(ctx, templateID); err == nil && t.Cancelled != nil {
				cancel(cancelledBy(t))
			}
		}
	})
	return ctx, func() {
		close(done)
		watching.Wait()
		cancel(nil)
	}
}

// RollBack makes an older template of a project the one that new previews use: that of the version, or for 0 the one before the
// current. It returns the template that is current now, and those that were taken out of use: these are marked with who and why, and
// are deleted when no preview uses them any more. Existing previews keep theirs until they are reset.
func (s *Service) RollBack(ctx context.Context, project string, version int, by, reason string) (current *mayfly.Template, replaced []*mayfly.Template, err error) {
	if _, err := s.project(project); err != nil {
		return nil, nil, err
	}
	changed, err := s.store.RollBackTemplates(ctx, project, version, mayfly.Mark{At: s.clock().UTC(), By: by, Reason: reason})
	if err != nil {
		return nil, nil, err
	}
	for _, t := range changed[1:] {
		s.log.WarnContext(ctx, "template rolled back", "template", t.ID, "project", project, "version", t.Version, "to", changed[0].Version, "by", by, "reason", reason)
	}
	return changed[0], changed[1:], nil
}

// Remove deletes a template that no preview uses, at once. CodeConflict if one does, or if it is being built; and, unless force is
// set, if it is the one that new previews use. Removing one that is deleted already does nothing.
func (s *Service) Remove(ctx context.Context, templateID, by string, force bool) (*mayfly.Template, error) {
	t, err := s.store.Template(ctx, templateID)
	if err != nil {
		return nil, err
	}
	switch t.State {
	case mayfly.TemplateDeleted:
		return t, nil
	case mayfly.TemplateBuilding:
		return nil, mayfly.Errorf(mayfly.CodeConflict, "template %s is being built", t.ID).WithHint("stop that with: mayfly template cancel %s", t.ID)
	}
	if !force {
		all, err := s.store.Templates(ctx, t.Project)
		if err != nil {
			return nil, err
		}
		if current := Current(all); current != nil && current.ID == t.ID {
			return nil, mayfly.Errorf(mayfly.CodeConflict, "v%d is the template that new previews of %s use", t.Version, t.Project).
				WithHint("go back to the one before with: mayfly template rollback --project %s; or remove it all the same with --force", t.Project)
		}
	}
	deleted, err := s.store.DeleteTemplate(ctx, t.ID, mayfly.TemplateReady, mayfly.TemplateRetired, mayfly.TemplateFailed)
	if err != nil {
		return nil, err
	}
	if !deleted {
		return nil, mayfly.Errorf(mayfly.CodeConflict, "previews use the template v%d of %s", t.Version, t.Project).
			WithHint("reset or remove them first; mayfly ls --project %s shows which", t.Project)
	}
	if err := s.builder.Discard(context.WithoutCancel(ctx), t.ID); err != nil {
		return nil, err // the next sweep removes it
	}
	s.log.InfoContext(ctx, "template removed", "template", t.ID, "project", t.Project, "version", t.Version, "by", by)
	t.State = mayfly.TemplateDeleted
	return t, nil
}

// Current returns the template that new previews use, of those of one project; nil if there is none.
func Current(all []*mayfly.Template) *mayfly.Template {
	ready := slices.DeleteFunc(slices.Clone(all), func(t *mayfly.Template) bool { return t.State != mayfly.TemplateReady })
	if len(ready) == 0 {
		return nil
	}
	return slices.MaxFunc(ready, func(a, b *mayfly.Template) int { return cmp.Compare(a.Version, b.Version) })
}

// latest calls a function with the latest of values that come faster than it can take them.
type latest struct {
	values chan Progress
	done   sync.WaitGroup
}

func newLatest(use func(Progress)) *latest {
	l := &latest{values: make(chan Progress, 1)}
	l.done.Go(func() {
		for p := range l.values {
			use(p)
		}
	})
	return l
}

// put hands over a value. One goroutine at a time calls it.
func (l *latest) put(p Progress) {
	select {
	case <-l.values: // nobody took it yet, and it is old now
	default:
	}
	l.values <- p
}

// stop waits until the last value was used.
func (l *latest) stop() {
	close(l.values)
	l.done.Wait()
}
