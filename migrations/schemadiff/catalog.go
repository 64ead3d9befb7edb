package schemadiff

// catalogQuery reads all objects of one kind: identity, parent, name, and each property as a column.
type catalogQuery struct {
	kind       Kind
	properties []string
	sql        string
}

// The parts that all queries share. A user's schema is none of the system's and none of temporary objects.
const (
	userSchema  = `n.nspname !~ '^pg_(toast|temp|catalog)' AND n.nspname <> 'information_schema'`
	ownRelation = userSchema + ` AND c.oid NOT IN (SELECT objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND classid = 'pg_class'::regclass AND deptype = 'e')`
)

// acl shows an access list as text, in a stable order; kind is that of acldefault, what an empty list stands for.
func acl(column, kind, owner string) string {
	return `(SELECT string_agg(a::text, ', ' ORDER BY a::text) FROM unnest(coalesce(` + column + `, acldefault('` + kind + `', ` + owner + `))) a)`
}

// comment is a LEFT JOIN on an object's comment.
func comment(class, object, sub string) string {
	return ` LEFT JOIN pg_description d ON d.classoid = '` + class + `'::regclass AND d.objoid = ` + object + ` AND d.objsubid = ` + sub + ` `
}

func catalogQueries() []catalogQuery {
	return append(relationQueries(), otherQueries()...)
}

func relationQueries() []catalogQuery {
	return []catalogQuery{
		{KindTable, []string{"owner", "persistence", "partitioned by", "partition of", "bound", "row security", "replica identity", "options", "access method", "grants", "comment"}, `
SELECT c.oid::text, '', c.oid::regclass::text, pg_get_userbyid(c.relowner)::text,
  CASE c.relpersistence WHEN 'u' THEN 'unlogged' WHEN 't' THEN 'temporary' END || CASE c.relkind WHEN 'f' THEN ' foreign' ELSE '' END,
  CASE WHEN c.relkind = 'p' THEN pg_get_partkeydef(c.oid) END,
  (SELECT string_agg(i.inhparent::regclass::text, ', ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
  pg_get_expr(c.relpartbound, c.oid),
  CASE WHEN c.relforcerowsecurity THEN 'forced' WHEN c.relrowsecurity THEN 'enabled' END,
  CASE c.relreplident WHEN 'n' THEN 'nothing' WHEN 'f' THEN 'full' WHEN 'i' THEN 'index' END,
  array_to_string(c.reloptions, ', '), nullif(am.amname, 'heap')::text, ` + acl("c.relacl", "r", "c.relowner") + `, d.description
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN pg_am am ON am.oid = c.relam` + comment("pg_class", "c.oid", "0") + `
WHERE c.relkind IN ('r', 'p', 'f') AND ` + ownRelation},
		{KindColumn, []string{"type", "not null", "default", "identity", "generated", "collation", "storage", "compression", "statistics", "options", "grants", "comment"}, `
SELECT a.attrelid::text || '.' || a.attnum, c.oid::regclass::text, quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
  CASE WHEN a.attnotnull THEN 'yes' END,
  CASE WHEN a.attgenerated = '' THEN pg_get_expr(f.adbin, f.adrelid) END,
  CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END,
  CASE WHEN a.attgenerated <> '' THEN pg_get_expr(f.adbin, f.adrelid) END,
  CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
  CASE WHEN a.attstorage <> t.typstorage THEN CASE a.attstorage WHEN 'p' THEN 'plain' WHEN 'e' THEN 'external' WHEN 'm' THEN 'main' ELSE 'extended' END END,
  nullif(a.attcompression, '')::text, nullif(a.attstattarget, -1)::text,
  array_to_string(a.attoptions, ', '),
  CASE WHEN a.attacl IS NOT NULL THEN (SELECT string_agg(x::text, ', ' ORDER BY x::text) FROM unnest(a.attacl) x) END, d.description
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum` + comment("pg_class", "a.attrelid", "a.attnum") + `
WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND ` + ownRelation},
		{KindConstraint, []string{"definition", "not valid", "comment"}, `
SELECT k.oid::text, k.conrelid::regclass::text, quote_ident(k.conname), pg_get_constraintdef(k.oid), CASE WHEN NOT k.convalidated THEN 'yes' END, d.description
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_constraint", "k.oid", "0") + `
WHERE k.contype IN ('c', 'f', 'p', 'u', 'x') AND ` + ownRelation},
		{KindIndex, []string{"definition", "invalid", "clustered", "comment"}, `
SELECT i.indexrelid::text, i.indrelid::regclass::text, quote_ident(c.relname), pg_get_indexdef(i.indexrelid),
  CASE WHEN NOT i.indisvalid THEN 'yes' END, CASE WHEN i.indisclustered THEN 'yes' END, d.description
FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_class", "c.oid", "0") + `
WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')) AND ` + ownRelation},
		{KindView, []string{"definition", "owner", "options", "grants", "comment"}, viewQuery("v")},
		{KindMatview, []string{"definition", "owner", "options", "grants", "comment"}, viewQuery("m")},
		{KindSequence, []string{"type", "start", "increment", "minimum", "maximum", "cache", "cycle", "owned by", "owner", "grants", "comment"}, `
SELECT c.oid::text, '', c.oid::regclass::text, format_type(s.seqtypid, NULL), s.seqstart::text, s.seqincrement::text, s.seqmin::text, s.seqmax::text,
  nullif(s.seqcache, 1)::text, CASE WHEN s.seqcycle THEN 'yes' END,
  (SELECT o.refobjid::regclass::text || '.' || quote_ident(a.attname) FROM pg_depend o JOIN pg_attribute a ON a.attrelid = o.refobjid AND a.attnum = o.refobjsubid
   WHERE o.classid = 'pg_class'::regclass AND o.objid = c.oid AND o.refclassid = 'pg_class'::regclass AND o.deptype IN ('a', 'i') LIMIT 1),
  pg_get_userbyid(c.relowner)::text, ` + acl("c.relacl", "s", "c.relowner") + `, d.description
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_class", "c.oid", "0") + `
WHERE ` + ownRelation},
		{KindTrigger, []string{"definition", "disabled", "comment"}, `
SELECT t.oid::text, t.tgrelid::regclass::text, quote_ident(t.tgname), pg_get_triggerdef(t.oid),
  CASE t.tgenabled WHEN 'D' THEN 'yes' WHEN 'R' THEN 'on the origin' END, d.description
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_trigger", "t.oid", "0") + `
WHERE NOT t.tgisinternal AND ` + ownRelation},
		{KindPolicy, []string{"command", "permissive", "roles", "using", "with check", "comment"}, `
SELECT p.oid::text, p.polrelid::regclass::text, quote_ident(p.polname), 
  CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
  CASE WHEN p.polpermissive THEN 'yes' ELSE 'no' END,
  (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r)::text END, ', ' ORDER BY r) FROM unnest(p.polroles) r),
  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid), d.description
FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_policy", "p.oid", "0") + `
WHERE ` + ownRelation},
		{KindRule, []string{"definition", "disabled", "comment"}, `
SELECT r.oid::text, r.ev_class::regclass::text, quote_ident(r.rulename), pg_get_ruledef(r.oid), CASE r.ev_enabled WHEN 'D' THEN 'yes' END, d.description
FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_rewrite", "r.oid", "0") + `
WHERE r.rulename <> '_RETURN' AND ` + ownRelation},
	}
}

func viewQuery(kind string) string {
	return `
SELECT c.oid::text, '', c.oid::regclass::text, pg_get_viewdef(c.oid), pg_get_userbyid(c.relowner)::text, array_to_string(c.reloptions, ', '), ` +
		acl("c.relacl", "r", "c.relowner") + `, d.description
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace` + comment("pg_class", "c.oid", "0") + `
WHERE c.relkind = '` + kind + `' AND ` + ownRelation
}

func otherQueries() []catalogQuery {
	const noMember = ` NOT IN (SELECT objid FROM pg_depend WHERE refclassid = 'pg_extension'::regclass AND deptype = 'e' AND classid = `
	return []catalogQuery{
		{KindSchema, []string{"owner", "grants", "comment"}, `
SELECT n.oid::text, '', quote_ident(n.nspname), pg_get_userbyid(n.nspowner)::text, ` + acl("n.nspacl", "n", "n.nspowner") + `, d.description
FROM pg_namespace n` + comment("pg_namespace", "n.oid", "0") + ` WHERE ` + userSchema},
		{KindExtension, []string{"version", "schema", "comment"}, `
SELECT e.oid::text, '', quote_ident(e.extname), e.extversion, n.nspname::text, d.description
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace` + comment("pg_extension", "e.oid", "0")},
		{KindType, []string{"kind", "labels", "base", "not null", "default", "checks", "attributes", "subtype", "owner", "grants", "comment"}, `
SELECT t.oid::text, '', t.oid::regtype::text, 
  CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'c' THEN 'composite' ELSE 'range' END,
  CASE WHEN t.typtype = 'e' THEN (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid) END,
  CASE WHEN t.typtype = 'd' THEN format_type(t.typbasetype, t.typtypmod) END,
  CASE WHEN t.typnotnull THEN 'yes' END, t.typdefault,
  CASE WHEN t.typtype = 'd' THEN (SELECT string_agg(quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid), ', ' ORDER BY k.conname)
    FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c') END,
  CASE WHEN t.typtype = 'c' THEN (SELECT string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', ' ORDER BY a.attnum)
    FROM pg_attribute a WHERE a.attrelid = t.typrelid AND NOT a.attisdropped) END,
  (SELECT format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid),
  pg_get_userbyid(t.typowner)::text, ` + acl("t.typacl", "T", "t.typowner") + `, d.description
FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace LEFT JOIN pg_class c ON c.oid = t.typrelid` + comment("pg_type", "t.oid", "0") + `
WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c') AND ` + userSchema + ` AND t.oid` + noMember + `'pg_type'::regclass)`},
		{KindFunction, []string{"definition", "owner", "grants", "comment"}, `
SELECT p.oid::text, '', p.oid::regprocedure::text, 
  CASE WHEN p.prokind = 'a' THEN 'aggregate returning ' || format_type(p.prorettype, NULL) ELSE pg_get_functiondef(p.oid) END,
  pg_get_userbyid(p.proowner)::text, ` + acl("p.proacl", "f", "p.proowner") + `, d.description
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace` + comment("pg_proc", "p.oid", "0") + `
WHERE ` + userSchema + ` AND p.oid` + noMember + `'pg_proc'::regclass)
  AND p.oid NOT IN (SELECT objid FROM pg_depend WHERE deptype = 'i' AND classid = 'pg_proc'::regclass)`},
		{KindStatistics, []string{"definition", "owner", "comment"}, `
SELECT s.oid::text, '', quote_ident(n.nspname) || '.' || quote_ident(s.stxname), pg_get_statisticsobjdef(s.oid), pg_get_userbyid(s.stxowner)::text, d.description
FROM pg_statistic_ext s JOIN pg_namespace n ON n.oid = s.stxnamespace` + comment("pg_statistic_ext", "s.oid", "0") + ` WHERE ` + userSchema},
		{KindDefaultGrant, []string{"grants"}, `
SELECT a.oid::text, '', 'of ' || pg_get_userbyid(a.defaclrole) || coalesce(' in ' || quote_ident(n.nspname), '') || ' on ' ||
  CASE a.defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences' WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' WHEN 'n' THEN 'schemas' ELSE 'large objects' END,
  array_to_string(a.defaclacl, ', ')
FROM pg_default_acl a LEFT JOIN pg_namespace n ON n.oid = a.defaclnamespace`},
	}
}
