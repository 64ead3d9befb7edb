package templates

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

// extensionPackages says which Debian package has an extension, where its name does not: %d is the major version.
func extensionPackages() map[string]string {
	return map[string]string{ //nolint:gosec // "credcheck" is an extension, and no credential
		"vector": "postgresql-%d-pgvector", "pg_cron": "postgresql-%d-cron", "pg_partman": "postgresql-%d-partman", "pg_repack": "postgresql-%d-repack",
		"postgis": "postgresql-%d-postgis-3", "postgis_raster": "postgresql-%d-postgis-3", "postgis_sfcgal": "postgresql-%d-postgis-3",
		"postgis_topology": "postgresql-%d-postgis-3", "postgis_tiger_geocoder": "postgresql-%d-postgis-3", "address_standardizer": "postgresql-%d-postgis-3",
		"address_standardizer_data_us": "postgresql-%d-postgis-3", "pgrouting": "postgresql-%d-pgrouting", "pointcloud": "postgresql-%d-pointcloud",
		"pointcloud_postgis": "postgresql-%d-pointcloud", "h3": "postgresql-%d-h3", "h3_postgis": "postgresql-%d-h3", "q3c": "postgresql-%d-q3c", "pg_sphere": "postgresql-%d-pgsphere",
		"hll": "postgresql-%d-hll", "hypopg": "postgresql-%d-hypopg", "ip4r": "postgresql-%d-ip4r", "jsquery": "postgresql-%d-jsquery",
		"orafce": "postgresql-%d-orafce", "pgaudit": "postgresql-%d-pgaudit", "pglogical": "postgresql-%d-pglogical", "pgtap": "postgresql-%d-pgtap",
		"pg_qualstats": "postgresql-%d-pg-qualstats", "pg_stat_kcache": "postgresql-%d-pg-stat-kcache", "pg_track_settings": "postgresql-%d-pg-track-settings",
		"pg_wait_sampling": "postgresql-%d-pg-wait-sampling", "powa": "postgresql-%d-powa", "pldbgapi": "postgresql-%d-pldebugger",
		"plpgsql_check": "postgresql-%d-plpgsql-check", "plprofiler": "postgresql-%d-plprofiler", "plr": "postgresql-%d-plr", "plproxy": "postgresql-%d-plproxy",
		"plsh": "postgresql-%d-plsh", "pllua": "postgresql-%d-pllua", "plv8": "postgresql-%d-plv8", "periods": "postgresql-%d-periods",
		"pgmp": "postgresql-%d-pgmp", "pg_rational": "postgresql-%d-rational", "pg_similarity": "postgresql-%d-similarity", "prefix": "postgresql-%d-prefix",
		"prioritize": "postgresql-%d-prioritize", "rum": "postgresql-%d-rum", "semver": "postgresql-%d-semver", "set_user": "postgresql-%d-set-user",
		"unit": "postgresql-%d-unit", "tdigest": "postgresql-%d-tdigest", "tablelog": "postgresql-%d-tablelog", "debversion": "postgresql-%d-debversion",
		"rdkit": "postgresql-%d-rdkit", "pgq": "postgresql-%d-pgq3", "pg_hint_plan": "postgresql-%d-pg-hint-plan", "pg_ivm": "postgresql-%d-pg-ivm",
		"pg_squeeze": "postgresql-%d-squeeze", "roaringbitmap": "postgresql-%d-roaringbitmap", "age": "postgresql-%d-age", "credcheck": "postgresql-%d-credcheck",
		"extra_window_functions": "postgresql-%d-extra-window-functions", "first_last_agg": "postgresql-%d-first-last-agg", "icu_ext": "postgresql-%d-icu-ext",
		"numeral": "postgresql-%d-numeral", "asn1oid": "postgresql-%d-asn1oid", "pgfincore": "postgresql-%d-pgfincore", "pgpcre": "postgresql-%d-pgpcre",
		"plperl": "postgresql-plperl-%d", "bool_plperl": "postgresql-plperl-%d", "hstore_plperl": "postgresql-plperl-%d", "jsonb_plperl": "postgresql-plperl-%d",
		"pltcl": "postgresql-pltcl-%d", "pgagent": "pgagent",
	}
}

// elsewhere are extensions that Debian does not have.
func elsewhere(name string) string {
	switch name {
	case "timescaledb", "timescaledb_toolkit":
		return "Timescale's own repository has it (timescaledb-2-postgresql-%d), and the image timescale/timescaledb"
	case "citus", "citus_columnar":
		return "Citus' own repository has it (postgresql-%d-citus), and the image citusdata/citus"
	case "pg_search", "pg_analytics":
		return "the image paradedb/paradedb has it (PostgreSQL %d)"
	case "vchord", "vectors":
		return "the images of TensorChord have it (PostgreSQL %d)"
	}
	return ""
}

// contrib are the extensions that come with PostgreSQL itself.
const contrib = " amcheck autoinc bloom btree_gin btree_gist citext cube dict_int dict_xsyn earthdistance fuzzystrmatch hstore insert_username intagg intarray isn lo ltree moddatetime " +
	"pageinspect pg_buffercache pg_freespacemap pg_prewarm pg_stat_statements pg_surgery pg_trgm pg_visibility pg_walinspect pgcrypto pgrowlocks pgstattuple refint seg sslinfo tablefunc " +
	"tcn tsm_system_rows tsm_system_time unaccent uuid-ossp xml2 "

// extensionAdvice says where an extension can be had for an image of a major version.
func extensionAdvice(name string, major int) string {
	const then = "; name the image in postgres.image"
	if text := elsewhere(name); text != "" {
		return fmt.Sprintf(text, major) + then
	}
	if strings.Contains(contrib, " "+name+" ") {
		return "it comes with PostgreSQL: use an image with the contrib modules (the official postgres image has them, Alpine's postgresql-contrib)" + then
	}
	if pack := extensionPackages()[name]; pack != "" {
		pack = strings.Replace(pack, "%d", strconv.Itoa(major), 1)
		return fmt.Sprintf("Debian's package %[1]s has it: build an image with FROM postgres:%[2]d and RUN apt-get update && apt-get install -y %[1]s%[3]s", pack, major, then)
	}
	return fmt.Sprintf("build an image that has it: Debian packages of extensions are called postgresql-%d-…; apt.postgresql.org and pgxn.org have more%s", major, then)
}

// unavailable reports whether CREATE EXTENSION failed because the image lacks the extension, or what it needs.
func unavailable(err error) bool {
	return hasState(err, sqlFeatureNotSupported, sqlUndefinedFile, sqlUndefinedObject, sqlNotInPrerequisite, sqlInvalidParameter, sqlObjectNotConfigured)
}

// missingExtension leaves out an extension that the image has not, if nothing needs it.
func (r *restorer) missingExtension(e *archive.Entry, cause error) error {
	needed := neededBy(r.target.toc, e, map[int]bool{})
	advice := extensionAdvice(e.Tag, r.target.major)
	if len(needed) > 0 {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the source uses the extension %q, which the image has not: %s (%s)",
			e.Tag, sourceMessage(cause), "needed by "+strings.Join(firstFew(needed), ", ")).WithHint("%s", advice)
	}
	r.target.drop(e, Finding{
		Code: codeExtensionMissing, Severity: SeverityError, Object: object(e), Cause: "the image has not the extension",
		Done:   "left out: no object of the schema needs it, but functions and the application may",
		Advice: advice + "; or drop it from the source, if nothing uses it",
	})
	return nil
}

// neededBy lists what cannot be without an extension. Its own comment and its own tables' rows do not count, and neither does another
// extension that nothing needs.
func neededBy(toc *archive.Archive, on *archive.Entry, seen map[int]bool) []string {
	if seen[on.ID] { // an archive may say that two need each other
		return nil
	}
	seen[on.ID] = true
	var names []string
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if !slices.Contains(e.Dependencies, on.ID) || e.ID == on.ID {
			continue
		}
		switch e.Kind {
		case "COMMENT", "TABLE DATA", "SEQUENCE SET", "ACL", "DEFAULT ACL", "SECURITY LABEL":
		case "EXTENSION":
			names = append(names, neededBy(toc, e, seen)...)
		default:
			names = append(names, object(e))
		}
	}
	return names
}

func firstFew(names []string) []string {
	if len(names) <= samples {
		return names
	}
	return append(slices.Clone(names[:samples]), fmt.Sprintf("and %d more", len(names)-samples))
}
