package provisioner_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner"
)

// A migration may set statement_timeout itself; the time of all of them together is bounded from outside.
func TestMigrationsEndInTime(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.all[0].Migrations.Timeout = 500 * time.Millisecond
	files := history()
	files[path3] = "set statement_timeout = 0; select pg_sleep(3600);\n"
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	p := b.want(t, b.converge(t, b.of(t, pr).ID), mayfly.PreviewFailed)
	if p.Failure.Code != mayfly.CodeMigrationFailed || !strings.Contains(p.Failure.Message, "did not end within 500ms") || p.Failure.Hint == "" {
		t.Errorf("the failure is %+v", p.Failure)
	}
}

// Pull requests whose migrations take long must not keep others from getting and losing their databases.
func TestLongMigrationsLeaveWorkersForOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.MigrationSlots = 1
	b.Service = provisioner.New(b.opts)
	slow := history()
	slow[path3] = "select pg_sleep(3600);\n"
	first := b.open(t, "slow", slow)
	b.sync(t, first)
	var wg sync.WaitGroup
	wg.Go(func() { _ = b.Converge(t.Context(), b.of(t, first).ID) }) // superseded below
	eventually(t, "the long migration runs", func() bool { return b.steps(t, b.of(t, first).ID, "migrate") == 1 })

	second := b.open(t, "points", history())
	b.sync(t, second)
	waiting := b.of(t, second)
	var later *provisioner.LaterError
	if err := b.Converge(t.Context(), waiting.ID); !errors.As(err, &later) {
		t.Errorf("the second pull request does not wait for its turn: %v", err)
	}
	if p := b.preview(t, waiting.ID); p.Failure != nil || p.State != mayfly.PreviewPending {
		t.Errorf("waiting is told as %s, %+v", p.State, p.Failure)
	}
	b.want(t, b.converge(t, b.sandbox(t, "quick").ID), mayfly.PreviewReady)

	if _, err := b.Delete(t.Context(), b.of(t, first).Name); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	b.want(t, b.converge(t, waiting.ID), mayfly.PreviewReady)
}
