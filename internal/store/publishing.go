package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// PullRequestRecord is what the forge was last told about a pull request, apart from its checks.
type PullRequestRecord struct {
	Project      string
	RepositoryID int64
	Number       int
	CommentID    int64
	CommentHash  string
	CommentAt    *time.Time // nil if it was never written
	// DeploymentID is the deployment of the commit DeploymentSHA, 0 for none.
	DeploymentID   int64
	DeploymentSHA  string
	DeploymentHash string
	// WaitingSHA is the commit whose preview has waited for something since WaitingSince.
	WaitingSHA   string
	WaitingSince *time.Time
}

// Key names the pull request.
func (r *PullRequestRecord) Key() PullRequestKey {
	return PullRequestKey{Project: r.Project, RepositoryID: r.RepositoryID, Number: r.Number}
}

// PullRequestRecord returns the record, with zero values in it if nothing was told yet.
func (s *Store) PullRequestRecord(ctx context.Context, project string, repositoryID int64, number int) (PullRequestRecord, error) {
	r := PullRequestRecord{Project: project, RepositoryID: repositoryID, Number: number}
	err := s.pool.QueryRow(ctx, `
		select comment_id, comment_hash, comment_at, deployment_id, deployment_sha, deployment_hash, waiting_sha, waiting_since
		from pull_request_record where project = $1 and repository_id = $2 and number = $3`, project, repositoryID, number).
		Scan(&r.CommentID, &r.CommentHash, &r.CommentAt, &r.DeploymentID, &r.DeploymentSHA, &r.DeploymentHash, &r.WaitingSHA, &r.WaitingSince)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return r, failed(err, "read what was told about %s#%d", project, number)
	}
	return r, nil
}

// SetPullRequestRecord stores a record.
func (s *Store) SetPullRequestRecord(ctx context.Context, r PullRequestRecord) error {
	_, err := s.pool.Exec(ctx, `
		insert into pull_request_record (project, repository_id, number, comment_id, comment_hash, comment_at,
			deployment_id, deployment_sha, deployment_hash, waiting_sha, waiting_since)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		on conflict (project, repository_id, number) do update set comment_id = excluded.comment_id, comment_hash = excluded.comment_hash,
			comment_at = excluded.comment_at, deployment_id = excluded.deployment_id, deployment_sha = excluded.deployment_sha,
			deployment_hash = excluded.deployment_hash, waiting_sha = excluded.waiting_sha, waiting_since = excluded.waiting_since, updated_at = now()`,
		r.Project, r.RepositoryID, r.Number, r.CommentID, r.CommentHash, r.CommentAt, r.DeploymentID, r.DeploymentSHA, r.DeploymentHash,
		r.WaitingSHA, r.WaitingSince)
	if err != nil {
		return failed(err, "record what was told about %s#%d", r.Project, r.Number)
	}
	return nil
}

// ToldCheck is what a check on a commit says.
type ToldCheck struct {
	SHA   string
	Name  string // "database" or "migrations"
	RunID int64  // 0 for a commit status
	Hash  string // of what it says; "" has it told again
	// Concluded says that it has ended.
	Concluded bool
}

// ToldChecks returns the checks of a pull request on one commit, and those on others that have not ended.
func (s *Store) ToldChecks(ctx context.Context, key PullRequestKey, sha string) ([]ToldCheck, error) {
	rows, err := s.pool.Query(ctx, `
		select sha, name, run_id, hash, concluded from told_check
		where project = $1 and repository_id = $2 and number = $3 and (sha = $4 or not concluded) order by sha, name`,
		key.Project, key.RepositoryID, key.Number, sha)
	if err != nil {
		return nil, failed(err, "read the checks of %s#%d", key.Project, key.Number)
	}
	checks, err := pgx.CollectRows(rows, pgx.RowToStructByPos[ToldCheck])
	if err != nil {
		return nil, failed(err, "read the checks of %s#%d", key.Project, key.Number)
	}
	return checks, nil
}

// SetToldCheck stores what a check says.
func (s *Store) SetToldCheck(ctx context.Context, key PullRequestKey, c ToldCheck) error {
	_, err := s.pool.Exec(ctx, `
		insert into told_check (project, repository_id, number, sha, name, run_id, hash, concluded) values ($1, $2, $3, $4, $5, $6, $7, $8)
		on conflict (project, repository_id, number, sha, name) do update
			set run_id = excluded.run_id, hash = excluded.hash, concluded = excluded.concluded, told_at = now()`,
		key.Project, key.RepositoryID, key.Number, c.SHA, c.Name, c.RunID, c.Hash, c.Concluded)
	if err != nil {
		return failed(err, "record a check of %s#%d", key.Project, key.Number)
	}
	return nil
}

// ForgetPublished has the checks of a pull request told again, in every project.
func (s *Store) ForgetPublished(ctx context.Context, repositoryID int64, number int) error {
	_, err := s.pool.Exec(ctx, `update told_check set hash = '' where repository_id = $1 and number = $2`, repositoryID, number)
	if err != nil {
		return failed(err, "forget what was told about pull request %d", number)
	}
	return nil
}

// wantPublished records in the transaction of a change that the forge is to be told about it.
func wantPublished(ctx context.Context, tx pgx.Tx, key PullRequestKey, previewID string) error {
	_, err := tx.Exec(ctx, `
		insert into publish_intent (project, repository_id, number, preview_id) values ($1, $2, $3, $4)
		on conflict (project, repository_id, number) do update set preview_id = excluded.preview_id, wanted_at = clock_timestamp()`,
		key.Project, key.RepositoryID, key.Number, previewID)
	return err
}

// WantPublished records that the forge is to be told something about a pull request without a preview.
func (s *Store) WantPublished(ctx context.Context, key PullRequestKey) error {
	if err := s.inTx(ctx, func(tx pgx.Tx) error { return wantPublished(ctx, tx, key, "") }); err != nil {
		return failed(err, "record what is to be told about %s#%d", key.Project, key.Number)
	}
	return nil
}

// PublishWanted returns when it was last wanted that the forge be told about a pull request; the zero time if everything was told.
func (s *Store) PublishWanted(ctx context.Context, key PullRequestKey) (time.Time, error) {
	var at time.Time
	err := s.pool.QueryRow(ctx, `select wanted_at from publish_intent where project = $1 and repository_id = $2 and number = $3`,
		key.Project, key.RepositoryID, key.Number).Scan(&at)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return at, failed(err, "read what is to be told about %s#%d", key.Project, key.Number)
	}
	return at, nil
}

// Published records that the forge was told what was wanted at a time or before.
func (s *Store) Published(ctx context.Context, key PullRequestKey, wanted time.Time) error {
	_, err := s.pool.Exec(ctx, lazily+`
		delete from publish_intent using lazily where project = $1 and repository_id = $2 and number = $3 and wanted_at <= $4`,
		key.Project, key.RepositoryID, key.Number, wanted)
	if err != nil {
		return failed(err, "record what was told about %s#%d", key.Project, key.Number)
	}
	return nil
}

// NothingToTell takes WantPublished back: what was to be told about a pull request without a preview does not hold any more.
func (s *Store) NothingToTell(ctx context.Context, key PullRequestKey) error {
	_, err := s.pool.Exec(ctx, lazily+`
		delete from publish_intent using lazily where project = $1 and repository_id = $2 and number = $3 and preview_id = ''`,
		key.Project, key.RepositoryID, key.Number)
	if err != nil {
		return failed(err, "record that nothing is to be told about %s#%d", key.Project, key.Number)
	}
	return nil
}

// RequeuePublishing asks again for what was to be told and was not: its job was lost with a killed process, or given up. It also forgets
// the checks of commits that nobody looks at any more.
func (s *Store) RequeuePublishing(ctx context.Context) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from told_check where concluded and told_at < now() - interval '90 days'`); err != nil {
			return err
		}
		rows, err := tx.Query(ctx, `
			update publish_intent set requeued_at = now() where (project, repository_id, number) in (
				select project, repository_id, number from publish_intent
				where wanted_at < now() - interval '2 minutes' and coalesce(requeued_at, '-infinity') < now() - interval '10 minutes'
				order by wanted_at limit 500 for update skip locked)
			returning preview_id, repository_id, number`)
		if err != nil {
			return err
		}
		type lost struct {
			PreviewID    string
			RepositoryID int64
			Number       int
		}
		all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[lost])
		if err != nil {
			return err
		}
		for _, l := range all {
			if l.PreviewID == "" {
				err = s.jobs.PullRequest(ctx, tx, l.RepositoryID, l.Number)
			} else {
				err = s.jobs.Publish(ctx, tx, l.PreviewID, true)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return failed(err, "ask again for what was not told")
	}
	return nil
}

// publishKey is the pull request of a preview.
func publishKey(p *mayfly.Preview) PullRequestKey {
	return PullRequestKey{Project: p.Project, RepositoryID: p.PR.RepositoryID, Number: p.PR.Number}
}
