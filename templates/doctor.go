package templates

import (
	"cmp"
	"fmt"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

// The codes of findings. They are stable: other people's scripts look for them. docs/templates.md says what each means.
const (
	// About the way to a live source.
	codeSourceIsPrimary   = "source_is_primary"
	codeSnapshotNotShared = "snapshot_not_shared"

	// About what could not be checked.
	codeAmcheckMissing = "amcheck_missing"

	// About who owns what.
	codeOwnersReplaced  = "owners_replaced"
	codeDatabaseOwner   = "database_owner_changed"
	codeRoleCreated     = "role_created"
	codeGrantsLeftOut   = "grants_left_out"
	codeRoleSettings    = "role_settings_left_out"
	codeDatabaseSetting = "database_setting_left_out"
	codeSecurityLabel   = "security_label_left_out"

	// About what previews cannot have.
	codeExtensionMissing   = "extension_missing"
	codeExtensionLeftOut   = "extension_left_out"
	codeForeignServer      = "foreign_server_left_out"
	codeForeignTable       = "foreign_table_replaced"
	codeForeignTableGone   = "foreign_table_left_out"
	codePublication        = "publication_left_out"
	codePublicationKept    = "publication_kept"
	codeSubscription       = "subscription_left_out"
	codeEventTrigger       = "event_trigger_left_out"
	codeScheduledJobs      = "scheduled_jobs_left_out"
	codeLargeObjects       = "large_objects_left_out"
	codeStatistics         = "statistics_left_out"
	codeSuperuserObject    = "superuser_object_left_out"
	codeDependent          = "dependent_left_out"
	codeRowsWithoutTable   = "rows_without_table"
	codeTableWithoutData   = "table_without_data"
	codeUnloggedUnreadable = "unlogged_table_unreadable"
	codeUnlogged           = "unlogged_table"

	// About values in definitions.
	codeCommentMasked = "comment_masked"
	codeComments      = "comments_left_out"
	codeLiteralMasked = "literal_masked"
	codeCatalogValue  = "value_in_definition"

	// About damage in the source.
	codeForeignKeyViolated   = "foreign_key_violated"
	codeDuplicateKeys        = "duplicate_keys"
	codeIndexRowTooLarge     = "index_row_too_large"
	codeIndexInvalid         = "index_invalid_in_source"
	codeConstraintUnverified = "constraint_not_valid"
	codeMatviewUnpopulated   = "materialized_view_unpopulated"
	codeMatviewFailed        = "materialized_view_failed"
	codeMatviewReadsEmpty    = "materialized_view_reads_empty"
	codeSequenceBehind       = "sequence_behind"
	codeSequenceExhausted    = "sequence_exhausted"
	codeMigrationUnfinished  = "migration_unfinished"
	codeMigrationMissing     = "migration_objects_missing"

	// About what is as it was, and may still surprise.
	codeLocaleMissing    = "locale_missing"
	codeCollationMissing = "collation_missing"
	codeCollationVersion = "collation_version_differs"
	codeEncodingNone     = "encoding_sql_ascii"
	codeEncodingOther    = "encoding_not_utf8"
	codeTriggerNotFiring = "trigger_not_firing"
	codeRowSecurity      = "row_security"
	codeSizeExplained    = "size_explained"
)

// omission says why something of a source is left out.
type omission struct {
	code     string
	severity Severity
	cause    string
	advice   string
}

// finding is the omission of one object.
func (o omission) finding(object string) Finding {
	return Finding{Code: o.code, Severity: o.severity, Object: object, Cause: o.cause, Done: "left out", Advice: o.advice}
}

// object names an entry in findings: "view public.paid_orders".
func object(e *archive.Entry) string { return strings.ToLower(e.Kind) + " " + entryName(e) }

// keepFindings puts what the build has found so far into its report, the worst first.
func (r *run) keepFindings() {
	report := r.report()
	if r.target != nil {
		r.target.mu.Lock()
		report.Findings = append(report.Findings, r.target.findings...)
		r.target.findings = nil
		r.target.mu.Unlock()
	}
	sortFindings(report.Findings)
}

// namedFindings is how many findings the message of a refused build names.
const namedFindings = 5

// refuse ends a build that found what its project does not accept in a template.
func (r *run) refuse() error {
	r.keepFindings()
	limit := Severity(cmp.Or(r.req.Project.Templates.RefuseFindings, string(SeverityError)))
	if limit == "none" {
		return nil
	}
	var worst []string
	count := 0
	for _, f := range r.report().Findings {
		if !f.Severity.AtLeast(limit) {
			break // they are sorted
		}
		if count++; count <= namedFindings {
			worst = append(worst, fmt.Sprintf("%s (%s): %s", f.Object, f.Code, f.Cause))
		}
	}
	if count == 0 {
		return nil
	}
	more := ""
	if count > namedFindings {
		more = fmt.Sprintf("; and %d more", count-namedFindings)
	}
	return mayfly.Errorf(mayfly.CodeVerificationFailed, "the template has %d findings of severity %s or worse: %s%s", count, limit, strings.Join(worst, "; "), more).
		WithHint("the build's report says for each what to do at the source; templates.refuse_findings: none takes the template as it is")
}

// findAll notes findings.
func (r *run) findAll(all []Finding) {
	for _, f := range all {
		r.target.find(f)
	}
}

func rowsWithoutTable(name relation) Finding {
	return Finding{
		Code: codeRowsWithoutTable, Severity: SeverityInfo, Object: "table " + name.String(),
		Cause: "it belongs to an extension, or was left out itself", Done: "its rows are left out",
	}
}

func tableWithoutData(name relation) Finding {
	return Finding{
		Code: codeTableWithoutData, Severity: SeverityWarning, Object: "table " + name.String(),
		Cause: "the source has no data for it", Done: "the table is empty", Advice: "dump without --exclude-table-data and --schema-only",
	}
}
