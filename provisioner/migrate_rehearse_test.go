package provisioner_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/provisioner"
)

const down2 = "db/migrations/2_points.down.sql"

func TestARollbackIsRehearsedOnACloneOfItsOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commitMain(t, map[string]string{path1: history()[path1]})
	pr := b.branch(t, "points", map[string]string{
		path2: "alter table customer add points int not null default 7;\ndelete from customer where id > 90;\n", down2: "alter table customer drop points;\n",
	})
	p := b.ready(t, pr)
	report := b.reportOf(t, p)
	if report.Rollback == nil || report.Rollback.Passed || len(report.Rollback.Steps) != 3 {
		t.Fatalf("the rehearsal: %+v\n%s", report.Rollback, b.timeline(t, p.ID))
	}
	if !hasFinding(report, migrations.FindingRollbackLoses) {
		t.Errorf("nobody says that rows are lost: %+v", report.Findings)
	}
	if n := b.query(t, p, "select count(*)::text || ' ' || (select version from schema_migrations) from customer"); n != "90 2" {
		t.Errorf("the preview itself has %s", n)
	}
	b.wantThings(t, p)
	if comment := onlyComment(t, pr); !strings.Contains(comment, "90 rows of public.customer") {
		t.Errorf("the comment does not say it:\n%s", comment)
	}
	// A commit that touches no migration keeps what is known, and tries nothing again.
	b.push(t, pr, map[string]string{"main.go": "package main\n"})
	p = b.ready(t, pr)
	again := b.reportOf(t, p)
	if again.Rollback == nil || len(again.Applied) != 1 || !hasFinding(again, migrations.FindingRollbackLoses) || b.steps(t, p.ID, "rehearse rollback") != 1 {
		t.Errorf("after another commit: %+v\n%s", again, b.timeline(t, p.ID))
	}
	b.push(t, pr, map[string]string{path2: "alter table customer add points int not null default 7;\n"}) // which rebuilds
	p = b.ready(t, pr)
	if report := b.reportOf(t, p); report.Rollback == nil || !report.Rollback.Passed || hasFinding(report, migrations.FindingRollbackLoses) {
		t.Errorf("corrected: %+v", report.Rollback)
	}
	b.wantThings(t, p)
}

func hasFinding(report migrations.Report, kind migrations.FindingKind) bool {
	for _, f := range report.Findings {
		if f.Kind == kind {
			return true
		}
	}
	return false
}

func TestARehearsalThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"trial cloned", "trial started"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.commitMain(t, map[string]string{path1: history()[path1]})
			pr := b.branch(t, "points", map[string]string{path2: history()[path2], down2: "alter table customer drop points;\n"})
			b.sync(t, pr)
			p := b.of(t, pr)
			b.dieAt(t, p.ID, at)
			p = b.preview(t, p.ID)
			if p.State != mayfly.PreviewReady || !p.Settled() {
				t.Fatalf("the preview is %s: people wait for a rehearsal", p.State)
			}
			if due, err := b.store.RehearsalsDue(t.Context()); err != nil || len(due) != 1 {
				t.Errorf("due: %v, %v", due, err)
			}
			if err := b.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			b.wantThings(t, p)
			p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
			if report := b.reportOf(t, p); report.Rollback == nil || !report.Rollback.Passed {
				t.Errorf("tried again: %+v\n%s", report.Rollback, b.timeline(t, p.ID))
			}
			b.wantThings(t, p)
		})
	}
}

func TestMigrationsUnderLoad(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.change(func(p *mayfly.Project) { p.Migrations.Load = mayfly.MigrationLoad{Readers: 1, Writers: 1} })
	b.commitMain(t, map[string]string{path1: history()[path1]})
	pr := b.branch(t, "points", map[string]string{path2: "alter table customer add points int;\nselect pg_sleep(0.3);\n"})
	p := b.ready(t, pr)
	report := b.reportOf(t, p)
	if report.Load == nil || len(report.Load.Tables) != 1 || report.Load.Tables[0].Table != "public.customer" || report.Load.Tables[0].Writes.BlockedMS == 0 {
		t.Errorf("the load: %+v\n%s", report.Load, b.timeline(t, p.ID))
	}
	if !hasFinding(report, migrations.FindingLoadBlocked) {
		t.Errorf("nobody says that others have to wait: %+v", report.Findings)
	}
	b.wantThings(t, p)
}

// dieAt converges in a process that dies at a step: it gets nothing more done, not even its cleaning up.
func (b *bed) dieAt(t *testing.T, id, step string) {
	t.Helper()
	ctx, die := context.WithCancel(t.Context())
	defer die()
	opts := b.opts
	died := false
	opts.Checkpoint = func(now string) {
		if now == step {
			died = true
			b.machine.unplug(true)
			die()
		}
	}
	_ = provisioner.New(opts).Converge(ctx, id)
	b.machine.unplug(false)
	if !died {
		t.Fatalf("it never came to the step %q:\n%s", step, b.timeline(t, id))
	}
}

// Whoever wants something else waits neither for a rehearsal nor for the slot of one.
func TestARehearsalIsInNobodysWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.MigrationSlots = 1
	b.Service = provisioner.New(b.opts)
	b.commitMain(t, map[string]string{path1: history()[path1]})
	pr := b.branch(t, "points", map[string]string{path2: history()[path2], down2: "select pg_sleep(3600);\n"})
	b.sync(t, pr)
	p := b.of(t, pr)
	var converging sync.WaitGroup
	converging.Go(func() { _ = b.Converge(t.Context(), p.ID) })
	eventually(t, "the rehearsal runs", func() bool { return b.steps(t, p.ID, "rehearse rollback") == 1 })

	other := b.branch(t, "other", map[string]string{path2: history()[path2]})
	b.sync(t, other)
	var later *provisioner.LaterError
	if err := b.Converge(t.Context(), b.of(t, other).ID); err != nil && !errors.As(err, &later) {
		t.Fatal(err)
	}
	b.want(t, b.preview(t, b.of(t, other).ID), mayfly.PreviewReady)
	for range 2 { // its own rehearsal stays due for as long as there is another one
		if err := b.Converge(t.Context(), b.of(t, other).ID); !errors.As(err, &later) {
			t.Errorf("another rehearsal meanwhile: %v\n%s", err, b.timeline(t, b.of(t, other).ID))
		}
	}
	if n := b.steps(t, b.of(t, other).ID, "fetch migrations"); n != 1 {
		t.Errorf("waiting for its turn, it fetched the migrations %d times", n)
	}

	if _, err := b.store.ChangePreview(t.Context(), p.ID, func(p *mayfly.Preview) error { p.WantSuspended = true; return nil }); err != nil {
		t.Fatal(err)
	}
	converging.Wait()
	b.want(t, b.preview(t, p.ID), mayfly.PreviewSuspended)
	due, err := b.store.RehearsalsDue(t.Context())
	if err != nil || len(due) != 1 || due[0] != b.of(t, other).ID {
		t.Errorf("due: %v, %v", due, err)
	}
	p = b.preview(t, p.ID)
	b.wantThings(t, p, b.of(t, other))
	if still, err := b.store.RehearsalDue(t.Context(), p.ID); err != nil || !still {
		t.Errorf("the rehearsal that was broken off is due: %t, %v", still, err)
	}
}
