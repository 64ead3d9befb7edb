package subset

import (
	"fmt"
	"sort"
)

// connect joins what refers with what is referred to, link by link.
func (g *Graph) connect() error {
	for _, t := range g.tables {
		for _, l := range t.outgoing {
			l.childFirst, l.childEnd = min(l.childFirst, t.first), max(l.childEnd, t.end)
		}
		for _, l := range t.incoming {
			l.parentFirst, l.parentEnd = min(l.parentFirst, t.first), max(l.parentEnd, t.end)
		}
	}
	for _, l := range g.links {
		if err := g.join(l); err != nil {
			return err
		}
		if err := l.references.close(); err != nil {
			return fmt.Errorf("close a file of keys: %w", err)
		}
	}
	return nil
}

// joined is what a join writes.
type joined struct{ parents, children *groupWriter }

// join merges a link's references with the keys, both sorted by their hashes. Two keys that have the same hash are in one group, and both are
// taken when one is needed: a collision can only take a row too many, never leave one out.
func (g *Graph) join(l *link) (err error) {
	var out joined
	if out.parents, err = newGroupWriter(g.options.Dir); err != nil {
		return err
	}
	if out.children, err = newGroupWriter(g.options.Dir); err != nil {
		return err
	}
	if l.childGroup, err = newNumbers(g.options.Dir, span(l.childFirst, l.childEnd)); err != nil {
		return err
	}
	if l.parentGroup, err = newNumbers(g.options.Dir, span(l.parentFirst, l.parentEnd)); err != nil {
		return err
	}
	keys, err := g.keys[l.Key].stream()
	if err != nil {
		return err
	}
	references, err := l.references.stream()
	if err != nil {
		return err
	}
	for group := uint32(1); references.ok; {
		for keys.ok && keys.current.hash < references.current.hash {
			if err := keys.advance(); err != nil {
				return err
			}
		}
		if !keys.ok || keys.current.hash != references.current.hash {
			l.dangling++
			if err := references.advance(); err != nil {
				return err
			}
			continue
		}
		if err := l.group(group, &out, keys, references); err != nil {
			return err
		}
		group++
	}
	if l.parents, err = out.parents.finish(); err != nil {
		return err
	}
	l.children, err = out.children.finish()
	return err
}

func span(first, end uint32) int64 { return max(int64(end)-int64(first), 0) }

// group writes the rows of one group.
func (l *link) group(group uint32, out *joined, keys, references *stream) error {
	hash := keys.current.hash
	for _, side := range []struct {
		from  *stream
		to    *groupWriter
		of    *numbers
		first uint32
	}{{keys, out.parents, l.parentGroup, l.parentFirst}, {references, out.children, l.childGroup, l.childFirst}} {
		if err := side.to.begin(); err != nil {
			return err
		}
		for side.from.ok && side.from.current.hash == hash {
			row := side.from.current.row
			side.of.set(row-side.first, group)
			if err := side.to.rows.append(row); err != nil {
				return err
			}
			if err := side.from.advance(); err != nil {
				return err
			}
		}
	}
	return nil
}

// tableOf returns the table of a row.
func (g *Graph) tableOf(row uint32) *table {
	return g.tables[sort.Search(len(g.tables), func(i int) bool { return g.tables[i].end > row })]
}

// each calls a function with every row that is in b.
func (g *Graph) each(b bits, do func(row uint32)) {
	for i, word := range b {
		for j := uint32(0); word != 0; j++ {
			if word&1 != 0 {
				do(uint32(i)*64 + j)
			}
			word >>= 1
		}
	}
}

// exclude leaves out what refers to rows that are left out.
func (g *Graph) exclude() {
	if !g.anyExcluded {
		return
	}
	var open []uint32
	mark := func(row uint32) {
		if !g.excluded.has(row) {
			g.excluded.set(row)
			open = append(open, row)
		}
	}
	g.each(append(bits(nil), g.excluded...), func(row uint32) {
		for open = append(open, row); len(open) > 0; {
			row, open = open[len(open)-1], open[:len(open)-1]
			for _, l := range g.tableOf(row).incoming {
				group := l.parentGroup.at(row - l.parentFirst)
				if group == 0 || !g.all(l, group, g.excluded) {
					continue
				}
				for from, to := l.children.list(group); from < to; from++ {
					mark(l.children.rows.at(from))
				}
			}
		}
	})
	for i := range g.excluded {
		g.chosen[i] &^= g.excluded[i]
		g.taken[i] &^= g.excluded[i]
	}
}

// all reports whether all rows that a group refers to are in b.
func (g *Graph) all(l *link, group uint32, b bits) bool {
	for from, to := l.parents.list(group); from < to; from++ {
		if !b.has(l.parents.rows.at(from)) {
			return false
		}
	}
	return true
}

// descend chooses what refers to chosen rows.
func (g *Graph) descend() {
	var open []uint32
	g.each(append(bits(nil), g.chosen...), func(row uint32) {
		for open = append(open, row); len(open) > 0; {
			row, open = open[len(open)-1], open[:len(open)-1]
			for _, l := range g.tableOf(row).incoming {
				if group := l.parentGroup.at(row - l.parentFirst); l.Descend && group != 0 {
					open = g.chooseChildren(l, group, open)
				}
			}
		}
	})
}

// chooseChildren chooses the rows of a group, and returns the list with those that were not chosen before.
func (g *Graph) chooseChildren(l *link, group uint32, open []uint32) []uint32 {
	count := int64(0)
	for from, to := l.children.list(group); from < to && (l.Limit < 0 || count < l.Limit); from++ {
		row := l.children.rows.at(from)
		if g.excluded.has(row) || !l.follows(row) {
			continue
		}
		count++
		if !g.chosen.has(row) {
			g.chosen.set(row)
			open = append(open, row)
		}
	}
	return open
}

// ascend takes what is chosen, and everything that a row which is taken refers to.
func (g *Graph) ascend() {
	for i := range g.chosen {
		g.taken[i] |= g.chosen[i]
	}
	var open []uint32
	g.each(append(bits(nil), g.taken...), func(row uint32) {
		for open = append(open, row); len(open) > 0; {
			row, open = open[len(open)-1], open[:len(open)-1]
			for _, l := range g.tableOf(row).outgoing {
				group := l.childGroup.at(row - l.childFirst)
				if group == 0 {
					continue
				}
				for from, to := l.parents.list(group); from < to; from++ {
					parent := l.parents.rows.at(from)
					if !g.taken.has(parent) && !g.excluded.has(parent) {
						g.taken.set(parent)
						open = append(open, parent)
					}
				}
			}
		}
	})
}

// check makes sure that what is taken is complete. It only ever fails by a defect of this package.
func (g *Graph) check() error {
	for _, t := range g.tables {
		for row := t.first; row < t.end; row++ {
			if !g.taken.has(row) {
				continue
			}
			for _, l := range t.outgoing {
				if group := l.childGroup.at(row - l.childFirst); group != 0 && !g.any(l, group) {
					return fmt.Errorf("the subset has a row that refers to one outside of it")
				}
			}
		}
	}
	return nil
}

func (g *Graph) any(l *link, group uint32) bool {
	for from, to := l.parents.list(group); from < to; from++ {
		if g.taken.has(l.parents.rows.at(from)) {
			return true
		}
	}
	return false
}
