package lint

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mayflydb/mayfly/migrations/observe"
)

func (c *checking) has(words ...string) bool {
	for _, w := range words {
		if !slices.Contains(c.words, w) {
			return false
		}
	}
	return true
}

// begins reports whether the statement begins with these words.
func (c *checking) begins(words ...string) bool {
	return len(c.words) >= len(words) && slices.Equal(c.words[:len(words)], words)
}

// existing finds a relation that was there before the run among those that the statement rewrote, by its name.
func (c *checking) existing(title string) *observe.Relation {
	for _, change := range c.now.Changes {
		if change.Before != nil && change.Before.Title() == title && change.Before.Existed {
			return change.Before
		}
	}
	return nil
}

// statement looks at the statement as a whole.
func (c *checking) statement() {
	switch {
	case c.begins("drop", "database"):
		c.say(DropDatabase, Error, "", "do it by hand, if at all", "drops a database")
	case c.now.Command == "DROP SCHEMA":
		c.say(DropSchema, Warning, "", nextRelease, "drops a schema; with CASCADE everything in it")
	case c.begins("alter", "schema") && c.has("rename"):
		c.say(RenameSchema, Warning, "", "make a new schema and move the code over", "renames a schema: code that runs during the deployment knows only one of the names")
	case (c.begins("create", "domain") || c.begins("alter", "domain")) && (c.has("check") || c.has("not", "null")):
		c.say(DomainConstraint, Info, "", "put the constraint on the columns, where it can be added as NOT VALID", "a constraint of a domain cannot be changed without reading every table that uses it")
	}
	for _, w := range c.now.Rewrites {
		c.rewrite(w)
	}
	if c.begins("reindex") && !c.has("concurrently") {
		c.reindexed()
	}
	if c.now.Observed == observe.FromWatching && c.has("concurrently") && !c.has("exists") && (c.begins("create") || c.begins("drop")) {
		c.say(NotRepeatable, Info, "", "write IF NOT EXISTS or IF EXISTS, and drop an invalid index first", "runs outside of a transaction: if it breaks off, it fails when it is tried again")
	}
	c.backfill()
}

func (c *checking) rewrite(w observe.Rewrite) {
	r := c.existing(w.Relation)
	if r == nil || c.explained[r.Title()] {
		return
	}
	switch {
	case w.Kind == "index":
	case w.Truncated:
		c.explained[r.Title()] = true
		f := c.say(Truncated, Warning, r.Title(), "delete in batches what is not needed; without CASCADE, no other table is emptied by surprise",
			fmt.Sprintf("removes all rows of %s (%s%s), under %s", r.Title(), size(r.Bytes), rows(r.Rows), "AccessExclusiveLock"))
		f.Scale = &Scale{DurationMS: c.now.DurationMS, Rows: r.Rows, Bytes: r.Bytes}
	case c.now.Command == "REFRESH MATERIALIZED VIEW":
		if !c.has("concurrently") {
			c.cost(RefreshNotConcurrent, r, "REFRESH MATERIALIZED VIEW CONCURRENTLY, which needs a unique index on it", "computes the view anew while nobody can read it")
		}
	case c.now.Command == "VACUUM", c.now.Command == "CLUSTER":
		c.cost(VacuumFull, r, "pg_repack, or nothing: a plain VACUUM makes the space usable again", c.now.Command+" rewrote the whole table")
	default:
		c.cost(TableRewritten, r, "see whether a new column or a new table that is filled in batches will do", "rewrote the whole table")
	}
}

func (c *checking) reindexed() {
	said := map[uint32]bool{}
	for _, change := range c.now.Changes {
		if change.Before == nil || change.After == nil || change.Before.Table == 0 || change.Before.Filenode == change.After.Filenode {
			continue
		}
		if table := c.file.Relation(change.Before.Table); table != nil && table.Existed && !said[table.OID] {
			said[table.OID] = true
			c.cost(ReindexNotConcurrent, table, "REINDEX … CONCURRENTLY, outside of a transaction", "rebuilds indexes while nobody can write their table")
		}
	}
}

// backfill looks for many rows written at once.
func (c *checking) backfill() {
	for _, d := range c.now.Data {
		n := d.Updated + d.Deleted
		if n < c.limits.BackfillRows || !c.existed(d.Table) || c.now.Command != "UPDATE" && c.now.Command != "DELETE" && c.now.Command != "MERGE" && c.now.Command != "DO" {
			continue
		}
		f := c.say(BackfillLarge, Warning, d.Table, "write in batches of some thousand rows, each committed by itself, outside of the migration",
			fmt.Sprintf("writes %s rows of %s in one transaction, in %s: they stay locked until it ends, and the old ones stay on disk", number(n), d.Table, duration(ms(c.now.DurationMS))))
		f.Scale = &Scale{DurationMS: c.now.DurationMS, Rows: n, Grows: true}
	}
}

// existed reports whether a relation that a statement wrote was there before the run.
func (c *checking) existed(title string) bool {
	return slices.ContainsFunc(c.file.Statements, func(s *observe.Statement) bool {
		return slices.ContainsFunc(s.Locks, func(l *observe.Lock) bool { return l.Relation == title && !l.New })
	})
}

// leftOver says what nothing else has said: a scan under a lock, and locks that were held for long.
func (c *checking) leftOver() {
	for _, s := range c.now.Scans {
		held, mode := c.blocked(s.Relation)
		if s.Kind != "table" || !s.Whole || mode == "" || c.explained[s.Relation] || !c.existed(s.Relation) {
			continue
		}
		code, instead := ScanUnderLock, "find out what needs the scan, and do that under a weaker lock first"
		if c.has("attach", "partition") {
			code, instead = AttachPartitionScan, "add a CHECK constraint that says the same as the bounds, NOT VALID and then validated, before attaching"
		}
		c.explained[s.Relation] = true
		f := c.say(code, c.severity(s.Bytes, held), s.Relation, instead,
			fmt.Sprintf("read all of %s (%s, %s rows) in %s, with %s held for %s, when %s", s.Relation, size(s.Bytes), number(s.Read), duration(ms(c.now.DurationMS)), mode, duration(held), waiting(mode)))
		f.Scale = &Scale{DurationMS: c.now.DurationMS, Rows: s.Read, Bytes: s.Bytes, Grows: true}
	}
	for _, l := range c.now.Locks {
		held := ms(l.HeldMS)
		if l.New || l.Kind == "index" || held < c.limits.WarnTime || strength(l.Mode) < strength("ShareLock") || c.explained[l.Relation] {
			continue
		}
		code := LongWriteLock
		if l.Mode == "AccessExclusiveLock" {
			code = LongExclusiveLock
		}
		f := c.say(code, c.severity(0, held), l.Relation, "put what takes long into a transaction of its own, and take the lock last",
			fmt.Sprintf("%s on %s was held for %s, until the transaction ended; meanwhile %s", l.Mode, l.Relation, duration(held), waiting(l.Mode)))
		f.Scale = &Scale{DurationMS: l.HeldMS, Rows: -1}
	}
}

func ms(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// failed looks at a statement that failed, for a reason that is known.
func (c *checking) failed() {
	switch {
	case c.now.SQLState == "25001" && c.has("concurrently"):
		c.say(ConcurrentlyInside, Error, "", "put it into a file of its own, with the tool's marker for no transaction", "CONCURRENTLY cannot run inside a transaction")
	case c.now.SQLState == "23502" && c.begins("alter", "table") && c.has("add"):
		c.say(AddRequiredColumn, Error, "", "add it with a default, or without NOT NULL, and fill it in first", "adds a column that is NOT NULL and has no default to a table with rows")
	}
}

// transactions looks at statements that share one.
func (c *checking) transactions() {
	for i, s := range c.file.Statements {
		c.now, c.words = s, observe.Words(c.file.sql(s), 4)
		if c.begins("begin") || c.begins("commit") || c.begins("start", "transaction") {
			c.say(TransactionInFile, Info, "", "leave it to the tool", "the file begins or ends a transaction itself")
		}
		for _, l := range s.Locks {
			if l.New || l.Kind == "index" || strength(l.Mode) < strength("ShareLock") || s.Failed {
				continue
			}
			c.writesUnder(l, s, c.file.Statements[i+1:])
		}
	}
}

// writesUnder looks for many rows written while a lock from before is held.
func (c *checking) writesUnder(l *observe.Lock, holder *observe.Statement, later []*observe.Statement) {
	for _, s := range later {
		if s.InTransaction != holder.InTransaction {
			return
		}
		for _, d := range s.Data {
			if n := d.Inserted + d.Updated + d.Deleted; n >= c.limits.BackfillRows || s.DurationMS >= float64(c.limits.WarnTime.Milliseconds()) {
				c.now = s
				f := c.say(BackfillWithDDL, c.severity(0, ms(l.HeldMS)), l.Relation, "write the rows in a migration of its own, before or after, in batches",
					fmt.Sprintf("writes %s rows of %s while %s on %s, from line %d, is held: %s for %s", number(n), d.Table, l.Mode, l.Relation, holder.Line, waiting(l.Mode), duration(ms(l.HeldMS))))
				f.Scale = &Scale{DurationMS: s.DurationMS, Rows: n, Grows: true}
				return
			}
		}
	}
}

// timeouts asks for a lock_timeout where a lock was taken that others wait for in a queue.
func (c *checking) timeouts() {
	if strings.Contains(strings.ToLower(c.file.Text), "lock_timeout") {
		return
	}
	for _, s := range c.file.Statements {
		for _, l := range s.Locks {
			if !l.New && l.Kind != "index" && strength(l.Mode) >= strength("ShareLock") {
				c.now = s
				c.say(MissingLockTimeout, Info, l.Relation, "SET LOCAL lock_timeout = '2s' in front of it, and try again if it fails",
					fmt.Sprintf("waits for %s on %s without a limit of its own: behind it, every later query on the table waits as well", l.Mode, l.Relation))
				return
			}
		}
	}
}
