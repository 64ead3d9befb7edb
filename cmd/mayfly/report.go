package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/reportpage"
)

func newReportCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "report NAME", Short: "Print what the pull request's migrations did", Args: cobra.ExactArgs(1), ValidArgsFunction: s.completePreview,
		Long: "Print what the pull request's migrations did: in short on a terminal, elsewhere all of it as JSON. -o html writes one page that needs nothing\n" +
			"else, -o markdown what goes into a comment or a ticket.",
		Example: "  mayfly report shop-pr-42\n  mayfly report shop-pr-42 | jq .findings\n  mayfly report shop-pr-42 -o html > report.html",
	}
	return s.remote(cmd, "table json yaml html markdown url", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		raw, err := c.Report(ctx, args[0])
		if err != nil {
			return nil, err
		}
		var report migrations.Report
		if err := json.Unmarshal(raw, &report); err != nil {
			return nil, fmt.Errorf("read the report: %w", err)
		}
		written := func(write func(io.Writer, reportpage.About, *migrations.Report) error) func(*screen) error {
			return func(w *screen) error {
				p, err := c.Preview(ctx, args[0])
				if err != nil {
					return err
				}
				return write(w.Writer, aboutPreview(p), &report)
			}
		}
		return &answer{
			value: raw, piped: "json", urls: s.apiURLs("/previews/", args[0]+"/report"), table: func(w *screen) error { return printReport(w, &report) },
			other: map[string]func(*screen) error{"html": written(reportpage.Write), "markdown": written(reportpage.Markdown)},
		}, nil
	})
}

func aboutPreview(p *client.Preview) reportpage.About {
	about := reportpage.About{Preview: p.Name, Project: p.Project, State: p.State}
	if p.Template != nil {
		about.TemplateVersion = p.Template.Version
	}
	if p.PullRequest != nil {
		about.Repository, about.Number, about.Title, about.HeadSHA, about.BaseRef = p.PullRequest.Repository, p.PullRequest.Number, p.PullRequest.Title,
			p.PullRequest.HeadSHA, p.PullRequest.BaseRef
	}
	return about
}

// printReport is the report in short: what ran, what was found, and why it stopped.
func printReport(w *screen, r *migrations.Report) error {
	rows := [][]string{}
	for _, step := range append(append([]migrations.Step{}, r.Applied...), r.Seeds...) {
		state := "applied"
		if step.Error != "" {
			state = "failed"
		}
		rows = append(rows, []string{step.File, state, fmt.Sprintf("%.0f ms", step.DurationMS), strconv.Itoa(step.Statements), strconv.FormatInt(step.RowsAffected, 10)})
	}
	for _, left := range r.Pending {
		rows = append(rows, []string{left.File, "pending", "-", "-", "-"})
	}
	if len(rows) > 0 {
		if err := w.rows([]string{"FILE", "STATE", "TIME", "STATEMENTS", "ROWS"}, rows); err != nil {
			return err
		}
	} else {
		fmt.Fprintln(w, "there was nothing to apply")
	}
	if r.Failure != nil {
		fmt.Fprintf(w, "\n%s %s\n", w.paint(red, "failed:"), clean(r.Failure.String()))
		if r.Failure.Hint != "" {
			fmt.Fprintf(w, "%s %s\n", w.paint(bold, "hint:"), clean(r.Failure.Hint))
		}
	}
	for _, f := range r.Findings {
		if f.Waived != "" {
			continue
		}
		colour, where := yellow, f.File
		if f.Severity == "error" {
			colour = red
		}
		if f.Line > 0 {
			where = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		fmt.Fprintf(w, "\n%s %s: %s\n", w.paint(colour, string(f.Kind)), cell(where), strings.TrimSpace(clean(f.Message)))
		if f.Instead != "" {
			fmt.Fprintln(w, "  instead: "+clean(f.Instead))
		}
	}
	return nil
}
