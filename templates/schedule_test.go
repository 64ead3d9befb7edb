package templates

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// fakeClock is a clock that a test sets.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) set(t *testing.T, text string) {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = at
}

// scheduleBed is several services, as several processes have them, on one state database, with one project and no builder.
type scheduleBed struct {
	services []*Service
	store    *store.Store
	clock    *fakeClock
	project  mayfly.Project
	log      bytes.Buffer
}

func newScheduleBed(t *testing.T, services int) *scheduleBed {
	t.Helper()
	b := &scheduleBed{store: newStore(t), clock: &fakeClock{}, project: mayfly.Project{Name: "shop", KeepTemplates: 2}}
	logger := slog.New(slog.NewTextHandler(&b.log, nil))
	for range services {
		b.services = append(b.services, NewService(ServiceOptions{
			Store: b.store, Clock: b.clock.Now, Logger: logger,
			Projects:    func(name string) (mayfly.Project, bool) { return b.project, name == b.project.Name },
			AllProjects: func() []mayfly.Project { return []mayfly.Project{b.project} },
		}))
	}
	return b
}

// at sets the clock, lets all services look at the schedule at the same time, twice, and returns the templates that came of it.
func (b *scheduleBed) at(t *testing.T, moment string) []*mayfly.Template {
	t.Helper()
	before, err := b.store.Templates(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	b.clock.set(t, moment)
	for range 2 {
		var all sync.WaitGroup
		for _, s := range b.services {
			all.Go(func() {
				if err := s.RunSchedules(t.Context()); err != nil {
					t.Errorf("at %s: %v", moment, err)
				}
			})
		}
		all.Wait()
	}
	after, err := b.store.Templates(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	return after[len(before):]
}

// end records that a build has succeeded.
func (b *scheduleBed) end(t *testing.T, template *mayfly.Template) {
	t.Helper()
	if err := b.services[0].promote(t.Context(), template, &Result{}); err != nil {
		t.Fatal(err)
	}
}

func (b *scheduleBed) expect(t *testing.T, moment string, want mayfly.TemplateCause) {
	t.Helper()
	made := b.at(t, moment)
	switch {
	case want == "" && len(made) > 0:
		t.Errorf("at %s: %d builds, want none", moment, len(made))
	case want != "" && (len(made) != 1 || made[0].Cause != want):
		t.Errorf("at %s: %d builds %+v, want one of cause %s", moment, len(made), made, want)
	}
	for _, template := range made {
		b.end(t, template)
	}
}

func TestScheduleBuildsOncePerSlot(t *testing.T) {
	t.Parallel()
	b := newScheduleBed(t, 3)
	b.project.Templates = mayfly.TemplateSettings{Schedule: "0 3 * * *", TimeZone: "Europe/Berlin"}
	b.expect(t, "2026-03-01T12:00:00Z", "") // it is new: nothing to make up for
	if o, err := b.services[0].Outlook(t.Context(), "shop"); err != nil || o.NextAt == nil || o.NextAt.Format(time.RFC3339) != "2026-03-02T02:00:00Z" {
		t.Errorf("the outlook is %+v, %v", o, err)
	}
	b.expect(t, "2026-03-02T01:59:59Z", "")
	b.expect(t, "2026-03-02T02:00:01Z", mayfly.CauseSchedule)
	b.expect(t, "2026-03-02T02:00:30Z", "")
	b.expect(t, "2026-03-03T02:00:00Z", mayfly.CauseSchedule)
	// Nothing ran for five days: one build for all of them, and then on as before.
	b.expect(t, "2026-03-08T10:00:00Z", mayfly.CauseCatchUp)
	b.expect(t, "2026-03-08T10:00:20Z", "")
	b.expect(t, "2026-03-09T02:00:00Z", mayfly.CauseSchedule)
	// The clock goes forward on 29 March: three o'clock is an hour earlier in UTC.
	b.clock.set(t, "2026-03-28T12:00:00Z")
	b.expect(t, "2026-03-28T12:00:00Z", mayfly.CauseCatchUp)
	b.expect(t, "2026-03-29T00:59:59Z", "")
	b.expect(t, "2026-03-29T01:00:00Z", mayfly.CauseSchedule)
	if o, err := b.services[0].Outlook(t.Context(), "shop"); err != nil || o.LastOutcome != "on time" {
		t.Errorf("the outlook is %+v, %v", o, err)
	}
}

func TestScheduleDuringABuild(t *testing.T) {
	t.Parallel()
	b := newScheduleBed(t, 2)
	b.project.Templates = mayfly.TemplateSettings{Schedule: "@hourly"}
	b.expect(t, "2026-03-01T12:30:00Z", "")
	running, err := b.services[0].Request(t.Context(), "shop", "ada")
	if err != nil {
		t.Fatal(err)
	}
	b.expect(t, "2026-03-01T13:00:00Z", "")
	o, err := b.services[0].Outlook(t.Context(), "shop")
	if err != nil || !strings.HasPrefix(o.LastOutcome, "left out: ") {
		t.Errorf("the outlook is %+v, %v", o, err)
	}
	b.end(t, running)
	b.expect(t, "2026-03-01T13:30:00Z", "")
	b.expect(t, "2026-03-01T14:00:00Z", mayfly.CauseSchedule)
}

func TestScheduleJitterAndChange(t *testing.T) {
	t.Parallel()
	b := newScheduleBed(t, 2)
	b.project.Templates = mayfly.TemplateSettings{Schedule: "0 3 * * *", Jitter: time.Hour}
	b.expect(t, "2026-03-01T12:00:00Z", "")
	slot, err := b.store.TemplateSchedule(t.Context(), "shop")
	if err != nil || slot.DueAt.Before(slot.SlotAt) || slot.DueAt.Sub(slot.SlotAt) >= time.Hour {
		t.Fatalf("the slot is %+v, %v", slot, err)
	}
	b.expect(t, slot.DueAt.Add(-time.Second).UTC().Format(time.RFC3339), "")
	b.expect(t, slot.DueAt.Add(time.Second).UTC().Format(time.RFC3339), mayfly.CauseSchedule)

	b.project.Templates.Schedule = "0 5 * * *" // what the old one missed is not made up for
	b.expect(t, "2026-03-09T12:00:00Z", "")
	b.project.Templates = mayfly.TemplateSettings{}
	b.expect(t, "2026-03-20T12:00:00Z", "")
	if slot, err := b.store.TemplateSchedule(t.Context(), "shop"); err != nil || slot != nil {
		t.Errorf("without a schedule there is a slot: %+v, %v", slot, err)
	}
}

func TestOldTemplatesAreWarnedOf(t *testing.T) {
	t.Parallel()
	b := newScheduleBed(t, 1)
	b.project.Templates.MaxAge = 48 * time.Hour
	created := time.Now().UTC()
	after := func(d time.Duration) string { return created.Add(d).Format(time.RFC3339) }
	b.at(t, after(1000*time.Hour)) // there is none: nothing to warn of
	template, err := b.services[0].Request(t.Context(), "shop", "ada")
	if err != nil {
		t.Fatal(err)
	}
	b.end(t, template)
	warnings := func() int { return strings.Count(b.log.String(), "older than templates.max_age") }
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{47 * time.Hour, 0}, {49 * time.Hour, 1}, {50 * time.Hour, 1}, {74 * time.Hour, 2}} {
		b.at(t, after(step.after))
		if got := warnings(); got != step.want {
			t.Errorf("after %s there are %d warnings, want %d:\n%s", step.after, got, step.want, b.log.String())
		}
	}
	o, err := b.services[0].Outlook(context.WithoutCancel(t.Context()), "shop")
	if err != nil || !o.TooOld(template, created.Add(49*time.Hour)) || o.TooOld(template, created.Add(47*time.Hour)) || o.TooOld(nil, created) {
		t.Errorf("the outlook is %+v, %v", o, err)
	}
}
