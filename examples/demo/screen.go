package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mattn/go-isatty"
)

// screen prints for people: headings, facts, and colours if it is a terminal.
type screen struct {
	w       io.Writer
	colours bool
	timings []timing
}

// timing is a line of the table at the end.
type timing struct {
	what string
	took time.Duration
}

func newScreen(file *os.File) *screen {
	return &screen{w: file, colours: isatty.IsTerminal(file.Fd()) && os.Getenv("NO_COLOR") == ""}
}

const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

func (s *screen) paint(colour, text string) string {
	if !s.colours || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (s *screen) heading(number int, title string) {
	line := fmt.Sprintf("── %d. %s ", number, title)
	line += strings.Repeat("─", max(0, 78-utf8.RuneCountInString(line)))
	fmt.Fprintf(s.w, "\n%s\n", s.paint(bold+";"+cyan, line))
}

func (s *screen) say(format string, args ...any) {
	fmt.Fprintf(s.w, "   "+format+"\n", args...)
}

// block prints text with an indentation.
func (s *screen) block(text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		fmt.Fprintln(s.w, strings.TrimRight("     "+line, " "))
	}
}

func (s *screen) command(args ...string) {
	fmt.Fprintln(s.w, "   "+s.paint(bold, "$ "+strings.Join(args, " ")))
}

// passed says that something was checked and holds.
func (s *screen) passed(format string, args ...any) {
	fmt.Fprintln(s.w, "   "+s.paint(green, "✓ ")+fmt.Sprintf(format, args...))
}

// measured says what was measured and remembers it for the end.
func (s *screen) measured(what string, took time.Duration) {
	s.timings = append(s.timings, timing{what, took})
	fmt.Fprintf(s.w, "   %s %s\n", s.paint(green, "✓"), what+": "+s.paint(bold, text(took)))
}

// text shows a duration in milliseconds, or in seconds from 10 s on.
func text(d time.Duration) string {
	if d >= 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f ms", float64(d.Microseconds())/1000)
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// table prints rows with aligned columns; the first row is the header.
func (s *screen) table(rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+3))
		}
		shown := strings.TrimRight(line.String(), " ")
		if n == 0 {
			shown = s.paint(bold, shown)
		}
		fmt.Fprintln(s.w, "     "+shown)
	}
}

func (s *screen) summary(total time.Duration) {
	fmt.Fprintf(s.w, "\n%s\n", s.paint(bold+";"+cyan, "── Timings "+strings.Repeat("─", 67)))
	rows := [][]string{{"what", "took"}}
	for _, t := range s.timings {
		rows = append(rows, []string{t.what, text(t.took)})
	}
	s.table(append(rows, []string{"everything", text(total)}))
}

var (
	hidden   = regexp.MustCompile(`(?s)<!--.*?-->\n?`)
	tag      = regexp.MustCompile(`</?(details|summary|sub)>`)
	emphasis = regexp.MustCompile(`\*\*(.+?)\*\*`)
	link     = regexp.MustCompile(`\[([^\]]+)\]\(([^)]+)\)`)
	ruler    = regexp.MustCompile(`^\|[ :|-]+\|$`)
)

// comment shows GitHub's Markdown as a person would see it, as far as a terminal can.
func (s *screen) comment(author, body string) {
	body = tag.ReplaceAllString(hidden.ReplaceAllString(body, ""), "")
	body = link.ReplaceAllString(body, "$1")
	fmt.Fprintln(s.w, "   "+s.paint(dim, "┌ "+author+" commented"))
	var rows [][]string
	blank := true
	for line := range strings.SplitSeq(strings.TrimSpace(body)+"\n", "\n") {
		if strings.HasPrefix(line, "|") {
			if !ruler.MatchString(line) {
				rows = append(rows, cells(line))
			}
			continue
		}
		s.commentTable(rows)
		if len(rows) > 0 {
			rows, blank = nil, false
		}
		if strings.HasPrefix(line, "```") || line == "" && blank {
			continue
		}
		blank = line == ""
		s.commentLine(line)
	}
}

func (s *screen) commentLine(line string) {
	if title, ok := strings.CutPrefix(line, "### "); ok {
		line = s.paint(bold, strings.ReplaceAll(title, "`", ""))
	}
	line = emphasis.ReplaceAllStringFunc(line, func(found string) string { return s.paint(bold, strings.Trim(found, "*")) })
	line = strings.NewReplacer("`", "", "\\", "").Replace(line)
	fmt.Fprintln(s.w, strings.TrimRight("   "+s.paint(dim, "│")+" "+line, " "))
}

func (s *screen) commentTable(rows [][]string) {
	widths := map[int]int{}
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if i == len(row)-1 {
				cell, padding = padding+cell, ""
			}
			line.WriteString(cell + padding + "  ")
		}
		s.commentLine("  " + line.String())
	}
}

// cells splits a row of a Markdown table.
func cells(line string) []string {
	parts := strings.Split(strings.Trim(line, "|"), "|")
	for i := range parts {
		parts[i] = strings.NewReplacer("`", "", "\\", "").Replace(strings.TrimSpace(parts[i]))
	}
	return parts
}
