package observe

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// relationColumns is one relation as a JSON array; scanRelation reads it. The columns, constraints and triggers are read only where DDL can have
// changed them.
const relationColumns = `pg_catalog.json_build_array(o.oid::bigint, n.nspname, c.relname, c.relkind, x.indrelid::bigint, pg_catalog.pg_relation_filenode(c.oid)::bigint,
	CASE WHEN c.relkind IN ('r', 'm', 't') THEN pg_catalog.pg_table_size(c.oid) WHEN c.relkind = 'i' THEN pg_catalog.pg_relation_size(c.oid) ELSE 0 END,
	c.reltuples::bigint, c.relpersistence, o.modes,
	pg_catalog.pg_stat_get_%[1]snumscans(c.oid), pg_catalog.pg_stat_get_%[1]stuples_returned(c.oid),
	pg_catalog.pg_stat_get_%[1]stuples_inserted(c.oid), pg_catalog.pg_stat_get_%[1]stuples_updated(c.oid), pg_catalog.pg_stat_get_%[1]stuples_deleted(c.oid),
	x.indisunique, x.indisvalid, x.indnkeyatts,
	CASE WHEN o.detail AND c.relkind IN ('r', 'p') THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(a.attnum, a.attname, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
		pg_catalog.pg_get_expr(f.adbin, f.adrelid), a.attidentity, a.attgenerated))
		FROM pg_catalog.pg_attribute a LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
		WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped) END,
	CASE WHEN o.detail AND c.relkind IN ('r', 'p') THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(k.oid::bigint, k.conname, k.contype, k.convalidated, k.conindid::bigint, k.confrelid::bigint, k.conkey,
		CASE WHEN k.contype = 'c' THEN pg_catalog.pg_get_constraintdef(k.oid) END))
		FROM pg_catalog.pg_constraint k WHERE k.conrelid = c.oid AND k.contype <> 'n') END,
	CASE WHEN o.detail AND c.relhastriggers THEN (SELECT pg_catalog.json_agg(pg_catalog.json_build_array(t.oid::bigint, t.tgname, t.tgisinternal, t.tgenabled))
		FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid) END)`

// firstUserOID is FirstNormalObjectId of the server: what is below belongs to the system.
const firstUserOID = "16384"

const relationJoins = `LEFT JOIN pg_catalog.pg_class c ON c.oid = o.oid LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	LEFT JOIN pg_catalog.pg_index x ON x.indexrelid = c.oid`

// probeQuery reads what the current transaction holds. Only relations that it has locked can have been changed, and are looked at.
// The clock is read before and after the rest.
func probeQuery(column string, major int, database uint32) string {
	flush := ""
	if major >= 15 { // the counters of this transaction are then out of the way when the next one begins
		flush = fmt.Sprintf(`, pg_catalog.pg_stat_get_db_temp_files(%[1]d), pg_catalog.pg_stat_get_db_temp_bytes(%[1]d), pg_catalog.pg_stat_force_next_flush()`, database)
	}
	return `WITH mine AS MATERIALIZED (SELECT l.locktype, l.relation, l.mode, l.virtualtransaction, l.database FROM pg_catalog.pg_locks l WHERE l.pid = pg_catalog.pg_backend_pid() AND l.granted),
	o AS MATERIALIZED (SELECT m.relation AS oid, pg_catalog.string_agg(DISTINCT m.mode, ',') AS modes,
		pg_catalog.bool_or(m.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')) AS detail
		FROM mine m WHERE m.locktype = 'relation' AND m.relation >= ` + firstUserOID + ` AND m.database <> 0 GROUP BY m.relation)
	SELECT ` + micros(`clock_timestamp()`) + ` AS ` + column + `, ` + micros(`statement_timestamp()`) + `,
		(SELECT pg_catalog.min(m.virtualtransaction) FROM mine m WHERE m.locktype = 'virtualxid'),
		(SELECT pg_catalog.json_agg(` + fmt.Sprintf(relationColumns, "xact_") + `) FROM o ` + relationJoins + `),
		(pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint, ` + micros(`clock_timestamp()`) + flush
}

// catalogQuery reads all relations, with the counters of all transactions so far.
func catalogQuery() string {
	return `SELECT coalesce(pg_catalog.json_agg(` + fmt.Sprintf(relationColumns, "") + `), '[]')::text,
	(pg_catalog.pg_current_wal_insert_lsn() - '0/0'::pg_catalog.pg_lsn)::bigint
	FROM (SELECT r.oid, ''::text AS modes, true AS detail FROM pg_catalog.pg_class r WHERE r.oid >= ` + firstUserOID + ` AND r.relkind IN ('r', 'p', 'm', 'i', 'I', 'v', 'S', 'f')) o ` +
		strings.Replace(relationJoins, "LEFT JOIN pg_catalog.pg_class", "JOIN pg_catalog.pg_class", 1) + `
	WHERE n.nspname !~ '^pg_(toast|temp)' AND n.nspname <> 'information_schema'`
}

func micros(clock string) string {
	return `(extract(epoch FROM pg_catalog.` + clock + `) * 1000000)::bigint`
}

// sample is what a probe says.
type sample struct {
	before, after int64 // microseconds of the server's clock
	received      int64 // when the server got the query
	transaction   string
	relations     []locked
	wal           int64
	temp          *temporary // of the database, up to the query before; nil if it is not known
}

// locked is a relation that the transaction holds a lock on.
type locked struct {
	oid      uint32
	relation *Relation // nil if it was dropped
	detailed bool
	modes    []string
	counters counters
}

type counters struct{ scans, read, inserted, updated, deleted int64 }

func (c counters) minus(before counters) counters {
	return counters{
		since(c.scans, before.scans), since(c.read, before.read), since(c.inserted, before.inserted),
		since(c.updated, before.updated), since(c.deleted, before.deleted),
	}
}

// since is what a counter went up by. One that is lower than it was began again.
func since(now, before int64) int64 {
	if now < before {
		return now
	}
	return now - before
}

func readSample(row [][]byte) (sample, error) {
	var s sample
	if len(row) < 6 {
		return s, fmt.Errorf("a probe with %d columns", len(row))
	}
	var err error
	for i, to := range map[int]*int64{0: &s.before, 1: &s.received, 4: &s.wal, 5: &s.after} {
		if *to, err = strconv.ParseInt(string(row[i]), 10, 64); err != nil {
			return s, fmt.Errorf("read a probe: %w", err)
		}
	}
	if len(row) > 7 {
		s.temp = &temporary{}
		if s.temp.files, err = strconv.ParseInt(string(row[6]), 10, 64); err != nil {
			return s, fmt.Errorf("read a probe: %w", err)
		}
		if s.temp.bytes, err = strconv.ParseInt(string(row[7]), 10, 64); err != nil {
			return s, fmt.Errorf("read a probe: %w", err)
		}
	}
	s.transaction = string(row[2])
	if row[3] != nil {
		s.relations, err = readRelations(row[3])
	}
	return s, err
}

func readRelations(list []byte) ([]locked, error) {
	var rows []json.RawMessage
	if err := json.Unmarshal(list, &rows); err != nil {
		return nil, fmt.Errorf("read a list of relations: %w", err)
	}
	relations := make([]locked, 0, len(rows))
	for _, row := range rows {
		l, err := readRelation(row)
		if err != nil {
			return nil, fmt.Errorf("read a relation: %w", err)
		}
		if l.relation == nil || !strings.HasPrefix(l.relation.Schema, "pg_toast") && !strings.HasPrefix(l.relation.Schema, "pg_temp") {
			relations = append(relations, l)
		}
	}
	return relations, nil
}

func readRelation(row json.RawMessage) (locked, error) {
	var l locked
	var r Relation
	var schema, name, kind, persistence *string
	var table, filenode *uint32
	var modes *string
	var unique, valid *bool
	var keys *int
	var columns, constraints, triggers []json.RawMessage
	err := json.Unmarshal(row, &[]any{
		&l.oid, &schema, &name, &kind, &table, &filenode, &r.Bytes, &r.Rows, &persistence, &modes,
		&l.counters.scans, &l.counters.read, &l.counters.inserted, &l.counters.updated, &l.counters.deleted,
		&unique, &valid, &keys, &columns, &constraints, &triggers,
	})
	if err != nil {
		return l, err
	}
	if modes != nil && *modes != "" {
		l.modes = strings.Split(*modes, ",")
	}
	if name == nil {
		return l, nil
	}
	r.OID, r.Schema, r.Name, r.Kind = l.oid, deref(schema), *name, kindOf(deref(kind))
	r.Table, r.Filenode, r.Persistence = deref(table), deref(filenode), deref(persistence)
	if valid != nil {
		r.Index = &Index{Unique: deref(unique), Valid: *valid, Keys: deref(keys)}
	}
	l.relation, l.detailed = &r, columns != nil
	return l, r.details(columns, constraints, triggers)
}

func (r *Relation) details(columns, constraints, triggers []json.RawMessage) error {
	for _, raw := range columns {
		var c Column
		var standard *string
		if err := json.Unmarshal(raw, &[]any{&c.Number, &c.Name, &c.Type, &c.NotNull, &standard, &c.Identity, &c.Generated}); err != nil {
			return err
		}
		c.Default = deref(standard)
		r.Columns = append(r.Columns, c)
	}
	for _, raw := range constraints {
		var c Constraint
		var definition *string
		if err := json.Unmarshal(raw, &[]any{&c.OID, &c.Name, &c.Type, &c.Validated, &c.Index, &c.References, &c.Columns, &definition}); err != nil {
			return err
		}
		c.Definition = deref(definition)
		r.Constraints = append(r.Constraints, c)
	}
	for _, raw := range triggers {
		var t Trigger
		if err := json.Unmarshal(raw, &[]any{&t.OID, &t.Name, &t.Internal, &t.Enabled}); err != nil {
			return err
		}
		r.Triggers = append(r.Triggers, t)
	}
	return nil
}

func deref[T any](p *T) T {
	var zero T
	if p == nil {
		return zero
	}
	return *p
}

func kindOf(relkind string) string {
	switch relkind {
	case "r":
		return "table"
	case "p":
		return "partitioned table"
	case "i", "I":
		return "index"
	case "m":
		return "materialized view"
	case "v":
		return "view"
	case "S":
		return "sequence"
	case "f":
		return "foreign table"
	}
	return "relation"
}
