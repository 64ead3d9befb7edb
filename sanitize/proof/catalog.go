package proof

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// catalogQuery reads one kind of text of the catalog: names of what it belongs to, and the text.
type catalogQuery struct {
	kind, sql string
	since     int // major version from which on it can be run
}

// ours is the first OID that is not of initdb's objects (PostgreSQL, FirstNormalObjectId).
const ours = "16384"

func catalogQueries() []catalogQuery {
	return []catalogQuery{
		{kind: "comment", sql: `SELECT pg_describe_object(classoid, objoid, objsubid), description FROM pg_description
			WHERE objoid >= ` + ours + ` OR classoid IN ('pg_namespace'::regclass, 'pg_extension'::regclass, 'pg_language'::regclass)`},
		{kind: "comment", sql: `SELECT pg_describe_object(classoid, objoid, 0), description FROM pg_shdescription`},
		{kind: "function", sql: `SELECT oid::regprocedure::text, pg_get_functiondef(oid) FROM pg_proc WHERE oid >= ` + ours + ` AND prokind <> 'a'`},
		{kind: "function", sql: `SELECT oid::regprocedure::text, pg_get_function_arguments(oid) || concat(' ', a.agginitval, ' ', a.aggminitval)
			FROM pg_proc JOIN pg_aggregate a ON a.aggfnoid = oid WHERE oid >= ` + ours},
		{kind: "default of", sql: `SELECT adrelid::regclass || '.' || a.attname, pg_get_expr(adbin, adrelid)
			FROM pg_attrdef JOIN pg_attribute a ON a.attrelid = adrelid AND a.attnum = adnum WHERE adrelid >= ` + ours},
		{kind: "missing value of", sql: `SELECT attrelid::regclass || '.' || attname, attmissingval::text FROM pg_attribute WHERE atthasmissing`},
		{kind: "constraint", sql: `SELECT concat(nullif(conrelid, 0)::regclass, nullif(contypid, 0)::regtype, '.', conname), conname || ' ' || pg_get_constraintdef(oid)
			FROM pg_constraint WHERE oid >= ` + ours},
		{kind: "partition bound of", sql: `SELECT oid::regclass::text, concat(pg_get_expr(relpartbound, oid), ' ', pg_get_partkeydef(oid))
			FROM pg_class WHERE relpartbound IS NOT NULL OR relkind = 'p'`},
		{kind: "policy", sql: `SELECT polrelid::regclass || '.' || polname, concat(polname, ' ', pg_get_expr(polqual, polrelid), ' ', pg_get_expr(polwithcheck, polrelid)) FROM pg_policy`},
		{kind: "view", sql: `SELECT oid::regclass::text, pg_get_viewdef(oid) FROM pg_class WHERE relkind IN ('v', 'm') AND oid >= ` + ours},
		{kind: "rule", sql: `SELECT ev_class::regclass || '.' || rulename, pg_get_ruledef(oid) FROM pg_rewrite WHERE rulename <> '_RETURN' AND oid >= ` + ours},
		{kind: "trigger", sql: `SELECT tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal`},
		{kind: "event trigger", sql: `SELECT evtname::text, concat_ws(' ', evtname, evttags) FROM pg_event_trigger`},
		{kind: "index", sql: `SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index WHERE indexrelid >= ` + ours},
		{kind: "enum label of", sql: `SELECT enumtypid::regtype::text, enumlabel::text FROM pg_enum WHERE oid >= ` + ours},
		{kind: "type", sql: `SELECT oid::regtype::text, concat_ws(' ', typname, typdefault) FROM pg_type WHERE oid >= ` + ours},
		{kind: "extended statistics", sql: `SELECT stxnamespace::regnamespace || '.' || stxname, pg_get_statisticsobjdef(oid) FROM pg_statistic_ext`},
		{kind: "extended statistics", sql: `SELECT e.stxnamespace::regnamespace || '.' || e.stxname, m.values::text
			FROM pg_statistic_ext e JOIN pg_statistic_ext_data d ON d.stxoid = e.oid CROSS JOIN LATERAL pg_mcv_list_items(d.stxdmcv) m`},
		{kind: "extended statistics", since: 14, sql: `SELECT e.stxnamespace::regnamespace || '.' || e.stxname, d.stxdexpr::text
			FROM pg_statistic_ext e JOIN pg_statistic_ext_data d ON d.stxoid = e.oid WHERE d.stxdexpr IS NOT NULL`},
		{kind: KindStatistics, sql: `SELECT concat(n.nspname, '.', c.relname, '.', a.attname), v.list
			FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid JOIN pg_namespace n ON n.oid = c.relnamespace
			JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum
			CROSS JOIN LATERAL (VALUES (stavalues1::text), (stavalues2::text), (stavalues3::text), (stavalues4::text), (stavalues5::text)) v(list)
			WHERE s.starelid >= ` + ours + ` AND v.list IS NOT NULL AND n.nspname <> 'information_schema'`},
		{kind: "sequence", sql: `SELECT concat(schemaname, '.', sequencename), concat_ws(' ', start_value, last_value) FROM pg_sequences`},
		{kind: "setting of", sql: `SELECT concat(nullif(setrole, 0)::regrole, ' ', d.datname), one FROM pg_db_role_setting
			LEFT JOIN pg_database d ON d.oid = setdatabase CROSS JOIN LATERAL unnest(setconfig) one`},
		{kind: "foreign server", sql: `SELECT srvname::text, concat_ws(' ', srvname, srvversion, srvoptions) FROM pg_foreign_server`},
		{kind: "foreign-data wrapper", sql: `SELECT fdwname::text, concat_ws(' ', fdwname, fdwoptions) FROM pg_foreign_data_wrapper`},
		{kind: "user mapping of", sql: `SELECT srvname::text, umoptions::text FROM pg_user_mappings WHERE umoptions IS NOT NULL`},
		{kind: "foreign table", sql: `SELECT ftrelid::regclass::text, ftoptions::text FROM pg_foreign_table WHERE ftoptions IS NOT NULL`},
		{kind: "subscription", sql: `SELECT subname::text, concat_ws(' ', subname, subconninfo, subslotname, subpublications) FROM pg_subscription`},
		{kind: "publication", sql: `SELECT pubname::text, pubname::text FROM pg_publication`},
		{kind: "security label", sql: `SELECT pg_describe_object(classoid, objoid, objsubid), concat_ws(' ', provider, label) FROM pg_seclabel`},
		{kind: "security label", sql: `SELECT pg_describe_object(classoid, objoid, 0), concat_ws(' ', provider, label) FROM pg_shseclabel`},
		{kind: "text search dictionary", sql: `SELECT dictname::text, dictinitoption FROM pg_ts_dict WHERE oid >= ` + ours + ` AND dictinitoption IS NOT NULL`},
		{kind: "relation", sql: `SELECT oid::regclass::text, concat_ws(' ', relname, reloptions) FROM pg_class WHERE oid >= ` + ours},
		{kind: "column name", sql: `SELECT attrelid::regclass || '.' || attname, concat_ws(' ', attname, attoptions, attfdwoptions) FROM pg_attribute
			WHERE attrelid >= ` + ours + ` AND attnum > 0`},
		{kind: "name of", sql: `SELECT pg_describe_object(classid, oid, 0), name FROM (
			SELECT 'pg_proc'::regclass AS classid, oid, proname::text AS name FROM pg_proc WHERE prokind = 'a'
			UNION ALL SELECT 'pg_collation'::regclass, oid, concat_ws(' ', collname, collcollate, collctype) FROM pg_collation
			UNION ALL SELECT 'pg_operator'::regclass, oid, oprname FROM pg_operator
			UNION ALL SELECT 'pg_opclass'::regclass, oid, opcname FROM pg_opclass
			UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfname FROM pg_opfamily
			UNION ALL SELECT 'pg_conversion'::regclass, oid, conname FROM pg_conversion
			UNION ALL SELECT 'pg_language'::regclass, oid, lanname FROM pg_language
			UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgname FROM pg_ts_config
			UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictname FROM pg_ts_dict
			UNION ALL SELECT 'pg_ts_parser'::regclass, oid, prsname FROM pg_ts_parser
			UNION ALL SELECT 'pg_ts_template'::regclass, oid, tmplname FROM pg_ts_template
			) names WHERE oid >= ` + ours},
		{kind: "schema", sql: `SELECT nspname::text, nspname::text FROM pg_namespace WHERE oid >= ` + ours},
		{kind: "role", sql: `SELECT rolname::text, rolname::text FROM pg_roles WHERE oid >= ` + ours},
		{kind: "database", sql: `SELECT datname::text, datname::text FROM pg_database`},
	}
}

// Catalog looks at everything of the catalog that is text of people, at statistics, sequences and large objects, through
// a session of the superuser. None of the functions it calls runs code of the source.
func (s *Scanner) Catalog(ctx context.Context, admin *pgx.Conn, major int) error {
	// The transaction ends by a rollback: its search path goes with it.
	return inTransaction(ctx, admin, func() error {
		for _, q := range catalogQueries() {
			if q.since > major {
				continue
			}
			if err := s.catalog(ctx, admin, q); err != nil {
				return fmt.Errorf("scan the catalog (%s): %w", q.kind, err)
			}
		}
		return s.largeObjects(ctx, admin)
	})
}

// inTransaction runs do with only the system's schema in the search path, reading one state of the database.
func inTransaction(ctx context.Context, conn *pgx.Conn, do func() error) error {
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return fmt.Errorf("begin a scan: %w", err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	if _, err := tx.Exec(ctx, "SET LOCAL search_path = pg_catalog"); err != nil {
		return fmt.Errorf("begin a scan: %w", err)
	}
	return do()
}

func (s *Scanner) catalog(ctx context.Context, admin *pgx.Conn, q catalogQuery) error {
	rows, err := admin.Query(ctx, q.sql)
	if err != nil {
		return err
	}
	p := s.m.prober()
	var objects, size int64
	var name string
	var text []byte
	if _, err := pgx.ForEachRow(rows, []any{&name, &text}, func() error {
		place := Place{q.kind, name}
		p.place = s.m.place(place)
		made := q.kind == KindStatistics && s.masked[name].makes()
		p.passage(text, made || q.kind == "extended statistics")
		objects++
		size += int64(len(text))
		return p.err
	}); err != nil {
		return err
	}
	s.finish(p)
	s.look(q.kind, objects, objects, size)
	return nil
}

func (s *Scanner) finish(p *prober) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.coincidences += p.coincidences
}

// passage asks about a text of the catalog: as a whole, by its parts and words, and by its literals.
func (p *prober) passage(text []byte, made bool) {
	p.structured(text)
	// Whether a quote begins a literal or ends one nobody knows here: what is between two of them is asked about in any case.
	for rest := text; len(rest) > 0; {
		one := literal(rest)
		p.value(one)
		rest = rest[min(len(rest), len(one)+1):]
	}
	place := p.place
	p.search(text, func(int) (uint32, bool) { return place, made })
}

// literal returns what stands before the quote that ends a literal. A doubled one, which value reads as one, does not.
func literal(text []byte) []byte {
	for i := 0; i < len(text); i++ {
		if text[i] != '\'' {
			continue
		}
		if i+1 == len(text) || text[i+1] != '\'' {
			return text[:i]
		}
		i++
	}
	return text
}

const (
	// objectPart is how much of a large object is read at once, overlap how much of it again with the next part.
	objectPart = 256 << 10
	overlap    = 1 << 10
)

func (s *Scanner) largeObjects(ctx context.Context, admin *pgx.Conn) error {
	rows, err := admin.Query(ctx, `SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid`)
	if err != nil {
		return fmt.Errorf("list large objects: %w", err)
	}
	oids, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	if err != nil {
		return fmt.Errorf("list large objects: %w", err)
	}
	p := s.m.prober()
	var size int64
	for _, oid := range oids {
		p.place = s.m.place(Place{KindObject, strconv.FormatUint(uint64(oid), 10)})
		for offset := int64(0); ; offset += objectPart - overlap {
			var part []byte
			if err := admin.QueryRow(ctx, `SELECT pg_catalog.lo_get($1, $2, $3)`, oid, offset, objectPart).Scan(&part); err != nil {
				return fmt.Errorf("scan large object %d: %w", oid, err)
			}
			p.passage(part, false)
			size += int64(len(part))
			if p.err != nil {
				return p.err
			}
			if len(part) < objectPart {
				break
			}
		}
	}
	s.finish(p)
	s.look(KindObject, int64(len(oids)), int64(len(oids)), size)
	return nil
}
