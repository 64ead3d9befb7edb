package provisioner

import (
	"context"

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
