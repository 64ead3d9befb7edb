package sanitize

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly"
)

// Explanation says why a column is masked as it is.
type Explanation struct {
	Table  string `json:"table"`
	Column string `json:"column"`
	Type   string `json:"type"`
	// Rule is where the rule stands that decides, "" for none; Source is the section: "tables", "defaults", "types" or "generated".
	Rule        string `json:"rule"`
	Source      string `json:"source"`
	Transformer string `json:"transformer"`
	Domain      string `json:"domain,omitempty"`
	// Others are the rules that do not decide, each with the reason.
	Others []OtherRule `json:"others"`
	// Guarantees are what holds of the results, in sentences.
	Guarantees []string `json:"guarantees"`
	// Proof says what the scan for surviving originals can prove about the column.
	Proof string `json:"proof"`
}

// OtherRule is a rule that does not decide.
type OtherRule struct {
	Rule   string `json:"rule"`
	What   string `json:"what"`
	Reason string `json:"reason"`
}

// Explain says which rule decides about a column of tables, named "schema.table.column", and why no other one does.
func (r *Rules) Explain(tables []Table, column string) (*Explanation, error) {
	b := newBinder(r, tables, make([]byte, MinKeyLength))
	t, c := findPath(tables, column)
	if c == nil {
		var names []string
		for i := range tables {
			for j := range tables[i].Columns {
				names = append(names, tablePath(&tables[i])+"."+tables[i].Columns[j].Name)
			}
		}
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no column %s%s", column, didYouMean(column, names)).WithHint("write schema.table.column, as in the catalog")
	}
	e := &Explanation{Table: tablePath(t), Column: c.Name, Type: c.Type, Others: []OtherRule{}}
	if c.Generated {
		e.Source, e.Guarantees = "generated", []string{"PostgreSQL computes it from the masked columns"}
		return e, nil
	}
	rule := b.rule(t)
	b.collectLimits()
	s, at := b.decide(t, c, rule)
	e.list(b, t, c, rule, at)
	switch {
	case rule != nil && rule.noRows:
		e.Rule, e.Source, e.Transformer = r.where(rule.at), "tables", "rows: none"
		e.Guarantees, e.Proof = []string{"no row of the table is taken"}, "there is nothing to prove: no value leaves the source"
	case s == nil:
		e.Guarantees, e.Proof = []string{"no rule covers it: a build stops before it reads a row"}, "no template is built"
	default:
		e.Rule, e.Transformer = r.where(at), s.mask
		k := findKind(s.mask)
		if k.takesDomain() {
			e.Domain = s.domainOrDefault()
		}
		e.guarantee(b, newTarget(t, c), k, s)
	}
	return e, nil
}

func findPath(tables []Table, path string) (*Table, *Column) {
	for i := range tables {
		for j := range tables[i].Columns {
			if c := &tables[i].Columns[j]; tablePath(&tables[i])+"."+c.Name == path {
				return &tables[i], c
			}
		}
	}
	return nil, nil
}

// list collects the rules that could have decided, in the order in which they are asked.
func (e *Explanation) list(b *binder, t *Table, c *Column, rule *tableRule, chosen position) {
	r := b.rules
	decided := false
	ask := func(section, what string, at position, matches bool, reason string) {
		switch {
		case matches && !decided && at == chosen:
			decided, e.Source = true, section
			return
		case matches:
			reason = "it matches, but " + e.Source + " decides first"
			if section == e.Source {
				reason = "it matches, but an entry before it decides"
			}
		}
		e.Others = append(e.Others, OtherRule{Rule: r.where(at), What: section + ": " + what, Reason: reason})
	}
	if rule == nil {
		e.Others = append(e.Others, OtherRule{What: "tables", Reason: "no entry names " + tablePath(t)})
	} else {
		at := slices.IndexFunc(rule.columns, func(one columnRule) bool { return one.name == c.Name })
		if at < 0 {
			e.Others = append(e.Others, OtherRule{Rule: r.where(rule.at), What: "tables: " + rule.name, Reason: "it does not name the column"})
		} else {
			ask("tables", rule.name+"."+c.Name, rule.columns[at].at, true, "")
		}
	}
	for i := range r.defaults {
		d := &r.defaults[i]
		ask("defaults", strings.Join(d.pattern[:], "."), d.at, d.matches(t, c), "the pattern does not match "+tablePath(t)+"."+c.Name)
	}
	names := typeNames(c)
	for _, name := range names {
		for i := range r.types {
			if d := &r.types[i]; d.name == name {
				ask("types", d.name, d.at, true, "")
			}
		}
	}
	for i := range r.types {
		if d := &r.types[i]; !slices.Contains(names, d.name) {
			e.Others = append(e.Others, OtherRule{Rule: r.where(d.at), What: "types: " + d.name, Reason: "the column is " + c.Type})
		}
	}
}

// guarantee says what holds of the results.
func (e *Explanation) guarantee(b *binder, t *target, k *kind, s *spec) {
	bound, err := b.fit(t, s)
	if err != nil {
		e.Guarantees, e.Proof = []string{"it cannot be used here: " + err.Error()}, "no template is built"
		return
	}
	add := func(format string, args ...any) { e.Guarantees = append(e.Guarantees, fmt.Sprintf(format, args...)) }
	add("%s: %s", k.name, k.summary)
	switch {
	case bound.keep:
		e.Proof = "nothing is proved: the values stay, by decision of the rule"
		return
	case bound.constant != nil:
		add("every value becomes the same")
	case k.random:
		add("results do not follow from the values: equal values may get different results")
	case bound.makeRow != nil:
		add("results depend on the row")
	default:
		add("equal values get equal results in every build with the same key")
	}
	if e.Domain != "" && !k.random {
		add("they are the same in all columns of the domain %s that use the same transformer and parameters", e.Domain)
	}
	if bound.unique && bound.constant == nil {
		add("different values get different results")
	}
	switch {
	case k.name == "scrub":
		e.Proof = "it cannot be proved that nothing personal is left in the texts; only that texts in which something was replaced are nowhere as they were"
	case k.disjoint:
		e.Proof = "the scan proves that no original with enough information to be told apart is anywhere in the template: results never equal values of a source"
	case bound.makeNested != nil:
		e.Proof = "the scan looks for every masked part of the values by itself; parts that the rule keeps are not looked for"
	default:
		e.Proof = "the scan proves that no original is in the template, but for those that are also somebody's result by chance"
	}
}
