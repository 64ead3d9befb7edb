package templates

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/templates/archive"
)

// facts are what a running source tells beside its rows and its schema. What it does not let the build see is missing.
type facts struct {
	database  int64 // bytes of the whole database, 0 if unknown
	sizes     map[relation]relationSize
	liveRows  int64 // by the server's statistics, for the share of dead ones
	deadRows  int64
	found     []Finding
	unlogged  map[relation]bool // tables that a replica does not have the rows of
	dbOwner   string
	ownerTags []string
}

// relationSize is what a table takes.
type relationSize struct{ table, indexes int64 }

// inspector is a source that can be asked.
type inspector interface {
	facts(ctx context.Context) *facts
}

// facts asks the source's catalogs. Each question stands alone: a role may not be allowed to ask it, and versions differ.
func (s *liveSource) facts(ctx context.Context) *facts {
	f := &facts{sizes: map[relation]relationSize{}}
	for _, ask := range []func(context.Context, *pgx.Conn) error{
		f.readSizes, f.readUnlogged, f.readDatabase, f.readOwners, f.readRoleSettings, f.readSubscriptions, f.readForeign, f.readLargeObjects, f.readJobs,
	} {
		if _, err := s.conn.Exec(ctx, "SAVEPOINT doctor"); err != nil {
			return f
		}
		if err := ask(ctx, s.conn); err != nil {
			if _, err := s.conn.Exec(ctx, "ROLLBACK TO SAVEPOINT doctor"); err != nil {
				return f
			}
		}
		if _, err := s.conn.Exec(ctx, "RELEASE SAVEPOINT doctor"); err != nil {
			return f
		}
	}
	return f
}

// sizesQuery: the TOAST table counts as part of its table.
const sizesQuery = `
SELECT n.nspname, c.relname, coalesce(pg_catalog.pg_table_size(c.oid), 0), coalesce(pg_catalog.pg_indexes_size(c.oid), 0)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND ` + userObject

func readSizes(ctx context.Context, conn *pgx.Conn) (map[relation]relationSize, error) {
	rows, err := conn.Query(ctx, sizesQuery)
	if err != nil {
		return nil, err
	}
	sizes := map[relation]relationSize{}
	var one relation
	var size relationSize
	_, err = pgx.ForEachRow(rows, []any{&one.schema, &one.name, &size.table, &size.indexes}, func() error {
		sizes[one] = size
		return nil
	})
	return sizes, err
}

func (f *facts) readSizes(ctx context.Context, conn *pgx.Conn) error {
	sizes, err := readSizes(ctx, conn)
	if err != nil {
		return err
	}
	f.sizes = sizes
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())").Scan(&f.database); err != nil {
		return err
	}
	return conn.QueryRow(ctx, `SELECT coalesce(pg_catalog.sum(n_live_tup), 0)::pg_catalog.int8, coalesce(pg_catalog.sum(n_dead_tup), 0)::pg_catalog.int8
		FROM pg_catalog.pg_stat_user_tables`).Scan(&f.liveRows, &f.deadRows)
}

// readUnlogged lists the unlogged tables of a replica: there they cannot be read at all.
func (f *facts) readUnlogged(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE pg_catalog.pg_is_in_recovery() AND c.relkind = 'r' AND c.relpersistence = 'u' AND `+userObject)
	if err != nil {
		return err
	}
	f.unlogged = map[relation]bool{}
	var one relation
	_, err = pgx.ForEachRow(rows, []any{&one.schema, &one.name}, func() error {
		f.unlogged[one] = true
		return nil
	})
	return err
}

func (r *run) unreadable(name relation) bool { return r.facts != nil && r.facts.unlogged[name] }

// readable leaves out what a replica cannot read.
func (r *run) readable(loads []load) []load {
	return slices.DeleteFunc(loads, func(l load) bool {
		if !r.unreadable(l.table.relation) {
			return false
		}
		r.target.find(Finding{
			Code: codeUnloggedUnreadable, Severity: SeverityWarning, Object: "table " + l.table.String(), Cause: "it is UNLOGGED, and the source is a replica, which has no rows of such tables",
			Done: "the table is empty", Advice: "if previews need its rows, ALTER TABLE … SET LOGGED, or build from the primary",
		})
		return true
	})
}

func (f *facts) readDatabase(ctx context.Context, conn *pgx.Conn) error {
	return conn.QueryRow(ctx, `SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`).Scan(&f.dbOwner)
}

func (f *facts) readOwners(ctx context.Context, conn *pgx.Conn) error {
	rows, err := conn.Query(ctx, `SELECT DISTINCT pg_catalog.pg_get_userbyid(c.relowner)::text
		FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE `+userObject+` ORDER BY 1`)
	if err != nil {
		return err
	}
	f.ownerTags, err = pgx.CollectRows(rows, pgx.RowTo[string])
	return err
}

// names runs a query that lists names, and notes a finding if there are any.
func (f *facts) names(ctx context.Context, conn *pgx.Conn, query string, finding func(name string) Finding) error {
	rows, err := conn.Query(ctx, query)
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return err
	}
	for _, name := range all {
		f.found = append(f.found, finding(name))
	}
	return nil
}

// readRoleSettings lists ALTER ROLE … SET. The names of the settings alone: values may be secrets.
func (f *facts) readRoleSettings(ctx context.Context, conn *pgx.Conn) error {
	return f.names(ctx, conn, `SELECT r.rolname || ' (' || pg_catalog.string_agg(DISTINCT pg_catalog.split_part(one, '=', 1), ', ') || ')'
		FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_roles r ON r.oid = s.setrole CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) one
		WHERE s.setdatabase = 0 OR s.setdatabase = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
		GROUP BY r.rolname ORDER BY 1`, roleSettingsLeftOut)
}

func roleSettingsLeftOut(role string) Finding {
	return Finding{
		Code: codeRoleSettings, Severity: SeverityWarning, Object: "settings of role " + role, Cause: "previews have one role, and it is none of production's", Done: "left out",
		Advice: "if the application relies on one, such as a search_path, set it with ALTER DATABASE … SET in the source, or let the application set it when it connects",
	}
}

func (f *facts) readSubscriptions(ctx context.Context, conn *pgx.Conn) error {
	return f.names(ctx, conn, `SELECT subname::text FROM pg_catalog.pg_subscription
		WHERE subdbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) ORDER BY 1`,
		func(name string) Finding { return omitReplication(codeSubscription).finding("subscription " + name) })
}

// readForeign lists the mappings that pg_dump does not show to a role that is no superuser.
func (f *facts) readForeign(ctx context.Context, conn *pgx.Conn) error {
	return f.names(ctx, conn, `SELECT 'USER MAPPING ' || usename || ' SERVER ' || srvname FROM pg_catalog.pg_user_mappings ORDER BY 1`,
		func(name string) Finding { return omitForeign().finding("user mapping " + name) })
}

func (f *facts) readLargeObjects(ctx context.Context, conn *pgx.Conn) error {
	var count int64
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata").Scan(&count); err != nil || count == 0 {
		return err
	}
	found := omitLargeObjects().finding("large objects")
	found.Count = count
	f.found = append(f.found, found)
	return nil
}

// readJobs counts the jobs of pg_cron. Their commands are not shown: they may hold passwords.
func (f *facts) readJobs(ctx context.Context, conn *pgx.Conn) error {
	var there bool
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.to_regclass('cron.job') IS NOT NULL AND EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'pg_cron')").Scan(&there); err != nil || !there {
		return err
	}
	var count int64
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM cron.job").Scan(&count); err != nil || count == 0 {
		return err
	}
	found := leftOutExtension("pg_cron").finding("scheduled jobs of pg_cron")
	found.Count = count
	f.found = append(f.found, found)
	return nil
}

// ask asks a source that can be asked.
func (r *run) ask(ctx context.Context) {
	if s, ok := r.source.(inspector); ok {
		r.facts = s.facts(ctx)
	}
}

// roleInDatabase matches what pg_dump writes for the settings of a role in the database.
var roleInDatabase = regexp.MustCompile(`^ALTER ROLE (` + identifier + `) IN DATABASE ` + identifier + ` SET ("(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_.$]*) `)

// findAround notes what is around the schema: who owns it, and what the table of contents and the source's catalogs say beside it.
func (r *run) findAround() {
	owners := map[string]bool{}
	dbOwner := ""
	for i := range r.toc.Entries {
		e := &r.toc.Entries[i]
		switch e.Kind {
		case "DATABASE":
			dbOwner = e.Owner
		case "DATABASE PROPERTIES":
			r.findRoleSettings(e)
		case "ENCODING", "STDSTRINGS", "SEARCHPATH", "EXTENSION", "COMMENT", "ACL", "DEFAULT ACL", "TABLE DATA", "SEQUENCE SET":
		default:
			if e.Owner != "" && (e.Kind != "SCHEMA" || e.Tag != "public") {
				owners[e.Owner] = true
			}
		}
	}
	if r.facts != nil {
		r.findAll(r.facts.found)
		dbOwner = r.facts.dbOwner
		for _, owner := range r.facts.ownerTags {
			owners[owner] = true
		}
	}
	r.findOwners(owners, dbOwner)
	r.findEncoding()
}

func (r *run) findRoleSettings(e *archive.Entry) {
	if r.facts != nil {
		return // the source itself says more
	}
	byRole := map[string][]string{}
	var roles []string
	for line := range strings.Lines(e.Definition) {
		if m := roleInDatabase.FindStringSubmatch(line); m != nil {
			role := unquoteIdentifier(m[1])
			if byRole[role] == nil {
				roles = append(roles, role)
			}
			byRole[role] = append(byRole[role], unquoteIdentifier(m[2]))
		}
	}
	for _, role := range roles {
		r.target.find(roleSettingsLeftOut(role + " (" + strings.Join(byRole[role], ", ") + ")"))
	}
}

func (r *run) findOwners(owners map[string]bool, dbOwner string) {
	owner := r.target.owner
	if dbOwner != "" && dbOwner != owner {
		r.target.find(Finding{
			Code: codeDatabaseOwner, Severity: SeverityInfo, Object: "database " + r.target.database, Cause: fmt.Sprintf("in the source it belongs to %q", dbOwner),
			Done:   fmt.Sprintf("it belongs to %q in the template, so that migrations as that role succeed", owner),
			Advice: fmt.Sprintf("if production's migrations run as %[1]q: ALTER DATABASE … OWNER TO %[1]q; if not, set postgres.owner to the role that they run as", owner),
		})
	}
	delete(owners, owner)
	if len(owners) == 0 {
		return
	}
	names := make([]string, 0, len(owners))
	for name := range owners {
		names = append(names, name)
	}
	slices.Sort(names)
	r.target.find(Finding{
		Code: codeOwnersReplaced, Severity: SeverityInfo, Object: "owners", Cause: fmt.Sprintf("objects of the source belong to roles other than %q, which previews do not have", owner),
		Done:   fmt.Sprintf("everything belongs to %q", owner),
		Advice: fmt.Sprintf("if a migration fails in production with \"must be owner\" and not in previews, this is why: REASSIGN OWNED BY … TO %q", owner),
		Count:  int64(len(names)), Samples: firstFew(names),
	})
}

func (r *run) findEncoding() {
	switch encoding := r.databaseEncoding(); encoding {
	case "", "UTF8":
	case "SQL_ASCII":
		r.target.find(Finding{
			Code: codeEncodingNone, Severity: SeverityWarning, Object: "database " + r.target.database,
			Cause: "the source has the encoding SQL_ASCII: its server takes any bytes and knows no characters", Done: "the template has it, too, and the same bytes",
			Advice: "masking and clients take texts for UTF-8. Find out what the texts are in, dump with --encoding, and restore the source into a database with ENCODING 'UTF8'",
		})
	default:
		r.target.find(Finding{
			Code: codeEncodingOther, Severity: SeverityInfo, Object: "database " + r.target.database, Cause: "the source has the encoding " + encoding,
			Done: "the template has it, too", Advice: "nothing; masked values have to fit the encoding",
		})
	}
}

var encodingValue = regexp.MustCompile(`ENCODING = '([^']*)'`)

// databaseEncoding is that of the source's database, "" if it does not say.
func (r *run) databaseEncoding() string {
	if m := encodingValue.FindStringSubmatch(databaseOptions(r.toc)); m != nil {
		return m[1]
	}
	return ""
}

// lostOwner matches what pg_dump says about an object whose owner was removed from the catalog by hand, or lost in a crash.
var lostOwner = regexp.MustCompile(`role with OID ([0-9]+) does not exist`)

// schemaHint says what to do when pg_dump cannot read the source's schema.
func schemaHint(stderr string) string {
	if m := lostOwner.FindStringSubmatch(stderr); m != nil {
		return fmt.Sprintf("an object of the source belongs to a role that is gone. Find it in the source with SELECT classid::regclass, objid FROM pg_shdepend WHERE refobjid = %[1]s, "+
			"or SELECT oid::regclass FROM pg_class WHERE relowner = %[1]s and the like for pg_proc and pg_namespace, and give it an owner with ALTER … OWNER TO", m[1])
	}
	return "the source's role needs SELECT on all tables and sequences, for example through pg_read_all_data"
}
