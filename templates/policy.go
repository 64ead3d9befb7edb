package templates

import (
	"fmt"
	"slices"

	"github.com/mayflydb/mayfly/templates/archive"
)

// Reasons why a template does not have something that the source has.
const (
	reasonReplication = "previews do not replicate"
	reasonForeign     = "previews have no network, and such definitions may hold passwords"
	reasonSuperuser   = "it belongs to a superuser, and previews have none"
	reasonRoles       = "it is about roles and labels that previews do not have"
	reasonLargeObject = "large objects are not carried"
	reasonStatistics  = "statistics hold values of rows; they are computed anew"
	reasonPrivilege   = "only a superuser may create it, and previews have none"
	reasonReach       = "it reaches files, programs or the network as a superuser"
	reasonSetting     = "only settings that are known to be harmless are taken over"
)

// dropReason returns why an object is left out by its kind or name, "" for those that are kept.
func dropReason(e *archive.Entry) string {
	switch e.Kind {
	case "EXTENSION":
		switch e.Tag {
		case "adminpack", "dblink", "file_fdw", "postgres_fdw", "plperlu", "plpythonu", "plpython2u", "plpython3u", "pltclu":
			return reasonReach
		}
	case "PROCEDURAL LANGUAGE", "ACCESS METHOD", "OPERATOR CLASS", "OPERATOR FAMILY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE":
		return reasonPrivilege
	case "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "SUBSCRIPTION", "SUBSCRIPTION TABLE":
		return reasonReplication
	case "FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING", "FOREIGN TABLE":
		return reasonForeign
	case "EVENT TRIGGER":
		return reasonSuperuser
	case "SECURITY LABEL":
		return reasonRoles
	case "BLOB", "BLOBS", "BLOB METADATA", "BLOB COMMENTS":
		return reasonLargeObject
	case "STATISTICS DATA":
		return reasonStatistics
	}
	return ""
}

// isSetting reports whether an entry is about the session or the database, which are handled on their own.
func isSetting(e *archive.Entry) bool {
	switch e.Kind {
	case "ENCODING", "STDSTRINGS", "SEARCHPATH", "DATABASE", "DATABASE PROPERTIES":
		return true
	case "COMMENT":
		return e.Schema == "" && len(e.Tag) > 9 && e.Tag[:9] == "DATABASE "
	case "SCHEMA":
		return e.Tag == "public" // initdb made it
	case "PROCEDURAL LANGUAGE": // of archives older than extensions
		return e.Tag == "plpgsql" // initdb made it
	}
	return false
}

func dependsOn(on *archive.Entry) string {
	return fmt.Sprintf("it depends on %s %s, which is left out", on.Kind, on.Tag)
}

func isGrant(e *archive.Entry) bool { return e.Kind == "ACL" || e.Kind == "DEFAULT ACL" }

// selection is what of a table of contents is restored.
type selection struct {
	preData, postData []*archive.Entry
	dropped           []DroppedObject
	warnings          []string
}

// choose decides about every entry: restored before the rows, restored after them, or left out and reported. What
// depends on something left out is left out too.
func choose(toc *archive.Archive) selection {
	var s selection
	gone := map[int]*archive.Entry{}
	grants, blobs := 0, 0
	for i := range toc.Entries {
		e := &toc.Entries[i]
		reason := dropReason(e)
		if isSetting(e) {
			continue
		}
		if reason == "" {
			if at := slices.IndexFunc(e.Dependencies, func(id int) bool { return gone[id] != nil }); at >= 0 {
				reason = dependsOn(gone[e.Dependencies[at]])
			}
		}
		switch {
		case isGrant(e):
			grants++
		case reason == reasonLargeObject:
			gone[e.ID] = e
			blobs++
		case reason != "":
			gone[e.ID] = e
			s.dropped = append(s.dropped, DroppedObject{Kind: e.Kind, Name: entryName(e), Reason: reason})
		case e.Definition == "":
		case e.Section == archive.SectionPreData:
			s.preData = append(s.preData, e)
		case e.Section == archive.SectionPostData && e.Kind != "MATERIALIZED VIEW DATA":
			s.postData = append(s.postData, e)
		case e.Kind == "COMMENT": // stands among the data, describes a table
			s.postData = append(s.postData, e)
		}
	}
	if grants > 0 {
		s.warnings = append(s.warnings, fmt.Sprintf("%d sets of grants were left out: everything belongs to the one role of the preview", grants))
	}
	if blobs > 0 {
		s.dropped = append(s.dropped, DroppedObject{Kind: "BLOBS", Name: "large objects", Reason: reasonLargeObject})
	}
	return s
}

// entryName is "schema.name", or the name alone for what is outside schemas.
func entryName(e *archive.Entry) string {
	if e.Schema == "" {
		return e.Tag
	}
	return e.Schema + "." + e.Tag
}
