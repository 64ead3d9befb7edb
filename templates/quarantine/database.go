package quarantine

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
)

// databaseMaker runs those statements of a script for psql that depend on what the machine has: databases with their
// locale, tablespaces with their directories, and policies with their roles.
type databaseMaker struct {
	cluster  *Cluster
	conn     *pgx.Conn
	findings []Finding

	foreignKeys map[recentStatement]string // statements that add one, without their lines
}

const name = `("(?:[^"]|"")+"|[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*)`

var (
	createDatabase   = regexp.MustCompile(`(?is)^CREATE\s+DATABASE\s+` + name)
	createTablespace = regexp.MustCompile(`(?is)^CREATE\s+TABLESPACE\s+` + name)
	databaseOption   = regexp.MustCompile(`(?i)\b(?:ENCODING|LOCALE_PROVIDER|LOCALE|LC_COLLATE|LC_CTYPE|ICU_LOCALE|ICU_RULES|BUILTIN_LOCALE)\s*=?\s*(?:'(?:[^';]|'')*'|[a-z]+)`)
	encodingOption   = regexp.MustCompile(`(?i)\bENCODING\s*=?\s*'[^']*'`)
	policyRoles      = regexp.MustCompile(`(?is)^CREATE\s+POLICY\s.*?\sTO\s+(` + name + `(?:\s*,\s*` + name + `)*)\s*(?:USING|WITH|;)`)
	addsForeignKey   = regexp.MustCompile(`(?is)^ALTER\s+TABLE\s[^;]*?\sADD\s+CONSTRAINT\s[^;]*?\sFOREIGN\s+KEY\s[^;]*;$`)
	oneName          = regexp.MustCompile(name)
)

func unquote(quoted string) string {
	if inner, found := strings.CutPrefix(quoted, `"`); found {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return strings.ToLower(quoted)
}

// replace is the scanner's.
func (d *databaseMaker) replace(ctx context.Context, database, head, statement string) (string, error) {
	if addsForeignKey.MatchString(statement) {
		d.foreignKeys[recentStatement{head: head, database: database}] = statement
		return statement, nil
	}
	lines := strings.Repeat("\n", strings.Count(statement, "\n"))
	if m := createDatabase.FindStringSubmatch(statement); m != nil {
		return lines, d.create(ctx, unquote(m[1]), statement)
	}
	if m := createTablespace.FindStringSubmatch(statement); m != nil {
		d.findings = append(d.findings, Finding{
			Code: "tablespace_left_out", Severity: Info, Object: "tablespace " + unquote(m[1]),
			Cause: "its directory is one of the source's machine", Done: "what was in it is in the template all the same",
		})
		return lines, nil
	}
	if m := policyRoles.FindStringSubmatch(statement); m != nil {
		return policyPrefix(m[1]) + statement, nil
	}
	if strings.HasPrefix(strings.ToUpper(statement), "DROP") {
		return lines, nil // psql is behind: it would drop what was made for the same script meanwhile
	}
	return statement, nil
}

// policyPrefix makes the roles that a policy names, or it would be lost for want of one.
func policyPrefix(roles string) string {
	var prefix strings.Builder
	for _, quoted := range oneName.FindAllString(roles, -1) {
		role := unquote(quoted)
		if slices.Contains([]string{"public", "current_role", "current_user", "session_user"}, role) || strings.Contains(role, "$mayfly$") {
			continue
		}
		prefix.WriteString("DO $mayfly$BEGIN CREATE ROLE " + strings.ReplaceAll(pgx.Identifier{role}.Sanitize(), "\n", " ") +
			" NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END$mayfly$; ")
	}
	return prefix.String()
}

// create makes a database like the script's, but for its owner, its tablespace, and a locale that the image lacks.
func (d *databaseMaker) create(ctx context.Context, database, statement string) error {
	create := "CREATE DATABASE " + pgx.Identifier{database}.Sanitize() + " TEMPLATE template0 "
	options := strings.Join(databaseOption.FindAllString(statement, -1), " ")
	_, err := d.conn.Exec(ctx, create+options)
	var server *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &server):
		return fmt.Errorf("create the database %q: %w", database, err)
	case server.Code == "42P04": // duplicate_database: initdb's
		return nil
	}
	encoding := encodingOption.FindString(statement)
	for _, locale := range []string{"C.UTF-8", "C"} {
		if _, fallbackErr := d.conn.Exec(ctx, create+encoding+" LC_COLLATE '"+locale+"' LC_CTYPE '"+locale+"'"); fallbackErr == nil {
			d.findings = append(d.findings, Finding{
				Code: "locale_missing", Severity: Warning, Object: "database " + database,
				Cause:  "the image has not its locale (" + options + ")",
				Done:   "it was restored with " + locale + ", so text may sort differently",
				Advice: "use an image that has the locale (postgres.image)",
			})
			return nil
		}
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the script's database %q cannot be created: %s (SQLSTATE %s)", database, server.Message, server.Code)
}

// addUnvalidated adds a foreign key that rows of the source violate, for the rows to come.
func (d *databaseMaker) addUnvalidated(ctx context.Context, of recentStatement) bool {
	statement, found := d.foreignKeys[recentStatement{head: of.head, database: of.database}]
	if !found {
		return false
	}
	conn, err := d.cluster.connect(ctx, of.database)
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, strings.TrimSuffix(statement, ";")+" NOT VALID")
	return err == nil
}

// candidates lists the databases that may be meant, and how many tables each has is for tables to say.
const candidates = `SELECT datname FROM pg_catalog.pg_database WHERE NOT datistemplate AND datallowconn ORDER BY 1`

const countRelations = `SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.oid >= 16384 AND n.nspname NOT IN ('pg_toast', 'information_schema')`

// chooseDatabase finds the database that the template is made of.
func (c *Cluster) chooseDatabase(ctx context.Context) error {
	conn, err := c.connectAny(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	rows, err := conn.Query(ctx, candidates)
	if err != nil {
		return fmt.Errorf("list the databases: %w", err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("list the databases: %w", err)
	}
	if c.Database = c.opts.Database; c.Database != "" {
		if !slices.Contains(all, c.Database) {
			return mayfly.Errorf(mayfly.CodeInvalid, "the source has no database %q", c.Database).
				WithHint("set source.database to one of: %s", strings.Join(named(all), ", "))
		}
		return c.prepareDatabase(ctx, conn)
	}
	if slices.Contains(all, c.opts.Preferred) {
		if n, err := c.relations(ctx, c.opts.Preferred); err == nil && n > 0 {
			c.Database = c.opts.Preferred
			return c.prepareDatabase(ctx, conn)
		}
	}
	var filled []string
	for _, database := range all {
		n, err := c.relations(ctx, database)
		if err != nil {
			return err
		}
		if n > 0 {
			filled = append(filled, database)
		}
	}
	switch len(filled) {
	case 0:
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the source has no tables").WithHint("look whether it is the right file, and whole")
	case 1:
		c.Database = filled[0]
		return c.prepareDatabase(ctx, conn)
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "the source has several databases: %s", strings.Join(named(filled), ", ")).
		WithHint("set source.database to the one that the template is to be made of")
}

// Name returns the database's name in the source, "" if it has none there.
func (c *Cluster) Name() string {
	if c.Database == scriptDatabase {
		return ""
	}
	return c.Database
}

// named replaces our own name for what has none.
func named(databases []string) []string {
	var names []string
	for _, database := range databases {
		if database != scriptDatabase {
			names = append(names, database)
		}
	}
	return names
}

func (c *Cluster) relations(ctx context.Context, database string) (n int, err error) {
	conn, err := c.connect(ctx, database)
	if err != nil {
		return 0, connectError(database, err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := conn.QueryRow(ctx, countRelations).Scan(&n); err != nil {
		return 0, fmt.Errorf("count the tables of %q: %w", database, err)
	}
	return n, nil
}

// connectAny connects to any database: which there are, the source decided.
func (c *Cluster) connectAny(ctx context.Context) (conn *pgx.Conn, err error) {
	for _, database := range []string{"postgres", "template1", c.opts.Database, c.opts.Preferred} {
		if database == "" {
			continue
		}
		var failed error
		if conn, failed = c.connect(ctx, database); failed == nil {
			return conn, nil
		}
		if err == nil {
			err = connectError(database, failed)
		}
	}
	return nil, err
}

// connectError says why a restored database does not let anybody in.
func connectError(database string, err error) error {
	var server *pgconn.PgError
	if errors.As(err, &server) && strings.Contains(server.Message, "locale is incompatible") {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the image lacks the locale of the database %q: %s", database, server.Detail).
			WithHint("use an image that has the locale (postgres.image), or a dump instead of a base backup")
	}
	return err
}

// prepareDatabase undoes settings that would load libraries into the sessions that read.
func (c *Cluster) prepareDatabase(ctx context.Context, conn *pgx.Conn) error {
	database := pgx.Identifier{c.Database}.Sanitize()
	for _, setting := range []string{"session_preload_libraries", "local_preload_libraries"} {
		for _, whose := range []string{"DATABASE " + database, "ROLE ALL", "ROLE ALL IN DATABASE " + database} {
			if _, err := conn.Exec(ctx, "ALTER "+whose+" RESET "+setting); err != nil {
				return fmt.Errorf("prepare the database %q: %w", c.Database, err)
			}
		}
	}
	if _, err := c.relations(ctx, c.Database); err != nil {
		return err
	}
	return nil
}
