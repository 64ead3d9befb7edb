package templates

import (
	"fmt"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

const (
	adviceForeign = "nothing, unless code of the application needs it: then give it a table in the application's own migrations or in a hook"
	adviceReach   = "nothing: what it reaches from production, a preview must not"
)

// Reasons why a template does not have something that the source has.
func omitReplication(code string) *omission {
	return &omission{code, SeverityInfo, "previews do not replicate", "nothing; a migration that alters it fails on previews"}
}

func omitForeign() *omission {
	return &omission{codeForeignServer, SeverityInfo, "previews have no network, and such definitions may hold passwords", adviceForeign}
}

func omitReach() *omission {
	return &omission{codeExtensionLeftOut, SeverityInfo, "it reaches files, programs or the network as a superuser", adviceReach}
}

func omitPrivilege() *omission {
	return &omission{
		codeSuperuserObject, SeverityWarning, "only a superuser may create it, and previews have none",
		"if the application needs it, make it part of an extension in the image",
	}
}

// leftOutExtensions are those that a template never has.
func leftOutExtension(name string) *omission {
	switch name {
	case "adminpack", "dblink", "file_fdw", "postgres_fdw", "plperlu", "plpythonu", "plpython2u", "plpython3u", "pltclu":
		return omitReach()
	case "mysql_fdw", "oracle_fdw", "tds_fdw", "ogr_fdw", "multicorn", "aws_s3", "aws_lambda", "aws_commons", "azure_storage", "http", "pg_net":
		return omitReach()
	case "pg_cron", "pgagent", "pg_timetable":
		return &omission{codeScheduledJobs, SeverityInfo, "its jobs are production's, and would run in every preview", "nothing; run a job by hand where a preview needs its result"}
	case "pglogical", "pglogical_origin", "repmgr", "bdr", "spock":
		return omitReplication(codeExtensionLeftOut)
	}
	return nil
}

// omit returns why an object is left out by its kind or name, nil for those that are kept.
func omit(e *archive.Entry, policy mayfly.TemplatePolicy) *omission {
	switch e.Kind {
	case "EXTENSION":
		return leftOutExtension(e.Tag)
	case "PROCEDURAL LANGUAGE", "ACCESS METHOD", "OPERATOR CLASS", "OPERATOR FAMILY", "TEXT SEARCH PARSER", "TEXT SEARCH TEMPLATE":
		return omitPrivilege()
	case "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA":
		if policy.Publications == mayfly.PolicyKeep {
			return nil
		}
		return omitReplication(codePublication)
	case "SUBSCRIPTION", "SUBSCRIPTION TABLE":
		return omitReplication(codeSubscription)
	case "FOREIGN DATA WRAPPER", "SERVER", "USER MAPPING":
		return omitForeign()
	case "FOREIGN TABLE":
		if policy.ForeignTables == mayfly.PolicyDrop {
			o := omitForeign()
			o.code = codeForeignTableGone
			return o
		}
	case "EVENT TRIGGER":
		return &omission{codeEventTrigger, SeverityInfo, "it belongs to a superuser, and previews have none", "nothing; what it does at each change of the schema does not happen in previews"}
	case "SECURITY LABEL":
		return &omission{codeSecurityLabel, SeverityInfo, "it is about roles and labels that previews do not have", ""}
	case "BLOB", "BLOBS", "BLOB METADATA", "BLOB COMMENTS":
		return omitLargeObjects()
	case "STATISTICS DATA":
		return &omission{codeStatistics, SeverityInfo, "statistics hold values of rows; they are computed anew", ""}
	}
	return nil
}

func omitLargeObjects() *omission {
	return &omission{
		codeLargeObjects, SeverityWarning, "nothing says what is in them, so they cannot be masked",
		"columns that refer to them lead nowhere in previews: move the contents into a bytea column, which rules can classify",
	}
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

// omitDependent is the omission of what needs something that is left out; it is as bad as that is.
func omitDependent(on *archive.Entry, severity Severity) *omission {
	if !severity.AtLeast(SeverityWarning) {
		severity = SeverityWarning
	}
	return &omission{
		codeDependent, severity, fmt.Sprintf("it depends on %s, which is left out", object(on)),
		"see the finding about that",
	}
}

func isGrant(e *archive.Entry) bool { return e.Kind == "ACL" || e.Kind == "DEFAULT ACL" }

// selection is what of a table of contents is restored.
type selection struct {
	preData, postData []*archive.Entry
	comments          []*archive.Entry // on what is in preData; they are restored after the rows
	findings          []Finding
	// replaced are the foreign tables in whose place an ordinary one is made.
	replaced map[relation]bool
}

// choose decides about every entry: restored before the rows, restored after them, or left out and reported. What
// depends on something left out is left out too.
func choose(toc *archive.Archive, policy mayfly.TemplatePolicy) selection {
	s := selection{replaced: map[relation]bool{}}
	gone := map[int]*archive.Entry{}
	grants, blobs := int64(0), int64(0)
	toc = withoutForeign(toc, policy, &s)
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if isSetting(e) {
			continue
		}
		reason := omit(e, policy)
		if reason == nil {
			if at := slices.IndexFunc(e.Dependencies, func(id int) bool { return gone[id] != nil }); at >= 0 {
				reason = omitDependent(gone[e.Dependencies[at]], SeverityInfo)
			}
		}
		switch {
		case isGrant(e):
			grants++
		case reason != nil && reason.code == codeLargeObjects:
			gone[e.ID] = e
			if strings.HasPrefix(e.Kind, "BLOB") && e.Kind != "BLOBS" && e.Kind != "BLOB COMMENTS" {
				blobs++
			}
		case reason != nil:
			gone[e.ID] = e
			s.findings = append(s.findings, reason.finding(object(e)))
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
		s.findings = append(s.findings, Finding{
			Code: codeGrantsLeftOut, Severity: SeverityInfo, Object: "grants", Cause: "everything belongs to the one role of the preview", Done: "left out", Count: grants,
		})
	}
	if blobs > 0 {
		f := omitLargeObjects().finding("large objects")
		f.Count = blobs
		s.findings = append(s.findings, f)
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
