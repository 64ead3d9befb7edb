package subset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	mayfly "github.com/mayflydb/mayfly"
)

// Options of a Graph. Zero values are the defaults.
type Options struct {
	// Dir is where its files are; it must exist.
	Dir string
	// SortBytes is how much memory sorting may take; 64 MiB.
	SortBytes int64
}

const (
	defaultSortBytes = 64 << 20
	inMemoryBytes    = 24 // of a record, with padding
)

// Link is a foreign key.
type Link struct {
	// Key is what it refers to, as AddKey returned it.
	Key int
	// Descend says that the rows that refer to a row which was selected, and not only needed, are selected too: all of them,
	// or Limit with the lowest priorities if that is not negative.
	Descend bool
	Limit   int64
}

// Row is one row of a table.
type Row struct {
	ID uint64 // whatever finds it again
	// Excluded rows are never taken, nor what refers to them. Of the others, rows that are Chosen are taken with what refers
	// to them, rows that are Taken by themselves; what they refer to is always taken.
	Excluded, Chosen, Taken bool
}

// Graph is the rows of tables and what they refer to. Build it from one goroutine: all tables with AddTable, keys and links;
// then the rows of one table after the other; then Select. After that, any number may read.
type Graph struct {
	options  Options
	tables   []*table
	keys     []*sorter
	links    []*link
	rows     uint32
	buffered int64 // records in memory

	excluded, chosen, taken bits
	anyExcluded             bool

	ids    *os.File
	idsOut *bufio.Writer
}

// table is a range of rows, which are numbered through all tables.
type table struct {
	first, end         uint32
	incoming, outgoing []*link
	kept               int64
}

// link is a Link with what was found out. Rows with equal keys and what refers to them make a group; the groups of a link are
// numbered from 1, and 0 says that there is none.
type link struct {
	Link
	references *sorter
	dangling   int64
	// what refers, and what is referred to: rows from first to before end
	childFirst, childEnd, parentFirst, parentEnd uint32
	childGroup, parentGroup                      *numbers // of rows, counted from first
	children, parents                            *groups
	detached                                     bits // of rows, counted from detachedFirst, that are not chosen by the link
	detachedFirst                                uint32
}

// New returns an empty Graph.
func New(options Options) (*Graph, error) {
	if options.SortBytes <= 0 {
		options.SortBytes = defaultSortBytes
	}
	g := &Graph{options: options}
	ids, err := openNameless(options.Dir)
	if err != nil {
		return nil, err
	}
	g.ids, g.idsOut = ids, bufio.NewWriterSize(ids, 256<<10)
	return g, nil
}

// AddKey makes room for a key that links refer to: one list of columns of one table and its partitions.
func (g *Graph) AddKey() int {
	g.keys = append(g.keys, &sorter{})
	return len(g.keys) - 1
}

// AddLink adds a foreign key.
func (g *Graph) AddLink(l Link) int {
	g.links = append(g.links, &link{Link: l, references: &sorter{}, childFirst: math.MaxUint32, parentFirst: math.MaxUint32})
	return len(g.links) - 1
}

// AddTable starts a table, or a partition: the rows that follow are its own. keys are the keys that its rows have, links the
// ones by which they refer.
func (g *Graph) AddTable(keys, links []int) int {
	t := &table{first: g.rows, end: g.rows}
	for _, l := range links {
		t.outgoing = append(t.outgoing, g.links[l])
	}
	for _, l := range g.links {
		for _, k := range keys {
			if l.Key == k {
				t.incoming = append(t.incoming, l)
			}
		}
	}
	g.tables = append(g.tables, t)
	return len(g.tables) - 1
}

// errTooManyRows is about numbers of 32 bits.
var errTooManyRows = mayfly.Errorf(mayfly.CodeInvalid, "the tables of the subset have more than %d rows", uint32(math.MaxUint32-1)).
	WithHint("leave the largest tables out with rows: none, or take tables that nothing refers to by a condition instead")

// AddRow adds a row to the table that was started last.
func (g *Graph) AddRow(r Row) error {
	if g.rows == math.MaxUint32-1 {
		return errTooManyRows
	}
	row := g.rows
	g.rows++
	t := g.tables[len(g.tables)-1]
	t.end = g.rows
	g.excluded.grow(row)
	g.chosen.grow(row)
	g.taken.grow(row)
	switch {
	case r.Excluded:
		g.excluded.set(row)
		g.anyExcluded = true
	case r.Chosen:
		g.chosen.set(row)
	case r.Taken:
		g.taken.set(row)
	}
	_, err := g.idsOut.Write(binary.LittleEndian.AppendUint64(g.idsOut.AvailableBuffer(), r.ID))
	if err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}

// AddKeyOf says what a key of the row that was added last is.
func (g *Graph) AddKeyOf(key int, hash uint64) error {
	return g.add(g.keys[key], record{hash: hash, row: g.rows - 1})
}

// AddReferenceOf says what the row that was added last refers to. The priority decides where the link has a limit; follows is false
// for a row that is not chosen with what it refers to, though the link descends.
func (g *Graph) AddReferenceOf(link int, hash, priority uint64, follows bool) error {
	if l, row := g.links[link], g.rows-1; !follows {
		if l.detached == nil {
			l.detachedFirst = row
		}
		l.detached.grow(row - l.detachedFirst)
		l.detached.set(row - l.detachedFirst)
	}
	return g.add(g.links[link].references, record{hash: hash, priority: priority, row: g.rows - 1})
}

func (g *Graph) add(s *sorter, r record) error {
	s.buffer = append(s.buffer, r)
	s.total++
	if g.buffered++; g.buffered*inMemoryBytes < g.options.SortBytes {
		return nil
	}
	largest := s
	for _, k := range g.keys {
		if len(k.buffer) > len(largest.buffer) {
			largest = k
		}
	}
	for _, l := range g.links {
		if len(l.references.buffer) > len(largest.buffer) {
			largest = l.references
		}
	}
	g.buffered -= int64(len(largest.buffer))
	return largest.spill(g.options.Dir)
}

// Select finds out which rows are taken.
func (g *Graph) Select() error {
	if err := g.idsOut.Flush(); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	if err := g.connect(); err != nil {
		return err
	}
	g.exclude()
	g.descend()
	g.ascend()
	if err := g.check(); err != nil {
		return err
	}
	for _, t := range g.tables {
		for row := t.first; row < t.end; row++ {
			if g.taken.has(row) {
				t.kept++
			}
		}
	}
	return g.release()
}

// Dangling returns how many rows refer by a link to a row that is not there.
func (g *Graph) Dangling(link int) int64 { return g.links[link].dangling }

// Rows returns how many rows of a table are taken, and how many there are.
func (g *Graph) Rows(tableID int) (kept, there int64) {
	t := g.tables[tableID]
	return t.kept, int64(t.end - t.first)
}

// idBatch is how many ids are read at once.
const idBatch = 8 << 10

// Each calls a function with the id of each row of a table that is taken, in the order in which they were added.
func (g *Graph) Each(tableID int, do func(id uint64) error) error {
	t := g.tables[tableID]
	raw := make([]byte, 8*idBatch)
	for row := t.first; row < t.end; {
		n := min(t.end-row, idBatch)
		if _, err := g.ids.ReadAt(raw[:8*n], int64(row)*8); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read the ids of rows: %w", err)
		}
		for i := range n {
			if !g.taken.has(row + i) {
				continue
			}
			if err := do(binary.LittleEndian.Uint64(raw[8*i:])); err != nil {
				return err
			}
		}
		row += n
	}
	return nil
}

// follows reports whether a row is chosen with what it refers to.
func (l *link) follows(row uint32) bool {
	at := int64(row) - int64(l.detachedFirst)
	return at < 0 || at/64 >= int64(len(l.detached)) || !l.detached.has(uint32(at))
}

// release gives back everything but the ids and what is taken.
func (g *Graph) release() error {
	var errs []error
	for _, k := range g.keys {
		errs = append(errs, k.close())
	}
	for _, l := range g.links {
		errs = append(errs, l.references.close(), l.childGroup.close(), l.parentGroup.close(), l.children.close(), l.parents.close())
	}
	g.excluded, g.chosen = nil, nil
	return errors.Join(errs...)
}

// Close gives everything back.
func (g *Graph) Close() error {
	return errors.Join(g.release(), g.ids.Close())
}

// bits are flags of rows.
type bits []uint64

func (b *bits) grow(row uint32) {
	for int(row/64) >= len(*b) {
		*b = append(*b, 0)
	}
}
func (b bits) has(row uint32) bool { return b[row/64]&(1<<(row%64)) != 0 }
func (b bits) set(row uint32)      { b[row/64] |= 1 << (row % 64) }
