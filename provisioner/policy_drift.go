package provisioner

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/migrations"
)

// shownDrift bounds what is kept of a drift: beyond it the two have nothing to do with each other.
const shownDrift = 100

// findDrift compares what production's tracking table says, as a template has it, with the default branch: what was merged should be
// deployed by the time of the next template, and what is deployed should have been merged. It is for people to know, and stops nothing.
func (s *Service) findDrift(ctx context.Context, p *mayfly.Preview, sha string, history *migrations.History, state migrations.State) {
	plan, _ := history.Pending(state) // the plan says what is known also where the tool would refuse
	drift := store.Drift{SHA: sha}
	for _, m := range plan.Migrations {
		name := or(m.Version, m.Name)
		switch m.Status {
		case migrations.StatusPending, migrations.StatusSkipped, migrations.StatusOutOfOrder:
			drift.NotDeployed = append(drift.NotDeployed, name)
		case migrations.StatusMissing:
			drift.NotMerged = append(drift.NotMerged, name)
		case migrations.StatusApplied, migrations.StatusEdited, migrations.StatusDuplicate, migrations.StatusFailed:
		}
	}
	if len(drift.NotDeployed) > 0 || len(drift.NotMerged) > 0 {
		s.Logger.WarnContext(ctx, "production and the default branch have different migrations", "project", p.Project, "template", p.TemplateID,
			"commit", sha, "not_deployed", len(drift.NotDeployed), "not_merged", len(drift.NotMerged))
	}
	drift.NotDeployed = drift.NotDeployed[:min(len(drift.NotDeployed), shownDrift)]
	drift.NotMerged = drift.NotMerged[:min(len(drift.NotMerged), shownDrift)]
	if err := s.Store.SetDrift(ctx, p.TemplateID, drift); err != nil && ctx.Err() == nil {
		s.Logger.WarnContext(ctx, "cannot record a drift", "template", p.TemplateID, "error", err)
	}
}

// readTemplateTimeout bounds what nobody waits for.
const readTemplateTimeout = 2 * time.Minute

// readTemplate reads the tracking table of a template that has just become ready, on a clone that is thrown away: people are to hear of a
// drift when the template arrives, and not when somebody opens the next pull request. The clone belongs to a preview that is never stored,
// so whatever a crash leaves of it is swept.
func (s *Service) readTemplate(ctx context.Context, project mayfly.Project, templateID string) error {
	ctx, cancel := context.WithTimeout(ctx, readTemplateTimeout)
	defer cancel()
	known, err := s.Store.TemplateMigrations(ctx, templateID)
	if err != nil || known == nil {
		return err
	}
	repositoryID, err := s.repositoryID(ctx, project.Repository)
	if err != nil {
		return err
	}
	p := &mayfly.Preview{
		ID: mayfly.NewID("p"), Name: "template " + templateID, Project: project.Name, Kind: mayfly.KindPullRequest, TemplateID: templateID, Generation: 1,
		Database: project.Postgres.Database, Owner: project.Postgres.Owner,
		PR: &mayfly.PullRequest{RepositoryID: repositoryID, Repository: project.Repository, HeadSHA: known.SHA, BaseSHA: known.SHA},
	}
	s.newPassword(p)
	settings, _, err := s.settingsFor(ctx, project, p.PR)
	if err != nil {
		return err
	}
	unlock, err := s.Store.Lock(ctx, "preview:"+p.ID) // what is locked is not swept
	if err != nil {
		return err
	}
	defer unlock()
	return s.onClone(ctx, p, func(ctx context.Context, connect func(context.Context) (*pgx.Conn, error)) error {
		conn, err := connect(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		if settings.Migrations.Tool == migrations.Auto {
			files, err := s.filesOf(ctx, p, known.SHA, settings.Migrations)
			if err != nil {
				return err
			}
			if settings.Migrations, _, err = migrations.Resolve(ctx, conn, settings.Migrations, files); err != nil {
				return err
			}
		}
		state, err := migrations.ReadState(ctx, conn, settings.Migrations)
		if err != nil {
			return err
		}
		_, err = s.recordState(ctx, p, settings, known.SHA, state)
		return err
	})
}
