package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
	"github.com/mayflydb/mayfly/migrations/observe"
)

// waiver is one comment that waives findings.
type waiver struct {
	file   bool
	codes  []Code
	reason string
	line   int
	at     int // byte offset
	end    int
	used   bool
}

// waive marks the findings that the file waives, and says which waivers are of no use.
func (c *checking) waive() {
	waivers := c.waivers()
	for i := range waivers {
		w := &waivers[i]
		c.now = &observe.Statement{Line: w.line, EndLine: w.line}
		if w.reason == "" {
			c.say(WaiverWithoutReason, Warning, "", "write why behind the code", fmt.Sprintf("the waiver of %s gives no reason, and does not count", w.list()))
			continue
		}
		about := c.about(*w)
		for j := range c.findings {
			f := &c.findings[j]
			if slices.Contains(w.codes, f.Code) && (w.file || about != nil && f.statement == about || about == nil && f.statement == nil) {
				f.Waived, w.used = w.reason, true
			}
		}
		if !w.used && !w.elsewhere() {
			c.say(UnusedWaiver, Info, "", "remove it", fmt.Sprintf("nothing here is waived by %s%s", w.list(), w.unknown()))
		}
	}
}

func (w waiver) list() string {
	names := make([]string, len(w.codes))
	for i, code := range w.codes {
		names[i] = string(code)
	}
	return strings.Join(names, ", ")
}

func (w waiver) unknown() string {
	for _, code := range w.codes {
		if !slices.Contains(Codes(), code) && !slices.Contains(OtherCodes(), code) {
			return fmt.Sprintf("; there is no code %q", code)
		}
	}
	return ""
}

// elsewhere reports whether a waiver is about something that Check does not look at: whether it is of use is not known here.
func (w waiver) elsewhere() bool {
	return slices.ContainsFunc(w.codes, func(code Code) bool { return slices.Contains(OtherCodes(), code) })
}

// OtherCodes lists the codes of findings that are not about one statement, and that a file may waive all the same.
func OtherCodes() []Code {
	return []Code{
		EnumValueRemoved, "ignored", "empty", "missing", "late", "edited", "removed", "personal", "out_of_order", "duplicate", "refused", "same-version", "same-table",
		"rollback-missing", "rollback-failed", "rollback-leaves-changes", "rollback-loses-data", "rollback-changes-data", "rollback-up-again",
		"load-blocked", "load-failed",
	}
}

// Waiver is what a file waives.
type Waiver struct {
	Codes  []Code `json:"codes"`
	Reason string `json:"reason"`
}

// Waivers lists what a file waives with a reason, for findings that are not about one statement: wherever in the file it stands.
func Waivers(text string) []Waiver {
	var out []Waiver
	c := &checking{file: File{Text: text}}
	for _, w := range c.waivers() {
		if w.reason != "" && w.elsewhere() {
			out = append(out, Waiver{Codes: w.codes, Reason: w.reason})
		}
	}
	return out
}

// waivers reads the comments. "--" comments end with the line, "/* */" ones with themselves.
func (c *checking) waivers() []waiver {
	const most = 1 << 20 // a file of this size is data
	if !strings.Contains(c.file.Text, "mayfly:ignore") || len(c.file.Text) > most {
		return nil
	}
	form := regexp.MustCompile(`^(?:--|/\*)\s*mayfly:ignore(-file)?\s+([a-z0-9_-]+(?:\s*,\s*[a-z0-9_-]+)*)[:\s]*(.*?)\s*(?:\*/)?$`)
	var out []waiver
	for _, t := range sqlsplit.Tokens(c.file.Text, true) {
		if t.Kind != sqlsplit.KindComment {
			continue
		}
		match := form.FindStringSubmatch(strings.TrimSpace(strings.ReplaceAll(c.file.Text[t.Begin:t.End], "\n", " ")))
		if match == nil {
			continue
		}
		w := waiver{file: match[1] != "", reason: match[3], line: 1 + strings.Count(c.file.Text[:t.Begin], "\n"), at: t.Begin, end: t.End}
		for name := range strings.SplitSeq(match[2], ",") {
			w.codes = append(w.codes, Code(strings.TrimSpace(name)))
		}
		out = append(out, w)
	}
	return out
}

// about finds the statement that a waiver is for: the last that ends before it on its line, or else the one that comes next.
func (c *checking) about(w waiver) *observe.Statement {
	var on *observe.Statement
	for _, s := range c.file.Statements {
		switch {
		case s.End > w.at && on == nil:
			return s
		case s.End <= w.at && !strings.Contains(c.file.Text[s.End:w.at], "\n"):
			on = s
		}
	}
	return on
}
