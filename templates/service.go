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

	"github.com/prometheus/client_golang/prometheus"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/quarantine"
)

// Store is where Service keeps what it knows. All methods may be called concurrently and from several processes.
type Store interface {
	Records
	Timeline
	Slots
	// TryLock takes the lock of that name, shared by all processes, or says that somebody else has it. It is lost with the process.
	TryLock(ctx context.Context, name string) (unlock func(), ok bool, err error)
}

// Drifts is what a Store may know besides: how far the migrations of templates and of the default branch are apart.
type Drifts interface {
	// DriftCount returns how many migrations one of the two has and the other has not; known is false if nobody compared them.
	DriftCount(ctx context.Context, templateID string) (n int, known bool, err error)
}

// Records are the records of templates.
type Records interface {
	// CreateTemplate records a new template and sets its Version. CodeConflict if the project has one that is building.
	CreateTemplate(ctx context.Context, t *mayfly.Template) error
	// UpdateTemplate replaces the record with that ID.
	UpdateTemplate(ctx context.Context, t *mayfly.Template) error
	// PromoteTemplate replaces the record of a build that is finished, and retires those beyond the newest keep, at once.
	// CodeCancelled if somebody cancelled it.
	PromoteTemplate(ctx context.Context, t *mayfly.Template, keep int) error
	// CancelTemplate marks a build that shall stop. CodeConflict if the template is not being built.
	CancelTemplate(ctx context.Context, id string, mark mayfly.Mark) (*mayfly.Template, error)
	// RollBackTemplates makes an older template the current one (0: the one before), and returns it and those that it replaces.
	RollBackTemplates(ctx context.Context, project string, version int, mark mayfly.Mark) ([]*mayfly.Template, error)
	// DeleteTemplate records that a template is deleted, if it is in one of the states and no preview that is not deleted is, or
	// will be, a clone of it; and reports whether it did.
	DeleteTemplate(ctx context.Context, id string, from ...mayfly.TemplateState) (bool, error)
	// Template returns a record; CodeNotFound if there is none.
	Template(ctx context.Context, id string) (*mayfly.Template, error)
	// Templates returns the records of a project, of all projects for "", in no particular order.
	Templates(ctx context.Context, project string) ([]*mayfly.Template, error)
}

// Timeline keeps the steps of builds.
type Timeline interface {
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
	// AllProjects returns all projects: those that are built by schedule, and those whose templates may be too old. Nil for none.
	AllProjects func() []mayfly.Project
	// Key returns the masking key of a project.
	Key func(project string) ([]byte, error)
	// ReadRules returns the rules of a project; nil means that Project.RulesFile is read.
	ReadRules func(p mayfly.Project) (*sanitize.Rules, error)
	// Progress, if set, is told where a build is, by one goroutine per build. If it takes long it is told less often.
	Progress func(templateID string, p Progress)
	// CancelPoll is how often a build looks whether somebody cancelled it; 0 means every second.
	CancelPoll time.Duration
	// Registerer, if set, gets the metrics of builds.
	Registerer prometheus.Registerer
	Clock      func() time.Time
	Logger     *slog.Logger
}

// Service keeps templates: asks for them, builds them, replaces them and removes what nobody uses any more.
type Service struct {
	store       Store
	builder     *Builder
	projects    func(name string) (mayfly.Project, bool)
	allProjects func() []mayfly.Project
	key         func(project string) ([]byte, error)
	readRules   func(p mayfly.Project) (*sanitize.Rules, error)
	progress    func(templateID string, p Progress)
	cancelPoll  time.Duration
	metrics     *metrics
	ages        *ageWarnings
	clock       func() time.Time
	log         *slog.Logger
}

// NewService returns a Service.
func NewService(opts ServiceOptions) *Service {
	s := &Service{
		store: opts.Store, builder: opts.Builder, projects: opts.Projects, allProjects: opts.AllProjects, key: opts.Key,
		readRules: opts.ReadRules, progress: opts.Progress, cancelPoll: cmp.Or(opts.CancelPoll, time.Second),
		metrics: newMetrics(opts.Registerer), ages: &ageWarnings{}, clock: opts.Clock, log: opts.Logger,
	}
	if s.readRules == nil {
		s.readRules = readRulesFile
	}
	if s.allProjects == nil {
		s.allProjects = func() []mayfly.Project { return nil }
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

// Request records a template that shall be built, in the state building, and returns it; Build then does the work. by is who asks.
// CodeNotFound if there is no such project, CodeConflict if it has one that is being built already.
func (s *Service) Request(ctx context.Context, project, by string) (*mayfly.Template, error) {
	p, err := s.project(project)
	if err != nil {
		return nil, err
	}
	t := s.record(p, mayfly.CauseRequest, by)
	if err := s.store.CreateTemplate(ctx, t); err != nil {
		return nil, fmt.Errorf("record a template of %s: %w", project, err)
	}
	return t, nil
}

// record returns a new record of a template that shall be built.
func (s *Service) record(p mayfly.Project, cause mayfly.TemplateCause, by string) *mayfly.Template {
	return &mayfly.Template{
		ID: mayfly.NewID("t"), Project: p.Name, State: mayfly.TemplateBuilding, Major: p.Postgres.Major,
		Database: p.Postgres.Database, Owner: p.Postgres.Owner, Source: p.Source.Describe(), CreatedAt: s.clock().UTC(),
		Cause: cause, RequestedBy: by,
	}
}

func (s *Service) project(name string) (mayfly.Project, error) {
	p, found := s.projects(name)
	if !found {
		return p, mayfly.Errorf(mayfly.CodeNotFound, "there is no project %q", name).WithHint("projects are listed in the server's configuration file")
	}
	return p, nil
}

// LockName is the name of the lock that a process holds while it builds a template.
func LockName(templateID string) string { return "template:" + templateID }

// Build builds the template of a record in the state building and records how it ended. It may be called again after
// the process died: what the first try left is removed, and the build starts anew. For a record in another state, and for one that
// is being built by somebody else at this moment, it does nothing.
//
// The error of a failed build is returned and recorded. If ctx was cancelled, nothing is recorded: the process is going
// down, and the build is to be started again. A deadline, or a cancellation whose cause is a *mayfly.Error, is recorded, and so is
// the cancellation by Cancel.
func (s *Service) Build(ctx context.Context, templateID string) error {
	unlock, ok, err := s.store.TryLock(ctx, LockName(templateID))
	if err != nil || !ok {
		return err
	}
	defer unlock()
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
	if t.Cancelled != nil {
		return s.fail(ctx, t, nil, cancelledBy(t))
	}
	began := s.clock()
	watched, stop := s.untilCancelled(ctx, t.ID)
	result, buildErr := s.build(watched, t)
	cause := context.Cause(watched)
	stop()
	if shuttingDown(watched, cause) {
		return buildErr
	}
	if buildErr != nil && mayfly.ErrorCode(cause) == mayfly.CodeCancelled {
		buildErr = cause
	}
	record := context.WithoutCancel(ctx)
	if buildErr == nil {
		buildErr = s.promote(record, t, result)
	}
	s.metrics.built(t.Project, outcome(buildErr), s.clock().Sub(began))
	if buildErr != nil {
		return s.fail(record, t, result, buildErr)
	}
	s.log.InfoContext(ctx, "template ready", "template", t.ID, "project", t.Project, "version", t.Version, "rows", t.RowCount, "bytes", t.SizeBytes)
	return nil
}

// shuttingDown tells the end of the process from a timeout and from somebody's cancelling the build.
func shuttingDown(ctx context.Context, cause error) bool {
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
	if req.Experience, err = s.experience(ctx, p); err != nil {
		return nil, err
	}
	if s.progress != nil {
		latest := newLatest(func(progress Progress) { s.progress(t.ID, progress) })
		defer latest.stop()
		req.Progress = latest.put
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

// fill puts what is known of a build into its record.
func fill(t *mayfly.Template, result *Result) error {
	if result == nil {
		return nil
	}
	report, err := json.Marshal(result.Report)
	if err != nil {
		return fmt.Errorf("encode the report of template %s: %w", t.ID, err)
	}
	t.Report = report
	t.Image, t.Major = result.Image.ID, cmp.Or(result.Image.Major, t.Major)
	t.SizeBytes, t.RowCount, t.Attestation = result.SizeBytes, result.RowCount, result.Attestation
	return nil
}

// promote makes a finished build the template that new previews use, and retires those beyond the newest KeepTemplates, in one
// step. A build that was cancelled at the last moment is removed.
func (s *Service) promote(ctx context.Context, t *mayfly.Template, result *Result) error {
	if err := fill(t, result); err != nil {
		return err
	}
	keep := 1
	if p, found := s.projects(t.Project); found {
		keep = p.KeepTemplates
	}
	now := s.clock().UTC()
	t.State, t.ReadyAt = mayfly.TemplateReady, &now
	err := s.store.PromoteTemplate(ctx, t, keep)
	if err == nil {
		return nil
	}
	if mayfly.ErrorCode(err) == mayfly.CodeCancelled {
		if latest, readErr := s.store.Template(ctx, t.ID); readErr == nil && latest.Cancelled != nil {
			err = cancelledBy(latest)
		}
	}
	return errors.Join(err, s.builder.Discard(ctx, t.ID))
}

// fail records that a build failed, and returns why it did.
func (s *Service) fail(ctx context.Context, t *mayfly.Template, result *Result, buildErr error) error {
	if err := fill(t, result); err != nil {
		return err
	}
	t.State, t.Failure, t.ReadyAt, t.SizeBytes, t.RowCount = mayfly.TemplateFailed, mayfly.FailureOf(buildErr), nil, 0, 0
	if err := s.store.UpdateTemplate(ctx, t); err != nil {
		return fmt.Errorf("record the outcome of template %s: %w", t.ID, err)
	}
	if mayfly.ErrorCode(buildErr) == mayfly.CodeCancelled {
		s.log.InfoContext(ctx, "template cancelled", "template", t.ID, "project", t.Project, "error", buildErr)
		return buildErr
	}
	s.log.ErrorContext(ctx, "template failed", "template", t.ID, "project", t.Project, "code", mayfly.ErrorCode(buildErr), "error", buildErr)
	return buildErr
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
	building := map[string]bool{}
	for _, t := range all {
		building[t.ID] = t.State == mayfly.TemplateBuilding
	}
	if err := s.builder.sweepSpool(func(id string) bool { return building[id] }); err != nil {
		return err
	}
	for _, t := range all {
		switch t.State {
		case mayfly.TemplateRetired:
			err = s.collect(ctx, t)
		case mayfly.TemplateFailed, mayfly.TemplateDeleted:
			if slices.ContainsFunc(volumes, func(v driver.Volume) bool { return v.ID == t.ID || v.ID == quarantine.ID(t.ID) }) {
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
	// On record first: from then on nobody chooses it. If the process dies in between, the volume is found as that of a deleted one.
	deleted, err := s.store.DeleteTemplate(ctx, t.ID, mayfly.TemplateRetired)
	if err != nil || !deleted {
		return err
	}
	if err := s.builder.Discard(ctx, t.ID); err != nil {
		return err
	}
	s.log.InfoContext(ctx, "template deleted", "template", t.ID, "project", t.Project, "version", t.Version)
	return nil
}
