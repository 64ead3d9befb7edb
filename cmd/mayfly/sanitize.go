package main

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/mayflydb/mayfly/sanitize"
)

func newSanitizeCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{
		Use: "sanitize", Short: "Propose, check and explain masking rules",
		Example: "  mayfly sanitize scan --project shop -o sanitize.yaml\n  mayfly sanitize check sanitize.yaml --project shop\n  mayfly sanitize explain public.customers.email --project shop",
	}
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

func newTransformersCommand(s *shell) *cobra.Command {
	cmd := &cobra.Command{Use: "transformers", Short: "List the transformers", Args: cobra.NoArgs, Example: "  mayfly sanitize transformers"}
	return s.local(cmd, plainFormats, func(*cobra.Command, []string) (*answer, error) {
		all := sanitize.Transformers()
		var rows [][]string
		var names []string
		for _, t := range all {
			var params []string
			for _, p := range t.Params {
				params = append(params, p.Name)
			}
			rows = append(rows, []string{t.Name, properties(t), strings.Join(t.Types, ","), strings.Join(params, ","), t.Summary})
			names = append(names, t.Name)
		}
		return &answer{value: all, names: names, table: func(w *screen) error {
			return w.rows([]string{"NAME", "PROPERTIES", "TYPES", "PARAMETERS", "WHAT IT DOES"}, rows)
		}}, nil
	})
}
