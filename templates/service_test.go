package templates

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/sanitize"
)

// noJobs is the queue of these tests: they do the work themselves.
type noJobs struct{ store.Enqueuer }

func (noJobs) Converge(context.Context, pgx.Tx, string) error      { return nil }
func (noJobs) BuildTemplate(context.Context, pgx.Tx, string) error { return nil }

func newStore(t *testing.T) *store.Store {
	t.Helper()
	server := pgtest.Cluster(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.Database(t)))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := store.Connect(t.Context(), config, "")
	if err != nil {
		t.Fatalf("open the state database: %v", err)
	}
	t.Cleanup(pool.Close)
	if err := store.Migrate(t.Context(), pool); err != nil {
		t.Fatalf("migrate the state database: %v", err)
	}
	return store.New(pool, noJobs{}, slog.New(slog.DiscardHandler))
}

// serviceBed is a service with one project, whose source and rules a test may change.
type serviceBed struct {
	*bed
	service *Service
	store   *store.Store
	project mayfly.Project
	rules   string
}

func newServiceBed(t *testing.T) *serviceBed {
	t.Helper()
	s := &serviceBed{bed: newBed(t), store: newStore(t), rules: peopleRules}
	s.project = request(t, mayfly.Source{DSN: sourceDatabase(t, peopleSQL).DSN()}, peopleRules).Project
	s.service = NewService(ServiceOptions{
		Store: s.store, Builder: s.builder, Clock: time.Now, Logger: slog.New(slog.DiscardHandler),
		Projects: func(name string) (mayfly.Project, bool) { return s.project, name == s.project.Name },
		Key:      func(string) ([]byte, error) { return testKey(), nil },
		ReadRules: func(mayfly.Project) (*sanitize.Rules, error) {
			return sanitize.Parse("rules.yaml", []byte(s.rules))
		},
	})
	t.Cleanup(func() {
		all, err := s.store.Templates(context.Background(), "")
		if err != nil {
			t.Errorf("list templates: %v", err)
		}
		for _, template := range all {
			if err := s.builder.Discard(context.Background(), template.ID); err != nil {
				t.Errorf("discard template %s: %v", template.ID, err)
			}
		}
	})
	return s
}

func (s *serviceBed) request(t *testing.T) *mayfly.Template {
	t.Helper()
	template, err := s.service.Request(t.Context(), s.project.Name, "tester")
	if err != nil {
		t.Fatalf("request a template: %v", err)
	}
	return template
}

func (s *serviceBed) read(t *testing.T, id string) *mayfly.Template {
	t.Helper()
	template, err := s.store.Template(t.Context(), id)
	if err != nil {
		t.Fatalf("read template %s: %v", id, err)
	}
	return template
}

func (s *serviceBed) hasVolume(t *testing.T, id string) bool {
	t.Helper()
	volumes, err := s.volumes.List(t.Context())
	if err != nil {
		t.Fatalf("list volumes: %v", err)
	}
	for _, v := range volumes {
		if v.ID == id {
			return true
		}
	}
	return false
}

func TestServiceLife(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	if _, err := s.service.Request(t.Context(), "nothing", "tester"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("requesting a template of an unknown project gives %v", err)
	}
	first := s.request(t)
	if first.State != mayfly.TemplateBuilding || first.Version != 1 {
		t.Errorf("the requested template is %+v", first)
	}
	if _, err := s.service.Request(t.Context(), s.project.Name, "tester"); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("requesting a second template while one is building gives %v", err)
	}
	if err := s.service.Build(t.Context(), first.ID); err != nil {
		t.Fatalf("build: %v (%s)", err, mayfly.ErrorHint(err))
	}
	ready := s.read(t, first.ID)
	if ready.State != mayfly.TemplateReady || ready.ReadyAt == nil || ready.RowCount != 4000 || ready.SizeBytes == 0 || ready.Image == "" || ready.Failure != nil {
		t.Errorf("the built template is %+v", ready)
	}
	var report Report
	if err := json.Unmarshal(ready.Report, &report); err != nil || report.Rows != 4000 {
		t.Errorf("the stored report has %d rows (%v)", report.Rows, err)
	}
	steps, err := s.store.Steps(t.Context(), first.ID)
	load := slices.IndexFunc(steps, func(step mayfly.Step) bool { return step.Name == PhaseLoad })
	if err != nil || load < 0 || steps[load].FinishedAt == nil || !strings.Contains(steps[load].Detail, "4000 rows") || steps[len(steps)-1].Name != PhaseFreeze {
		t.Errorf("the timeline is %+v (%v)", steps, err)
	}

	// A second one retires the first, which stays as long as a preview uses it.
	preview := &mayfly.Preview{ID: mayfly.NewID("p"), Name: "shop-x", Project: s.project.Name, Kind: mayfly.KindSandbox, TemplateID: first.ID, Generation: 1}
	if err := s.store.CreatePreview(t.Context(), preview, store.Limits{}); err != nil {
		t.Fatalf("record a preview: %v", err)
	}
	second := s.request(t)
	if err := s.service.Build(t.Context(), second.ID); err != nil {
		t.Fatalf("build the second template: %v", err)
	}
	s.collect(t)
	if got := s.read(t, first.ID).State; got != mayfly.TemplateRetired || !s.hasVolume(t, first.ID) {
		t.Errorf("the first template is %s, volume there: %t; want it retired and there while a preview uses it", got, s.hasVolume(t, first.ID))
	}
	preview.State = mayfly.PreviewDeleted
	if _, err := s.store.Pool().Exec(t.Context(), "update preview set state = 'deleted' where id = $1", preview.ID); err != nil {
		t.Fatal(err)
	}
	s.collect(t)
	if got := s.read(t, first.ID).State; got != mayfly.TemplateDeleted || s.hasVolume(t, first.ID) {
		t.Errorf("the first template is %s, volume there: %t; want it deleted", got, s.hasVolume(t, first.ID))
	}
	if got := s.read(t, second.ID).State; got != mayfly.TemplateReady || !s.hasVolume(t, second.ID) {
		t.Errorf("the second template is %s; want it ready and there", got)
	}
}

func (s *serviceBed) collect(t *testing.T) {
	t.Helper()
	for range 2 { // twice: the second has nothing to do
		if err := s.service.CollectGarbage(t.Context()); err != nil {
			t.Fatalf("collect garbage: %v", err)
		}
	}
}

func TestServiceRecordsFailure(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	s.rules = "version: 1\ntables: {public.people: {columns: {id: keep, email: email}}}"
	template := s.request(t)
	if err := s.service.Build(t.Context(), template.ID); mayfly.ErrorCode(err) != mayfly.CodeUnclassified {
		t.Fatalf("build without a rule for a column: %v", err)
	}
	failed := s.read(t, template.ID)
	if failed.State != mayfly.TemplateFailed || failed.Failure == nil || failed.Failure.Code != mayfly.CodeUnclassified || !strings.Contains(failed.Failure.Hint, "filler") {
		t.Errorf("the failed template is %+v, failure %+v", failed, failed.Failure)
	}
	s.nothingLeft(t, template.ID)
	if err := s.service.Build(t.Context(), template.ID); err != nil {
		t.Errorf("building a failed template again should do nothing: %v", err)
	}
	s.rules = peopleRules
	if err := s.service.Build(t.Context(), s.request(t).ID); err != nil {
		t.Errorf("build after the rules were corrected: %v", err)
	}
}

// TestServiceResumes leaves things behind as a killed process does, then builds the same record again.
func TestServiceResumes(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	template := s.request(t)
	image := pgtest.Image(t, 0)
	if err := s.volumes.Create(t.Context(), template.ID, image.User); err != nil {
		t.Fatal(err)
	}
	if err := s.builder.start(t.Context(), template.ID, image, map[string]string{"role": "build", "template": template.ID}); err != nil {
		t.Fatalf("start the build that is left behind: %v", err)
	}
	// A process that is going down records nothing.
	ctx, cancel := context.WithCancel(t.Context())
	s.service.progress = func(_ string, p Progress) {
		if p.Phase == PhaseLoad {
			cancel()
		}
	}
	if err := s.service.Build(ctx, template.ID); mayfly.ErrorCode(err) != mayfly.CodeCancelled {
		t.Errorf("a build that was interrupted gives %v", err)
	}
	if got := s.read(t, template.ID).State; got != mayfly.TemplateBuilding {
		t.Errorf("after the interruption the template is %s; want building", got)
	}
	s.nothingLeft(t, template.ID)
	s.service.progress = nil
	if err := s.service.Build(t.Context(), template.ID); err != nil {
		t.Fatalf("build again: %v", err)
	}
	if got := s.read(t, template.ID).State; got != mayfly.TemplateReady {
		t.Errorf("after the second build the template is %s; want ready", got)
	}
}

func TestServiceCancelled(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	template := s.request(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	s.service.progress = func(_ string, p Progress) {
		if p.Phase == PhaseLoad {
			cancel(mayfly.Errorf(mayfly.CodeCancelled, "somebody cancelled it"))
		}
	}
	if err := s.service.Build(ctx, template.ID); mayfly.ErrorCode(err) != mayfly.CodeCancelled {
		t.Errorf("a cancelled build gives %v", err)
	}
	failed := s.read(t, template.ID)
	if failed.State != mayfly.TemplateFailed || failed.Failure == nil || failed.Failure.Code != mayfly.CodeCancelled {
		t.Errorf("the cancelled template is %s, failure %+v", failed.State, failed.Failure)
	}
	s.nothingLeft(t, template.ID)
}

func TestServiceWithoutKey(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	s.service.key = func(string) ([]byte, error) { return nil, errors.New("no such file") }
	template := s.request(t)
	if err := s.service.Build(t.Context(), template.ID); err == nil {
		t.Error("a template was built without a masking key")
	}
	if got := s.read(t, template.ID).State; got != mayfly.TemplateFailed {
		t.Errorf("without a key the template is %s; want failed", got)
	}
}
