package templates

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
)

// stoppingStore is a store on which a build stops at the beginning of a phase until it was cancelled.
type stoppingStore struct {
	*store.Store
	phase  string
	cancel func(templateID string)
	seen   chan struct{} // closed when the build has read that it is cancelled
	once   *sync.Once
}

func (s stoppingStore) BeginStep(ctx context.Context, ownerID, name, detail string) (int64, error) {
	if name == s.phase {
		s.cancel(ownerID)
		select {
		case <-s.seen:
		case <-time.After(testTimeout):
		}
	}
	return s.Store.BeginStep(ctx, ownerID, name, detail)
}

func (s stoppingStore) Template(ctx context.Context, id string) (*mayfly.Template, error) {
	t, err := s.Store.Template(ctx, id)
	if err == nil && t.Cancelled != nil {
		s.once.Do(func() { close(s.seen) })
	}
	return t, err
}

// TestCancelInEveryPhase cancels builds through another service than the one that runs them.
func TestCancelInEveryPhase(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	hook := writeFile(t, []byte("SELECT 1"))
	s.project.Templates.Hooks = mayfly.HookSettings{AfterLoad: []string{hook}, AfterMasking: []string{hook}}
	other := NewService(ServiceOptions{Store: s.store, Builder: s.builder, Clock: time.Now, Logger: slog.New(slog.DiscardHandler), Projects: s.service.projects})
	for _, phase := range []string{
		PhaseConnect, PhaseInitialise, PhaseSchema, PhaseLoad, PhaseAfterLoad, PhaseIndexes, PhaseVerify, PhaseScan, PhaseFreeze,
	} {
		template := s.request(t)
		s.service.cancelPoll = time.Millisecond
		s.service.store = stoppingStore{Store: s.store, phase: phase, seen: make(chan struct{}), once: &sync.Once{}, cancel: func(id string) {
			if _, err := other.Cancel(context.Background(), id, "ada", "wrong rules"); err != nil {
				t.Errorf("%s: cancel: %v", phase, err)
			}
		}}
		err := s.service.Build(t.Context(), template.ID)
		if mayfly.ErrorCode(err) != mayfly.CodeCancelled {
			t.Errorf("%s: the cancelled build gives %v", phase, err)
		}
		got := s.read(t, template.ID)
		if got.State != mayfly.TemplateFailed || got.Failure == nil || got.Failure.Code != mayfly.CodeCancelled ||
			!strings.Contains(got.Failure.Message, "by ada: wrong rules") || got.Cancelled == nil || got.ReadyAt != nil || got.SizeBytes != 0 {
			t.Errorf("%s: the cancelled template is %+v, failure %+v", phase, got, got.Failure)
		}
		s.nothingLeft(t, template.ID)
	}
	s.service.store = s.store
	if err := s.service.Build(t.Context(), s.request(t).ID); err != nil {
		t.Errorf("a build after all that: %v", err)
	}
}

// TestCancelWhatNobodyBuilds cancels what a killed process left, and what still waits in the queue.
func TestCancelWhatNobodyBuilds(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	template := s.request(t)
	if err := s.volumes.Create(t.Context(), template.ID, pgtest.Image(t, 0).User); err != nil {
		t.Fatal(err)
	}
	got, err := s.service.Cancel(t.Context(), template.ID, "ada", "")
	if err != nil || got.State != mayfly.TemplateFailed || got.Failure.Code != mayfly.CodeCancelled || got.Failure.Message != "the build was cancelled by ada" {
		t.Errorf("cancelling what nobody builds gives %+v, %v", got, err)
	}
	s.nothingLeft(t, template.ID)
	if err := s.service.Build(t.Context(), template.ID); err != nil {
		t.Errorf("the job that comes later gives %v", err)
	}
	if _, err := s.service.Cancel(t.Context(), template.ID, "ada", ""); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("cancelling it again gives %v", err)
	}

	// The process died between the mark and the end: the next try ends it.
	template = s.request(t)
	if _, err := s.store.CancelTemplate(t.Context(), template.ID, mayfly.Mark{At: time.Now(), By: "ada"}); err != nil {
		t.Fatal(err)
	}
	if err := s.service.Build(t.Context(), template.ID); mayfly.ErrorCode(err) != mayfly.CodeCancelled {
		t.Errorf("building what is cancelled gives %v", err)
	}
	if state := s.read(t, template.ID).State; state != mayfly.TemplateFailed {
		t.Errorf("the cancelled template is %s", state)
	}
}

// countingStore counts the phases that begin.
type countingStore struct {
	*store.Store
	begun *atomic.Int32
}

func (s countingStore) BeginStep(ctx context.Context, ownerID, name, detail string) (int64, error) {
	if name == PhaseLoad {
		s.begun.Add(1)
	}
	return s.Store.BeginStep(ctx, ownerID, name, detail)
}

func TestTwoServicesBuildOnce(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	var begun atomic.Int32
	services := make([]*Service, 3)
	for i := range services {
		one := *s.service
		one.store = countingStore{s.store, &begun}
		services[i] = &one
	}
	var asked atomic.Int32
	var all sync.WaitGroup
	var id atomic.Value
	for _, one := range services {
		all.Go(func() {
			template, err := one.Request(t.Context(), s.project.Name, "tester")
			if err == nil {
				asked.Add(1)
				id.Store(template.ID)
			} else if mayfly.ErrorCode(err) != mayfly.CodeConflict {
				t.Errorf("request: %v", err)
			}
		})
	}
	all.Wait()
	if asked.Load() != 1 {
		t.Fatalf("three requests at once made %d builds", asked.Load())
	}
	for _, one := range services {
		all.Go(func() {
			if err := one.Build(t.Context(), id.Load().(string)); err != nil {
				t.Errorf("build: %v", err)
			}
		})
	}
	all.Wait()
	if begun.Load() != 1 {
		t.Errorf("three services that were given one job built %d times", begun.Load())
	}
	if state := s.read(t, id.Load().(string)).State; state != mayfly.TemplateReady {
		t.Errorf("the template is %s", state)
	}
}

// finished stores a ready template with a volume that has nothing in it.
func (s *serviceBed) finished(t *testing.T) *mayfly.Template {
	t.Helper()
	template := s.request(t)
	if err := s.volumes.Create(t.Context(), template.ID, pgtest.Image(t, 0).User); err != nil {
		t.Fatal(err)
	}
	if err := s.volumes.Freeze(t.Context(), template.ID); err != nil {
		t.Fatal(err)
	}
	if err := s.service.promote(t.Context(), template, &Result{SizeBytes: 1, RowCount: 1}); err != nil {
		t.Fatalf("promote: %v", err)
	}
	return template
}

func (s *serviceBed) use(t *testing.T, template *mayfly.Template) (release func()) {
	t.Helper()
	id := mayfly.NewID("p")
	p := &mayfly.Preview{ID: id, Name: "shop-" + id, Project: s.project.Name, Kind: mayfly.KindSandbox, TemplateID: template.ID, Generation: 1}
	if err := s.store.CreatePreview(t.Context(), p, store.Limits{}); err != nil {
		t.Fatalf("record a preview: %v", err)
	}
	return func() {
		if _, err := s.store.Pool().Exec(t.Context(), "update preview set state = 'deleted' where id = $1", id); err != nil {
			t.Fatal(err)
		}
	}
}

// expect compares states and volumes of templates: "v1 deleted, v2 ready+volume".
func (s *serviceBed) expect(t *testing.T, when, want string, all ...*mayfly.Template) {
	t.Helper()
	var got []string
	for _, template := range all {
		now := s.read(t, template.ID)
		text := fmt.Sprintf("v%d %s", now.Version, now.State)
		if s.hasVolume(t, now.ID) {
			text += "+volume"
		}
		got = append(got, text)
	}
	if text := strings.Join(got, ", "); text != want {
		t.Errorf("%s: %s; want %s", when, text, want)
	}
}

func TestRollbackKeepsWhatIsUsed(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	s.project.KeepTemplates = 2
	one, two, three := s.finished(t), s.finished(t), s.finished(t)
	s.collect(t)
	s.expect(t, "with two kept", "v1 deleted, v2 ready+volume, v3 ready+volume", one, two, three)
	release := s.use(t, three)

	current, replaced, err := s.service.RollBack(t.Context(), s.project.Name, 0, "ada", "orders are missing")
	if err != nil || current.ID != two.ID || len(replaced) != 1 || replaced[0].ID != three.ID {
		t.Fatalf("roll back: %+v, %+v, %v", current, replaced, err)
	}
	s.collect(t)
	s.expect(t, "rolled back while it is used", "v2 ready+volume, v3 retired+volume", two, three)
	if mark := s.read(t, three.ID).RolledBack; mark == nil || mark.By != "ada" || mark.Reason != "orders are missing" {
		t.Errorf("the rolled back template is marked with %+v", mark)
	}
	if latest, err := s.store.LatestTemplate(t.Context(), s.project.Name); err != nil || latest.ID != two.ID {
		t.Errorf("new previews use %+v, %v", latest, err)
	}
	if _, err := s.service.Remove(t.Context(), three.ID, "ada", true); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("removing a template that is used gives %v", err)
	}
	if _, _, err := s.service.RollBack(t.Context(), s.project.Name, 0, "ada", ""); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("rolling back to nothing gives %v", err)
	}
	if _, _, err := s.service.RollBack(t.Context(), "nothing", 0, "ada", ""); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("rolling back an unknown project gives %v", err)
	}
	release()
	s.collect(t)
	s.expect(t, "when nobody uses it any more", "v2 ready+volume, v3 deleted", two, three)
	four := s.finished(t)
	s.collect(t)
	s.expect(t, "after a later build", "v2 ready+volume, v4 ready+volume", two, four)
}

func TestKeepTemplatesInUse(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	s.project.KeepTemplates = 1
	one := s.finished(t)
	releaseOne := s.use(t, one)
	two := s.finished(t)
	releaseTwo := s.use(t, two)
	three := s.finished(t)
	s.collect(t)
	s.expect(t, "in use", "v1 retired+volume, v2 retired+volume, v3 ready+volume", one, two, three)
	releaseTwo()
	s.collect(t)
	s.expect(t, "one of them released", "v1 retired+volume, v2 deleted, v3 ready+volume", one, two, three)
	releaseOne()
	s.collect(t)
	s.expect(t, "both released", "v1 deleted, v2 deleted, v3 ready+volume", one, two, three)
}

func TestRemoveTemplate(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	s.project.KeepTemplates = 2
	one, two := s.finished(t), s.finished(t)
	building := s.request(t)
	for what, id := range map[string]string{"the current one": two.ID, "one that is being built": building.ID} {
		if _, err := s.service.Remove(t.Context(), id, "ada", false); mayfly.ErrorCode(err) != mayfly.CodeConflict {
			t.Errorf("removing %s gives %v", what, err)
		}
	}
	for range 2 {
		if got, err := s.service.Remove(t.Context(), one.ID, "ada", false); err != nil || got.State != mayfly.TemplateDeleted {
			t.Errorf("removing an unused one gives %+v, %v", got, err)
		}
	}
	s.expect(t, "after removing v1", "v1 deleted, v2 ready+volume", one, two)
	if _, err := s.service.Remove(t.Context(), two.ID, "ada", true); err != nil {
		t.Errorf("removing the current one by force: %v", err)
	}
	s.expect(t, "after removing v2 by force", "v1 deleted, v2 deleted", one, two)
	if _, err := s.service.Remove(t.Context(), "tnothing", "ada", false); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("removing what does not exist gives %v", err)
	}
}

func TestBuildMetrics(t *testing.T) {
	t.Parallel()
	s := newServiceBed(t)
	registry := prometheus.NewRegistry()
	s.service.metrics = newMetrics(registry)
	s.service.allProjects = func() []mayfly.Project { return []mayfly.Project{s.project} }
	s.project.Templates.MaxAge = time.Hour
	s.rules = "version: 1\ntables: {}"
	if err := s.service.Build(t.Context(), s.request(t).ID); err == nil {
		t.Error("a build without rules succeeded")
	}
	made := s.finished(t)
	if err := s.service.RefreshMetrics(t.Context()); err != nil {
		t.Fatal(err)
	}
	got := gather(t, registry)
	for name, want := range map[string]float64{
		"mayfly_template_builds_total failed": 1, "mayfly_template_builds_total ready": 0, "mayfly_template_builds_total cancelled": 0,
		"mayfly_template_build_seconds failed": 1, "mayfly_template_max_age_seconds": 3600,
	} {
		if value, there := got[name]; !there || value != want {
			t.Errorf("%s is %v (there: %t), want %v; all are %v", name, value, there, want, got)
		}
	}
	ready := s.read(t, made.ID)
	if seconds := got["mayfly_template_last_success_timestamp_seconds"]; int64(seconds) != ready.ReadyAt.Unix() {
		t.Errorf("the last success was at %f, not at %s", seconds, ready.ReadyAt)
	}
	if seconds := got["mayfly_template_current_created_timestamp_seconds"]; int64(seconds) != ready.CreatedAt.Unix() {
		t.Errorf("the current template is of %f, not of %s", seconds, ready.CreatedAt)
	}
}

// gather returns the values of gauges and counters, and the counts of histograms, by name and outcome.
func gather(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := []string{family.GetName()}
			for _, label := range metric.GetLabel() {
				if label.GetName() == "outcome" {
					name = append(name, label.GetValue())
				}
			}
			values[strings.Join(name, " ")] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return values
}
