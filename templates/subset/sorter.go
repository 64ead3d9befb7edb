package subset

import (
	"bufio"
	"cmp"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// record is a key, or a reference to one, of a row.
type record struct {
	hash, priority uint64
	row            uint32
}

const recordBytes = 20

func compareRecords(a, b record) int {
	return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.priority, b.priority), cmp.Compare(a.row, b.row))
}

// sorter sorts records, in files when there are many.
type sorter struct {
	buffer []record
	file   *os.File // of sorted runs, one after the other; nil while everything fits into memory
	runs   []int64  // the number of records of each
	total  int64
}

// spill writes the buffer as a run.
func (s *sorter) spill(dir string) error {
	if s.file == nil {
		f, err := openNameless(dir)
		if err != nil {
			return err
		}
		s.file = f
	}
	slices.SortFunc(s.buffer, compareRecords)
	out := bufio.NewWriterSize(s.file, 256<<10)
	var raw [recordBytes]byte
	for _, r := range s.buffer {
		binary.LittleEndian.PutUint64(raw[0:], r.hash)
		binary.LittleEndian.PutUint64(raw[8:], r.priority)
		binary.LittleEndian.PutUint32(raw[16:], r.row)
		if _, err := out.Write(raw[:]); err != nil {
			return fmt.Errorf("write keys: %w", err)
		}
	}
	s.runs = append(s.runs, int64(len(s.buffer)))
	s.buffer = nil
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write keys: %w", err)
	}
	return nil
}

func (s *sorter) close() error {
	s.buffer = nil
	if s.file == nil {
		return nil
	}
	f := s.file
	s.file = nil
	return f.Close()
}

// stream gives the records in their order. It may be called several times.
func (s *sorter) stream() (*stream, error) {
	slices.SortFunc(s.buffer, compareRecords)
	st := &stream{}
	if len(s.buffer) > 0 {
		st.heads = append(st.heads, &head{memory: s.buffer})
	}
	offset := int64(0)
	for _, n := range s.runs {
		section := io.NewSectionReader(s.file, offset, n*recordBytes)
		st.heads = append(st.heads, &head{in: bufio.NewReaderSize(section, 64<<10)})
		offset += n * recordBytes
	}
	st.heads = slices.DeleteFunc(st.heads, func(h *head) bool {
		more, err := h.next()
		st.err = errors.Join(st.err, err)
		return !more
	})
	heap.Init(st)
	return st, st.advance()
}

// head is one run and its next record.
type head struct {
	memory []record
	in     *bufio.Reader // nil: memory
	first  record
}

func (h *head) next() (bool, error) {
	if h.in == nil {
		if len(h.memory) == 0 {
			return false, nil
		}
		h.first, h.memory = h.memory[0], h.memory[1:]
		return true, nil
	}
	var raw [recordBytes]byte
	if _, err := io.ReadFull(h.in, raw[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		return false, fmt.Errorf("read keys: %w", err)
	}
	h.first = record{binary.LittleEndian.Uint64(raw[0:]), binary.LittleEndian.Uint64(raw[8:]), binary.LittleEndian.Uint32(raw[16:])}
	return true, nil
}

// stream merges runs. It is a heap of them.
type stream struct {
	heads   []*head
	current record
	ok      bool // there is a current one
	err     error
}

// advance goes to the next record.
func (s *stream) advance() error {
	if s.err != nil || len(s.heads) == 0 {
		s.ok = false
		return s.err
	}
	s.current, s.ok = s.heads[0].first, true
	more, err := s.heads[0].next()
	switch {
	case err != nil:
		s.err = err
	case more && len(s.heads) > 1:
		heap.Fix(s, 0)
	case !more:
		heap.Pop(s)
	}
	return s.err
}

// Len and the rest are of heap.Interface.
func (s *stream) Len() int           { return len(s.heads) }
func (s *stream) Less(i, j int) bool { return compareRecords(s.heads[i].first, s.heads[j].first) < 0 }
func (s *stream) Swap(i, j int)      { s.heads[i], s.heads[j] = s.heads[j], s.heads[i] }

// Push is never called: runs only end.
func (s *stream) Push(any) {}

// Pop takes the last one away.
func (s *stream) Pop() any {
	last := s.heads[len(s.heads)-1]
	s.heads = s.heads[:len(s.heads)-1]
	return last
}
