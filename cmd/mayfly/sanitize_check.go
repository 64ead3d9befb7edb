package main

import (
	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/sanitize"
)

func newSanitizeCheckCommand(s *shell) *cobra.Command {
	var from sourceFlags
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check a rules file, by itself or against the columns of a source", Args: cobra.ExactArgs(1),
		Example: "  mayfly sanitize check sanitize.yaml\n  mayfly sanitize check sanitize.yaml --dsn-env DATABASE_URL\n  mayfly sanitize check sanitize.yaml --columns columns.json",
		Long: "Check that a rules file can be read: syntax, keys, transformers and their parameters. With a source, or a list of its columns,\n" +
			"also what a build would refuse before it reads a row: columns that no rule covers, with the lines to add, rules that match\n" +
			"nothing, and transformers that do not fit. Any database with the schema will do: in CI, the one that tests migrate.",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, args []string) (*answer, error) {
		if from.given() > 1 {
			return nil, usage("give one of %s and --columns", liveSources)
		}
		rules, err := from.rules(args[0])
		if err != nil {
			return nil, err
		}
		result := checkedRules{File: args[0], OK: true}
		if from.given() == 0 {
			return said(result, args[0], "%s can be read", args[0]), nil
		}
		tables, err := from.tables(cmd.Context())
		if err != nil {
			return nil, err
		}
		rules.AssumeDistributions(tables)
		plan, err := rules.Plan(tables, sanitize.GenerateKey())
		if err != nil {
			return nil, err
		}
		for _, t := range plan.Coverage() {
			result.Columns += len(t.Columns)
		}
		return said(result, args[0], "%s fits: %d columns are classified", args[0], result.Columns), nil
	})
	from.add(cmd, true)
	return cmd
}

// checkedRules is what -o json says.
type checkedRules struct {
	File    string `json:"file"`
	OK      bool   `json:"ok"`
	Columns int    `json:"columns"`
}
