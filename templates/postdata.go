package templates

import (
	"context"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/mayflydb/mayfly/templates/archive"
)

// postData restores indexes, constraints, triggers and the rest with several sessions. Two entries run at the same time
// only if neither needs the other and the locks that they take on tables go together; as in pg_restore, creating an
// index shares the table with creating another one, and everything else wants its tables alone.
func (t *target) postData(ctx context.Context, toc *archive.Archive, entries []*archive.Entry, workers int) error {
	order := newRestoreOrder(toc, entries)
	workers = max(1, min(workers, len(entries)))
	group, groupCtx := errgroup.WithContext(ctx)
	work, done := make(chan *archive.Entry), make(chan *archive.Entry, workers)
	for range workers {
		group.Go(func() error { return t.postDataWorker(groupCtx, work, done) })
	}
	group.Go(func() error {
		defer close(work)
		return order.run(groupCtx, work, done, workers)
	})
	return group.Wait()
}

func (t *target) postDataWorker(ctx context.Context, work <-chan *archive.Entry, done chan<- *archive.Entry) error {
	r, err := t.restorer(ctx)
	if err != nil {
		return err
	}
	defer r.close(ctx)
	for e := range work {
		if err := r.restore(ctx, e); err != nil {
			return err
		}
		done <- e
	}
	return nil
}

// restoreOrder says which entry can be restored next.
type restoreOrder struct {
	waiting  []*archive.Entry
	pending  map[int]bool // not done yet
	tables   map[int]bool // ids of tables and materialized views
	shared   map[int]int  // locks held
	alone    map[int]bool
	inFlight int
}

func newRestoreOrder(toc *archive.Archive, entries []*archive.Entry) *restoreOrder {
	s := &restoreOrder{
		waiting: slices.Clone(entries), pending: map[int]bool{}, tables: map[int]bool{}, shared: map[int]int{}, alone: map[int]bool{},
	}
	for _, e := range entries {
		s.pending[e.ID] = true
	}
	for i := range toc.Entries {
		if k := toc.Entries[i].Kind; k == "TABLE" || k == "MATERIALIZED VIEW" {
			s.tables[toc.Entries[i].ID] = true
		}
	}
	return s
}

// run hands out entries until all are done.
func (s *restoreOrder) run(ctx context.Context, work chan<- *archive.Entry, done <-chan *archive.Entry, workers int) error {
	for len(s.waiting) > 0 || s.inFlight > 0 {
		if at := slices.IndexFunc(s.waiting, s.ready); at >= 0 && s.inFlight < workers {
			e := s.waiting[at]
			s.waiting = slices.Delete(s.waiting, at, at+1)
			s.lock(e, 1)
			select {
			case work <- e:
				s.inFlight++
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if s.inFlight == 0 {
			return fmt.Errorf("the entry %s %s depends on itself", s.waiting[0].Kind, entryName(s.waiting[0]))
		}
		select {
		case e := <-done:
			s.inFlight--
			s.lock(e, -1)
			delete(s.pending, e.ID)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// ready reports whether an entry can start now.
func (s *restoreOrder) ready(e *archive.Entry) bool {
	for _, id := range e.Dependencies {
		if id != e.ID && s.pending[id] {
			return false
		}
		if s.tables[id] && (s.alone[id] || e.Kind != "INDEX" && s.shared[id] > 0) {
			return false
		}
	}
	return true
}

// lock takes (step 1) or gives back (step -1) the locks of an entry.
func (s *restoreOrder) lock(e *archive.Entry, step int) {
	for _, id := range e.Dependencies {
		switch {
		case !s.tables[id]:
		case e.Kind == "INDEX":
			s.shared[id] += step
		default:
			s.alone[id] = step > 0
		}
	}
}

// keyEntries returns the entries that say which columns are unique or refer to others.
func keyEntries(entries []*archive.Entry) []*archive.Entry {
	var keys []*archive.Entry
	for _, e := range entries {
		switch e.Kind {
		case "CONSTRAINT", "INDEX", "INDEX ATTACH", "FK CONSTRAINT":
			keys = append(keys, e)
		}
	}
	return keys
}

// tryKey creates a key inside of a transaction, and what it needs.
func (r *restorer) tryKey(ctx context.Context, e *archive.Entry) error {
	var made []string
	for {
		err := execAll(ctx, r.conn, "SAVEPOINT key; "+e.Definition+"; RELEASE SAVEPOINT key")
		if err == nil {
			return nil
		}
		again, err := r.provide(ctx, err, &made)
		if !again || err != nil {
			return err
		}
		if err := execAll(ctx, r.conn, "ROLLBACK TO SAVEPOINT key"); err != nil {
			return err
		}
	}
}

// catalogWithKeys reads the restored tables as they will be once the keys are there: the keys are created on the empty
// tables, in a transaction that is rolled back. An archive has no other way to tell which columns are unique.
func (r *restorer) catalogWithKeys(ctx context.Context, postData []*archive.Entry) (_ *catalog, err error) {
	if err := execAll(ctx, r.conn, "BEGIN"); err != nil {
		return nil, fmt.Errorf("begin: %w", err)
	}
	for _, e := range keyEntries(postData) {
		if r.target.missing(e) != nil {
			continue
		}
		if err := r.tryKey(ctx, e); err != nil {
			return nil, restoreError(ctx, e, err) // the connection is of no use after this, and neither is the build
		}
	}
	tables, err := readCatalog(ctx, r.conn)
	if err != nil {
		return nil, err
	}
	if err := execAll(ctx, r.conn, "ROLLBACK"); err != nil {
		return nil, fmt.Errorf("roll back: %w", err)
	}
	return tables, nil
}
