package sanitize

import (
	"io"
)

// Plan is rules bound to the tables of one source under one key: what happens to every column. It is immutable and
// may be used by many goroutines.
type Plan struct {
	rules  *Rules
	tables map[string]*TableMasker
	order  []*TableMasker
	probes []Probe
}

// Table returns the masker of a table, or nil when the plan has no such table.
func (p *Plan) Table(schema, name string) *TableMasker { return p.tables[schema+"."+name] }

// TableCoverage is what happens to one table, for reports.
type TableCoverage struct {
	Schema  string       `json:"schema"`
	Table   string       `json:"table"`
	Rows    bool         `json:"rows"`            // false: structure only
	Where   string       `json:"where,omitempty"` // the condition of the rows that are taken
	Columns []ColumnPlan `json:"columns,omitempty"`
}

// ColumnPlan is what happens to one column, for reports.
type ColumnPlan struct {
	Column      string `json:"column"`
	Type        string `json:"type"`
	Transformer string `json:"transformer"`      // "keep", "email", …
	Domain      string `json:"domain,omitempty"` // "" where no key is used
	// Rule says where the decision was written: "sanitize.yaml:12:9".
	Rule string `json:"rule"`
}

// Coverage returns what happens to every table and column, in the order of the tables given to Plan. Generated columns
// are not in it: they follow from the others.
func (p *Plan) Coverage() []TableCoverage {
	out := make([]TableCoverage, 0, len(p.order))
	for _, t := range p.order {
		out = append(out, TableCoverage{Schema: t.schema, Table: t.name, Rows: t.rows, Where: t.where, Columns: t.Columns()})
	}
	return out
}

// TableMasker is what happens to one table. It is immutable and may be used by many goroutines.
type TableMasker struct {
	schema, name string
	rows         bool
	where        string
	// columns and bound describe the columns that COPY sends, in that order; empty when rows is false.
	columns []ColumnPlan
	bound   []binding
	row     *rowPlan // nil unless a transformer reads other columns
}

func (t *TableMasker) path() string { return t.schema + "." + t.name }

// Rows reports whether the table's rows are taken over; false means structure only ("rows: none").
func (t *TableMasker) Rows() bool { return t.rows }

// Where returns the condition, in SQL over the columns of the table, that holds for the rows that are taken; "" for all.
func (t *TableMasker) Where() string { return t.where }

// Passthrough reports whether every column is kept as it is, so that copying the rows without a Writer gives the same
// bytes.
func (t *TableMasker) Passthrough() bool {
	for i := range t.bound {
		if !t.bound[i].keep {
			return false
		}
	}
	return t.rows
}

// Columns returns what happens to each column that COPY sends, in that order; nil when Rows is false.
func (t *TableMasker) Columns() []ColumnPlan {
	if len(t.columns) == 0 {
		return nil
	}
	return append([]ColumnPlan(nil), t.columns...)
}

// Writer returns a Writer that masks this table's rows on their way to w. One goroutine may use it.
func (t *TableMasker) Writer(w io.Writer) *Writer { return newWriter(t, w) }

// Distinct reports whether different values of a column are different when masked, too. It is false for columns that
// COPY does not send.
func (t *TableMasker) Distinct(column string) bool {
	for i := range t.columns {
		if t.columns[i].Column == column {
			return t.bound[i].unique && t.bound[i].constant == nil
		}
	}
	return false
}
