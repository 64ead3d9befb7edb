package sanitize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly"
)

// Probe asks whether a constraint still holds for masked rows: made-up rows, and what the rules make of them. Only
// PostgreSQL can evaluate the constraint, so whoever has the tables there does, before it loads any row.
type Probe struct {
	Schema, Table string
	// Constraint is its name; for a domain the name of the domain.
	Constraint string
	// Expression is the condition, in SQL over Columns. It is empty for a domain: then it is the cast to the column's type
	// that holds or fails.
	Expression string
	Columns    []ProbeColumn
	// Before are the made-up rows, After what they become: a value per column in PostgreSQL's text form, nil for NULL.
	Before, After [][]*string

	// fixed says that the results do not depend on the rows: they must hold whatever was before.
	fixed       bool
	where, what string
}

// ProbeColumn is a column of a Probe's rows.
type ProbeColumn struct{ Name, Type string }

// Probes returns what must be asked for the constraints of all tables.
func (p *Plan) Probes() []Probe { return slices.Clone(p.probes) }

// Verdict is what PostgreSQL said of one row.
type Verdict int

// NULL holds, as it does in a CHECK constraint.
const (
	Unknown Verdict = iota // the condition could not be evaluated
	Holds
	Fails
)

// Judge returns an error with mayfly.CodeInvalid if a row for which the constraint holds becomes one for which it does
// not; before and after have one Verdict per row.
func (p *Probe) Judge(before, after []Verdict) error {
	for i := range after {
		held := i < len(before) && before[i] == Holds || p.fixed
		if held && after[i] == Fails {
			e := mayfly.Errorf(mayfly.CodeInvalid, "%s: %s: results can break the constraint %s of %s.%s%s", p.where, p.what, p.Constraint, p.Schema, p.Table, p.condition())
			return e.WithHint("use keep, static with a value that the constraint allows, or a transformer that keeps the form of the values")
		}
	}
	return nil
}

func (p *Probe) condition() string {
	if p.Expression == "" {
		return ""
	}
	return ", " + p.Expression
}

// addProbes adds the probes of a table's CHECK constraints and of its columns' domains.
func (b *binder) addProbes(plan *Plan, t *Table, bound []*boundColumn) {
	if t.PartitionOf != "" && slices.ContainsFunc(plan.probes, func(p Probe) bool { return p.Schema+"."+p.Table == t.PartitionOf }) {
		return
	}
	for i := range t.Checks {
		check := &t.Checks[i]
		var columns []*boundColumn
		for _, c := range bound {
			if slices.Contains(check.Columns, c.target.column.Name) {
				columns = append(columns, c)
			}
		}
		// A generated column is not there; only PostgreSQL could compute it.
		if len(columns) == len(check.Columns) {
			b.addProbe(plan, t, check.Name, check.Expression, []string{check.Expression}, columns)
		}
	}
	for _, c := range bound {
		if c.target.column.Domain != "" {
			b.addProbe(plan, t, c.target.column.Domain, "", c.target.column.DomainChecks, []*boundColumn{c})
		}
	}
}

// addProbe makes a probe, unless nothing in it is masked or a result depends on more than the value.
func (b *binder) addProbe(plan *Plan, t *Table, name, expression string, sources []string, columns []*boundColumn) {
	p := Probe{Schema: t.Schema, Table: t.Name, Constraint: name, Expression: expression, fixed: true}
	before, after := make([][]*string, len(columns)), make([][]*string, len(columns))
	longest := 0
	for i, c := range columns {
		if c.binding.makeRow != nil {
			return
		}
		typ := c.target.column.Type
		if expression == "" {
			typ = c.target.column.Domain
		}
		p.Columns = append(p.Columns, ProbeColumn{Name: c.target.column.Name, Type: typ})
		if !c.binding.keep && p.where == "" {
			p.where, p.what = b.rules.where(c.spec.at), c.spec.mask+" for "+c.target.shown
		}
		p.fixed = p.fixed && c.binding.constant != nil
		before[i] = samples(c.target, sources)
		after[i] = c.results(before[i])
		longest = max(longest, len(before[i]))
	}
	if p.where == "" || longest == 0 {
		return
	}
	// Several columns are combined in a few different ways.
	for turn := range min(len(columns), maxTurns) {
		for i := range longest {
			var was, is []*string
			for j := range columns {
				if len(before[j]) == 0 {
					was, is = append(was, nil), append(is, nil)
					continue
				}
				at := (i + j*turn) % len(before[j])
				was, is = append(was, before[j][at]), append(is, after[j][at])
			}
			p.Before, p.After = append(p.Before, was), append(p.After, is)
		}
	}
	plan.probes = append(plan.probes, p)
}

// maxTurns bounds the combinations of several columns.
const maxTurns = 4

// results masks samples as a Writer would.
func (c *boundColumn) results(before []*string) []*string {
	l := newLeaf(&c.binding, &observation{})
	after := make([]*string, len(before))
	for i, value := range before {
		var text []byte
		if value != nil {
			text = []byte(*value)
		}
		if result, null := l.of(text, value == nil); !null {
			s := string(result)
			after[i] = &s
		}
	}
	return after
}

// String describes it, for tests and logs.
func (p *Probe) String() string {
	return fmt.Sprintf("%s.%s %s: %s (%d rows)", p.Schema, p.Table, p.Constraint, strings.TrimSpace(p.Expression), len(p.Before))
}
