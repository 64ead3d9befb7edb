package templates

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
)

// Store is where Service keeps the records of templates. All methods may be called concurrently and from several
// processes.
type Store interface {
	// CreateTemplate records a new template and sets its Version. CodeConflict if the project has one that is building.
	CreateTemplate(ctx context.Context, t *mayfly.Template) error
	// UpdateTemplate replaces the record with that ID.
	UpdateTemplate(ctx context.Context, t *mayfly.Template) error
	// Template returns a record; CodeNotFound if there is none.
	Template(ctx context.Context, id string) (*mayfly.Template, error)
	// Templates returns the records of a project, of all projects for "", in no particular order.
	Templates(ctx context.Context, project string) ([]*mayfly.Template, error)
	// TemplateInUse reports whether a preview that is not deleted is, or will be, a clone of the template.
	TemplateInUse(ctx context.Context, id string) (bool, error)
	// BeginStep adds a step to the timeline of a template and returns its id.
	BeginStep(ctx context.Context, ownerID, name, detail string) (int64, error)
	// EndStep ends a step; errText is "" if it succeeded.
	EndStep(ctx context.Context, id int64, detail, errText string) error
}

// ServiceOptions configure a Service.
type ServiceOptions struct {
	Store   Store
	Builder *Builder
	// Projects returns the project of that name.
	Projects func(name string) (mayfly.Project, bool)
	// Key returns the masking key of a project.
	Key func(project string) ([]byte, error)
	// ReadRules returns the rules of a project; nil means that Project.RulesFile is read.
	ReadRules func(p mayfly.Project) (*sanitize.Rules, error)
	// Progress, if set, is told where a build is. It must not block.
	Progress func(templateID string, p Progress)
	Clock    func() time.Time
	Logger   *slog.Logger
}

// Service keeps templates: asks for them, builds them, replaces them and removes what nobody uses any more.
type Service struct {
	store     Store
	builder   *Builder
	projects  func(name string) (mayfly.Project, bool)
	key       func(project string) ([]byte, error)
	readRules func(p mayfly.Project) (*sanitize.Rules, error)
	progress  func(templateID string, p Progress)
	clock     func() time.Time
	log       *slog.Logger
}

// NewService returns a Service.
func NewService(opts ServiceOptions) *Service {
	s := &Service{
		store: opts.Store, builder: opts.Builder, projects: opts.Projects, key: opts.Key, readRules: opts.ReadRules,
		progress: opts.Progress, clock: opts.Clock, log: opts.Logger,
	}
	if s.readRules == nil {
		s.readRules = readRulesFile
	}
	return s
}

func readRulesFile(p mayfly.Project) (*sanitize.Rules, error) {
	data, err := os.ReadFile(p.RulesFile)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the rules of project %s cannot be read: %w", p.Name, err)
	}
	return sanitize.Parse(p.RulesFile, data)
}

// Request records a template that shall be built, in the state building, and returns it; Build then does the work.
// CodeNotFound if there is no such project, CodeConflict if it has one that is being built already.
func (s *Service) Request(ctx context.Context, project string) (*mayfly.Template, error) {
	p, err := s.project(project)
	if err != nil {
		return nil, err
	}
	t := &mayfly.Template{
		ID: mayfly.NewID("t"), Project: p.Name, State: mayfly.TemplateBuilding, Major: p.Postgres.Major,
		Database: p.Postgres.Database, Owner: p.Postgres.Owner, Source: p.Source.Describe(), CreatedAt: s.clock().UTC(),
	}
	if err := s.store.CreateTemplate(ctx, t); err != nil {
		return nil, fmt.Errorf("record a template of %s: %w", project, err)
	}
	return t, nil
}

func (s *Service) project(name string) (mayfly.Project, error) {
	p, found := s.projects(name)
	if !found {
		return p, mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q", name).WithHint("projects are listed in the server's configuration file")
	}
	return p, nil
}

// Build builds the template of a record in the state building and records how it ended. It may be called again after
// the process died: what the first try left is removed, and the build starts anew. For a record in another state it
// does nothing. Callers see to it that one template is not built twice at the same time (the job queue does).
//
// The error of a failed build is returned and recorded. If ctx was cancelled, nothing is recorded: the process is going
// down, and the build is to be started again. A deadline, or a cancellation whose cause is a *mayfly.Error, is recorded.
func (s *Service) Build(ctx context.Context, templateID string) error {
	t, err := s.store.Template(ctx, templateID)
	if err != nil {
		return fmt.Errorf("read template %s: %w", templateID, err)
	}
	if t.State != mayfly.TemplateBuilding {
		return nil
	}
	if err := s.builder.Discard(ctx, t.ID); err != nil {
		return fmt.Errorf("remove what an earlier try of template %s left: %w", t.ID, err)
	}
	result, buildErr := s.build(ctx, t)
	if shuttingDown(ctx) {
		return buildErr
	}
	record := context.WithoutCancel(ctx)
	if err := s.finish(record, t, result, buildErr); err != nil {
		return err
	}
	if buildErr == nil {
		s.log.InfoContext(ctx, "template ready", "template", t.ID, "project", t.Project, "version", t.Version, "rows", t.RowCount, "bytes", t.SizeBytes)
		return s.retire(record, t.Project)
	}
	s.log.ErrorContext(ctx, "template failed", "template", t.ID, "project", t.Project, "code", mayfly.ErrorCode(buildErr), "error", buildErr)
	return buildErr
}

// shuttingDown tells the end of the process from a timeout and from somebody's cancelling the build.
func shuttingDown(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return ctx.Err() != nil && !errors.Is(cause, context.DeadlineExceeded) && mayfly.ErrorCode(cause) == mayfly.CodeInternal
}

func (s *Service) build(ctx context.Context, t *mayfly.Template) (*Result, error) {
	p, err := s.project(t.Project)
	if err != nil {
		return nil, err
	}
	rules, err := s.readRules(p)
	if err != nil {
		return nil, err
	}
	key, err := s.key(p.Name)
	if err != nil {
		return nil, fmt.Errorf("read the masking key of %s: %w", p.Name, err)
	}
	p.Postgres.Database, p.Postgres.Owner = t.Database, t.Owner // as promised when it was requested
	req := BuildRequest{Template: t, Project: p, Rules: rules, Key: key, Phase: s.timeline(ctx, t.ID)}
	if s.progress != nil {
		req.Progress = func(progress Progress) { s.progress(t.ID, progress) }
	}
	return s.builder.Build(ctx, req)
}

// timeline records phases as steps. A timeline that cannot be written does not stop a build.
func (s *Service) timeline(ctx context.Context, templateID string) func(string) func(string, error) {
	ctx = context.WithoutCancel(ctx)
	return func(name string) func(string, error) {
		step, err := s.store.BeginStep(ctx, templateID, name, "")
		if err != nil {
			s.log.WarnContext(ctx, "a step of the timeline could not be recorded", "template", templateID, "step", name, "error", err)
			return func(string, error) {}
		}
		return func(detail string, stepErr error) {
			text := ""
			if failure := mayfly.FailureOf(stepErr); failure != nil {
				text = failure.Message
			}
			if err := s.store.EndStep(ctx, step, detail, text); err != nil {
				s.log.WarnContext(ctx, "a step of the timeline could not be ended", "template", templateID, "step", name, "error", err)
			}
		}
	}
}

// finish records the outcome.
func (s *Service) finish(ctx context.Context, t *mayfly.Template, result *Result, buildErr error) error {
	t.State = mayfly.TemplateFailed
	t.Failure = mayfly.FailureOf(buildErr)
	if result != nil {
		report, err := json.Marshal(result.Report)
		if err != nil {
			return fmt.Errorf("encode the report of template %s: %w", t.ID, err)
		}
		t.Report = report
		t.Image, t.Major = result.Image.ID, cmp.Or(result.Image.Major, t.Major)
	}
	if buildErr == nil {
		now := s.clock().UTC()
		t.State, t.ReadyAt = mayfly.TemplateReady, &now
		t.SizeBytes, t.RowCount = result.SizeBytes, result.RowCount
	}
	if err := s.store.UpdateTemplate(ctx, t); err != nil {
		return fmt.Errorf("record the outcome of template %s: %w", t.ID, err)
	}
	return nil
}

// retire marks the ready templates of a project beyond the newest KeepTemplates.
func (s *Service) retire(ctx context.Context, project string) error {
	keep := 1
	if p, found := s.projects(project); found {
		keep = max(keep, p.KeepTemplates)
	}
	all, err := s.store.Templates(ctx, project)
	if err != nil {
		return fmt.Errorf("list the templates of %s: %w", project, err)
	}
	ready := slices.DeleteFunc(all, func(t *mayfly.Template) bool { return t.State != mayfly.TemplateReady })
	slices.SortFunc(ready, func(a, b *mayfly.Template) int { return cmp.Compare(b.Version, a.Version) })
	for _, t := range ready[min(keep, len(ready)):] {
		t.State = mayfly.TemplateRetired
		if err := s.store.UpdateTemplate(ctx, t); err != nil {
			return fmt.Errorf("retire template %s: %w", t.ID, err)
		}
	}
	return nil
}

// CollectGarbage deletes the volumes of retired templates that no preview uses and marks these deleted, and removes what
// a failed build could not remove itself. A retired template is never chosen for a new preview, so one that is unused
// stays unused.
func (s *Service) CollectGarbage(ctx context.Context) error {
	all, err := s.store.Templates(ctx, "")
	if err != nil {
		return fmt.Errorf("list templates: %w", err)
	}
	volumes, err := s.builder.volumes.List(ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	for _, t := range all {
		switch t.State {
		case mayfly.TemplateRetired:
			err = s.collect(ctx, t)
		case mayfly.TemplateFailed, mayfly.TemplateDeleted:
			if slices.ContainsFunc(volumes, func(v driver.Volume) bool { return v.ID == t.ID }) {
				err = s.builder.Discard(ctx, t.ID)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) collect(ctx context.Context, t *mayfly.Template) error {
	used, err := s.store.TemplateInUse(ctx, t.ID)
	if err != nil {
		return fmt.Errorf("ask whether template %s is in use: %w", t.ID, err)
	}
	if used {
		return nil
	}
	if err := s.builder.Discard(ctx, t.ID); err != nil {
		return err
	}
	t.State = mayfly.TemplateDeleted
	if err := s.store.UpdateTemplate(ctx, t); err != nil {
		return fmt.Errorf("record that template %s is deleted: %w", t.ID, err)
	}
	s.log.InfoContext(ctx, "template deleted", "template", t.ID, "project", t.Project, "version", t.Version)
	return nil
}
