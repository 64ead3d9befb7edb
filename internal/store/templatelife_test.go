package store_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/store"
)

// building stores a template that is being built.
func (b *bed) building(t *testing.T) *mayfly.Template {
	t.Helper()
	made := &mayfly.Template{ID: mayfly.NewID("t"), Project: "shop", Source: "live", RequestedBy: "ada"}
	if err := b.CreateTemplate(t.Context(), made); err != nil {
		t.Fatal(err)
	}
	return made
}

// ready stores a finished template.
func (b *bed) ready(t *testing.T, keep int) *mayfly.Template {
	t.Helper()
	made := b.building(t)
	now := time.Now()
	made.State, made.ReadyAt, made.Attestation = mayfly.TemplateReady, &now, []byte("signed")
	if err := b.PromoteTemplate(t.Context(), made, keep); err != nil {
		t.Fatal(err)
	}
	return made
}

// states tells the states of all templates in the order of their versions: "v1 retired".
func (b *bed) states(t *testing.T) string {
	t.Helper()
	all, err := b.Templates(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	var states []string
	for _, one := range all {
		text := fmt.Sprintf("v%d %s", one.Version, one.State)
		if one.RolledBack != nil {
			text += " by " + one.RolledBack.By
		}
		states = append(states, text)
	}
	return strings.Join(states, ", ")
}

func (b *bed) expectStates(t *testing.T, when, want string) {
	t.Helper()
	if got := b.states(t); got != want {
		t.Errorf("%s: the templates are %s; want %s", when, got, want)
	}
}

func (b *bed) use(t *testing.T, number int, template string) *mayfly.Preview {
	t.Helper()
	p := pullRequest(fmt.Sprintf("shop-pr-%d", number), number)
	p.TemplateID = template
	if err := b.CreatePreview(t.Context(), p, store.Limits{}); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPromotionKeepsSome(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	for range 3 {
		b.ready(t, 2)
	}
	b.expectStates(t, "after three builds of which two are kept", "v1 retired, v2 ready, v3 ready")
	latest, err := b.LatestTemplate(ctx, "shop")
	if err != nil || latest.Version != 3 || string(latest.Attestation) != "signed" || latest.Cause != mayfly.CauseRequest || latest.RequestedBy != "ada" {
		t.Errorf("the latest is %+v, %v", latest, err)
	}
	b.ready(t, 0)
	b.expectStates(t, "after one of which nothing but itself is kept", "v1 retired, v2 retired, v3 retired, v4 ready")
}

func TestCancelledBuildIsNotPromoted(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	made := b.building(t)
	cancelled, err := b.CancelTemplate(ctx, made.ID, mayfly.Mark{At: time.Now(), By: "ada", Reason: "enough"})
	if err != nil || cancelled.Cancelled == nil || cancelled.Cancelled.By != "ada" {
		t.Fatalf("cancelling gives %+v, %v", cancelled, err)
	}
	if again, err := b.CancelTemplate(ctx, made.ID, mayfly.Mark{By: "bob"}); err != nil || again.Cancelled.By != "ada" {
		t.Errorf("the second who cancels is recorded as the first: %+v, %v", again.Cancelled, err)
	}
	made.State = mayfly.TemplateReady
	code(t, b.PromoteTemplate(ctx, made, 1), mayfly.CodeCancelled)
	b.expectStates(t, "after promoting a cancelled build", "v1 building")
	made.State = mayfly.TemplateFailed
	if err := b.UpdateTemplate(ctx, made); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Template(ctx, made.ID); err != nil || got.Cancelled == nil {
		t.Errorf("the mark is lost: %+v, %v", got, err)
	}
	_, err = b.CancelTemplate(ctx, made.ID, mayfly.Mark{})
	code(t, err, mayfly.CodeConflict)
	_, err = b.CancelTemplate(ctx, "tnothing", mayfly.Mark{})
	code(t, err, mayfly.CodeNotFound)
}

func TestRollback(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	by := mayfly.Mark{At: time.Now(), By: "ada", Reason: "orders are missing"}
	_, err := b.RollBackTemplates(ctx, "shop", 0, by)
	code(t, err, mayfly.CodeNoTemplate)
	first := b.ready(t, 3)
	_, err = b.RollBackTemplates(ctx, "shop", 0, by)
	code(t, err, mayfly.CodeConflict)
	b.ready(t, 3)
	third := b.ready(t, 3)
	p := b.use(t, 1, third.ID)

	changed, err := b.RollBackTemplates(ctx, "shop", 0, by)
	if err != nil || len(changed) != 2 || changed[0].Version != 2 || changed[1].ID != third.ID {
		t.Fatalf("going back one: %+v, %v", changed, err)
	}
	b.expectStates(t, "after going back one", "v1 ready, v2 ready, v3 retired by ada")
	if got, err := b.Preview(ctx, p.ID); err != nil || got.TemplateID != third.ID {
		t.Errorf("an existing preview was moved to another template: %+v, %v", got, err)
	}
	if deleted, err := b.DeleteTemplate(ctx, third.ID, mayfly.TemplateRetired); err != nil || deleted {
		t.Errorf("a template that a preview uses was deleted: %t, %v", deleted, err)
	}

	if _, err := b.RollBackTemplates(ctx, "shop", 1, by); err != nil {
		t.Fatal(err)
	}
	b.expectStates(t, "after going back to v1", "v1 ready, v2 retired by ada, v3 retired by ada")
	_, err = b.RollBackTemplates(ctx, "shop", 1, by)
	code(t, err, mayfly.CodeConflict)
	_, err = b.RollBackTemplates(ctx, "shop", 7, by)
	code(t, err, mayfly.CodeConflict)

	// One that is still there can be taken back into use by its version.
	if _, err := b.RollBackTemplates(ctx, "shop", 3, by); err != nil {
		t.Fatal(err)
	}
	b.expectStates(t, "after going to v3 again", "v1 ready, v2 retired by ada, v3 ready")
	// By default nobody goes back to what was taken out of use.
	if changed, err = b.RollBackTemplates(ctx, "shop", 0, by); err != nil || changed[0].ID != first.ID {
		t.Fatalf("going back past a bad one: %+v, %v", changed, err)
	}
	b.ready(t, 2)
	b.expectStates(t, "after a later build", "v1 ready, v2 retired by ada, v3 retired by ada, v4 ready")
	if latest, err := b.LatestTemplate(ctx, "shop"); err != nil || latest.Version != 4 {
		t.Errorf("a later build is not used: %+v, %v", latest, err)
	}
}

// A preview that is given a template while that is deleted either keeps it from being deleted or finds it deleted when it looks.
func TestDeletionAndUseDoNotCross(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	for n := range 20 {
		made := b.ready(t, 1)
		p := pullRequest(fmt.Sprintf("shop-pr-%d", n), n+1)
		p.TemplateID = made.ID
		var both sync.WaitGroup
		var deleted bool
		both.Go(func() {
			if err := b.CreatePreview(ctx, p, store.Limits{}); err != nil {
				t.Errorf("create a preview: %v", err)
			}
		})
		both.Go(func() {
			var err error
			if deleted, err = b.DeleteTemplate(ctx, made.ID, mayfly.TemplateReady); err != nil {
				t.Errorf("delete a template: %v", err)
			}
		})
		both.Wait()
		got, err := b.Template(ctx, made.ID)
		if err != nil {
			t.Fatal(err)
		}
		if deleted != (got.State == mayfly.TemplateDeleted) {
			t.Errorf("it was told that the template is deleted: %t, and it is %s", deleted, got.State)
		}
		if again, err := b.DeleteTemplate(ctx, made.ID, mayfly.TemplateReady); err != nil || again {
			t.Errorf("a template that is in use or deleted was deleted: %t, %v", again, err)
		}
	}
}

func TestSlotIsTakenOnce(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	if got, err := b.TemplateSchedule(ctx, "shop"); err != nil || got != nil {
		t.Fatalf("before there is one: %+v, %v", got, err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	advance := func(n int) (*mayfly.Template, error) {
		return b.AdvanceSchedule(ctx, "shop", func(was *store.ScheduledTemplate) (*store.ScheduledTemplate, *mayfly.Template, error) {
			next := &store.ScheduledTemplate{Spec: "daily", SlotAt: now.Add(time.Duration(n) * time.Hour), DueAt: now.Add(time.Duration(n) * time.Hour)}
			if was == nil {
				return next, nil, nil
			}
			if !was.DueAt.Before(next.DueAt) {
				return nil, nil, nil
			}
			next.LastSlotAt, next.LastRunAt, next.LastOutcome = &was.SlotAt, &now, "on time"
			return next, &mayfly.Template{ID: mayfly.NewID("t"), Project: "shop", Source: "live", Cause: mayfly.CauseSchedule}, nil
		})
	}
	if made, err := advance(1); err != nil || made != nil {
		t.Fatalf("the first slot: %+v, %v", made, err)
	}
	var builds atomic.Int32
	var all sync.WaitGroup
	for range 6 {
		all.Go(func() {
			made, err := advance(2)
			if err != nil {
				t.Errorf("take the slot: %v", err)
			}
			if made != nil {
				builds.Add(1)
			}
		})
	}
	all.Wait()
	slot, err := b.TemplateSchedule(ctx, "shop")
	if err != nil || builds.Load() != 1 || !slot.DueAt.Equal(now.Add(2*time.Hour)) || slot.LastTemplateID == "" || slot.LastOutcome != "on time" {
		t.Errorf("six processes that take one slot made %d builds; the slot is %+v, %v", builds.Load(), slot, err)
	}
	// The slot after that comes while the build goes on: it is left out, and the one after it is stored.
	if made, err := advance(3); err != nil || made != nil {
		t.Errorf("a slot during a build: %+v, %v", made, err)
	}
	if slot, err = b.TemplateSchedule(ctx, "shop"); err != nil || !strings.HasPrefix(slot.LastOutcome, "left out: ") || !slot.DueAt.Equal(now.Add(3*time.Hour)) {
		t.Errorf("the slot during a build became %+v, %v", slot, err)
	}
	jobs := slices.DeleteFunc(b.jobs(t), func(job string) bool { return !strings.HasPrefix(job, "build") })
	if len(jobs) != 1 {
		t.Errorf("the jobs are %v", jobs)
	}
	if err := b.DropSchedule(ctx, "shop"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.TemplateSchedule(ctx, "shop"); err != nil || got != nil {
		t.Errorf("after it was dropped: %+v, %v", got, err)
	}
}
