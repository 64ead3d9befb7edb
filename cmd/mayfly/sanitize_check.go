package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/sanitize"
)

func newSanitizeCheckCommand(s streams) *cobra.Command {
	var from sourceFlags
	out := format("table")
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check a rules file, by itself or against the columns of a source", Args: cobra.ExactArgs(1),
		Example: "  mayfly sanitize check sanitize.yaml\n  mayfly sanitize check sanitize.yaml --dsn-env DATABASE_URL\n  mayfly sanitize check sanitize.yaml --columns columns.json",
		Long: "Check that a rules file can be read: syntax, keys, transformers and their parameters. With a source, or a list of its columns,\n" +
			"also what a build would refuse before it reads a row: columns that no rule covers, with the lines to add, rules that match\n" +
			"nothing, and transformers that do not fit. Any database with the schema will do: in CI, the one that tests migrate.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if from.given() > 1 {
				return usage("give one of %s and --columns", liveSources)
			}
			rules, err := from.rules(args[0])
			if err != nil {
				return err
			}
			columns := 0
			if from.given() == 1 {
				tables, err := from.tables(cmd.Context())
				if err != nil {
					return err
				}
				rules.AssumeDistributions(tables)
				plan, err := rules.Plan(tables, sanitize.GenerateKey())
				if err != nil {
					return err
				}
				for _, t := range plan.Coverage() {
					columns += len(t.Columns)
				}
			}
			if out == "json" {
				return printJSON(s.out, map[string]any{"file": args[0], "ok": true, "columns": columns})
			}
			if from.given() == 0 {
				_, err = fmt.Fprintln(s.out, args[0]+" can be read")
			} else {
				_, err = fmt.Fprintf(s.out, "%s fits: %d columns are classified\n", args[0], columns)
			}
			return err
		},
	}
	from.add(cmd, true)
	addFormat(cmd, &out)
	return cmd
}
