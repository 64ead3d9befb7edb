package templates

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sampleTemplate has a report with something of everything, and a source that tries to get into the page and the terminal.
func sampleTemplate(t *testing.T) *mayfly.Template {
	t.Helper()
	started := time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)
	report := Report{
		ManifestVersion: manifestVersion,
		Source:          SourceReport{Kind: "live", Database: "shop", ServerVersion: "15.6", Encoding: "UTF8", Connections: 2},
		Image:           "sha256:0123456789ab", Major: 17, StartedAt: started, FinishedAt: started.Add(192 * time.Second),
		Rows: 1234567, Bytes: 3 << 30, SizeBytes: 1 << 30,
		Sizes:  &SizeReport{SourceDatabase: 9 << 30, SourceTables: 6 << 30, SourceIndexes: 3 << 30, TemplateTables: 700 << 20, TemplateIndexes: 300 << 20},
		Phases: []PhaseReport{{Name: PhaseLoad, DurationMS: 120_400}, {Name: PhaseVerify, DurationMS: 312}},
		Tables: []TableReport{
			{Schema: "public", Table: "small", Rows: 7, SourceRows: 7, Bytes: 900, DurationMS: 3, StructureOnly: true},
			{Schema: "public", Table: "<script>alert(1)</script>\x1b[2J", Rows: 1234560, SourceRows: 1234560, Bytes: 3 << 30, MaskedColumns: 4, DurationMS: 98_765},
		},
		Findings: []Finding{
			{Code: codeSourceIsPrimary, Severity: SeverityWarning, Object: "source shop", Cause: "the source is the primary", Done: "read all the same", Advice: "name a replica"},
			{
				Code: codeForeignKeyViolated, Severity: SeverityError, Object: `constraint public.orders."x"><img src=x onerror=alert(1)>`, Cause: "rows refer to rows that are not there",
				Done: "added as NOT VALID", Advice: "repair the rows", Count: 12345, Samples: []string{"id=17", "id=<b>18</b>"},
			},
		},
		Verification: &Verification{
			Inventory:   []KindCount{{kindIndex, 10, 9}, {kindTable, 2, 2}},
			Differences: []Difference{{"index public.broken", differenceMissing, codeIndexInvalid}},
			Indexes:     IndexCheck{Checked: 143, DurationMS: 1920}, Constraints: 12, NotValidated: []string{"public.orders.x"},
			Sequences: 3, Collations: []Collation{{Name: "database", Locale: "en_US.UTF-8", Provider: "libc", Actual: "2.36"}},
		},
	}
	encoded, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	return &mayfly.Template{ID: "t4k2exampleexampleexample1", Project: "shop", Version: 3, State: mayfly.TemplateReady, Source: "live", Major: 17, Report: encoded}
}

func TestTextReport(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := WriteText(&out, sampleTemplate(t)); err != nil {
		t.Fatal(err)
	}
	golden := filepath.Join("testdata", "report.txt")
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) {
		t.Errorf("the report differs from %s (-update writes it anew):\n%s", golden, out.String())
	}
	if strings.ContainsRune(out.String(), '\x1b') {
		t.Error("a name of the source gets through to the terminal")
	}
}

func TestHTMLReport(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	if err := WriteHTML(&out, sampleTemplate(t)); err != nil {
		t.Fatal(err)
	}
	page := out.String()
	for _, text := range []string{
		"1,234,567", "1 error, 1 warning", "143 btree indexes", "public.orders.x", "en_US.UTF-8", "&lt;script&gt;", "prefers-color-scheme: dark", "@media print",
		"12,345", "index_invalid_in_source", "structure only",
	} {
		if !strings.Contains(page, text) {
			t.Errorf("the page lacks %q", text)
		}
	}
	if strings.Index(page, "foreign_key_violated") > strings.Index(page, "source_is_primary") {
		t.Error("the worst finding does not come first")
	}
	if found := regexp.MustCompile(`(?i)<(script|img|link|iframe|object|b>)|\s(src|href|onerror)\s*=|url\(|@import|https?:`).FindString(withoutText(page)); found != "" {
		t.Errorf("the page has %q in it", found)
	}
}

// withoutText returns a page's markup alone.
func withoutText(page string) string {
	return strings.Join(regexp.MustCompile(`(?s)<[^>]*>|<style>.*?</style>`).FindAllString(page, -1), "\n")
}

// TestReportsOfUnfinishedTemplates have next to nothing in them.
func TestReportsOfUnfinishedTemplates(t *testing.T) {
	t.Parallel()
	for _, one := range []*mayfly.Template{
		{ID: "t1", Project: "shop", Version: 1, State: mayfly.TemplateBuilding, Source: "live"},
		{
			ID: "t2", Project: "shop", Version: 2, State: mayfly.TemplateFailed, Report: []byte(`{"phases": null}`),
			Failure: &mayfly.Failure{Code: mayfly.CodeSourceUnavailable, Message: "cannot connect", Hint: "check the host"},
		},
	} {
		var text, page bytes.Buffer
		if err := WriteText(&text, one); err != nil {
			t.Errorf("%s as text: %v", one.State, err)
		}
		if err := WriteHTML(&page, one); err != nil {
			t.Errorf("%s as HTML: %v", one.State, err)
		}
		if one.Failure != nil && (!strings.Contains(text.String(), "check the host") || !strings.Contains(page.String(), "check the host")) {
			t.Errorf("the reports do not say why it failed:\n%s\n%s", text.String(), page.String())
		}
	}
	if err := WriteText(&bytes.Buffer{}, &mayfly.Template{Report: []byte("no JSON")}); err == nil {
		t.Error("a report that is no JSON is not refused")
	}
}
