package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates"
)

// scan is what `sanitize scan` is asked for.
type scan struct {
	from    sourceFlags
	rules   string
	out     string
	rows    int
	columns bool
	force   bool
}

func newSanitizeScanCommand(s *shell) *cobra.Command {
	var c scan
	cmd := &cobra.Command{
		Use: "scan", Short: "Propose masking rules for a source", Args: cobra.NoArgs,
		Long: "Look at a running source and write rules for all of its columns: by their names in several languages, their types, and what\n" +
			"sampled values look like. Each has a confidence, the reason, and a masked example. It reads in one read-only transaction,\n" +
			"with limits on every statement; no value of the source is written or printed. With --rules, the rules that are there stay, and\n" +
			"lines for columns that they do not cover are added. With --columns, only the list of columns is written, for checks without\n" +
			"access to the source.",
		Example: "  mayfly sanitize scan --project shop -o sanitize.yaml\n  mayfly sanitize scan --dsn-env SOURCE_URL --rules sanitize.yaml -o sanitize.yaml\n" +
			"  mayfly sanitize scan --dsn-file dsn --columns -o columns.json",
		RunE: func(cmd *cobra.Command, _ []string) error { return c.run(cmd.Context(), s) },
	}
	c.from.add(cmd, false)
	c.from.addKey(cmd, "examples are made with one that is thrown away")
	cmd.Flags().StringVar(&c.rules, "rules", "", "rules to add to")
	cmd.Flags().StringVarP(&c.out, "output", "o", "yaml", "yaml or json for standard output, or the name of a file to write")
	cmd.Flags().IntVar(&c.rows, "rows", 1000, "rows of each table to look at; 0 for names and types alone")
	cmd.Flags().BoolVar(&c.columns, "columns", false, "write the list of columns and nothing else")
	cmd.Flags().BoolVar(&c.force, "force", false, "overwrite a file that is there")
	return cmd
}

func (c *scan) run(ctx context.Context, s *shell) error {
	if err := c.from.check(liveSources); err != nil {
		return err
	}
	if c.rows < 0 || c.rows > maxSampleRows {
		return usage("--rows must be 0 to %d", maxSampleRows)
	}
	if err := c.checkOutput(); err != nil {
		return err
	}
	if c.columns {
		return c.writeColumns(ctx, s)
	}
	var existing []byte
	if c.rules != "" {
		raw, err := os.ReadFile(c.rules)
		if err != nil {
			return mayfly.Errorf(mayfly.CodeInvalid, "read the rules: %w", err)
		}
		existing = raw
	}
	key, _, err := c.from.key(false)
	if err != nil {
		return err
	}
	tables, rows, err := c.from.sample(ctx, s, c.rows, nil)
	if err != nil {
		return err
	}
	draft := sanitize.NewDraft(tables)
	for _, row := range rows {
		if err := draft.AddRow(row.schema, row.table, row.row); err != nil {
			return err
		}
	}
	name := c.rules
	if name == "" {
		name = "sanitize.yaml"
	}
	rules, suggestions, err := draft.Write(name, "Masking rules, proposed by mayfly sanitize scan.", existing, key)
	if err != nil {
		return err
	}
	return c.print(s, rules, suggestions)
}

// maxSampleRows bounds what is held in memory of a source.
const maxSampleRows = 100_000

// toFile reports whether -o names a file.
func (c *scan) toFile() bool { return c.out != "yaml" && c.out != "json" }

func (c *scan) checkOutput() error {
	if c.out == "" {
		return usage("-o: yaml, json or the name of a file")
	}
	if !c.toFile() || c.force || c.out == c.rules {
		return nil
	}
	if _, err := os.Stat(c.out); !errors.Is(err, fs.ErrNotExist) {
		return mayfly.Errorf(mayfly.CodeInvalid, "%s is there already", c.out).WithHint("give --rules %s to add to it, or --force to overwrite it", c.out)
	}
	return nil
}

func (c *scan) writeColumns(ctx context.Context, s *shell) error {
	tables, err := c.from.survey(ctx, templates.SurveyOptions{})
	if err != nil {
		return err
	}
	var list bytes.Buffer
	if err := sanitize.WriteColumns(&list, tables); err != nil {
		return err
	}
	return c.write(s.out, list.Bytes())
}

// write writes to the file of -o, or to standard output.
func (c *scan) write(w io.Writer, text []byte) error {
	if !c.toFile() {
		_, err := w.Write(text)
		return err
	}
	if err := os.WriteFile(c.out, text, 0o644); err != nil { //nolint:gosec // rules and column lists are reviewed like code, and hold no values
		return mayfly.Errorf(mayfly.CodeInvalid, "write the file: %w", err)
	}
	return nil
}

func (c *scan) print(s *shell, rules []byte, suggestions []sanitize.Suggestion) error {
	if c.out == "json" {
		if suggestions == nil {
			suggestions = []sanitize.Suggestion{}
		}
		return printJSON(s.out, map[string]any{"rules": string(rules), "suggestions": suggestions})
	}
	if err := c.write(s.out, rules); err != nil {
		return err
	}
	unsure := strings.Count(string(rules), "# please check")
	s.note("%d columns classified; %d lines are marked \"please check\"", len(suggestions), unsure)
	return nil
}
