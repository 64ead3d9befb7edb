package provisioner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// exec runs a statement in a preview with its current credentials.
func (b *bed) exec(t *testing.T, p *mayfly.Preview, sql string) {
	t.Helper()
	conn, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatalf("log in to %s: %v", p.Name, err)
	}
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatalf("%s in %s: %v", sql, p.Name, err)
	}
}

// volumes counts the snapshots' volumes.
func (b *bed) snapshotVolumes(t *testing.T) int {
	t.Helper()
	volumes, err := b.shelf.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, v := range volumes {
		if v.ID[0] == 'n' {
			n++
		}
	}
	return n
}

// branchOf branches a preview and converges the branch.
func (b *bed) branchOf(t *testing.T, source *mayfly.Preview, name string) *mayfly.Preview {
	t.Helper()
	p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: name, From: source.Name, CreatedBy: "tester"})
	if err != nil {
		t.Fatalf("branch %s: %v", source.Name, err)
	}
	return b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
}

// TestBranch branches a preview that somebody writes to: the branch has a moment of it, a password of its own, and no other way in; the
// writer notices nothing; and neither harms the other.
func TestBranch(t *testing.T) {
	t.Parallel()
	b := setup(t)
	source := b.sandbox(t, "source")
	b.exec(t, source, `create table a (n int); create table b (n int)`)
	if err := b.asAdmin(t, source, `create role visitor login password 'visiting'; grant pg_read_all_data to visitor`); err != nil {
		t.Fatal(err)
	}
	stop := b.write(t, source)
	branch := b.branchOf(t, source, "branch")
	if written := stop(); written == 0 {
		t.Error("nothing was written while the branch was made")
	}
	if branch.ParentID != source.ID || branch.ParentName != source.Name || branch.SnapshotID == "" {
		t.Errorf("the branch says it is of %q (%s), snapshot %q", branch.ParentName, branch.ParentID, branch.SnapshotID)
	}
	// Each transaction of the writer adds one row to both: at any moment both have as many.
	if got := b.query(t, branch, `select ((select count(*) from a) = (select count(*) from b))::text`); got != "true" {
		t.Error("the branch is not of one moment")
	}
	if b.password(t, source.Name) == b.password(t, branch.Name) {
		t.Error("the branch has the password of its source")
	}
	if _, err := b.login(t, branch, b.password(t, source.Name)); err == nil {
		t.Error("the password of the source opens the branch")
	}
	if err := b.loginAs(t, branch, "visitor", "visiting"); err == nil {
		t.Error("another login of the source opens the branch")
	}
	if err := b.loginAs(t, source, "visitor", "visiting"); err != nil {
		t.Errorf("the other login of the source no longer works there: %v", err)
	}
	b.exec(t, branch, `insert into customer values (1000, 'only here')`)
	if got := b.query(t, source, `select count(*)::text from customer where id = 1000`); got != "0" {
		t.Error("what is written to the branch is in the source")
	}
	b.branchOfBranch(t, source, branch)
}

// branchOfBranch removes the source and then the branch of it, whose branch has all of it.
func (b *bed) branchOfBranch(t *testing.T, source, branch *mayfly.Preview) {
	t.Helper()
	if _, err := b.Delete(t.Context(), source.Name); err != nil {
		t.Fatal(err)
	}
	b.converge(t, source.ID)
	if got := b.query(t, branch, `select count(*)::text from customer`); got != "101" {
		t.Errorf("after the source is gone the branch has %s customers", got)
	}
	second := b.branchOf(t, branch, "second")
	if got := b.query(t, second, `select count(*)::text from customer`); got != "101" {
		t.Errorf("the branch of the branch has %s customers", got)
	}
	b.exec(t, second, `delete from customer`)
	reset, err := b.Reset(t.Context(), second.Name)
	if err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, reset.ID), mayfly.PreviewReady)
	if got := b.query(t, b.preview(t, second.ID), `select count(*)::text from customer`); got != "101" {
		t.Errorf("a reset of a branch gives %s customers, not those of the moment it was branched", got)
	}
	if _, err = b.ResetTo(t.Context(), second.Name, provisioner.ResetRequest{Newest: true}); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, second.ID), mayfly.PreviewReady)
	if got := b.query(t, b.preview(t, second.ID), `select count(*)::text from customer`); got != "100" {
		t.Errorf("a reset of a branch to the newest template gives %s customers", got)
	}
	for _, p := range []*mayfly.Preview{branch, second} {
		if _, err := b.Delete(t.Context(), p.Name); err != nil {
			t.Fatal(err)
		}
		b.converge(t, p.ID)
	}
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := b.snapshotVolumes(t); left != 0 {
		t.Errorf("%d snapshots are left of branches that are gone", left)
	}
	b.wantThings(t)
}

// write inserts into both tables of a preview, a transaction at a time, until stop is called, which returns how many there were. A
// statement that fails fails the test: whoever is connected notices nothing of a snapshot.
func (b *bed) write(t *testing.T, p *mayfly.Preview) (stop func() int) {
	t.Helper()
	conn, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	ending := make(chan struct{})
	var done sync.WaitGroup
	n := 0
	done.Go(func() {
		for {
			select {
			case <-ending:
				return
			default:
			}
			if _, err := conn.Exec(context.Background(), `begin; insert into a values (1); insert into b values (1); commit`); err != nil {
				t.Errorf("a writer was disturbed: %v", err)
				return
			}
			n++
		}
	})
	return func() int { close(ending); done.Wait(); return n }
}

// TestBranchOfSleeping branches a suspended preview, which goes on sleeping.
func TestBranchOfSleeping(t *testing.T) {
	t.Parallel()
	b := setup(t)
	source := b.sandbox(t, "source")
	b.exec(t, source, `insert into customer values (7000, 'x')`)
	yes := true
	if _, err := b.Change(t.Context(), source.Name, provisioner.Change{Suspended: &yes}); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, source.ID), mayfly.PreviewSuspended)
	branch := b.branchOf(t, source, "branch")
	if got := b.query(t, branch, `select count(*)::text from customer`); got != "101" {
		t.Errorf("the branch has %s customers", got)
	}
	b.want(t, b.preview(t, source.ID), mayfly.PreviewSuspended)
	if b.machine.count("pause") != 0 {
		t.Error("what sleeps was held still")
	}
}

// TestSnapshot keeps a state, goes on, and returns to it; and keeps one beyond the life of its preview.
func TestSnapshot(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	p := b.sandbox(t, "work")
	password := b.password(t, p.Name)
	n, err := b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "before", CreatedBy: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	if n.State != mayfly.SnapshotReady || n.SizeBytes == 0 || n.PreviewID != p.ID {
		t.Errorf("the snapshot is %+v", n)
	}
	_, err = b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "before"})
	wantCode(t, err, mayfly.CodeConflict)
	_, err = b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "../x"})
	wantCode(t, err, mayfly.CodeInvalid)
	b.exec(t, p, `delete from customer`)
	if _, err = b.Restore(ctx, p.Name, "before", provisioner.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if got := b.query(t, p, `select count(*)::text from customer`); got != "100" || b.password(t, p.Name) != password {
		t.Errorf("after the return there are %s customers; the password is the same: %t", got, b.password(t, p.Name) == password)
	}
	_, err = b.Restore(ctx, p.Name, "nothing", provisioner.ChangeOptions{})
	wantCode(t, err, mayfly.CodeNotFound)

	b.exec(t, p, `insert into customer values (500, 'kept')`)
	kept, err := b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "kept", Keep: true, KeepFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.Delete(ctx, p.Name); err != nil {
		t.Fatal(err)
	}
	b.converge(t, p.ID)
	if left := b.snapshotVolumes(t); left != 1 {
		t.Errorf("%d snapshots outlive their preview, not the one that is kept", left)
	}
	b.fromKept(t, kept)
}

func (b *bed) fromKept(t *testing.T, kept *mayfly.Snapshot) {
	t.Helper()
	_, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "none", SnapshotID: "nothing"})
	wantCode(t, err, mayfly.CodeNotFound)
	p, err := b.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "shop", Name: "again", SnapshotID: kept.ID})
	if err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if got := b.query(t, p, `select count(*)::text from customer where id = 500`); got != "1" {
		t.Error("what is made from a snapshot has not its data")
	}
	b.clock.advance(2 * time.Hour)
	if err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := b.snapshotVolumes(t); left != 0 {
		t.Errorf("%d snapshots outlive their time", left)
	}
	if got := b.query(t, p, `select count(*)::text from customer where id = 500`); got != "1" {
		t.Error("what was made from a snapshot is gone with it")
	}
}

// TestSnapshotBroken looks at what is left when a snapshot cannot be made, or whoever made it dies.
func TestSnapshotBroken(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	p := b.sandbox(t, "work")
	once := &store.Once{Subject: "tester", Key: "k", Digest: []byte("d")}
	b.machine.intercept(func(_ context.Context, operation, _ string) error {
		if operation == "pause" {
			return errors.New("no")
		}
		return nil
	})
	if _, err := b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "x", Once: once}); err == nil {
		t.Error("a snapshot of what cannot be held was made")
	}
	b.machine.intercept(nil)
	first, err := b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "x", Once: once})
	if err != nil {
		t.Fatalf("the same request, after it had failed: %v", err)
	}
	again, err := b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "x", Once: once})
	if err != nil || again.ID != first.ID {
		t.Errorf("the same request, after it was done: %+v, %v", again, err)
	}

	// A process that dies holds the preview, and leaves a volume that has a row, and one that has none.
	if err := b.machine.Pause(ctx, p.Instance()); err != nil {
		t.Fatal(err)
	}
	lost := &mayfly.Snapshot{ID: mayfly.NewID("n"), Name: "lost", Project: "shop", PreviewID: p.ID, TemplateID: p.TemplateID}
	if err := b.store.CreateSnapshot(ctx, nil, lost, 0); err != nil {
		t.Fatal(err)
	}
	quiet := func(ctx context.Context) (context.Context, func(), error) { return ctx, func() {}, nil }
	for _, id := range []string{lost.ID, mayfly.NewID("n")} {
		if err := b.shelf.Snapshot(ctx, p.Instance(), id, quiet); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	b.converge(t, p.ID)
	if instance, err := b.machine.Inspect(ctx, p.Instance()); err != nil || instance.Paused {
		t.Errorf("what a dead process held is still held: %+v, %v", instance, err)
	}
	if err := b.Sweep(ctx); err != nil {
		t.Fatal(err)
	}
	if left := b.snapshotVolumes(t); left != 1 {
		t.Errorf("%d snapshots are there, not the one that was made", left)
	}
	if got := b.query(t, p, `select count(*)::text from customer`); got != "100" {
		t.Errorf("the preview has %s customers", got)
	}
}

// TestProtection tries everything that removes a preview or its data while it is protected.
func TestProtection(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	p := b.sandbox(t, "work")
	if _, err := b.Snapshot(ctx, p.Name, provisioner.SnapshotRequest{Name: "s"}); err != nil {
		t.Fatal(err)
	}
	b.exec(t, p, `insert into customer values (500, 'precious')`)
	if _, err := b.Protect(ctx, p.Name, 30*24*time.Hour, "tester", "an audit", provisioner.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := b.Delete(ctx, p.Name)
	wantCode(t, err, mayfly.CodeProtected)
	if !strings.Contains(fmt.Sprint(err), "an audit") {
		t.Errorf("the refusal does not say why: %v", err)
	}
	_, err = b.Reset(ctx, p.Name)
	wantCode(t, err, mayfly.CodeProtected)
	_, err = b.Restore(ctx, p.Name, "s", provisioner.ChangeOptions{})
	wantCode(t, err, mayfly.CodeProtected)
	b.clock.advance(20 * 24 * time.Hour) // the sandbox lives for 7 days
	for _, upkeep := range []func(context.Context) error{b.Expire, b.Sweep, b.Reconcile} {
		if err := upkeep(ctx); err != nil {
			t.Fatal(err)
		}
	}
	p = b.preview(t, p.ID)
	if p.WantDeleted {
		t.Fatal("a protected preview expired")
	}
	no := false
	if _, err := b.Change(ctx, p.Name, provisioner.Change{Suspended: &no}); err != nil {
		t.Errorf("a protected preview cannot be woken: %v", err)
	}
	if got := b.query(t, b.want(t, b.converge(t, p.ID), mayfly.PreviewReady), `select count(*)::text from customer where id = 500`); got != "1" {
		t.Error("the precious row is gone")
	}
	b.clock.advance(20 * 24 * time.Hour)
	if err := b.Expire(ctx); err != nil {
		t.Fatal(err)
	}
	if p = b.preview(t, p.ID); !p.WantDeleted {
		t.Error("a preview whose protection and time are over stays")
	}
}

// TestRotatePassword gives a running and a sleeping preview a new password.
func TestRotatePassword(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	p := b.sandbox(t, "work")
	before := b.password(t, p.Name)
	open, err := b.login(t, p, before)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.RotatePassword(ctx, p.Name, provisioner.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	if b.preview(t, p.ID).Settled() {
		t.Error("a preview whose password is to change is settled")
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if _, err := b.login(t, p, before); err == nil {
		t.Error("the old password still works")
	}
	if _, err := open.Exec(ctx, "select 1"); err == nil {
		t.Error("a connection made with the old password goes on")
	}
	b.query(t, p, "select 'the new password works'")
	yes, no := true, false
	if _, err := b.Change(ctx, p.Name, provisioner.Change{Suspended: &yes}); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)
	if _, err := b.RotatePassword(ctx, p.Name, provisioner.ChangeOptions{}); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)
	if _, err := b.Change(ctx, p.Name, provisioner.Change{Suspended: &no}); err != nil {
		t.Fatal(err)
	}
	b.query(t, b.want(t, b.converge(t, p.ID), mayfly.PreviewReady), "select 'the password given in its sleep works'")
	var logged bytes.Buffer
	if err := b.Logs(ctx, b.preview(t, p.ID), 1000, false, &logged); err != nil || !strings.Contains(logged.String(), "database system is ready") {
		t.Errorf("the log is %q, %v", logged.String(), err)
	}
	if strings.Contains(logged.String(), "SCRAM-SHA-256$") || strings.Contains(logged.String(), b.password(t, p.Name)) {
		t.Error("the log has a password in it")
	}
}

// TestSizes makes previews with size classes.
func TestSizes(t *testing.T) {
	t.Parallel()
	b, ctx := setup(t), t.Context()
	b.opts.SizeClasses = map[string]mayfly.SizeClass{
		"small": {MemoryBytes: 256 << 20, CPUs: 0.5, Pids: 64, DiskBytes: 1 << 30},
		"huge":  {MemoryBytes: 64 << 30},
	}
	b.Service = provisioner.New(b.opts)
	var made driver.InstanceSpec
	b.machine.onCreate(func(spec driver.InstanceSpec) { made = spec })
	p, err := b.CreateSandbox(ctx, provisioner.SandboxRequest{Project: "shop", Name: "s", SizeClass: "small"})
	if err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if made.Limits.MemoryBytes != 256<<20 || made.Limits.CPUs != 0.5 || made.Limits.Pids != 64 || p.ReservedMemory != 256<<20 || p.ReservedDisk != 1<<30 {
		t.Errorf("a small preview has the limits %+v and reserves %d, %d", made.Limits, p.ReservedMemory, p.ReservedDisk)
	}
	for _, name := range []string{"huge", "unknown"} {
		_, err = b.CreateSandbox(ctx, provisioner.SandboxRequest{Project: "shop", Name: "x", SizeClass: name})
		wantCode(t, err, mayfly.CodeInvalid)
	}
	b.projects.change(func(p *mayfly.Project) { p.Previews.SizeClasses = []string{"huge"} })
	if _, err = b.CreateSandbox(ctx, provisioner.SandboxRequest{Project: "shop", Name: "x", SizeClass: "huge"}); err != nil {
		t.Errorf("a size class that the project names: %v", err)
	}
	_, err = b.CreateSandbox(ctx, provisioner.SandboxRequest{Project: "shop", Name: "y", SizeClass: "small"})
	wantCode(t, err, mayfly.CodeInvalid)
}

// asAdmin runs a statement in a preview as the superuser.
func (b *bed) asAdmin(t *testing.T, p *mayfly.Preview, sql string) error {
	t.Helper()
	conn, err := cluster.Connect(t.Context(), b.machine, p.Instance(), p.Database)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	_, err = conn.Exec(t.Context(), sql)
	return err
}

func (b *bed) loginAs(t *testing.T, p *mayfly.Preview, user, password string) error {
	t.Helper()
	as := *p
	as.Owner = user
	_, err := b.login(t, &as, password)
	return err
}
