package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// bench is one run: a machine, a source, a service, and what was measured.
type bench struct {
	options

	began   time.Time
	dir     string // everything of this run
	results []Result

	// What is not part of the service: the source, dumps and restores, on plain directories.
	engine *docker.Engine
	plain  *cow.Pool
	image  driver.Image
	source *postgres

	service *service
	// templates are the ids of the templates that previews are cloned from, by project.
	templates map[string]string
	// phases are those of the template that was built last, as text, and loadSeconds what its phase load took.
	phases      []string
	loadSeconds float64

	engineVersion string
	storage       string
	version       string // of Postgres
}

// Names below the directory of a run. Socket paths are short, so these are.
const (
	plainPool  = "plain"
	plainRun   = "run"
	serviceDir = "d"
)

// installation separates what the program itself runs from the service's containers.
func installation(dir string) string { return "bench-" + filepath.Base(dir) }

// setUp brings up everything that the selected benchmarks need, and nothing more.
func (b *bench) setUp(ctx context.Context) error {
	if err := b.checkDisk(); err != nil {
		return err
	}
	var err error
	if b.dir, err = os.MkdirTemp(b.parent, stalePrefix); err != nil {
		return fmt.Errorf("make a directory for the run: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "pid"), fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600); err != nil {
		return fmt.Errorf("note who runs: %w", err)
	}
	if err := b.openPlain(ctx); err != nil {
		return err
	}
	b.say("loading the source")
	if err := b.loadSource(ctx); err != nil {
		return err
	}
	unix.Sync() // writing back what was loaded must not disturb what is measured
	b.say("starting the service")
	if b.service, err = b.startService(ctx); err != nil {
		return err
	}
	if err := b.describeStorage(ctx); err != nil {
		return err
	}
	b.templates = map[string]string{}
	for _, project := range b.neededTemplates() {
		b.say("building the template of %s", project)
		took, err := b.buildTemplate(ctx, project)
		if err != nil {
			return err
		}
		b.say("  built in %.1f s", took.Seconds())
	}
	unix.Sync()
	return nil
}

// openPlain opens the engine and the directories of what is measured against.
func (b *bench) openPlain(ctx context.Context) (err error) {
	b.plain, err = cow.Open(ctx, cow.Options{Dir: filepath.Join(b.dir, plainPool), Driver: cow.DriverCopy})
	if err != nil {
		return err
	}
	b.engine, err = docker.New(docker.Options{
		RunDir: filepath.Join(b.dir, plainRun), Installation: installation(b.dir), VolumePath: b.volumePath,
	})
	if err != nil {
		return err
	}
	info, err := b.engine.Probe(ctx)
	if err != nil {
		return err
	}
	b.engineVersion = info.Name + " " + info.Version
	b.image, err = b.engine.Image(ctx, "", b.major)
	return err
}

// volumePath finds a volume among the plain ones, or among those of the service: the bare clones are made there.
func (b *bench) volumePath(id string) (string, error) {
	path, err := b.plain.Path(id)
	if errors.Is(err, driver.ErrNotFound) && b.service != nil && b.service.pool != nil {
		return b.service.pool.Path(id)
	}
	return path, err
}

func (b *bench) describeStorage(ctx context.Context) error {
	d := b.service.pool.Describe()
	b.storage = d.Driver + " on " + d.FileSystem
	if d.Image != "" {
		b.storage += " in a loop image"
	}
	conn, err := b.source.connect(ctx, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	return conn.QueryRow(ctx, "SELECT current_setting('server_version')").Scan(&b.version)
}

// neededTemplates are the projects whose previews are measured.
func (b *bench) neededTemplates() []string {
	if b.selected("create") {
		return b.sizeProjects()
	}
	for _, name := range []string{"wake", "cli", "disk", "gateway", "api", "pr", "webhook", "github", "hundred"} {
		if b.selected(name) {
			return b.sizeProjects()[:1]
		}
	}
	return nil
}

func (b *bench) sizeProjects() []string {
	var projects []string
	for _, s := range b.sizes {
		projects = append(projects, "size"+s.key)
	}
	return projects
}

// showLog prints the last lines of the service's log.
func (b *bench) showLog() error {
	if b.service == nil {
		return nil
	}
	raw, err := os.ReadFile(b.service.logPath())
	if err != nil {
		return fmt.Errorf("read the service's log: %w", err)
	}
	const most = 4000
	_, err = os.Stderr.Write(raw[max(0, len(raw)-most):])
	return err
}

// close stops everything and removes every trace of the run.
func (b *bench) close(ctx context.Context) error {
	var err error
	if b.service != nil {
		err = b.service.stop()
	}
	if b.engine != nil {
		err = errors.Join(err, b.engine.RemoveAll(ctx), b.engine.Close())
	}
	if b.dir == "" {
		return err
	}
	return errors.Join(err, cleanUp(ctx, b.dir))
}
