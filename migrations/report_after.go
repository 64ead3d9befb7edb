package migrations

import (
	"cmp"
	"slices"

	"github.com/mayflydb/mayfly/migrations/observe"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// After puts what earlier runs on the same preview did in front of this one: together they are what the pull request's migrations do.
// A later commit that adds one migration, or none, must not hide what the others did.
func (r *Report) After(earlier *Report) {
	if earlier == nil || earlier.Failure != nil || earlier.Tool != r.Tool {
		return
	}
	r.FromVersion, r.AlreadyApplied = earlier.FromVersion, earlier.AlreadyApplied
	r.Applied = append(slices.Clone(earlier.Applied), r.Applied...)
	for i := range r.Applied {
		r.Applied[i].Index, r.Applied[i].Total = i+1, len(r.Applied)+len(r.Pending)
	}
	r.Seeds = append(slices.Clone(earlier.Seeds), r.Seeds...)
	r.DurationMS += earlier.DurationMS
	if earlier.DatabaseBytesBefore > 0 {
		r.DatabaseBytesBefore = earlier.DatabaseBytesBefore
		r.DatabaseBytesAfter = max(r.DatabaseBytesAfter, earlier.DatabaseBytesAfter)
	}
	for _, f := range earlier.Findings {
		// Columns that look personal are found anew each time, and may be gone.
		if !planned(f.Kind) && f.Kind != FindingPersonal && !slices.ContainsFunc(r.Findings, func(o Finding) bool {
			return o.Kind == f.Kind && o.Message == f.Message && o.File == f.File && o.Line == f.Line
		}) {
			r.Findings = append(r.Findings, f)
		}
	}
	r.schemaAfter(earlier.Schema)
	r.Data = addData(earlier.Data, r.Data)
	if r.Environment == nil {
		r.Environment = earlier.Environment
	}
	r.Unobserved = cmp.Or(r.Unobserved, earlier.Unobserved)
	r.Rollback, r.Load = earlier.Rollback, earlier.Load
	r.Annotations = annotations(r)
}

// schemaAfter lists what changed earlier first: something that was added then may have been changed now.
func (r *Report) schemaAfter(earlier *schemadiff.Diff) {
	switch {
	case earlier == nil:
	case r.Schema == nil:
		r.Schema = earlier
	default:
		r.Schema = &schemadiff.Diff{Changes: append(slices.Clone(earlier.Changes), r.Schema.Changes...)}
	}
}

func addData(a, b []observe.Data) []observe.Data {
	sum := slices.Clone(a)
	for _, d := range b {
		i := slices.IndexFunc(sum, func(o observe.Data) bool { return o.Table == d.Table })
		if i < 0 {
			sum = append(sum, d)
			continue
		}
		sum[i].Inserted += d.Inserted
		sum[i].Updated += d.Updated
		sum[i].Deleted += d.Deleted
	}
	return sum
}

// Rehearsed puts the result of a rehearsal into a report, in place of an earlier one. It may be nil.
func (r *Report) Rehearsed(rollback *Rollback) {
	r.dropFindings(FindingRollbackMissing, FindingRollbackFailed, FindingRollbackLeaves, FindingRollbackLoses, FindingRollbackChanges, FindingRollbackUpAgain)
	if r.Rollback = rollback; rollback != nil {
		r.Findings = append(r.Findings, rollback.Findings...)
	}
	r.waive(r.Findings)
	r.Annotations = annotations(r)
}

// Loaded puts the result of a run under load into a report, in place of an earlier one. It may be nil.
func (r *Report) Loaded(load *Load) {
	r.dropFindings(FindingLoadBlocked, FindingLoadFailed)
	if r.Load = load; load != nil {
		r.Findings = append(r.Findings, load.Findings...)
	}
	r.waive(r.Findings)
	r.Annotations = annotations(r)
}

func (r *Report) dropFindings(kinds ...FindingKind) {
	r.Findings = slices.DeleteFunc(r.Findings, func(f Finding) bool { return slices.Contains(kinds, f.Kind) })
}
