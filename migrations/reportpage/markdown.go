package reportpage

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/runner"
)

// Markdown writes a report as Markdown, for a terminal or a document. The comment on a pull request has a form of its own.
func Markdown(w io.Writer, about About, report *migrations.Report) error {
	b := bufio.NewWriter(w)
	p := newPage(about, report)
	fmt.Fprintf(b, "# %s\n\n", prose(about.Preview))
	for _, f := range p.Facts {
		fmt.Fprintf(b, "- %s: %s\n", f.Name, prose(f.Value))
	}
	if f := report.Failure; f != nil {
		fmt.Fprintf(b, "\n**Failed:** %s\n", prose(f.String()))
		if f.Hint != "" {
			fmt.Fprintf(b, "\n%s\n", prose(f.Hint))
		}
	}
	fmt.Fprintf(b, "\n## Findings: %s\n\n", p.Summary)
	for _, f := range p.Findings {
		markdownFinding(b, f)
	}
	if len(report.Applied) > 0 {
		fmt.Fprint(b, "\n## Migrations\n\n| file | took | rows | WAL | disk | how it scales |\n| --- | ---: | ---: | ---: | ---: | --- |\n")
	}
	for _, m := range report.Applied {
		wal, disk, scales := "", "", ""
		if m.Observed != nil {
			wal, disk = size(m.Observed.WALBytes), size(m.Observed.DiskBytes)
			var slowest float64 = -1
			for _, s := range m.Observed.Statements {
				if s.DurationMS > slowest {
					slowest, scales = s.DurationMS, fmt.Sprintf("line %d: %s", s.Line, scaleOf(s))
				}
			}
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", prose(m.File), span(m.DurationMS), group(m.RowsAffected), wal, disk, prose(scales))
	}
	if run := report.Run; run != nil {
		markdownRun(b, run)
	}
	if p.Schema != "" {
		fmt.Fprintf(b, "\n## Schema\n\n%s\n", fenced("diff", p.Schema))
	}
	if r := report.Rollback; r != nil {
		fmt.Fprintf(b, "\n## Rolled back, for a try\n\n%s\n", prose(r.String()))
		if p.Undone != "" {
			fmt.Fprintf(b, "\n%s\n", fenced("diff", p.Undone))
		}
	}
	if l := report.Load; l != nil {
		fmt.Fprint(b, "\n## With others at work\n\n| table | longest read | reads waited | longest write | writes waited |\n| --- | ---: | ---: | ---: | ---: |\n")
		for _, t := range l.Tables {
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", prose(t.Table), span(t.Reads.MaxMS), span(t.Reads.BlockedMS), span(t.Writes.MaxMS), span(t.Writes.BlockedMS))
		}
	}
	return b.Flush()
}

// markdownRun is the run of the project's own command.
func markdownRun(b io.Writer, run *runner.Report) {
	fmt.Fprintf(b, "\n## The project's own command\n\n%s in %s", prose(strings.Join(run.Command, " ")), prose(run.Image))
	if run.Skipped != "" {
		fmt.Fprintf(b, " was not run: %s\n", prose(run.Skipped))
		return
	}
	fmt.Fprintf(b, ": exit code %d after %s, %s of WAL\n", run.ExitCode, span(run.DurationMS), size(run.WALBytes))
	for _, refused := range run.Refused {
		fmt.Fprintf(b, "- refused: %s\n", prose(refused))
	}
	if run.Log != "" {
		fmt.Fprintf(b, "\n%s\n", fenced("", run.Log))
	}
}

func markdownFinding(b io.Writer, f migrations.Finding) {
	place := f.File
	if f.Line > 0 {
		place = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	fmt.Fprintf(b, "- **%s** %s %s: %s", prose(string(f.Severity)), prose(string(f.Kind)), prose(place), prose(f.Message))
	if cost := costOf(f.Scale); cost != "" {
		fmt.Fprintf(b, " (%s)", cost)
	}
	if f.Instead != "" {
		fmt.Fprintf(b, ". Instead: %s", prose(f.Instead))
	}
	fmt.Fprintln(b)
}

// prose keeps text from being markup, and on one line.
func prose(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	return strings.NewReplacer(`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", "&lt;", ">", "&gt;", "|", `\|`, "#", `\#`, "@", "@\u200b").Replace(text)
}

// fenced is a block of code with a fence that is longer than any in it.
func fenced(language, text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence + language + "\n" + strings.TrimRight(text, "\n") + "\n" + fence
}
