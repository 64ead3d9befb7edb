package provisioner_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// quick are periods short enough to wait for.
func quick() jobs.Options {
	return jobs.Options{ReconcileEvery: time.Second, ExpireEvery: time.Second, SweepEvery: time.Second}
}

func TestKilledPostgresIsStartedAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "a")
	b.query(t, p, "with x as (insert into customer values (1000, 'kept@example.com') returning 1) select count(*)::text from x")
	b.machine.kill(t, p.Instance())
	before := b.queued(t, "preview_converge")
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.queued(t, "preview_converge") != before+1 {
		t.Error("reconcile does not see that Postgres is not running")
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if n := b.query(t, p, "select count(*)::text from customer where id = 1000"); n != "1" {
		t.Error("data that was committed is gone after a crash of Postgres")
	}
}

func TestKilledPostgresIsStartedByWhoConnects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	p := b.sandbox(t, "a")
	b.machine.kill(t, p.Instance())
	if _, err := b.AwaitConnectable(t.Context(), p.Name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the preview can be connected to", func() bool {
		conn, err := b.login(t, p, b.password(t, p.Name))
		return err == nil && conn.Ping(t.Context()) == nil
	})
}

func TestRemovedContainerIsMadeAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p, asleep := b.sandbox(t, "a"), b.sandbox(t, "b")
	b.query(t, p, "with x as (insert into customer values (1000, 'kept@example.com') returning 1) select count(*)::text from x")
	suspend := true
	for _, name := range []string{p.Name, asleep.Name} {
		if err := b.machine.Engine.Remove(t.Context(), b.named(t, name).Instance()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Change(t.Context(), asleep.Name, provisioner.Change{Suspended: &suspend}); err != nil {
		t.Fatal(err)
	}
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if n := b.query(t, p, "select count(*)::text from customer where id = 1000"); n != "1" {
		t.Error("the data is gone, though only the container was removed")
	}
	b.want(t, b.converge(t, asleep.ID), mayfly.PreviewSuspended)
	if _, err := b.Wake(t.Context(), asleep.Name); err != nil {
		t.Fatal(err)
	}
	asleep = b.want(t, b.converge(t, asleep.ID), mayfly.PreviewReady)
	b.wantThings(t, p, asleep)
}

func (b *bed) named(t *testing.T, name string) *mayfly.Preview {
	t.Helper()
	p, err := b.store.PreviewByName(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A volume that somebody removed is lost for good, so the preview is rebuilt, and says so.
func TestRemovedVolumeIsRebuilt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p, asleep := b.ready(t, pr), b.sandbox(t, "b")
	suspend := true
	if _, err := b.Change(t.Context(), asleep.Name, provisioner.Change{Suspended: &suspend}); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, asleep.ID), mayfly.PreviewSuspended)
	for _, lost := range []*mayfly.Preview{p, asleep} {
		if err := b.shelf.Delete(t.Context(), lost.Instance()); err != nil {
			t.Fatal(err)
		}
	}
	before := b.queued(t, "preview_converge")
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.queued(t, "preview_converge") == before {
		t.Error("reconcile does not see that the volume of a running preview is gone")
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if version := b.query(t, p, "select version::text from schema_migrations"); version != "2" {
		t.Errorf("the rebuilt preview is at version %s, not 2", version)
	}
	if timeline := b.timeline(t, p.ID); !strings.Contains(timeline, "rebuild [its volume was gone]") {
		t.Errorf("the timeline does not say why it was rebuilt:\n%s", timeline)
	}
	if _, err := b.Wake(t.Context(), asleep.Name); err != nil {
		t.Fatal(err)
	}
	asleep = b.want(t, b.converge(t, asleep.ID), mayfly.PreviewReady)
	b.query(t, asleep, "select 'works'")
	b.wantThings(t, p, asleep)
}

// When the template is missing too, it is the pool that is not there: nothing may be thrown away for that.
func TestMissingPoolDestroysNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	own := b.ownTemplate(t)
	p := b.sandbox(t, "a")
	if p.TemplateID != own.ID {
		t.Fatalf("the newest template is not the one used")
	}
	for _, id := range []string{p.Instance(), own.ID} {
		if err := b.shelf.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	err := b.Converge(t.Context(), p.ID)
	wantCode(t, err, mayfly.CodeNoTemplate)
	if !strings.Contains(mayfly.ErrorHint(err), "mounted") {
		t.Errorf("the hint is %q", mayfly.ErrorHint(err))
	}
	if p = b.preview(t, p.ID); p.Generation != 1 {
		t.Errorf("the preview was rebuilt: generation %d", p.Generation)
	}
}

func TestSweepRemovesOnlyWhatNobodyOwns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	owned := b.sandbox(t, "a")
	orphan := mayfly.NewID("p")
	volume := orphan + "-1"
	if err := b.shelf.Clone(t.Context(), b.template.ID, volume, 0); err != nil {
		t.Fatal(err)
	}
	spec := driver.InstanceSpec{
		ID: volume, Image: b.template.Image, Volume: volume,
		Labels: map[string]string{"role": "preview", "preview": orphan},
	}
	if err := b.machine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	if err := b.machine.Start(t.Context(), volume); err != nil {
		t.Fatal(err)
	}
	// Of a generation that is no more: a container and its volume.
	stale := owned.Resource(7)
	if err := b.shelf.Clone(t.Context(), b.template.ID, stale, 0); err != nil {
		t.Fatal(err)
	}
	spec.ID, spec.Volume, spec.Labels = stale, stale, map[string]string{"role": "preview", "preview": owned.ID}
	if err := b.machine.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	// What has another role, or is on the engine of another installation, is not Sweep's.
	other := newMachine(b.machine.Engine)
	spec.ID, spec.Labels = mayfly.NewID("x"), map[string]string{"role": "preview", "preview": mayfly.NewID("p")}
	if err := other.Create(t.Context(), spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Remove(context.Background(), spec.ID); err != nil {
			t.Error(err)
		}
	})
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantThings(t, owned)
	b.query(t, owned, "select 'works'")
	if _, err := other.Inspect(t.Context(), spec.ID); err != nil {
		t.Errorf("the container of another installation: %v", err)
	}
	if volumes, err := b.shelf.Volumes.List(t.Context()); err != nil ||
		!slices.ContainsFunc(volumes, func(v driver.Volume) bool { return v.ID == b.template.ID }) {
		t.Errorf("the template is gone: %v", err)
	}
}

// A sweep that runs while previews are made must not take what is half made.
func TestSweepBesideCreation(t *testing.T) {
	t.Parallel()
	b := setup(t)
	sweeping, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for sweeping.Err() == nil {
			if err := b.Sweep(sweeping); err != nil && sweeping.Err() == nil {
				t.Errorf("sweep: %v", err)
			}
		}
	})
	var made []*mayfly.Preview
	for _, name := range []string{"a", "b", "c", "d"} {
		p := b.sandbox(t, name)
		if _, err := b.Reset(t.Context(), p.Name); err != nil {
			t.Fatal(err)
		}
		made = append(made, b.want(t, b.converge(t, p.ID), mayfly.PreviewReady))
	}
	stop()
	wg.Wait()
	for _, p := range made {
		b.query(t, p, "select 'works'")
		if p.ObservedGeneration != 2 {
			t.Errorf("%s was rebuilt: generation %d\n%s", p.Name, p.ObservedGeneration, b.timeline(t, p.ID))
		}
	}
	b.wantThings(t, made...)
}

func TestTemplateRetiredWhileInUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox(t, "a")
	b.template.State = mayfly.TemplateRetired
	if err := b.store.UpdateTemplate(t.Context(), b.template); err != nil {
		t.Fatal(err)
	}
	newer := b.ownTemplate(t)
	if used, err := b.store.TemplateInUse(t.Context(), b.template.ID); err != nil || !used {
		t.Errorf("the retired template of a live preview is not in use: %v", err)
	}
	if err := b.machine.Engine.Remove(t.Context(), p.Instance()); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if p.TemplateID != b.template.ID || p.ObservedGeneration != 1 {
		t.Errorf("the preview moved to template %s, generation %d", p.TemplateID, p.ObservedGeneration)
	}
	if _, err := b.Reset(t.Context(), p.Name); err != nil {
		t.Fatal(err)
	}
	if p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady); p.TemplateID != newer.ID {
		t.Error("a reset did not take the newest template")
	}
	if used, err := b.store.TemplateInUse(t.Context(), b.template.ID); err != nil || used {
		t.Errorf("the retired template is still in use: %v", err)
	}
}

func TestEngineDownInTheMiddleThenRepaired(t *testing.T) {
	t.Parallel()
	for _, operation := range []string{"create", "start", "remove", "list"} {
		t.Run(operation, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.work(t, quick())
			keep := b.sandbox(t, "keep")
			gone := b.sandbox(t, "gone")
			var once sync.Once
			b.machine.intercept(func(context.Context, string, string) error { return nil })
			b.machine.intercept(func(_ context.Context, at, _ string) error {
				if at == operation {
					once.Do(func() { b.machine.unplug(true) })
					return mayfly.Errorf(mayfly.CodeEngineUnavailable, "the engine does not answer: %w", errors.New("EOF"))
				}
				return nil
			})
			made, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "made"})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.Delete(t.Context(), gone.Name); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the outage is on record", func() bool {
				made, gone := b.preview(t, made.ID), b.preview(t, gone.ID)
				return made.Failure != nil && made.Failure.Code == mayfly.CodeEngineUnavailable ||
					gone.Failure != nil && gone.Failure.Code == mayfly.CodeEngineUnavailable
			})
			if p := b.preview(t, keep.ID); p.State != mayfly.PreviewReady {
				t.Errorf("an outage of the engine made a preview that runs %s", p.State)
			}
			b.machine.intercept(nil)
			b.machine.unplug(false)
			eventually(t, "everything is as it should be after the outage", func() bool {
				return b.preview(t, made.ID).Settled() && b.preview(t, gone.ID).Settled()
			})
			made = b.want(t, b.preview(t, made.ID), mayfly.PreviewReady)
			if made.Failure != nil {
				t.Errorf("the outage is still told: %+v", made.Failure)
			}
			b.wantThings(t, keep, made)
		})
	}
}

func TestLostJobsAreFoundAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.store.AcceptDelivery(t.Context(), store.Delivery{
		ID: "lost", Event: "pull_request", Action: "opened", RepositoryID: b.repo.ID(), Number: pr.Number(), Payload: []byte("{}"),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.store.Pool().Exec(t.Context(), `delete from river_job`); err != nil { // worse than any crash
		t.Fatal(err)
	}
	b.work(t, quick())
	eventually(t, "the sandbox and the pull request's preview are ready", func() bool {
		now := b.of(t, pr)
		return b.preview(t, p.ID).State == mayfly.PreviewReady && now != nil && now.State == mayfly.PreviewReady
	})
	b.clock.advance(2 * time.Minute)
	if err := b.RetryDeliveries(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the delivery is looked at", func() bool {
		d, err := b.store.Delivery(t.Context(), "lost")
		return err == nil && d.State == store.DeliveryDone
	})
}

func TestReconcileFollowsWhatDeliveriesDidNotTell(t *testing.T) {
	t.Parallel()
	b := setup(t)
	merged, pushed := b.open(t, "one", history()), b.open(t, "two", history())
	gone, behind := b.ready(t, merged), b.ready(t, pushed)
	if err := merged.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	sha := b.push(t, pushed, map[string]string{path3: "create table note (id int);\n"})
	missed := b.open(t, "three", history())
	b.work(t, quick())
	eventually(t, "all pull requests are followed", func() bool {
		made := b.of(t, missed)
		return b.preview(t, gone.ID).State == mayfly.PreviewDeleted && b.preview(t, behind.ID).ObservedSHA == sha &&
			made != nil && made.State == mayfly.PreviewReady
	})
}

// A repository that cannot be seen any more says nothing about its pull requests.
func TestLostAccessDestroysNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	b.repo.Hide(true)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Errorf("reconcile fails each time while access is lost: %v", err)
	}
	if known, err := b.store.Repository(t.Context(), b.repo.ID()); err != nil || known.State != store.RepositoryUnreachable {
		t.Errorf("that the repository cannot be read is not recorded: %+v, %v", known, err)
	}
	if err := b.SyncPullRequest(t.Context(), b.repo.ID(), pr.Number()); err == nil {
		t.Error("the pull request cannot be read, and nobody says so")
	}
	if p = b.preview(t, p.ID); p.WantDeleted {
		t.Error("a preview is removed because GitHub hides its repository")
	}
}

func TestInterruptedWorkGoesOn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files[path3] = "select pg_sleep(3600);\n"
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	p := b.of(t, pr)
	stop := b.work(t, jobs.Options{})
	eventually(t, "the long migration runs", func() bool { return b.steps(t, p.ID, "migrate") == 1 })
	stop() // as SIGTERM does, after the time to finish is over
	p = b.preview(t, p.ID)
	if p.State != mayfly.PreviewMigrating || p.Failure != nil {
		t.Errorf("a preview whose work was interrupted is %s, failure %+v", p.State, p.Failure)
	}
	b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.sync(t, pr)
	b.work(t, quick())
	eventually(t, "the preview is ready after the restart", func() bool {
		now := b.preview(t, p.ID)
		return now.State == mayfly.PreviewReady && now.Settled()
	})
	b.wantThings(t, b.preview(t, p.ID))
}

func TestStateDatabaseGoesAwayAndComesBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, quick())
	before := b.sandbox(t, "before")
	admin := b.adminOfState(t)
	for range 3 {
		if _, err := admin.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity
			where datname = current_database() and pid <> pg_backend_pid()`); err != nil {
			t.Fatal(err)
		}
	}
	p, err := b.createPatiently(t, "after")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	// Await depends on the listening connection having come back.
	if p, err = b.Await(ctx, p.ID, (*mayfly.Preview).Settled); err != nil {
		t.Fatal(err)
	}
	b.wantThings(t, before, b.want(t, p, mayfly.PreviewReady))
}
