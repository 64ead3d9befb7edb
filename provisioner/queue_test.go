package provisioner_test

import (
	"context"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// TestQueuedSandboxGetsItsTurn waits for one preview's end, and for another's sleep.
func TestQueuedSandboxGetsItsTurn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.Quotas.Server.Running = 1
	b.Quotas = b.opts.Quotas
	b.work(t, jobs.Options{})
	b.projects.change(func(p *mayfly.Project) { p.Previews.MaxPreviews = 1 })
	first := b.sandbox(t, "first")
	second, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "second", Queue: true})
	if err != nil || second.State != mayfly.PreviewQueued || second.Settled() {
		t.Fatalf("%+v, %v", second, err)
	}
	if text := b.Progress(t.Context(), second.Name); text != "queued, position 1 of 1" {
		t.Errorf("its clients are told that it is %s", text)
	}
	if err := b.Converge(t.Context(), second.ID); err != nil {
		t.Fatal(err)
	}
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now := b.preview(t, second.ID); now.State != mayfly.PreviewQueued {
		t.Errorf("it is %s before its turn", now.State)
	}
	if _, err := b.Delete(t.Context(), first.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Await(t.Context(), second.ID, func(p *mayfly.Preview) bool { return p.State == mayfly.PreviewReady }); err != nil {
		t.Fatal(err)
	}

	// A quota of running previews: an idle one is put to sleep for the one that waits, and wakes when there is room.
	b.projects.change(func(p *mayfly.Project) { p.Previews.MaxPreviews = 0 })
	b.clock.advance(10 * time.Minute)
	third, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "third", Queue: true})
	if err != nil || third.State != mayfly.PreviewQueued {
		t.Fatalf("%+v, %v", third, err)
	}
	eventually(t, "the idle one sleeps and the other is made", func() bool {
		if err := b.Promote(t.Context()); err != nil {
			t.Fatal(err)
		}
		return b.preview(t, second.ID).State == mayfly.PreviewSuspended && b.preview(t, third.ID).State == mayfly.PreviewReady
	})
	if _, err := b.Wake(t.Context(), second.Name); store.ReachedQuota(err) == nil {
		t.Errorf("waking it without room: %v", err)
	}
	b.clock.advance(10 * time.Minute)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if woken, err := b.AwaitConnectable(ctx, second.Name); err != nil || woken.State != mayfly.PreviewReady {
		t.Errorf("connecting to it: %+v, %v", woken, err)
	}
	if third = b.preview(t, third.ID); third.State != mayfly.PreviewSuspended {
		t.Errorf("the other one is %s", third.State)
	}
}
