package forge

import (
	"fmt"
	"strings"
	"time"
)

// CommentFinding is one thing to say about what a migration did.
type CommentFinding struct {
	// Severity is "error", "warning" or "info".
	Severity string
	Code     string
	File     string
	Line     int
	Message  string
	Instead  string // the safer way
}

// CommentCost is what one migration cost.
type CommentCost struct {
	Name string
	// Took is its time, Locked how long it kept others from writing or reading a table that was there before, under Lock.
	Took   time.Duration
	Locked time.Duration
	Lock   string
	Rows   int64
	// WALBytes and DiskBytes are as measured on the preview.
	WALBytes  int64
	DiskBytes int64
}

// CommentSchema is what the migrations changed in the schema.
type CommentSchema struct {
	Added, Removed, Changed int
	// Text is in the manner of a unified diff.
	Text string
}

// shownFindings is how many findings stand in the open; the rest are collapsed.
const shownFindings = 8

// findings shows what may hurt in the open, and what is only worth knowing collapsed.
func findings(b *strings.Builder, all []CommentFinding, show detail) {
	var open, closed []CommentFinding
	for _, f := range all {
		if f.Severity == "info" || len(open) == min(shownFindings, show.rows) {
			closed = append(closed, f)
		} else {
			open = append(open, f)
		}
	}
	if len(open) > 0 {
		b.WriteString("\n")
	}
	for _, f := range open {
		finding(b, f, show)
	}
	if len(closed) == 0 {
		return
	}
	fmt.Fprintf(b, "\n<details><summary>%s</summary>\n\n", plural(len(closed), "more finding"))
	for i, f := range closed {
		if i == show.rows {
			fmt.Fprintf(b, "- … and %d more\n", len(closed)-i)
			break
		}
		finding(b, f, show)
	}
	b.WriteString("\n</details>\n")
}

func finding(b *strings.Builder, f CommentFinding, show detail) {
	sign := map[string]string{"error": "⛔", "warning": "⚠️"}[f.Severity]
	if sign == "" {
		sign = "💡"
	}
	b.WriteString("- " + sign + " ")
	if f.File != "" {
		place := f.File
		if f.Line > 0 {
			place = fmt.Sprintf("%s:%d", f.File, f.Line)
		}
		b.WriteString(code(place, show.name) + " ")
	}
	b.WriteString(prose(f.Message, show.text))
	if f.Instead != "" {
		b.WriteString(". Instead: " + prose(f.Instead, show.text))
	}
	b.WriteString(" (" + code(f.Code, show.name) + ")\n")
}

// costs is a collapsed table.
func costs(b *strings.Builder, all []CommentCost, show detail) {
	if len(all) == 0 {
		return
	}
	b.WriteString("\n<details><summary>What the migrations cost</summary>\n\n| migration | took | kept others waiting | rows | WAL | disk |\n| --- | ---: | ---: | ---: | ---: | ---: |\n")
	for i, c := range all {
		if i == show.rows {
			fmt.Fprintf(b, "| … and %d more | | | | | |\n", len(all)-i)
			break
		}
		locked := ""
		if c.Lock != "" {
			locked = duration(c.Locked) + " " + code(c.Lock, show.name)
		}
		fmt.Fprintf(b, "| %s | %s | %s | %d | %s | %s |\n", code(c.Name, show.name), duration(c.Took), locked, c.Rows, sizeOf(c.WALBytes), sizeOf(c.DiskBytes))
	}
	b.WriteString("\n</details>\n")
}

// schema is a collapsed diff.
func schema(b *strings.Builder, s *CommentSchema, show detail) {
	if s == nil || s.Added+s.Removed+s.Changed == 0 {
		return
	}
	fmt.Fprintf(b, "\n<details><summary>Schema: %d added, %d removed, %d changed</summary>\n\n%s\n</details>\n",
		s.Added, s.Removed, s.Changed, fence("diff", s.Text, 4*show.statement))
}

// sizeOf is a size for people.
func sizeOf(n int64) string {
	switch size := max(n, -n); {
	case size >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case size >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	default:
		return fmt.Sprintf("%d KiB", n/1024)
	}
}
