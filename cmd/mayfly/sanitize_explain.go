package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/sanitize"
)

func newSanitizeExplainCommand(s *shell) *cobra.Command {
	var from sourceFlags
	var path string
	cmd := &cobra.Command{
		Use: "explain SCHEMA.TABLE.COLUMN", Short: "Say which rule decides about a column, and what it guarantees", Args: cobra.ExactArgs(1),
		Long: "Say which rule decides about a column and where it stands, why the others do not, what holds of the results, and what the scan\n" +
			"of a finished template can prove about them.",
		Example: "  mayfly sanitize explain public.customers.email --project shop\n  mayfly sanitize explain public.customers.email --rules sanitize.yaml --columns columns.json",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, args []string) (*answer, error) {
		if err := from.check(liveSources + " and --columns"); err != nil {
			return nil, err
		}
		rules, err := from.rules(path)
		if err != nil {
			return nil, err
		}
		tables, err := from.tables(cmd.Context())
		if err != nil {
			return nil, err
		}
		rules.AssumeDistributions(tables)
		e, err := rules.Explain(tables, args[0])
		if err != nil {
			return nil, err
		}
		return &answer{value: e, table: func(w *screen) error {
			printExplanation(w, e)
			return nil
		}}, nil
	})
	from.add(cmd, true)
	cmd.Flags().StringVar(&path, "rules", "", "rules file; without it the project's, or sanitize.yaml")
	return cmd
}

func printExplanation(w io.Writer, e *sanitize.Explanation) {
	fmt.Fprintf(w, "%s.%s   %s\n", e.Table, e.Column, e.Type)
	line := func(name, text string) {
		if text != "" {
			fmt.Fprintf(w, "  %-12s %s\n", name, text)
		}
	}
	line("rule", e.Rule)
	line("section", e.Source)
	line("transformer", e.Transformer)
	line("domain", e.Domain)
	for _, g := range e.Guarantees {
		line("holds", g)
	}
	line("proof", e.Proof)
	for _, o := range e.Others {
		line("not", o.What+" "+bracketed(o.Rule)+o.Reason)
	}
}

func bracketed(rule string) string {
	if rule == "" {
		return "- "
	}
	return "(" + rule + ") - "
}
