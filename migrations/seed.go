package migrations

import (
	"cmp"
	"context"
	"path"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// Seeds picks the seed files out of the files of a commit, in the order of settings.Seed: a path is a file, or a directory,
// of which all .sql files directly in it are taken in the order of their names. A path that matches nothing is an
// *mayfly.Error with CodeMigrationInvalid.
func Seeds(settings mayfly.MigrationSettings, files []File) ([]File, error) {
	var seeds []File
	for _, setting := range settings.Seed {
		name := path.Clean(strings.Trim(setting, "/"))
		var found []File
		for _, f := range files {
			if f.Path == name || path.Dir(f.Path) == name && strings.HasSuffix(f.Path, ".sql") {
				f.SHA = cmp.Or(f.SHA, blobSHA(f.Content))
				found = append(found, f)
			}
		}
		if len(found) == 0 {
			return nil, invalid("correct migrations.seed: paths are written from the root of the repository", "the seed %s is not in the repository at this commit", name)
		}
		slices.SortFunc(found, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
		seeds = append(seeds, found...)
	}
	return seeds, nil
}

// ApplySeeds executes seed files, each as one transaction, on the connection of an application's role, and adds them to
// report.Seeds. A failure is reported like a migration's, with CodeMigrationFailed.
func ApplySeeds(ctx context.Context, conn *pgx.Conn, seeds []File, opts ApplyOptions, report *Report) error {
	if len(seeds) == 0 {
		return nil
	}
	opts = opts.withDefaults()
	if err := refuseSuperuser(ctx, conn); err != nil {
		return ended(ctx, err)
	}
	if opts.Observe {
		opts.observed = startObserving(ctx, conn, opts, report)
		defer opts.observed.finishSeeds(ctx)
	}
	r := newRun(conn, Plan{}, opts, report)
	defer r.watch.close(context.WithoutCancel(ctx))
	if err := r.setTimeouts(ctx); err != nil {
		return ended(ctx, err)
	}
	for i, f := range seeds {
		if err := r.seed(ctx, f, i, len(seeds)); err != nil {
			return ended(ctx, err)
		}
	}
	return nil
}

func (r *run) seed(ctx context.Context, f File, index, total int) error {
	if err := checkText("Mayfly", f.Path, string(f.Content)); err != nil {
		return err
	}
	m := Migration{Version: f.Path, Name: path.Base(f.Path), Up: &f}
	step := Step{Name: m.Name, File: f.Path, SHA: f.SHA, Index: index + 1, Total: total, Done: true}
	r.opts.observed.begin(r)
	start := r.opts.Now()
	result, failure := r.standard(ctx, m, wholeScript(string(f.Content), true), noRecord)
	step.Statements, step.RowsAffected, step.DurationMS = result.statements, result.rows, milliseconds(r.opts.Now().Sub(start))
	step.Observed = r.opts.observed.end(ctx)
	if failure != nil {
		failure.Version, step.Error = "", failure.String()
	}
	r.report.Seeds = append(r.report.Seeds, step)
	if failure == nil {
		return nil
	}
	r.report.Failure = failure
	return &mayfly.Error{Code: mayfly.CodeMigrationFailed, Message: failure.String(), Hint: failure.Hint, Err: result.err}
}
