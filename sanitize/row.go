package sanitize

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// rowReader gives a transformer the other columns of the row that it masks. What it returns is valid until the maskFunc
// returns and must not be changed.
type rowReader interface {
	// columns returns the names of the columns that can be read: those of binding.columns, in that order, and with
	// binding.siblings the masked columns of the table behind them.
	columns() []string
	// value returns the original value of the i-th of columns, unescaped.
	value(i int) (value []byte, null bool)
	// transformer returns the name of the transformer of the i-th of columns.
	transformer(i int) string
	// masked returns what the i-th of columns becomes, unescaped: only for bindings with results. A column that is kept
	// gives its value.
	masked(i int) (value []byte, null bool)
}

// rowPlan is what a table needs whose transformers read other columns; nil for all others, which pay nothing for it.
type rowPlan struct {
	// reads lists for each column that COPY sends the positions that its transformer reads.
	reads [][]int
	// order are the positions of the masked columns, each after those whose results it reads.
	order []int
}

// planRows resolves the columns that the table's transformers read and the order in which they must be computed.
func (b *binder) planRows(t *Table, m *TableMasker, bound []*boundColumn) {
	needed := false
	for _, c := range bound {
		needed = needed || c.binding.makeRow != nil
	}
	if !needed {
		return
	}
	plan := &rowPlan{reads: make([][]int, len(bound))}
	for i, c := range bound {
		plan.reads[i] = b.readsOf(t, c, bound)
	}
	for i := range bound {
		if cycle := plan.visit(bound, i, nil); cycle != nil {
			names := make([]string, len(cycle))
			for j, at := range cycle {
				names[j] = bound[at].target.column.Name
			}
			b.problem(bound[i].spec.at, "let one of them read something else", "%s of table %s need each other's results: %s",
				bound[i].spec.mask, tablePath(t), strings.Join(names, " -> "))
			return
		}
	}
	m.row = plan
}

// readsOf returns the positions of the columns that a column's transformer reads.
func (b *binder) readsOf(t *Table, c *boundColumn, bound []*boundColumn) []int {
	var reads []int
	for _, name := range c.binding.columns {
		at := slices.IndexFunc(bound, func(other *boundColumn) bool { return other.target.column.Name == name })
		switch column := findColumn([]*Table{t}, name); {
		case column == nil:
			b.problem(c.spec.at, "name a column of the same table", "%s of %s reads the column %s, which the table does not have%s",
				c.spec.mask, c.target.shown, name, didYouMean(name, columnNames([]*Table{t})))
		case column.Generated:
			b.problem(c.spec.at, "read the columns that it is computed from", "%s of %s reads %s, which is generated: PostgreSQL computes it later",
				c.spec.mask, c.target.shown, name)
		case at >= 0:
			reads = append(reads, at)
		}
	}
	for i, other := range bound {
		if c.binding.siblings && other != c && !other.binding.keep && !other.binding.siblings && !slices.Contains(reads, i) {
			reads = append(reads, i)
		}
	}
	return reads
}

// visit appends a column to the order, after those whose results it reads. It returns the cycle that makes this
// impossible, if there is one.
func (p *rowPlan) visit(bound []*boundColumn, at int, path []int) (cycle []int) {
	if first := slices.Index(path, at); first >= 0 {
		return append(slices.Clone(path[first:]), at)
	}
	if slices.Contains(p.order, at) || bound[at].binding.keep {
		return nil
	}
	if bound[at].binding.results {
		for _, next := range p.reads[at] {
			if cycle := p.visit(bound, next, append(path, at)); cycle != nil {
				return cycle
			}
		}
	}
	p.order = append(p.order, at)
	return nil
}

// rowMasker masks the rows of a table whose transformers read other columns.
type rowMasker struct {
	plan  *rowPlan
	cells []cell // by position
}

// cell is one field of the current row.
type cell struct {
	step  *step // nil for a column that is kept
	field []byte
	null  bool

	unescaped bool   // value is set
	value     []byte // the original
	memory    []byte // of value, if it differs from the field

	result     []byte
	resultNull bool
}

// columnReader is the rowReader of one column.
type columnReader struct {
	row   *rowMasker
	reads []int
	names []string
	masks []string // their transformers
}

func newRowMasker(t *TableMasker) *rowMasker {
	return &rowMasker{plan: t.row, cells: make([]cell, len(t.bound))}
}

// reader returns the rowReader of the column at a position.
func (r *rowMasker) reader(t *TableMasker, at int) rowReader {
	c := &columnReader{row: r, reads: r.plan.reads[at]}
	for _, i := range c.reads {
		c.names = append(c.names, t.columns[i].Column)
		c.masks = append(c.masks, t.columns[i].Transformer)
	}
	return c
}

func (c *columnReader) columns() []string { return c.names }

func (c *columnReader) transformer(i int) string { return c.masks[i] }

func (c *columnReader) value(i int) (value []byte, null bool) {
	cell := &c.row.cells[c.reads[i]]
	return cell.original(), cell.null
}

func (c *columnReader) masked(i int) (value []byte, null bool) {
	cell := &c.row.cells[c.reads[i]]
	if cell.step == nil {
		return cell.original(), cell.null
	}
	return cell.result, cell.resultNull
}

// original returns the unescaped value, nil for NULL.
func (c *cell) original() []byte {
	switch {
	case c.unescaped:
	case c.null:
		c.value = nil
	case bytes.IndexByte(c.field, '\\') >= 0:
		c.memory = appendUnescaped(c.memory[:0], c.field)
		c.value = c.memory
	default:
		c.value = c.field
	}
	c.unescaped = true
	return c.value
}

// mask computes the result. What NULL and empty texts become is what Writer.field says.
func (c *cell) mask() {
	s := c.step
	value := c.original()
	c.result, c.resultNull = c.result[:0], false
	switch {
	case c.null && !s.replaceNull:
		c.resultNull = true
	case s.constant != nil:
		if c.resultNull = string(s.constant) == nullMarker; !c.resultNull {
			c.result = append(c.result, s.plain...)
		}
		c.show(value)
	case len(value) == 0 && !s.replaceNull:
	default:
		c.result = s.mask(c.result, value)
		if !s.nested {
			c.show(value)
		}
	}
}

// show lets the observer see the value and the result.
func (c *cell) show(value []byte) {
	c.step.see.original(value)
	if !c.resultNull {
		c.step.see.result(c.result)
	}
}

// split finds the fields of a row. It returns false when their number is wrong.
func (r *rowMasker) split(row []byte) bool {
	pos := 0
	for i := range r.cells {
		if pos > len(row) {
			return false
		}
		end := nextTab(row, pos)
		if end < 0 {
			end = len(row)
		}
		c := &r.cells[i]
		c.field, c.unescaped = row[pos:end], false
		c.null = string(c.field) == nullMarker
		pos = end + 1
	}
	return pos == len(row)+1
}

// append appends the masked row to dst.
func (r *rowMasker) append(dst, row []byte) (out []byte, err error) {
	if !r.split(row) {
		return dst, fmt.Errorf("wrong number of fields")
	}
	for _, at := range r.plan.order {
		r.cells[at].mask()
	}
	for i := range r.cells {
		c := &r.cells[i]
		if i > 0 {
			dst = append(dst, '\t')
		}
		switch {
		case c.step == nil:
			dst = append(dst, c.field...)
		case c.resultNull:
			dst = append(dst, nullMarker...)
		default:
			dst = appendEscaped(dst, c.result)
		}
	}
	return append(dst, '\n'), nil
}
