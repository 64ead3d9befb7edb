package subset_test

import (
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/mayflydb/mayfly/templates/subset"
)

// world is a small database: rows of tables, and foreign keys between rows, as a slow and obvious model.
type world struct {
	tables   int
	rows     []modelRow
	links    []modelLink
	children [][]int // by link and child row: -1 or the parent row
	detached [][]bool
}

type modelRow struct {
	table    int
	priority uint64
	subset.Row
}

type modelLink struct {
	from, to int // tables
	subset.Link
}

func randomWorld(r *rand.Rand) *world {
	w := &world{tables: 2 + r.IntN(5)}
	filters := r.IntN(2) == 0
	for t := range w.tables {
		for range r.IntN(60) {
			row := modelRow{table: t, priority: r.Uint64()}
			row.ID = r.Uint64()
			row.Chosen = r.IntN(12) == 0
			row.Taken = !row.Chosen && r.IntN(15) == 0
			row.Excluded = filters && r.IntN(15) == 0
			w.rows = append(w.rows, row)
		}
	}
	for range 1 + r.IntN(8) {
		l := modelLink{from: r.IntN(w.tables), to: r.IntN(w.tables)} // cycles and references to oneself
		l.Descend, l.Limit = r.IntN(3) > 0, int64(r.IntN(4)-1)
		w.links = append(w.links, l)
		parents := make([]int, len(w.rows))
		for i := range w.rows {
			parents[i] = -1
			if at := r.IntN(len(w.rows)); w.rows[i].table == l.from && w.rows[at].table == l.to && r.IntN(4) > 0 {
				parents[i] = at
			}
		}
		w.children = append(w.children, parents)
		detached := make([]bool, len(w.rows))
		for i := range detached {
			detached[i] = len(w.links)%2 == 0 && r.IntN(3) == 0
		}
		w.detached = append(w.detached, detached)
	}
	return w
}

// selected is the model's answer.
func (w *world) selected() []bool {
	excluded, chosen, taken := make([]bool, len(w.rows)), make([]bool, len(w.rows)), make([]bool, len(w.rows))
	for i := range w.rows {
		excluded[i] = w.rows[i].Excluded
	}
	fix := func(step func() bool) {
		for step() {
		}
	}
	fix(func() (again bool) {
		for l := range w.links {
			for child, parent := range w.children[l] {
				if parent >= 0 && excluded[parent] && !excluded[child] {
					excluded[child], again = true, true
				}
			}
		}
		return again
	})
	for i := range w.rows {
		chosen[i] = w.rows[i].Chosen && !excluded[i]
		taken[i] = w.rows[i].Taken && !excluded[i]
	}
	fix(func() (again bool) {
		for l, link := range w.links {
			for parent := range w.rows {
				if !chosen[parent] || !link.Descend {
					continue
				}
				for _, child := range w.childrenOf(l, parent, excluded) {
					again = again || !chosen[child]
					chosen[child] = true
				}
			}
		}
		return again
	})
	for i := range taken {
		taken[i] = taken[i] || chosen[i]
	}
	fix(func() (again bool) {
		for l := range w.links {
			for child, parent := range w.children[l] {
				if parent >= 0 && taken[child] && !taken[parent] {
					taken[parent], again = true, true
				}
			}
		}
		return again
	})
	return taken
}

func (w *world) childrenOf(link, parent int, excluded []bool) []int {
	var of []int
	for child, p := range w.children[link] {
		if p == parent && !excluded[child] && !w.detached[link][child] {
			of = append(of, child)
		}
	}
	slices.SortFunc(of, func(a, b int) int {
		if w.rows[a].priority < w.rows[b].priority {
			return -1
		}
		return 1
	})
	if limit := w.links[link].Limit; limit >= 0 && int64(len(of)) > limit {
		of = of[:limit]
	}
	return of
}

// TestSelectIsTheModel compares with the model, with everything sorted in memory and in files.
func TestSelectIsTheModel(t *testing.T) {
	t.Parallel()
	seed := maphash.MakeSeed()
	hash := func(row int) uint64 { return maphash.Comparable(seed, row) }
	for n := range uint64(200) {
		w := randomWorld(rand.New(rand.NewPCG(n, 1)))
		dir := t.TempDir()
		g, err := subset.New(subset.Options{Dir: dir, SortBytes: []int64{0, 24 * 100, 24 * 30}[n%3]})
		if err != nil {
			t.Fatal(err)
		}
		for range w.tables {
			g.AddKey()
		}
		for _, l := range w.links {
			l.Key = l.to
			g.AddLink(l.Link)
		}
		row := 0
		for table := range w.tables {
			var links []int
			for l := range w.links {
				if w.links[l].from == table {
					links = append(links, l)
				}
			}
			g.AddTable([]int{table}, links)
			for ; row < len(w.rows) && w.rows[row].table == table; row++ {
				err := g.AddRow(w.rows[row].Row)
				for _, l := range links {
					if parent := w.children[l][row]; parent >= 0 && err == nil {
						err = g.AddReferenceOf(l, hash(parent), w.rows[row].priority, !w.detached[l][row])
					}
				}
				if err == nil {
					err = g.AddKeyOf(table, hash(row))
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := g.Select(); err != nil {
			t.Fatalf("world %d: %v", n, err)
		}
		compare(t, fmt.Sprintf("world %d", n), w, g)
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("files have names: %v, %v", left, err)
		}
		if err := g.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t *testing.T, name string, w *world, g *subset.Graph) {
	t.Helper()
	taken := w.selected()
	for table := range w.tables {
		var want, got []uint64
		for i := range w.rows {
			if w.rows[i].table == table && taken[i] {
				want = append(want, w.rows[i].ID)
			}
		}
		if err := g.Each(table, func(id uint64) error {
			got = append(got, id)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if kept, _ := g.Rows(table); !slices.Equal(got, want) || kept != int64(len(want)) {
			t.Errorf("%s: table %d has %d rows; the model has %d", name, table, len(got), len(want))
		}
	}
}

// TestLongChain selects the last row of a list in which each refers to the one before.
func TestLongChain(t *testing.T) {
	t.Parallel()
	const length = 100_000
	g, err := subset.New(subset.Options{Dir: t.TempDir(), SortBytes: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = g.Close() }()
	key := g.AddKey()
	link := g.AddLink(subset.Link{Key: key, Limit: -1})
	table := g.AddTable([]int{key}, []int{link})
	for i := range uint64(length) {
		err := g.AddRow(subset.Row{ID: i, Chosen: i == length-1})
		if err == nil {
			err = g.AddKeyOf(key, i+1)
		}
		if err == nil { // the first refers to what is not there
			err = g.AddReferenceOf(link, max(i, 1<<40*(1-min(i, 1))), 0, true)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := g.Select(); err != nil {
		t.Fatal(err)
	}
	if kept, there := g.Rows(table); kept != length || there != length || g.Dangling(link) != 1 {
		t.Errorf("%d of %d rows are taken, %d dangle; want all, and 1", kept, there, g.Dangling(link))
	}
}
