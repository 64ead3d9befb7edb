package reportpage_test

import (
	"bytes"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/lint"
	"github.com/mayflydb/mayfly/migrations/observe"
	"github.com/mayflydb/mayfly/migrations/reportpage"
	"github.com/mayflydb/mayfly/migrations/schemadiff"
)

// hostile is what a pull request would like to have in the page.
const hostile = `</pre></style><script>alert(1)</script><img src=x onerror=alert(1)> "' {{.}} javascript:alert(1)`

// full is a report with something in each part, all text of which is hostile.
func full() *migrations.Report {
	statement := &observe.Statement{
		Index: 1, Line: 3, SQL: hostile, Observed: observe.FromTransaction, DurationMS: 1234, Rows: 5000, WALBytes: 1 << 20,
		Locks:    []*observe.Lock{{Relation: hostile, Kind: "table", Mode: "AccessExclusiveLock", HeldMS: 1300}},
		Rewrites: []observe.Rewrite{{Relation: "public.big", Kind: "table", BytesBefore: 5 << 30, BytesAfter: 6 << 30, Rows: 2_000_000}},
		Scans:    []observe.Scan{{Relation: "public.big", Kind: "table", Read: 2_000_000, Whole: true, Bytes: 5 << 30}},
		Data:     []observe.Data{{Table: hostile, Updated: 5000}}, Sizes: []observe.Size{{Relation: hostile, Before: 1, After: 2}},
	}
	return &migrations.Report{
		Tool: hostile, FromVersion: hostile, ToVersion: hostile, DurationMS: 1400,
		Applied:     []migrations.Step{{Version: "7", Name: hostile, File: hostile, Done: true, DurationMS: 1300, Error: hostile, Observed: &observe.Migration{Statements: []*observe.Statement{statement}, TempBytes: 9, TempFiles: 1}}},
		Findings:    []migrations.Finding{{Kind: migrations.FindingKind(hostile), Severity: lint.Severity(hostile), File: hostile, Line: 4, Message: hostile, Instead: hostile, Scale: &lint.Scale{DurationMS: 38_000, Rows: 2_000_000, Bytes: 5 << 30, Grows: true}}, {Kind: "late", Message: "m", Waived: hostile}},
		Failure:     &migrations.Failure{File: hostile, Line: 1, Message: hostile, Detail: hostile, Hint: hostile, Statement: hostile},
		Migrations:  []migrations.Status{{Version: hostile, Name: hostile, Status: migrations.StatusOutOfOrder, Reason: hostile, Origin: migrations.OriginPullRequest}},
		Seeds:       []migrations.Step{{File: hostile, Error: hostile}},
		Data:        []observe.Data{{Table: hostile}},
		Schema:      &schemadiff.Diff{Changes: []schemadiff.Change{{Action: schemadiff.Added, Kind: schemadiff.KindTable, Name: hostile}}},
		Environment: &observe.Environment{ServerVersion: hostile, WALLevel: hostile},
		Others:      []migrations.OtherPullRequest{{Number: 3, Title: hostile, Versions: []migrations.SameVersion{{Version: hostile, File: hostile, Theirs: hostile}}, Tables: []string{hostile}}},
		Rollback: &migrations.Rollback{
			Reason: hostile, Steps: []migrations.RollbackStep{{Phase: "down", File: hostile, Error: hostile}},
			Schema: &schemadiff.Diff{Changes: []schemadiff.Change{{Action: schemadiff.Removed, Kind: schemadiff.KindTable, Name: hostile}}},
		},
		Load:       &migrations.Load{Readers: 1, Writers: 1, Error: hostile, Tables: []migrations.LoadTable{{Table: hostile, Reads: migrations.LoadWaits{MaxMS: 900}}}},
		Unobserved: hostile,
	}
}

func about() reportpage.About {
	return reportpage.About{
		Preview: hostile, State: hostile, Repository: hostile, Number: 1, Title: hostile, HeadSHA: hostile, BaseRef: hostile, BaseSHA: "abc", TemplateVersion: 3,
	}
}

func TestThePageIsOnlyText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := reportpage.Write(&b, about(), full()); err != nil {
		t.Fatal(err)
	}
	document, err := html.Parse(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	allowed := map[string]bool{"meta": true, "class": true, "lang": true, "charset": true, "name": true, "content": true}
	var walk func(n *html.Node)
	walk = func(n *html.Node) {
		switch n.Data {
		case "script", "img", "iframe", "object", "link", "a", "form", "svg":
			if n.Type == html.ElementNode {
				t.Errorf("the page has an element %s", n.Data)
			}
		}
		for _, a := range n.Attr {
			if !allowed[a.Key] {
				t.Errorf("the element %s has an attribute %s", n.Data, a.Key)
			}
		}
		for c := n.FirstChild; c != nil; c = c.NextSibling {
			walk(c)
		}
	}
	walk(document)
	for _, want := range []string{
		"1.23 s to rewrite public.big (2,000,000 rows, 5.0 GiB): grows with it", "38.00 s, 2,000,000 rows, 5.0 GiB; grows with the table",
		"AccessExclusiveLock on", "for 1.30 s", "pull request #3 adds version", "Rolled back, for a try", "With others at work", "1 waived in the files",
		"out of order, of this pull request",
	} {
		if !strings.Contains(b.String(), html.EscapeString(want)) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

func TestTheFragmentIsThePagesBody(t *testing.T) {
	t.Parallel()
	fragment, err := reportpage.Fragment(about(), full())
	if err != nil || strings.Contains(string(fragment), "<html") || strings.Contains(string(fragment), "<script") || !strings.Contains(string(fragment), "Findings:") {
		t.Errorf("%v: %.200s", err, fragment)
	}
	if reportpage.Styles() == "" {
		t.Error("no styles")
	}
}

func TestAnEmptyReport(t *testing.T) {
	t.Parallel()
	var page, text bytes.Buffer
	if err := reportpage.Write(&page, reportpage.About{Preview: "shop-pr-1"}, &migrations.Report{}); err != nil || !strings.Contains(page.String(), "Findings: none") {
		t.Errorf("%v: %s", err, page.String())
	}
	if err := reportpage.Markdown(&text, reportpage.About{Preview: "shop-pr-1"}, &migrations.Report{}); err != nil || !strings.HasPrefix(text.String(), "# shop-pr-1\n") {
		t.Errorf("%v: %s", err, text.String())
	}
}

func TestMarkdownIsOnlyText(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	if err := reportpage.Markdown(&b, about(), full()); err != nil {
		t.Fatal(err)
	}
	outside := true
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "```") {
			outside = !outside
			continue
		}
		if outside && (strings.Contains(line, "<script") || strings.Contains(line, "<img")) {
			t.Errorf("markup: %s", line)
		}
	}
	if !outside || !strings.Contains(b.String(), "grows with it") {
		t.Errorf("the report:\n%s", b.String())
	}
}
