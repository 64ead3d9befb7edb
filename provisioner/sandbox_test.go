package provisioner_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func TestSandboxIsReachedByItsPasswordOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "ana")
	if p.Name != "shop-ana" || p.Database != "app" || p.Owner != "app" || p.TemplateID != b.template.ID || p.ReadyAt == nil {
		t.Errorf("the preview is %+v", p)
	}
	if n := b.query(t, p, "select count(*)::text from customer"); n != "100" {
		t.Errorf("the clone has %s customers, not 100", n)
	}
	if super := b.query(t, p, "select rolsuper::text from pg_roles where rolname = current_user"); super != "false" {
		t.Error("clients log in as a superuser")
	}
	if _, err := b.login(t, p, "wrong"); err == nil {
		t.Error("a wrong password is accepted")
	}
	b.wantThings(t, p)
}

func TestSandboxIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	create := func(project, name string) error {
		_, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: project, Name: name})
		return err
	}
	wantCode(t, create("none", "a"), mayfly.CodeNotFound)
	wantCode(t, create("shop", "pr-7"), mayfly.CodeInvalid)
	wantCode(t, create("shop", "A b"), mayfly.CodeInvalid)
	if err := create("shop", "taken"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, create("shop", "taken"), mayfly.CodeConflict)
	b.projects.change(func(p *mayfly.Project) { p.Previews.MaxPreviews = 1 })
	wantCode(t, create("shop", "more"), mayfly.CodeQuotaExceeded)
	b.projects.change(func(p *mayfly.Project) { p.Previews.MaxPreviews = 0 })

	b.template.State = mayfly.TemplateFailed
	if err := b.store.UpdateTemplate(t.Context(), b.template); err != nil {
		t.Fatal(err)
	}
	wantCode(t, create("shop", "none"), mayfly.CodeNoTemplate)
	if made := b.machine.count("create"); made != 0 {
		t.Errorf("%d containers were made for refused sandboxes", made)
	}
}

func TestSuspendAndWakeKeepTheData(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "a")
	b.query(t, p, "with changed as (delete from customer where id > 1 returning 1) select count(*)::text from changed")
	suspend := true
	if _, err := b.Change(t.Context(), p.Name, provisioner.Change{Suspended: &suspend}); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)
	if b.clients.disconnects(p.ID) != 1 {
		t.Error("clients were not disconnected before Postgres was stopped")
	}
	if found, err := b.machine.Inspect(t.Context(), p.Instance()); err != nil || found.Running {
		t.Errorf("a suspended preview runs: %+v, %v", found, err)
	}
	if _, err := b.Wake(t.Context(), p.Name); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if n := b.query(t, p, "select count(*)::text from customer"); n != "1" {
		t.Errorf("after waking there are %s customers, not the one that was left", n)
	}
}

func TestWakeByConnecting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	suspend := true
	if _, err := b.Change(t.Context(), p.Name, provisioner.Change{Suspended: &suspend}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Await(t.Context(), p.ID, func(p *mayfly.Preview) bool { return p.State == mayfly.PreviewSuspended }); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			if woken, err := b.AwaitConnectable(t.Context(), p.Name); err != nil || woken.State != mayfly.PreviewReady {
				t.Errorf("wake by connecting: %+v, %v", woken, err)
			}
		})
	}
	wg.Wait()
	b.query(t, p, "select 'connected'")
	if _, err := b.AwaitConnectable(t.Context(), "shop-none"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("waiting for what does not exist: %v", err)
	}
}

func TestResetMakesAllNew(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "a")
	old := b.password(t, p.Name)
	b.query(t, p, "with changed as (delete from customer returning 1) select count(*)::text from changed")
	newer := b.ownTemplate(t)
	if _, err := b.Reset(t.Context(), p.Name); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if p.ObservedGeneration != 2 || p.TemplateID != newer.ID {
		t.Errorf("after a reset the preview is generation %d of template %s, not 2 of %s", p.ObservedGeneration, p.TemplateID, newer.ID)
	}
	if n := b.query(t, p, "select count(*)::text from customer"); n != "100" {
		t.Errorf("after a reset there are %s customers, not 100", n)
	}
	if _, err := b.login(t, p, old); err == nil {
		t.Error("the password of before the reset is still accepted")
	}
	b.wantThings(t, p)
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, keep := b.sandbox(t, "short"), b.sandbox(t, "long")
	if _, err := b.Change(t.Context(), keep.Name, provisioner.Change{TTL: 30 * 24 * time.Hour}); err != nil {
		t.Fatal(err)
	}
	b.clock.advance(8 * 24 * time.Hour)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	if keep = b.preview(t, keep.ID); keep.WantDeleted {
		t.Error("a preview that was extended expired")
	}
	b.wantThings(t, keep)
}

func TestIdleSuspend(t *testing.T) {
	t.Parallel()
	b := setup(t)
	idle, busy, fresh := b.sandbox(t, "idle"), b.sandbox(t, "busy"), b.sandbox(t, "fresh")
	b.clients.set(busy.ID, 1)
	b.clock.advance(31 * time.Minute)
	if err := b.store.Touch(t.Context(), fresh.ID, b.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, idle.ID), mayfly.PreviewSuspended)
	b.want(t, b.converge(t, busy.ID), mayfly.PreviewReady)
	b.want(t, b.converge(t, fresh.ID), mayfly.PreviewReady)
	if _, err := b.Wake(t.Context(), idle.Name); err != nil {
		t.Fatal(err)
	}
	b.converge(t, idle.ID)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.preview(t, idle.ID).WantSuspended {
		t.Error("a preview that just woke is suspended again at once")
	}
	b.projects.change(func(p *mayfly.Project) { p.Previews.IdleAfter = -1 })
	b.clock.advance(time.Hour)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.preview(t, fresh.ID).WantSuspended {
		t.Error("a project that never suspends had its preview suspended")
	}
}

func TestDeleteTwice(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "a")
	for range 2 {
		if _, err := b.Delete(t.Context(), p.Name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Reset(t.Context(), p.Name); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("a preview that is being removed can be reset: %v", err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	if b.clients.disconnects(p.ID) != 1 {
		t.Errorf("clients were disconnected %d times, not once", b.clients.disconnects(p.ID))
	}
	_, err := b.Delete(t.Context(), p.Name)
	wantCode(t, err, mayfly.CodeNotFound)
	b.wantThings(t)
	again := b.sandbox(t, "a")
	if again.ID == p.ID {
		t.Error("a new preview has the identity of a deleted one")
	}
}

func TestDeleteWhileItIsBeingMade(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	b.machine.intercept(func(ctx context.Context, operation, _ string) error {
		if operation != "start" {
			return nil
		}
		once.Do(func() {
			if _, err := b.Delete(context.WithoutCancel(ctx), p.Name); err != nil {
				t.Error(err)
			}
		})
		return nil
	})
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.wantThings(t)
}

func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	const many = 30
	var wg sync.WaitGroup
	made := make([]*mayfly.Preview, many)
	for i := range many {
		wg.Go(func() {
			p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: fmt.Sprint("n", i)})
			if err != nil {
				t.Errorf("create sandbox %d: %v", i, err)
				return
			}
			if made[i], err = b.AwaitConnectable(t.Context(), p.Name); err != nil {
				t.Errorf("wait for sandbox %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	for _, p := range made {
		b.query(t, p, "select 'connected'")
		if clones := b.steps(t, p.ID, "clone"); clones != 1 {
			t.Errorf("%s was cloned %d times", p.Name, clones)
		}
	}
	b.wantThings(t, made...)
	for _, p := range made {
		wg.Go(func() {
			if _, err := b.Delete(t.Context(), p.Name); err != nil {
				t.Error(err)
			}
			if _, err := b.Await(t.Context(), p.ID, (*mayfly.Preview).Settled); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	b.wantThings(t)
}

func TestFullPoolRefusesBeforeItHurts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	existing := b.sandbox(t, "a")
	b.shelf.fill(1 << 20)
	_, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "b"})
	wantCode(t, err, mayfly.CodePoolFull)
	if mayfly.ErrorHint(err) == "" {
		t.Error("the refusal does not say what to do")
	}
	b.wantThings(t, existing)

	b.shelf.fill(0)
	if err := b.Converge(t.Context(), existing.ID); err != nil {
		t.Errorf("an existing preview suffers: %v", err)
	}
	b.query(t, existing, "select 'works'")
}

func TestPoolFullWhileCloning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	full := errors.New("full")
	b.shelf.onClone(func(context.Context, string) error { return errors.Join(full, driver.ErrNoSpace) })
	err = b.Converge(t.Context(), p.ID)
	wantCode(t, err, mayfly.CodePoolFull)
	if p = b.preview(t, p.ID); p.Failure == nil || p.Failure.Code != mayfly.CodePoolFull || p.Settled() {
		t.Errorf("the preview does not say that the pool is full, or is given up: %+v", p.Failure)
	}
	if text := b.Progress(t.Context(), p.Name); !strings.Contains(text, "too full") {
		t.Errorf("who waits is told %q", text)
	}
	b.shelf.onClone(nil)
	if p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady); p.Failure != nil {
		t.Errorf("the failure stays after the pool has room: %+v", p.Failure)
	}
	b.wantThings(t, p)
}

func TestTimelineTellsTheSteps(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "a")
	steps, err := b.store.Steps(t.Context(), p.ID)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, step := range steps {
		names = append(names, step.Name)
		if step.FinishedAt == nil || step.Error != "" {
			t.Errorf("step %s is not finished, or failed: %+v", step.Name, step)
		}
	}
	if want := []string{"clone", "start"}; !slices.Equal(names, want) {
		t.Errorf("the timeline is %v, not %v", names, want)
	}
}
