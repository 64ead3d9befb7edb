package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

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
func printPreview(w *screen, p *client.Preview) error {
	fmt.Fprintf(w, "%s   %s\n", w.paint(bold, p.Name), w.paint(stateColour(p.State), stateText(*p)))
	if p.Queue != nil {
		fmt.Fprintf(w, "  waits for room %d of %d: %s\n", p.Queue.Position, p.Queue.Length, clean(p.Queue.Reason))
	}
	if p.PullRequest != nil {
		fmt.Fprintf(w, "  pull request   %s#%d at %s (applied: %s)\n", p.PullRequest.Repository, p.PullRequest.Number,
			short(p.PullRequest.HeadSHA), cmp.Or(short(p.PullRequest.AppliedSHA), "none yet"))
	}
	if p.Template != nil {
		fmt.Fprintf(w, "  template       v%d\n", p.Template.Version)
	}
	if p.Origin != nil {
		fmt.Fprintf(w, "  made from      %s\n", cmp.Or(p.Origin.Preview, "snapshot "+p.Origin.SnapshotID))
	}
	if p.Size != "" {
		fmt.Fprintf(w, "  size           %s\n", p.Size)
	}
	if len(p.Labels) > 0 {
		fmt.Fprintf(w, "  labels         %s\n", cell(labelText(p.Labels)))
	}
	fmt.Fprintf(w, "  created        %s ago by %s\n", age(p.CreatedAt), cell(cmp.Or(p.CreatedBy, "mayfly")))
	if p.ExpiresAt != nil {
		fmt.Fprintf(w, "  expires        %s\n", until(p.ExpiresAt))
	}
	if p.ProtectedUntil != nil {
		fmt.Fprintf(w, "  protected      for %s more\n", strings.TrimPrefix(until(p.ProtectedUntil), "in "))
	}
	if p.State == string(mayfly.PreviewReady) || p.State == string(mayfly.PreviewSuspended) {
		fmt.Fprintf(w, "  connect        mayfly psql %s\n", p.Name)
	}
	if p.Failure != nil {
		fmt.Fprintf(w, "  failure        %s\n", clean(p.Failure.Message))
		if p.Failure.Hint != "" {
			fmt.Fprintf(w, "  hint           %s\n", clean(p.Failure.Hint))
		}
	}
	if len(p.Steps) > 0 {
		fmt.Fprintln(w, "  timeline")
	}
	for _, step := range p.Steps {
		fmt.Fprintln(w, "    "+w.stepLine(step))
	}
	return nil
}

func labelText(labels map[string]string) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		pairs = append(pairs, key+"="+labels[key])
	}
	return strings.Join(pairs, " ")
}

// stepLine is one line of a timeline.
func (s *screen) stepLine(step client.Step) string {
	mark := "ok  "
	switch {
	case step.Error != "":
		mark = "FAIL"
	case step.FinishedAt == nil:
		mark = "... "
	}
	line := fmt.Sprintf("%s %-18s %8.1f ms", s.paint(stateColour(strings.TrimSpace(mark)), mark), step.Name, step.DurationMS)
	if step.Detail != "" {
		line += "  " + clean(step.Detail)
	}
	if step.Error != "" {
		line += "  " + clean(step.Error)
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
