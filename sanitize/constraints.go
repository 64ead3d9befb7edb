package sanitize

import (
	"slices"
	"strings"
)

// checkUniques refuses rules under which two rows that differ could become equal in a unique index.
func (b *binder) checkUniques(t *Table, bound []*boundColumn) {
	byName := map[string]*boundColumn{}
	for _, c := range bound {
		byName[c.target.column.Name] = c
	}
	for i := range t.Uniques {
		u := &t.Uniques[i]
		if !anotherGuarantees(t, u, byName) {
			b.checkUnique(u, byName)
		}
	}
}

// keepsApart reports whether values that differ still differ in the index.
func (u *Unique) keepsApart(c *boundColumn) bool {
	if c == nil || c.binding.keep {
		return true // a generated column follows from the others
	}
	return c.binding.unique && (!u.NullsNotDistinct || c.binding.mapping != "null")
}

// anotherGuarantees reports whether a smaller key, all of whose values stay apart, makes the rows differ anyway.
func anotherGuarantees(t *Table, u *Unique, byName map[string]*boundColumn) bool {
	for i := range t.Uniques {
		other := &t.Uniques[i]
		if other == u || other.Expression || other.Exclusion || len(other.Predicate) > 0 || u.Exclusion {
			continue
		}
		all := len(other.Columns) < len(u.Columns)
		for _, name := range other.Columns {
			c := byName[name]
			// What may be NULL guarantees nothing.
			all = all && slices.Contains(u.Columns, name) && c != nil && c.target.column.NotNull && other.keepsApart(c)
		}
		if all {
			return true
		}
	}
	return false
}

func (b *binder) checkUnique(u *Unique, byName map[string]*boundColumn) {
	for _, name := range u.Columns {
		c := byName[name]
		if u.keepsApart(c) {
			continue
		}
		reason := "different values could get the same result"
		if c.binding.mapping == "null" {
			reason = "two NULLs count as equal there"
		}
		what := "the unique index"
		if u.Exclusion {
			what = "the exclusion constraint"
		}
		b.problem(c.spec.at, uniqueHint(c.target), "%s cannot be used for %s: it is in %s %s (%s), and %s",
			c.spec.mask, c.target.shown, what, u.Name, strings.Join(u.Columns, ", "), reason)
	}
	for _, name := range u.Predicate {
		if c := byName[name]; c != nil && !c.binding.keep && !slices.Contains(u.Columns, name) {
			b.problem(c.spec.at, "keep "+name, "%s cannot be used for %s: the condition of the unique index %s reads it, and rows that are outside of the index could come into it",
				c.spec.mask, c.target.shown, u.Name)
		}
	}
}
