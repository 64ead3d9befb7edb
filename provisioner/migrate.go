package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/migrations"
)

// mayMigrate reports whether bringing the preview to what should be can mean running its pull request's migrations.
func (s *Service) mayMigrate(p *mayfly.Preview) bool {
	return p.PR != nil && !p.WantDeleted && !p.Settled() &&
		(p.ObservedGeneration != p.Generation || p.ObservedSHA != p.PR.HeadSHA)
}

// slotWait is how long a preview waits for its turn to migrate before it gives its worker to somebody else.
const slotWait = 250 * time.Millisecond

// migrationSlot waits for one of the slots in which migrations may run. There are fewer than workers: pull requests whose
// migrations take hours must not keep others from being created, woken and removed.
func (s *Service) migrationSlot(ctx context.Context) (release func(), err error) {
	timer := time.NewTimer(slotWait)
	defer timer.Stop()
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
		return nil, &LaterError{After: time.Second, Reason: "migrations of other pull requests are running"}
	}
}

// migrate applies what the pull request's head has and the preview has not, and makes the preview ready. A preview that cannot be
// brought there from where it is (an applied file was edited, a migration failed before) is rebuilt from its template. done gives back
// the slot in which migrations run: what comes after them takes nobody's turn.
func (s *Service) migrate(ctx context.Context, p *mayfly.Preview, done func()) error {
	project, err := s.projectFor(ctx, p)
	if err != nil {
		return err
	}
	if p.PR == nil || project.Migrations.Tool == "" {
		return s.ready(ctx, p)
	}
	work, err := s.work(ctx, p, &project)
	if err != nil {
		return err
	}
	if p.ObservedSHA != "" {
		if why, err := s.mustRebuild(ctx, p, project, work); err != nil || why != "" {
			return errors.Join(err, s.rebuildBecause(ctx, p, why))
		}
	}
	p.State, p.Failure = mayfly.PreviewMigrating, nil
	if err := s.Store.Observe(ctx, p); err != nil {
		return err
	}
	s.Checkpoint("migrating")
	if err := s.apply(ctx, p, project, work); err != nil {
		return err
	}
	if err := s.Store.SetRehearsalDue(ctx, p.ID, true); err != nil {
		return err
	}
	if err := s.ready(ctx, p); err != nil {
		return err
	}
	done()
	return s.trials(ctx, p, project, work)
}

func (s *Service) rebuildBecause(ctx context.Context, p *mayfly.Preview, why string) error {
	if why == "" {
		return nil
	}
	return s.rebuild(ctx, p, why)
}

func (s *Service) ready(ctx context.Context, p *mayfly.Preview) error {
	now := s.Clock()
	p.State, p.Failure, p.ReadyAt = mayfly.PreviewReady, nil, &now
	if p.PR != nil {
		p.ObservedSHA, p.ObservedBaseRef, p.ObservedBaseSHA = p.PR.HeadSHA, p.PR.BaseRef, p.PR.BaseSHA
	}
	return s.Store.Observe(ctx, p)
}

// work is what a pull request's head asks for.
type work struct {
	history *migrations.History
	base    *migrations.History // of the base branch; nil if it cannot be had
	seeds   []migrations.File
}

// work reads the migrations at the head of the pull request and at its base. If the tool is to be found out, it is found
// out from them and from the preview's database, and put into the project.
func (s *Service) work(ctx context.Context, p *mayfly.Preview, project *mayfly.Project) (work, error) {
	var w work
	err := s.step(ctx, p, "fetch migrations", "", func(ctx context.Context) (string, error) {
		files, err := s.filesOf(ctx, p, p.PR.HeadSHA, project.Migrations)
		if err != nil {
			return "", err
		}
		how := ""
		if project.Migrations.Tool == migrations.Auto {
			if how, err = s.resolve(ctx, p, project, files); err != nil {
				return "", err
			}
		}
		if w.history, err = migrations.Parse(project.Migrations, files); err != nil {
			return "", err
		}
		w.base = s.baseHistory(ctx, p, *project)
		if w.seeds, err = s.seeds(ctx, p, *project); err != nil {
			return "", err
		}
		return fmt.Sprintf("%d at %.7s%s", len(w.history.Migrations), p.PR.HeadSHA, how), nil
	})
	return w, err
}

func (s *Service) filesAt(ctx context.Context, p *mayfly.Preview, sha, dir string) ([]migrations.File, error) {
	files, err := s.Forge.Files(ctx, p.PR.RepositoryID, sha, dir)
	if err != nil {
		return nil, err
	}
	converted := make([]migrations.File, len(files))
	for i, f := range files {
		converted[i] = migrations.File{Path: f.Path, SHA: f.SHA, Content: f.Content}
	}
	return converted, nil
}

// resolve finds out the project's migration tool.
func (s *Service) resolve(ctx context.Context, p *mayfly.Preview, project *mayfly.Project, files []migrations.File) (how string, err error) {
	conn, err := s.connectAsOwner(ctx, p)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	settings, found, err := migrations.Resolve(ctx, conn, project.Migrations, files)
	if err != nil {
		return "", err
	}
	project.Migrations = settings
	return fmt.Sprintf("; %s: %s", or(found.Tool, "no tool"), found.Reason), nil
}

// baseHistory reads the migrations of the base branch. They make plainer what the pull request changes; without them it
// works as well. A base branch without any says nothing about what the database has.
func (s *Service) baseHistory(ctx context.Context, p *mayfly.Preview, project mayfly.Project) *migrations.History {
	if p.PR.BaseSHA == "" {
		return nil
	}
	files, err := s.filesOf(ctx, p, p.PR.BaseSHA, project.Migrations)
	if err == nil {
		var base *migrations.History
		if base, err = migrations.Parse(project.Migrations, files); err == nil && len(base.Migrations) > 0 {
			return base
		}
	}
	if err == nil {
		return nil
	}
	s.Logger.WarnContext(ctx, "cannot compare with the base branch's migrations", "preview", p.Name, "error", err)
	return nil
}

// maxSeedBytes bounds one seed file.
const maxSeedBytes = 16 << 20

// seeds reads the seed files, each path of which may lie anywhere in the repository. A preview that is not new has had them.
func (s *Service) seeds(ctx context.Context, p *mayfly.Preview, project mayfly.Project) ([]migrations.File, error) {
	if len(project.Migrations.Seed) == 0 || p.ObservedSHA != "" {
		return nil, nil
	}
	var all []migrations.File
	for _, seed := range project.Migrations.Seed {
		name := strings.Trim(seed, "/")
		if !strings.HasSuffix(name, ".sql") {
			files, err := s.filesAt(ctx, p, p.PR.HeadSHA, name)
			if err != nil {
				return nil, err
			}
			all = append(all, files...)
			continue
		}
		// By itself: what is beside it may be the whole repository.
		content, ok, err := s.Forge.File(ctx, p.PR.RepositoryID, p.PR.HeadSHA, name, maxSeedBytes)
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, migrations.File{Path: name, Content: content})
		}
	}
	slices.SortFunc(all, func(a, b migrations.File) int { return strings.Compare(a.Path, b.Path) })
	return migrations.Seeds(project.Migrations, slices.CompactFunc(all, func(a, b migrations.File) bool { return a.Path == b.Path }))
}

// mustRebuild says why the history cannot be applied on top of what the preview has; "" if it can.
func (s *Service) mustRebuild(ctx context.Context, p *mayfly.Preview, project mayfly.Project, work work) (string, error) {
	if project.Migrations.AlwaysRebuild && p.ObservedSHA != p.PR.HeadSHA {
		return "migrations.always_rebuild is set", nil
	}
	if p.Failure != nil {
		return "the run before failed: " + p.Failure.Message, nil
	}
	if why := unknownFiles(p, project); why != "" {
		return why, nil
	}
	raw, _, err := s.Store.Migrated(ctx, p.ID)
	if err != nil {
		return "", err
	}
	var applied []migrations.AppliedFile
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &applied); err != nil {
			return "", fmt.Errorf("read which migrations preview %s has: %w", p.Name, err)
		}
	}
	if extends, why := work.history.ExtendsApplied(applied); !extends {
		return why, nil
	}
	known := s.recorded(ctx, p, project, nil)
	if known == nil || p.FollowsBase() {
		return "", nil
	}
	plan, err := work.history.Compare(known.comparison(known.state, work.base))
	if err != nil {
		return "", nil //nolint:nilerr // applying it says so
	}
	return s.rebased(ctx, p, plan, false)
}

// apply runs the pending migrations as the application's role and stores the report, also of a run that failed.
func (s *Service) apply(ctx context.Context, p *mayfly.Preview, project mayfly.Project, work work) error {
	conn, err := s.connectAsOwner(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	state, err := migrations.ReadState(ctx, conn, project.Migrations)
	if err != nil {
		return err
	}
	var fresh *migrations.State // of the template
	if p.ObservedSHA == "" && p.SnapshotID == "" {
		fresh = &state
	}
	known := s.recorded(ctx, p, project, fresh)
	plan, err := work.history.Compare(known.comparison(state, work.base))
	if err != nil {
		return err
	}
	if err := s.planOnTop(ctx, p, plan); err != nil {
		return err
	}
	before := s.columns(ctx, conn)
	var report *migrations.Report
	applyErr := s.step(ctx, p, "migrate", fmt.Sprintf("%d pending", len(plan.Pending)), func(ctx context.Context) (string, error) {
		limit := or(project.Migrations.Timeout, defaultMigrationTimeout)
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		opts := migrations.ApplyOptions{
			StatementTimeout: project.Migrations.StatementTimeout, LockTimeout: project.Migrations.LockTimeout,
			Observe: true, DatabaseNames: []string{p.Name}, Now: s.Clock, Progress: func(step migrations.Step) { s.recordMigration(ctx, p, step) },
		}
		var err error
		within, outgrown := limited, func() error { return nil }
		if !migrations.Code(project.Migrations) { // a run of the project's own command is watched by itself
			within, outgrown = s.withinDisk(limited, p, p.Resource(p.ObservedGeneration), project)
		}
		report, err = s.applyPlan(within, p, project, work, conn, plan, opts)
		if err == nil {
			err = s.applySeeds(within, p, work.seeds, opts, report)
		}
		if full := outgrown(); err != nil && full != nil && limited.Err() == nil {
			err = full
		}
		done := len(report.Applied)
		if done > 0 && report.Applied[done-1].Error != "" {
			done-- // the last one is listed and failed
		}
		if err != nil && limited.Err() != nil && ctx.Err() == nil { // another run would take as long
			err = mayfly.Errorf(mayfly.CodeMigrationFailed, "the migrations did not end within %s: %w", limit, err).
				WithHint("split them, or raise migrations.timeout in the server's configuration")
		}
		return fmt.Sprintf("%d of %d applied", done, len(plan.Pending)), err
	})
	s.Checkpoint("migrated")
	if ctx.Err() != nil {
		return applyErr
	}
	if applyErr == nil {
		s.findPersonal(ctx, p, report, before, s.columns(ctx, conn))
	}
	if err := s.continueReport(ctx, p, known, work, report); err != nil {
		return errors.Join(applyErr, err)
	}
	return errors.Join(applyErr, s.storeReport(ctx, p, work.history, report), s.touch(ctx, p, work.history, report, false))
}

// continueReport adds to the report of a run that went on from an earlier one what that one did.
func (s *Service) continueReport(ctx context.Context, p *mayfly.Preview, known *recorded, work work, report *migrations.Report) error {
	if p.ObservedSHA != "" {
		earlier, err := s.storedReport(ctx, p)
		if err != nil {
			return err
		}
		report.After(earlier)
		if known != nil {
			plan, refused := work.history.Compare(known.comparison(known.state, work.base))
			report.Rebase(plan, refused)
		}
	}
	report.Recorded = known.report()
	report.Waive(work.history)
	return nil
}

// applySeeds runs the seed files, in a session of their own: a migration may have changed anything in the other one.
func (s *Service) applySeeds(ctx context.Context, p *mayfly.Preview, seeds []migrations.File, opts migrations.ApplyOptions, report *migrations.Report) error {
	if len(seeds) == 0 {
		return nil
	}
	conn, err := s.connectAsOwner(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return migrations.ApplySeeds(ctx, conn, seeds, opts, report)
}

// recordMigration puts one finished migration into the timeline.
func (s *Service) recordMigration(ctx context.Context, p *mayfly.Preview, step migrations.Step) {
	if !step.Done {
		return
	}
	now := s.Clock()
	entry := mayfly.Step{
		Name: "migration", Detail: fmt.Sprintf("%d of %d: %s", step.Index, step.Total, step.File),
		StartedAt: now.Add(-milliseconds(step.DurationMS)), FinishedAt: &now, Error: step.Error,
	}
	if err := s.Store.AddStep(context.WithoutCancel(ctx), p.ID, entry); err != nil {
		s.Logger.WarnContext(ctx, "cannot record a step", "preview", p.Name, "error", err)
	}
}

func (s *Service) storeReport(ctx context.Context, p *mayfly.Preview, history *migrations.History, report *migrations.Report) error {
	applied, err := json.Marshal(history.Files())
	if err != nil {
		return fmt.Errorf("encode the migrations of preview %s: %w", p.Name, err)
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encode the migration report of preview %s: %w", p.Name, err)
	}
	return s.Store.SetMigrated(ctx, p.ID, applied, encoded)
}

// connectAsOwner logs in as the application's role, with its password: a session of the admin role that switched its role
// could be switched back by a migration.
func (s *Service) connectAsOwner(ctx context.Context, p *mayfly.Preview) (*pgx.Conn, error) {
	return s.connectTo(ctx, p, p.Instance())
}

// connectTo is connectAsOwner for one of the preview's instances.
func (s *Service) connectTo(ctx context.Context, p *mayfly.Preview, instance string) (*pgx.Conn, error) {
	password, err := s.password(p)
	if err != nil {
		return nil, err
	}
	config, err := cluster.ConnConfig(s.Engine, instance, p.Database)
	if err != nil {
		return nil, err
	}
	config.User, config.Password = p.Owner, password
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to preview %s as its owner: %w", p.Name, err)
	}
	return conn, nil
}

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
