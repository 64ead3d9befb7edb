package templates

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/mayflydb/mayfly/templates/subset"
)

// decide says for each table which of its rows are taken to begin with, and which keys have to be read.
func (s *selector) decide(ctx context.Context) error {
	for _, k := range s.keys {
		k.link = -1
	}
	if s.rules == nil {
		for _, n := range s.nodes {
			n.mode = modeAll
		}
	} else if err := s.decideSubset(ctx); err != nil {
		return err
	}
	s.findPartial()
	return s.makeGraph()
}

// findPartial finds the tables that may lack rows: those of which not all are wanted, those that a condition leaves rows out of, and those
// that refer to such a one and so lose what refers to a lost row.
func (s *selector) findPartial() {
	filtered := map[*node]bool{}
	for _, n := range s.nodes {
		if filtered[n] = len(n.filter) > 0; filtered[n] {
			n.reason = "the rules take rows by a condition"
		}
		n.partial = n.mode != modeAll || filtered[n]
	}
	for again := true; again; {
		again = false
		for _, k := range s.keys {
			if filtered[k.parent] && !filtered[k.child] {
				filtered[k.child], again = true, true
				if k.child.reason == "" {
					k.child.reason = "rows that refer to rows which a condition leaves out are left out, too"
				}
				k.child.partial = true
			}
		}
	}
}

// makeGraph makes a graph of the keys that decide something: those that refer to a table which may lack rows.
func (s *selector) makeGraph() (err error) {
	for _, n := range s.nodes {
		n.scanned = n.partial && n.mode != modeAll
	}
	for _, k := range s.keys {
		if k.parent.partial {
			k.child.scanned, k.parent.scanned = true, true
		}
	}
	if !slices.ContainsFunc(s.nodes, func(n *node) bool { return n.scanned }) {
		return nil
	}
	if s.graph, err = s.run.newGraph(); err != nil {
		return err
	}
	s.run.selector = s // so that it is closed whatever happens
	known := map[[2]any]int{}
	for _, k := range s.keys {
		if !k.parent.partial {
			continue
		}
		key, found := known[k.identity()]
		if !found {
			key = s.graph.AddKey()
			known[k.identity()] = key
		}
		k.key = key
		link := subset.Link{Key: key, Limit: -1}
		if s.rules != nil && k.parent.mode != modeAll && k.child.mode != modeAll {
			link.Limit = s.rules.Limit(k.child.String())
			link.Descend = link.Limit != 0
		}
		k.link = s.graph.AddLink(link)
	}
	return nil
}

// decideSubset chooses the modes of a subset.
func (s *selector) decideSubset(ctx context.Context) error {
	for _, n := range s.nodes {
		if len(n.seeds) == 0 && s.rules.Whole(n.schema, n.name) {
			n.mode, n.reason = modeAll, "the rules take the table in whole"
		}
	}
	if err := s.takeSmall(ctx); err != nil {
		return err
	}
	seeded := s.connected(func(n *node) bool { return len(n.seeds) > 0 })
	for _, n := range s.nodes {
		switch {
		case n.mode == modeAll:
		case len(n.seeds) > 0:
			n.mode, n.reason = modeSeeds, "the subset starts here"
		case seeded[n]:
			n.reason = "the subset has the rows that belong to its seeds"
		case s.rules.Percent > 0:
			n.mode, n.percent = modePercent, s.rules.Percent
			n.reason = fmt.Sprintf("the subset has %g%% of the rows, and what these need", n.percent)
		case s.rules.Others:
			n.mode = modeAll
		default:
			n.reason = "no seed of the subset leads to the table"
		}
	}
	return s.findDrivers(ctx)
}

// takeSmall takes small tables in whole that refer only to such tables, but for references back in a cycle.
func (s *selector) takeSmall(ctx context.Context) error {
	small, back := map[*node]bool{}, s.backward()
	for _, n := range s.nodes {
		if n.mode == modeAll || len(n.seeds) > 0 || s.rules.WholeBelow == 0 {
			continue
		}
		is, err := s.source.smaller(ctx, n, s.rules.WholeBelow)
		if err != nil {
			return err
		}
		small[n] = is
	}
	for again := true; again; {
		again = false
		for _, n := range s.nodes {
			if small[n] && !slices.ContainsFunc(n.links, func(k *foreignKey) bool { return !small[k.parent] && k.parent.mode != modeAll && !back[k] }) {
				continue
			}
			again = again || small[n]
			delete(small, n)
		}
	}
	for n := range small {
		n.mode = modeAll
	}
	return nil
}

// smaller reports whether a table has fewer rows than a limit.
func (s *liveSource) smaller(ctx context.Context, n *node, limit int64) (bool, error) {
	for _, t := range n.leaves {
		var count int64
		query := fmt.Sprintf("SELECT pg_catalog.count(*) FROM (SELECT 1 FROM ONLY %s LIMIT %d) AS q", t.sql(), limit)
		if err := s.conn.QueryRow(ctx, query).Scan(&count); err != nil {
			return false, s.failed(ctx, "count the rows of "+t.String(), err)
		}
		if limit -= count; limit <= 0 {
			return false, nil
		}
	}
	return true, nil
}

// connected returns the tables that foreign keys connect, in either direction and not by way of tables that are taken in whole, with
// those that start says.
func (s *selector) connected(start func(*node) bool) map[*node]bool {
	reached := map[*node]bool{}
	for _, n := range s.nodes {
		if start(n) {
			reached[n] = true
		}
	}
	for again := true; again; {
		again = false
		for _, k := range s.keys {
			if k.child.mode == modeAll || k.parent.mode == modeAll || reached[k.child] == reached[k.parent] {
				continue
			}
			reached[k.child], reached[k.parent], again = true, true, true
		}
	}
	return reached
}

// backward returns the keys that may be NULL and are part of a cycle: the head of a department, as against the department of an employee.
func (s *selector) backward() map[*foreignKey]bool {
	back := map[*foreignKey]bool{}
	above := parentsOf(s.keys)
	for _, k := range s.keys {
		back[k] = k.nullable() && leads(above, k.parent, k.child)
	}
	return back
}

// findDrivers decides by which of its foreign keys the rows of a table come into the subset, where that has a share of everything. If
// it were all of them, the share would grow with each: an order's lines come with the order, and not with the product too. Keys in
// cycles do not count; of others, the one that refers to the most rows is the first.
func (s *selector) findDrivers(ctx context.Context) error {
	var drivers []*foreignKey
	back := s.backward()
	for _, k := range s.keys {
		if k.child != k.parent && k.child.mode == modePercent && k.parent.mode == modePercent && !back[k] {
			drivers = append(drivers, k)
		}
	}
	above := parentsOf(drivers)
	for _, k := range drivers {
		if !leads(above, k.parent, k.child) {
			k.child.drivers = append(k.child.drivers, k)
		}
	}
	rows := map[*node]int64{}
	for _, n := range s.nodes {
		if len(n.drivers) < 2 {
			continue
		}
		for _, k := range n.drivers {
			if _, counted := rows[k.parent]; counted {
				continue
			}
			var err error
			if rows[k.parent], err = s.source.countRows(ctx, k.parent); err != nil {
				return err
			}
		}
		slices.SortStableFunc(n.drivers, func(a, b *foreignKey) int {
			return cmp.Or(cmp.Compare(rows[b.parent], rows[a.parent]), cmp.Compare(a.name, b.name))
		})
	}
	return nil
}

// countRows counts for real: an estimate would make the choice depend on the last ANALYZE.
func (s *liveSource) countRows(ctx context.Context, n *node) (total int64, err error) {
	for _, t := range n.leaves {
		var count int64
		if err := s.conn.QueryRow(ctx, "SELECT pg_catalog.count(*) FROM ONLY "+t.sql()).Scan(&count); err != nil {
			return 0, s.failed(ctx, "count the rows of "+t.String(), err)
		}
		total += count
	}
	return total, nil
}

func parentsOf(keys []*foreignKey) map[*node][]*node {
	above := map[*node][]*node{}
	for _, k := range keys {
		if k.child != k.parent {
			above[k.child] = append(above[k.child], k.parent)
		}
	}
	return above
}

// leads reports whether a table refers to another in any number of steps.
func leads(above map[*node][]*node, from, to *node) bool {
	reached := map[*node]bool{from: true}
	for open := []*node{from}; len(open) > 0; {
		one := open[len(open)-1]
		open = open[:len(open)-1]
		if one == to {
			return true
		}
		for _, n := range above[one] {
			if !reached[n] {
				reached[n] = true
				open = append(open, n)
			}
		}
	}
	return false
}
