package provisioner_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/store"
)

// calls sums up what was asked of GitHub since the last reset, and what of it wrote.
func calls(t *testing.T, server *forgetest.Server) (all, writes int) {
	t.Helper()
	for route, n := range server.Calls() {
		all += n
		if !strings.HasPrefix(route, "GET ") {
			writes += n
		}
	}
	return all, writes
}

// idle waits until the queue has nothing to do.
func (b *bed) idle(t *testing.T) {
	t.Helper()
	eventually(t, "the queue has nothing more to do", func() bool {
		var n int
		err := b.store.Pool().QueryRow(t.Context(), `
			select count(*) from river_job where finalized_at is null and kind not in ('reconcile', 'expire', 'sweep')`).Scan(&n)
		return err == nil && n == 0
	})
}

// GitHub allows few requests in an hour.
func TestPublishAsksForLittle(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.deliver(t, "opened", pr, b.payload(t, pr, "opened"))
	p := b.ready(t, pr)
	// Writes: two checks, the comment, a deployment and its state; reading a directory is a POST too. The repository's name, the base
	// branch's directory, its .mayfly.yml and the head of the default branch are asked for once for many pull requests. b.ready reads the
	// pull request once more than a delivery does.
	if all, writes := calls(t, b.github); all-1 > 12 || writes > 7 {
		t.Errorf("opening took %d calls, %d of them writes: %v", all-1, writes, b.github.Calls())
	}
	b.github.ResetCalls()
	b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.deliver(t, "synchronize", pr, b.payload(t, pr, "synchronize"))
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if err := b.Publish(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if all, writes := calls(t, b.github); all > 8 || writes > 6 {
		t.Errorf("a push took %d calls, %d of them writes: %v", all, writes, b.github.Calls())
	}
	b.github.ResetCalls()
	for range 3 {
		if err := b.Publish(t.Context(), p.ID); err != nil {
			t.Fatal(err)
		}
	}
	if all, _ := calls(t, b.github); all != 0 {
		t.Errorf("publishing again what was published took %d calls: %v", all, b.github.Calls())
	}
}

// Everybody who follows a pull request sees every status and every edit of the comment.
func TestPublishSendsEachThingOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.work(t, jobs.Options{})
	b.accept(t, "opened", pr)
	b.accept(t, "edited", pr)
	eventually(t, "the preview is ready", func() bool { p := b.of(t, pr); return p != nil && p.State == mayfly.PreviewReady })
	b.idle(t)
	sha := b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.accept(t, "synchronize", pr)
	eventually(t, "the preview follows", func() bool { return b.of(t, pr).ObservedSHA == sha })
	b.idle(t)
	onlyComment(t, pr)
	statuses := b.repo.Statuses(sha)
	for i := range statuses {
		if slices.ContainsFunc(statuses[:i], func(s forgetest.Status) bool {
			return s.Context == statuses[i].Context && s.State == statuses[i].State && s.Description == statuses[i].Description
		}) {
			t.Errorf("the same status was set twice: %+v", statuses)
		}
	}
	if last := lastStatus(t, pr, sha); last.State != "success" {
		t.Errorf("the last status is %+v", last)
	}
}

func (b *bed) accept(t *testing.T, action string, pr *forgetest.PR) {
	t.Helper()
	d := b.payload(t, pr, action)
	if _, err := b.store.AcceptDelivery(t.Context(), store.Delivery{
		ID: mayfly.NewID("d"), Event: "pull_request", Action: action, RepositoryID: pr.Repo().ID(),
		Repository: pr.Repo().FullName(), Number: pr.Number(), Payload: d.raw,
	}); err != nil {
		t.Fatal(err)
	}
}

func TestPublishersAtOnceMakeOneComment(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := b.Publish(t.Context(), p.ID); err != nil {
				t.Errorf("publish: %v", err)
			}
		})
	}
	wg.Wait()
	onlyComment(t, pr)
	if statuses := b.repo.Statuses(p.PR.HeadSHA); len(statuses) != 2 {
		t.Errorf("the commit has %d statuses, not 2", len(statuses))
	}
}

func TestGitHubDownIsToldLater(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	sha := b.push(t, pr, map[string]string{"main.go": "package main\n"})
	b.sync(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.github.FailNext(100, 502)
	if err := b.Publish(t.Context(), p.ID); mayfly.ErrorCode(err) != mayfly.CodeForgeUnavailable {
		t.Errorf("publish while GitHub is down: %v", err)
	}
	b.github.FailNext(0, 0)
	if err := b.Publish(t.Context(), p.ID); err != nil {
		t.Fatal(err)
	}
	if status := lastStatus(t, pr, sha); status.State != "success" {
		t.Errorf("the status is %+v", status)
	}
}

func TestADeletedCommentComesBackWithTheNextNews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.ready(t, pr)
	b.repo.DeleteComment(pr.Comments()[0].ID)
	b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.ready(t, pr)
	onlyComment(t, pr)
}
