package observe

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/sqlsplit"
)

// watchEvery is how often the locks of a statement are looked at that cannot be asked itself.
const watchEvery = 3 * time.Millisecond

// watching is one statement being watched from the second session.
type watching struct {
	r      *Recorder
	cancel context.CancelFunc
	done   chan struct{}
	before []locked
	seen   map[heldKey]*seenLock
}

// seenLock is when a lock was seen, by the server's clock.
type seenLock struct{ first, last int64 }

const watchQuery = `SELECT relation, mode, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM pg_locks
	WHERE pid = $1 AND locktype = 'relation' AND granted AND relation >= ` + firstUserOID + ` AND database <> 0`

// watch begins to look. Without the second session it sees nothing.
func (r *Recorder) watch(ctx context.Context) *watching {
	r.flush(ctx)
	before, err := r.catalog(ctx)
	if err != nil {
		return nil
	}
	looking, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &watching{r: r, cancel: cancel, done: make(chan struct{}), before: before, seen: map[heldKey]*seenLock{}}
	go w.look(looking, int32(r.conn.PgConn().PID()))
	return w
}

// flush has the counters of the session arrive where others see them. Before PostgreSQL 15 they arrive by themselves within a second.
func (r *Recorder) flush(ctx context.Context) {
	if r.major >= 15 && !r.conn.IsClosed() && r.conn.PgConn().TxStatus() == 'I' {
		_, _ = r.conn.PgConn().Exec(ctx, `SELECT pg_catalog.pg_stat_force_next_flush()`).ReadAll() // the figures are then older
	}
}

func (w *watching) look(ctx context.Context, pid int32) {
	defer close(w.done)
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		if !w.once(ctx, pid) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (w *watching) once(ctx context.Context, pid int32) bool {
	// A query that was begun is ended: cancelling it would cost the session.
	rows, err := w.r.second.Query(context.WithoutCancel(ctx), watchQuery, pgx.QueryExecModeExec, pid)
	if err != nil {
		return false
	}
	var key heldKey
	var at int64
	_, err = pgx.ForEachRow(rows, []any{&key.oid, &key.mode, &at}, func() error {
		if w.seen[key] == nil {
			w.seen[key] = &seenLock{first: at}
		}
		w.seen[key].last = at
		return nil
	})
	return err == nil
}

// end compares what there is with what there was.
func (w *watching) end(ctx context.Context, q *Query) {
	w.cancel()
	<-w.done
	if len(q.open) == 0 {
		return
	}
	r, s := w.r, q.open[0]
	q.open = nil
	after := context.WithoutCancel(ctx)
	r.flush(after)
	wal := r.wal
	now, err := r.catalog(after)
	if err != nil {
		return
	}
	s.Observed, s.DurationMS, s.WALBytes = FromWatching, millis(q.elapsed.Microseconds()), max(0, r.wal-wal)
	w.compare(s, now)
	for key, seen := range w.seen {
		if is := r.relations[key.oid]; is != nil && !r.ignored[is.Title()] {
			s.Locks = append(s.Locks, &Lock{Relation: is.Title(), Kind: is.Kind, Mode: key.mode, HeldMS: millis(seen.last - seen.first), New: !is.Existed})
		}
	}
	w.imply(s, q.text.SQL)
	slices.SortFunc(s.Locks, func(a, b *Lock) int { return strings.Compare(a.Relation+a.Mode, b.Relation+b.Mode) })
}

func (w *watching) compare(s *Statement, now []locked) {
	r := w.r
	was := make(map[uint32]locked, len(w.before))
	for _, l := range w.before {
		was[l.oid] = l
	}
	for _, l := range now {
		before, known := was[l.oid]
		delete(was, l.oid)
		if r.ignored[l.relation.Title()] || r.ignoredIndex(l.relation.Table) {
			continue
		}
		unchanged := known && before.relation.Filenode == l.relation.Filenode && before.relation.Bytes == l.relation.Bytes && before.counters == l.counters
		if unchanged && !w.locked(l.oid) {
			continue
		}
		r.counted[l.oid] = before.counters
		r.relation(s, l, r.relations[l.oid])
	}
	clear(r.counted)
	for oid := range was {
		if r.relations[oid] != nil {
			r.relation(s, locked{oid: oid}, r.relations[oid])
		}
	}
}

func (w *watching) locked(oid uint32) bool {
	for key := range w.seen {
		if key.oid == oid {
			return true
		}
	}
	return false
}

// imply adds the locks that a kind of statement is documented to take (PostgreSQL documentation, 13.3.1) and that were too short to be
// seen.
func (w *watching) imply(s *Statement, sql string) {
	mode := impliedMode(s.SQL)
	if mode == "" {
		return
	}
	for _, is := range w.named(s, sql) {
		held := slices.ContainsFunc(s.Locks, func(l *Lock) bool { return l.Relation == is.Title() && l.Mode == mode })
		if !held {
			s.Locks = append(s.Locks, &Lock{Relation: is.Title(), Kind: is.Kind, Mode: mode, HeldMS: s.DurationMS, New: !is.Existed, Implied: true})
		}
	}
}

func impliedMode(sql string) string {
	words := Words(sql, 40)
	has := func(word string) bool { return slices.Contains(words, word) }
	switch {
	case has("concurrently"), first(words) == "analyze":
		return "ShareUpdateExclusiveLock"
	case first(words) == "cluster", first(words) == "vacuum" && has("full"):
		return "AccessExclusiveLock"
	case first(words) == "vacuum":
		return "ShareUpdateExclusiveLock"
	case first(words) == "reindex":
		return "ShareLock"
	}
	return ""
}

// named finds the tables that a statement is about: those that it names, and those of the indexes that it made or names.
func (w *watching) named(s *Statement, sql string) []*Relation {
	found := map[uint32]bool{}
	for _, c := range s.Changes {
		if c.After != nil && c.After.Table != 0 {
			found[c.After.Table] = true
		}
		if c.Before != nil && c.Before.Table != 0 {
			found[c.Before.Table] = true
		}
	}
	words := map[string]bool{}
	for _, t := range sqlsplit.Tokens(sql, true) {
		switch t.Kind {
		case sqlsplit.KindWord:
			words[strings.ToLower(sql[t.Begin:t.End])] = true
		case sqlsplit.KindIdentifier:
			words[strings.ReplaceAll(strings.Trim(sql[t.Begin:t.End], `"`), `""`, `"`)] = true
		}
	}
	for oid, is := range w.r.relations {
		if words[is.Name] && len(found) == 0 {
			found[oid] = is.Table == 0
			if is.Table != 0 {
				found[is.Table] = true
			}
		}
	}
	var out []*Relation
	for oid, yes := range found {
		if is := w.r.relations[oid]; yes && is != nil {
			out = append(out, is)
		}
	}
	return out
}
