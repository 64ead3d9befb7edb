package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

// rowDiff is what `sanitize diff` is asked for.
type rowDiff struct {
	from      sourceFlags
	rules     string
	tables    []string
	columns   []string
	rows      int
	afterOnly bool
}

// changedValue is a value before and after.
type changedValue struct {
	Table  string  `json:"table"`
	Row    int     `json:"row"`
	Column string  `json:"column"`
	Before *string `json:"before,omitempty"` // nil for NULL, and with --after-only
	After  *string `json:"after"`
}

func newSanitizeDiffCommand(s *shell) *cobra.Command {
	var d rowDiff
	cmd := &cobra.Command{
		Use: "diff", Short: "Show sampled rows before and after masking", Args: cobra.NoArgs,
		Long: "Read a few rows of a running source, mask them, and show what they were and what they become, column by column. It prints values\n" +
			"of production, to somebody who can read the source anyway. --after-only prints none of them, nor results that can have parts of them.",
		Example: "  mayfly sanitize diff --project shop --table public.customers --rows 5\n  mayfly sanitize diff --dsn-env SOURCE_URL --rules sanitize.yaml --column email --after-only",
	}
	s.local(cmd, plainFormats, func(cmd *cobra.Command, _ []string) (*answer, error) { return d.run(cmd.Context(), s) })
	d.from.add(cmd, false)
	d.from.addKey(cmd, "the project's is used, or one that is thrown away")
	cmd.Flags().StringVar(&d.rules, "rules", "", "rules file; without it the project's, or sanitize.yaml")
	cmd.Flags().StringSliceVar(&d.tables, "table", nil, "tables to show, as schema.table; all if it is left out")
	cmd.Flags().StringSliceVar(&d.columns, "column", nil, "columns to show; all that are masked if it is left out")
	cmd.Flags().IntVar(&d.rows, "rows", 3, "rows of each table")
	cmd.Flags().BoolVar(&d.afterOnly, "after-only", false, "print no value of the source")
	return cmd
}

// diffSample is how many rows are read where a transformer needs to know what values there are.
const diffSample = 1000

func (d *rowDiff) run(ctx context.Context, s *shell) (*answer, error) {
	if err := d.from.check(liveSources); err != nil {
		return nil, err
	}
	if d.rows < 1 || d.rows > diffSample {
		return nil, usage("--rows must be 1 to %d", diffSample)
	}
	rules, err := d.from.rules(d.rules)
	if err != nil {
		return nil, err
	}
	key, thrownAway, err := d.from.key(true)
	if err != nil {
		return nil, err
	}
	tables, rows, err := d.from.sample(ctx, s, diffSample, d.tables)
	if err != nil {
		return nil, err
	}
	if err := d.known(tables); err != nil {
		return nil, err
	}
	if err := addDistributions(rules, tables, rows); err != nil {
		return nil, err
	}
	plan, err := rules.Plan(tables, key)
	if err != nil {
		return nil, err
	}
	if thrownAway {
		s.note("masked with a key that is thrown away: a build gives other results of the same form")
	}
	changed := []changedValue{}
	shown := map[string]int{}
	for _, row := range rows {
		name := row.schema + "." + row.table
		if shown[name]++; shown[name] > d.rows {
			continue
		}
		values, err := d.compare(plan, row, shown[name])
		if err != nil {
			return nil, err
		}
		changed = append(changed, values...)
	}
	return &answer{value: changed, table: func(w *screen) error { return d.print(w, changed) }}, nil
}

// known refuses tables that are not there.
func (d *rowDiff) known(tables []sanitize.Table) error {
	for _, name := range d.tables {
		if !slices.ContainsFunc(tables, func(t sanitize.Table) bool { return t.Schema+"."+t.Name == name || t.PartitionOf == name }) {
			return mayfly.Errorf(mayfly.CodeNotFound, "the source has no table %s", name).WithHint("write schema.table, as in the catalog")
		}
	}
	return nil
}

// addDistributions samples the columns whose transformers draw from what is there.
func addDistributions(rules *sanitize.Rules, tables []sanitize.Table, rows []sampledRow) error {
	for _, at := range rules.Sampled(tables) {
		t := &tables[at[0]]
		sampler := sanitize.NewSampler(diffSample, rand.NewPCG(1, 2))
		position := at[1]
		for _, c := range t.Columns[:at[1]] {
			if c.Generated {
				position--
			}
		}
		seen := 0
		for _, row := range rows {
			if row.schema != t.Schema || row.table != t.Name {
				continue
			}
			fields := sanitize.SplitRow(row.row)
			if position >= len(fields) {
				return fmt.Errorf("a row of %s.%s has too few fields", row.schema, row.table)
			}
			if fields[position] != nil {
				sampler.Add(*fields[position])
				seen++
			}
		}
		if seen > 0 {
			t.Columns[at[1]].Distribution = sampler
		}
	}
	rules.AssumeDistributions(tables)
	return nil
}

// compare masks one row.
func (d *rowDiff) compare(plan *sanitize.Plan, row sampledRow, number int) ([]changedValue, error) {
	masker := plan.Table(row.schema, row.table)
	if masker == nil || !masker.Rows() {
		return nil, nil
	}
	var masked bytes.Buffer
	w := masker.Writer(&masked)
	if _, err := w.Write(append(row.row, '\n')); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	before, after := sanitize.SplitRow(row.row), sanitize.SplitRow(bytes.TrimSuffix(masked.Bytes(), []byte("\n")))
	var out []changedValue
	for i, c := range masker.Columns() {
		named := slices.Contains(d.columns, c.Column)
		if i >= len(before) || i >= len(after) || len(d.columns) > 0 && !named || c.Transformer == "keep" && (d.afterOnly || !named) {
			continue
		}
		one := changedValue{Table: row.schema + "." + row.table, Row: number, Column: c.Column, Before: before[i], After: after[i]}
		if d.afterOnly {
			one.Before = nil
			same := one.After != nil && before[i] != nil && *one.After == *before[i] && *one.After != ""
			if same || !sanitize.MadeUp(c.Transformer) {
				hidden := "(not shown: parts of the value may be in it)"
				one.After = &hidden
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func (d *rowDiff) print(w *screen, changed []changedValue) error {
	header := []string{"TABLE", "ROW", "COLUMN", "BEFORE", "AFTER"}
	if d.afterOnly {
		header = []string{"TABLE", "ROW", "COLUMN", "AFTER"}
	}
	rows := make([][]string, 0, len(changed))
	for _, c := range changed {
		row := []string{c.Table, strconv.Itoa(c.Row), c.Column, shownValue(c.Before), shownValue(c.After)}
		if d.afterOnly {
			row = slices.Delete(row, 3, 4)
		}
		rows = append(rows, row)
	}
	return w.rows(header, rows)
}

// shownValue writes a value in one line of a table.
func shownValue(v *string) string {
	if v == nil {
		return "NULL"
	}
	const longest = 60
	text := strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, *v)
	if runes := []rune(text); len(runes) > longest {
		return string(runes[:longest]) + "…"
	}
	return text
}
