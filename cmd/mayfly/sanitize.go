package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/sanitize"
)

func newSanitizeCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "sanitize", Short: "Propose, check and explain masking rules"}
	cmd.AddCommand(newSanitizeScanCommand(s), newSanitizeCheckCommand(s), newSanitizeDiffCommand(s), newSanitizeExplainCommand(s), newTransformersCommand(s))
	return group(cmd)
}

// properties names what holds for the results of a transformer.
func properties(t sanitize.Transformer) string {
	var words []string
	for _, p := range []struct {
		holds bool
		word  string
	}{{t.Keyed, "keyed"}, {t.Deterministic, "deterministic"}, {t.Unique, "unique"}, {t.Disjoint, "disjoint"}} {
		if p.holds {
			words = append(words, p.word)
		}
	}
	return strings.Join(words, ",")
}

func newTransformersCommand(s streams) *cobra.Command {
	out := format("table")
	cmd := &cobra.Command{
		Use: "transformers", Short: "List the transformers", Args: cobra.NoArgs, Example: "  mayfly sanitize transformers",
		RunE: func(*cobra.Command, []string) error {
			if err := out.check(); err != nil {
				return err
			}
			all := sanitize.Transformers()
			if out == "json" {
				return printJSON(s.out, all)
			}
			var rows [][]string
			for _, t := range all {
				var params []string
				for _, p := range t.Params {
					params = append(params, p.Name)
				}
				rows = append(rows, []string{t.Name, properties(t), strings.Join(t.Types, ","), strings.Join(params, ","), t.Summary})
			}
			return table(s.out, []string{"NAME", "PROPERTIES", "TYPES", "PARAMETERS", "WHAT IT DOES"}, rows)
		},
	}
	addFormat(cmd, &out)
	return cmd
}
