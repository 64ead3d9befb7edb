package store

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// LoginAccess says what a login besides the owner's may do.
type LoginAccess string

// The kinds of login.
const (
	LoginPersonal LoginAccess = "personal"  // whatever the owner may: it acts as the owner, under a name of its own
	LoginReadOnly LoginAccess = "read-only" // look at everything, change nothing
)

// Login is a login of a preview besides the owner's: a role of one person.
type Login struct {
	PreviewID      string
	Role           string // its name in Postgres
	Subject        string // whose it is
	Access         LoginAccess
	PasswordSealed []byte
	// AppliedGeneration is the generation of the preview in which the role is as it should be, 0 for none.
	AppliedGeneration int64
	RevokedAt         *time.Time
	CreatedBy         string
	CreatedAt         time.Time
}

const loginColumns = `preview_id, role, subject, access, password_sealed, applied_generation, revoked_at, created_by, created_at`

// SetLogin stores a login, with a new password if there is one of that role already, and asks for the role to be made. CodeConflict if
// that one is somebody else's.
func (s *Store) SetLogin(ctx context.Context, p *mayfly.Preview, l Login) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			insert into preview_login (preview_id, role, subject, access, password_sealed, created_by) values ($1, $2, $3, $4, $5, $6)
			on conflict (preview_id, role) do update set password_sealed = excluded.password_sealed, applied_generation = 0, revoked_at = null,
				created_by = excluded.created_by, created_at = now()
			where preview_login.subject = excluded.subject`,
			p.ID, l.Role, l.Subject, l.Access, l.PasswordSealed, mayfly.ActorOf(ctx).Subject)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 { // the hash in the role's name is short: somebody may look for a name of their own with the same
			return mayfly.Errorf(mayfly.CodeConflict, "somebody else has the login %s of preview %s", l.Role, p.Name)
		}
		detail := map[string]any{"role": l.Role, "access": l.Access, "for": l.Subject}
		if err := s.auditPreview(ctx, tx, p, "credentials.create", detail); err != nil {
			return err
		}
		return s.jobs.Converge(ctx, tx, p.ID)
	})
	if err != nil {
		return failed(err, "store a login of preview %s", p.Name)
	}
	return nil
}

// RevokeLogin asks for a login to be taken away; from now on the gateway refuses it. CodeNotFound if there is none.
func (s *Store) RevokeLogin(ctx context.Context, p *mayfly.Preview, role string) error {
	err := s.inTx(ctx, func(tx pgx.Tx) error {
		tag, err := tx.Exec(ctx, `
			update preview_login set revoked_at = now(), password_sealed = null, applied_generation = 0
			where preview_id = $1 and role = $2 and revoked_at is null`, p.ID, role)
		if err != nil {
			return err
		}
		if tag.RowsAffected() == 0 {
			return noLogin(p.Name)
		}
		if err := s.auditPreview(ctx, tx, p, "credentials.revoke", map[string]any{"role": role}); err != nil {
			return err
		}
		return s.jobs.Converge(ctx, tx, p.ID)
	})
	if err != nil {
		return failed(err, "revoke a login of preview %s", p.Name)
	}
	return nil
}

func noLogin(preview string) error {
	return mayfly.Errorf(mayfly.CodeNotFound, "there is no such login of preview %s", preview).
		WithHint("POST /api/v1/previews/%s/credentials makes one; GET /api/v1/previews/%s/logins lists them", preview, preview)
}

// Login returns a login that was not revoked. CodeNotFound if there is none.
func (s *Store) Login(ctx context.Context, p *mayfly.Preview, role string) (*Login, error) {
	rows, err := s.pool.Query(ctx, `select `+loginColumns+` from preview_login where preview_id = $1 and role = $2 and revoked_at is null`, p.ID, role)
	if err != nil {
		return nil, failed(err, "read a login of preview %s", p.Name)
	}
	login, err := pgx.CollectExactlyOneRow(rows, pgx.RowToAddrOfStructByPos[Login])
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, noLogin(p.Name)
	}
	if err != nil {
		return nil, failed(err, "read a login of preview %s", p.Name)
	}
	return login, nil
}

// Logins returns the logins of a preview, with those that are revoked and still there in Postgres.
func (s *Store) Logins(ctx context.Context, previewID string) ([]Login, error) {
	rows, err := s.pool.Query(ctx, `select `+loginColumns+` from preview_login where preview_id = $1 order by created_at, role`, previewID)
	if err != nil {
		return nil, failed(err, "list the logins of preview %s", previewID)
	}
	logins, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Login])
	if err != nil {
		return nil, failed(err, "list the logins of preview %s", previewID)
	}
	return logins, nil
}

// LoginApplied records that a role is as its login says in a generation of the preview, unless the login was changed since it was
// read. A revoked one is forgotten.
func (s *Store) LoginApplied(ctx context.Context, l Login, generation int64) error {
	sql := `update preview_login set applied_generation = $3 where preview_id = $1 and role = $2 and password_sealed is not distinct from $4`
	if l.RevokedAt != nil {
		sql = `delete from preview_login where preview_id = $1 and role = $2 and $3 <> 0 and password_sealed is not distinct from $4 and revoked_at is not null`
	}
	if _, err := s.pool.Exec(ctx, sql, l.PreviewID, l.Role, generation, l.PasswordSealed); err != nil {
		return failed(err, "record login %s", l.Role)
	}
	return nil
}
