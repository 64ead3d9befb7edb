package main

import (
	"slices"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/templates"
)

func newTemplateShowCommand(s streams, conn *connection) *cobra.Command {
	var out string
	formats := []string{"text", "json", "html"}
	cmd := &cobra.Command{
		Use: "show ID", Short: "Print a template's report: what it was built from, what was found and what was verified",
		Long: "Print a template's report: what it was built from, what was found, the worst first, and what was verified.\n" +
			"On a terminal as text, elsewhere as JSON with the timeline of the build. -o html writes one page that needs nothing else.",
		Example: "  mayfly template show t4k2…\n  mayfly template show t4k2… -o json | jq .report.findings\n  mayfly template show t4k2… -o html > report.html",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case out == "" && isTerminal(s.out):
				out = "text"
			case out == "":
				out = "json"
			case !slices.Contains(formats, out):
				return usage("-o %s: the formats are text, json, html", out)
			}
			c, err := conn.client()
			if err != nil {
				return err
			}
			t, err := c.Template(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			full := domainTemplate(t)
			if out != "json" {
				if full.Attestation, err = fetchAttestation(cmd.Context(), c, t.ID); err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
					return err
				}
			}
			switch out {
			case "text":
				return templates.WriteText(s.out, full)
			case "html":
				return templates.WriteHTML(s.out, full)
			}
			return printJSON(s.out, t)
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "text, json or html; text on a terminal and json elsewhere if left out")
	return cmd
}

// domainTemplate is what reports are written from.
func domainTemplate(t *client.Template) *mayfly.Template {
	out := &mayfly.Template{
		ID: t.ID, Project: t.Project, Version: t.Version, State: mayfly.TemplateState(t.State), Source: t.Source, Major: t.Major,
		SizeBytes: t.SizeBytes, RowCount: t.RowCount, Report: t.Report, CreatedAt: t.CreatedAt, ReadyAt: t.ReadyAt,
	}
	if t.Failure != nil {
		out.Failure = &mayfly.Failure{Code: mayfly.Code(t.Failure.Code), Message: t.Failure.Message, Hint: t.Failure.Hint}
	}
	return out
}
