package provisioner

import (
	"context"
	"errors"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// errSuperseded cancels work for a state that is no longer wanted.
var errSuperseded error = supersededError{}

type supersededError struct{}

func (supersededError) Error() string { return "a newer state is wanted" }

// Is makes the cause of a cancellation look like a cancellation to those who are cancelled: the engine's client would take
// it for an engine that does not answer.
func (supersededError) Is(target error) bool { return target == context.Canceled }

// Converge brings one preview from what is to what should be. It returns nil when that is reached, when the preview
// cannot be had and says so (state failed), or when another process is at it; any other error means "again later".
//
// No wish is lost: whoever holds the lock reads the wish again after releasing it, so a wish that was stored before
// another Converge failed to get the lock is seen by the holder.
func (s *Service) Converge(ctx context.Context, id string) error {
	for {
		unlock, ok, err := s.Store.TryLock(ctx, "preview:"+id)
		if err != nil || !ok {
			return err
		}
		err = s.convergeLocked(ctx, id)
		unlock()
		if err != nil && !errors.Is(err, errSuperseded) {
			return err
		}
		if ctx.Err() != nil { // time is up: the periodic reconcile looks at it again
			return nil //nolint:nilerr // said above
		}
		p, err := s.Store.Preview(ctx, id)
		if err != nil {
			return err
		}
		if p.State == mayfly.PreviewQueued && !p.WantDeleted || p.Settled() && p.FollowsBase() {
			return s.letOthersIn(ctx, p)
		}
	}
}

// convergeLocked takes one pass. It cancels itself when what is wanted changes so that the work is for nothing.
func (s *Service) convergeLocked(ctx context.Context, id string) error {
	changes, stop := s.Watcher.Watch(id) // before the row is read, so that no change after it goes unnoticed
	defer stop()
	p, err := s.Store.Preview(ctx, id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !p.WantDeleted {
		go s.cancelWhenSuperseded(ctx, cancel, *p, changes)
	}
	err = s.act(ctx, p)
	if err == nil {
		err = s.applyPendingLogins(ctx, p)
	}
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errSuperseded), errors.Is(context.Cause(ctx), errSuperseded):
		return errSuperseded
	case errors.Is(ctx.Err(), context.DeadlineExceeded) && p.State == mayfly.PreviewMigrating:
		// Another run would take as long, on a fresh clone each time.
		return s.fail(context.WithoutCancel(ctx), p, mayfly.Errorf(mayfly.CodeMigrationFailed,
			"the migrations did not end in the time that a preview may take to be made: %w", err).
			WithHint("split them, or bound each statement with migrations.statement_timeout"))
	case ctx.Err() != nil: // shutting down: the next start goes on
		return err
	}
	if later := (*LaterError)(nil); errors.As(err, &later) { // nothing is wrong
		return err
	}
	return s.fail(ctx, p, err)
}

func (s *Service) cancelWhenSuperseded(ctx context.Context, cancel context.CancelCauseFunc, began mayfly.Preview, changes <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		}
		now, err := s.Store.Preview(ctx, began.ID)
		if err != nil {
			continue // the work itself will see a dead state database
		}
		moved := began.PR != nil && now.PR != nil && began.PR.HeadSHA != now.PR.HeadSHA
		if now.WantDeleted || now.Generation != began.Generation || moved {
			cancel(errSuperseded)
			return
		}
	}
}

// act does what the difference between what should be and what is demands.
func (s *Service) act(ctx context.Context, p *mayfly.Preview) error {
	migrated := func() {}
	if s.mayMigrate(p) {
		release, err := s.migrationSlot(ctx)
		if err != nil {
			return err
		}
		migrated = sync.OnceFunc(release)
		defer migrated()
	}
	switch {
	case p.State == mayfly.PreviewDeleted, p.State == mayfly.PreviewQueued && !p.WantDeleted:
		return nil
	case p.WantDeleted:
		return s.tearDown(ctx, p)
	case p.ObservedGeneration != p.Generation, p.State == mayfly.PreviewPending, p.State == mayfly.PreviewCreating,
		p.State == mayfly.PreviewFailed && !permanent(p.Failure):
		if err := s.build(ctx, p); err != nil {
			return err
		}
		return s.migrate(ctx, p, migrated)
	case p.State == mayfly.PreviewMigrating:
		// A process died while migrations ran: nobody knows how far they came. A clone is cheap.
		return s.rebuild(ctx, p, "the service stopped while migrations ran")
	case p.PR != nil && p.ObservedSHA != p.PR.HeadSHA:
		if err := s.wake(ctx, p); err != nil {
			return err
		}
		return s.migrate(ctx, p, migrated)
	case !p.FollowsBase():
		return s.followBase(ctx, p)
	case p.WantSuspended:
		return s.suspend(ctx, p)
	case p.State == mayfly.PreviewFailed && !p.Connectable():
		return nil
	default:
		if err := s.wake(ctx, p); err != nil {
			return err
		}
		return s.tryAgain(ctx, p)
	}
}

// permanent reports whether trying again cannot help until something else changes.
func permanent(f *mayfly.Failure) bool {
	if f == nil {
		return false
	}
	switch f.Code {
	case mayfly.CodeMigrationFailed, mayfly.CodeMigrationInvalid, mayfly.CodeHeadGone, mayfly.CodeForkDenied, mayfly.CodeProtected, mayfly.CodeInvalid:
		return true
	}
	return false
}

// fail records why the preview is not what it should be. A permanent failure settles the preview and gives nil; any other is
// returned, to be tried again. The state of a preview that clients use is not touched by a passing failure.
func (s *Service) fail(ctx context.Context, p *mayfly.Preview, cause error) error {
	s.Logger.WarnContext(ctx, "preview did not converge", "preview", p.Name, "error", cause)
	p.Failure = mayfly.FailureOf(cause)
	settled := permanent(p.Failure)
	if settled {
		p.State = mayfly.PreviewFailed
		p.ObservedGeneration = p.Generation
		if p.PR != nil {
			p.ObservedSHA, p.ObservedBaseRef, p.ObservedBaseSHA = p.PR.HeadSHA, p.PR.BaseRef, p.PR.BaseSHA
		}
	}
	if err := s.Store.Observe(ctx, p); err != nil {
		return errors.Join(cause, err)
	}
	if settled {
		return nil
	}
	return cause
}

// rebuild asks for a new generation and ends this pass.
func (s *Service) rebuild(ctx context.Context, p *mayfly.Preview, why string) error {
	if err := s.mayRebuild(ctx, p, why); err != nil {
		return err
	}
	generation := p.Generation
	now := s.Clock()
	if err := s.Store.AddStep(ctx, p.ID, mayfly.Step{Name: "rebuild", Detail: why, StartedAt: now, FinishedAt: &now}); err != nil {
		return err
	}
	_, err := s.Store.ChangePreview(ctx, p.ID, func(p *mayfly.Preview) error {
		if p.Generation == generation {
			p.Generation++
			if p.PR != nil { // its migrations are to run on the template again, not on a state in which others ran
				p.SnapshotID = ""
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errSuperseded
}

// stopTimeout is how long Postgres may take to shut down cleanly before it is killed.
const stopTimeout = 30 * time.Second

// suspend stops the instance. Its clients are disconnected first: a fast shutdown would do the same less politely.
func (s *Service) suspend(ctx context.Context, p *mayfly.Preview) error {
	s.Connections.Disconnect(p.ID)
	err := s.step(ctx, p, "suspend", "", func(ctx context.Context) (string, error) {
		err := s.Engine.Stop(ctx, p.Instance(), stopTimeout)
		if errors.Is(err, driver.ErrNotFound) { // somebody removed it: nothing runs, and waking makes it anew
			return "", nil
		}
		return "", err
	})
	if err != nil {
		return err
	}
	if p.State != mayfly.PreviewFailed {
		p.State = mayfly.PreviewSuspended
	}
	return s.Store.Observe(ctx, p)
}

// wake makes sure that the instance runs and accepts connections; it makes it anew if it is gone while the volume is there.
// A preview whose volume is gone is rebuilt: there is nothing left to keep.
func (s *Service) wake(ctx context.Context, p *mayfly.Preview) error {
	lost, err := s.volumeLost(ctx, p)
	if err != nil {
		return err
	}
	if lost {
		return s.rebuild(ctx, p, "its volume was gone")
	}
	instance, err := s.Engine.Inspect(ctx, p.Instance())
	stale := p.ObservedPassword != p.PasswordVersion
	if err == nil && instance.Running && !instance.Paused && !stale && p.State == mayfly.PreviewReady {
		return s.clearFailure(ctx, p)
	}
	err = s.step(ctx, p, "wake", "", func(ctx context.Context) (string, error) {
		template, err := s.Store.Template(ctx, p.TemplateID)
		if err != nil {
			return "", err
		}
		conn, err := s.startInstance(ctx, p, template)
		if err != nil {
			return "", err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if stale {
			return "new password", s.changePassword(ctx, conn, p)
		}
		return "", nil
	})
	if err != nil {
		return err
	}
	if p.State == mayfly.PreviewFailed { // inspectable, and stays failed
		if stale {
			return s.Store.Observe(ctx, p)
		}
		return nil
	}
	// Whoever woke it is about to use it: it has not been idle since before it slept.
	if err := s.Store.Touch(ctx, p.ID, s.Clock()); err != nil {
		return err
	}
	p.State, p.Failure = mayfly.PreviewReady, nil
	return s.Store.Observe(ctx, p)
}

// volumeLost reports whether the preview's volume is gone. It is an error if its template's is gone too: then it is the
// pool that is not there, and what seems lost may come back.
func (s *Service) volumeLost(ctx context.Context, p *mayfly.Preview) (bool, error) {
	volumes, err := s.Volumes.List(ctx)
	if err != nil {
		return false, err
	}
	has := map[string]bool{}
	for _, volume := range volumes {
		has[volume.ID] = true
	}
	if has[p.Instance()] {
		return false, nil
	}
	if p.SnapshotID != "" && has[p.SnapshotID] {
		return true, nil
	}
	template, err := s.templateOf(ctx, p)
	if err != nil {
		return false, err
	}
	if !has[template.ID] {
		return false, templateLost(template)
	}
	return true, nil
}

func (s *Service) clearFailure(ctx context.Context, p *mayfly.Preview) error {
	if p.Failure == nil {
		return nil
	}
	p.Failure = nil
	return s.Store.Observe(ctx, p)
}
