package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// lazily starts a statement whose commit does not wait for the disk. It is for what nobody decides upon: after a crash of
// the database's host the last moments of a timeline may be missing, and nothing else. A creation writes a dozen of these.
const lazily = `with lazily as materialized (select set_config('synchronous_commit', 'off', true)) `

// BeginStep starts an entry in the timeline of a preview or a template and returns its id.
func (s *Store) BeginStep(ctx context.Context, ownerID, name, detail string) (int64, error) {
	var id int64
	err := s.pool.QueryRow(ctx, lazily+`
		insert into step (owner_id, name, detail) select $1, $2, $3 from lazily returning id`, ownerID, name, detail).Scan(&id)
	if err != nil {
		return 0, failed(err, "begin step %s of %s", name, ownerID)
	}
	return id, nil
}

// EndStep finishes an entry. An empty detail keeps the one it began with; errText is empty for success.
func (s *Store) EndStep(ctx context.Context, id int64, detail, errText string) error {
	_, err := s.pool.Exec(ctx, lazily+`
		update step set finished_at = clock_timestamp(), detail = coalesce(nullif($2, ''), detail), error = $3
		from lazily where id = $1`, id, detail, errText)
	if err != nil {
		return failed(err, "end step %d", id)
	}
	return nil
}

// AddStep stores a finished entry of the timeline at once.
func (s *Store) AddStep(ctx context.Context, ownerID string, step mayfly.Step) error {
	_, err := s.pool.Exec(ctx, lazily+`
		insert into step (owner_id, name, detail, started_at, finished_at, error)
		select $1, $2, $3, $4, $5, $6 from lazily`,
		ownerID, step.Name, step.Detail, step.StartedAt, step.FinishedAt, step.Error)
	if err != nil {
		return failed(err, "record step %s of %s", step.Name, ownerID)
	}
	return nil
}

// Steps returns the timeline of a preview or a template, oldest first.
func (s *Store) Steps(ctx context.Context, ownerID string) ([]mayfly.Step, error) {
	rows, err := s.pool.Query(ctx, `select name, detail, started_at, finished_at, error from step where owner_id = $1 order by id`, ownerID)
	if err != nil {
		return nil, failed(err, "read the timeline of %s", ownerID)
	}
	steps, err := pgx.CollectRows(rows, pgx.RowToStructByPos[mayfly.Step])
	if err != nil {
		return nil, fmt.Errorf("read the timeline of %s: %w", ownerID, err)
	}
	return steps, nil
}

// StepChange is a step that began or ended.
type StepChange struct {
	// Seq is its place among all changes; ID is the step's, the same when it begins and when it ends.
	Seq, ID int64
	mayfly.Step
}

// StepChanges returns the steps of a preview or a template that began or ended after that place, as they are now, in the order of their
// last change; 0 is before all.
func (s *Store) StepChanges(ctx context.Context, ownerID string, after int64) ([]StepChange, error) {
	rows, err := s.pool.Query(ctx, `
		select seq, id, name, detail, started_at, finished_at, error from step where owner_id = $1 and (seq > $2 or $2 = 0) order by seq, id`, ownerID, after)
	if err != nil {
		return nil, failed(err, "read the timeline of %s", ownerID)
	}
	changes, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (StepChange, error) {
		var c StepChange
		err := row.Scan(&c.Seq, &c.ID, &c.Name, &c.Detail, &c.StartedAt, &c.FinishedAt, &c.Error)
		return c, err
	})
	if err != nil {
		return nil, fmt.Errorf("read the timeline of %s: %w", ownerID, err)
	}
	return changes, nil
}
