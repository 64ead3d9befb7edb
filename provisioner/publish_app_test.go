package provisioner_test

import (
	"crypto/rsa"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/provisioner"
)

const appID = 77

// appKey is the key of the GitHub App of all tests: making one takes time.
var appKey = sync.OnceValues(func() (pair keyPair, err error) {
	pair.pem, pair.public, err = forgetest.NewAppKey()
	return pair, err
})

type keyPair struct {
	pem    []byte
	public *rsa.PublicKey
}

// asApp makes the service act as the GitHub App from now on, and ask as it does after the first pull request.
func (b *bed) asApp(t *testing.T) {
	t.Helper()
	pair, err := appKey()
	if err != nil {
		t.Fatal(err)
	}
	client, err := forge.New(forge.Options{
		BaseURL: b.github.URL(), App: &forge.App{ID: appID, PrivateKeyPEM: pair.pem}, Logger: b.opts.Logger, Now: time.Now, Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	b.opts.Forge, b.opts.ExternalURL = client, "https://mayfly.example.com"
	b.Service = provisioner.New(b.opts)
	if err := b.Reconcile(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.github.ResetCalls()
}

// check returns the newest check run of that name on a commit.
func (b *bed) check(t *testing.T, sha, name string) forgetest.CheckRun {
	t.Helper()
	runs := b.repo.CheckRuns(sha)
	var found forgetest.CheckRun
	for _, run := range runs {
		if run.Name == name {
			found = run
		}
	}
	if found.ID == 0 {
		t.Fatalf("commit %.7s has no check %q: %+v", sha, name, runs)
	}
	return found
}

func (b *bed) wantCheck(t *testing.T, sha, name, conclusion, title string) forgetest.CheckRun {
	t.Helper()
	run := b.check(t, sha, name)
	if run.Conclusion != conclusion || !strings.Contains(run.Title, title) {
		t.Errorf("check %q is %s %q with the title %q, not %q with %q", name, run.Status, run.Conclusion, run.Title, conclusion, title)
	}
	return run
}

func TestChecksAndDeploymentOfAPullRequest(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	pr := b.open(t, "points", history())
	b.deliver(t, "opened", pr, b.payload(t, pr, "opened"))
	p := b.of(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.publish(t, p)
	if all, _ := calls(t, b.github); all > 12 {
		t.Errorf("opening took %d calls: %v", all, b.github.Calls())
	}
	first := p.PR.HeadSHA
	run := b.wantCheck(t, first, forge.CheckDatabase, "success", "shop-pr-1 is ready")
	if run.DetailsURL != "https://mayfly.example.com/previews/shop-pr-1" || strings.Join(run.Actions, " ") != "reset rebuild" || run.ExternalID != forge.ExternalID("shop", 1) {
		t.Errorf("the check is %+v", run)
	}
	b.wantCheck(t, first, forge.CheckMigrations, "success", "1 migration applied")

	b.github.ResetCalls()
	second := b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.deliver(t, "synchronize", pr, b.payload(t, pr, "synchronize"))
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.publish(t, p)
	if all, _ := calls(t, b.github); all > 8 {
		t.Errorf("a push took %d calls: %v", all, b.github.Calls())
	}
	b.wantCheck(t, second, forge.CheckMigrations, "success", "applied")
	deployments := b.repo.Deployments()
	if len(deployments) != 2 || deployments[1].SHA != second || deployments[1].State() != "success" || deployments[1].Environment != "preview/shop-pr-1" {
		t.Errorf("the deployments are %+v", deployments)
	}

	if err := pr.Close(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.publish(t, p)
	for _, d := range b.repo.Deployments() {
		if d.State() != "inactive" {
			t.Errorf("deployment %+v is left", d)
		}
	}
	b.wantCheck(t, second, forge.CheckDatabase, "success", "ready") // what was said stays said
	b.allConcluded(t)
}

func (b *bed) publish(t *testing.T, p *mayfly.Preview) {
	t.Helper()
	if err := b.Publish(t.Context(), p.ID); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

func (b *bed) allConcluded(t *testing.T) {
	t.Helper()
	for _, run := range b.repo.AllCheckRuns() {
		if run.Status != "completed" || run.Conclusion == "" {
			t.Errorf("check %q on %.7s never ended: %s", run.Name, run.HeadSHA, run.Status)
		}
	}
}

// A check that was begun ends, whatever becomes of its commit.
func TestChecksThatWereBegunEnd(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	b.publish(t, p) // under way
	first := p.PR.HeadSHA
	if run := b.check(t, first, forge.CheckMigrations); run.Status != "in_progress" {
		t.Errorf("the check is %s", run.Status)
	}
	second := b.push(t, pr, map[string]string{path3: "create table note (id int);\n"})
	b.sync(t, pr)
	b.publish(t, p)
	for _, name := range []string{forge.CheckDatabase, forge.CheckMigrations} {
		b.wantCheck(t, first, name, "cancelled", "Superseded by "+second[:7])
	}
	if err := pr.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.publish(t, p)
	b.wantCheck(t, second, forge.CheckDatabase, "cancelled", "removed")
	b.allConcluded(t)
}

func TestFailedMigrationIsAnnotated(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	files := history()
	files[path2] = "select 1;\nalter table customer add email text;\n"
	pr := b.open(t, "points", files)
	p := b.settle(t, pr, mayfly.PreviewFailed)
	run := b.wantCheck(t, p.PR.HeadSHA, forge.CheckMigrations, "failure", "")
	if len(run.Annotations) == 0 || run.Annotations[0].Path != path2 || run.Annotations[0].Start != 2 || run.Annotations[0].Level != "failure" ||
		!strings.Contains(run.Annotations[0].Message, "already exists") {
		t.Errorf("the annotations are %+v", run.Annotations)
	}
	b.wantCheck(t, p.PR.HeadSHA, forge.CheckDatabase, "failure", "")
	if d := b.repo.Deployments(); len(d) != 1 || d[0].State() != "failure" {
		t.Errorf("the deployments are %+v", d)
	}
}

// What is not there by itself soon is said, and said otherwise when it is there.
func TestChecksConcludeWithoutATemplate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	b.template.State = mayfly.TemplateRetired
	if err := b.store.UpdateTemplate(t.Context(), b.template); err != nil {
		t.Fatal(err)
	}
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	if err := b.Converge(t.Context(), p.ID); mayfly.ErrorCode(err) != mayfly.CodeNoTemplate {
		t.Fatalf("converge without a template: %v", err)
	}
	b.publish(t, p)
	for _, name := range []string{forge.CheckDatabase, forge.CheckMigrations} {
		b.wantCheck(t, p.PR.HeadSHA, name, "failure", "Not yet")
	}
	b.template.State = mayfly.TemplateReady
	if err := b.store.UpdateTemplate(t.Context(), b.template); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.publish(t, p)
	b.wantCheck(t, p.PR.HeadSHA, forge.CheckDatabase, "success", "ready")
	b.allConcluded(t)
}

func TestOutcomesConcludeBothChecks(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	for state, want := range map[forge.State]string{
		forge.StateForkDenied: "neutral", forge.StateSkipped: "neutral", forge.StateAwaitingApproval: "action_required", forge.StateInvalidConfig: "failure",
	} {
		pr := b.open(t, "branch-"+strings.ReplaceAll(string(state), "_", "-"), history())
		read, err := b.opts.Forge.PullRequest(t.Context(), b.repo.ID(), pr.Number())
		if err != nil {
			t.Fatal(err)
		}
		project, _ := b.projects.Project("shop")
		for range 2 {
			err := b.TellOutcome(t.Context(), project, read, provisioner.Outcome{State: state, Reason: "because of <b>@everybody</b>"})
			if err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range []string{forge.CheckDatabase, forge.CheckMigrations} {
			run := b.wantCheck(t, read.HeadSHA, name, want, "because of")
			if strings.Contains(run.Summary, "<b>") || strings.Contains(run.Summary, "@everybody") {
				t.Errorf("the summary is %q", run.Summary)
			}
		}
		if runs := b.repo.CheckRuns(read.HeadSHA); len(runs) != 2 || len(pr.Comments()) != 0 {
			t.Errorf("%s: %d checks and %d comments", state, len(runs), len(pr.Comments()))
		}
	}
}

// Everybody who follows a pull request sees each edit: there are some seconds between them, and the last word is always said.
func TestCommentIsEditedAtIntervals(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	b.opts.CommentEvery = 5 * time.Second
	b.Service = provisioner.New(b.opts)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	b.publish(t, p)
	before := onlyComment(t, pr)
	b.clock.advance(3 * time.Second)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	err := b.Publish(t.Context(), p.ID)
	if later := (*provisioner.LaterError)(nil); !errors.As(err, &later) || later.After.Round(time.Millisecond) != 2*time.Second {
		t.Errorf("publish too early: %v, %+v", err, later)
	}
	b.wantCheck(t, p.PR.HeadSHA, forge.CheckDatabase, "success", "ready") // checks do not wait
	if onlyComment(t, pr) != before {
		t.Error("the comment was edited too early")
	}
	b.clock.advance(2 * time.Second)
	b.publish(t, p)
	if text := onlyComment(t, pr); !strings.Contains(text, "is ready") || !strings.Contains(text, "mayfly psql shop-pr-1") {
		t.Errorf("the comment is %q", text)
	}
}

// A stranger's migration can put rows into an error.
func TestForksAreShownCodesOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	files := history()
	files[path2] = "select 1;\nselect cast(email as int) from customer;\n"
	pr := b.open(t, "points", files)
	b.sync(t, pr)
	p := b.of(t, pr)
	if _, err := b.store.Pool().Exec(t.Context(), `update preview set fork = true where id = $1`, p.ID); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewFailed)
	b.publish(t, p)
	run := b.wantCheck(t, p.PR.HeadSHA, forge.CheckMigrations, "failure", "22P02")
	if len(run.Annotations) == 0 || run.Annotations[0].Path != path2 || run.Annotations[0].Start != 2 {
		t.Errorf("the annotations are %+v", run.Annotations)
	}
	var all strings.Builder
	all.WriteString(onlyComment(t, pr))
	for _, run := range b.repo.AllCheckRuns() {
		all.WriteString(run.Title + run.Summary + run.Text)
		for _, a := range run.Annotations {
			all.WriteString(a.Title + a.Message)
		}
	}
	for _, d := range b.repo.Deployments() {
		all.WriteString(d.Description + d.Statuses[0].Description)
	}
	shown := all.String()
	if strings.Contains(shown, "example.com:") || strings.Contains(shown, "user1@") || strings.Contains(shown, "invalid input") || strings.Contains(shown, "@example.com") {
		t.Errorf("a fork is shown the database's words:\n%s", shown)
	}
}

func TestOutageIsToldAfterIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	if _, err := b.opts.Forge.Files(t.Context(), b.repo.ID(), p.PR.HeadSHA, "db/migrations"); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.github.Down(true)
	for range 3 {
		err := b.Publish(t.Context(), p.ID)
		var later interface{ RetryAfter() time.Duration }
		if !errors.As(err, &later) || later.RetryAfter() < time.Second {
			t.Fatalf("publish while GitHub is down: %v", err)
		}
	}
	b.github.Down(false)
	// The process that had the job is gone; the wish is not.
	if _, err := b.store.Pool().Exec(t.Context(), `delete from river_job; update publish_intent set wanted_at = now() - interval '10 minutes'`); err != nil {
		t.Fatal(err)
	}
	if err := b.RetryPublishing(t.Context()); err != nil {
		t.Fatal(err)
	}
	var jobs int
	if err := b.store.Pool().QueryRow(t.Context(), `select count(*) from river_job where kind = 'preview_publish'`).Scan(&jobs); err != nil || jobs != 1 {
		t.Errorf("%d jobs were asked for: %v", jobs, err)
	}
	b.publish(t, p)
	b.wantCheck(t, p.PR.HeadSHA, forge.CheckDatabase, "success", "ready")
	if err := b.RetryPublishing(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left int
	if err := b.store.Pool().QueryRow(t.Context(), `select count(*) from publish_intent`).Scan(&left); err != nil || left != 0 {
		t.Errorf("%d wishes are left: %v", left, err)
	}
}

func TestProjectsThatShareARepositoryHaveChecksOfTheirOwn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	b.projects.mu.Lock()
	b.projects.all = append(b.projects.all, project("blog", "ACME/shop", template(t).major))
	b.projects.mu.Unlock()
	pr := b.open(t, "points", history())
	b.ready(t, pr)
	sha := pr.HeadSHA(t.Context())
	b.wantCheck(t, sha, forge.CheckDatabase, "success", "ready") // what is required does not change its name when a project is added
	other, err := b.store.PreviewByPullRequest(t.Context(), "blog", b.repo.ID(), pr.Number())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Converge(t.Context(), other.ID); mayfly.ErrorCode(err) != mayfly.CodeNoTemplate {
		t.Fatalf("converge without a template: %v", err)
	}
	b.publish(t, other)
	b.wantCheck(t, sha, forge.CheckDatabase+" (blog)", "failure", "Not yet")
	if runs := b.repo.CheckRuns(sha); len(runs) != 4 {
		t.Errorf("there are %d checks: %+v", len(runs), runs)
	}
}

// A pull request whose preview waits for room has checks that end, and end well when there is room.
func TestChecksConcludeWhileTheQueueIsLong(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.asApp(t)
	b.shelf.fill(1 << 20)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	p := b.of(t, pr)
	publish := func() {
		t.Helper()
		var later *provisioner.LaterError
		if err := b.Publish(t.Context(), p.ID); err != nil && !errors.As(err, &later) {
			t.Fatal(err)
		}
	}
	publish()
	for _, name := range []string{forge.CheckDatabase, forge.CheckMigrations} {
		b.wantCheck(t, p.PR.HeadSHA, name, "", "Waiting for room")
	}
	b.clock.advance(6 * time.Minute)
	publish()
	for _, name := range []string{forge.CheckDatabase, forge.CheckMigrations} {
		b.wantCheck(t, p.PR.HeadSHA, name, "failure", "waiting for room")
	}
	b.allConcluded(t)
	b.shelf.fill(0)
	if err := b.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	publish()
	b.wantCheck(t, p.PR.HeadSHA, forge.CheckDatabase, "success", "ready")
	b.allConcluded(t)
}
