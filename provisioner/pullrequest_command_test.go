package provisioner_test

import (
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
)

// say has somebody comment on a pull request, and handles the delivery. It returns what the comment got.
func (b *bed) say(t *testing.T, pr *forgetest.PR, login, text string) (reactions []string, d *store.Delivery, id int64) {
	t.Helper()
	id = b.repo.AddComment(pr.Number(), login, text)
	payload, err := pr.CommentPayload("created", id)
	if err != nil {
		t.Fatal(err)
	}
	d = b.event(t, "issue_comment", "created", pr.Number(), payload)
	for _, r := range b.repo.Reactions(id) {
		reactions = append(reactions, r.Content)
	}
	return reactions, d, id
}

func (b *bed) lastCommand(t *testing.T, pr *forgetest.PR) store.Command {
	t.Helper()
	known, err := b.store.KnownPullRequest(t.Context(), store.PullRequestKey{Project: "shop", RepositoryID: b.repo.ID(), Number: pr.Number()})
	if err != nil {
		t.Fatal(err)
	}
	if known.LastCommand == nil {
		return store.Command{}
	}
	return *known.LastCommand
}

func TestCommandsInComments(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.change(func(p *mayfly.Project) { p.Previews.PullRequestTTL = 24 * time.Hour })
	b.repo.SetRole("maria", "write")
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	secret := b.password(t, p.Name)
	does := func(text, reaction, answer string) {
		t.Helper()
		reactions, _, _ := b.say(t, pr, "maria", text)
		if len(reactions) != 1 || reactions[0] != reaction {
			t.Errorf("%q gets the reactions %v, not %s", text, reactions, reaction)
		}
		if last := b.lastCommand(t, pr); !strings.Contains(last.Answer, answer) || last.By != "maria" {
			t.Errorf("%q is answered %+v, without %q", text, last, answer)
		}
	}
	does("/mayfly extend 2d\nplease", "rocket", "stays until")
	if now := b.preview(t, p.ID); now.ExpiresAt.Sub(b.clock.Now()) < 47*time.Hour {
		t.Errorf("extended to %s", now.ExpiresAt)
	}
	does("/mayfly rebuild", "eyes", "from its template")
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if p.Generation != 2 || b.password(t, p.Name) != secret {
		t.Errorf("rebuilt to generation %d; the password is the same: %t", p.Generation, b.password(t, p.Name) == secret)
	}
	does("/mayfly reset shop", "eyes", "new password")
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if p.Generation != 3 || b.password(t, p.Name) == secret {
		t.Errorf("reset to generation %d; the password is the same: %t", p.Generation, b.password(t, p.Name) == secret)
	}
	does("/mayfly keep", "rocket", "stays while")
	if now := b.preview(t, p.ID); !now.Keep {
		t.Error("the preview is not kept")
	}
	b.clock.advance(1000 * time.Hour)
	if err := b.Expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if b.preview(t, p.ID).WantDeleted {
		t.Error("a preview that is kept is removed because its time is up")
	}
	does("/mayfly frobnicate", "confused", "no such command")
	does("/mayfly extend <b>", "rocket", "reset") // help: nothing of it is repeated
	does("/mayfly extend soon", "confused", "2d")
	does("/mayfly approve", "-1", "Only pull requests from forks")
	does("/mayfly", "rocket", "destroy")
	does("/mayfly destroy", "eyes", "being removed")
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	b.sync(t, pr)
	if b.of(t, pr) != nil {
		t.Error("a destroyed preview is made again")
	}
	does("/mayfly reset", "-1", "no preview")
	does("/mayfly rebuild", "eyes", "being made")
	if b.of(t, pr) == nil {
		t.Error("rebuild makes no preview where there is none")
	}
}

func TestCommandsOfOthersAreIgnoredWithoutAWord(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.repo.SetRole("triager", "triage")
	b.repo.SetRole("maria", "write")
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	for _, login := range []string{"stranger", "triager", "dev"} { // dev opened it; that says nothing
		b.github.ResetCalls()
		reactions, d, _ := b.say(t, pr, login, "/mayfly destroy")
		if len(reactions) != 0 || d.State != store.DeliveryIgnored {
			t.Errorf("%s gets %v; the delivery is %s", login, reactions, d.State)
		}
		for route, n := range b.github.Calls() {
			if !strings.HasPrefix(route, "GET ") && n > 0 {
				t.Errorf("for %s something was written: %s", login, route)
			}
		}
	}
	// Not a command, edited, by a bot, by an app in somebody's name, by somebody whose login is another's now.
	for name, more := range map[string]map[string]any{
		"not a command": {"body": "see /mayfly destroy"},
		"another id":    {"user": map[string]any{"login": "maria", "id": 1, "type": "User"}},
		"a bot":         {"user": map[string]any{"login": "maria", "type": "Bot"}},
		"an app":        {"performed_via_github_app": map[string]any{"id": 1}},
	} {
		comment := map[string]any{"id": 77, "body": "/mayfly destroy", "user": map[string]any{"login": "maria", "type": "User"}, "created_at": b.clock.Now()}
		for k, v := range more {
			comment[k] = v
		}
		if d := b.event(t, "issue_comment", "created", pr.Number(), b.with(t, "maria", map[string]any{"comment": comment})); d.State != store.DeliveryIgnored {
			t.Errorf("%s: the delivery is %s", name, d.State)
		}
	}
	comment := map[string]any{"id": 78, "body": "/mayfly destroy", "user": map[string]any{"login": "maria", "type": "User"}}
	if d := b.event(t, "issue_comment", "edited", pr.Number(), b.with(t, "maria", map[string]any{"comment": comment})); d.State != store.DeliveryIgnored {
		t.Errorf("an edited comment is %s", d.State)
	}
	b.repo.SetRole("maria", "none") // after she wrote it, and before it was delivered
	if reactions, d, _ := b.say(t, pr, "maria", "/mayfly destroy"); len(reactions) != 0 || d.State != store.DeliveryIgnored {
		t.Errorf("somebody who lost write access gets %v; the delivery is %s", reactions, d.State)
	}
	if b.preview(t, p.ID).WantDeleted {
		t.Error("the preview is being removed")
	}
}

func TestCommandIsCarriedOutOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.repo.SetRole("maria", "admin")
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	_, _, id := b.say(t, pr, "maria", "/mayfly reset")
	payload, err := pr.CommentPayload("created", id)
	if err != nil {
		t.Fatal(err)
	}
	b.event(t, "issue_comment", "created", pr.Number(), payload) // delivered again
	if now := b.preview(t, p.ID); now.Generation != 2 {
		t.Errorf("one reset led to generation %d", now.Generation)
	}
	// A process that died between the reset and its record: what was begun is found done.
	if _, err := b.store.Pool().Exec(t.Context(), `update comment_command set done = false`); err != nil {
		t.Fatal(err)
	}
	b.event(t, "issue_comment", "created", pr.Number(), payload)
	if now := b.preview(t, p.ID); now.Generation != 2 {
		t.Errorf("a reset that was done already led to generation %d", now.Generation)
	}
}

func TestButtonsAndChecksRunAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.repo.SetRole("maria", "write")
	pr := b.open(t, "points", history())
	p := b.ready(t, pr)
	press := func(login, action, button string) {
		t.Helper()
		b.event(t, "check_run", action, 0, b.with(t, login, map[string]any{
			"check_run":        map[string]any{"head_sha": p.PR.HeadSHA, "external_id": "mayfly:shop:1"},
			"requested_action": map[string]any{"identifier": button},
		}))
	}
	press("stranger", "requested_action", "reset")
	press("maria", "requested_action", "unknown")
	press("maria", "rerequested", "")
	if now := b.preview(t, p.ID); now.Generation != 1 {
		t.Errorf("generation %d before anybody who may pressed a button", now.Generation)
	}
	press("maria", "requested_action", "rebuild")
	if now := b.preview(t, p.ID); now.Generation != 2 {
		t.Errorf("generation %d after Rebuild", now.Generation)
	}
	press("maria", "requested_action", "reset")
	if now := b.preview(t, p.ID); now.Generation != 3 {
		t.Errorf("generation %d after Reset", now.Generation)
	}
	group, err := b.repo.Commit(t.Context(), "gh-readonly-queue/main/pr-1-abc", history(), "Merge group")
	if err != nil {
		t.Fatal(err)
	}
	b.event(t, "merge_group", "checks_requested", 0, b.with(t, "maria", map[string]any{"merge_group": map[string]any{
		"head_sha": group, "head_ref": "refs/heads/gh-readonly-queue/main/pr-1-" + group, "base_sha": b.repo.Head(t.Context(), "main"), "base_ref": "refs/heads/main",
	}}))
	if got := b.concluded(pr, group); got != "success" {
		t.Errorf("the checks of a merge group ended as %q", got)
	}
}

// fromFork opens a pull request of a stranger.
func (b *bed) fromFork(t *testing.T, files map[string]string) *forgetest.PR {
	t.Helper()
	if _, err := b.repo.CommitFork(t.Context(), "mallory", "points", files, "Change"); err != nil {
		t.Fatal(err)
	}
	pr, err := b.repo.OpenPullRequest(t.Context(), "points", "main", "Change", forgetest.PROptions{Fork: "mallory", Author: "mallory"})
	if err != nil {
		t.Fatal(err)
	}
	return pr
}

func TestForkNeedsApprovalOfEachCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Forks = mayfly.ForksApprove })
	b.repo.SetRole("maria", "write")
	pr := b.fromFork(t, history())
	b.sync(t, pr)
	if b.of(t, pr) != nil {
		t.Fatal("a stranger's pull request has a preview that nobody approved")
	}
	b.say(t, pr, "mallory", "/mayfly approve")
	label := func(login string) {
		t.Helper()
		b.event(t, "pull_request", "labeled", pr.Number(), b.with(t, login, map[string]any{
			"label":        map[string]any{"name": "mayfly:approve"},
			"pull_request": map[string]any{"updated_at": b.clock.Now(), "head": map[string]any{"sha": pr.HeadSHA(t.Context())}},
		}))
	}
	label("mallory")
	b.event(t, "pull_request", "edited", pr.Number(), b.with(t, "mallory", nil))
	if b.of(t, pr) != nil {
		t.Fatal("a stranger approved their own pull request")
	}
	if reactions, _, _ := b.say(t, pr, "maria", "/mayfly approve"); len(reactions) != 1 || reactions[0] != "-1" || b.of(t, pr) != nil {
		t.Errorf("approving what was pushed just before, without naming it, gets %v", reactions)
	}
	label("maria")
	if b.of(t, pr) != nil {
		t.Fatal("a label approves what was pushed just before")
	}
	b.clock.advance(time.Minute)
	if reactions, _, _ := b.say(t, pr, "maria", "/mayfly approve "+pr.HeadSHA(t.Context())[:10]); len(reactions) != 1 || reactions[0] != "eyes" {
		t.Errorf("an approval gets %v", reactions)
	}
	p := b.of(t, pr)
	if p == nil {
		t.Fatal("an approved commit has no preview")
	}
	b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	b.push(t, pr, map[string]string{"more.txt": "x"})
	b.sync(t, pr)
	b.want(t, b.converge(t, p.ID), mayfly.PreviewDeleted)
	// A push that nobody could have seen is not approved by accident.
	if reactions, _, _ := b.say(t, pr, "maria", "/mayfly approve 0123456789"); len(reactions) != 1 || reactions[0] != "-1" || b.of(t, pr) != nil {
		t.Errorf("approving another commit gets %v", reactions)
	}
	b.clock.advance(time.Minute)
	label("maria")
	if b.of(t, pr) == nil {
		t.Error("a label of somebody with write access does not approve")
	}
}

func TestForkGetsStructureWithoutRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Forks = mayfly.ForksSchemaOnly })
	pr := b.fromFork(t, history())
	p := b.ready(t, pr)
	if !p.SchemaOnly || !p.PR.Fork {
		t.Fatalf("the preview is %+v", p)
	}
	if n := b.query(t, p, "select count(*)::text from customer"); n != "0" {
		t.Errorf("a stranger's preview has %s rows", n)
	}
	if version := b.query(t, p, "select version::text from schema_migrations"); version != "2" {
		t.Errorf("the tracking table says %s", version)
	}
	// Nothing that the planner knew of the rows.
	if n := b.query(t, p, "select count(*)::text from pg_stats where schemaname = 'public' and tablename = 'customer'"); n != "0" {
		t.Errorf("the statistics of %s columns are left", n)
	}
	// A rebuild and a wake do not bring them back.
	if _, err := b.Reset(t.Context(), p.Name); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if n := b.query(t, p, "select count(*)::text from customer"); n != "0" {
		t.Errorf("after a reset a stranger's preview has %s rows", n)
	}
}

// hostileTemplate is the tests' template with everything that could keep a row, or run code while rows are removed.
func (b *bed) hostileTemplate(t *testing.T) {
	t.Helper()
	base, id := template(t), mayfly.NewID("t")
	pool := pgtest.Pool(t)
	if err := b.shelf.Clone(t.Context(), base.id, id, 0); err != nil {
		t.Fatal(err)
	}
	server := pgtest.Start(t, pgtest.StartOptions{Volume: id})
	server.Exec(t, "app", `set role app;
		create table "Quo""ted" (customer_id bigint references customer, note text default 'x');
		insert into "Quo""ted" select id, 'secret ' || id from customer;
		create table event (id bigint generated always as identity, at date, what text) partition by range (at);
		create table event_2026 partition of event for values from ('2026-01-01') to ('2027-01-01');
		insert into event (at, what) select '2026-03-01', 'secret' from generate_series(1, 50);
		create materialized view totals as select count(*) n, max(email) email from customer;
		create sequence free start 7; select setval('free', 4711);
		create statistics both_of (dependencies) on id, email from customer;
		create function refuse() returns trigger language plpgsql as $$ begin
			create table if not exists ran_as as select current_user as who; raise exception 'never empty this'; end $$;
		create trigger never before truncate on customer for each statement execute function refuse();
		alter table customer enable always trigger never;
		select lo_from_bytea(0, 'secret'); analyze`)
	if err := pgtest.Engine(t).Stop(t.Context(), server.ID, time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := pool.Freeze(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	b.addTemplate(t, base, id)
}

func TestNothingOfTheRowsIsLeftForAFork(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.hostileTemplate(t)
	b.policy(func(p *mayfly.PullRequestPolicy) { p.Forks = mayfly.ForksSchemaOnly })
	pr := b.fromFork(t, history())
	p := b.ready(t, pr)
	for what, sql := range map[string]string{
		"customers":           `select count(*)::text from customer`,
		"quoted":              `select count(*)::text from "Quo""ted"`,
		"partitions":          `select count(*)::text from event`,
		"large objects":       `select count(*)::text from pg_largeobject_metadata`,
		"statistics":          `select count(*)::text from pg_stats where schemaname = 'public'`,
		"extended statistics": `select count(*)::text from pg_stats_ext where schemaname = 'public' and dependencies is not null`,
		"filled views":        `select count(*)::text from pg_matviews where ispopulated`,
		"what a trigger did":  `select count(*)::text from pg_class where relname = 'ran_as'`,
	} {
		if n := b.query(t, p, sql); n != "0" {
			t.Errorf("%s: %s, not 0", what, n)
		}
	}
	if next := b.query(t, p, `select nextval('free')::text`); next != "7" {
		t.Errorf("a sequence goes on with %s", next)
	}
	if enabled := b.query(t, p, `select tgenabled::text from pg_trigger where tgname = 'never'`); enabled != "A" {
		t.Errorf("the trigger is left as %q", enabled)
	}
	conn, err := b.login(t, p, b.password(t, p.Name))
	if err != nil {
		t.Fatal(err)
	}
	var email string
	if err := conn.QueryRow(t.Context(), `select email from totals`).Scan(&email); err == nil {
		t.Errorf("a materialized view still has %q", email)
	}
}
