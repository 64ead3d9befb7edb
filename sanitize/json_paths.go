package sanitize

import (
	"bytes"
	"maps"
	"slices"
	"strings"
)

// JSONPath is one place with a value in JSON documents of a column.
type JSONPath struct {
	// Path is like the paths in rules: "$.contact.email", "$.items[*].price". A key that does not look like a name is
	// written "*": it may be data.
	Path string `json:"path"`
	// Named says that a path in the rules names this place, or one above it; else the column's default decides.
	Named bool `json:"named"`
	// Transformer is what happens to values there.
	Transformer string `json:"transformer"`
	// Rule says where that was written, "" for the default.
	Rule string `json:"rule,omitempty"`
}

// JSONPaths lists the places with values in a document of a column, sorted and each once, with what the rules do there.
// ok is false when the document is not JSON or the column has no json transformer. No value is in the result.
func (p *Plan) JSONPaths(schema, table, column string, document []byte) (paths []JSONPath, ok bool) {
	t := p.Table(schema, table)
	if t == nil {
		return nil, false
	}
	at := slices.IndexFunc(t.columns, func(c ColumnPlan) bool { return c.Column == column })
	if at < 0 || t.bound[at].json == nil || len(document) == 0 {
		return nil, false
	}
	found := map[string]JSONPath{}
	m := t.bound[at].json(&observation{})
	rules := p.rules
	m.visit = func(steps []string, rule int) {
		one := JSONPath{Path: "$" + strings.Join(steps, ""), Transformer: "redact", Named: rule != ruleDefault}
		switch {
		case one.Named:
			one.Transformer, one.Rule = m.rules[rule].spec.mask, rules.where(m.rules[rule].spec.at)
		case !m.redact:
			one.Transformer = "keep"
		}
		found[one.Path] = one
	}
	if !m.document(document) {
		return nil, false
	}
	for _, path := range slices.Sorted(maps.Keys(found)) {
		paths = append(paths, found[path])
	}
	return paths, true
}

// jsonStep writes a step to a key as paths have it.
func jsonStep(key []byte) string {
	switch {
	case len(key) == 0 || !identifier(key):
		return ".*"
	case bytes.ContainsAny(key, "-$"):
		return `["` + string(key) + `"]`
	default:
		return "." + string(key)
	}
}
