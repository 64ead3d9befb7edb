package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/migrations/observe"
)

const (
	nextRelease = "do it in a release after the one whose code no longer uses it"
	notValid    = "add it as NOT VALID, which looks at no row, and VALIDATE CONSTRAINT in a later migration, which lets others read and write"
)

// change looks at what a statement did to one relation.
func (c *checking) change(change observe.Change) {
	was, now := change.Before, change.After
	switch {
	case was == nil:
		c.created(now)
	case !was.Existed || was.Persistence == "t":
	case now == nil:
		c.dropped(was)
	case was.Kind == "index":
		if was.Name != now.Name {
			return
		}
	default:
		c.renamed(was, now)
		c.columns(was, now)
		c.constraints(was, now)
		c.triggers(was, now)
	}
}

func (c *checking) created(now *observe.Relation) {
	if now.Kind == "index" {
		c.newIndex(now)
		return
	}
	for _, column := range now.Columns {
		c.types(now, column)
	}
	c.primaryKey(now, nil)
}

func (c *checking) newIndex(index *observe.Relation) {
	table := c.file.Relation(index.Table)
	if index.Index != nil && !index.Index.Valid {
		c.say(IndexInvalid, Error, index.Title(), "drop it, and make it again", fmt.Sprintf("%s is invalid: it is kept up to date and never used", index.Title()))
	}
	if index.Index != nil && !index.Index.Unique && index.Index.Keys > 3 {
		c.say(WideIndex, Info, index.Title(), "few queries need more than three columns; see whether a smaller one does", fmt.Sprintf("%s has %d columns", index.Title(), index.Index.Keys))
	}
	if table == nil || !table.Existed || c.now.Command != "CREATE INDEX" || slices.Contains(c.words, "concurrently") {
		return
	}
	c.cost(IndexNotConcurrent, table, "CREATE INDEX CONCURRENTLY, in a file of its own that runs outside of a transaction", "builds "+index.Name+" while nobody can write "+table.Title())
}

func (c *checking) dropped(was *observe.Relation) {
	switch was.Kind {
	case "index":
		table := c.file.Relation(was.Table)
		if c.now.Command == "DROP INDEX" && !slices.Contains(c.words, "concurrently") && table != nil && table.Existed {
			c.cost(DropIndexNotConcurrent, table, "DROP INDEX CONCURRENTLY, outside of a transaction", "drops "+was.Title()+" under a lock that waits for every query on its table, and makes all later ones wait")
		}
	case "table", "partitioned table":
		c.explained[was.Title()] = true
		f := c.say(DropTable, Warning, was.Title(), nextRelease+"; rename it first and drop it when nothing broke",
			fmt.Sprintf("drops %s (%s%s) with everything in it; code that still uses it fails", was.Title(), size(was.Bytes), rows(was.Rows)))
		f.Scale = &Scale{DurationMS: c.now.DurationMS, Rows: was.Rows, Bytes: was.Bytes}
	}
}

func (c *checking) renamed(was, now *observe.Relation) {
	if was.Title() != now.Title() && was.Kind != "sequence" {
		c.say(RenameTable, Warning, now.Title(), "keep the old name as a view until no code uses it", fmt.Sprintf("%s becomes %s: code that runs during the deployment knows only one of the names", was.Title(), now.Title()))
	}
}

// columns compares by number, which a rename does not change.
func (c *checking) columns(was, now *observe.Relation) {
	if len(now.Columns) == 0 && len(was.Columns) == 0 {
		return
	}
	rewritten := c.rewritten(now)
	for _, column := range now.Columns {
		i := slices.IndexFunc(was.Columns, func(o observe.Column) bool { return o.Number == column.Number })
		if i < 0 {
			c.added(was, now, column, rewritten)
			continue
		}
		c.altered(was, now, was.Columns[i], column, rewritten)
	}
	for _, column := range was.Columns {
		if !slices.ContainsFunc(now.Columns, func(n observe.Column) bool { return n.Number == column.Number }) {
			c.say(DropColumn, Warning, now.Title(), nextRelease+" (many libraries list all columns in their queries)",
				fmt.Sprintf("drops the column %s of %s; code that still uses it fails", column.Name, now.Title()))
		}
	}
}

func (c *checking) rewritten(r *observe.Relation) bool {
	return slices.ContainsFunc(c.now.Rewrites, func(w observe.Rewrite) bool { return w.Relation == r.Title() && !w.Truncated })
}

func (c *checking) added(was, now *observe.Relation, column observe.Column, rewritten bool) {
	c.types(now, column)
	if !rewritten {
		return
	}
	why, instead := "a default that is computed for each row", "add the column without the default, set the default in a second statement, and fill in old rows in batches"
	switch {
	case column.Generated == "s":
		why, instead = "a stored generated column", "add a plain column with a trigger, fill it in batches, or compute it in a view"
	case column.Identity != "" || strings.HasPrefix(column.Default, "nextval("):
		why, instead = "a number from a sequence for each row", "add the column without a default, create the sequence, set the default, and fill in old rows in batches"
	}
	c.cost(AddColumnRewrite, was, instead, fmt.Sprintf("adds the column %s with %s, so PostgreSQL rewrote the whole table", column.Name, why))
}

func (c *checking) altered(was, now *observe.Relation, old, column observe.Column, rewritten bool) {
	if old.Name != column.Name {
		c.say(RenameColumn, Warning, now.Title(), "add a new column, write both, fill in old rows, read the new one, and drop the old one in a later release",
			fmt.Sprintf("the column %s of %s becomes %s: code that runs during the deployment knows only one of the names", old.Name, now.Title(), column.Name))
	}
	if old.Type != column.Type {
		c.retyped(was, old, column, rewritten)
		c.types(now, column)
	}
	switch {
	case !old.NotNull && column.NotNull && c.scanned(was):
		c.cost(SetNotNullScan, was, "add CHECK (… IS NOT NULL) NOT VALID, validate it in a later migration, and then set NOT NULL: PostgreSQL sees the constraint and reads nothing",
			fmt.Sprintf("makes %s NOT NULL, so PostgreSQL read every row", column.Name))
	case old.NotNull && !column.NotNull && !c.primaryKeyOf(was, column.Number):
		c.say(DropNotNull, Info, now.Title(), "make sure that all code that reads it expects NULL first", fmt.Sprintf("%s.%s may now be NULL", now.Title(), column.Name))
	}
}

func (c *checking) primaryKeyOf(r *observe.Relation, column int) bool {
	return slices.ContainsFunc(r.Constraints, func(k observe.Constraint) bool { return k.Type == "p" && slices.Contains(k.Columns, column) })
}

func (c *checking) retyped(was *observe.Relation, old, column observe.Column, rewritten bool) {
	what := fmt.Sprintf("changes the type of %s from %s to %s", column.Name, old.Type, column.Type)
	instead := "add a new column, keep both the same with a trigger, fill it in batches, and switch over in a later release"
	switch {
	case rewritten:
		c.cost(ChangeColumnType, was, instead, what+", so PostgreSQL rewrote the whole table and its indexes")
	case c.scanned(was):
		c.cost(ChangeColumnType, was, instead, what+", so PostgreSQL read every row")
	default:
		c.say(ChangeColumnType, Info, was.Title(), "make sure that all code can read and write the new type", what+" without touching a row")
	}
}

// scanned reports whether a table was read as a whole.
func (c *checking) scanned(r *observe.Relation) bool {
	return slices.ContainsFunc(c.now.Scans, func(s observe.Scan) bool { return s.Relation == r.Title() && s.Whole && s.Kind == "table" })
}

func (c *checking) constraints(was, now *observe.Relation) {
	for _, k := range now.Constraints {
		if slices.ContainsFunc(was.Constraints, func(o observe.Constraint) bool { return o.OID == k.OID }) {
			continue
		}
		c.constraint(was, k)
	}
	c.primaryKey(now, was)
}

func (c *checking) constraint(was *observe.Relation, k observe.Constraint) {
	index := c.file.Relation(k.Index)
	built := index != nil && slices.ContainsFunc(c.now.Changes, func(x observe.Change) bool { return x.Before == nil && x.After != nil && x.After.OID == k.Index })
	switch k.Type {
	case "c":
		if k.Validated && c.scanned(was) {
			c.cost(CheckValidatedAtOnce, was, notValid, fmt.Sprintf("adds the constraint %s and checked every row", k.Name))
		}
	case "f":
		other := c.file.Relation(k.References)
		if k.Validated && other != nil && (c.scanned(was) || was.Bytes > 0) {
			c.cost(ForeignKeyAtOnce, was, notValid, fmt.Sprintf("adds the foreign key %s and checked every row, while %s and %s are locked against writing", k.Name, was.Title(), other.Title()))
			c.explained[other.Title()] = true
		}
	case "u", "p":
		if built {
			c.cost(UniqueConstraint, was, "CREATE UNIQUE INDEX CONCURRENTLY first, then ADD CONSTRAINT … USING INDEX", fmt.Sprintf("adds the constraint %s and built its index", k.Name))
		}
	case "x":
		c.cost(ExclusionConstraint, was, "there is no way without the lock: do it when nobody writes, or enforce the rule in another way", fmt.Sprintf("adds the exclusion constraint %s and built its index", k.Name))
	}
}

func (c *checking) triggers(was, now *observe.Relation) {
	for _, t := range now.Triggers {
		i := slices.IndexFunc(was.Triggers, func(o observe.Trigger) bool { return o.OID == t.OID })
		if t.Enabled == "D" && (i < 0 || was.Triggers[i].Enabled != "D") {
			what := "the trigger " + t.Name
			if t.Internal {
				what = "a trigger that enforces a foreign key"
			}
			c.say(TriggerDisabled, Error, now.Title(), "leave it enabled, and have the trigger itself leave out what it need not do", fmt.Sprintf("disables %s of %s: what it guards is not guarded for anybody, and not checked later", what, now.Title()))
		}
	}
}
