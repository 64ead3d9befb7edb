package provisioner_test

import (
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner"
)

func TestPreviewThatOutgrowsItsDiskLimitIsSuspended(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.all[0].Previews.DiskBytes = 40 << 20 // WAL counts, too
	b.opts.WatchDisk = true
	b.Service = provisioner.New(b.opts)
	large, small := b.sandbox(t, "large"), b.sandbox(t, "small")
	size, err := b.shelf.Size(t.Context(), b.template.ID)
	if err != nil {
		t.Fatal(err)
	}
	b.template.SizeBytes = size // as a build records it
	if err := b.store.UpdateTemplate(t.Context(), b.template); err != nil {
		t.Fatal(err)
	}
	large, small = b.converge(t, large.ID), b.converge(t, small.ID)
	conn, err := b.login(t, large, b.password(t, large.Name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "create table filler as select repeat(md5(i::text), 20) from generate_series(1, 100000) i"); err != nil {
		t.Fatal(err)
	}
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, large.ID), mayfly.PreviewSuspended)
	b.want(t, b.converge(t, small.ID), mayfly.PreviewReady)
	if b.steps(t, large.ID, "disk limit") != 1 {
		t.Errorf("the timeline does not say why:\n%s", b.timeline(t, large.ID))
	}
}

// TestAMigrationThatWritesTooMuchIsEnded is one that would fill the pool of everybody before it ends.
func TestAMigrationThatWritesTooMuchIsEnded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.all[0].Previews.DiskBytes = 60 << 20
	b.opts.WatchDisk = true
	b.Service = provisioner.New(b.opts)
	other := b.sandbox(t, "other")
	b.commitMain(t, map[string]string{path1: history()[path1]})
	pr := b.branch(t, "filler", map[string]string{
		path2: "create table filler (t text);\ninsert into filler select repeat(md5(i::text), 20) from generate_series(1, 20000000) i;\n",
	})
	p := b.settle(t, pr, mayfly.PreviewFailed)
	if p.Failure.Code != mayfly.CodeMigrationFailed || !strings.Contains(p.Failure.Message, "wrote more than the 60 MiB") {
		t.Errorf("it failed with %+v", p.Failure)
	}
	if report := b.reportOf(t, p); report.Failure == nil || report.Failure.File == "" {
		t.Errorf("the report does not say which file it was: %+v", report.Failure)
	}
	if n := b.query(t, p, "select count(*)::text from customer"); n != "100" {
		t.Errorf("the preview has %s customers after the migration was ended", n)
	}
	b.want(t, b.converge(t, other.ID), mayfly.PreviewReady)
}
