package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// UseIDToken records that an ID token was exchanged, and what for, in the audit log. fresh is false, and nothing is recorded, for one that
// was before.
func (s *Store) UseIDToken(ctx context.Context, issuer, id string, expiresAt time.Time, made TokenRecord, detail map[string]any) (fresh bool, err error) {
	err = s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			insert into exchanged_token (issuer, id, expires_at) values ($1, $2, $3) on conflict (issuer, id) do nothing`, issuer, id, expiresAt)
		if err != nil {
			return err
		}
		if fresh = tag.RowsAffected() == 1; !fresh {
			return nil
		}
		if _, err := tx.Exec(ctx, insertToken, made.args(nil)...); err != nil {
			return err
		}
		entry := made.entry("token.exchange")
		for key, value := range detail {
			entry.Detail[key] = value
		}
		if len(made.Projects) == 1 {
			entry.Project = made.Projects[0]
		}
		return s.audit(ctx, tx, entry)
	})
	if err != nil {
		return false, failed(err, "record the exchange of a token of %s", issuer)
	}
	return fresh, nil
}

// PurgeIDTokens forgets the exchanged tokens that expired before a time: their expiry alone keeps them from being used again.
func (s *Store) PurgeIDTokens(ctx context.Context, before time.Time) error {
	if _, err := s.pool.Exec(ctx, `delete from exchanged_token where expires_at < $1`, before); err != nil {
		return failed(err, "purge exchanged tokens")
	}
	return nil
}

// RepositoryOwner returns who a repository belonged to when the forge was last asked, and when that was; 0 if it never was.
func (s *Store) RepositoryOwner(ctx context.Context, repositoryID int64) (ownerID int64, seen time.Time, err error) {
	err = s.pool.QueryRow(ctx, `select owner_id, seen_at from repository_owner where repository_id = $1`, repositoryID).Scan(&ownerID, &seen)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return 0, time.Time{}, failed(err, "read the owner of repository %d", repositoryID)
	}
	return ownerID, seen, nil
}

// SetRepositoryOwner stores what the forge said at a time.
func (s *Store) SetRepositoryOwner(ctx context.Context, repositoryID, ownerID int64, at time.Time) error {
	_, err := s.pool.Exec(ctx, `
		insert into repository_owner (repository_id, owner_id, seen_at) values ($1, $2, $3)
		on conflict (repository_id) do update set owner_id = excluded.owner_id, seen_at = excluded.seen_at`, repositoryID, ownerID, at)
	if err != nil {
		return failed(err, "store the owner of repository %d", repositoryID)
	}
	return nil
}

// ForkApproved reports whether somebody approved the commit that a fork's preview is for.
func (s *Store) ForkApproved(ctx context.Context, p *mayfly.Preview) (bool, error) {
	if p.PR == nil {
		return false, nil
	}
	var approved bool
	err := s.pool.QueryRow(ctx, `
		select exists (select from pull_request
			where project = $1 and repository_id = $2 and number = $3 and approved_sha = $4 and approved_sha <> '')`,
		p.Project, p.PR.RepositoryID, p.PR.Number, p.PR.HeadSHA).Scan(&approved)
	if err != nil {
		return false, failed(err, "read whether %s is approved", p.Name)
	}
	return approved, nil
}
