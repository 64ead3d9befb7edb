package sanitize

// Observer sees every value of a masked column before it is forgotten, and what it became. A Writer calls it from the
// goroutine that writes, for one Writer at a time; column is the index in TableMasker.Columns. Values are unescaped, are
// valid until the call returns, and must not be changed. NULL and empty texts are not shown, nor is anything that is
// kept. Of arrays, composites, ranges, hstore and JSON it sees each masked element, field, bound, value and key by
// itself, as the text that it would be in a column of its own.
type Observer interface {
	// Original is called with a value of the source.
	Original(column int, value []byte)
	// Result is called with what takes its place, after Original; not for values that become NULL.
	Result(column int, value []byte)
}

// Rememberer is an Observer that need not see a value again to know all that it has to about it.
type Rememberer interface {
	Observer
	// Seen returns what is worth remembering of the value of the column that was shown last.
	Seen(column int) uint8
	// Again is called instead of Original and Result for a value that was shown to this observer before and became the same
	// as then, with what Seen returned.
	Again(column int, seen uint8)
}

// Observe lets o see what the Writer masks from now on; call it before the first Write.
func (w *Writer) Observe(o Observer) {
	for i := range w.steps {
		w.steps[i].see.observer = o
		w.steps[i].see.rememberer, _ = o.(Rememberer)
	}
}

// observation passes on to the Observer what happens in one column.
type observation struct {
	observer   Observer   // nil for none
	rememberer Rememberer // the observer, nil if it is none
	column     int
}

func (o *observation) original(value []byte) {
	if o.observer != nil && len(value) > 0 {
		o.observer.Original(o.column, value)
	}
}

func (o *observation) result(value []byte) {
	if o.observer != nil && len(value) > 0 {
		o.observer.Result(o.column, value)
	}
}
