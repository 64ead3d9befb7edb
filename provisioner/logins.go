package provisioner

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/store"
)

// loginTimeout bounds how long somebody who asks for a login waits for its role to be made.
const loginTimeout = 30 * time.Second

// readOnlySuffix ends the names of roles that only read.
const readOnlySuffix = "_ro"

// LoginRole returns the name of somebody's role: what they are called, as far as that goes into a name, so that pg_stat_activity and the
// log say who it is, and the beginning of a hash, so that it is theirs alone.
func LoginRole(subject string, access store.LoginAccess) string {
	sum := sha256.Sum256([]byte(subject))
	_, name, found := strings.Cut(subject, ":")
	if !found {
		name = subject
	}
	name, _, _ = strings.Cut(strings.ToLower(name), "@")
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, name)
	const longest = 40 // with what follows, less than an identifier's 63
	plain = strings.Trim(plain[:min(len(plain), longest)], "_")
	if plain == "" || plain[0] >= '0' && plain[0] <= '9' || strings.HasPrefix(plain, "pg_") || strings.HasPrefix(plain, "mayfly_") {
		plain = "u_" + plain
	}
	role := plain + "_" + hex.EncodeToString(sum[:4])
	if access == store.LoginReadOnly {
		role += readOnlySuffix
	}
	return role
}

// CreateLogin makes a login of a preview for somebody, or gives theirs a new password, and waits until it can be used. In a preview that
// sleeps it can be when that wakes, which connecting makes it do.
func (s *Service) CreateLogin(ctx context.Context, name, subject string, access store.LoginAccess) (*Credentials, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	if p.WantDeleted {
		return nil, mayfly.Errorf(mayfly.CodeConflict, "preview %s is being removed", p.Name)
	}
	password := randomPassword()
	login := store.Login{PreviewID: p.ID, Role: LoginRole(subject, access), Subject: subject, Access: access}
	login.PasswordSealed = s.Sealer.Seal([]byte(password), loginContext(p.ID, login.Role))
	if err := s.Store.SetLogin(ctx, p, login); err != nil {
		return nil, err
	}
	if err := s.awaitLogin(ctx, p.ID, login.Role); err != nil {
		return nil, err
	}
	return &Credentials{Database: p.Name, User: login.Role, Password: password}, nil
}

func randomPassword() string {
	raw := make([]byte, 24)
	_, _ = rand.Read(raw)
	return base64.RawURLEncoding.EncodeToString(raw)
}

// loginContext binds a sealed password to its login.
func loginContext(previewID, role string) []byte { return []byte(previewID + "/" + role) }

// LoginCredentials returns somebody's login of a preview. CodeNotFound if they have none.
func (s *Service) LoginCredentials(ctx context.Context, name, subject string, access store.LoginAccess) (*Credentials, error) {
	p, err := s.Store.PreviewByName(ctx, name)
	if err != nil {
		return nil, err
	}
	login, err := s.Store.Login(ctx, p, LoginRole(subject, access))
	if err != nil {
		return nil, err
	}
	if login.Subject != subject {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no such login of preview %s", p.Name)
	}
	password, err := s.Sealer.Open(login.PasswordSealed, loginContext(p.ID, login.Role))
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInternal, "open the login of preview %s: %w", p.Name, err).
			WithHint("the key that sealed it is not the key in use; ask for a new login")
	}
	return &Credentials{Database: p.Name, User: login.Role, Password: string(password)}, nil
}

// awaitLogin waits until a role is made, if the preview runs, or will.
func (s *Service) awaitLogin(ctx context.Context, id, role string) error {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	var failure error
	_, err := s.Await(ctx, id, func(p *mayfly.Preview) bool {
		if p.WantDeleted || p.WantSuspended || !p.Connectable() { // of one that is being made, the login comes with it
			return true
		}
		login, err := s.Store.Login(ctx, p, role)
		failure = err
		return err != nil || login.AppliedGeneration == p.ObservedGeneration
	})
	if err != nil {
		return err
	}
	return failure
}

// MayLogin reports whether a role of a preview was given to somebody, for the gateway. While the preview runs it waits for the role to be
// made.
func (s *Service) MayLogin(ctx context.Context, p *mayfly.Preview, role string) (bool, error) {
	login, err := s.Store.Login(ctx, p, role)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if p.State != mayfly.PreviewReady || p.WantSuspended || login.AppliedGeneration == p.ObservedGeneration {
		return true, nil
	}
	err = s.awaitLogin(ctx, p.ID, role)
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return false, nil
	}
	return err == nil, err
}

// applyPendingLogins makes the roles that are not as they should be in a preview that runs.
func (s *Service) applyPendingLogins(ctx context.Context, p *mayfly.Preview) error {
	if p.WantDeleted || p.WantSuspended || p.State != mayfly.PreviewReady && p.State != mayfly.PreviewFailed || !p.Connectable() {
		return nil
	}
	logins, err := s.Store.Logins(ctx, p.ID)
	if err != nil {
		return err
	}
	pending := false
	for _, l := range logins {
		pending = pending || l.AppliedGeneration != p.ObservedGeneration
	}
	if !pending {
		return nil
	}
	conn, err := cluster.Connect(ctx, s.Engine, p.Instance(), p.Database)
	if err != nil {
		return fmt.Errorf("connect to preview %s: %w", p.Name, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return s.applyLogins(ctx, conn, p, logins, p.ObservedGeneration)
}

// applyAllLogins makes all roles in a new generation, in which there is none.
func (s *Service) applyAllLogins(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview) error {
	logins, err := s.Store.Logins(ctx, p.ID)
	if err != nil || len(logins) == 0 {
		return err
	}
	return s.applyLogins(ctx, conn, p, logins, p.Generation)
}

func (s *Service) applyLogins(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview, logins []store.Login, generation int64) error {
	// Nothing of the preview's own may be found in the place of Postgres's: it would run as the superuser.
	if _, err := conn.Exec(ctx, "set search_path = pg_catalog, pg_temp"); err != nil {
		return fmt.Errorf("prepare the logins of preview %s: %w", p.Name, err)
	}
	var revoked []store.Login
	for _, l := range logins {
		if l.RevokedAt != nil && l.AppliedGeneration != generation {
			revoked = append(revoked, l)
		}
	}
	if err := s.revokeLogins(ctx, conn, p, revoked); err != nil {
		return err
	}
	acted := slices.ContainsFunc(revoked, func(l store.Login) bool { return l.Access == store.LoginPersonal })
	for _, l := range logins {
		// Who acted as the owner may have given away what the owner has.
		suspect := acted && l.Access == store.LoginReadOnly
		if l.RevokedAt != nil || l.AppliedGeneration == generation && !suspect {
			continue
		}
		if err := s.makeLogin(ctx, conn, p, l); err != nil {
			return fmt.Errorf("login %s of preview %s: %w", l.Role, p.Name, err)
		}
		if err := s.Store.LoginApplied(ctx, l, generation); err != nil {
			return err
		}
	}
	for _, l := range revoked { // last: a revocation that stopped halfway begins again
		if err := s.Store.LoginApplied(ctx, l, generation); err != nil {
			return err
		}
	}
	return nil
}

// makeLogin makes a role, or makes it what it should be.
func (s *Service) makeLogin(ctx context.Context, conn *pgx.Conn, p *mayfly.Preview, l store.Login) error {
	password, err := s.Sealer.Open(l.PasswordSealed, loginContext(p.ID, l.Role))
	if err != nil {
		return fmt.Errorf("open its password: %w", err)
	}
	verifier, err := cluster.ScramVerifier(string(password))
	if err != nil {
		return err
	}
	role, owner, database := quoted(l.Role), quoted(p.Owner), quoted(p.Database)
	exists, err := roleExists(ctx, conn, l.Role)
	if err != nil {
		return err
	}
	statements := []string{
		// Should one fail, not even the verifier is for the log, which people read.
		"set local log_statement = 'none'", "set local log_min_error_statement = 'panic'", "set local log_min_duration_statement = -1",
	}
	if !exists {
		statements = append(statements, "create role "+role)
	} else if l.Access == store.LoginReadOnly {
		// What the owner, or who acted as the owner, has given it since.
		more, err := strip(ctx, conn, l.Role, owner)
		if err != nil {
			return err
		}
		statements = append(statements, more...)
	}
	inherit := "noinherit" // what it owns by itself would outlive it: it acts as the owner, from its first statement on
	if l.Access == store.LoginReadOnly {
		inherit = "inherit"
	}
	statements = append(statements,
		// A verifier consists of base64, '$' and ':'.
		"alter role "+role+" login nosuperuser nocreatedb nocreaterole noreplication nobypassrls "+inherit+" password '"+verifier+"'",
		"grant connect on database "+database+" to "+role)
	if l.Access == store.LoginReadOnly {
		more, err := readOnlyStatements(ctx, conn, role, owner, database)
		if err != nil {
			return err
		}
		statements = append(statements, more...)
	} else {
		statements = append(statements, "grant "+owner+" to "+role)
	}
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, sql := range statements {
			if _, err := tx.Exec(ctx, sql); err != nil {
				return withoutStatement(err)
			}
		}
		if err := copySettings(ctx, tx, p, l.Role); err != nil {
			return err
		}
		last := "alter role " + role + " in database " + database + " set role = " + quotedText(p.Owner)
		if l.Access == store.LoginReadOnly {
			last = "alter role " + role + " set default_transaction_read_only = on"
		}
		_, err := tx.Exec(ctx, last)
		return err
	})
}

// withoutStatement keeps what Postgres says of a statement with a verifier in it out of logs and timelines.
func withoutStatement(err error) error { return fmt.Errorf("make its role: %w", err) }

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }

func quotedText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func roleExists(ctx context.Context, conn *pgx.Conn, role string) (bool, error) {
	var exists bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_catalog.pg_roles where rolname = $1)`, role).Scan(&exists); err != nil {
		return false, fmt.Errorf("look for its role: %w", err)
	}
	return exists, nil
}

// readOnlyStatements give a role all that can be read. What is given to everybody by default and is not reading is kept for the owner from
// then on: tables in schema public before PostgreSQL 15, temporary ones, and large objects.
func readOnlyStatements(ctx context.Context, conn *pgx.Conn, role, owner, database string) ([]string, error) {
	statements, err := keepFromPublic(ctx, conn, owner)
	if err != nil {
		return nil, err
	}
	statements = append(statements,
		"grant temporary, create on database "+database+" to "+owner, "revoke temporary on database "+database+" from public")
	rows, err := conn.Query(ctx, `
		select nspname, exists (select from pg_catalog.aclexplode(nspacl) a where a.grantee = 0 and a.privilege_type = 'CREATE')
		from pg_catalog.pg_namespace where nspname !~ '^pg_' and nspname <> 'information_schema' order by nspname`)
	if err != nil {
		return nil, fmt.Errorf("read the schemas: %w", err)
	}
	var schema string
	var public bool
	var schemas []string
	_, err = pgx.ForEachRow(rows, []any{&schema, &public}, func() error {
		schemas = append(schemas, quoted(schema))
		if public {
			statements = append(statements,
				"grant usage, create on schema "+quoted(schema)+" to "+owner, "revoke create on schema "+quoted(schema)+" from public")
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the schemas: %w", err)
	}
	const hasReadAllData = 140000
	var version int
	if err := conn.QueryRow(ctx, `select current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return nil, fmt.Errorf("read the version: %w", err)
	}
	if version >= hasReadAllData {
		return append(statements, "grant pg_read_all_data to "+role), nil
	}
	for _, schema := range schemas {
		statements = append(statements, "grant usage on schema "+schema+" to "+role, "grant select on all tables in schema "+schema+" to "+role,
			"grant select on all sequences in schema "+schema+" to "+role)
	}
	// And what the owner makes later.
	defaults := "alter default privileges for role " + owner + " grant "
	return append(statements, defaults+"select on tables to "+role, defaults+"select on sequences to "+role, defaults+"usage on schemas to "+role), nil
}

// copiedSettings are those of the owner that matter for what a person sees, and that can do nothing to the session that takes them over.
func copiedSettings() []string {
	return []string{"search_path", "timezone", "datestyle", "intervalstyle", "default_text_search_config", "bytea_output"}
}

// copySettings gives a role the settings that the owner has in the preview, such as search_path: acting as a role does not bring its
// settings.
func copySettings(ctx context.Context, tx pgx.Tx, p *mayfly.Preview, role string) error {
	rows, err := tx.Query(ctx, `
		select s from pg_catalog.pg_db_role_setting r, pg_catalog.unnest(r.setconfig) s
		where r.setrole = (select oid from pg_catalog.pg_roles where rolname = $1)
			and r.setdatabase in (0, (select oid from pg_catalog.pg_database where datname = $2)) order by r.setdatabase`, p.Owner, p.Database)
	if err != nil {
		return fmt.Errorf("read the owner's settings: %w", err)
	}
	settings, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("read the owner's settings: %w", err)
	}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		if !slices.Contains(copiedSettings(), strings.ToLower(name)) {
			continue
		}
		if _, err := tx.Exec(ctx, `select pg_catalog.set_config($1, $2, true)`, name, value); err != nil {
			return fmt.Errorf("take over setting %s: %w", name, err)
		}
		sql := "alter role " + quoted(role) + " in database " + quoted(p.Database) + " set " + name + " from current"
		if _, err := tx.Exec(ctx, sql); err != nil {
			return fmt.Errorf("take over setting %s: %w", name, err)
		}
		if _, err := tx.Exec(ctx, "set local search_path = pg_catalog, pg_temp"); err != nil {
			return fmt.Errorf("take over setting %s: %w", name, err)
		}
	}
	return nil
}
