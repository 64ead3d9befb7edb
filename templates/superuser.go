package templates

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/templates/archive"
)

// identifier matches a name as pg_dump writes it.
const identifier = `(?:"(?:[^"]|"")+"|[a-z_][a-z0-9_$]*)`

var (
	extensionDefinition = regexp.MustCompile(`^CREATE EXTENSION IF NOT EXISTS (` + identifier + `) WITH SCHEMA (` + identifier + `);\s*$`)
	// internalFunction matches another name for a function of the server. Neither quotes nor dollars before LANGUAGE: the
	// one clause that says the language is the one that is seen here.
	internalFunction = regexp.MustCompile(`^CREATE FUNCTION [^'$;&]+\s+LANGUAGE internal[A-Z ]*\s+AS \$\$[A-Za-z0-9_]+\$\$;\s*$`)
)

// unquoteIdentifier returns the name behind a match of identifier.
func unquoteIdentifier(quoted string) string {
	if inner, found := strings.CutPrefix(quoted, `"`); found {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return quoted
}

// createExtension creates an extension as the superuser. The statement is put together anew from its two names.
func (r *restorer) createExtension(ctx context.Context, e *archive.Entry) error {
	m := extensionDefinition.FindStringSubmatch(e.Definition)
	if m == nil || unquoteIdentifier(m[1]) != e.Tag {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the definition of the extension %q is not one that pg_dump writes", e.Tag)
	}
	admin, err := r.superuser(ctx)
	if err != nil {
		return err
	}
	return execOne(ctx, admin, "CREATE EXTENSION IF NOT EXISTS "+m[1]+" WITH SCHEMA "+m[2])
}

// isExtensionComment reports whether an entry describes an extension. Extensions belong to the superuser.
func isExtensionComment(e *archive.Entry) bool {
	return e.Kind == "COMMENT" && strings.HasPrefix(e.Definition, "COMMENT ON EXTENSION ")
}

// sameAsServers reports whether the one function that this transaction made is the same, in everything but its name, as
// one that the owner may call anyway. Another signature for the same code would read memory that is not its own.
const sameAsServers = `
SELECT p.oid::pg_catalog.regprocedure::text,
	NOT p.prosecdef AND NOT p.proleakproof AND p.proconfig IS NULL AND p.pronargdefaults = 0 AND p.prosupport = 0
	AND EXISTS (SELECT FROM pg_catalog.pg_proc b JOIN pg_catalog.pg_roles o ON o.oid = b.proowner AND o.rolsuper
		WHERE b.oid <> p.oid AND b.prolang = p.prolang AND b.prosrc = p.prosrc AND b.probin IS NULL AND p.probin IS NULL
		AND b.prokind = 'f' AND p.prokind = 'f' AND b.proargtypes = p.proargtypes AND b.prorettype = p.prorettype
		AND b.proallargtypes IS NOT DISTINCT FROM p.proallargtypes AND b.provariadic = p.provariadic
		AND b.proretset = p.proretset AND b.proisstrict = p.proisstrict
		AND pg_catalog.has_function_privilege($1::pg_catalog.text, b.oid, 'EXECUTE'))
FROM pg_catalog.pg_proc p WHERE p.xmin = pg_catalog.pg_current_xact_id()::pg_catalog.xid`

// errNotSame says that a function is not merely another name for one of the server's.
var errNotSame = errors.New("it is not merely another name for a function that everybody may call")

// createInternal creates a function of the language internal as the superuser, and gives it to the owner.
func (r *restorer) createInternal(ctx context.Context, e *archive.Entry) error {
	admin, err := r.superuser(ctx)
	if err != nil {
		return err
	}
	return pgx.BeginFunc(ctx, admin, func(tx pgx.Tx) error {
		if err := execOne(ctx, admin, e.Definition); err != nil {
			return err
		}
		var name string
		var same bool
		if err := tx.QueryRow(ctx, sameAsServers, r.target.owner).Scan(&name, &same); err != nil {
			return fmt.Errorf("look at the function: %w", err)
		}
		if !same {
			return errNotSame
		}
		return execOne(ctx, admin, "ALTER FUNCTION "+name+" OWNER TO "+pgx.Identifier{r.target.owner}.Sanitize())
	})
}

// superuser returns the restorer's session of the superuser, and opens it when it is first needed.
func (r *restorer) superuser(ctx context.Context) (_ *pgx.Conn, err error) {
	if r.admin == nil {
		r.admin, err = r.target.connectAdmin(ctx)
	}
	return r.admin, err
}

// handOver takes away what the owner had for the build: its password, and that it sees all rows. After it the owner has
// no session.
func handOver(ctx context.Context, admin *pgx.Conn, owner string) error {
	if err := execOne(ctx, admin, "ALTER ROLE "+pgx.Identifier{owner}.Sanitize()+" NOBYPASSRLS PASSWORD NULL"); err != nil {
		return fmt.Errorf("take the build's password from %s: %w", owner, err)
	}
	if err := execOne(ctx, admin, `SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity
		WHERE usename <> '`+cluster.AdminRole+`' AND pid <> pg_catalog.pg_backend_pid()`); err != nil {
		return fmt.Errorf("end the sessions of %s: %w", owner, err)
	}
	return nil
}

// foreignRights lists what a template must not have: each row is a reason not to freeze it.
const foreignRights = `
SELECT 'the role "' || rolname || '" has more rights than it may' FROM pg_catalog.pg_authid
WHERE rolname <> $1 AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
	OR rolpassword IS NOT NULL OR rolcanlogin AND rolname <> $2)
UNION ALL
SELECT 'the role "' || m.rolname || '" is a member of another one' FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles m ON m.oid = a.member WHERE m.rolname !~ '^pg_'
UNION ALL
SELECT 'the role "' || $2 || '" is missing' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = $2 AND rolcanlogin)
UNION ALL
SELECT 'a role has settings' FROM pg_catalog.pg_db_role_setting WHERE setrole <> 0
UNION ALL
SELECT 'the database has the setting "' || pg_catalog.split_part(one, '=', 1) || '"'
FROM pg_catalog.pg_db_role_setting CROSS JOIN LATERAL pg_catalog.unnest(setconfig) one
WHERE NOT pg_catalog.lower(pg_catalog.split_part(one, '=', 1)) = ANY ($3::text[])
UNION ALL
SELECT 'the function ' || p.oid::pg_catalog.regprocedure || ' belongs to the superuser' FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_roles o ON o.oid = p.proowner AND o.rolsuper
WHERE p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
	WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid AND d.deptype = 'e')
UNION ALL
SELECT 'the event trigger "' || evtname || '" is not an extension''s' FROM pg_catalog.pg_event_trigger t
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
	WHERE d.classid = 'pg_catalog.pg_event_trigger'::pg_catalog.regclass AND d.objid = t.oid AND d.deptype = 'e')
UNION ALL
SELECT 'there is a subscription' FROM pg_catalog.pg_subscription
UNION ALL
SELECT 'there is a foreign server' FROM pg_catalog.pg_foreign_server
UNION ALL
SELECT 'there is a database "' || datname || '"' FROM pg_catalog.pg_database
WHERE datname <> 'template0' AND datname <> pg_catalog.current_database()`

// checkRights makes sure, last of all, that nothing in the template can become more than its owner.
func checkRights(ctx context.Context, admin *pgx.Conn, owner string) error {
	rows, err := admin.Query(ctx, foreignRights, cluster.AdminRole, owner, allowedSettings())
	if err != nil {
		return fmt.Errorf("check the rights in the template: %w", err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("check the rights in the template: %w", err)
	}
	if len(found) > 0 {
		return mayfly.Errorf(mayfly.CodeVerificationFailed, "the template is not safe to give out: %s", strings.Join(found, "; ")).
			WithHint("the source or the archive tries to get rights that previews do not have; look for who changed its functions")
	}
	return nil
}
