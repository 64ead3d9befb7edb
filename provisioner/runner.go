package provisioner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/runner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Code is what the provisioner needs to run migrations that are code of the project.
type Code struct {
	Engine driver.ProjectRunner
	// Archive opens a repository's archive at a commit: tar, gzip.
	Archive func(ctx context.Context, repositoryID int64, sha string) (io.ReadCloser, error)
	// Program is Mayfly's own, statically linked: its hidden command `relay` is the first process inside.
	Program string
}

const (
	// runnerCleanup bounds what is done after a run, whatever became of its context.
	runnerCleanup = time.Minute
	// waitPoll is how often it is looked what the command's sessions wait for, and sizePoll how large its files are, at most.
	waitPoll = 300 * time.Millisecond
	sizePoll = 200 * time.Millisecond
)

// emptyVolume is the frozen volume without anything in it, of which a run's volume is a clone: clones have limits.
const emptyVolume = "mayfly-empty"

// runVolume names a run's volume after the preview's generation: whatever removes what a preview has removes it, too.
func runVolume(p *mayfly.Preview) string { return p.Resource(p.ObservedGeneration) + "-run" }

// applyPlan applies what is pending: natively, or by the project's own command. The report is never nil.
func (s *Service) applyPlan(
	ctx context.Context, p *mayfly.Preview, project mayfly.Project, w work, conn *pgx.Conn, plan migrations.Plan, opts migrations.ApplyOptions,
) (*migrations.Report, error) {
	if !migrations.Code(project.Migrations) {
		return migrations.Apply(ctx, conn, plan, opts)
	}
	report := migrations.NewReport(plan)
	began := s.Clock()
	err := s.runProject(ctx, p, project, w.history, conn, plan, report)
	report.DurationMS = float64(s.Clock().Sub(began)) / float64(time.Millisecond)
	if err != nil {
		failure := mayfly.FailureOf(err)
		report.Failure = &migrations.Failure{File: strings.Join(runnerCommand(project), " "), Message: failure.Message, Hint: failure.Hint}
		if len(report.Pending) == 1 {
			report.Failure.File, report.Failure.Version = report.Pending[0].File, report.Pending[0].Version
		}
	}
	return report, err
}

func runnerCommand(project mayfly.Project) []string {
	preset, _ := runner.PresetOf(project.Migrations.Tool)
	if len(project.Migrations.Runner.Command) > 0 {
		return project.Migrations.Runner.Command
	}
	return preset.Argv
}

// refuseRun says why a command may not run at all.
func (s *Service) refuseRun(p *mayfly.Preview, project mayfly.Project) error {
	switch {
	case p.PR.Fork:
		return mayfly.Errorf(mayfly.CodeForkDenied, "the migrations of %s are code, and code of a fork's pull request is never run", project.Migrations.Tool).
			WithHint("a maintainer who has read the change can push it to a branch of the repository itself")
	case project.Migrations.Runner.Image == "":
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "the migrations of %s are code, and no image is named in which they could run", project.Migrations.Tool).
			WithHint("set migrations.runner.image in the server's configuration (docs/migrations.md)")
	case s.Code == nil:
		return mayfly.Errorf(mayfly.CodeMigrationInvalid, "this server cannot run migrations that are code").
			WithHint("it needs an engine and a forge; check the server's configuration")
	}
	return nil
}

// nothingToRun says why the command need not run. What the files and the tracking table show is enough for tools whose
// migrations are all in the repository.
func nothingToRun(project mayfly.Project, history *migrations.History, plan migrations.Plan) string {
	switch project.Migrations.Tool {
	case runner.Command, runner.Django: // libraries bring migrations of their own
		return ""
	}
	if len(plan.Pending) > 0 || len(history.Migrations) == 0 {
		return ""
	}
	return "the tracking table lists every migration of the repository"
}

// runProject runs the project's own command, and fills in the report.
func (s *Service) runProject(
	ctx context.Context, p *mayfly.Preview, project mayfly.Project, history *migrations.History, conn *pgx.Conn, plan migrations.Plan,
	report *migrations.Report,
) error {
	if err := s.refuseRun(p, project); err != nil {
		return err
	}
	if why := nothingToRun(project, history, plan); why != "" {
		report.Run = &runner.Report{Command: runnerCommand(project), Image: project.Migrations.Runner.Image, Skipped: why}
		return nil
	}
	session, err := s.runSession(p, project)
	if err != nil {
		return err
	}
	before, err := migrations.ReadState(ctx, conn, project.Migrations)
	if err != nil {
		return err
	}
	measure := migrations.Before(ctx, conn)
	s.Checkpoint("run")
	began := s.Clock()
	runErr := s.runContainer(ctx, p, project, session)
	report.Run = session.Report(project.Migrations.Runner.Image, s.Clock().Sub(began))
	s.Checkpoint("ran")

	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), runnerCleanup)
	defer cancel()
	return errors.Join(runErr, s.afterRun(after, p, project, history, plan, session, before, measure, report, runErr == nil))
}

func (s *Service) runSession(p *mayfly.Preview, project mayfly.Project) (*runner.Session, error) {
	password, err := s.password(p)
	if err != nil {
		return nil, err
	}
	instance := p.Resource(p.ObservedGeneration)
	return runner.New(runner.Options{
		Settings: project.Migrations, Login: runner.Login{User: p.Owner, Password: password, Database: p.Database},
		Dial: func(ctx context.Context) (net.Conn, error) { return s.Engine.Dial(ctx, instance) },
		Archive: func(ctx context.Context) (io.ReadCloser, error) {
			return s.Code.Archive(ctx, p.PR.RepositoryID, p.PR.HeadSHA)
		},
	})
}

// runContainer makes the volume and the container, watches over the run, and says in words how it ended.
func (s *Service) runContainer(ctx context.Context, p *mayfly.Preview, project mayfly.Project, session *runner.Session) error {
	image, err := s.Code.Engine.ProjectImage(ctx, project.Migrations.Runner.Image)
	if err != nil {
		return err
	}
	limits, volume := session.Limits(), runVolume(p)
	if err := s.makeRunVolume(ctx, volume, limits.DiskBytes); err != nil {
		return err
	}
	defer func() {
		after, cancel := context.WithTimeout(context.WithoutCancel(ctx), runnerCleanup)
		defer cancel()
		if err := s.Volumes.Delete(after, volume); err != nil { // the preview's own removal tries again
			s.Logger.WarnContext(after, "cannot remove the volume of a run", "preview", p.Name, "error", err)
		}
	}()
	running, stop := context.WithCancel(ctx)
	defer stop()
	watch := s.watchRun(running, stop, p, project, limits)
	result, err := s.Code.Engine.RunProject(running, driver.ProjectSpec{
		Image: image, User: project.Migrations.Runner.User, Program: s.Code.Program, Args: runner.Args(),
		Volume: volume, Mounts: map[string]string{"checkout": session.Dir(), "home": runner.HomeDir},
		Sockets: session.Sockets(running), SocketDirs: []string{runner.SocketDir, runner.ClientDir},
		TmpBytes: limits.TmpBytes, Output: session.Output(), Labels: map[string]string{"role": "runner", "run-of": p.ID, "project": p.Project},
		Limits: driver.Limits{MemoryBytes: limits.MemoryBytes, CPUs: limits.CPUs, Pids: limits.Pids},
	})
	saw := watch()
	return session.Outcome(ctx, runner.Ended{
		Err: err, ExitCode: result.ExitCode, OOMKilled: result.OOMKilled, Waited: saw.waited, OverDisk: saw.overDisk, OverDatabase: saw.overDatabase,
	})
}

// makeRunVolume makes an empty volume with a limit. The volume that it is a clone of is made at the first time, and again if
// somebody removed it.
func (s *Service) makeRunVolume(ctx context.Context, volume string, limit int64) error {
	if err := s.Volumes.Delete(ctx, volume); err != nil { // a run that was killed may have left it
		return err
	}
	var err error
	for range 5 {
		if err = s.Volumes.Clone(ctx, emptyVolume, volume, limit); !errors.Is(err, driver.ErrNotFound) {
			break
		}
		if err = s.Volumes.Create(ctx, emptyVolume, driver.Owner{}); err == nil {
			err = s.Volumes.Freeze(ctx, emptyVolume)
		}
		if err != nil && !errors.Is(err, driver.ErrNotFound) {
			break
		}
	}
	if errors.Is(err, driver.ErrNoSpace) {
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is too full for a checkout: %w", err).
			WithHint("remove previews (mayfly rm), wait for some to expire, or make the pool larger (pool.size)")
	}
	if err != nil {
		return fmt.Errorf("make a volume for the checkout: %w", err)
	}
	return nil
}

// seen is what watching a run showed.
type seen struct {
	waited                 string
	overDisk, overDatabase bool
}

// watchRun looks what the command's sessions wait for, and, where the pool does not enforce limits, how large its files and the
// preview's have become: it ends a run that is over a limit. The returned function ends watching and says what was seen.
func (s *Service) watchRun(ctx context.Context, end context.CancelFunc, p *mayfly.Preview, project mayfly.Project, limits runner.Limits) func() seen {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	var saw seen
	group.Go(func() { saw.waited = s.watchWaits(ctx, p) })
	if s.WatchDisk {
		watch := func(volume string, limit int64, over *bool) {
			group.Go(func() {
				if *over = s.outgrows(ctx, volume, limit); *over {
					end()
				}
			})
		}
		watch(runVolume(p), limits.DiskBytes, &saw.overDisk)
		watch(p.Resource(p.ObservedGeneration), or(s.sized(p, project.Previews).DiskBytes, defaultDiskBytes), &saw.overDatabase)
	}
	return func() seen {
		cancel()
		group.Wait()
		return saw
	}
}

// watchWaits returns the last wait that it saw. One that cannot connect sees nothing: it is not worth failing for.
func (s *Service) watchWaits(ctx context.Context, p *mayfly.Preview) (last string) {
	conn, err := s.connectAsOwner(ctx, p)
	if err != nil {
		return ""
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	ticker := time.NewTicker(waitPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return last
		case <-ticker.C:
		}
		wait, err := migrations.LongestWait(ctx, conn)
		if conn.IsClosed() {
			return last
		}
		if err == nil && wait != nil {
			last = wait.String()
		}
	}
}

// outgrows waits until a volume has grown by more than a limit; false if ctx ends before.
func (s *Service) outgrows(ctx context.Context, volume string, limit int64) bool {
	began, err := s.Volumes.Size(ctx, volume)
	if err != nil {
		return false
	}
	for {
		looked := time.Now()
		size, err := s.Volumes.Size(ctx, volume)
		if err == nil && size-began > limit {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(max(sizePoll, 4*time.Since(looked))): // a walk through all files: at most a fifth of the time
		}
	}
}

// afterRun ends what the command left in Postgres, and measures what it did. Its error is about a run that seemed to go well.
func (s *Service) afterRun(
	ctx context.Context, p *mayfly.Preview, project mayfly.Project, history *migrations.History, plan migrations.Plan, session *runner.Session,
	before migrations.State, measure *migrations.Measure, report *migrations.Report, ok bool,
) error {
	conn, err := s.connectAsOwner(ctx, p) // a session of before may have been killed with a crash
	if err != nil {
		report.Unobserved = "the preview's Postgres did not answer after the run"
		if ok {
			return err
		}
		return nil
	}
	defer func() { _ = conn.Close(ctx) }()
	if err := endSessions(ctx, conn, session.Backends()); err != nil {
		s.Logger.WarnContext(ctx, "cannot end the sessions of a run", "preview", p.Name, "error", err)
	}
	report.Run.WALBytes = measure.After(ctx, conn, before.Table, report)
	now, err := migrations.ReadState(ctx, conn, project.Migrations)
	if err != nil {
		if ok {
			return err
		}
		return nil
	}
	history.Reached(plan, now, report)
	if !ok {
		report.Dirty = true
		return nil
	}
	if before.Exists && !now.Exists {
		return mayfly.Errorf(mayfly.CodeMigrationFailed, "the run removed the tracking table %s", before.Table).
			WithHint("%s would take the database for a new one, in production as well", project.Migrations.Tool)
	}
	if n := len(report.Pending); n > 0 {
		report.Findings = append(report.Findings, migrations.Finding{
			Kind: migrations.FindingUnreached, Version: report.Pending[0].Version, File: report.Pending[0].File,
			Message: fmt.Sprintf("the command succeeded, and the tracking table does not list %d of the pending migrations, beginning with %s", n, report.Pending[0].File),
		})
	}
	return nil
}

// endSessions ends the sessions with these process ids, as their own role, and waits until they are gone: a session whose client was
// killed works on its statement.
func endSessions(ctx context.Context, conn *pgx.Conn, backends []int32) error {
	const left = `SELECT count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity
		WHERE pid = ANY($1) AND usename = current_user AND pid <> pg_catalog.pg_backend_pid()`
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		var n int
		if err := conn.QueryRow(ctx, left, backends).Scan(&n); err != nil || n == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
