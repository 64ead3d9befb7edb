package migrations

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
	"github.com/mayflydb/mayfly/migrations/lint"
	"github.com/mayflydb/mayfly/migrations/observe"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// observation is one run being observed. A nil one observes nothing. It never fails a run: what could not be seen is said in
// Report.Unobserved.
type observation struct {
	recorder *observe.Recorder
	before   *schemadiff.Snapshot
	report   *Report
	ignored  trackingTable
	// text is what of the current migration's file was sent; statements is how many of its statements were.
	text       string
	statements int
	ended      []observedMigration
}

type observedMigration struct {
	text string
	seen *observe.Migration
}

// observeRun looks at what there is before the first migration. It returns nil if that cannot be seen.
func observeRun(ctx context.Context, conn *pgx.Conn, opts ApplyOptions, report *Report) *observation {
	o := startObserving(ctx, conn, opts, report)
	if o == nil {
		return nil
	}
	var err error
	if o.before, err = schemadiff.Take(ctx, o.recorder.Second()); err != nil {
		report.Unobserved = fmt.Sprintf("the schema was not compared: %v", err)
	}
	return o
}

// startObserving opens the second session.
func startObserving(ctx context.Context, conn *pgx.Conn, opts ApplyOptions, report *Report) *observation {
	connect := opts.Observer
	if connect == nil {
		config := conn.Config().Copy()
		connect = func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, config) }
	}
	recorder, err := observe.Start(ctx, conn, observe.Options{Connect: connect, Now: opts.Now})
	if err != nil {
		report.Unobserved = fmt.Sprintf("the run was not observed: %v", err)
		return nil
	}
	return &observation{recorder: recorder, report: report}
}

// finishSeeds ends the observation of seed files. They are no migrations: production never runs them, so there are no findings about
// them, and what they write is not what the migrations write.
func (o *observation) finishSeeds(ctx context.Context) {
	if o == nil {
		return
	}
	after := context.WithoutCancel(ctx)
	o.recorder.Finish(after)
	o.recorder.Close(after)
}

// begin is called before each migration.
func (o *observation) begin(r *run) {
	if o == nil {
		return
	}
	if r.table != o.ignored {
		o.ignored = r.table
		o.recorder.Ignore(r.table.schema, r.table.name)
	}
	o.text, o.statements = "", 0
}

// end is called after each migration.
func (o *observation) end(ctx context.Context) *observe.Migration {
	if o == nil {
		return nil
	}
	seen := o.recorder.Migration(context.WithoutCancel(ctx))
	o.ended = append(o.ended, observedMigration{o.text, seen})
	return seen
}

// execute sends one part of a file, and has its statements observed.
func (o *observation) execute(ctx context.Context, r *run, s script, part span, pieces []sqlsplit.Statement) outcome {
	text := s.text[part.begin:part.end]
	if o == nil {
		return execute(ctx, r.conn, text)
	}
	positions := inBytes(r.conn.PgConn())
	query := o.recorder.Query(ctx, observe.Text{
		SQL: text, Pieces: pieces, Line: 1 + strings.Count(s.text[:part.begin], "\n"), Offset: part.begin, Index: o.statements,
	})
	o.text, o.statements = s.text, o.statements+len(pieces)
	result := executeFor(ctx, r.conn, query.SQL, query)
	if e := asPgError(result.err); e != nil {
		at, ours := query.Position(int(e.Position), positions)
		switch {
		case query.Repeatable(e.Code):
			query = query.Plain()
			result = executeFor(ctx, r.conn, query.SQL, query)
		case !ours:
			e.Position = 0
		default:
			e.Position = int32(at)
		}
	}
	state := ""
	if e := asPgError(result.err); e != nil {
		state = e.Code
	}
	query.End(ctx, result.err != nil && result.statements < len(pieces), state)
	return result
}

// finish fills in what is known only once all migrations ran.
func (o *observation) finish(ctx context.Context, thresholds lint.Thresholds, report *Report) {
	if o == nil {
		return
	}
	after := context.WithoutCancel(ctx)
	defer o.recorder.Close(after)
	o.recorder.Finish(after)
	environment := o.recorder.Environment()
	report.Environment = &environment
	o.compare(after, report)
	var all []*observe.Migration
	for i, m := range o.ended {
		all = append(all, m.seen)
		step := report.Applied[i]
		for _, f := range lint.Check(lint.File{Path: step.File, Text: m.text, Statements: m.seen.Statements, Relation: o.recorder.Relation}, thresholds) {
			report.Findings = append(report.Findings, Finding{
				Kind: FindingKind(f.Code), Version: step.Version, File: step.File, Message: f.Message, Severity: f.Severity,
				Line: f.Line, EndLine: f.EndLine, Relation: f.Relation, Instead: f.Instead, Scale: f.Scale, Waived: f.Waived,
			})
		}
	}
	if report.Schema != nil {
		for _, f := range lint.CheckSchema(*report.Schema) {
			report.Findings = append(report.Findings, Finding{Kind: FindingKind(f.Code), Message: f.Message, Severity: f.Severity, Relation: f.Relation, Instead: f.Instead})
		}
	}
	report.Data = observe.Sum(all)
	report.Annotations = annotations(report)
}

// compare leaves out the tool's own table: it is the same in production.
func (o *observation) compare(ctx context.Context, report *Report) {
	if o.before == nil {
		return
	}
	now, err := schemadiff.Take(ctx, o.recorder.Second())
	if err != nil {
		report.Unobserved = fmt.Sprintf("the schema was not compared: %v", err)
		return
	}
	diff := schemadiff.Compare(o.before, now)
	table := pgx.Identifier{o.ignored.schema, o.ignored.name}.Sanitize()
	plain := o.ignored.schema + "." + o.ignored.name
	diff.Changes = slices.DeleteFunc(diff.Changes, func(c schemadiff.Change) bool {
		about := c.Parent
		if about == "" {
			about = c.Name
		}
		return about == table || about == plain
	})
	report.Schema = &diff
}

// Annotation is a message at a place in a file.
type Annotation struct {
	File    string        `json:"file"`
	Line    int           `json:"line"`
	EndLine int           `json:"end_line"`
	Level   lint.Severity `json:"level"`
	Code    string        `json:"code"`
	Message string        `json:"message"`
}

// failedCode is the code of the annotation of a failure.
const failedCode = "failed"

func annotations(report *Report) []Annotation {
	var out []Annotation
	if f := report.Failure; f != nil && f.Line > 0 {
		out = append(out, Annotation{f.File, f.Line, f.Line, lint.Error, failedCode, f.Message})
	}
	for _, f := range report.Findings {
		if f.Line == 0 || f.Waived != "" {
			continue
		}
		message := f.Message
		if f.Instead != "" {
			message += "\nInstead: " + f.Instead
		}
		out = append(out, Annotation{f.File, f.Line, f.EndLine, f.Severity, string(f.Kind), message})
	}
	return out
}
