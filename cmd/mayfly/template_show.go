package main

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/templates"
)

func newTemplateShowCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "Print a template's report: what it was built from, what was found and what was verified",
		Long: "Print a template's report: what it was built from, what was found, the worst first, and what was verified.\n" +
			"On a terminal as text, elsewhere as JSON with the timeline of the build. -o html writes one page that needs nothing else.",
		Example: "  mayfly template show t4k2…\n  mayfly template show t4k2… -o json | jq .report.findings\n  mayfly template show t4k2… -o html > report.html",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: s.completeTemplate,
	}
	return s.remote(cmd, "table json yaml html url", func(ctx context.Context, c *client.Client, args []string) (*answer, error) {
		t, err := c.Template(ctx, args[0])
		if err != nil {
			return nil, err
		}
		full := func(write func(io.Writer, *mayfly.Template) error) func(*screen) error {
			return func(w *screen) error {
				all := domainTemplate(t)
				if all.Attestation, err = fetchAttestation(ctx, c, t.ID); err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
					return err
				}
				return write(w, all)
			}
		}
		return &answer{
			value: t, piped: "json", names: []string{t.ID}, urls: s.apiURLs("/templates/", t.ID), table: full(templates.WriteText),
			other: map[string]func(*screen) error{"html": full(templates.WriteHTML)},
		}, nil
	})
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
