package migrations

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// Findings of a rehearsal.
const (
	FindingRollbackMissing FindingKind = "rollback-missing"        // a migration has no down, and others have
	FindingRollbackFailed  FindingKind = "rollback-failed"         // a down migration fails
	FindingRollbackLeaves  FindingKind = "rollback-leaves-changes" // after up and down the schema is another one
	FindingRollbackLoses   FindingKind = "rollback-loses-data"     // after up and down there are fewer rows or values
	FindingRollbackChanges FindingKind = "rollback-changes-data"   // after up and down there are others
	FindingRollbackUpAgain FindingKind = "rollback-up-again"       // what was rolled back cannot be applied again
)

// The parts of a rehearsal.
const (
	PhaseUp      = "up"
	PhaseDown    = "down"
	PhaseUpAgain = "up again"
)

// Rollback is what a rehearsal of down migrations found: up, down, up again.
type Rollback struct {
	// Key identifies the migrations, their downs included, that were rehearsed.
	Key string `json:"key"`
	// Passed is true if everything could be undone without a trace, and applied again.
	Passed bool `json:"passed"`
	// Reason says why it ended early, or was not tried at all; "" if it was not.
	Reason string         `json:"reason,omitempty"`
	Steps  []RollbackStep `json:"steps"`
	// Schema is what was left of the migrations in the schema after they were undone.
	Schema *schemadiff.Diff `json:"schema,omitempty"`
	// Data is what was not as before in the tables that they work on.
	Data       []DataDifference `json:"data,omitempty"`
	DurationMS float64          `json:"duration_ms"`
	Findings   []Finding        `json:"-"`
}

// String says in a few words how it went.
func (r *Rollback) String() string {
	switch {
	case r.Passed:
		return fmt.Sprintf("%d migrations up, down and up again", len(r.Steps)/3)
	case r.Reason != "":
		return r.Reason
	}
	return fmt.Sprintf("%d findings", len(r.Findings))
}

// RollbackStep is one migration going up or down.
type RollbackStep struct {
	Phase      string  `json:"phase"`
	Version    string  `json:"version"`
	File       string  `json:"file"`
	DurationMS float64 `json:"duration_ms"`
	Rows       int64   `json:"rows_affected"`
	Error      string  `json:"error,omitempty"`
}

// Reversible is what of a plan can be rehearsed.
type Reversible struct {
	// Before are the pending migrations that come first and stay, Migrations the last ones, which go up and down.
	Before, Migrations []Migration
	// Missing are those of the pull request that have no down, although the project writes them.
	Missing []Migration
	Key     string
}

// Reversible finds what of a plan can be undone: the last of its migrations, those of the pull request that have a down. It returns nil if
// there is nothing to say: the tool has no downs, the project writes none, or the pull request adds no migration.
func (h *History) Reversible(plan Plan) *Reversible {
	impl := reverserOf(h.impl)
	if impl == nil || len(plan.FromPullRequest) == 0 {
		return nil
	}
	has := func(m Migration) bool {
		_, ok, err := impl.reverse(m)
		return ok || err != nil // one that cannot be read is found out when it is tried
	}
	if !slices.ContainsFunc(h.Migrations, has) {
		return nil
	}
	own := map[string]bool{}
	r := &Reversible{}
	for _, m := range plan.FromPullRequest {
		own[m.Version] = true
		if m.Repeatable {
			continue
		}
		if !has(m) {
			r.Missing = append(r.Missing, m)
		}
	}
	first := len(plan.Pending)
	for first > 0 {
		m := plan.Pending[first-1]
		if m.Repeatable || !own[m.Version] || !has(m) {
			break
		}
		first--
	}
	r.Before, r.Migrations = plan.Pending[:first], plan.Pending[first:]
	r.Key = plan.Key()
	return r
}

// Key identifies what of a plan is to be applied, what undoes it included.
func (p Plan) Key() string {
	own := map[string]bool{}
	for _, m := range p.FromPullRequest {
		own[m.Version] = true
	}
	hash := sha256.New()
	for _, m := range p.Pending {
		down := ""
		if m.down != nil {
			down = m.down.SHA
		}
		fmt.Fprintf(hash, "%q %q %q %t\n", m.Version, m.sha(), down, own[m.Version])
	}
	return hex.EncodeToString(hash.Sum(nil))
}

// RehearseOptions are for Rehearse.
type RehearseOptions struct {
	ApplyOptions

	// Connect logs in to the clone as the application's role.
	Connect func(ctx context.Context) (*pgx.Conn, error)
	// Tables are those that the migrations work on, with their schema: their rows are compared.
	Tables []string
	// MaxBytes is up to which size of a table the values themselves are compared, and not only counted. 0 means 256 MiB.
	MaxBytes int64
}

// rehearsal is one Rehearse.
type rehearsal struct {
	history  *History
	settings mayfly.MigrationSettings
	opts     RehearseOptions
	out      *Rollback
	what     *Reversible
	impl     reverser
}

// Rehearse tries what happens when the pull request's migrations are rolled back: it applies plan, undoes what of it can be undone,
// compares, and applies that again. It does so to the database that opts.Connect connects to, which is thrown away afterwards:
// Rehearse undoes a migration in the schema and in the tracking table, without leaving that table as the tool itself would.
//
// The error is nil unless ctx ended or the database cannot be reached; what went wrong is in the result.
func (h *History) Rehearse(ctx context.Context, plan Plan, opts RehearseOptions) (*Rollback, error) {
	opts.ApplyOptions = opts.withDefaults()
	opts.Observe, opts.observed, opts.Progress = false, nil, func(Step) {}
	what := h.Reversible(plan)
	if what == nil {
		return nil, nil
	}
	start := opts.Now()
	r := &rehearsal{history: h, settings: h.settings, opts: opts, what: what, impl: reverserOf(h.impl), out: &Rollback{Key: what.Key, Steps: []RollbackStep{}}}
	r.missing()
	var err error
	if len(what.Migrations) > 0 {
		err = r.run(ctx, plan)
	} else {
		r.out.Reason = "nothing of it can be undone"
	}
	r.out.DurationMS = milliseconds(opts.Now().Sub(start))
	if err != nil && ctx.Err() != nil {
		return nil, ended(ctx, err)
	}
	if err != nil {
		r.out.Reason = err.Error()
	}
	r.out.Passed = err == nil && r.out.Reason == "" && len(r.out.Findings) == 0
	return r.out, nil
}

func (r *rehearsal) missing() {
	for _, m := range r.what.Missing {
		r.find(FindingRollbackMissing, m.file(), m.Version, "the other migrations of the project can be rolled back, and this one has nothing to roll it back with",
			"write the down migration, or waive this with the reason why there is none")
	}
}

func (r *rehearsal) find(kind FindingKind, file, version, message, instead string) *Finding {
	f := Finding{Kind: kind, Version: version, File: file, Message: message, Instead: instead, Severity: severityOf(FindingLate)}
	r.out.Findings = append(r.out.Findings, f)
	return &r.out.Findings[len(r.out.Findings)-1]
}

// stopped ends a rehearsal early; what is to be said about it was said.
type stopped struct{ reason string }

func (s *stopped) Error() string { return s.reason }

func (r *rehearsal) run(ctx context.Context, plan Plan) error {
	if len(r.what.Before) > 0 {
		part := plan
		part.Pending = r.what.Before
		if err := r.up(ctx, part, ""); err != nil {
			return err
		}
	}
	conn, err := r.opts.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	again, err := r.planOf(ctx, conn)
	if err != nil {
		return err
	}
	saved, err := saveTracking(ctx, conn, again)
	if err != nil {
		return err
	}
	before, rows, err := r.look(ctx, conn, nil)
	if err != nil {
		return err
	}
	if err := r.up(ctx, again, PhaseUp); err != nil {
		return err
	}
	applied, err := schemadiff.Take(ctx, conn)
	if err != nil {
		return err
	}
	if err := r.down(ctx, again); err != nil {
		return err
	}
	after, rowsAfter, err := r.look(ctx, conn, rows)
	if err != nil {
		return err
	}
	r.compare(before, after, again)
	r.compareData(rows, rowsAfter)
	if err := saved.restore(ctx, conn); err != nil {
		r.find(FindingRollbackUpAgain, "", "", "the tracking table is not there, or not as it was, after the rollback: "+err.Error(), "leave the tool's own table to the tool")
		return &stopped{"the tracking table could not be restored"}
	}
	return r.upAgain(ctx, conn, applied)
}

// planOf plans what is rehearsed, on the clone as it is now.
func (r *rehearsal) planOf(ctx context.Context, conn *pgx.Conn) (Plan, error) {
	state, err := ReadState(ctx, conn, r.settings)
	if err != nil {
		return Plan{}, err
	}
	wanted := map[string]bool{}
	for _, m := range r.what.Migrations {
		wanted[m.Version] = true
	}
	// The base is what makes a tool without a tracking table take the rest as applied.
	rest := &History{Tool: r.history.Tool, settings: r.history.settings, impl: r.history.impl}
	for _, m := range r.history.Migrations {
		if !wanted[m.Version] {
			rest.Migrations = append(rest.Migrations, m)
		}
	}
	plan, err := r.history.Compare(Comparison{State: state, Base: rest})
	if err != nil {
		return plan, err
	}
	plan.Pending = slices.DeleteFunc(plan.Pending, func(m Migration) bool { return !wanted[m.Version] })
	if len(plan.Pending) != len(wanted) {
		return plan, &stopped{fmt.Sprintf("%d migrations are pending on the clone, and %d were to be rehearsed", len(plan.Pending), len(wanted))}
	}
	return plan, nil
}

// up applies a plan in a session of its own. An empty phase is not reported.
func (r *rehearsal) up(ctx context.Context, plan Plan, phase string) error {
	conn, err := r.opts.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	report, err := Apply(ctx, conn, plan, r.opts.ApplyOptions)
	if phase != "" {
		for _, s := range report.Applied {
			r.out.Steps = append(r.out.Steps, RollbackStep{phase, s.Version, s.File, s.DurationMS, s.RowsAffected, s.Error})
		}
	}
	if err == nil || ctx.Err() != nil {
		return err
	}
	return &stopped{"the migrations cannot be applied: " + err.Error()}
}

// down undoes what was applied, the last first, in one session.
func (r *rehearsal) down(ctx context.Context, plan Plan) error {
	conn, err := r.opts.Connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	if err := refuseSuperuser(ctx, conn); err != nil {
		return err
	}
	run := newRun(conn, plan, r.opts.ApplyOptions, &Report{})
	defer run.watch.close(context.WithoutCancel(ctx))
	if err := run.setTimeouts(ctx); err != nil {
		return err
	}
	for _, m := range slices.Backward(plan.Pending) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.undo(ctx, run, m); err != nil {
			return err
		}
	}
	return nil
}

func (r *rehearsal) undo(ctx context.Context, run *run, m Migration) error {
	s, _, err := r.impl.reverse(m)
	undoing := m.undo()
	step := RollbackStep{Phase: PhaseDown, Version: m.Version, File: undoing.file()}
	start := r.opts.Now()
	line := 0
	if err == nil {
		err = s.check(r.history.Tool, undoing.file())
	}
	if err == nil && r.history.Tool == Sqitch { // each script has a session of its own there
		err = run.exec(ctx, `RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL; DISCARD TEMP`)
	}
	if err == nil {
		result, failure := run.standard(ctx, undoing, s, noRecord)
		step.Rows = result.rows
		if failure != nil {
			err, line = fmt.Errorf("%s", failure.String()), failure.Line
		}
	}
	step.DurationMS = milliseconds(r.opts.Now().Sub(start))
	if err != nil {
		step.Error = err.Error()
	}
	r.out.Steps = append(r.out.Steps, step)
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	f := r.find(FindingRollbackFailed, step.File, m.Version, "the migration cannot be rolled back: "+err.Error(), "correct the down migration; it was tried on a clone with the rows of the template")
	f.Line, f.EndLine = line, line
	return &stopped{"a down migration failed"}
}

// upAgain applies what was rolled back once more, and looks whether that gives the same schema.
func (r *rehearsal) upAgain(ctx context.Context, conn *pgx.Conn, applied *schemadiff.Snapshot) error {
	plan, err := r.planOf(ctx, conn)
	if err == nil {
		err = r.up(ctx, plan, PhaseUpAgain)
	}
	if err != nil && ctx.Err() == nil {
		r.find(FindingRollbackUpAgain, "", "", "what was rolled back cannot be applied again: "+err.Error(), "let the down migration remove all that the up migration makes")
	}
	if err != nil {
		return err
	}
	now, err := schemadiff.Take(ctx, conn)
	if err != nil {
		return err
	}
	if diff := schemadiff.Compare(applied, now); !diff.Empty() {
		r.find(FindingRollbackUpAgain, "", "", "applied again, the migrations give another schema than the first time: "+brief(diff), "let the down migration remove all that the up migration makes")
	}
	return nil
}

// compare says what is left in the schema.
func (r *rehearsal) compare(before, after *schemadiff.Snapshot, plan Plan) {
	diff := schemadiff.Compare(before, after)
	diff.Changes = slices.DeleteFunc(diff.Changes, func(c schemadiff.Change) bool { return isTracking(plan, c) })
	if diff.Empty() {
		return
	}
	r.out.Schema = &diff
	file, version := "", ""
	if len(plan.Pending) == 1 {
		file, version = plan.Pending[0].file(), plan.Pending[0].Version
	}
	r.find(FindingRollbackLeaves, file, version, "rolled back, the schema is not what it was before: "+brief(diff), "let the down migration undo all of the up migration")
}

// brief is the first lines of a diff, as one.
func brief(diff schemadiff.Diff) string {
	const most = 4
	lines := strings.Split(strings.TrimSpace(diff.Text()), "\n")
	more := ""
	if len(lines) > most {
		more = fmt.Sprintf("; and %d more lines", len(lines)-most)
		lines = lines[:most]
	}
	return excerpt(strings.Join(lines, "; "), 500) + more
}
