package provisioner_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/migrations"
)

// reportOf reads the report of a preview as it is served.
func (b *bed) reportOf(t *testing.T, p *mayfly.Preview) migrations.Report {
	t.Helper()
	raw, err := b.RecordedReport(t.Context(), p.Name)
	if err != nil {
		t.Fatalf("read the report: %v", err)
	}
	var report migrations.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatal(err)
	}
	return report
}

func statusIn(report migrations.Report, version string) string {
	for _, m := range report.Migrations {
		if m.Version == version {
			return strings.TrimSpace(string(m.Status) + " " + m.Origin)
		}
	}
	return ""
}

func (b *bed) commitMain(t *testing.T, files map[string]string) {
	t.Helper()
	if _, err := b.repo.Commit(t.Context(), "main", files, "Change main"); err != nil {
		t.Fatal(err)
	}
}

// branch opens a pull request whose branch begins where main is now.
func (b *bed) branch(t *testing.T, name string, files map[string]string) *forgetest.PR {
	t.Helper()
	return b.open(t, name, files)
}

func TestAFileEditedAfterItWasAppliedIsToldByTheHashKeptWithTheTemplate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commitMain(t, map[string]string{path1: history()[path1]})
	if err := b.Reconcile(t.Context()); err != nil { // a template is ready
		t.Fatal(err)
	}
	known, err := b.store.TemplateMigrations(t.Context(), b.template.ID)
	if err != nil || known == nil || known.SHA != b.repo.Head(t.Context(), "main") || known.State == nil {
		t.Fatalf("recorded with the template: %+v, %v", known, err)
	}
	// main edits the applied file before anybody uses the template: the pull request's base has the edited file, too.
	b.commitMain(t, map[string]string{path1: "create table customer (id bigint primary key, email varchar not null);\n"})
	pr := b.branch(t, "points", map[string]string{path2: history()[path2]})
	p := b.ready(t, pr)
	report := b.reportOf(t, p)
	if got := statusIn(report, "1"); got != "edited base" {
		t.Errorf("the file that main edited is %q; findings: %+v", got, report.Findings)
	}
	if got := statusIn(report, "2"); got != "pending pull_request" {
		t.Errorf("what the branch adds is %q", got)
	}
	if report.Recorded == nil || report.Recorded.SHA != known.SHA || len(report.Recorded.Files) != 1 {
		t.Errorf("the report does not have what was recorded: %+v", report.Recorded)
	}
	known, err = b.store.TemplateMigrations(t.Context(), b.template.ID)
	var files []migrations.AppliedFile
	if err != nil || json.Unmarshal(known.Files, &files) != nil || len(files) != 1 || files[0].Version != "1" || files[0].Path != path1 {
		t.Errorf("recorded when the template was used: %+v, %v", known, err)
	}
}

func TestTheBaseMoves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commitMain(t, map[string]string{path1: history()[path1]})
	pr := b.branch(t, "points", map[string]string{path2: history()[path2]})
	p := b.ready(t, pr)
	if got := statusIn(b.reportOf(t, p), "2"); got != "pending pull_request" {
		t.Fatalf("what the branch adds is %q", got)
	}
	b.query(t, p, "with x as (insert into customer values (1000, 'own@example.com') returning 1) select count(*)::text from x")
	if _, err := b.store.ChangePreview(t.Context(), p.ID, func(p *mayfly.Preview) error { p.WantSuspended = true; return nil }); err != nil {
		t.Fatal(err)
	}
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)

	b.commitMain(t, map[string]string{path2: history()[path2]}) // somebody merged the same file
	b.moveBase(t, p)
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewSuspended)
	if !p.FollowsBase() || p.ObservedGeneration != 1 || b.steps(t, p.ID, "wake") != 0 {
		t.Errorf("the base moved, and nothing else: %+v\n%s", p, b.timeline(t, p.ID))
	}
	report := b.reportOf(t, p)
	if got := statusIn(report, "2"); got != "pending base" || len(report.Applied) != 1 {
		t.Errorf("what main has now, too, is %q; %d applied", got, len(report.Applied))
	}
	before := b.steps(t, p.ID, "follow base")
	if b.converge(t, p.ID); b.steps(t, p.ID, "follow base") != before {
		t.Error("a base that stays is looked at again")
	}
}

// moveBase does what a delivery about a push to the base branch leads to.
func (b *bed) moveBase(t *testing.T, p *mayfly.Preview) {
	t.Helper()
	_, err := b.store.ChangePreview(t.Context(), p.ID, func(p *mayfly.Preview) error {
		p.PR.BaseSHA = b.repo.Head(t.Context(), p.PR.BaseRef)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatTheBaseLackedIsAppliedOnceItHasIt(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.projects.change(func(p *mayfly.Project) { p.Migrations.Tool = "dbmate"; p.Migrations.Table = "versions" })
	const first, second = "db/migrations/1_init.sql", "db/migrations/2_points.sql"
	b.commitMain(t, map[string]string{first: "-- migrate:up\ncreate table one (id int);\n-- migrate:down\n"})
	pr := b.branch(t, "points", map[string]string{second: "-- migrate:up\ncreate table two (id int);\n-- migrate:down\n"})
	p := b.ready(t, pr)
	if versions := b.query(t, p, "select string_agg(version, ',' order by version) from versions"); versions != "1,2" {
		t.Fatalf("applied are %s", versions)
	}
	// The preview was made when something else was to be applied: it is rebuilt, and the timeline says why.
	if err := b.store.SetOnTop(t.Context(), p.ID, []string{"2"}); err != nil {
		t.Fatal(err)
	}
	b.commitMain(t, map[string]string{"README.md": "new"})
	b.moveBase(t, p)
	p = b.want(t, b.converge(t, p.ID), mayfly.PreviewReady)
	if timeline := b.timeline(t, p.ID); p.ObservedGeneration != 2 || !strings.Contains(timeline, "main moved to") {
		t.Errorf("generation %d:\n%s", p.ObservedGeneration, timeline)
	}
}

func TestOtherPullRequestsInTheWay(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.commitMain(t, map[string]string{path1: history()[path1]})
	one := b.branch(t, "one", map[string]string{path2: history()[path2]})
	two := b.branch(t, "two", map[string]string{"db/migrations/2_notes.up.sql": "create table note (id int);\n"})
	three := b.branch(t, "three", map[string]string{"db/migrations/9_rank.up.sql": "alter table customer add rank int;\n"})
	first, second := b.ready(t, one), b.ready(t, two)
	report := b.reportOf(t, first)
	if len(report.Others) != 1 || report.Others[0].Number != 2 || len(report.Others[0].Versions) != 1 || report.Others[0].Tables != nil {
		t.Errorf("in the way of the first: %+v", report.Others)
	}
	third := b.ready(t, three)
	if others := b.reportOf(t, third).Others; len(others) != 1 || others[0].Number != 1 || !slices.Equal(others[0].Tables, []string{"public.customer"}) || others[0].Versions != nil {
		t.Errorf("in the way of the third: %+v", others)
	}
	if others := b.reportOf(t, first).Others; len(others) != 2 {
		t.Errorf("in the way of the first: %+v", others)
	}
	if err := b.Publish(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	comment := strings.ReplaceAll(onlyComment(t, one), "\u200b", "") // which keeps a number from becoming a link
	if !strings.Contains(comment, "pull request #2 adds version 2") || !strings.Contains(comment, "pull request #3 work on public.customer") {
		t.Errorf("the comment does not warn:\n%s", comment)
	}
	if err := two.Close(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.sync(t, two)
	b.want(t, b.converge(t, second.ID), mayfly.PreviewDeleted)
	if others := b.reportOf(t, first).Others; len(others) != 1 || others[0].Number != 3 {
		t.Errorf("in the way of the first when the second is closed: %+v", others)
	}
}
