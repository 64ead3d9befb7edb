package quarantine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Options say where to restore.
type Options struct {
	Engine     driver.Engine
	Volumes    driver.Volumes
	Logger     *slog.Logger
	TemplateID string
	Project    string
	// Image returns an image that can run, or take over, a cluster of the major version; 0 if that is not known.
	Image func(ctx context.Context, major int) (driver.Image, error)
	// Database is the database that is wanted, or "" for Preferred if there is one of that name, or else the only one.
	Database  string
	Preferred string
}

// Severities of findings.
const (
	Info    = "info"
	Warning = "warning"
	Error   = "error"
)

// Finding is something about a source that people should know. It never holds a value of a row.
type Finding struct {
	Code     string
	Severity string
	Object   string
	Cause    string
	Done     string
	Advice   string
	Count    int64
	Samples  []string
}

// Cluster is a source that was restored and runs.
type Cluster struct {
	Database string
	Image    driver.Image
	Findings []Finding

	opts Options
	id   string
}

// ID returns the name of the volume and of the instance in which a template's source is in quarantine.
func ID(templateID string) string { return templateID + "-q" }

const (
	// timeLimit bounds a restore: a source can make it endless.
	timeLimit    = 24 * time.Hour
	startTimeout = 2 * time.Minute
	stopTimeout  = 10 * time.Minute
)

// limits bound the server, and each of the commands that feed it.
func limits() driver.Limits { return driver.Limits{MemoryBytes: 4 << 30, Pids: 512, ShmBytes: 1 << 30} }

// settings come after those of cluster.Build. Code of a source must not start workers, nor be run by logging in.
func settings(major int) []string {
	all := []string{
		"shared_preload_libraries=", "max_logical_replication_workers=0", "max_locks_per_transaction=512", "archive_mode=off",
		"log_min_messages=fatal", "log_min_error_statement=panic", // statements hold rows, and the engine writes the log to its disk
		"wal_recycle=off", "wal_init_zero=off",
	}
	if major >= 17 {
		all = append(all, "event_triggers=off") // those on login would run in our sessions
	}
	var args []string
	for _, s := range all {
		args = append(args, "-c", s)
	}
	return args
}

func (o Options) labels() map[string]string {
	return map[string]string{"role": "quarantine", "template": o.TemplateID, "project": o.Project}
}

// Config returns how to connect to the restored database as a superuser. It works until Destroy.
func (c *Cluster) Config() (*pgx.ConnConfig, error) {
	return cluster.ConnConfig(c.opts.Engine, c.id, c.Database)
}

// Destroy removes the instance, overwrites the files and deletes the volume.
func (c *Cluster) Destroy(ctx context.Context) error {
	return destroy(ctx, c.opts.Engine, c.opts.Volumes, c.opts.Logger, c.id, func(context.Context) (driver.Image, error) { return c.Image, nil })
}

// restore makes a cluster by do. Whatever it made is gone if it fails.
func restore(ctx context.Context, opts Options, do func(ctx context.Context, c *Cluster) error) (_ *Cluster, err error) {
	c := &Cluster{opts: opts, id: ID(opts.TemplateID)}
	if !driver.ValidID(c.id) {
		return nil, fmt.Errorf("quarantine of template %q: %w", opts.TemplateID, driver.ErrInvalidID)
	}
	limited, cancel := context.WithTimeoutCause(ctx, timeLimit, mayfly.Errorf(mayfly.CodeTimeout, "restoring the source took more than %s", timeLimit))
	defer cancel()
	watched, stop := c.watchSpace(limited)
	err = do(watched, c)
	cause := context.Cause(watched)
	stop()
	if err == nil {
		return c, nil
	}
	if ctx.Err() == nil && cause != nil {
		err = cause // the pool ran full, or the time is up: what failed because of it says less
	}
	cleanup, cancelCleanup := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancelCleanup()
	if cleanErr := Destroy(cleanup, opts.Engine, opts.Volumes, opts.Logger, opts.TemplateID); cleanErr != nil {
		opts.Logger.ErrorContext(ctx, "a quarantine could not be removed; it is tried again with the template's other leftovers", "template", opts.TemplateID, "error", cleanErr)
	}
	return nil, err
}

const (
	spaceInterval = time.Second
	spaceReserve  = 256 << 20
)

// watchSpace ends the context when the pool is about to run full: a few bytes of SQL can write without end, and previews
// live in the same pool.
func (c *Cluster) watchSpace(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(spaceInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			stat, err := c.opts.Volumes.Stat(ctx)
			if err == nil && stat.FreeBytes < max(stat.TotalBytes/50, spaceReserve) {
				cancel(mayfly.Errorf(mayfly.CodePoolFull, "the source does not fit into the pool: %d bytes are left", stat.FreeBytes).
					WithHint("free space in the pool, or enlarge it: a source in quarantine takes as much as its cluster did"))
				return
			}
		}
	}()
	return ctx, func() { cancel(nil); <-done }
}

// makeVolume makes the volume, empty.
func (c *Cluster) makeVolume(ctx context.Context) error {
	if err := Destroy(ctx, c.opts.Engine, c.opts.Volumes, c.opts.Logger, c.opts.TemplateID); err != nil { // of a process that was killed
		return err
	}
	err := c.opts.Volumes.Create(ctx, c.id, c.Image.User)
	if errors.Is(err, driver.ErrNoSpace) {
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: %w", err).WithHint("free space in the pool, or enlarge it")
	}
	if err != nil {
		return fmt.Errorf("create the quarantine's volume: %w", err)
	}
	return nil
}

// createInstance makes the instance, stopped.
func (c *Cluster) createInstance(ctx context.Context, further ...string) error {
	args := append(cluster.Args(cluster.Build), settings(c.Image.Major)...)
	for _, s := range further {
		args = append(args, "-c", s)
	}
	err := c.opts.Engine.Create(ctx, driver.InstanceSpec{
		ID: c.id, Image: c.Image.ID, Volume: c.id, Args: args, Labels: c.opts.labels(), Limits: limits(),
	})
	if err != nil {
		return fmt.Errorf("create the quarantine's instance: %w", err)
	}
	return nil
}

// start starts the instance and waits until it lets us in.
func (c *Cluster) start(ctx context.Context, database string) error {
	if err := c.opts.Engine.Start(ctx, c.id); err != nil {
		return fmt.Errorf("start the quarantine's instance: %w", err)
	}
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	conn, err := cluster.WaitReady(waiting, c.opts.Engine, c.id, database, c.alive)
	if err != nil {
		return fmt.Errorf("wait for the quarantine's cluster: %w", err)
	}
	return conn.Close(ctx)
}

// errEnded says that the server is not running any more.
var errEnded = errors.New("the quarantine's server has ended")

func (c *Cluster) alive(ctx context.Context) error {
	inspector, ok := c.opts.Engine.(driver.Inspector)
	if !ok {
		return nil
	}
	instance, err := inspector.Inspect(ctx, c.id)
	if err != nil {
		return err
	}
	switch {
	case instance.Running:
		return nil
	case instance.OOMKilled:
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "restoring the source takes more memory than the quarantine may have (%d MiB)", limits().MemoryBytes>>20)
	}
	return fmt.Errorf("%w: exit code %d", errEnded, instance.ExitCode)
}

// log returns the end of the server's log.
func (c *Cluster) log(ctx context.Context) string {
	inspector, ok := c.opts.Engine.(driver.Inspector)
	if !ok {
		return ""
	}
	lines, err := inspector.Logs(context.WithoutCancel(ctx), c.id, 200)
	if err != nil {
		return ""
	}
	return string(lines)
}

// connect opens a session of the superuser.
func (c *Cluster) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	config, err := cluster.ConnConfig(c.opts.Engine, c.id, database)
	if err != nil {
		return nil, err
	}
	// What the source set for a database or a role must not load a library into our sessions.
	config.RuntimeParams["session_preload_libraries"], config.RuntimeParams["local_preload_libraries"] = "", ""
	config.RuntimeParams["search_path"] = "pg_catalog"
	config.DefaultQueryExecMode = pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the quarantine's database %q: %w", database, err)
	}
	return conn, nil
}

// run runs a command in a throwaway container.
func (c *Cluster) run(ctx context.Context, spec driver.RunSpec) (driver.RunResult, error) {
	spec.Image, spec.Labels, spec.Limits = c.Image.ID, c.opts.labels(), limits()
	return c.opts.Engine.Run(ctx, spec)
}

func (c *Cluster) find(f Finding) { c.Findings = append(c.Findings, f) }
