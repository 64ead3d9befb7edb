package schemadiff

import (
	"fmt"
	"strings"
)

// Text renders the diff in the manner of a unified diff: a heading for every table, schema or other object that something happened
// to, and a line with "-" or "+" for each thing that went and came.
func (d Diff) Text() string {
	var b strings.Builder
	group := ""
	for _, c := range d.Changes {
		if heading := c.heading(); heading != group {
			group = heading
			b.WriteString("@@ " + heading + " @@\n")
		}
		c.lines(&b)
	}
	return b.String()
}

// Markdown renders the diff collapsed, with the number of changes as its summary: "" if nothing changed. At most limit bytes of the diff
// itself are shown.
func (d Diff) Markdown(limit int) string {
	if d.Empty() {
		return ""
	}
	added, removed, changed := d.Count()
	text := d.Text()
	more := ""
	if len(text) > limit {
		cut := strings.LastIndexByte(text[:limit], '\n') + 1
		more = fmt.Sprintf("\n… and %d more lines\n", strings.Count(text[cut:], "\n"))
		text = text[:cut]
	}
	fence := fenceFor(text)
	return fmt.Sprintf("<details><summary>Schema: %d added, %d removed, %d changed</summary>\n\n%sdiff\n%s%s\n%s\n</details>\n",
		added, removed, changed, fence, text, fence, more)
}

// fenceFor is longer than any run of backticks in the text.
func fenceFor(text string) string {
	fence := "```"
	for strings.Contains(text, fence) {
		fence += "`"
	}
	return fence
}

func (c Change) heading() string {
	switch {
	case c.Parent != "":
		return oneLine(c.Parent)
	default:
		return oneLine(c.Name)
	}
}

func (c Change) lines(b *strings.Builder) {
	what := string(c.Kind) + " " + oneLine(c.Name)
	switch c.Action {
	case Added:
		block(b, "+", what+summary(c.Properties))
	case Removed:
		block(b, "-", what+summary(c.Properties))
	case Renamed:
		block(b, "-", string(c.Kind)+" "+oneLine(c.Before))
		block(b, "+", what+" (renamed)")
	case Changed:
	}
	for _, d := range c.Differences {
		if d.Before != "" {
			block(b, "-", what+" "+d.Property+": "+d.Before)
		}
		if d.After != "" {
			block(b, "+", what+" "+d.Property+": "+d.After)
		}
	}
}

// summary is what is said about an object that came or went. Who owns it and what everybody may do is not news.
func summary(properties []Property) string {
	var b strings.Builder
	for _, p := range properties {
		switch p.Name {
		case "owner", "grants":
		case "definition", "type":
			b.WriteString(" " + p.Value)
		case "not null":
			b.WriteString(" not null")
		default:
			b.WriteString(" " + p.Name + " " + p.Value)
		}
	}
	return b.String()
}

// block writes text with a sign before each of its lines.
func block(b *strings.Builder, sign, text string) {
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString(sign + " " + line + "\n")
	}
}

// oneLine keeps a name with a line break in it from looking like more than one line.
func oneLine(name string) string { return strings.ReplaceAll(name, "\n", `\n`) }
