package templates

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

// target is the cluster that a template is made in.
type target struct {
	engine   driver.Engine
	instance string
	database string
	owner    string
	encoding string // of the sessions: what names and rows come in

	mu       sync.Mutex
	roles    []string // made because a policy or the like names them
	warnings []string
}

func (t *target) warn(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if text := fmt.Sprintf(format, args...); !slices.Contains(t.warnings, text) {
		t.warnings = append(t.warnings, text)
	}
}

// connect opens a session with the new database, set up as pg_restore does. Messages are in English: some are read.
func (t *target) connect(ctx context.Context) (*pgx.Conn, error) {
	conn, err := cluster.Connect(ctx, t.engine, t.instance, t.database)
	if err != nil {
		return nil, fmt.Errorf("connect to the template's cluster: %w", err)
	}
	err = execAll(ctx, conn, "SET client_encoding = "+quoteLiteral(t.encoding)+`; SET lc_messages = 'C'; SET statement_timeout = 0;
		SET lock_timeout = 0; SET standard_conforming_strings = on; SET check_function_bodies = off; SET xmloption = content;
		SET client_min_messages = warning; SET row_security = off; SET DateStyle = ISO; SET IntervalStyle = postgres;
		SET TimeZone = 'UTC'; SELECT pg_catalog.set_config('search_path', '', false)`)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("set up a session with the template's cluster: %w", err), conn.Close(ctx))
	}
	return conn, nil
}

// execAll runs statements by the simple protocol: several at once, without parameters.
func execAll(ctx context.Context, conn *pgx.Conn, statements string) error {
	_, err := conn.PgConn().Exec(ctx, statements).ReadAll()
	return err
}

// createDatabase makes the application's role and its database, with the source's encoding and locale where the image
// has that locale.
func (t *target) createDatabase(ctx context.Context, conn *pgx.Conn, toc *archive.Archive) error {
	owner, database := pgx.Identifier{t.owner}.Sanitize(), pgx.Identifier{t.database}.Sanitize()
	if err := execAll(ctx, conn, "CREATE ROLE "+owner+" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION"); err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "cannot create the role %q: %w", t.owner, err).WithHint("choose another postgres.owner")
	}
	if t.database == "postgres" { // initdb made one, with another owner and locale
		if err := execAll(ctx, conn, "DROP DATABASE postgres"); err != nil {
			return fmt.Errorf("drop initdb's database: %w", err)
		}
	}
	options := databaseOptions(toc)
	create := "CREATE DATABASE " + database + " WITH OWNER " + owner + " TEMPLATE template0"
	err := execAll(ctx, conn, create+" "+options)
	if err == nil {
		return nil
	}
	// A dump names encodings, so the encoding itself is right; the locale is what an image may lack.
	encoding := encodingOption.FindString(options)
	for _, locale := range []string{"C.UTF-8", "C"} {
		if execAll(ctx, conn, create+" "+encoding+" LOCALE = "+quoteLiteral(locale)) == nil {
			t.warn("the image has not the source's locale (%s): the template uses %s, so text may sort differently", options, locale)
			return nil
		}
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "cannot create the database %q (%s): %w", t.database, options, err)
}

var (
	encodingOption   = regexp.MustCompile(`ENCODING = '[^']*'`)
	tablespaceOption = regexp.MustCompile(` ?TABLESPACE = ("([^"]|"")*"|[^ ;]+)`)
)

// databaseOptions returns the source's encoding and locale as options of CREATE DATABASE, from the DATABASE entry:
// CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'en_US.UTF-8';
func databaseOptions(toc *archive.Archive) string {
	for i := range toc.Entries {
		if e := &toc.Entries[i]; e.Kind == "DATABASE" {
			_, options, found := strings.Cut(e.Definition, " WITH TEMPLATE = template0")
			options, _, ended := strings.Cut(options, ";")
			if found && ended {
				return strings.TrimSpace(tablespaceOption.ReplaceAllString(options, ""))
			}
		}
	}
	return "ENCODING = 'UTF8' LOCALE = 'C.UTF-8'"
}

// adoptDatabase gives the public schema to the owner and carries over the settings of the source's database.
func (t *target) adoptDatabase(ctx context.Context, conn *pgx.Conn, toc *archive.Archive) error {
	owner, database := pgx.Identifier{t.owner}.Sanitize(), pgx.Identifier{t.database}.Sanitize()
	if err := execAll(ctx, conn, "ALTER SCHEMA public OWNER TO "+owner); err != nil {
		return fmt.Errorf("give the public schema to %s: %w", t.owner, err)
	}
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if e.Kind != "DATABASE PROPERTIES" {
			continue
		}
		for line := range strings.Lines(e.Definition) {
			m := databaseSetting.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil {
				continue
			}
			if err := execAll(ctx, conn, "ALTER DATABASE "+database+" SET "+m[1]); err != nil {
				t.warn("the database setting %q was left out: %s", m[1], sourceMessage(err))
			}
		}
	}
	return nil
}

// databaseSetting matches what pg_dump writes for pg_db_role_setting. Settings of single roles start with ALTER ROLE.
var databaseSetting = regexp.MustCompile(`^ALTER DATABASE (?:"(?:[^"]|"")*"|[^ "]+) SET (.*);$`)

// restorer runs entries in one session. Objects are created as the owner and so belong to it.
type restorer struct {
	target  *target
	conn    *pgx.Conn
	asOwner bool
}

func (t *target) restorer(ctx context.Context) (*restorer, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &restorer{target: t, conn: conn}, nil
}

func (r *restorer) close(ctx context.Context) { _ = r.conn.Close(context.WithoutCancel(ctx)) }

// become switches between the owner and the superuser.
func (r *restorer) become(ctx context.Context, owner bool) error {
	if owner == r.asOwner {
		return nil
	}
	statement := "RESET ROLE"
	if owner {
		statement = "SET ROLE " + pgx.Identifier{r.target.owner}.Sanitize()
	}
	if err := execAll(ctx, r.conn, statement); err != nil {
		return fmt.Errorf("change the role: %w", err)
	}
	r.asOwner = owner
	return nil
}

// preData restores what has to be there before the rows.
func (r *restorer) preData(ctx context.Context, entries []*archive.Entry) error {
	for _, e := range entries {
		if err := r.restore(ctx, e); err != nil {
			return err
		}
	}
	return r.become(ctx, false)
}

// restore runs one entry as the owner. What only a superuser may create (functions in C, operator classes, extensions)
// is created as one and given to the owner afterwards, where it can be given.
func (r *restorer) restore(ctx context.Context, e *archive.Entry) error {
	err := r.attempt(ctx, e)
	// Foreign keys lock the partitions of their tables too, which the table of contents does not tell; so sessions that
	// restore side by side can get into each other's way.
	for tries := 0; hasState(err, sqlDeadlock) && tries < 5; tries++ {
		err = r.attempt(ctx, e)
	}
	if err != nil {
		return restoreError(ctx, e, err)
	}
	return nil
}

func (r *restorer) attempt(ctx context.Context, e *archive.Entry) error {
	if err := r.become(ctx, e.Kind != "EXTENSION"); err != nil {
		return err
	}
	err := r.withRoles(ctx, e.Definition)
	if hasState(err, sqlInsufficientPriv) && r.asOwner {
		return r.restoreAsSuperuser(ctx, e)
	}
	return err
}

func (r *restorer) restoreAsSuperuser(ctx context.Context, e *archive.Entry) error {
	if err := r.become(ctx, false); err != nil {
		return err
	}
	if err := r.withRoles(ctx, e.Definition); err != nil {
		return err
	}
	identity, found := strings.CutPrefix(strings.TrimSpace(e.Drop), "DROP ")
	if !found {
		return nil // a comment and the like
	}
	alter := "ALTER " + strings.TrimSuffix(identity, ";") + " OWNER TO " + pgx.Identifier{r.target.owner}.Sanitize()
	if err := execAll(ctx, r.conn, alter); err != nil {
		r.target.warn("%s %s belongs to a superuser: %s", e.Kind, entryName(e), sourceMessage(err))
	}
	return nil
}

var missingRole = regexp.MustCompile(`^role "(.*)" does not exist$`)

// withRoles runs statements, and makes the roles that they name: a policy may be for a role that the preview does not
// have. Such a role cannot log in and owns nothing.
func (r *restorer) withRoles(ctx context.Context, statements string) error {
	for {
		err := execAll(ctx, r.conn, statements)
		var server *pgconn.PgError
		if !errors.As(err, &server) || server.Code != sqlUndefinedObject {
			return err
		}
		m := missingRole.FindStringSubmatch(server.Message)
		if m == nil {
			return err
		}
		if err := r.makeRole(ctx, m[1]); err != nil {
			return err
		}
	}
}

func (r *restorer) makeRole(ctx context.Context, name string) error {
	was := r.asOwner
	if err := r.become(ctx, false); err != nil {
		return err
	}
	r.target.mu.Lock()
	defer r.target.mu.Unlock()
	if !slices.Contains(r.target.roles, name) {
		if err := execAll(ctx, r.conn, "CREATE ROLE "+pgx.Identifier{name}.Sanitize()+" NOLOGIN"); err != nil {
			return fmt.Errorf("create the role %q that the source names: %w", name, err)
		}
		r.target.roles = append(r.target.roles, name)
	}
	return r.become(ctx, was)
}

func hasState(err error, codes ...string) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && slices.Contains(codes, server.Code)
}

// restoreError says which object could not be restored, and why, as far as it can be told without showing rows.
func restoreError(ctx context.Context, e *archive.Entry, err error) error {
	var server *pgconn.PgError
	if !errors.As(err, &server) || ctx.Err() != nil {
		return fmt.Errorf("restore %s %s: %w", e.Kind, entryName(e), err)
	}
	what := fmt.Sprintf("%s %s cannot be restored: %s (SQLSTATE %s)", e.Kind, entryName(e), server.Message, server.Code)
	switch {
	case e.Kind == "EXTENSION" && (server.Code == sqlFeatureNotSupported || server.Code == sqlUndefinedFile):
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the source uses the extension %q, which the image has not", e.Tag).
			WithHint("set postgres.image to an image with the extension, or drop it from the source if nothing uses it")
	case server.Code == sqlDiskFull:
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: %s", what).WithHint("free space in the pool, or enlarge it")
	case strings.HasPrefix(server.Code, "23"):
		return mayfly.Errorf(mayfly.CodeInvalid, "%s", what).
			WithHint("the masked values break it: use a transformer that keeps values distinct, and the same one on both sides of a foreign key")
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "%s", what)
}
