package sanitize

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize/recognise"
)

// Suggestion is what is proposed for one column, for people.
type Suggestion struct {
	Table  string `json:"table"` // "schema.table"
	Column string `json:"column"`
	Type   string `json:"type"`
	// Rule is the transformer as it stands in a rules file.
	Rule string `json:"rule"`
	// Confidence is between 0 and 1; below 0.75 a person has to look at it.
	Confidence float64 `json:"confidence"`
	Why        string  `json:"why"`
	// Example is a masked value, "" if there is none that says nothing of an original.
	Example string `json:"example,omitempty"`
}

// Draft proposes rules for the columns of a source that rules do not name yet.
type Draft struct {
	tables   []Table
	scanner  *recognise.Scanner
	evidence map[string]*evidence // by "schema.table.column" as rules name it
	rows     map[string][][]byte  // by "schema.table"
}

// NewDraft starts a draft for the tables of a source.
func NewDraft(tables []Table) *Draft {
	scanner, err := recognise.New()
	if err != nil {
		panic("sanitize: " + err.Error()) // all kinds are known to themselves
	}
	return &Draft{tables: tables, scanner: scanner, evidence: map[string]*evidence{}, rows: map[string][][]byte{}}
}

// exampleRows is how many rows of a table are masked to find examples.
const exampleRows = 20

// AddRow looks at a row of a table, in COPY text format without the line feed, with the columns that COPY sends.
func (d *Draft) AddRow(schema, table string, row []byte) error {
	at := slices.IndexFunc(d.tables, func(t Table) bool { return t.Schema == schema && t.Name == table })
	if at < 0 {
		return fmt.Errorf("table %s.%s is not one of the draft's", schema, table)
	}
	t := &d.tables[at]
	pos := 0
	for i := range t.Columns {
		c := &t.Columns[i]
		if c.Generated {
			continue
		}
		if pos > len(row) {
			return fmt.Errorf("a row of %s.%s has too few fields", schema, table)
		}
		end := nextTab(row, pos)
		if end < 0 {
			end = len(row)
		}
		if field := row[pos:end]; string(field) != nullMarker {
			d.value(unclassified{table: t, column: c}, appendUnescaped(nil, field))
		}
		pos = end + 1
	}
	if name := tablePath(t); len(d.rows[name]) < exampleRows {
		d.rows[name] = append(d.rows[name], bytes.Clone(row))
	}
	return nil
}

func (d *Draft) value(u unclassified, value []byte) {
	name := u.path()
	e := d.evidence[name]
	if e == nil {
		e = newEvidence()
		d.evidence[name] = e
	}
	switch f := familyOf(u.column); f {
	case familyJSON:
		e.document(d.scanner, value)
	case familyText:
		e.add(d.scanner, value)
	case familyTextArray:
		for element := range strings.SplitSeq(strings.Trim(string(value), "{}"), ",") {
			e.add(d.scanner, []byte(strings.Trim(element, `"`)))
		}
	default:
		e.values++
	}
}

// path names the column as rules do.
func (u unclassified) path() string { return u.ruleTable() + "." + u.column.Name }

// maxRepairs bounds how often the draft is changed because of what Plan says.
const maxRepairs = 40

// Write returns rules that Plan accepts for the tables, with a suggestion for each column that existing, which may be nil,
// does not cover. Existing rules stay as they are, byte for byte; lines are added. about is a line for the head of a new file.
// The key is used for examples alone.
func (d *Draft) Write(name, about string, existing, key []byte) (rules []byte, suggestions []Suggestion, err error) {
	missing, err := d.missing(name, existing, key)
	if err != nil {
		return nil, nil, err
	}
	if len(missing) == 0 {
		return existing, nil, nil
	}
	chosen := d.choose(missing)
	for range maxRepairs {
		text, lines, err := d.layOut(name, about, existing, chosen, nil)
		if err != nil {
			return nil, nil, err
		}
		plan, problems, err := d.plan(name, text, key)
		if err != nil {
			return nil, nil, err
		}
		if len(problems) == 0 {
			examples := d.examples(plan)
			if rules, _, err = d.layOut(name, about, existing, chosen, examples); err != nil {
				return nil, nil, err
			}
			return rules, suggestionsOf(chosen, examples), nil
		}
		if !chosen.repair(problems, lines) {
			return nil, nil, problemsError(problems)
		}
	}
	return nil, nil, mayfly.Errorf(mayfly.CodeInternal, "no rules were found that fit these tables").
		WithHint("write rules for the columns of composite unique indexes and of foreign keys first, and give them with --rules")
}

// missing returns the columns that existing rules do not cover.
func (d *Draft) missing(name string, existing, key []byte) ([]unclassified, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	if existing == nil {
		existing = []byte("version: " + rulesVersion + "\n")
	}
	r, err := Parse(name, existing)
	if err != nil {
		return nil, err
	}
	b := newBinder(r, d.tables, key)
	b.matchNames()
	b.bindAll()
	b.checkUnused()
	if len(b.problems) > 0 {
		return nil, problemsError(b.problems)
	}
	return distinct(b.unclassified), nil
}

// plan binds the drafted rules.
func (d *Draft) plan(name string, text, key []byte) (*Plan, []problem, error) {
	r, err := Parse(name, text)
	if err != nil {
		return nil, nil, fmt.Errorf("read the drafted rules: %w", err)
	}
	b := newBinder(r, d.tables, key)
	b.matchNames()
	plan := b.bindAll()
	b.checkUnused()
	if len(b.problems) == 0 && len(b.unclassified) == 0 {
		b.checkDomains()
		b.checkReferences()
	}
	if len(b.unclassified) > 0 {
		return nil, nil, unclassifiedError(b.unclassified)
	}
	return plan, b.problems, nil
}

// choices are the columns of a draft with what is proposed for them.
type choices struct {
	columns []*choice
}

// choice is one column, or of several that foreign keys tie together one of them.
type choice struct {
	unclassified
	proposals []proposal
	next      int
	tied      *choice // the one whose proposals count, itself if it is alone
}

func (c *choice) proposal() *proposal { return &c.tied.proposals[c.tied.next] }

// choose collects proposals and ties the columns of foreign keys to those that they refer to.
func (d *Draft) choose(missing []unclassified) *choices {
	all := &choices{}
	byPath := map[string]*choice{}
	for _, u := range missing {
		c := &choice{unclassified: u, proposals: proposals(u.table, u.column, d.evidence[u.path()])}
		c.tied = c
		all.columns = append(all.columns, c)
		byPath[u.path()] = c
	}
	for _, c := range all.columns {
		for _, ref := range c.column.References {
			if to := byPath[ref]; to != nil {
				all.tie(c.tied, to.tied)
			}
		}
	}
	return all
}

// tie makes two groups one, of which only what fits all of them is left.
func (all *choices) tie(from, to *choice) {
	if from == to {
		return
	}
	to.proposals = slices.DeleteFunc(slices.Clone(to.proposals), func(p proposal) bool {
		return !slices.ContainsFunc(from.proposals, func(have proposal) bool { return have.spec == p.spec })
	})
	if len(to.proposals) == 0 {
		to.proposals = []proposal{{spec: "keep", confidence: 0.2, why: "a foreign key, and nothing that masks both sides fits them"}}
	}
	for _, c := range all.columns {
		if c.tied == from {
			c.tied = to
		}
	}
}

// repair takes the next proposal for the columns that problems are about.
func (all *choices) repair(problems []problem, lines map[*choice]int) bool {
	moved := map[*choice]bool{}
	for _, p := range problems {
		line := p.line()
		var at *choice
		for _, c := range all.columns {
			if lines[c] <= line && (at == nil || lines[c] > lines[at]) {
				at = c
			}
		}
		if at == nil || moved[at.tied] || at.tied.next+1 >= len(at.tied.proposals) {
			continue
		}
		at.tied.next++
		at.proposal().why += " (" + p.text + ")"
		moved[at.tied] = true
	}
	return len(moved) > 0
}

// line is where in the file the problem is.
func (p *problem) line() int {
	parts := strings.Split(p.where, ":")
	line := 0
	if len(parts) >= 2 {
		_, _ = fmt.Sscanf(parts[len(parts)-2], "%d", &line)
	}
	return line
}

// examples masks the first rows of each table and takes a result of each column that cannot show an original.
func (d *Draft) examples(plan *Plan) map[string]string {
	out := map[string]string{}
	for i := range d.tables {
		t := &d.tables[i]
		m := plan.Table(t.Schema, t.Name)
		if m == nil || !m.Rows() {
			continue
		}
		for _, row := range d.rows[tablePath(t)] {
			var masked bytes.Buffer
			w := m.Writer(&masked)
			if _, err := w.Write(append(bytes.Clone(row), '\n')); err != nil || w.Close() != nil {
				continue
			}
			before, after := bytes.Split(row, []byte("\t")), bytes.Split(bytes.TrimSuffix(masked.Bytes(), []byte("\n")), []byte("\t"))
			for j, c := range m.columns {
				name := unclassified{table: t, column: &Column{Name: c.Column}}.path()
				if out[name] == "" && showable(c.Transformer) && j < len(after) && j < len(before) && !bytes.Equal(before[j], after[j]) && string(after[j]) != nullMarker {
					out[name] = printable(string(after[j]))
				}
			}
		}
	}
	return out
}

// showable reports whether results of a transformer are worth showing, and made up.
func showable(transformer string) bool {
	return MadeUp(transformer) && !contains([]string{"redact", "null", "static", "password"}, transformer)
}

// MadeUp reports whether results of a transformer are made up, but for what its parameters keep (a country, a bank, a
// domain name): nothing else of an original is in them.
func MadeUp(transformer string) bool {
	switch transformer {
	case "email", "username", "person_name", "company", "phone", "street_address", "address", "city", "token", "url", "uuid", "inet", "mac", "fpe", "card", "iban",
		"national_id", "number", "postcode", "date_shift", "birth_date", "redact", "null", "static", "password":
		return true
	default:
		return false
	}
}

// printable makes a text fit for a comment.
func printable(text string) string {
	const longest = 60
	out := make([]rune, 0, longest)
	for _, r := range text {
		if !unicode.IsPrint(r) {
			r = ' '
		}
		if len(out) == longest {
			return string(out) + "…"
		}
		out = append(out, r)
	}
	return string(out)
}

func suggestionsOf(chosen *choices, examples map[string]string) []Suggestion {
	out := make([]Suggestion, 0, len(chosen.columns))
	for _, c := range chosen.columns {
		p := c.proposal()
		out = append(out, Suggestion{
			Table: c.ruleTable(), Column: c.column.Name, Type: c.column.Type, Rule: p.oneLine(),
			Confidence: p.confidence, Why: p.why, Example: examples[c.path()],
		})
	}
	return out
}
