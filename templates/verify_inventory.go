package templates

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/templates/archive"
)

// inventory is what a database has, by kind and name.
type inventory struct {
	items map[itemKey]item
	// partial says that it was read off a table of contents, which has no line for what is part of another definition.
	partial bool
}

// itemKey names an object. Of what belongs to a table or a domain, the name is "schema.table.name".
type itemKey struct{ kind, name string }

// String returns the name as findings have it.
func (k itemKey) String() string { return k.kind + " " + k.name }

// item is what is compared of an object besides its name.
type item struct {
	parent string // "schema.table" of what belongs to one
	detail string
	valid  bool // of indexes and constraints
}

// The kinds of an inventory are pg_dump's, in lower case, but for the kinds of constraints and routines.
const (
	kindTable      = "table"
	kindIndex      = "index"
	kindConstraint = "constraint"
	kindFunction   = "function"
	kindGrants     = "grants"
)

// inventoryQuery lists kind, name, parent, detail and validity. Members of extensions come with their extension, and
// what is internal with what it serves.
const inventoryQuery = `
WITH relation AS (
	SELECT c.oid, n.nspname || '.' || c.relname AS name, c.relkind, c.relacl, c.relispartition, c.relrowsecurity, c.relforcerowsecurity
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE ` + userObject + `
),
member AS (SELECT classid, objid FROM pg_catalog.pg_depend WHERE deptype IN ('e', 'i'))
SELECT CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'S' THEN 'sequence' WHEN 'f' THEN 'foreign table' ELSE 'table' END,
	c.name, '', CASE WHEN c.relkind IN ('r', 'p') THEN c.relkind::text || CASE WHEN c.relrowsecurity THEN ' row security' ELSE '' END
		|| CASE WHEN c.relforcerowsecurity THEN ' forced' ELSE '' END ELSE '' END, true
FROM relation c WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
UNION ALL
SELECT 'index', c.name, o.name, CASE WHEN i.indisprimary THEN 'primary' WHEN i.indisunique THEN 'unique' ELSE '' END, i.indisvalid
FROM pg_catalog.pg_index i JOIN relation c ON c.oid = i.indexrelid JOIN relation o ON o.oid = i.indrelid
UNION ALL
SELECT 'constraint', c.name || '.' || k.conname, c.name, k.contype::text, k.convalidated
FROM pg_catalog.pg_constraint k JOIN relation c ON c.oid = k.conrelid
WHERE k.contype IN ('p', 'u', 'x') OR k.contype IN ('c', 'f') AND k.conparentid = 0
UNION ALL
SELECT 'constraint', n.nspname || '.' || t.typname || '.' || k.conname, n.nspname || '.' || t.typname, k.contype::text, k.convalidated
FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type t ON t.oid = k.contypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE k.contype = 'c' AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid)
UNION ALL
SELECT 'trigger', c.name || '.' || t.tgname, c.name, 'enabled ' || t.tgenabled::text, true
FROM pg_catalog.pg_trigger t JOIN relation c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND t.tgparentid = 0
UNION ALL
SELECT 'policy', c.name || '.' || p.polname, c.name, p.polcmd::text, true FROM pg_catalog.pg_policy p JOIN relation c ON c.oid = p.polrelid
UNION ALL
SELECT 'rule', c.name || '.' || r.rulename, c.name, 'enabled ' || r.ev_enabled::text, true
FROM pg_catalog.pg_rewrite r JOIN relation c ON c.oid = r.ev_class WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT 'function', n.nspname || '.' || p.proname || '(' || pg_catalog.oidvectortypes(p.proargtypes) || ')', '', '', true
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid)
UNION ALL
SELECT CASE t.typtype WHEN 'd' THEN 'domain' ELSE 'type' END, n.nspname || '.' || t.typname, '', t.typtype::text, true
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('b', 'c', 'd', 'e', 'r') AND t.typisdefined AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND (t.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = t.typrelid AND c.relkind = 'c'))
	AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = t.oid)
	AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND e.objid = t.oid)
UNION ALL
SELECT 'schema', n.nspname, '', '', true FROM pg_catalog.pg_namespace n
WHERE n.nspname NOT IN ('public', 'information_schema') AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_catalog.pg_namespace'::pg_catalog.regclass AND e.objid = n.oid)
UNION ALL
SELECT 'extension', e.extname, '', '', true FROM pg_catalog.pg_extension e WHERE e.extname <> 'plpgsql'
UNION ALL
SELECT 'grants', 'on relations', '', '', true WHERE EXISTS (SELECT FROM relation c WHERE c.relacl IS NOT NULL)
UNION ALL
SELECT 'grants', 'on functions', '', '', true WHERE EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
	WHERE p.proacl IS NOT NULL AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
	AND NOT EXISTS (SELECT FROM member e WHERE e.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND e.objid = p.oid))
UNION ALL
SELECT 'grants', 'by default', '', '', true WHERE EXISTS (SELECT FROM pg_catalog.pg_default_acl)`

// readInventory reads the inventory of the database that the connection is in.
func readInventory(ctx context.Context, conn *pgx.Conn) (*inventory, error) {
	version, err := serverVersion(ctx, conn)
	if err != nil {
		return nil, fmt.Errorf("read the server's version: %w", err)
	}
	rows, err := conn.Query(ctx, forVersion(inventoryQuery, version))
	if err != nil {
		return nil, fmt.Errorf("read what the database has: %w", err)
	}
	inv := &inventory{items: map[itemKey]item{}}
	var key itemKey
	var one item
	if _, err := pgx.ForEachRow(rows, []any{&key.kind, &key.name, &one.parent, &one.detail, &one.valid}, func() error {
		inv.items[key] = one
		return nil
	}); err != nil {
		return nil, fmt.Errorf("read what the database has: %w", err)
	}
	return inv, nil
}

// inventoryOf reads the inventory off a table of contents.
func inventoryOf(toc *archive.Archive) *inventory {
	inv := &inventory{items: map[itemKey]item{}, partial: true}
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if key, parent, known := itemOf(e); known {
			inv.items[key] = item{parent: parent, valid: !strings.HasSuffix(strings.TrimSpace(e.Definition), " NOT VALID;")}
		}
	}
	return inv
}

// itemOf returns the object that an entry defines. The tag of what belongs to a table is "table name".
func itemOf(e *archive.Entry) (key itemKey, parent string, known bool) {
	name := entryName(e)
	switch kind := strings.ToLower(e.Kind); kind {
	case "table", "view", "materialized view", "sequence", "foreign table", "index", "type", "domain":
		return itemKey{kind, name}, "", true
	case "schema":
		return itemKey{kind, e.Tag}, "", e.Tag != "public" && !strings.HasPrefix(e.Tag, "pg_")
	case "extension":
		return itemKey{kind, e.Tag}, "", e.Tag != "plpgsql"
	case "constraint", "fk constraint", "check constraint":
		return itemKey{kindConstraint, tableMember(name)}, parentOf(name), true
	case "trigger", "policy", "rule":
		return itemKey{kind, tableMember(name)}, parentOf(name), true
	case "function", "procedure", "aggregate":
		return itemKey{kindFunction, strings.Replace(name, "(*)", "()", 1)}, "", true
	}
	return itemKey{}, "", false
}

// tableMember writes "schema.table name" as "schema.table.name". A blank in the name of the table makes it no other
// name here than where findings are looked up.
func tableMember(name string) string { return strings.ReplaceAll(name, " ", ".") }

func parentOf(name string) string {
	table, _, _ := strings.Cut(name, " ")
	return table
}
