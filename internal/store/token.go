package store

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

// TokenRecord is what is known of an access token. The token itself is nowhere.
type TokenRecord struct {
	ID        string
	Subject   string
	Scopes    []string
	Projects  []string
	Roles     map[string]string
	SessionID string
	CreatedBy string
	IssuedAt  time.Time
	ExpiresAt time.Time
	// FirstUsedAt and LastUsedAt are nil until it is used; LastUsedAt is kept to within some minutes.
	FirstUsedAt, LastUsedAt *time.Time
	Revoked                 bool
}

// RecordToken stores a token that was made through the API, with its entry in the audit log.
func (s *Store) RecordToken(ctx context.Context, t TokenRecord) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, insertToken, t.args(nil)...); err != nil {
			return err
		}
		return s.audit(ctx, tx, t.entry("token.create"))
	})
	if err != nil {
		return failed(err, "record token %s", t.ID)
	}
	return nil
}

// TokenUsed records that a token was used at a time. The first use of one that was made where no state database was at hand is how the
// audit log learns of it.
func (s *Store) TokenUsed(ctx context.Context, t TokenRecord, at time.Time) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, insertToken, t.args(&at)...)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 1 {
			return s.audit(ctx, tx, t.entry("token.first_use"))
		}
		_, err = tx.Exec(ctx, `
			update token set first_used_at = coalesce(first_used_at, $2), last_used_at = greatest(last_used_at, $2) where id = $1`, t.ID, at)
		return err
	})
	if err != nil {
		return failed(err, "record the use of token %s", t.ID)
	}
	return nil
}

const insertToken = `
	insert into token (id, subject, scopes, projects, roles, session_id, created_by, issued_at, expires_at, first_used_at, last_used_at)
	values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10) on conflict (id) do nothing`

func (t TokenRecord) args(used *time.Time) []any {
	roles := t.Roles
	if roles == nil {
		roles = map[string]string{}
	}
	return []any{t.ID, t.Subject, textsOf(t.Scopes), textsOf(t.Projects), roles, t.SessionID, t.CreatedBy, t.IssuedAt, t.ExpiresAt, used}
}

func (t TokenRecord) entry(action string) AuditEntry {
	return AuditEntry{Action: action, Kind: "token", Name: t.Subject, ObjectID: t.ID, Detail: map[string]any{
		"scopes": textsOf(t.Scopes), "projects": textsOf(t.Projects), "roles": t.Roles, "expires_at": t.ExpiresAt.UTC(),
	}}
}

// Tokens returns the tokens that are known and not expired, newest first.
func (s *Store) Tokens(ctx context.Context, now time.Time, limit int) ([]TokenRecord, error) {
	rows, err := s.pool.Query(ctx, `
		select id, subject, scopes, projects, roles, session_id, created_by, issued_at, expires_at, first_used_at, last_used_at,
			exists (select from revoked_token r where r.id = token.id or r.id = nullif(token.session_id, ''))
		from token where expires_at > $1 order by issued_at desc, id limit $2`, now, limit)
	if err != nil {
		return nil, failed(err, "list tokens")
	}
	tokens, err := pgx.CollectRows(rows, pgx.RowToStructByPos[TokenRecord])
	if err != nil {
		return nil, failed(err, "list tokens")
	}
	return tokens, nil
}

// RevokeToken makes a token id, or a session's, invalid until it would have expired anyway.
func (s *Store) RevokeToken(ctx context.Context, id string, expiresAt time.Time) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `insert into revoked_token (id, expires_at) values ($1, $2) on conflict (id) do nothing`, id, expiresAt)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		return s.audit(ctx, tx, AuditEntry{Action: "token.revoke", Kind: "token", ObjectID: id})
	})
	if err != nil {
		return failed(err, "revoke token %s", id)
	}
	return nil
}

// TokenRevoked reports whether a token id was revoked.
func (s *Store) TokenRevoked(ctx context.Context, id string) (bool, error) {
	var revoked bool
	err := s.pool.QueryRow(ctx, `select exists (select from revoked_token where id = $1)`, id).Scan(&revoked)
	if err != nil {
		return false, failed(err, "look up token %s", id)
	}
	return revoked, nil
}

// PurgeTokens forgets what is about tokens that have expired: their records, and that they were revoked.
func (s *Store) PurgeTokens(ctx context.Context, now time.Time) error {
	for _, table := range []string{"token", "revoked_token", "used_statement"} {
		// A day more, for clocks that differ between processes.
		if _, err := s.pool.Exec(ctx, `delete from `+table+` where expires_at < $1`, now.Add(-24*time.Hour)); err != nil {
			return failed(err, "forget expired tokens")
		}
	}
	return nil
}
