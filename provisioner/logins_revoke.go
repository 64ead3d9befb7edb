package provisioner

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/store"
)

// revokeLogins takes logins away: their sessions end, and their roles are dropped. Whoever could act as the owner could also give the
// owner a password that they know, and log in with it: the owner's sessions end, too, and the owner's password is set again.
func (s *Service) revokeLogins(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview, revoked []store.Login) error {
	if len(revoked) == 0 {
		return nil
	}
	var roles, acting []string
	for _, l := range revoked {
		if l.Access == store.LoginPersonal {
			acting = []string{p.Owner}
		}
		exists, err := roleExists(ctx, conn, l.Role)
		if err != nil {
			return err
		}
		if exists {
			roles = append(roles, l.Role)
		}
	}
	theirs := append(acting, roles...)
	err := insist(ctx, conn, theirs, func(ctx context.Context) error {
		for _, role := range roles {
			if _, err := conn.Exec(ctx, "alter role "+quoted(role)+" nologin password null"); err != nil {
				return fmt.Errorf("lock role %s: %w", role, err)
			}
		}
		return s.setPassword(ctx, conn, p)
	})
	if err == nil { // nobody can log in again: what began in between ends
		err = insist(ctx, conn, theirs, func(ctx context.Context) error { return dropRoles(ctx, conn, p, roles) })
	}
	if err != nil {
		return fmt.Errorf("revoke logins of preview %s: %w", p.Name, err)
	}
	return nil
}

// dropRoles drops roles. What they own, by going around the role that they were to act as, becomes the owner's.
func dropRoles(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview, roles []string) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, name := range roles {
			role := quoted(name)
			for _, sql := range []string{"reassign owned by " + role + " to " + quoted(p.Owner), "drop owned by " + role, "drop role " + role} {
				if _, err := tx.Exec(ctx, sql); err != nil {
					return fmt.Errorf("drop role %s: %w", name, err)
				}
			}
		}
		return nil
	})
}

const (
	// insistTries is how often something is tried that somebody's lock is in the way of, and insistFor how long each time.
	insistTries = 20
	insistFor   = time.Second
	// endTimeout bounds the wait for sessions that were told to end.
	endTimeout = 10 * time.Second
)

// insist ends the sessions of roles and does something to roles. Somebody who has changed a role's row, as everybody may their own, and
// does not commit would keep others waiting for ever: if a lock is in the way, everybody's sessions end.
func insist(ctx context.Context, conn *pgx.Conn, roles []string, what func(context.Context) error) error {
	if _, err := conn.Exec(ctx, fmt.Sprintf("set lock_timeout = %d", insistFor.Milliseconds())); err != nil {
		return fmt.Errorf("bound the wait for locks: %w", err)
	}
	defer func() { _, _ = conn.Exec(context.WithoutCancel(ctx), "set lock_timeout = 0") }() // on a connection that is lost it matters no more
	for try := 1; ; try++ {
		if err := endSessionsOf(ctx, conn, roles); err != nil {
			return err
		}
		err := what(ctx)
		if err == nil || !lockedOut(err) || try == insistTries {
			return err
		}
		roles = nil
	}
}

// lockedOut reports whether another session was the reason: a lock that it held, or a change that it committed in between.
func lockedOut(err error) bool {
	const lockNotAvailable, deadlock, internal = "55P03", "40P01", "XX000"
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == lockNotAvailable || e.Code == deadlock || e.Code == internal && strings.HasPrefix(e.Message, "tuple concurrently")
}

// endSessionsOf ends the sessions of roles, or of everybody but Mayfly if roles is nil, and waits until they are gone. The session's
// search_path is the caller's to set.
func endSessionsOf(ctx context.Context, conn *pgx.Conn, roles []string) error {
	ctx, cancel := context.WithTimeout(ctx, endTimeout)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for {
		var left int
		err := conn.QueryRow(ctx, `
			select count(pg_catalog.pg_terminate_backend(pid)) from pg_catalog.pg_stat_activity
			where backend_type = 'client backend' and usename::text <> $1 and ($2::text[] is null or usename::text = any ($2))`,
			cluster.AdminRole, roles).Scan(&left)
		if err != nil {
			return fmt.Errorf("end sessions: %w", err)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("end sessions: %w", ctx.Err())
		}
	}
}

// strip returns what takes from a role all that it was given, and all that it owns.
func strip(ctx context.Context, conn *pgx.Conn, role, owner string) ([]string, error) {
	rows, err := conn.Query(ctx, `
		select pg_catalog.quote_ident(g.rolname) from pg_catalog.pg_auth_members m
			join pg_catalog.pg_roles g on g.oid = m.roleid join pg_catalog.pg_roles r on r.oid = m.member
		where r.rolname = $1`, role)
	if err != nil {
		return nil, fmt.Errorf("read what it is a member of: %w", err)
	}
	groups, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read what it is a member of: %w", err)
	}
	statements := []string{"reassign owned by " + quoted(role) + " to " + owner, "drop owned by " + quoted(role)}
	for _, group := range groups {
		statements = append(statements, "revoke "+group+" from "+quoted(role))
	}
	return statements, nil
}

// keepFromPublic gives functions to the owner alone that Postgres lets everybody use, and that write: large objects, and records of the
// write-ahead log.
func keepFromPublic(ctx context.Context, conn *pgx.Conn, owner string) ([]string, error) {
	rows, err := conn.Query(ctx, `
		select p.oid::regprocedure::text from pg_catalog.pg_proc p
		where p.pronamespace = 'pg_catalog'::regnamespace and p.proname in ('lo_creat', 'lo_create', 'lo_from_bytea', 'pg_logical_emit_message')
			and (p.proacl is null or exists (select from pg_catalog.aclexplode(p.proacl) a where a.grantee = 0))`)
	if err != nil {
		return nil, fmt.Errorf("read the functions that write: %w", err)
	}
	functions, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("read the functions that write: %w", err)
	}
	var statements []string
	for _, f := range functions {
		statements = append(statements, "grant execute on function pg_catalog."+f+" to "+owner, "revoke execute on function pg_catalog."+f+" from public")
	}
	return statements, nil
}
