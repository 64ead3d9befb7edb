package templates

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/mayflydb/mayfly/sanitize/proof"
)

// attested is a statement in words. The report as text and as HTML show the same.
type attested struct {
	*proof.Statement
	Signatures []string
}

// Attestation returns what the template's attestation says, nil if there is none.
func (p *page) Attestation() *attested {
	if len(p.Template.Attestation) == 0 {
		return nil
	}
	statement, err := proof.Read(p.Template.Attestation)
	if err != nil {
		return nil
	}
	return &attested{Statement: statement, Signatures: proof.KeyIDs(p.Template.Attestation)}
}

// Facts are what the statement begins with.
func (a *attested) Facts() []fact {
	facts := []fact{
		{"Template", a.Template + " of " + a.Project},
		{"Made", a.MadeAt.UTC().Format(time.RFC3339) + " by " + a.Tool.Name + " " + a.Tool.Version},
		{"Source", strings.Join(words(a.Source.Kind, a.Source.Database, a.Source.ServerVersion, a.Source.Snapshot), ", ")},
		{"Rules", a.Rules.Name + ", SHA-256 " + a.Rules.SHA256},
		{"Masking key", "known as " + a.Rules.Key},
		{"Image", fmt.Sprintf("%s, PostgreSQL %d", a.Image.Digest, a.Image.Major)},
		{"Rows", groupText(a.Rows)},
	}
	if len(a.Signatures) > 0 {
		facts = append(facts, fact{"Signed by", "key " + strings.Join(a.Signatures, ", ") + " (Ed25519)"})
	}
	return facts
}

func words(all ...string) []string {
	var out []string
	for _, w := range all {
		if w != "" {
			out = append(out, w)
		}
	}
	return out
}

// ScanFacts are what was looked for, how, and what was found.
func (a *attested) ScanFacts() []fact {
	s := a.Scan
	if s == nil {
		return nil
	}
	result := "no original survives where none may be"
	if n := len(s.Surviving()); n > 0 {
		result = fmt.Sprintf("originals survive in %d places", n)
	}
	facts := []fact{
		{"Result", result},
		{"Looked for", fmt.Sprintf("%s fingerprints of originals, %s%% of the different ones", groupText(s.Prints.Count), strconv.FormatFloat(100*s.Prints.Share, 'g', 4, 64))},
		{"Errors", fmt.Sprintf("%.1g false alarms are to be expected; one survivor is missed with a probability of %.1g; numbers of different values are within %.1f%%",
			s.Prints.FalseAlarms, s.Prints.Missed, 100*s.Prints.DistinctError)},
		{"Coincidences", groupText(s.Coincidences) + " values are somebody's original and also what a transformer makes by itself"},
	}
	if s.Files != nil {
		facts = append(facts, fact{"Raw files", fmt.Sprintf("%s files, %s, searched for %s originals; %s more are also made by transformers",
			groupText(s.Files.Files), sizeText(s.Files.Bytes), groupText(int64(s.Files.Patterns)), groupText(int64(s.Files.Excused)))})
	}
	return facts
}

// MaskedColumns and KeptColumns are the two halves of the coverage.
func (a *attested) MaskedColumns() []proof.Covered { return a.half(true) }

// KeptColumns are those that were taken over as they are.
func (a *attested) KeptColumns() []proof.Covered { return a.half(false) }

func (a *attested) half(masked bool) []proof.Covered {
	var out []proof.Covered
	for _, c := range a.Coverage {
		if (c.Transformer != "keep") == masked {
			out = append(out, c)
		}
	}
	return out
}

// WriteStatement writes what an attestation says as text.
func WriteStatement(w io.Writer, s *proof.Statement) error {
	var b strings.Builder
	writeAttested(&b, &attested{Statement: s})
	_, err := io.WriteString(w, b.String())
	return err
}

// textAttestation writes what proves that the template is sanitized. The HTML page has it in the block "attestation".
func textAttestation(b *strings.Builder, p *page) {
	if a := p.Attestation(); a != nil {
		b.WriteString("\nAttestation\n")
		writeAttested(b, a)
	}
}

func writeAttested(b *strings.Builder, a *attested) {
	t := tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	for _, f := range append(a.Facts(), a.ScanFacts()...) {
		fmt.Fprintf(t, "%s\t%s\n", f.Name, f.Value)
	}
	_ = t.Flush() // a strings.Builder does not fail
	t = tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\nMASKED COLUMN\tTRANSFORMER\tRULE\tVALUES\tUNCHANGED\tDISTINCT BEFORE\tAFTER\tPROVABLE\n")
	for _, c := range a.MaskedColumns() {
		m := cmp.Or(c.Masked, &proof.Masked{})
		fmt.Fprintf(t, "%s.%s.%s\t%s\t%s\t%d\t%d\t%d\t%d\t%d\n", c.Schema, c.Table, c.Column, c.Transformer, c.Rule, m.Values, m.Unchanged, m.DistinctBefore, m.DistinctAfter, m.Provable)
	}
	_ = t.Flush()
	for _, c := range a.MaskedColumns() {
		if c.Masked != nil && c.Masked.Unproved() != "" {
			fmt.Fprintf(b, "Not proved: %s.%s.%s (%s): %s.\n", c.Schema, c.Table, c.Column, c.Transformer, c.Masked.Unproved())
		}
	}
	fmt.Fprintf(b, "\n%d columns are kept as they are. ", len(a.KeptColumns()))
	if len(a.Unread) > 0 {
		fmt.Fprintf(b, "No rows were taken of: %s.", strings.Join(a.Unread, ", "))
	}
	b.WriteString("\n")
	if a.Scan == nil {
		return
	}
	t = tabwriter.NewWriter(b, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "\nLOOKED AT\tOBJECTS\tVALUES\tBYTES\n")
	for _, l := range a.Scan.Looked {
		fmt.Fprintf(t, "%s\t%d\t%d\t%d\n", strings.TrimSuffix(l.Kind, " of"), l.Objects, l.Values, l.Bytes)
	}
	_ = t.Flush()
	for _, h := range a.Scan.Surviving() {
		fmt.Fprintf(b, "SURVIVES: %s\n", h)
	}
	for _, one := range a.Scan.Allowances {
		fmt.Fprintf(b, "Allowed: %s, %d values (%s; %s)\n", one.Place, one.Values, one.Reason, one.Rule)
	}
	for _, g := range a.Groups {
		fmt.Fprintf(b, "Quasi-identifiers: %s\n", g)
	}
}
