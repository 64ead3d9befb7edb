package provisioner_test

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
)

const (
	path1 = "db/migrations/1_init.up.sql"
	path2 = "db/migrations/2_points.up.sql"
	path3 = "db/migrations/3_notes.up.sql"
)

// history is a head with the migration that the template has and one that is pending.
func history() map[string]string {
	return map[string]string{
		path1: "create table customer (id bigint primary key, email text not null);\n",
		path2: "alter table customer add points int not null default 7;\n",
	}
}

// open opens a pull request with the files at its head.
func (b *bed) open(t *testing.T, branch string, files map[string]string) *forgetest.PR {
	t.Helper()
	return openIn(t, b.repo, branch, files)
}

func openIn(t *testing.T, repo *forgetest.Repo, branch string, files map[string]string) *forgetest.PR {
	t.Helper()
	if _, err := repo.Commit(t.Context(), branch, files, "Change "+branch); err != nil {
		t.Fatal(err)
	}
	pr, err := repo.OpenPullRequest(t.Context(), branch, "main", "Change "+branch, forgetest.PROptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pr
}

// sync does what a delivery about the pull request leads to.
func (b *bed) sync(t *testing.T, pr *forgetest.PR) {
	t.Helper()
	if err := b.SyncPullRequest(t.Context(), pr.Repo().ID(), pr.Number()); err != nil {
		t.Fatalf("sync the pull request: %v", err)
	}
}

// of returns the live preview of a pull request in the project "shop", or nil.
func (b *bed) of(t *testing.T, pr *forgetest.PR) *mayfly.Preview {
	t.Helper()
	p, err := b.store.PreviewByPullRequest(t.Context(), "shop", pr.Repo().ID(), pr.Number())
	if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// ready syncs, converges and publishes a pull request, and returns its ready preview.
func (b *bed) ready(t *testing.T, pr *forgetest.PR) *mayfly.Preview {
	t.Helper()
	return b.settle(t, pr, mayfly.PreviewReady)
}

func (b *bed) settle(t *testing.T, pr *forgetest.PR, state mayfly.PreviewState) *mayfly.Preview {
	t.Helper()
	b.sync(t, pr)
	p := b.of(t, pr)
	if p == nil {
		t.Fatal("the pull request has no preview")
	}
	p = b.want(t, b.converge(t, p.ID), state)
	if err := b.Publish(t.Context(), p.ID); err != nil {
		t.Fatalf("publish: %v", err)
	}
	return p
}

func (b *bed) push(t *testing.T, pr *forgetest.PR, files map[string]string) string {
	t.Helper()
	sha, err := pr.Push(t.Context(), files)
	if err != nil {
		t.Fatal(err)
	}
	return sha
}

// lastStatus returns the newest status of a commit.
func lastStatus(t *testing.T, pr *forgetest.PR, sha string) forgetest.Status {
	t.Helper()
	statuses := pr.Repo().Statuses(sha)
	if len(statuses) == 0 {
		t.Fatalf("commit %.7s has no status", sha)
	}
	return statuses[len(statuses)-1]
}

func onlyComment(t *testing.T, pr *forgetest.PR) string {
	t.Helper()
	comments := pr.Comments()
	if len(comments) != 1 {
		t.Fatalf("the pull request has %d comments, not 1: %+v", len(comments), comments)
	}
	return comments[0].Body
}

func TestPullRequestFromOpenToMerge(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	if p.Name != "shop-pr-1" || p.Kind != mayfly.KindPullRequest || p.ObservedSHA != pr.HeadSHA(t.Context()) {
		t.Errorf("the preview is %+v", p)
	}
	if points := b.query(t, p, "select points::text from customer limit 1"); points != "7" {
		t.Errorf("the migrated column has %s, not 7", points)
	}
	if version := b.query(t, p, "select version || ' ' || dirty from schema_migrations"); version != "2 false" {
		t.Errorf("the tracking table says %q", version)
	}
	if owner := b.query(t, p, "select pg_get_userbyid(relowner) from pg_class where relname = 'customer'"); owner != "app" {
		t.Errorf("migrations ran as %s", owner)
	}
	if status := lastStatus(t, pr, p.PR.HeadSHA); status.State != "success" {
		t.Errorf("the status is %+v", status)
	}
	comment := onlyComment(t, pr)
	if !strings.Contains(comment, p.Name) || strings.Contains(comment, b.password(t, p.Name)) {
		t.Errorf("the comment does not name the preview, or has its password in it:\n%s", comment)
	}

	if err := pr.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	if err := b.Publish(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if after := onlyComment(t, pr); after == comment {
		t.Error("the comment does not say that the database was removed")
	}
	b.wantThings(t)
}

func TestSynchronizeInPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	b.query(t, p, "with x as (insert into customer values (1000, 'own@example.com') returning 1) select count(*)::text from x")
	b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	p = b.ready(t, pr)
	if p.ObservedGeneration != 1 || b.steps(t, p.ID, "clone") != 1 {
		t.Errorf("a pushed migration on top rebuilt the preview:\n%s", b.timeline(t, p.ID))
	}
	if n := b.query(t, p, "select count(*)::text from customer where id = 1000"); n != "1" {
		t.Error("the data of before the push is gone")
	}
	if version := b.query(t, p, "select version::text from schema_migrations"); version != "3" {
		t.Errorf("the tracking table says %s, not 3", version)
	}
	// A push that touches no migration applies none, and wakes a preview that sleeps.
	b.push(t, pr, map[string]string{"main.go": "package main\n"})
	p = b.ready(t, pr)
	if p.ObservedGeneration != 1 {
		t.Errorf("a push without migrations rebuilt the preview:\n%s", b.timeline(t, p.ID))
	}
}

func TestTheToolIsFoundOutAndSeedsRunOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	shop := &b.projects.all[0].Migrations
	shop.Tool, shop.Seed = mayfly.MigrationToolAuto, []string{"db/seeds", "seed.sql"}
	files := history()
	files["seed.sql"] = "select 1;\n"
	files["db/seeds/points.sql"] = "create table if not exists seeded (at timestamptz default now());\ninsert into seeded default values;\n"
	pr := b.open(t, "points", files)
	p := b.ready(t, pr)
	if timeline := b.timeline(t, p.ID); !strings.Contains(timeline, "golang-migrate: the names of the files fit") {
		t.Errorf("the timeline does not say which tool it is:\n%s", timeline)
	}
	b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	p = b.ready(t, pr)
	if n := b.query(t, p, "select count(*)::text from seeded"); n != "1" || p.ObservedGeneration != 1 {
		t.Errorf("the seed ran %s times, in generation %d", n, p.ObservedGeneration)
	}
	shop.AlwaysRebuild = true
	b.push(t, pr, map[string]string{"main.go": "package main\n"})
	if p = b.ready(t, pr); p.ObservedGeneration != 2 || !strings.Contains(b.timeline(t, p.ID), "always_rebuild") {
		t.Errorf("generation %d after a push, not 2:\n%s", p.ObservedGeneration, b.timeline(t, p.ID))
	}
	if n := b.query(t, p, "select count(*)::text from seeded"); n != "1" {
		t.Errorf("the rebuilt preview has %s seeds", n)
	}
}

func TestEditedMigrationRebuilds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.ready(t, pr)
	b.push(t, pr, map[string]string{path2: "alter table customer add points int not null default 8;\n"})
	p := b.ready(t, pr)
	if p.ObservedGeneration != 2 {
		t.Errorf("after an applied migration was edited the generation is %d, not 2", p.ObservedGeneration)
	}
	if points := b.query(t, p, "select points::text from customer limit 1"); points != "8" {
		t.Errorf("the edited migration did not run: points are %s", points)
	}
	timeline := b.timeline(t, p.ID)
	if !strings.Contains(timeline, "rebuild [") || !strings.Contains(timeline, "2_points") {
		t.Errorf("the timeline does not say why it was rebuilt:\n%s", timeline)
	}
	if comment := onlyComment(t, pr); !strings.Contains(comment, "Rebuilt from the template") {
		t.Errorf("the comment does not say that it was rebuilt:\n%s", comment)
	}
	b.wantThings(t, p)
}

func TestFailingMigrationStaysInspectableAndTheNextPushRepairs(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files[path3] = "create table note (id int);\nalter table customer add constraint small check (id < 10);\n"
	pr := b.open(t, "points", files)
	p := b.settle(t, pr, mayfly.PreviewFailed)
	if p.Failure == nil || p.Failure.Code != mayfly.CodeMigrationFailed || !p.Connectable() {
		t.Fatalf("the failure is %+v, connectable: %t", p.Failure, p.Connectable())
	}
	if version := b.query(t, p, "select version || ' ' || dirty from schema_migrations"); version != "3 true" {
		t.Errorf("the tracking table says %q, not what the project's own tool leaves", version)
	}
	if status := lastStatus(t, pr, p.PR.HeadSHA); status.State != "failure" || !strings.Contains(status.Description, "3_notes") {
		t.Errorf("the status is %+v", status)
	}
	if comment := onlyComment(t, pr); !strings.Contains(comment, "23514") || !strings.Contains(comment, "small") {
		t.Errorf("the comment does not show the SQLSTATE and the statement:\n%s", comment)
	}
	report, err := b.RecordedReport(t.Context(), p.Name)
	if err != nil || !strings.Contains(string(report), "23514") {
		t.Errorf("the report is %s, %v", report, err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewFailed) // and does not try for ever
	if p = b.preview(t, p.ID); p.ObservedGeneration != 1 {
		t.Errorf("a failed migration was tried again by itself: generation %d", p.ObservedGeneration)
	}

	b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	p = b.ready(t, pr)
	if version := b.query(t, p, "select version || ' ' || dirty from schema_migrations"); version != "3 false" {
		t.Errorf("after the push the tracking table says %q", version)
	}
	if status := lastStatus(t, pr, p.PR.HeadSHA); status.State != "success" {
		t.Errorf("after the push the status is %+v", status)
	}
	b.wantThings(t, p)
}

func TestFailedPreviewWakesForInspection(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	files := history()
	files[path3] = "select 1/0;\n"
	pr := b.open(t, "points", files)
	p := b.settle(t, pr, mayfly.PreviewFailed)
	b.machine.kill(t, p.Instance())
	got, err := b.AwaitConnectable(t.Context(), p.Name)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the failed preview can be connected to", func() bool {
		conn, err := b.login(t, got, b.password(t, p.Name))
		return err == nil && conn.Ping(t.Context()) == nil
	})
	b.want(t, b.preview(t, p.ID), mayfly.PreviewFailed)
}

func TestUnreadableHistory(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files["db/migrations/2_other.up.sql"] = "select 1;\n"
	pr := b.open(t, "points", files)
	p := b.settle(t, pr, mayfly.PreviewFailed)
	if p.Failure.Code != mayfly.CodeMigrationInvalid {
		t.Errorf("two files of one version: %+v", p.Failure)
	}
	if status := lastStatus(t, pr, p.PR.HeadSHA); status.State != "failure" {
		t.Errorf("the status is %+v", status)
	}
	if _, err := pr.ForcePush(t.Context(), history()); err != nil {
		t.Fatal(err)
	}
	b.ready(t, pr)
}

func TestSupersededMigrationIsCancelled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files[path3] = "select pg_sleep(3600);\n"
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	p := b.of(t, pr)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Converge(t.Context(), p.ID); err != nil {
			t.Errorf("converge: %v", err)
		}
	})
	eventually(t, "the long migration runs", func() bool {
		return b.preview(t, p.ID).State == mayfly.PreviewMigrating && b.steps(t, p.ID, "migrate") == 1
	})
	sha := b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.sync(t, pr)
	// What the queue does at the same time: it does not get the lock, and leaves the work to the holder.
	if err := b.Converge(t.Context(), p.ID); err != nil {
		t.Errorf("converge beside the holder of the lock: %v", err)
	}
	wg.Wait()
	p = b.want(t, b.preview(t, p.ID), mayfly.PreviewReady)
	if p.ObservedSHA != sha {
		t.Errorf("the preview is at %.7s, not at the newest head %.7s", p.ObservedSHA, sha)
	}
	if version := b.query(t, p, "select version || ' ' || dirty from schema_migrations"); version != "3 false" {
		t.Errorf("the tracking table says %q", version)
	}
	b.wantThings(t, p)
}

func TestEndlessMigrationFailsInsteadOfBeingTriedForEver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files[path3] = "select pg_sleep(3600);\n"
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	p := b.of(t, pr)
	limited := &timeLimit{Context: t.Context(), over: make(chan struct{})} // as the queue's, which ends once the migration runs
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Converge(limited, p.ID); err != nil {
			t.Errorf("converge: %v", err)
		}
	})
	eventually(t, "the long migration runs", func() bool { return b.steps(t, p.ID, "migrate") == 1 })
	close(limited.over)
	wg.Wait()
	p = b.want(t, b.preview(t, p.ID), mayfly.PreviewFailed)
	if p.Failure.Code != mayfly.CodeMigrationFailed || !strings.Contains(p.Failure.Message, "did not end") || p.Failure.Hint == "" {
		t.Errorf("the failure is %+v", p.Failure)
	}
}

// timeLimit is a context whose deadline passes when over is closed.
type timeLimit struct {
	context.Context //nolint:containedctx // it is one

	over chan struct{}
}

func (l *timeLimit) Done() <-chan struct{} { return l.over }

func (l *timeLimit) Err() error {
	select {
	case <-l.over:
		return context.DeadlineExceeded
	default:
		return nil
	}
}

func TestClosedWhileMigrating(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files[path3] = "select pg_sleep(3600);\n"
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	p := b.of(t, pr)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := b.Converge(t.Context(), p.ID); err != nil {
			t.Errorf("converge: %v", err)
		}
	})
	eventually(t, "the long migration runs", func() bool { return b.steps(t, p.ID, "migrate") == 1 })
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	wg.Wait()
	b.want(t, b.preview(t, p.ID), mayfly.PreviewDeleted)
	b.wantThings(t)
}

func TestClosedBeforeOpened(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	opened := b.payload(t, pr, "opened")
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.deliver(t, "d-closed", pr, b.payload(t, pr, "closed"))
	b.deliver(t, "d-opened", pr, opened)
	if p := b.of(t, pr); p != nil {
		t.Errorf("a closed pull request has a preview: %+v", p)
	}
	b.wantThings(t)
}

func TestSynchronizeAfterClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	late := b.payload(t, pr, "synchronize")
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.deliver(t, "d-closed", pr, b.payload(t, pr, "closed"))
	b.deliver(t, "d-late", pr, late)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.deliver(t, "d-later", pr, late)
	if p := b.of(t, pr); p != nil {
		t.Errorf("a late delivery made a preview: %+v", p)
	}
	b.wantThings(t)
}

// payload makes the payload of a delivery as things are now, to be delivered later.
func (b *bed) payload(t *testing.T, pr *forgetest.PR, action string) delivery {
	t.Helper()
	raw, err := b.github.Payload(t.Context(), forgetest.Delivery{Event: "pull_request", Action: action, PR: pr})
	if err != nil {
		t.Fatal(err)
	}
	return delivery{action: action, raw: raw}
}

type delivery struct {
	action string
	raw    []byte
}

// deliver stores a delivery, and works on it as the queue would.
func (b *bed) deliver(t *testing.T, id string, pr *forgetest.PR, d delivery) {
	t.Helper()
	_, err := b.store.AcceptDelivery(t.Context(), store.Delivery{
		ID: id, Event: "pull_request", Action: d.action, RepositoryID: pr.Repo().ID(), Repository: pr.Repo().FullName(),
		Number: pr.Number(), Payload: d.raw,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.HandleDelivery(t.Context(), id); err != nil {
		t.Fatalf("handle the delivery: %v", err)
	}
	b.sync(t, pr)
}

func TestDeliveriesOfOtherThingsAreRecordedAndIgnored(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stranger, err := b.github.CreateRepository(t.Context(), "stranger/other")
	if err != nil {
		t.Fatal(err)
	}
	for name, d := range map[string]store.Delivery{
		"unknown repository": {Event: "pull_request", Action: "opened", RepositoryID: stranger.ID(), Repository: "stranger/other", Number: 1},
		"other event":        {Event: "push", RepositoryID: b.repo.ID(), Repository: "acme/shop"},
		"other action":       {Event: "pull_request", Action: "assigned", RepositoryID: b.repo.ID(), Repository: "acme/shop", Number: 1},
	} {
		d.ID, d.Payload = name, []byte("{}")
		if _, err := b.store.AcceptDelivery(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if err := b.HandleDelivery(t.Context(), d.ID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		stored, err := b.store.Delivery(t.Context(), d.ID)
		if err != nil || stored.State != store.DeliveryIgnored || stored.Note == "" {
			t.Errorf("%s: recorded as %+v, %v", name, stored, err)
		}
	}
	if n := b.queued(t, "pull_request_sync"); n != 0 {
		t.Errorf("%d pull requests are to be looked at", n)
	}
}

// queued counts the jobs of a kind, done or not.
func (b *bed) queued(t *testing.T, kind string) int {
	t.Helper()
	var n int
	if err := b.store.Pool().QueryRow(t.Context(), `select count(*) from river_job where kind = $1`, kind).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRepeatedDeliveryIsProcessedOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	d := b.payload(t, pr, "opened")
	for range 3 {
		b.deliver(t, "the same", pr, d)
	}
	if jobs := b.queued(t, "delivery_process"); jobs != 1 {
		t.Errorf("a delivery that came three times has %d jobs, not 1", jobs)
	}
	if jobs := b.queued(t, "pull_request_sync"); jobs != 1 {
		t.Errorf("a delivery that came three times led to %d looks, not 1", jobs)
	}
	all, err := b.store.Previews(t.Context(), store.Filter{IncludeDeleted: true})
	if err != nil || len(all) != 1 {
		t.Errorf("there are %d previews, not 1 (%v)", len(all), err)
	}
}

func TestHeadVanished(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	if err := pr.DeleteHead(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := b.settle(t, pr, mayfly.PreviewFailed)
	if p.Failure.Code != mayfly.CodeHeadGone || p.Failure.Hint == "" {
		t.Errorf("the failure is %+v", p.Failure)
	}
	if comment := onlyComment(t, pr); !strings.Contains(comment, p.Failure.Message) {
		t.Errorf("the comment does not say that the commit is gone:\n%s", comment)
	}
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.wantThings(t)
}

func TestForkGetsNoDatabase(t *testing.T) {
	t.Parallel()
	b := setup(t)
	if _, err := b.repo.CommitFork(t.Context(), "stranger", "evil", history(), "Evil"); err != nil {
		t.Fatal(err)
	}
	pr, err := b.repo.OpenPullRequest(t.Context(), "evil", "main", "Evil", forgetest.PROptions{Fork: "stranger", Author: "stranger"})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		b.deliver(t, "d", pr, b.payload(t, pr, "opened"))
	}
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	statuses := b.repo.Statuses(pr.HeadSHA(t.Context()))
	if len(statuses) != 2 || !strings.Contains(statuses[0].Description, "forks get no database") { // one for each check
		t.Errorf("the statuses of a fork's pull request are %+v", statuses)
	}
	if len(pr.Comments()) != 0 || b.of(t, pr) != nil {
		t.Error("a fork's pull request led to something else than a status")
	}
	b.wantThings(t)
}

func TestTheSameNumberInTwoRepositories(t *testing.T) {
	t.Parallel()
	b := setup(t)
	blog, err := b.github.CreateRepository(t.Context(), "acme/blog")
	if err != nil {
		t.Fatal(err)
	}
	base := template(t)
	b.projects.mu.Lock()
	b.projects.all = append(b.projects.all, project("blog", "acme/blog", base.major))
	b.projects.mu.Unlock()
	shopPR := b.open(t, "points", history())
	blogPR := openIn(t, blog, "points", history())
	if shopPR.Number() != blogPR.Number() {
		t.Fatalf("the numbers are %d and %d", shopPR.Number(), blogPR.Number())
	}
	shop := b.ready(t, shopPR)
	b.sync(t, blogPR)
	other, err := b.store.PreviewByPullRequest(t.Context(), "blog", blog.ID(), blogPR.Number())
	if err != nil {
		t.Fatal(err)
	}
	if other.ID == shop.ID || other.Name != "blog-pr-1" {
		t.Errorf("the previews are %s %s and %s %s", shop.ID, shop.Name, other.ID, other.Name)
	}
	if err := blogPR.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, blogPR)
	b.want(t, b.converge(t, other.ID), mayfly.PreviewDeleted)
	shop = b.want(t, b.preview(t, shop.ID), mayfly.PreviewReady)
	b.wantThings(t, shop)
}

func TestReopenWhileDeleting(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.work(t, jobs.Options{})
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	removing, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	b.machine.intercept(func(ctx context.Context, operation, _ string) error {
		if operation == "remove" {
			once.Do(func() { close(removing) })
			select {
			case <-goOn:
			case <-ctx.Done():
			}
		}
		return nil
	})
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	<-removing
	if err := pr.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.store.RequestPullRequest(t.Context(), b.repo.ID(), pr.Number()); err != nil {
		t.Fatal(err)
	}
	close(goOn)
	eventually(t, "the reopened pull request has a new preview", func() bool {
		now := b.of(t, pr)
		return now != nil && now.ID != p.ID && now.State == mayfly.PreviewReady && now.Settled()
	})
	b.want(t, b.preview(t, p.ID), mayfly.PreviewDeleted)
	b.wantThings(t, b.of(t, pr))
}

func TestPullRequestsPreviewExpires(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.change(func(p *mayfly.Project) { p.Previews.PullRequestTTL = time.Hour })
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	b.clock.advance(2 * time.Hour)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	before := b.queued(t, "pull_request_sync")
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	if again := b.of(t, pr); again != nil || b.queued(t, "pull_request_sync") != before {
		t.Errorf("an expired preview was made again: %+v", again)
	}
	b.push(t, pr, map[string]string{"main.go": "package main\n"})
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.queued(t, "pull_request_sync") == before {
		t.Error("a push after the expiry is not looked at")
	}
	b.ready(t, pr)
}

func TestPullRequestIsToldThatThePoolIsFull(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shelf.fill(1 << 20)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	if p == nil || p.State != mayfly.PreviewQueued {
		t.Fatalf("a full pool does not make the preview wait: %+v", p)
	}
	if err := b.Publish(t.Context(), p.ID); err != nil {
		t.Logf("publish: %v", err) // what is left is told a little later
	}
	if status := lastStatus(t, pr, pr.HeadSHA(t.Context())); status.State != "pending" {
		t.Errorf("the status is %+v", status)
	}
	b.wantThings(t)
	b.shelf.fill(0)
	if err := b.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.ready(t, pr)
	if status := lastStatus(t, pr, pr.HeadSHA(t.Context())); status.State != "success" {
		t.Errorf("the status after there was room is %+v", status)
	}
}
