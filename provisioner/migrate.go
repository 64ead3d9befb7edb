package provisioner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
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
// brought there from where it is (an applied file was edited, a migration failed before) is rebuilt from its template.
func (s *Service) migrate(ctx context.Context, p *mayfly.Preview) error {
	project, err := s.project(p.Project)
	if err != nil {
		return err
	}
	if p.PR == nil || project.Migrations.Tool == "" {
		return s.ready(ctx, p)
	}
	history, err := s.history(ctx, p, project)
	if err != nil {
		return err
	}
	if p.ObservedSHA != "" {
		if why, err := s.mustRebuild(ctx, p, history); err != nil || why != "" {
			return errors.Join(err, s.rebuildBecause(ctx, p, why))
		}
	}
	p.State, p.Failure = mayfly.PreviewMigrating, nil
	if err := s.Store.Observe(ctx, p); err != nil {
		return err
	}
	s.Checkpoint("migrating")
	if err := s.apply(ctx, p, project, history); err != nil {
		return err
	}
	return s.ready(ctx, p)
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
		p.ObservedSHA = p.PR.HeadSHA
	}
	return s.Store.Observe(ctx, p)
}

// history reads the migrations at the head of the pull request.
func (s *Service) history(ctx context.Context, p *mayfly.Preview, project mayfly.Project) (*migrations.History, error) {
	var history *migrations.History
	err := s.step(ctx, p, "fetch migrations", "", func(ctx context.Context) (string, error) {
		files, err := s.Forge.Files(ctx, p.PR.RepositoryID, p.PR.HeadSHA, project.Migrations.Path)
		if err != nil {
			return "", err
		}
		converted := make([]migrations.File, len(files))
		for i, f := range files {
			converted[i] = migrations.File{Path: f.Path, SHA: f.SHA, Content: f.Content}
		}
		history, err = migrations.Parse(project.Migrations, converted)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d at %.7s", len(history.Migrations), p.PR.HeadSHA), nil
	})
	return history, err
}

// mustRebuild says why the history cannot be applied on top of what the preview has; "" if it can.
func (s *Service) mustRebuild(ctx context.Context, p *mayfly.Preview, history *migrations.History) (string, error) {
	if p.Failure != nil {
		return "the run before failed: " + p.Failure.Message, nil
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
	extends, why := history.ExtendsApplied(applied)
	if extends {
		return "", nil
	}
	return why, nil
}

// apply runs the pending migrations as the application's role and stores the report, also of a run that failed.
func (s *Service) apply(ctx context.Context, p *mayfly.Preview, project mayfly.Project, history *migrations.History) error {
	conn, err := s.connectAsOwner(ctx, p)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	state, err := migrations.ReadState(ctx, conn, project.Migrations)
	if err != nil {
		return err
	}
	plan, err := history.Pending(state)
	if err != nil {
		return err
	}
	before := s.personalColumns(ctx, conn)
	var report *migrations.Report
	applyErr := s.step(ctx, p, "migrate", fmt.Sprintf("%d pending", len(plan.Pending)), func(ctx context.Context) (string, error) {
		limit := or(project.Migrations.Timeout, defaultMigrationTimeout)
		limited, cancel := context.WithTimeout(ctx, limit)
		defer cancel()
		var err error
		report, err = migrations.Apply(limited, conn, plan, migrations.ApplyOptions{
			StatementTimeout: project.Migrations.StatementTimeout, LockTimeout: project.Migrations.LockTimeout,
			DatabaseNames: []string{p.Name}, Now: s.Clock, Progress: func(step migrations.Step) { s.recordMigration(ctx, p, step) },
		})
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
		s.findPersonal(ctx, p, report, before, s.personalColumns(ctx, conn))
	}
	return errors.Join(applyErr, s.storeReport(ctx, p, history, report))
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
	password, err := s.password(p)
	if err != nil {
		return nil, err
	}
	instance := p.Resource(p.ObservedGeneration)
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
