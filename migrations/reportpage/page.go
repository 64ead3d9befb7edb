package reportpage

import (
	"bytes"
	"cmp"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/lint"
	"github.com/mayflydb/mayfly/migrations/observe"
)

// CSP is the Content-Security-Policy to serve the page with: should something of a pull request ever get past the escaping, nothing of
// it may run or call out.
const CSP = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox"

// About is what a page says besides the report.
type About struct {
	Preview, Project, State string
	Repository              string
	Number                  int
	Title                   string
	HeadSHA                 string
	BaseRef, BaseSHA        string
	TemplateVersion         int
}

//go:embed page.css
var styles string // Styles returns it

//go:embed page.tmpl
var layout string

// shown bounds what a page holds: a report can be of thousands of statements.
const (
	shownStatements = 200
	shownDiff       = 200_000
)

// page is what the layout shows.
type page struct {
	About

	R        *migrations.Report
	Styles   template.CSS
	Facts    []fact
	Findings []migrations.Finding
	Waived   []migrations.Finding
	Summary  string
	Schema   string
	Undone   string
}

type fact struct{ Name, Value string }

// Write writes a report as one page: no script, no picture, no font, nothing from elsewhere.
func Write(w io.Writer, about About, report *migrations.Report) error {
	return execute(w, "page", about, report)
}

// Fragment is the body of the page, for another one that has Styles in its head.
func Fragment(about About, report *migrations.Report) (template.HTML, error) {
	var b bytes.Buffer
	if err := execute(&b, "body", about, report); err != nil {
		return "", err
	}
	return template.HTML(b.String()), nil //nolint:gosec // it comes of the escaping template
}

// Styles is what Fragment needs in a style element.
func Styles() template.CSS { return template.CSS(styles) } //nolint:gosec // a constant

func execute(w io.Writer, part string, about About, report *migrations.Report) error {
	parsed, err := template.New("report").Funcs(template.FuncMap{
		"span": span, "size": size, "group": group, "scale": scaleOf, "cost": costOf, "locks": locksOf, "words": words, "first": first, "short": short,
	}).Parse(layout)
	if err != nil {
		return fmt.Errorf("read the layout of the report: %w", err)
	}
	if err := parsed.ExecuteTemplate(w, part, newPage(about, report)); err != nil {
		return fmt.Errorf("write the report of %s: %w", about.Preview, err)
	}
	return nil
}

func newPage(about About, r *migrations.Report) page {
	p := page{About: about, R: r, Styles: Styles(), Facts: facts(about, r)}
	for _, f := range slices.Concat(r.OtherFindings(), r.Findings) {
		if f.Waived != "" {
			p.Waived = append(p.Waived, f)
		} else {
			p.Findings = append(p.Findings, f)
		}
	}
	slices.SortStableFunc(p.Findings, func(a, b migrations.Finding) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
	p.Summary = summary(p.Findings)
	if r.Schema != nil {
		p.Schema = cut(r.Schema.Text())
	}
	if r.Rollback != nil && r.Rollback.Schema != nil {
		p.Undone = cut(r.Rollback.Schema.Text())
	}
	return p
}

func facts(about About, r *migrations.Report) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, value})
		}
	}
	if about.Number > 0 {
		add("Pull request", strings.TrimSpace(fmt.Sprintf("%s #%d %s", about.Repository, about.Number, about.Title)))
	}
	add("Commit", short(about.HeadSHA))
	if about.BaseRef != "" {
		add("Base", about.BaseRef+" at "+short(about.BaseSHA))
	}
	if about.TemplateVersion > 0 {
		add("Template", fmt.Sprintf("version %d", about.TemplateVersion))
	}
	add("Tool", r.Tool)
	add("Version", strings.TrimSpace(cmp.Or(r.FromVersion, "none")+" to "+cmp.Or(r.ToVersion, "none")))
	add("Applied", fmt.Sprintf("%d in %s", len(r.Applied), span(r.DurationMS)))
	if r.DatabaseBytesAfter > 0 {
		add("Database", size(r.DatabaseBytesBefore)+" before, "+size(r.DatabaseBytesAfter)+" after")
	}
	if e := r.Environment; e != nil {
		add("Measured with", fmt.Sprintf("PostgreSQL %s, wal_level %s, full_page_writes %v, shared_buffers %s", e.ServerVersion, e.WALLevel, e.FullPageWrites, size(e.SharedBuffers)))
	}
	return out
}

func rank(s lint.Severity) int {
	return slices.Index([]lint.Severity{lint.Error, lint.Warning, lint.Info, ""}, s)
}

func summary(findings []migrations.Finding) string {
	counts := map[lint.Severity]int{}
	for _, f := range findings {
		counts[f.Severity]++
	}
	var parts []string
	for _, s := range []struct {
		severity lint.Severity
		name     string
	}{{lint.Error, "error"}, {lint.Warning, "warning"}, {lint.Info, "note"}} {
		switch n := counts[s.severity]; n {
		case 0:
		case 1:
			parts = append(parts, "1 "+s.name)
		default:
			parts = append(parts, fmt.Sprintf("%d %ss", n, s.name))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

// costOf is what a finding cost on this data.
func costOf(s *lint.Scale) string {
	if s == nil {
		return ""
	}
	text := span(s.DurationMS)
	if s.Rows >= 0 {
		text += ", " + group(s.Rows) + " rows"
	}
	if s.Bytes > 0 {
		text += ", " + size(s.Bytes)
	}
	if s.Grows {
		return text + "; grows with the table"
	}
	return text
}

// locksOf lists the locks that others can feel, those on relations from before.
func locksOf(s *observe.Statement) []*observe.Lock {
	return slices.DeleteFunc(slices.Clone(s.Locks), func(l *observe.Lock) bool { return l.New })
}

// first cuts a list of statements.
func first(all []*observe.Statement) []*observe.Statement {
	return all[:min(len(all), shownStatements)]
}

func words(s any) string { return strings.ReplaceAll(fmt.Sprint(s), "_", " ") }

func short(sha string) string { return sha[:min(len(sha), 7)] }

func cut(text string) string {
	if len(text) <= shownDiff {
		return text
	}
	at := strings.LastIndexByte(text[:shownDiff], '\n') + 1
	return text[:at] + fmt.Sprintf("… and %d more lines\n", strings.Count(text[at:], "\n"))
}
