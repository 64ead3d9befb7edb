package store

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// Drift is where production's tracking table, as a template has it, and the default branch differ.
type Drift struct {
	// SHA is the commit of the default branch that was compared.
	SHA string
	// NotDeployed are migrations that are merged and that production does not have; NotMerged those that production has and the default
	// branch has not. Versions, or names where the tool has none.
	NotDeployed, NotMerged []string
}

// SetDrift stores what was found about a template, once.
func (s *Store) SetDrift(ctx context.Context, templateID string, d Drift) error {
	_, err := s.pool.Exec(ctx, `
		insert into template_drift (template_id, sha, not_deployed, not_merged) values ($1, $2, $3, $4)
		on conflict (template_id) do update set sha = excluded.sha, not_deployed = excluded.not_deployed, not_merged = excluded.not_merged, found_at = now()`,
		templateID, d.SHA, textsOf(d.NotDeployed), textsOf(d.NotMerged))
	if err != nil {
		return failed(err, "record the drift of template %s", templateID)
	}
	return nil
}

// TemplateDrift returns what was found about a template, nil if nothing was looked for yet.
func (s *Store) TemplateDrift(ctx context.Context, templateID string) (*Drift, error) {
	var d Drift
	err := s.pool.QueryRow(ctx, `select sha, not_deployed, not_merged from template_drift where template_id = $1`, templateID).
		Scan(&d.SHA, &d.NotDeployed, &d.NotMerged)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // nobody looked
	}
	if err != nil {
		return nil, failed(err, "read the drift of template %s", templateID)
	}
	return &d, nil
}

// DriftCount implements templates.Drifts.
func (s *Store) DriftCount(ctx context.Context, templateID string) (n int, known bool, err error) {
	d, err := s.TemplateDrift(ctx, templateID)
	if err != nil || d == nil {
		return 0, false, err
	}
	return len(d.NotDeployed) + len(d.NotMerged), true, nil
}
