package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

func newSanitizeCommand(s streams) *cobra.Command {
	cmd := &cobra.Command{Use: "sanitize", Short: "Check masking rules, and list what they can use"}
	cmd.AddCommand(newSanitizeCheckCommand(s), newTransformersCommand(s))
	return group(cmd)
}

func newSanitizeCheckCommand(s streams) *cobra.Command {
	out := format("table")
	cmd := &cobra.Command{
		Use: "check FILE", Short: "Check that a rules file can be read", Args: cobra.ExactArgs(1), Example: "  mayfly sanitize check sanitize.yaml",
		Long: "Check that a rules file can be read: syntax, keys, transformers and their parameters. Whether it classifies every column is\n" +
			"checked against the source when a template is built, before anything is copied.",
		RunE: func(_ *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			raw, err := os.ReadFile(args[0])
			if err != nil {
				return mayfly.Errorf(mayfly.CodeInvalid, "read the rules: %w", err)
			}
			if _, err := sanitize.Parse(args[0], raw); err != nil {
				return err
			}
			if out == "json" {
				return printJSON(s.out, map[string]any{"file": args[0], "ok": true})
			}
			_, err = fmt.Fprintln(s.out, args[0]+" can be read")
			return err
		},
	}
	addFormat(cmd, &out)
	return cmd
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
