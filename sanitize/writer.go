package sanitize

import (
	"bytes"
	"fmt"
	"io"

	"github.com/mayflydb/mayfly"
)

const (
	// flushBytes is how much output is gathered before it is written on.
	flushBytes = 64 << 10
	// maxRowBytes is PostgreSQL's own limit for a row of COPY.
	maxRowBytes = 1 << 30
)

// Writer reads COPY text format, masks it, and writes COPY text format. Chunk boundaries do not matter. Output is
// buffered: it is complete only after Close.
//
// The end-of-data line "\." and the empty lines after it (pg_dump archives have them) are consumed and not written:
// the protocol's CopyDone says the same. Anything else after "\." is an error. After an error every call returns it.
// Errors name the table and the row number, never a value.
type Writer struct {
	table *TableMasker
	dst   io.Writer
	steps []step
	// tabsAfter is the number of separators after the last masked column.
	tabsAfter int
	// byRow masks rows whose columns depend on each other; else nil.
	byRow *rowMasker

	out     []byte
	partial []byte // the start of a row whose end has not come yet
	value   []byte // an unescaped field
	result  []byte // a result that must be escaped
	rows    int64
	bytes   int64
	ended   bool // the end-of-data line was seen
	closed  bool
	err     error
}

// step masks one column of a row.
type step struct {
	// tabs is the number of separators between the previous masked column, or the start of the row, and this one.
	tabs int
	mask maskFunc
	// constant, if not nil, is the result for every value, escaped, and plain the same unescaped.
	constant, plain []byte
	// replaceNull says that constant also takes the place of NULL.
	replaceNull bool
	escape      bool
	// nested says that mask shows what is inside of the values to see.
	nested bool
	see    observation
	cache  *resultCache // nil for none
}

func newWriter(t *TableMasker, dst io.Writer) *Writer {
	w := &Writer{table: t, dst: dst, tabsAfter: max(len(t.bound)-1, 0)}
	if t.row != nil {
		w.byRow = newRowMasker(t)
	}
	w.steps = make([]step, 0, len(t.bound)) // never grows: cells and masks point into it
	previous := 0
	for i := range t.bound {
		b := &t.bound[i]
		if b.keep {
			continue
		}
		w.steps = append(w.steps, step{
			tabs: i - previous, constant: b.constant, replaceNull: b.replaceNull, escape: b.escape,
			nested: b.makeNested != nil, see: observation{column: i},
		})
		s := &w.steps[len(w.steps)-1]
		switch {
		case b.constant != nil:
			s.plain = appendUnescaped(nil, b.constant)
		case b.makeRow != nil:
			s.mask = b.makeRow(w.byRow.reader(t, i))
		default:
			s.mask = b.start(&s.see)
			if b.keyed && !s.nested {
				s.cache = &resultCache{}
			}
		}
		if w.byRow != nil {
			w.byRow.cells[i].step = s
		}
		w.tabsAfter = len(t.bound) - 1 - i
		previous = i
	}
	return w
}

// Rows returns how many complete rows were masked so far.
func (w *Writer) Rows() int64 { return w.rows }

// Bytes returns how many bytes of input were accepted so far.
func (w *Writer) Bytes() int64 { return w.bytes }

// Write masks the complete rows in p and keeps an incomplete one for the next call. It does not retain p.
func (w *Writer) Write(p []byte) (int, error) {
	if w.closed && w.err == nil {
		w.err = fmt.Errorf("write to %s after Close", w.table.path())
	}
	if w.err != nil {
		return 0, w.err
	}
	if err := w.write(p); err != nil {
		w.err = err
		return 0, err
	}
	w.bytes += int64(len(p))
	return len(p), nil
}

func (w *Writer) write(p []byte) error {
	for len(p) > 0 && len(w.partial) > 0 {
		end := bytes.IndexByte(p, '\n') + 1
		take := end
		if end == 0 {
			take = len(p)
		}
		if len(w.partial)+take > maxRowBytes {
			return w.rowError("is longer than %d bytes", maxRowBytes)
		}
		w.partial = append(w.partial, p[:take]...)
		p = p[take:]
		if last := len(w.partial) - 1; end > 0 && !escaped(w.partial, last) {
			if err := w.row(w.partial[:last]); err != nil {
				return err
			}
			w.partial = w.partial[:0]
		}
	}
	for start, pos := 0, 0; start < len(p); {
		end := bytes.IndexByte(p[pos:], '\n')
		if end < 0 {
			w.partial = append(w.partial, p[start:]...)
			break
		}
		end += pos
		pos = end + 1
		if end > start && p[end-1] == '\\' && escaped(p[start:], end-start) {
			if pos == len(p) {
				w.partial = append(w.partial, p[start:]...)
				break
			}
			continue
		}
		if err := w.row(p[start:end]); err != nil {
			return err
		}
		start = pos
	}
	return nil
}

// Close writes what is buffered. It is an error if the input ended inside a row. It does not close the destination.
func (w *Writer) Close() error {
	if w.closed || w.err != nil {
		w.closed = true
		return w.err
	}
	w.closed = true
	// COPY accepts an end-of-data line without a line feed.
	if len(w.partial) > 0 && (w.ended || string(w.partial) != endMarker) {
		w.err = w.rowError("is incomplete: the data ends inside it")
		return w.err
	}
	w.err = w.flush()
	return w.err
}

func (w *Writer) flush() error {
	if len(w.out) == 0 {
		return nil
	}
	if _, err := w.dst.Write(w.out); err != nil {
		return fmt.Errorf("write masked rows of %s: %w", w.table.path(), err)
	}
	w.out = w.out[:0]
	return nil
}

// row masks one row, given without its line feed.
func (w *Writer) row(row []byte) error {
	if w.ended {
		if len(row) == 0 {
			return nil
		}
		return w.rowError(`comes after the end-of-data line \.`)
	}
	if string(row) == endMarker {
		w.ended = true
		return nil
	}
	if err := w.mask(row); err != nil {
		return err
	}
	w.rows++
	if len(w.out) >= flushBytes {
		return w.flush()
	}
	return nil
}

// mask appends the masked row to out. Stretches of columns that are kept are copied as they are.
func (w *Writer) mask(row []byte) error {
	if w.byRow != nil {
		out, err := w.byRow.append(w.out, row)
		if err != nil {
			return w.fieldsError(row)
		}
		w.out = out
		return nil
	}
	pos, copied := 0, 0
	for i := range w.steps {
		s := &w.steps[i]
		for range s.tabs {
			tab := nextTab(row, pos)
			if tab < 0 {
				return w.fieldsError(row)
			}
			pos = tab + 1
		}
		end := nextTab(row, pos)
		if end < 0 {
			end = len(row)
		}
		w.out = append(w.out, row[copied:pos]...)
		w.field(s, row[pos:end])
		pos, copied = end, end
	}
	rest := row[copied:]
	if countTabs(rest) != w.tabsAfter || (len(w.table.bound) == 0 && len(row) > 0) {
		return w.fieldsError(row)
	}
	w.out = append(w.out, rest...)
	w.out = append(w.out, '\n')
	return nil
}

// field appends the masked form of one field to out. NULL stays NULL, and an empty text stays empty: there is nothing
// in it to mask, and applications tell the two apart. A constant replaces both except that NULL stays unless asked for.
func (w *Writer) field(s *step, field []byte) {
	null := string(field) == nullMarker
	switch {
	case null && !s.replaceNull:
		w.out = append(w.out, nullMarker...)
	case s.constant != nil:
		w.out = append(w.out, s.constant...)
		if s.see.observer != nil && !null {
			s.see.original(w.unescaped(field))
			if string(s.constant) != nullMarker {
				s.see.result(s.plain)
			}
		}
	case len(field) == 0:
	case s.cache != nil:
		w.cached(s, field)
	default:
		w.masked(s, field)
	}
}

// unescaped returns the value of a field.
func (w *Writer) unescaped(field []byte) []byte {
	if bytes.IndexByte(field, '\\') < 0 {
		return field
	}
	w.value = appendUnescaped(w.value[:0], field)
	return w.value
}

// cached is masked with a memory.
func (w *Writer) cached(s *step, field []byte) {
	slot := s.cache.slot(field)
	if slot == nil {
		w.masked(s, field)
		return
	}
	if slot.holds(field) {
		s.cache.hits++
		result := slot.result[:slot.resultLength]
		w.out = append(w.out, result...)
		switch {
		case s.see.rememberer != nil:
			s.see.rememberer.Again(s.see.column, slot.seen)
		case s.see.observer != nil:
			s.see.original(w.unescaped(field))
			s.see.result(w.unescaped(result))
		}
		return
	}
	start := len(w.out)
	w.masked(s, field)
	var seen uint8
	if s.see.rememberer != nil {
		seen = s.see.rememberer.Seen(s.see.column)
	}
	slot.keep(field, w.out[start:], seen)
}

// masked masks a field that is neither NULL nor empty.
func (w *Writer) masked(s *step, field []byte) {
	value := w.unescaped(field)
	if !s.escape {
		start := len(w.out)
		w.out = s.mask(w.out, value)
		w.show(s, value, w.out[start:])
		return
	}
	w.result = s.mask(w.result[:0], value)
	w.out = appendEscaped(w.out, w.result)
	w.show(s, value, w.result)
}

// show lets the observer see a value, unless the mask did so already.
func (w *Writer) show(s *step, value, result []byte) {
	if s.see.observer != nil && !s.nested {
		s.see.original(value)
		s.see.result(result)
	}
}

func (w *Writer) fieldsError(row []byte) error {
	have := countTabs(row) + 1
	if len(w.table.bound) == 0 {
		return w.rowError("has %d fields; the table has no columns", have)
	}
	return w.rowError("has %d fields; the table has %d columns", have, len(w.table.bound))
}

// rowError is about the row after those that were masked.
func (w *Writer) rowError(format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "table %s: row %d %s", w.table.path(), w.rows+1, fmt.Sprintf(format, args...)).
		WithHint("the data does not have the form that COPY gives it: the source is damaged, or its structure changed during the build")
}
