package templates

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// page is a template with its report, read and put into words for people. The report as text and as HTML show the same.
type page struct {
	*mayfly.Template
	R Report
}

func newPage(t *mayfly.Template) (*page, error) {
	p := &page{Template: t}
	if len(t.Report) > 0 {
		if err := json.Unmarshal(t.Report, &p.R); err != nil {
			return nil, fmt.Errorf("read the report of template %s: %w", t.ID, err)
		}
	}
	sortFindings(p.R.Findings)
	return p, nil
}

// Fact is one line of what there is to say about a template.
type fact struct{ Name, Value string }

// Facts are what the report begins with.
func (p *page) Facts() []fact {
	var facts []fact
	add := func(name, value string) {
		if value != "" {
			facts = append(facts, fact{name, value})
		}
	}
	add("Project", fmt.Sprintf("%s, version %d", p.Project, p.Version))
	add("State", string(p.State))
	add("Source", p.source())
	if p.Major != 0 {
		add("Runs on", strings.TrimSpace(fmt.Sprintf("PostgreSQL %d, image %s", p.Major, p.R.Image)))
	}
	if !p.R.StartedAt.IsZero() {
		add("Built", p.R.StartedAt.UTC().Format("2006-01-02 15:04:05 MST")+", in "+spanText(p.R.FinishedAt.Sub(p.R.StartedAt)))
	}
	add("Rows", fmt.Sprintf("%s in %d tables, counted in both", groupText(p.R.Rows), len(p.R.Tables)))
	add("Size", p.size())
	return facts
}

func (p *page) source() string {
	s := p.R.Source
	if s.Kind == "" {
		return p.Source
	}
	words := []string{s.Kind}
	switch {
	case s.Replica:
		words = []string{"live, a replica"}
	case s.Kind == "live":
		words = []string{"live, the primary"}
	case s.Archive != "":
		words = []string{"archive " + s.Archive}
	}
	if s.Format != "" {
		words = append(words, s.Format)
	}
	if s.Database != "" {
		words = append(words, "database "+s.Database)
	}
	if s.ServerVersion != "" {
		words = append(words, "PostgreSQL "+s.ServerVersion)
	}
	if s.Encoding != "" {
		words = append(words, s.Encoding)
	}
	if s.CreatedAt != nil {
		words = append(words, "made "+s.CreatedAt.UTC().Format("2006-01-02 15:04 MST"))
	}
	return strings.Join(words, ", ")
}

// size says what the template takes, and what the source does. That the two differ is what people ask about first.
func (p *page) size() string {
	if p.R.SizeBytes == 0 {
		return ""
	}
	text := sizeText(p.R.SizeBytes) + " on disk, for " + sizeText(p.R.Bytes) + " of rows that were read"
	if s := p.R.Sizes; s != nil && s.SourceTables+s.SourceIndexes > 0 {
		text += fmt.Sprintf("; tables take %s, in the source %s; indexes take %s, in the source %s",
			sizeText(s.TemplateTables), sizeText(s.SourceTables), sizeText(s.TemplateIndexes), sizeText(s.SourceIndexes))
	}
	return text + ". Freshly loaded tables and indexes have no dead rows and no gaps, and the WAL was reset"
}

// Findings are the report's, the worst first.
func (p *page) Findings() []Finding { return p.R.Findings }

// Summary counts findings by severity: "1 error, 2 warnings".
func (p *page) Summary() string {
	var words []string
	for _, s := range []struct {
		severity  Severity
		one, more string
	}{{SeverityError, "error", "errors"}, {SeverityWarning, "warning", "warnings"}, {SeverityInfo, "note", "notes"}} {
		count := 0
		for _, f := range p.R.Findings {
			if f.Severity == s.severity {
				count++
			}
		}
		switch {
		case count == 1:
			words = append(words, "1 "+s.one)
		case count > 1:
			words = append(words, strconv.Itoa(count)+" "+s.more)
		}
	}
	if len(words) == 0 {
		return "nothing to report"
	}
	return strings.Join(words, ", ")
}

// Checks are what was verified, in words.
func (p *page) Checks() []fact {
	v := p.R.Verification
	if v == nil {
		return nil
	}
	checks := []fact{{"Rows", "every table was counted, in the source's snapshot and in the template"}}
	add := func(name, value string) { checks = append(checks, fact{name, value}) }
	if v.Indexes.Skipped != "" {
		add("Indexes", "not checked: "+v.Indexes.Skipped)
	} else {
		share := ""
		if took := p.R.FinishedAt.Sub(p.R.StartedAt).Milliseconds(); took > 0 {
			share = fmt.Sprintf(", %.1f%% of the build", 100*float64(v.Indexes.DurationMS)/float64(took))
		}
		add("Indexes", fmt.Sprintf("%d btree indexes are sound (amcheck, %s%s)", v.Indexes.Checked, spanText(time.Duration(v.Indexes.DurationMS)*time.Millisecond), share))
	}
	add("Constraints", listText(fmt.Sprintf("%d, all validated", v.Constraints), fmt.Sprintf("%d, not validated", v.Constraints), v.NotValidated))
	if len(v.InvalidIndexes) > 0 {
		add("Not valid", listText("", "indexes", v.InvalidIndexes))
	}
	add("Sequences", listText(fmt.Sprintf("%d of columns, none behind", v.Sequences), "behind their column", v.BehindSequences))
	for _, c := range v.Collations {
		text := c.Locale + " (" + c.Provider + ")"
		if c.Actual != "" {
			text += ", version " + c.Actual
		}
		add("Collation", c.Name+": "+text)
	}
	return checks
}

func listText(none, some string, names []string) string {
	if len(names) == 0 {
		return none
	}
	return some + ": " + strings.Join(names, ", ")
}

// Inventory is how many objects there are.
func (p *page) Inventory() []KindCount {
	if p.R.Verification == nil {
		return nil
	}
	return p.R.Verification.Inventory
}

// Differences are what is not the same in the source and the template.
func (p *page) Differences() []Difference {
	if p.R.Verification == nil {
		return nil
	}
	return p.R.Verification.Differences
}

// Tables are those of the report, the largest first.
func (p *page) Tables() []TableReport {
	return slices.SortedStableFunc(slices.Values(p.R.Tables), func(a, b TableReport) int { return int(min(max(b.Bytes-a.Bytes, -1), 1)) })
}

// Phases are those of the report.
func (p *page) Phases() []PhaseReport { return p.R.Phases }

// sizeText writes a number of bytes.
func sizeText(n int64) string {
	const step = 1024
	if n < step {
		return strconv.FormatInt(n, 10) + " bytes"
	}
	value, units := float64(n), []string{"KiB", "MiB", "GiB", "TiB"}
	at := -1
	for value >= step && at < len(units)-1 {
		value /= step
		at++
	}
	return fmt.Sprintf("%.1f %s", value, units[at])
}

// groupText writes a number with its thousands apart.
func groupText(n int64) string {
	digits := strconv.FormatInt(n, 10)
	for at := len(digits) - 3; at > 0 && digits[at-1] != '-'; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return digits
}

// spanText writes a duration with as many digits as matter.
func spanText(d time.Duration) string {
	switch {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(100 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}

// printable takes away what would let a name of the source act on a terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if strconv.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s)
}

// WriteText writes a template's report for people to read on a terminal.
func WriteText(w io.Writer, t *mayfly.Template) error {
	p, err := newPage(t)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, p.text())
	return err
}
