package templates

import (
	"cmp"
	"context"
	"crypto/rand"
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
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates/archive"
)

// target is the cluster that a template is made in.
type target struct {
	engine   driver.Engine
	instance string
	database string
	owner    string
	password string // of the owner, until the build ends
	encoding string // of the sessions: what names and rows come in

	mu       sync.Mutex
	roles    []string // made because a policy or the like names them
	findings []Finding
	gone     map[int]goneEntry // what was left out while restoring
	masked   map[int]bool      // entries whose definition was rewritten

	toc       *archive.Archive
	major     int
	diagnosis *diagnosis     // nil until the rows are there
	scanner   *proof.Scanner // nil until the rows are complete
}

// goneEntry is an entry that was left out, and how bad that is.
type goneEntry struct {
	entry    *archive.Entry
	severity Severity
}

// drop leaves an entry out, and with it what depends on it.
func (t *target) drop(e *archive.Entry, f Finding) {
	t.find(f)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.gone == nil {
		t.gone = map[int]goneEntry{}
	}
	t.gone[e.ID] = goneEntry{e, f.Severity}
}

// missing returns why an entry has to be left out because of one that it depends on, nil if it has not.
func (t *target) missing(e *archive.Entry) *omission {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range e.Dependencies {
		if on, found := t.gone[id]; found {
			return omitDependent(on.entry, on.severity)
		}
	}
	return nil
}

// createDatabase makes the application's role and its database, with the source's encoding and locale where the image
// has that locale.
func (t *target) createDatabase(ctx context.Context, conn *pgx.Conn, toc *archive.Archive) error {
	owner, database := pgx.Identifier{t.owner}.Sanitize(), pgx.Identifier{t.database}.Sanitize()
	t.password = rand.Text()
	verifier, err := cluster.ScramVerifier(t.password)
	if err != nil {
		return err
	}
	// BYPASSRLS until the end: an owner may have bound itself to its own policies, and the build counts all rows.
	if err := execOne(ctx, conn, "CREATE ROLE "+owner+" LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION BYPASSRLS PASSWORD "+quoteLiteral(verifier)); err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "cannot create the role %q: %w", t.owner, err).WithHint("choose another postgres.owner")
	}
	if t.database == "postgres" { // initdb made one, with another owner and locale
		if err := execAll(ctx, conn, "DROP DATABASE postgres"); err != nil {
			return fmt.Errorf("drop initdb's database: %w", err)
		}
	}
	options := databaseOptions(toc)
	create := "CREATE DATABASE " + database + " WITH OWNER " + owner + " TEMPLATE template0"
	err = execOne(ctx, conn, create+" "+options)
	if err == nil {
		return nil
	}
	// A dump names encodings, so the encoding itself is right; the locale is what an image may lack.
	for _, other := range databaseFallbacks(options) {
		if execOne(ctx, conn, create+" "+other) == nil {
			t.find(databaseLocaleMissing(t.database, options, other))
			return nil
		}
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "cannot create the database %q (%s): %w", t.database, options, err)
}

var (
	encodingOption = regexp.MustCompile(`ENCODING = '[^']*'`)
	localeOption   = regexp.MustCompile(`\b(?:ENCODING|LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE|ICU_LOCALE|ICU_RULES|BUILTIN_LOCALE) = (?:'(?:[^';]|'')*'|[a-z]+)`)
)

// databaseOptions returns the source's encoding and locale as options of CREATE DATABASE, from the DATABASE entry:
// CREATE DATABASE shop WITH TEMPLATE = template0 ENCODING = 'UTF8' LOCALE_PROVIDER = libc LOCALE = 'en_US.UTF-8';
func databaseOptions(toc *archive.Archive) string {
	for i := range toc.Entries {
		if e := &toc.Entries[i]; e.Kind == "DATABASE" {
			_, options, found := strings.Cut(e.Definition, " WITH TEMPLATE = template0")
			options, _, ended := strings.Cut(options, ";")
			if found && ended {
				return strings.Join(localeOption.FindAllString(options, -1), " ")
			}
		}
	}
	return "ENCODING = 'UTF8' LOCALE = 'C.UTF-8'"
}

// adoptDatabase gives the public schema to the owner.
func (t *target) adoptDatabase(ctx context.Context) error {
	admin, err := t.connectAdmin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	if err := execOne(ctx, admin, "ALTER SCHEMA public OWNER TO "+pgx.Identifier{t.owner}.Sanitize()); err != nil {
		return fmt.Errorf("give the public schema to %s: %w", t.owner, err)
	}
	return nil
}

// restorer runs entries in one session of the owner. Objects belong to it from the start.
type restorer struct {
	target *target
	conn   *pgx.Conn
	admin  *pgx.Conn // nil until the superuser is needed
}

func (t *target) restorer(ctx context.Context) (*restorer, error) {
	conn, err := t.connect(ctx)
	if err != nil {
		return nil, err
	}
	return &restorer{target: t, conn: conn}, nil
}

func (r *restorer) close(ctx context.Context) {
	_ = r.conn.Close(context.WithoutCancel(ctx))
	if r.admin != nil {
		_ = r.admin.Close(context.WithoutCancel(ctx))
	}
}

// preData restores what has to be there before the rows. Extensions come first, after the schemas that they are in:
// their scripts run as the superuser, so nothing of the source's may be there yet that they could take for their own.
func (r *restorer) preData(ctx context.Context, entries []*archive.Entry) error {
	rank := func(e *archive.Entry) int {
		switch e.Kind {
		case "SCHEMA":
			return 0
		case "EXTENSION":
			return 1
		}
		return 2
	}
	ordered := slices.Clone(entries)
	slices.SortStableFunc(ordered, func(a, b *archive.Entry) int { return cmp.Compare(rank(a), rank(b)) })
	for _, e := range ordered {
		if err := r.restore(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

// restore runs one entry as the owner. What only a superuser may create is left out and reported, but for extensions
// and other names of the server's own functions.
func (r *restorer) restore(ctx context.Context, e *archive.Entry) error {
	if why := r.target.missing(e); why != nil {
		r.target.drop(e, r.emptyView(ctx, e, why.finding(object(e))))
		return nil
	}
	err := r.attempt(ctx, e)
	// Foreign keys lock the partitions of their tables too, which the table of contents does not tell; so sessions that
	// restore side by side can get into each other's way.
	for tries := 0; hasState(err, sqlDeadlock) && tries < 5; tries++ {
		err = r.attempt(ctx, e)
	}
	switch {
	case err == nil && e.Kind == "PUBLICATION":
		r.target.find(Finding{
			Code: codePublicationKept, Severity: SeverityInfo, Object: object(e), Cause: "templates.policy.publications is keep",
			Done: "created, so that migrations can alter it; nothing subscribes to it",
		})
	case errors.Is(err, errNotSame):
		f := omitPrivilege().finding(object(e))
		f.Cause = errNotSame.Error()
		r.target.drop(e, f)
	case hasState(err, sqlInsufficientPriv):
		r.target.drop(e, omitPrivilege().finding(object(e)))
	case err != nil && e.Kind == "EXTENSION" && unavailable(err):
		return r.missingExtension(e, err)
	case err != nil && r.target.masked[e.ID] && refusedByServer(err):
		return maskedError(e, err)
	case err != nil:
		return r.treat(ctx, e, err)
	}
	return nil
}

func (r *restorer) attempt(ctx context.Context, e *archive.Entry) error {
	switch {
	case e.Kind == "EXTENSION":
		return r.createExtension(ctx, e)
	case e.Kind == "SCHEMA":
		return execOne(ctx, r.conn, "CREATE SCHEMA "+pgx.Identifier{e.Tag}.Sanitize())
	case isExtensionComment(e):
		admin, err := r.superuser(ctx)
		if err != nil {
			return err
		}
		return execOne(ctx, admin, e.Definition)
	}
	if e.Kind == "COLLATION" {
		return r.createCollation(ctx, e)
	}
	err := r.provided(ctx, e.Definition)
	if hasState(err, sqlInsufficientPriv) && e.Kind == "FUNCTION" && internalFunction.MatchString(e.Definition) {
		return r.createInternal(ctx, e)
	}
	return err
}

var missingRole = regexp.MustCompile(`^role "(.*)" does not exist$`)

// provided runs statements, and makes the roles and collations that they name: a policy may be for a role that the preview does not
// have. Such a role cannot log in and owns nothing.
func (r *restorer) provided(ctx context.Context, statements string) error {
	var made []string
	for {
		err := execAll(ctx, r.conn, statements)
		if err == nil {
			return nil
		}
		if again, err := r.provide(ctx, err, &made); !again || err != nil {
			return err
		}
	}
}

func (r *restorer) makeRole(ctx context.Context, name string) error {
	admin, err := r.superuser(ctx)
	if err != nil {
		return err
	}
	r.target.mu.Lock()
	defer r.target.mu.Unlock()
	if slices.Contains(r.target.roles, name) {
		return nil
	}
	if err := execOne(ctx, admin, "CREATE ROLE "+pgx.Identifier{name}.Sanitize()+" NOLOGIN"); err != nil {
		return fmt.Errorf("create the role %q that the source names: %w", name, err)
	}
	r.target.roles = append(r.target.roles, name)
	r.target.findings = append(r.target.findings, Finding{
		Code: codeRoleCreated, Severity: SeverityInfo, Object: "role " + name, Cause: "a policy of the source names it",
		Done: "created; it cannot log in and owns nothing",
	})
	return nil
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
	what := fmt.Sprintf("%s %s cannot be restored: %s", e.Kind, entryName(e), sourceMessage(server))
	switch {
	case server.Code == sqlDiskFull:
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: %s", what).WithHint("free space in the pool, or enlarge it")
	case strings.HasPrefix(server.Code, "23"):
		return mayfly.Errorf(mayfly.CodeInvalid, "%s", what).
			WithHint("the masked values break it: use a transformer that keeps values distinct, and the same one on both sides of a foreign key")
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "%s", what)
}
