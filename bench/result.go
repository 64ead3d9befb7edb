package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Result is one entry of the file of results. Its form is part of the project's external contract.
type Result struct {
	Name       string         `json:"name"`
	Unit       string         `json:"unit"`
	N          int            `json:"n"`
	Min        float64        `json:"min"`
	P50        float64        `json:"p50"`
	P99        float64        `json:"p99"`
	Max        float64        `json:"max"`
	Conditions map[string]any `json:"conditions"`
	Baseline   *Baseline      `json:"baseline,omitempty"`
	// Ratio is ours by theirs: below 1 is better for times and sizes, above 1 for rates.
	Ratio float64 `json:"ratio,omitempty"`
}

// Baseline is an alternative, measured in the same run.
type Baseline struct {
	What string  `json:"what"`
	P50  float64 `json:"p50"`
}

// series are measurements of one thing.
type series []float64

func (s *series) add(v float64) { *s = append(*s, v) }

// addMS adds a duration in milliseconds.
func (s *series) addMS(d time.Duration) { s.add(float64(d) / float64(time.Millisecond)) }

// quantile is the nearest-rank quantile: a value that was measured.
func (s series) quantile(q float64) float64 {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

func (s series) result(name, unit string) Result {
	return Result{
		Name: name, Unit: unit, N: len(s), Min: round(s.quantile(0)), P50: round(s.quantile(0.5)), P99: round(s.quantile(0.99)),
		Max: round(s.quantile(1)),
	}
}

// beside adds the alternative to a result.
func (r Result) beside(what string, theirs series) Result {
	if p50 := theirs.quantile(0.5); p50 > 0 {
		r.Baseline = &Baseline{What: what, P50: round(p50)}
		r.Ratio = round(r.P50 / p50)
	}
	return r
}

// round keeps what is worth reading.
func round(v float64) float64 {
	switch {
	case math.Abs(v) >= 100:
		return math.Round(v*10) / 10
	case math.Abs(v) >= 1:
		return math.Round(v*100) / 100
	}
	return math.Round(v*10000) / 10000
}

// record keeps a result, with the conditions of the machine and those of this measurement.
func (b *bench) record(r Result, conditions map[string]any) {
	r.Conditions = b.conditions()
	r.Conditions["n"] = r.N
	for key, value := range conditions {
		r.Conditions[key] = value
	}
	b.results = append(b.results, r)
	b.say("  %s: p50 %s, p99 %s %s (n=%d)%s", r.Name, number(r.P50), number(r.P99), r.Unit, r.N, besideText(r))
}

func besideText(r Result) string {
	if r.Baseline == nil {
		return ""
	}
	return fmt.Sprintf("; %s: %s, ratio %s", r.Baseline.What, number(r.Baseline.P50), number(r.Ratio))
}

func number(v float64) string { return fmt.Sprintf("%.4g", v) }

// goal is what a figure must reach.
type goal struct {
	text  string
	value func(Result) float64
	most  float64
}

func p50(r Result) float64 { return r.P50 }
func p99(r Result) float64 { return r.P99 }

func ratio(r Result) float64    { return r.Ratio }
func greatest(r Result) float64 { return r.Max }

func goals() map[string]goal {
	return map[string]goal{
		"create_cold_ms":         {"p50 <= 350", p50, 350},
		"create_cold_8g_ms":      {"p50 <= 350", p50, 350},
		"create_cold_8g_over_1g": {"p50 <= 1.15", p50, 1.15},
		"wake_ms":                {"p50 <= 250", p50, 250},
		"wake_8g_ms":             {"p50 <= 250", p50, 250},
		"webhook_ack_ms":         {"p99 <= 50", p99, 50},
		"preview_disk_mib":       {"p50 <= 2", p50, 2},
		"preview_idle_mib":       {"p50 <= 30", p50, 30},
		"api_list_first_page_ms": {"p99 <= 50", p99, 50},
		"api_credentials_ms":     {"p99 <= 20", p99, 20},
		"cli_help_ms":            {"p99 <= 50", p99, 50},
		"cli_create_wait_ms":     {"p50 <= API + 100", func(r Result) float64 { return r.P50 - r.Baseline.P50 }, 100},

		"migrate_observed_ms": {"ratio <= 1.1", ratio, 1.1},
		"migrate_300_s":       {"p99 <= 10", p99, 10},
		"schema_diff_1000_ms": {"p99 <= 500", p99, 500},

		"template_build_masked_s":   {"ratio <= 1.25", ratio, 1.25},
		"restore_archive_s":         {"ratio <= 1.15", ratio, 1.15},
		"template_masked_over_kept": {"p50 <= 1.2", p50, 1.2},
		"template_build_memory_mib": {"max <= 256", greatest, 256},
		"masking_mb_s":              {"p50 >= 150", func(r Result) float64 { return -r.P50 }, -150},
	}
}

// verdict says whether a result reaches its goal; "" if it has none.
func verdict(r Result) (text, reached string) {
	g, ok := goals()[r.Name]
	switch {
	case !ok:
		return "", ""
	case g.value(r) <= g.most:
		return g.text, "yes"
	}
	return g.text, "NO"
}

// report writes the file of results, the page's table, and a table to the terminal.
func (b *bench) report() error {
	results := b.results
	if len(b.only) > 0 {
		var err error
		if results, err = merged(b.out, results); err != nil {
			return err
		}
	}
	encoded, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the results: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(b.out), 0o755); err != nil { //nolint:gosec // results are for everyone
		return fmt.Errorf("make the directory of the results: %w", err)
	}
	if err := os.WriteFile(b.out, append(encoded, '\n'), 0o644); err != nil { //nolint:gosec // results are for everyone
		return fmt.Errorf("write the results: %w", err)
	}
	b.say("wrote %s", b.out)
	if b.docs != "" {
		if err := rewritePage(b.docs, results); err != nil {
			return err
		}
	}
	return printTable(os.Stdout, b.results)
}

// merged returns the results of the file with the new ones in place of older ones of the same name.
func merged(path string, fresh []Result) ([]Result, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the earlier results: %w", err)
	}
	var all []Result
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, r := range fresh {
		if i := slices.IndexFunc(all, func(old Result) bool { return old.Name == r.Name }); i >= 0 {
			all[i] = r
			continue
		}
		all = append(all, r)
	}
	return all, nil
}

func printTable(w io.Writer, results []Result) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "NAME\tUNIT\tN\tMIN\tP50\tP99\tMAX\tGOAL\tREACHED\tBESIDE\tRATIO")
	for _, r := range results {
		text, reached := verdict(r)
		beside, ratio := "", ""
		if r.Baseline != nil {
			beside, ratio = number(r.Baseline.P50), number(r.Ratio)
		}
		fmt.Fprintf(tw, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.Unit, r.N, number(r.Min), number(r.P50), number(r.P99),
			number(r.Max), text, reached, beside, ratio)
	}
	return tw.Flush()
}

// The page's table of figures stands between these lines.
const (
	tableBegin = "<!-- figures: begin, written by make bench -->\n"
	tableEnd   = "<!-- figures: end -->\n"
)

// rewritePage puts the results into the page's table.
func rewritePage(path string, results []Result) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the page of benchmarks: %w", err)
	}
	before, rest, begun := strings.Cut(string(raw), tableBegin)
	_, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		return fmt.Errorf("%s has no lines %q and %q", path, strings.TrimSpace(tableBegin), strings.TrimSpace(tableEnd))
	}
	page := before + tableBegin + markdown(results) + tableEnd + after
	return os.WriteFile(path, []byte(page), 0o644) //nolint:gosec // a page of the documentation
}

func markdown(results []Result) string {
	var w strings.Builder
	w.WriteString("| figure | n | p50 | p99 | goal | beside it | ratio |\n| --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		text, reached := verdict(r)
		if reached == "NO" {
			text += ", not reached"
		}
		beside, ratio := "", ""
		if r.Baseline != nil {
			beside, ratio = r.Baseline.What+": "+number(r.Baseline.P50), number(r.Ratio)
		}
		fmt.Fprintf(&w, "| `%s` | %d | %s %s | %s | %s | %s | %s |\n", r.Name, r.N, number(r.P50), r.Unit, number(r.P99), text, beside, ratio)
	}
	if len(results) > 0 {
		fmt.Fprintf(&w, "\nMeasured on: %s.\n", machineText(results[0].Conditions))
	}
	return w.String()
}

func machineText(c map[string]any) string {
	var parts []string
	for _, key := range []string{"cpus", "memory_gib", "kernel", "engine", "storage", "postgres", "measured_at"} {
		parts = append(parts, fmt.Sprintf("%s %v", strings.ReplaceAll(key, "_gib", " in GiB"), c[key]))
	}
	return strings.Join(parts, ", ")
}
