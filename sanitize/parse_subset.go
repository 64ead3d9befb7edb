package sanitize

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Subset says which rows of a source are taken, beyond what the rules of single tables say.
type Subset struct {
	// Percent of the rows of tables that refer to no others, where no seed leads; 0 for not that way.
	Percent float64
	Seeds   []Seed
	// WholeBelow is the number of rows below which a table is taken in whole, if nothing else follows from that.
	WholeBelow int64
	// Children is how many rows that refer to a chosen one are taken with it, by each foreign key; AllChildren for all.
	Children int64
	Limits   map[string]int64 // the same by "schema.table" of the rows that refer
	// Others says whether tables that no seed has to do with are taken.
	Others bool
	Rule   string // where it is written

	at    position
	whole []tablePattern
	// limitAt is where the limits are written.
	limitAt map[string]position
}

// Seed is where a subset starts: rows by a condition or a share of them.
type Seed struct {
	Table   string // "schema.table"
	Where   string // in SQL over the columns of the table; "" for all
	Percent float64
	Rule    string

	at position
}

// AllChildren is no limit.
const AllChildren = -1

// defaultWholeBelow is how many rows a table of codes or countries hardly ever has.
const defaultWholeBelow = 500

type tablePattern struct {
	schema, table string
	at            position
}

// Subset returns which rows are taken, nil for all.
func (r *Rules) Subset() *Subset { return r.subset }

// SelectsRows reports whether the rules leave out rows of tables that they take others of.
func (r *Rules) SelectsRows() bool {
	for i := range r.tables {
		if r.tables[i].where != "" {
			return true
		}
	}
	return r.subset != nil
}

// Whole reports whether the rules say that a table is taken in whole.
func (s *Subset) Whole(schema, table string) bool {
	for _, p := range s.whole {
		if glob(p.schema, schema) && glob(p.table, table) {
			return true
		}
	}
	return false
}

// Limit returns how many rows of a table are taken with each row that they refer to.
func (s *Subset) Limit(table string) int64 {
	if limit, found := s.Limits[table]; found {
		return limit
	}
	return s.Children
}

// condition reads a condition in SQL.
func (p *ruleParser) condition(n ast.Node, what string) (string, error) {
	text, err := p.scalar(n, what)
	if err != nil {
		return "", err
	}
	if _, err := conditionCalls(text); err != nil {
		e := errorAt(positionOf(n), "%s is not a plain condition: %s", what, err)
		e.hint = "write one condition in SQL over the columns of the table, such as: created_at > '2025-01-01'"
		return "", e
	}
	return text, nil
}

func (p *ruleParser) parseSubset(n ast.Node) error {
	entries, err := p.mapping(n, "subset")
	if err != nil {
		return err
	}
	s := &Subset{
		WholeBelow: defaultWholeBelow, Children: AllChildren, Limits: map[string]int64{}, Others: true, Rule: p.rules.where(positionOf(n)), at: positionOf(n),
		limitAt: map[string]position{},
	}
	for _, e := range entries {
		if err := p.subsetField(s, e); err != nil {
			return err
		}
	}
	if s.Percent == 0 && len(s.Seeds) == 0 {
		return &ruleError{at: s.at, message: "subset says neither percent nor seeds", hint: "write percent: 5, or seeds: [{table: public.customers, percent: 5}]"}
	}
	p.rules.subset = s
	return nil
}

func (p *ruleParser) subsetField(s *Subset, e entry) (err error) {
	switch e.key {
	case "percent":
		s.Percent, err = p.percent(e.value)
	case "seeds":
		s.Seeds, err = p.seeds(e.value)
	case "whole":
		var items []ast.Node
		if items, err = p.sequence(e.value, "whole"); err != nil {
			return err
		}
		for _, item := range items {
			name, err := p.tableName(item)
			if err != nil {
				return err
			}
			schema, table, _ := strings.Cut(name, ".")
			s.whole = append(s.whole, tablePattern{schema, table, positionOf(item)})
		}
	case "whole_below":
		s.WholeBelow, err = p.count(e.value, "whole_below")
	case "children":
		s.Children, err = p.children(e.value)
	case "limits":
		var limits []entry
		if limits, err = p.mapping(e.value, "limits"); err != nil {
			return err
		}
		for _, l := range limits {
			s.limitAt[l.key] = l.at
			if s.Limits[l.key], err = p.children(l.value); err != nil {
				return err
			}
		}
	case "others":
		var text string
		if text, err = p.scalar(e.value, "others"); err == nil && text != "all" && text != "none" {
			err = errorAt(positionOf(e.value), "others must be all or none")
		}
		s.Others = text == "all"
	default:
		return unknown(e.at, "key", e.key, []string{"percent", "seeds", "whole", "whole_below", "children", "limits", "others"})
	}
	return err
}

func (p *ruleParser) tableName(n ast.Node) (string, error) {
	name, err := p.scalar(n, "table")
	if err == nil && !strings.Contains(name, ".") {
		return "", &ruleError{at: positionOf(n), message: "table " + strconv.Quote(name) + " has no schema", hint: "write public." + name}
	}
	return name, err
}

func (p *ruleParser) percent(n ast.Node) (float64, error) {
	text, err := p.scalar(n, "percent")
	if err != nil {
		return 0, err
	}
	value, err := strconv.ParseFloat(text, 64)
	if ok := value > 0 && value <= 100; err != nil || !ok {
		return 0, errorAt(positionOf(n), "percent must be a number above 0, at most 100")
	}
	return value, nil
}

func (p *ruleParser) count(n ast.Node, what string) (int64, error) {
	text, err := p.scalar(n, what)
	if err != nil {
		return 0, err
	}
	value, err := strconv.ParseInt(text, 10, 32)
	if err != nil || value < 0 {
		return 0, errorAt(positionOf(n), "%s must be a number of rows, 0 or more", what)
	}
	return value, nil
}

// children reads all, none or a number.
func (p *ruleParser) children(n ast.Node) (int64, error) {
	text, err := p.scalar(n, "how many rows are taken with one")
	switch {
	case err != nil:
		return 0, err
	case text == "all":
		return AllChildren, nil
	case text == "none":
		return 0, nil
	}
	value, err := strconv.ParseInt(text, 10, 32)
	if err != nil || value < 0 {
		return 0, errorAt(positionOf(n), "how many rows are taken with one must be all, none or a number")
	}
	return value, nil
}

func (p *ruleParser) seeds(n ast.Node) ([]Seed, error) {
	items, err := p.sequence(n, "seeds")
	if err != nil {
		return nil, err
	}
	var seeds []Seed
	for _, item := range items {
		fields, err := p.mapping(item, "an entry of seeds")
		if err != nil {
			return nil, err
		}
		s := Seed{at: positionOf(item), Rule: p.rules.where(positionOf(item))}
		if len(fields) > 0 {
			s.at, s.Rule = fields[0].at, p.rules.where(fields[0].at)
		}
		for _, f := range fields {
			switch f.key {
			case "table":
				s.Table, err = p.tableName(f.value)
			case "where":
				s.Where, err = p.condition(f.value, "where")
			case "percent":
				s.Percent, err = p.percent(f.value)
			default:
				err = unknown(f.at, "key", f.key, []string{"table", "where", "percent"})
			}
			if err != nil {
				return nil, err
			}
		}
		switch {
		case s.Table == "":
			return nil, errorAt(s.at, "an entry of seeds has no table")
		case s.Where == "" && s.Percent == 0:
			return nil, &ruleError{at: s.at, message: "the seed " + s.Table + " says neither where nor percent", hint: "percent: 100 takes all of its rows"}
		}
		if s.Percent == 0 {
			s.Percent = 100
		}
		seeds = append(seeds, s)
	}
	return seeds, nil
}

// checkSubset finds tables that the source does not have, or that have no rows to take.
func (b *binder) checkSubset() {
	s := b.rules.subset
	if s == nil {
		return
	}
	named := func(at position, name string) {
		found := b.pathsOf[name]
		switch {
		case len(found) == 0:
			b.problem(at, "correct the name", "table %s is not in the source%s", name, didYouMean(name, b.tableNames()))
		case found[0].PartitionOf != "" && tablePath(found[0]) == name:
			b.problem(at, "name "+found[0].PartitionOf+" instead", "table %s is a partition: a subset is of the whole table", name)
		}
	}
	for _, seed := range s.Seeds {
		named(seed.at, seed.Table)
		if rule := b.ruleOf[seed.Table]; rule != nil && rule.noRows {
			b.problem(seed.at, "remove the seed, or rows: none", "a subset cannot start at %s: its rows are not taken", seed.Table)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Limits)) {
		named(s.limitAt[name], name)
	}
	for _, w := range s.whole {
		found := false
		for i := range b.tables {
			t := &b.tables[i]
			schema, name, _ := strings.Cut(t.PartitionOf, ".")
			found = found || glob(w.schema, t.Schema) && glob(w.table, t.Name) || t.PartitionOf != "" && glob(w.schema, schema) && glob(w.table, name)
		}
		if !found {
			b.problem(w.at, "remove the entry, or correct the pattern", "%s.%s matches no table", w.schema, w.table)
		}
	}
}
