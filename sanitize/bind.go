package sanitize

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/mayflydb/mayfly"
)

// Plan binds the rules to the tables of a source. The key must have at least MinKeyLength bytes.
//
// It fails closed, with a *mayfly.Error: mayfly.CodeUnclassified, naming every column that no rule covers and with the
// YAML lines to add as the hint; mayfly.CodeInvalid for everything else that is wrong, all of it at once.
func (r *Rules) Plan(tables []Table, key []byte) (*Plan, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	b := newBinder(r, tables, key)
	b.matchNames()
	b.checkSubset()
	plan := b.bindAll()
	b.checkUnused()
	if len(b.problems) == 0 && len(b.unclassified) == 0 {
		b.checkDomains()
		b.checkReferences()
	}
	if len(b.problems) > 0 {
		return nil, problemsError(b.problems)
	}
	if len(b.unclassified) > 0 {
		return nil, unclassifiedError(b.unclassified)
	}
	return plan, nil
}

// problem is one thing that is wrong with the rules for these tables.
type problem struct {
	at                position
	where, text, hint string
}

// problemsError tells all problems in the order of the file, and of each hint for which lines it is.
func problemsError(problems []problem) error {
	problems = slices.Clone(problems)
	slices.SortStableFunc(problems, func(a, b problem) int { return cmp.Compare(a.at.line, b.at.line) })
	lines := make([]string, len(problems))
	var hints []string
	linesOf := map[string][]string{}
	for i, p := range problems {
		lines[i] = p.where + ": " + p.text
		if p.hint == "" {
			continue
		}
		if linesOf[p.hint] == nil {
			hints = append(hints, p.hint)
		}
		if line := strconv.Itoa(p.at.line); !contains(linesOf[p.hint], line) {
			linesOf[p.hint] = append(linesOf[p.hint], line)
		}
	}
	if len(problems) == 1 {
		e := mayfly.Errorf(mayfly.CodeInvalid, "%s", lines[0])
		e.Hint = problems[0].hint
		return e
	}
	e := mayfly.Errorf(mayfly.CodeInvalid, "%d problems in the rules:\n  %s", len(problems), strings.Join(lines, "\n  "))
	for i, hint := range hints {
		hints[i] = "line " + strings.Join(linesOf[hint], ", ") + ": " + hint
	}
	e.Hint = strings.Join(hints, "\n")
	return e
}

// boundColumn is a column with what was decided for it.
type boundColumn struct {
	target  *target
	spec    *spec
	binding binding
}

// binder builds a Plan.
type binder struct {
	rules  *Rules
	tables []Table
	key    []byte

	ruleOf map[string]*tableRule // by "schema.table"
	// pathsOf maps a table to itself or, for the top of a partitioned table, to all its partitions too.
	pathsOf map[string][]*Table
	columns map[string]*boundColumn // by "schema.table.column"
	ordered []*boundColumn
	masker  map[string]*TableMasker
	limits  domainLimits

	usedColumns  map[*columnRule]bool
	usedDefaults map[int]bool
	usedTypes    map[int]bool
	problems     []problem
	unclassified []unclassified
}

func newBinder(r *Rules, tables []Table, key []byte) *binder {
	b := &binder{
		rules: r, tables: tables, key: key,
		ruleOf:       map[string]*tableRule{},
		pathsOf:      map[string][]*Table{},
		columns:      map[string]*boundColumn{},
		masker:       map[string]*TableMasker{},
		limits:       domainLimits{},
		usedColumns:  map[*columnRule]bool{},
		usedDefaults: map[int]bool{},
		usedTypes:    map[int]bool{},
	}
	for i := range r.tables {
		b.ruleOf[r.tables[i].name] = &r.tables[i]
	}
	for i := range tables {
		t := &tables[i]
		b.pathsOf[tablePath(t)] = append(b.pathsOf[tablePath(t)], t)
		if t.PartitionOf != "" {
			b.pathsOf[t.PartitionOf] = append(b.pathsOf[t.PartitionOf], t)
		}
	}
	return b
}

func tablePath(t *Table) string { return t.Schema + "." + t.Name }

// problem notes a problem, once: partitions share the name and the rules of their table.
func (b *binder) problem(at position, hint, format string, args ...any) {
	p := problem{at: at, where: b.rules.where(at), text: fmt.Sprintf(format, args...), hint: hint}
	if !slices.Contains(b.problems, p) {
		b.problems = append(b.problems, p)
	}
}

// rule returns what the rules say about a table by name: about itself, or about the partitioned table it belongs to.
func (b *binder) rule(t *Table) *tableRule {
	if own := b.ruleOf[tablePath(t)]; own != nil {
		return own
	}
	return b.ruleOf[t.PartitionOf]
}

// matchNames finds tables and columns in the rules that the source does not have.
func (b *binder) matchNames() {
	for i := range b.rules.tables {
		r := &b.rules.tables[i]
		found := b.pathsOf[r.name]
		if len(found) == 0 {
			b.problem(r.at, "remove the rule, or correct the name", "table %s is not in the source%s", r.name, didYouMean(r.name, b.tableNames()))
			continue
		}
		for j := range r.columns {
			c := &r.columns[j]
			column := findColumn(found, c.name)
			switch {
			case column == nil:
				b.problem(c.at, "remove the rule, or correct the name", "table %s has no column %s%s", r.name, c.name, didYouMean(c.name, columnNames(found)))
			case column.Generated:
				b.problem(c.at, "remove the rule", "column %s.%s is generated: PostgreSQL computes it from the masked columns", r.name, c.name)
			}
		}
	}
}

func (b *binder) tableNames() []string {
	names := make([]string, 0, len(b.tables))
	for i := range b.tables {
		names = append(names, tablePath(&b.tables[i]))
	}
	return names
}

func columnNames(tables []*Table) []string {
	var names []string
	for _, t := range tables {
		for i := range t.Columns {
			names = append(names, t.Columns[i].Name)
		}
	}
	return names
}

func findColumn(tables []*Table, name string) *Column {
	for _, t := range tables {
		for i := range t.Columns {
			if t.Columns[i].Name == name {
				return &t.Columns[i]
			}
		}
	}
	return nil
}

func didYouMean(name string, known []string) string {
	if s := suggest(name, known); s != "" {
		return fmt.Sprintf("; did you mean %s?", s)
	}
	return ""
}

// bindAll decides for every column of every table.
func (b *binder) bindAll() *Plan {
	b.collectLimits()
	p := &Plan{rules: b.rules, tables: b.masker}
	for i := range b.tables {
		t := &b.tables[i]
		m := &TableMasker{schema: t.Schema, name: t.Name, rows: true}
		rule := b.rule(t)
		if rule != nil {
			m.rows, m.where = !rule.noRows, rule.where
		}
		first := len(b.ordered)
		for j := range t.Columns {
			c := &t.Columns[j]
			if c.Generated {
				continue
			}
			s, at := b.decide(t, c, rule)
			if !m.rows {
				continue
			}
			if s == nil {
				b.unclassified = append(b.unclassified, unclassified{table: t, column: c})
				continue
			}
			b.bindColumn(m, newTarget(t, c), s, at)
		}
		if bound := b.ordered[first:]; len(bound) == len(m.bound) {
			b.planRows(t, m, bound)
			b.checkUniques(t, bound)
			b.addProbes(p, t, bound)
		}
		b.masker[tablePath(t)] = m
		p.order = append(p.order, m)
	}
	return p
}

// collectLimits finds what the columns of domains have to agree about, such as how long results may be.
func (b *binder) collectLimits() {
	for i := range b.tables {
		t := &b.tables[i]
		rule := b.rule(t)
		for j := range t.Columns {
			c := &t.Columns[j]
			if s, _ := b.decide(t, c, rule); s != nil && !c.Generated && (rule == nil || !rule.noRows) {
				b.limits.collect(b.rules, c.dataType(), s)
			}
		}
	}
}

// decide returns the transformer for a column: from the rule of its table, else the first default whose pattern
// matches, else its type's. Patterns and types count as used even where something more exact decides.
func (b *binder) decide(t *Table, c *Column, rule *tableRule) (*spec, position) {
	var chosen *spec
	var at position
	take := func(s *spec, where position) {
		if chosen == nil {
			chosen, at = s, where
		}
	}
	if rule != nil {
		for i := range rule.columns {
			if r := &rule.columns[i]; r.name == c.Name {
				take(r.spec, r.at)
			}
		}
	}
	for i := range b.rules.defaults {
		if r := &b.rules.defaults[i]; r.matches(t, c) {
			b.usedDefaults[i] = true
			take(r.spec, r.at)
		}
	}
	for _, name := range typeNames(c) {
		for i := range b.rules.types {
			if r := &b.rules.types[i]; r.name == name {
				b.usedTypes[i] = true
				take(r.spec, r.at)
			}
		}
	}
	return chosen, at
}

// matches reports whether the pattern names the column, in its own table or in the partitioned table above it.
func (r *patternRule) matches(t *Table, c *Column) bool {
	if !glob(r.pattern[2], c.Name) {
		return false
	}
	if glob(r.pattern[0], t.Schema) && glob(r.pattern[1], t.Name) {
		return true
	}
	schema, name, ok := strings.Cut(t.PartitionOf, ".")
	return ok && glob(r.pattern[0], schema) && glob(r.pattern[1], name)
}

// glob matches * with any characters and ? with one byte.
func glob(pattern, s string) bool {
	star, mark := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == s[i]):
			p++
			i++
		case star >= 0:
			mark++
			p, i = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// typeNames returns the entries of "types" that apply to a column, the most exact first.
func typeNames(c *Column) []string {
	var names []string
	base := baseType(c.Type)
	surrogate := familyOf(c) == familyInteger || familyOf(c) == familyUUID
	if surrogate && (c.PrimaryKey || len(c.References) > 0) {
		names = append(names, keyType)
	}
	names = append(names, base)
	if len(c.EnumLabels) > 0 {
		names = append(names, enumType)
	}
	return names
}

// bindColumn fits the transformer to the column.
func (b *binder) bindColumn(m *TableMasker, t *target, s *spec, at position) {
	k := findKind(s.mask)
	bound, err := b.fit(t, s)
	if err != nil {
		hint := ""
		var r *refusal
		if errors.As(err, &r) {
			hint = r.hint
		}
		b.problem(at, hint, "%s cannot be used for %s: %s", s.mask, t.shown, err)
		return
	}
	column := ColumnPlan{Column: t.column.Name, Type: t.column.Type, Transformer: s.mask, Rule: b.rules.where(at)}
	if k.takesDomain() {
		column.Domain = s.domainOrDefault()
	}
	m.columns = append(m.columns, column)
	m.bound = append(m.bound, bound)
	bc := &boundColumn{target: t, spec: s, binding: bound}
	b.columns[t.path] = bc
	b.ordered = append(b.ordered, bc)
}

func (b *binder) fit(t *target, s *spec) (binding, error) {
	t.limits = b.limits
	bound, err := fitValue(b.key, t, s)
	switch {
	case err != nil:
		return binding{}, err
	case t.column.PartitionKey && !bound.keep:
		return binding{}, &refusal{"rows are routed to partitions by it", "keep it, or use rows: none for the table"}
	case t.column.Unique && !bound.unique:
		return binding{}, &refusal{"the column is unique and different values could get the same result", uniqueHint(t)}
	}
	return bound, nil
}

func uniqueHint(t *target) string {
	switch t.family {
	case familyInteger:
		return "use number, or keep if the values are meaningless by themselves"
	case familyText:
		return "use email, phone, username, url or token with at least 10 digits, and a column of that length"
	case familyUUID:
		return "use token"
	default:
		return "use null or keep"
	}
}

// checkUnused finds defaults and types that match nothing.
func (b *binder) checkUnused() {
	for i := range b.rules.defaults {
		if r := &b.rules.defaults[i]; !b.usedDefaults[i] {
			b.problem(r.at, "remove the entry, or correct the pattern", "match %q matches no column", strings.Join(r.pattern[:], "."))
		}
	}
	for i := range b.rules.types {
		r := &b.rules.types[i]
		// A well-known type that no column has yet is not a slip of the pen.
		known := r.name == keyType || r.name == enumType || familyOfType(r.name) != familyOther
		if !b.usedTypes[i] && !known {
			b.problem(r.at, "write the type as format_type prints it, without length and schema", "no column has type %s", r.name)
		}
	}
}

// checkDomains refuses a domain that is named in the rules and does not map one value to one result everywhere.
func (b *binder) checkDomains() {
	first := map[string]domainUse{}
	for _, c := range b.ordered {
		uses := []domainUse{{spec: c.spec, mapping: c.binding.elementMapping(), where: c.target.shown + " (" + c.describe() + ")"}}
		for _, inner := range c.binding.inner {
			inner.where = c.target.shown + " " + inner.where
			uses = append(uses, inner)
		}
		for _, use := range uses {
			if use.spec.domain == "" {
				continue
			}
			before, found := first[use.spec.domain]
			if !found {
				first[use.spec.domain] = use
			} else if use.mapping != before.mapping {
				b.problem(use.spec.at, "use the same transformer and parameters in a domain, and for token a length that fits all of its columns",
					"domain %s gives different results in %s and %s", use.spec.domain, before.where, use.where)
			}
		}
	}
}

// describe names the transformer and the type.
func (c *boundColumn) describe() string { return c.spec.mask + ", " + c.target.column.Type }

// checkReferences refuses rules under which a foreign key would not hold.
func (b *binder) checkReferences() {
	for _, c := range b.ordered {
		for _, ref := range c.target.column.References {
			b.checkReference(c, ref)
		}
	}
}

// checkReference takes "schema.table.column"; of a partitioned table it checks all partitions.
func (b *binder) checkReference(c *boundColumn, ref string) {
	dot := strings.LastIndexByte(ref, '.')
	if dot < 0 || c.binding.mapping == "null" {
		return
	}
	// A table that is not in the source, or a partitioned one without partitions, has no rows to point at.
	for _, t := range b.pathsOf[ref[:dot]] {
		name := tablePath(t)
		b.checkPair(c, b.masker[name], b.columns[name+"."+ref[dot+1:]], ref)
	}
}

func (b *binder) checkPair(c *boundColumn, table *TableMasker, other *boundColumn, ref string) {
	switch {
	case !table.rows:
		b.problem(c.spec.at, fmt.Sprintf("use rows: none for both tables, or null for %s if it may be NULL", c.target.column.Name),
			"%s refers to %s, whose rows are not taken", c.target.shown, ref)
	case other == nil:
		// A generated column: it follows from columns of its own table.
	case c.binding.keep && other.binding.keep:
	case c.binding.mapping != other.binding.mapping || c.spec.domainOrDefault() != other.spec.domainOrDefault():
		b.problem(c.spec.at, "use the same transformer, parameters and domain for both, or keep both",
			"%s (%s) refers to %s (%s): the foreign key would not hold", c.target.shown, c.describe(), ref, other.describe())
	}
}
