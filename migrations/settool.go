package migrations

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// dialect is what a tool has of its own whose tracking table lists every migration that was applied. setTool does the
// rest: it compares, orders, executes, locates failures and reports. An implementation holds no state.
type dialect interface {
	// parse orders the files as the tool does. What the tool refuses about one file goes into Migration.refused, two files of
	// one version into Migration.duplicateOf (order does both), so that the others can still be shown; an error is for
	// what makes the whole directory unreadable.
	parse(settings mayfly.MigrationSettings, files []File) (*History, error)
	// readState reads the tracking table without changing anything: State.Applied, in the order in which they were applied.
	// The rest of the State is filled in by setTool, apart from Table and Exists.
	readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error)
	// rules are what the tool does about what does not fit.
	rules() rules
	// compare orders two versions; 0 means that they have no order other than that of the files.
	compare(a, b string) int
	// script says what is sent to the server. It is called for pending migrations only. Its errors are *mayfly.Error with
	// CodeMigrationInvalid.
	script(m Migration) (script, error)
	// prepare creates the tracking table as the tool does, if there is none.
	prepare(ctx context.Context, r *run) error
	// record writes the tool's row for a migration that was executed. It runs in the migration's own transaction if there
	// is one. took is how long the execution took.
	record(ctx context.Context, r *run, m Migration, took time.Duration) error
}

// locker is a dialect whose tool takes a lock for the time of a run.
type locker interface {
	lock(ctx context.Context, r *run) (unlock func(), err error)
}

// migrator is a dialect that does more around a migration than executing and recording it in this order. It takes the
// place of run.standard.
type migrator interface {
	migrate(ctx context.Context, r *run, m Migration, s script) (outcome, *Failure)
}

// finisher is a dialect that writes something once everything is applied, or that looks at something before the first.
type finisher interface {
	finish(ctx context.Context, r *run) error
}

// classifier is a dialect that knows migrations which are neither applied nor to be applied: those below a baseline.
type classifier interface {
	// classify returns known false for what the usual rules decide.
	classify(m Migration, p *comparing) (status Status, known bool)
}

// judge is a dialect that compares an applied migration with its file in its own way. refuse is whether the tool stops.
type judge interface {
	judge(m Migration, a Applied) (edited, refuse bool)
}

// completer is a dialect whose tracking table does not list just the migrations of the repository.
type completer interface {
	complete(h *History, state State) State
}

// missingJudge is a dialect that stops only for some of the applied migrations that no file has.
type missingJudge interface {
	refusesMissing(a Applied, h *History) bool
}

// gapRule says what a tool does with a migration that was never applied and is older than the newest applied one.
type gapRule int

const (
	gapRun    gapRule = iota // applies it
	gapSkip                  // never applies it, and does not say so
	gapRefuse                // stops
)

// rules are what a tool does about what does not fit.
type rules struct {
	gaps gapRule
	// refuseEdited and refuseMissing: the tool stops if an applied file was changed, or is gone.
	refuseEdited  bool
	refuseMissing bool
	// oneTransaction: all pending migrations of a run are one transaction.
	oneTransaction bool
	// anyPosition: the tool looks each migration up by itself; there are no gaps.
	anyPosition bool
	// trustBase: without a tracking table, what the base branch has counts as applied.
	trustBase bool
	// gapHint is how to have an old migration applied all the same, for the hint.
	gapHint string
}

// setTool makes a tool of a dialect.
type setTool struct{ dialect }

func (t setTool) readState(ctx context.Context, conn *pgx.Conn, settings mayfly.MigrationSettings) (State, error) {
	state, err := t.dialect.readState(ctx, conn, settings)
	if err != nil {
		return state, err
	}
	state.Tool = settings.Tool
	for _, a := range state.Applied {
		if a.Failed {
			state.Dirty = true
		}
		if !a.Repeatable && (state.Current == "" || t.compare(a.Version, state.Current) >= 0) {
			state.Current = a.Version
		}
	}
	return state, nil
}

func (t setTool) apply(ctx context.Context, conn *pgx.Conn, plan Plan, opts ApplyOptions, report *Report) error {
	r := newRun(conn, plan, opts, report)
	defer r.watch.close(context.WithoutCancel(ctx))
	if err := r.setTimeouts(ctx); err != nil {
		return err
	}
	scripts, err := t.scripts(plan)
	if err != nil {
		return err
	}
	unlock := func() {}
	if l, ok := t.dialect.(locker); ok {
		if unlock, err = l.lock(ctx, r); err != nil {
			return err
		}
	}
	defer unlock()
	if err := t.unchanged(ctx, r); err != nil {
		return err
	}
	if err := t.prepare(ctx, r); err != nil {
		return r.prepareError(err)
	}
	report.DatabaseBytesBefore = r.size(ctx)
	if err := t.all(ctx, r, scripts); err != nil {
		return err
	}
	report.DatabaseBytesAfter = r.size(ctx)
	return nil
}

// all applies what is pending.
func (t setTool) all(ctx context.Context, r *run, scripts []script) error {
	together := t.rules().oneTransaction
	if together {
		if err := r.exec(ctx, "BEGIN"); err != nil {
			return fmt.Errorf("begin the transaction: %w", err)
		}
		defer r.settle(context.WithoutCancel(ctx))
	}
	for i, m := range r.plan.Pending {
		err := r.migration(ctx, i, m, func(ctx context.Context, m Migration) (outcome, *Failure) {
			if together {
				scripts[i].transaction = true
			}
			switch own, ok := t.dialect.(migrator); {
			case ok:
				return own.migrate(ctx, r, m, scripts[i])
			case together:
				return r.executeAndRecord(ctx, m, scripts[i], t.record)
			}
			return r.standard(ctx, m, scripts[i], t.record)
		})
		if err != nil {
			if together { // nothing of this run is left
				r.report.ToVersion = r.plan.From
			}
			return err
		}
	}
	if own, ok := t.dialect.(finisher); ok {
		if err := own.finish(ctx, r); err != nil {
			return err
		}
	}
	if together {
		if err := r.exec(ctx, "COMMIT"); err != nil {
			r.report.ToVersion = r.plan.From
			return r.commitFailed(err)
		}
	}
	return nil
}

// commitFailed reports what appears only at the commit behind all migrations, as the last one's failure.
func (r *run) commitFailed(err error) error {
	last := len(r.plan.Pending) - 1
	failure := r.failure(r.plan.Pending[last], "the transaction of all pending migrations could not be committed: ", err)
	r.report.Failure = failure
	r.report.Applied[last].Error = failure.String()
	return &mayfly.Error{Code: mayfly.CodeMigrationFailed, Message: failure.String(), Hint: failure.Hint, Err: err}
}

// scripts reads all pending files before the first is executed.
func (t setTool) scripts(plan Plan) ([]script, error) {
	scripts := make([]script, len(plan.Pending))
	for i, m := range plan.Pending {
		var err error
		if scripts[i], err = t.checked(plan.Tool, m); err != nil {
			return nil, err
		}
	}
	return scripts, nil
}

// checked is script, with what no server could execute refused.
func (t setTool) checked(tool string, m Migration) (script, error) {
	if m.refused != nil {
		return script{}, m.refused
	}
	if m.Up == nil {
		return script{}, nil
	}
	s, err := t.script(m)
	if err != nil {
		return script{}, err
	}
	return s, s.check(tool, m.file())
}

// unchanged checks, with the tool's lock held, that the database is still as planned.
func (t setTool) unchanged(ctx context.Context, r *run) error {
	settings := mayfly.MigrationSettings{Tool: r.plan.Tool, Table: r.plan.table}
	now, err := t.readState(ctx, r.conn, settings)
	if err != nil {
		return err
	}
	same := slices.EqualFunc(now.Applied, r.plan.state.Applied, func(a, b Applied) bool {
		return a.Version == b.Version && a.Checksum == b.Checksum && a.Failed == b.Failed
	})
	if same {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeConflict, "the tracking table lists %d migrations, and the plan was made for %d others",
		len(now.Applied), len(r.plan.state.Applied)).
		WithHint("somebody migrated the preview in the meantime; try again")
}

func (r *run) prepareError(err error) error {
	if asPgError(err) == nil {
		return err
	}
	return (&mayfly.Error{
		Code: mayfly.CodeMigrationInvalid, Message: fmt.Sprintf("create the tracking table of %s: %v", r.plan.Tool, err), Err: err,
	}).WithHint("the application's role must be able to create tables in its schema")
}

// recordFunc is dialect.record.
type recordFunc func(ctx context.Context, r *run, m Migration, took time.Duration) error

func noRecord(context.Context, *run, Migration, time.Duration) error { return nil }

// standard executes a file and records it: both in one transaction if the script says so, and else one after the other.
func (r *run) standard(ctx context.Context, m Migration, s script, record recordFunc) (outcome, *Failure) {
	if !s.transaction {
		return r.executeAndRecord(ctx, m, s, record)
	}
	if err := r.exec(ctx, "BEGIN"); err != nil {
		return outcome{err: err}, r.failure(m, "the transaction could not be begun: ", err)
	}
	defer r.settle(context.WithoutCancel(ctx))
	result, failure := r.executeAndRecord(ctx, m, s, record)
	if failure != nil {
		return result, failure
	}
	if failure := r.commit(ctx, m, s, &result); failure != nil {
		return result, failure
	}
	return result, nil
}

// commit ends the transaction of one file. What fails only now (a deferred constraint) is reported at the last statement.
func (r *run) commit(ctx context.Context, m Migration, s script, result *outcome) *Failure {
	done := execute(ctx, r.conn, "COMMIT")
	if done.err == nil {
		return nil
	}
	result.err = done.err
	failure := r.failure(m, "", done.err)
	failure.Position = 0
	if len(s.queries) > 0 {
		last := s.queries[len(s.queries)-1]
		failure.atLast(s.text, last)
	}
	return failure
}

func (r *run) executeAndRecord(ctx context.Context, m Migration, s script, record recordFunc) (outcome, *Failure) {
	start := r.opts.Now()
	result, failure := r.file(ctx, m, s)
	if failure != nil {
		return result, failure
	}
	recording := ctx
	if !s.transaction { // what was executed is recorded even if the context ends right now
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
		defer cancel()
		recording = after
	}
	if err := record(recording, r, m, r.opts.Now().Sub(start)); err != nil {
		result.err = err
		return result, r.failure(m, "the migration was executed, but the tracking table could not be written afterwards: ", err)
	}
	return result, nil
}
