package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// trial is one thing that is tried with a pull request's migrations on a clone of the template that is thrown away.
type trial struct {
	name string
	run  func(ctx context.Context, plan migrations.Plan, connect func(context.Context) (*pgx.Conn, error)) (said string, err error)
}

// trials tries, once the preview is there for people to use, what cannot be tried on it: rolling the migrations back, and applying
// them while others are at work. What comes of it is added to the report. That it cannot be tried fails nothing.
func (s *Service) trials(ctx context.Context, p *mayfly.Preview, project mayfly.Project, work work) error {
	return s.tryInTurn(ctx, p, false, func(ctx context.Context) error { return s.tryAll(ctx, p, project, work) })
}

// tryInTurn runs try when nobody waits for anything else, and until something else is wanted of the preview. What is broken off stays due;
// again says that it was before, without anybody knowing why: if the process ends in it once more, that is enough.
func (s *Service) tryInTurn(ctx context.Context, p *mayfly.Preview, again bool, try func(context.Context) error) error {
	release, ok := s.trialTurn()
	if !ok {
		const least, spread = 2 * time.Second, 2 * time.Second
		return &LaterError{After: least + rand.N(spread), Reason: "previews that somebody waits for come before trials"} //nolint:gosec // jitter, not a secret
	}
	defer release()
	if again {
		if err := s.Store.SetRehearsalDue(ctx, p.ID, false); err != nil {
			return err
		}
	}
	during, stop := s.whileSettled(ctx, p.ID)
	defer stop()
	err := try(during)
	switch cause := context.Cause(during); {
	case cause == nil:
	case again && !errors.Is(cause, context.DeadlineExceeded):
		return errors.Join(cause, s.Store.SetRehearsalDue(context.WithoutCancel(ctx), p.ID, true))
	default:
		return errors.Join(cause, err)
	}
	if err != nil {
		s.Logger.WarnContext(ctx, "cannot rehearse the migrations", "preview", p.Name, "error", err)
	}
	return s.Store.SetRehearsalDue(ctx, p.ID, false)
}

// whileSettled returns a context that ends when anything else is wanted of the preview: sleep, another password, another commit. Whoever
// wants it waits for the preview's lock, which a trial holds for as long as the migrations take.
func (s *Service) whileSettled(ctx context.Context, id string) (during context.Context, stop func()) {
	during, cancel := context.WithCancelCause(ctx)
	changes, forget := s.Watcher.Watch(id)
	go func() {
		defer forget()
		for {
			now, err := s.Store.Preview(during, id)
			if err == nil && !now.Settled() {
				cancel(errSuperseded)
				return
			}
			select {
			case <-during.Done():
				return
			case <-changes:
			}
		}
	}()
	return during, func() { cancel(nil) }
}

// trialTurn lets one trial run at a time, and none begin while migrations of pull requests run: somebody waits for those.
func (s *Service) trialTurn() (release func(), ok bool) {
	if len(s.slots) > 0 {
		return nil, false
	}
	select {
	case s.trialling <- struct{}{}:
		return func() { <-s.trialling }, true
	default:
		return nil, false
	}
}

func (s *Service) tryAll(ctx context.Context, p *mayfly.Preview, project mayfly.Project, work work) error {
	report, err := s.storedReport(ctx, p)
	if err != nil || report == nil || p.SnapshotID != "" { // which is not what production has
		return err
	}
	known := s.recorded(ctx, p, project, nil)
	if known == nil {
		return nil
	}
	plan, err := work.history.Compare(known.comparison(known.state, work.base))
	if err != nil {
		return nil //nolint:nilerr // the preview's own run said so
	}
	tables, err := s.tablesOf(ctx, p)
	if err != nil {
		return err
	}
	todo := s.trialsOf(p, project, work, report, plan, tables)
	if len(todo) == 0 || migrations.Code(project.Migrations) { // code cannot be tried statement by statement
		return s.tell(ctx, p, report)
	}
	for _, t := range todo {
		err := s.step(ctx, p, t.name, "on a clone of its own", func(ctx context.Context) (said string, err error) {
			limited, cancel := context.WithTimeout(ctx, 3*or(project.Migrations.Timeout, defaultMigrationTimeout))
			defer cancel()
			err = s.onClone(limited, p, func(ctx context.Context, connect func(context.Context) (*pgx.Conn, error)) error {
				plan, err := s.planOnClone(ctx, project, work, known, connect)
				if err == nil {
					said, err = t.run(ctx, plan, connect)
				}
				return err
			})
			return said, err
		})
		if err != nil {
			return err
		}
	}
	return s.tell(ctx, p, report)
}

// trialsOf lists what there is to try that was not tried with the same migrations before.
func (s *Service) trialsOf(p *mayfly.Preview, project mayfly.Project, work work, report *migrations.Report, plan migrations.Plan, tables []string) []trial {
	var todo []trial
	opts := migrations.ApplyOptions{
		StatementTimeout: project.Migrations.StatementTimeout, LockTimeout: project.Migrations.LockTimeout, DatabaseNames: []string{p.Name},
	}
	what := work.history.Reversible(plan)
	switch {
	case project.Migrations.NoRehearsal, what == nil:
		report.Rehearsed(nil)
	case report.Rollback == nil || report.Rollback.Key != what.Key:
		todo = append(todo, trial{"rehearse rollback", func(ctx context.Context, plan migrations.Plan, connect func(context.Context) (*pgx.Conn, error)) (string, error) {
			rollback, err := work.history.Rehearse(ctx, plan, migrations.RehearseOptions{ApplyOptions: opts, Connect: connect, Tables: tables})
			if err != nil || rollback == nil {
				return "", err
			}
			report.Rehearsed(rollback)
			return rollback.String(), nil
		}})
	}
	load := project.Migrations.Load
	ran := slices.ContainsFunc(report.Applied, func(step migrations.Step) bool { return step.Error == "" })
	switch {
	case load == mayfly.MigrationLoad{}, len(plan.Pending) == 0:
		report.Loaded(nil)
	case ran && len(tables) > 0 && (report.Load == nil || report.Load.Key != plan.Key()):
		todo = append(todo, trial{"migrate under load", func(ctx context.Context, plan migrations.Plan, connect func(context.Context) (*pgx.Conn, error)) (string, error) {
			felt, err := work.history.ApplyUnderLoad(ctx, plan, migrations.LoadOptions{
				ApplyOptions: opts, Connect: connect, Tables: tables, Readers: load.Readers, Writers: load.Writers,
			})
			if err != nil {
				return "", err
			}
			report.Loaded(felt)
			return fmt.Sprintf("%d tables", len(felt.Tables)), nil
		}})
	}
	return todo
}

// tell stores the report and has it published, if that is news.
func (s *Service) tell(ctx context.Context, p *mayfly.Preview, report *migrations.Report) error {
	if err := s.restoreReport(ctx, p, report); err != nil {
		return err
	}
	return s.Store.Publish(ctx, p.ID)
}

// tablesOf lists the tables that the pull request's migrations work on.
func (s *Service) tablesOf(ctx context.Context, p *mayfly.Preview) ([]string, error) {
	raw, err := s.Store.Touched(ctx, p.ID)
	if err != nil || len(raw) == 0 {
		return nil, err
	}
	var touched migrations.Touched
	if err := json.Unmarshal(raw, &touched); err != nil {
		return nil, fmt.Errorf("read what preview %s touches: %w", p.Name, err)
	}
	return touched.Tables, nil
}

// planOnClone plans what a fresh clone of the template gets: all that the preview has on top of it.
func (s *Service) planOnClone(
	ctx context.Context, project mayfly.Project, work work, known *recorded, connect func(context.Context) (*pgx.Conn, error),
) (migrations.Plan, error) {
	conn, err := connect(ctx)
	if err != nil {
		return migrations.Plan{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	state, err := migrations.ReadState(ctx, conn, project.Migrations)
	if err != nil {
		return migrations.Plan{}, err
	}
	return work.history.Compare(known.comparison(state, work.base))
}

// trialInstance names the volume and the instance of a clone that is thrown away. It is none of the preview's generations: whatever a
// crash leaves of it is removed with those.
func trialInstance(p *mayfly.Preview) string { return p.ID + "-trial" }

// onClone runs fn with a clone of the preview's template, and removes that clone. The caller holds the preview's lock, so there is one
// at a time.
func (s *Service) onClone(ctx context.Context, p *mayfly.Preview, fn func(ctx context.Context, connect func(context.Context) (*pgx.Conn, error)) error) (err error) {
	template, err := s.Store.Template(ctx, p.TemplateID)
	if err != nil {
		return err
	}
	if err := s.checkSpace(ctx); err != nil {
		return err
	}
	if err := s.removeTrial(ctx, p); err != nil { // what a crash left
		return err
	}
	defer func() { err = errors.Join(err, s.removeTrial(context.WithoutCancel(ctx), p)) }()
	project, _ := s.Projects.Project(p.Project)
	id := trialInstance(p)
	if err := s.Volumes.Clone(ctx, template.ID, id, or(s.sized(p, project.Previews).DiskBytes, defaultDiskBytes)); err != nil {
		return cloneError(err, template)
	}
	s.Checkpoint("trial cloned")
	spec := s.instanceSpec(p, template)
	spec.ID, spec.Volume = id, id
	if err := s.Engine.Create(ctx, spec); err != nil {
		return err
	}
	if err := s.Engine.Start(ctx, id); err != nil {
		return err
	}
	ready, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	admin, err := cluster.WaitReady(ready, s.Engine, id, template.Database, func(ctx context.Context) error { return s.alive(ctx, id) })
	if err != nil {
		return err
	}
	err = s.setPassword(ctx, admin, p)
	if err = errors.Join(err, admin.Close(context.WithoutCancel(ctx))); err != nil {
		return err
	}
	s.Checkpoint("trial started")
	ctx, outgrown := s.withinDisk(ctx, p, id, project)
	defer func() {
		if full := outgrown(); err != nil && full != nil {
			err = full
		}
	}()
	return fn(ctx, func(ctx context.Context) (*pgx.Conn, error) { return s.connectTo(ctx, p, id) })
}

func (s *Service) removeTrial(ctx context.Context, p *mayfly.Preview) error {
	id := trialInstance(p)
	if err := s.Engine.Remove(ctx, id); err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	if err := s.Volumes.Delete(ctx, id); err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	return nil
}

// tryAgain does what was due when the process that should have done it ended. It is tried once more, and not for ever.
func (s *Service) tryAgain(ctx context.Context, p *mayfly.Preview) error {
	if p.PR == nil || p.State != mayfly.PreviewReady {
		return nil
	}
	due, err := s.Store.RehearsalDue(ctx, p.ID)
	if err != nil || !due {
		return err
	}
	return s.tryInTurn(ctx, p, true, func(ctx context.Context) error {
		project, err := s.projectFor(ctx, p)
		if err != nil {
			return err
		}
		work, err := s.work(ctx, p, &project)
		if err != nil {
			return err
		}
		return s.tryAll(ctx, p, project, work)
	})
}

// recheckTrials has previews looked at whose trials were broken off.
func (s *Service) recheckTrials(ctx context.Context) error {
	due, err := s.Store.RehearsalsDue(ctx)
	if err != nil {
		return err
	}
	for _, id := range due {
		if err := s.Recheck(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// sweepTrials removes what a crash left of a trial before it had an instance; one with an instance is found like another generation.
func (s *Service) sweepTrials(ctx context.Context, previews []*mayfly.Preview, volumes []driver.Volume) error {
	has := map[string]bool{}
	for _, volume := range volumes {
		has[volume.ID] = true
	}
	for _, p := range previews {
		if !p.Settled() || !has[trialInstance(p)] {
			continue
		}
		if err := s.removeStale(ctx, p.ID); err != nil {
			return err
		}
	}
	return nil
}
