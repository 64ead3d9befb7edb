package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// Session is somebody who signed in.
type Session struct {
	ID       string
	Subject  string
	Provider string
	// Account is the provider's own id of the person; Login what they were called at the last check.
	Account, Login string
	Roles          map[string]string // by project
	// Epoch is raised when a role is taken away: the access tokens of the epochs before are revoked.
	Epoch int
	// RefreshHash is the SHA-256 of what gets the next access token, PreviousHash that of the one before.
	RefreshHash, PreviousHash []byte
	CreatedAt, CheckedAt      time.Time
	ExpiresAt                 time.Time
	EndedAt                   *time.Time
}

// TokenSession is what the session's access tokens have as their session ("sid"), so that those of one epoch can be revoked.
func (s *Session) TokenSession() string { return fmt.Sprintf("%s.%d", s.ID, s.Epoch) }

const sessionColumns = `id, subject, provider, account, login, roles, epoch, refresh_hash, previous_hash, created_at, checked_at, expires_at, ended_at`

func scanSession(row pgx.Row) (*Session, error) {
	var s Session
	err := row.Scan(&s.ID, &s.Subject, &s.Provider, &s.Account, &s.Login, &s.Roles, &s.Epoch, &s.RefreshHash, &s.PreviousHash, &s.CreatedAt,
		&s.CheckedAt, &s.ExpiresAt, &s.EndedAt)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// CreateSession stores that somebody signed in, from the address in the context.
func (s *Store) CreateSession(ctx context.Context, n *Session) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			insert into session (id, subject, provider, account, login, roles, refresh_hash, address, expires_at)
			values ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
			n.ID, n.Subject, n.Provider, n.Account, n.Login, n.Roles, n.RefreshHash, mayfly.ActorOf(ctx).Address, n.ExpiresAt)
		if err != nil {
			return err
		}
		return s.auditSession(ctx, tx, n, "session.begin", map[string]any{"provider": n.Provider, "roles": n.Roles})
	})
	if err != nil {
		return failed(err, "begin a session of %s", n.Subject)
	}
	return nil
}

func (s *Store) auditSession(ctx context.Context, tx pgx.Tx, n *Session, action string, detail map[string]any) error {
	return s.audit(ctx, tx, AuditEntry{Action: action, Kind: "session", Name: n.Subject, ObjectID: n.ID, Detail: detail})
}

// SessionByRefresh returns the session that a refresh token is of, by its hash; reused is true if it was replaced before: either an answer
// was lost, or somebody has a copy. CodeUnauthenticated if there is none that lives.
func (s *Store) SessionByRefresh(ctx context.Context, hash []byte, now time.Time) (session *Session, reused bool, err error) {
	session, err = scanSession(s.pool.QueryRow(ctx, `
		select `+sessionColumns+` from session
		where (refresh_hash = $1 or id = (select session_id from used_refresh where hash = $1)) and ended_at is null and expires_at > $2`, hash, now))
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, false, mayfly.Errorf(mayfly.CodeUnauthenticated, "the session has ended").WithHint("sign in again: mayfly login")
	}
	if err != nil {
		return nil, false, failed(err, "look up a session")
	}
	return session, string(session.RefreshHash) != string(hash), nil
}

// RefreshSession replaces the refresh token and stores what a check has found. It tells whether the session still had the token that
// is replaced: of two that refresh at once, one does.
func (s *Store) RefreshSession(ctx context.Context, n *Session, next []byte, now time.Time) (bool, error) {
	replaced := false
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update session set refresh_hash = $3, previous_hash = refresh_hash, refreshed_at = $4
			where id = $1 and refresh_hash = $2 and ended_at is null`, n.ID, n.RefreshHash, next, now)
		if replaced = err == nil && tag.RowsAffected() == 1; !replaced {
			return err
		}
		_, err = tx.Exec(ctx, `insert into used_refresh (hash, session_id) values ($1, $2)`, n.RefreshHash, n.ID)
		return err
	})
	if err != nil {
		return false, failed(err, "refresh a session of %s", n.Subject)
	}
	return replaced, nil
}

// CheckSession stores what somebody may do now. If that is not all of what they could before (less is true), the access tokens of their
// session so far are revoked with it. n.Epoch is then the new one.
func (s *Store) CheckSession(ctx context.Context, n *Session, login string, roles map[string]string, less bool, now time.Time) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		before := n.TokenSession()
		if less {
			n.Epoch++
		}
		_, err := tx.Exec(ctx, `update session set login = $2, roles = $3, epoch = $4, checked_at = $5 where id = $1 and ended_at is null`,
			n.ID, login, roles, n.Epoch, now)
		if err != nil || !less {
			return err
		}
		_, err = tx.Exec(ctx, `insert into revoked_token (id, expires_at) values ($1, $2) on conflict (id) do nothing`, before, n.ExpiresAt)
		if err != nil {
			return err
		}
		return s.auditSession(ctx, tx, n, "session.lose_role", map[string]any{"before": n.Roles, "after": roles})
	})
	if err != nil {
		return failed(err, "record a check of %s", n.Subject)
	}
	n.Login, n.Roles, n.CheckedAt = login, roles, now
	return nil
}

// EndSession ends a session and revokes its access tokens. Ending it twice changes nothing.
func (s *Store) EndSession(ctx context.Context, n *Session, reason string, now time.Time) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `update session set ended_at = $2, ended_reason = $3 where id = $1 and ended_at is null`, n.ID, now, reason)
		if err != nil || tag.RowsAffected() == 0 {
			return err
		}
		// Of all epochs: the older ones are revoked already.
		_, err = tx.Exec(ctx, `
			insert into revoked_token (id, expires_at) select id || '.' || epoch, expires_at from session where id = $1 on conflict (id) do nothing`, n.ID)
		if err != nil {
			return err
		}
		return s.auditSession(ctx, tx, n, "session.end", map[string]any{"reason": reason})
	})
	if err != nil {
		return failed(err, "end a session of %s", n.Subject)
	}
	return nil
}

// SessionsToCheck returns the living sessions whose roles were last asked for before a time, those of longest ago first.
func (s *Store) SessionsToCheck(ctx context.Context, before, now time.Time, limit int) ([]*Session, error) {
	rows, err := s.pool.Query(ctx, `
		select `+sessionColumns+` from session where ended_at is null and expires_at > $2 and checked_at < $1 order by checked_at limit $3`, before, now, limit)
	if err != nil {
		return nil, failed(err, "list sessions")
	}
	sessions, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (*Session, error) { return scanSession(row) })
	if err != nil {
		return nil, failed(err, "list sessions")
	}
	return sessions, nil
}

// UseStatement records that a statement about a person was shown, by its hash, until it expires. It tells whether it is the first time.
func (s *Store) UseStatement(ctx context.Context, hash []byte, expires time.Time) (bool, error) {
	tag, err := s.pool.Exec(ctx, `insert into used_statement (hash, expires_at) values ($1, $2) on conflict (hash) do nothing`, hash, expires)
	if err != nil {
		return false, failed(err, "record an identity token")
	}
	return tag.RowsAffected() == 1, nil
}

// PurgeSessions forgets sessions that ended, or expired, long ago.
func (s *Store) PurgeSessions(ctx context.Context, before time.Time) error {
	if _, err := s.pool.Exec(ctx, `delete from session where least(expires_at, ended_at) < $1`, before); err != nil {
		return failed(err, "forget old sessions")
	}
	return nil
}
