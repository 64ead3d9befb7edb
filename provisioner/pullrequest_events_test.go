package provisioner_test

import (
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/store"
)

// policy changes which pull requests of the project get a preview.
func (b *bed) policy(change func(*mayfly.PullRequestPolicy)) {
	b.projects.change(func(p *mayfly.Project) { change(&p.Previews.PullRequests) })
}

// event accepts and handles a delivery, looks at the pull requests that it leads to, and returns how it is recorded.
func (b *bed) event(t *testing.T, event, action string, number int, payload []byte) *store.Delivery {
	t.Helper()
	return b.eventOf(t, mayfly.NewID("d"), event, action, b.repo.ID(), number, payload)
}

func (b *bed) eventOf(t *testing.T, id, event, action string, repository int64, number int, payload []byte) *store.Delivery {
	t.Helper()
	d := store.Delivery{ID: id, Event: event, Action: action, RepositoryID: repository, Repository: "acme/shop", Number: number, Payload: payload}
	if _, err := b.store.AcceptDelivery(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	before := b.newestJob(t)
	if err := b.HandleDelivery(t.Context(), id); err != nil {
		t.Fatalf("handle %s %s: %v", event, action, err)
	}
	for _, n := range b.jobsSince(t, before) {
		if err := b.SyncPullRequest(t.Context(), repository, n); err != nil {
			t.Fatalf("look at pull request %d after %s %s: %v", n, event, action, err)
		}
	}
	stored, err := b.store.Delivery(t.Context(), id)
	if err != nil || stored.State == store.DeliveryReceived {
		t.Fatalf("%s %s is recorded as %+v, %v", event, action, stored, err)
	}
	return stored
}

func (b *bed) newestJob(t *testing.T) (id int64) {
	t.Helper()
	if err := b.store.Pool().QueryRow(t.Context(), `select coalesce(max(id), 0) from river_job`).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

// jobsSince returns the pull requests that are to be looked at since a job, and forgets them.
func (b *bed) jobsSince(t *testing.T, job int64) []int {
	t.Helper()
	rows, err := b.store.Pool().Query(t.Context(), `delete from river_job where id > $1 and kind = 'pull_request_sync' returning (args ->> 'number')::int`, job)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var numbers []int
	for rows.Next() {
		var n int
		if err := rows.Scan(&n); err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, n)
	}
	return numbers
}

// with makes a payload by somebody.
func (b *bed) with(t *testing.T, sender string, more map[string]any) []byte {
	t.Helper()
	payload, err := b.github.PayloadWith(b.repo, sender, more)
	if err != nil {
		t.Fatal(err)
	}
	return payload
}

// concluded returns how the checks of a commit ended; "" if they did not.
func (b *bed) concluded(pr *forgetest.PR, sha string) string {
	last := map[string]string{}
	for _, s := range pr.Repo().Statuses(sha) {
		last[s.Context] = s.State
	}
	outcome := ""
	for _, state := range last {
		if state == "pending" {
			return ""
		}
		if outcome == "" || state != "success" {
			outcome = state
		}
	}
	return outcome
}

func TestClosedPullRequestSleepsAndReopeningBringsItBack(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Grace = time.Hour })
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	b.query(t, p, "with x as (insert into customer values (1000, 'own@example.com') returning 1) select count(*)::text from x")
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)
	if p.ClosedAt == nil {
		t.Fatal("the preview does not know that its pull request is closed")
	}
	if _, err := b.AwaitConnectable(t.Context(), p.Name); mayfly.ErrorCode(err) != mayfly.CodeConflict {
		t.Errorf("a client of a closed pull request's preview gets %v", err)
	}
	b.clock.advance(30 * time.Minute)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := pr.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	p = b.ready(t, pr)
	if n := b.query(t, p, "select count(*)::text from customer where id = 1000"); n != "1" || p.ClosedAt != nil {
		t.Errorf("reopened within the grace period, the preview has %s of its own rows; closed at %v", n, p.ClosedAt)
	}
	if err := pr.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)
	b.clock.advance(time.Hour + time.Minute)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.wantThings(t)
}

func TestDraftsAndLabelsDecide(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy(func(p *mayfly.PullRequestPolicy) { p.SkipDrafts = true })
	pr := b.open(t, "points", history())
	pr.Edit(func(e *forgetest.PREdit) { e.Draft = true })
	wantNone := func(why string) {
		t.Helper()
		b.event(t, "pull_request", "edited", pr.Number(), b.with(t, "dev", nil))
		if p := b.of(t, pr); p != nil && !p.WantDeleted {
			t.Errorf("%s has a preview", why)
		} else if p != nil {
			b.converge(t, p.ID)
		}
		if got := b.concluded(pr, pr.HeadSHA(t.Context())); got != "success" {
			t.Errorf("the checks of %s ended as %q", why, got)
		}
	}
	wantOne := func(why string) {
		t.Helper()
		b.event(t, "pull_request", "edited", pr.Number(), b.with(t, "dev", nil))
		if p := b.of(t, pr); p == nil || p.WantDeleted {
			t.Errorf("%s has no preview", why)
		}
	}
	wantNone("a draft")
	pr.Edit(func(e *forgetest.PREdit) { e.Draft = false })
	wantOne("a pull request that is ready for review")
	pr.Edit(func(e *forgetest.PREdit) { e.Labels = []string{"No-Preview"} })
	wantNone("one with the label no-preview")
	b.policy(func(p *mayfly.PullRequestPolicy) { p.OnlyLabel = "db" })
	pr.Edit(func(e *forgetest.PREdit) { e.Labels = nil })
	wantNone("one without the label that is needed")
	pr.Edit(func(e *forgetest.PREdit) { e.Labels = []string{"DB", "mayfly:keep"} })
	wantOne("one with the label")
	if p := b.of(t, pr); p == nil || !p.Keep {
		t.Errorf("a label does not keep the preview: %+v", p)
	}
}

func TestPathsAndBotsDecide(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Paths = []string{"db/**", "services/shop/**"} })
	other := b.open(t, "docs", map[string]string{"docs/a.md": "x"})
	b.sync(t, other)
	if p := b.of(t, other); p != nil {
		t.Error("a pull request that touches nothing of the project has a preview")
	}
	if got := b.concluded(other, other.HeadSHA(t.Context())); got != "success" {
		t.Errorf("its checks ended as %q", got)
	}
	touching := b.open(t, "points", history())
	b.sync(t, touching)
	if p := b.of(t, touching); p == nil {
		t.Error("a pull request that touches the project has no preview")
	}
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Paths = nil })
	bot := func(branch string, files map[string]string) *forgetest.PR {
		t.Helper()
		if _, err := b.repo.Commit(t.Context(), branch, files, "Bump"); err != nil {
			t.Fatal(err)
		}
		pr, err := b.repo.OpenPullRequest(t.Context(), branch, "main", "Bump", forgetest.PROptions{Author: "dependabot[bot]"})
		if err != nil {
			t.Fatal(err)
		}
		b.sync(t, pr)
		return pr
	}
	if p := b.of(t, bot("bump-a", map[string]string{"go.mod": "module x"})); p != nil {
		t.Error("a bot's pull request without migrations has a preview")
	}
	if p := b.of(t, bot("bump-b", map[string]string{path2: "select 1;"})); p == nil {
		t.Error("a bot's pull request with a migration has no preview")
	}
	// What was decided costs nothing again.
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, n := range b.jobsSince(t, 0) { // the paths changed
		if err := b.SyncPullRequest(t.Context(), b.repo.ID(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if again := b.jobsSince(t, 0); len(again) != 0 {
		t.Errorf("reconcile looks again at %v, about which nothing changed", again)
	}
}

func TestRemovedPreviewIsNotMadeAgainUntilSomethingHappens(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	remove := func() {
		t.Helper()
		b.sync(t, pr)
		p := b.of(t, pr)
		if p == nil {
			t.Fatal("there is no preview")
		}
		if _, err := b.Delete(t.Context(), p.Name); err != nil {
			t.Fatal(err)
		}
		b.converge(t, p.ID)
		b.jobsSince(t, 0)
		if err := b.Reconcile(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.sync(t, pr)
		if b.of(t, pr) != nil {
			t.Fatal("a preview that was removed by hand is made again")
		}
	}
	remove()
	b.push(t, pr, map[string]string{"a.txt": "a"})
	remove()
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	if err := pr.Reopen(t.Context()); err != nil {
		t.Fatal(err)
	}
	remove()
	// Closed and reopened before anybody looked.
	b.event(t, "pull_request", "reopened", pr.Number(), b.with(t, "dev", map[string]any{
		"action": "reopened", "number": pr.Number(), "pull_request": map[string]any{"updated_at": b.clock.Now().Add(time.Minute)},
	}))
	if b.of(t, pr) == nil {
		t.Error("a reopened pull request has no preview")
	}
}

func TestPushToTheBaseLooksAtItsPullRequests(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	before := b.of(t, pr).PR.BaseSHA
	tip, err := b.repo.Commit(t.Context(), "main", map[string]string{"new.txt": "x"}, "On main")
	if err != nil {
		t.Fatal(err)
	}
	d := b.event(t, "push", "", 0, b.with(t, "dev", map[string]any{"ref": "refs/heads/main", "after": tip}))
	if after := b.of(t, pr).PR.BaseSHA; d.State != store.DeliveryDone || after == before || after != tip {
		t.Errorf("after a push to the base (%s, %s) the base is %.7s, not %.7s", d.State, d.Note, after, tip)
	}
	if d := b.event(t, "push", "", 0, b.with(t, "dev", map[string]any{"ref": "refs/heads/elsewhere"})); d.State != store.DeliveryIgnored {
		t.Errorf("a push to a branch that is nobody's base is %s", d.State)
	}
	if d := b.event(t, "push", "", 0, b.with(t, "dev", map[string]any{"ref": "refs/tags/v1"})); d.State != store.DeliveryIgnored {
		t.Errorf("a tag is %s", d.State)
	}
}

func TestRepositoriesComeAndGo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	// Renamed, and somebody else takes the old name: the id counts.
	if err := b.repo.Rename("acme/store"); err != nil {
		t.Fatal(err)
	}
	b.event(t, "repository", "renamed", 0, b.with(t, "dev", nil))
	b.clock.advance(time.Hour)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p = b.preview(t, p.ID); p.WantDeleted {
		t.Fatal("a renamed repository lost its preview")
	}
	// Hidden and suspended: kept, for however long.
	b.repo.Hide(true)
	payload := b.with(t, "dev", map[string]any{"repositories": []map[string]any{{"id": b.repo.ID(), "full_name": "acme/store"}}})
	b.eventOf(t, "suspend", "installation", "suspend", 0, 0, payload)
	b.clock.advance(100 * time.Hour)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p = b.preview(t, p.ID); p.WantDeleted {
		t.Fatal("a suspended installation lost its preview")
	}
	// Back again.
	b.repo.Hide(false)
	b.eventOf(t, "unsuspend", "installation", "unsuspend", 0, 0, payload)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if known, _ := b.store.Repository(t.Context(), b.repo.ID()); known.State != store.RepositoryActive {
		t.Errorf("after it came back the repository is %s", known.State)
	}
	// Said to be deleted, and still there: nothing happens. Really gone: removed after a while, and not before.
	b.event(t, "repository", "deleted", 0, b.with(t, "dev", nil))
	b.clock.advance(2 * time.Hour)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p = b.preview(t, p.ID); p.WantDeleted {
		t.Fatal("an event alone destroyed a preview")
	}
	b.repo.Hide(true)
	b.event(t, "repository", "deleted", 0, b.with(t, "dev", nil))
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p = b.preview(t, p.ID); p.WantDeleted {
		t.Fatal("the preview of a deleted repository is removed without a grace period")
	}
	b.clock.advance(2 * time.Hour)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.wantThings(t)
}

func TestArchivedRepositoryGivesUpItsPreviews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	b.repo.Archive()
	b.event(t, "repository", "archived", 0, b.with(t, "dev", nil))
	if p := b.of(t, pr); p != nil && !p.WantDeleted {
		t.Error("an archived repository keeps its preview")
	}
}

func TestConfigurationOfTheBaseNarrowsAndFailsClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	commit := func(text string) {
		t.Helper()
		if _, err := b.repo.Commit(t.Context(), "main", map[string]string{".mayfly.yml": text}, "Configure"); err != nil {
			t.Fatal(err)
		}
	}
	commit("projects:\n  shop:\n    draft: off\n")
	files := history()
	files[".mayfly.yml"] = "projects: {}\n" // the head has no say
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	if b.of(t, pr) != nil {
		t.Error("a configuration that cannot be used leads to a preview")
	}
	if status := lastStatus(t, pr, pr.HeadSHA(t.Context())); status.State != "failure" {
		t.Errorf("the check does not fail: %+v", status)
	}
	commit("projects:\n  shop:\n    enabled: off\n")
	b.event(t, "push", "", 0, b.with(t, "dev", map[string]any{"ref": "refs/heads/main"}))
	if got := b.concluded(pr, pr.HeadSHA(t.Context())); got != "success" || b.of(t, pr) != nil {
		t.Errorf("turned off, the checks end as %q", got)
	}
	commit("projects:\n  shop:\n    ttl: 1h\n    idle: 5m\n")
	b.event(t, "push", "", 0, b.with(t, "dev", map[string]any{"ref": "refs/heads/main"}))
	p := b.of(t, pr)
	if p == nil || p.ExpiresAt == nil || !p.ExpiresAt.Equal(b.clock.Now().Add(time.Hour).Truncate(time.Microsecond)) {
		t.Fatalf("the time to live of the repository's configuration does not hold: %+v", p)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.clock.advance(10 * time.Minute)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !b.preview(t, p.ID).WantSuspended {
		t.Error("the idle time of the repository's configuration does not hold")
	}
}

func TestTwoProjectsOfOneRepository(t *testing.T) {
	t.Parallel()
	b := setup(t)
	second := b.projects.all[0]
	second.Name = "billing"
	second.Previews.PullRequests.Paths = []string{"services/billing/**"}
	b.projects.mu.Lock()
	b.projects.all[0].Previews.PullRequests.Paths = []string{"db/**"}
	b.projects.all = append(b.projects.all, second)
	b.projects.mu.Unlock()
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	if b.of(t, pr) == nil {
		t.Error("the project that is touched has no preview")
	}
	_, err := b.store.PreviewByPullRequest(t.Context(), "billing", b.repo.ID(), pr.Number())
	wantCode(t, err, mayfly.CodeNotFound)
}

func TestDriftOfProductionAndTheDefaultBranchIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	files := history()
	files["db/migrations/5_merged.up.sql"] = "select 1;\n"
	if _, err := b.repo.Commit(t.Context(), "main", files, "Merged, and not deployed"); err != nil {
		t.Fatal(err)
	}
	// When the template arrives: nobody has opened a pull request.
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.wantThings(t)
	drift, err := b.store.TemplateDrift(t.Context(), b.template.ID)
	if err != nil || drift == nil {
		t.Fatalf("no drift was looked for: %v", err)
	}
	if len(drift.NotDeployed) != 2 || drift.NotDeployed[1] != "5" || len(drift.NotMerged) != 0 || drift.SHA != b.repo.Head(t.Context(), "main") {
		t.Errorf("the drift is %+v", drift)
	}
}
