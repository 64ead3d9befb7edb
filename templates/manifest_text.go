package templates

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// textWidth is how long a line of prose gets.
const textWidth = 100

// text is the report as WriteText writes it.
func (p *page) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "Template %s\n", printable(p.ID))
	textFacts(&b, p.Facts())
	if p.Failure != nil {
		b.WriteString("\nFailed\n")
		paragraph(&b, "  ", p.Failure.Message)
		if p.Failure.Hint != "" {
			paragraph(&b, "  ", "What to do: "+p.Failure.Hint)
		}
	}
	p.textFindings(&b)
	p.textVerification(&b)
	textAttestation(&b, p)
	p.textTables(&b)
	if phases := p.Phases(); len(phases) > 0 {
		b.WriteString("\nPhases\n")
		facts := make([]fact, len(phases))
		for i, phase := range phases {
			facts[i] = fact{phase.Name, spanText(time.Duration(phase.DurationMS) * time.Millisecond)}
		}
		textFacts(&b, facts)
	}
	return b.String()
}

func textFacts(b *strings.Builder, facts []fact) {
	const name = 14
	for _, f := range facts {
		lines := wrap(printable(f.Value), textWidth-name)
		fmt.Fprintf(b, "  %-*s%s\n", name-2, f.Name, strings.Join(lines, "\n"+strings.Repeat(" ", name)))
	}
}

func (p *page) textFindings(b *strings.Builder) {
	fmt.Fprintf(b, "\nFindings: %s\n", p.Summary())
	for _, f := range p.Findings() {
		fmt.Fprintf(b, "  %-7s  %s (%s)\n", strings.ToUpper(string(f.Severity)), printable(f.Object), f.Code)
		const indent = "           "
		paragraph(b, indent, f.Cause)
		if f.Count > 0 {
			paragraph(b, indent, "How many: "+groupText(f.Count)+samplesText(f.Samples))
		} else if len(f.Samples) > 0 {
			paragraph(b, indent, "Such as: "+strings.Join(f.Samples, ", "))
		}
		paragraph(b, indent, "Done: "+f.Done)
		if f.Advice != "" {
			paragraph(b, indent, "What to do: "+f.Advice)
		}
	}
}

func samplesText(samples []string) string {
	if len(samples) == 0 {
		return ""
	}
	return ", such as " + strings.Join(samples, ", ")
}

func (p *page) textVerification(b *strings.Builder) {
	checks := p.Checks()
	if checks == nil {
		return
	}
	b.WriteString("\nVerified\n")
	textFacts(b, checks)
	w := tabwriter.NewWriter(b, 0, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\n  OBJECTS\tSOURCE\tTEMPLATE\t")
	for _, k := range p.Inventory() {
		fmt.Fprintf(w, "  %s\t%d\t%d\t\n", k.Kind, k.Source, k.Template)
	}
	_ = w.Flush() // into memory
	for _, d := range p.Differences() {
		fmt.Fprintf(b, "  %s: %s (%s)\n", d.What, printable(d.Object), d.Because)
	}
}

func (p *page) textTables(b *strings.Builder) {
	tables := p.Tables()
	if len(tables) == 0 {
		return
	}
	b.WriteString("\nTables\n")
	w := tabwriter.NewWriter(b, 0, 8, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "ROWS\tREAD\tMASKED\tTIME\t   TABLE")
	for _, t := range tables {
		name := t.Schema + "." + t.Table
		if t.StructureOnly {
			name += " (structure only)"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t   %s\n", groupText(t.Rows), sizeText(t.Bytes), t.MaskedColumns,
			spanText(time.Duration(t.DurationMS)*time.Millisecond), printable(name))
	}
	_ = w.Flush() // into memory
}

// paragraph writes words as lines behind an indent.
func paragraph(b *strings.Builder, indent, words string) {
	for _, line := range wrap(printable(words), textWidth-len(indent)) {
		b.WriteString(indent + line + "\n")
	}
}

// wrap breaks words into lines.
func wrap(words string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(words) {
		switch {
		case line == "":
			line = word
		case len(line)+1+len(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
