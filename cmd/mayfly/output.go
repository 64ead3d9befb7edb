package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// format is the value of -o.
type format string

// addFormat adds -o with table, json and further formats; check refuses others.
func addFormat(cmd *cobra.Command, f *format, further ...string) {
	names := append([]string{"table", "json"}, further...)
	cmd.Flags().StringVarP((*string)(f), "output", "o", "table", strings.Join(names[:len(names)-1], ", ")+" or "+names[len(names)-1])
}

func (f format) check(further ...string) error {
	if names := append([]string{"table", "json"}, further...); !slices.Contains(names, string(f)) {
		return usage("-o %s: the formats are %s", string(f), strings.Join(names, ", "))
	}
	return nil
}

// addJSON adds -o to a command that prints JSON and nothing else, so that it is taken everywhere.
func addJSON(cmd *cobra.Command, f *format) {
	cmd.Flags().StringVarP((*string)(f), "output", "o", "json", "json")
}

func (f format) only(name string) error {
	if string(f) != name {
		return usage("-o %s: the format is %s", string(f), name)
	}
	return nil
}

// duration is a flag's value that is written as everywhere else in Mayfly: 90s, 10m, 7d.
type duration time.Duration

// String implements pflag.Value.
func (d *duration) String() string {
	text := time.Duration(*d).String() // "24h0m0s"
	if whole, ok := strings.CutSuffix(text, "m0s"); ok {
		text = whole + "m"
	}
	if whole, ok := strings.CutSuffix(text, "h0m"); ok {
		text = whole + "h"
	}
	return text
}

// Set implements pflag.Value.
func (d *duration) Set(text string) error {
	v, err := mayfly.ParseDuration(text)
	if err == nil && v <= 0 {
		err = mayfly.Errorf(mayfly.CodeInvalid, "%q is not a time to wait", text)
	}
	*d = duration(v)
	return err
}

// Type implements pflag.Value.
func (d *duration) Type() string { return "duration" }

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}

// table prints rows with aligned columns.
func table(w io.Writer, header []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 3, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, row := range rows {
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	return t.Flush()
}

func previewRows(previews []client.Preview) [][]string {
	rows := make([][]string, len(previews))
	for i, p := range previews {
		template, sha := "", ""
		if p.Template != nil {
			template = fmt.Sprintf("v%d", p.Template.Version)
		}
		if p.PullRequest != nil {
			sha = short(p.PullRequest.AppliedSHA)
		}
		rows[i] = []string{p.Name, stateText(p), template, sha, age(p.CreatedAt), until(p.ExpiresAt)}
	}
	return rows
}

func stateText(p client.Preview) string {
	if p.Failure != nil {
		return p.State + " (" + p.Failure.Code + ")"
	}
	return p.State
}

func short(sha string) string { return sha[:min(len(sha), 7)] }

func age(t time.Time) string { return rough(time.Since(t)) }

func until(t *time.Time) string {
	switch {
	case t == nil:
		return "-"
	case time.Now().After(*t):
		return "now"
	}
	return "in " + rough(time.Until(*t))
}

// rough prints a duration in its largest unit, rounded: 12h that were asked for a moment ago are 12h. The server's clock may be
// ahead of this one: nothing is younger than 0s.
func rough(d time.Duration) string {
	unit, name := 24*time.Hour, "d"
	switch {
	case d < 2*time.Minute:
		unit, name = time.Second, "s"
	case d < 2*time.Hour:
		unit, name = time.Minute, "m"
	case d < 48*time.Hour:
		unit, name = time.Hour, "h"
	}
	return fmt.Sprintf("%d%s", (max(d, 0)+unit/2)/unit, name)
}

// printPreview shows one preview with its timeline.
func printPreview(w io.Writer, p *client.Preview) error {
	fmt.Fprintf(w, "%s   %s\n", p.Name, stateText(*p))
	if p.PullRequest != nil {
		fmt.Fprintf(w, "  pull request   %s#%d at %s (applied: %s)\n", p.PullRequest.Repository, p.PullRequest.Number,
			short(p.PullRequest.HeadSHA), cmp.Or(short(p.PullRequest.AppliedSHA), "none yet"))
	}
	if p.Template != nil {
		fmt.Fprintf(w, "  template       v%d\n", p.Template.Version)
	}
	fmt.Fprintf(w, "  created        %s ago\n", age(p.CreatedAt))
	if p.ExpiresAt != nil {
		fmt.Fprintf(w, "  expires        %s\n", until(p.ExpiresAt))
	}
	if p.State == string(mayfly.PreviewReady) || p.State == string(mayfly.PreviewSuspended) {
		fmt.Fprintf(w, "  connect        mayfly psql %s\n", p.Name)
	}
	if p.Failure != nil {
		fmt.Fprintf(w, "  failure        %s\n", p.Failure.Message)
		if p.Failure.Hint != "" {
			fmt.Fprintf(w, "  hint           %s\n", p.Failure.Hint)
		}
	}
	if len(p.Steps) > 0 {
		fmt.Fprintln(w, "  timeline")
	}
	for _, step := range p.Steps {
		fmt.Fprintln(w, "    "+stepLine(step))
	}
	return nil
}

// stepLine is one line of a timeline.
func stepLine(step client.Step) string {
	mark := "ok  "
	switch {
	case step.Error != "":
		mark = "FAIL"
	case step.FinishedAt == nil:
		mark = "... "
	}
	line := fmt.Sprintf("%s %-18s %8.1f ms", mark, step.Name, step.DurationMS)
	if step.Detail != "" {
		line += "  " + step.Detail
	}
	if step.Error != "" {
		line += "  " + step.Error
	}
	return line
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
