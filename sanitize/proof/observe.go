package proof

import (
	"bytes"

	"github.com/mayflydb/mayfly/sanitize"
)

// Observer is a sanitize.Observer of one stream of one table. One goroutine uses it; Close hands over what it has.
type Observer struct {
	recorder *Recorder
	hash     hasher
	columns  []observed // by the position in the stream; nil recorder number for kept ones
	recent   [recentSize]recent
	made     []Fingerprint // results of transformers that may be somebody's original
}

// recentSize is the size of the memory for values that were just written: a column with few values fills no file.
const recentSize = 4096

type recent struct {
	mark   Fingerprint
	column uint32
}

// observed is a masked column of the stream.
type observed struct {
	masked   bool
	class    Class
	number   uint32
	splits   bool // values may have parts
	prints   []Fingerprint
	original []byte // of the current row
	seen     uint8  // what was counted of it
	counts   Column
	sample   sample
}

// Table returns the observer of a stream of a table whose columns have that plan, in the order of the stream.
func (r *Recorder) Table(schema, table string, plan []sanitize.ColumnPlan) *Observer {
	o := &Observer{recorder: r, hash: hasher{key: r.key}, columns: make([]observed, len(plan))}
	masked := 0
	for _, c := range plan {
		if c.Transformer != "keep" {
			masked++
		}
	}
	capacity := max(16, min(4096, observerBytes/fingerprintBytes/max(1, masked)))
	for i, c := range plan {
		if c.Transformer == "keep" {
			continue
		}
		o.columns[i] = observed{
			masked: true, class: ClassOf(c.Transformer), number: r.register(schema, table, c), splits: splits(c.Type),
			prints: make([]Fingerprint, 0, capacity), counts: Column{seen: &distinct{}},
		}
	}
	return o
}

// Original implements sanitize.Observer.
func (o *Observer) Original(column int, value []byte) {
	c := &o.columns[column]
	if !c.masked {
		return
	}
	c.counts.Values++
	c.seen = 0
	c.original = append(c.original[:0], value...)
	value = trim(value)
	f, provable := classify(value)
	mark := o.hash.of(value, f)
	c.counts.seen.add(mark.High)
	if provable {
		c.counts.Provable++
		c.seen |= seenProvable
		if c.class != ClassPassages && c.class != ClassRows { // of passages it is known with the result
			o.record(c, mark, value, f)
		}
	}
	if c.splits && c.class != ClassRows && structured(value) {
		leaves(value, func(leaf []byte) {
			if f, provable := classify(leaf); provable {
				o.record(c, o.hash.of(leaf, f), leaf, f)
			}
		})
	}
}

// record writes a fingerprint that was not written just now.
func (o *Observer) record(c *observed, mark Fingerprint, value []byte, f form) {
	if o.seen(mark, c.number) {
		return
	}
	if f != formDigits {
		o.recorder.begins.add(value)
	}
	if c.sample.wants(mark.High) {
		c.sample.add(c.number, mark.High, value)
	}
	c.prints = append(c.prints, mark)
	if len(c.prints) == cap(c.prints) {
		o.recorder.flush(c.number, c.prints)
		c.prints = c.prints[:0]
	}
}

// seen reports whether a fingerprint of a column was written just now, and takes it for written from here on.
func (o *Observer) seen(mark Fingerprint, column uint32) bool {
	slot := &o.recent[(mark.High^uint64(column)*0x9e3779b1)%recentSize]
	if *slot == (recent{mark, column}) {
		return true
	}
	*slot = recent{mark, column}
	return false
}

// Result implements sanitize.Observer. What a transformer of ClassShared makes is no evidence where it is found, even if
// it is somebody's original. An original that it did not change is.
func (o *Observer) Result(column int, value []byte) {
	c := &o.columns[column]
	if !c.masked {
		return
	}
	unchanged := bytes.Equal(c.original, value)
	if unchanged {
		c.counts.Unchanged++
		c.seen |= seenUnchanged
	}
	value = trim(value)
	if unchanged && c.class != ClassGiven && c.class != ClassRows {
		if _, provable := classify(value); provable {
			c.counts.UnchangedProvable++
			c.seen |= seenUnchangedProvable
		}
		return
	}
	if c.class == ClassPassages {
		original := trim(c.original)
		if f, provable := classify(original); provable {
			o.record(c, o.hash.of(original, f), original, f)
		}
	}
	if c.class == ClassOwn || c.class == ClassPassages || c.class == ClassRows {
		return
	}
	f, provable := classify(value)
	if !provable {
		return
	}
	if mark := o.hash.of(value, f); !o.seen(mark, madeBlock) {
		if o.made = append(o.made, mark); len(o.made) == madeBuffer {
			o.recorder.flush(madeBlock, o.made)
			o.made = o.made[:0]
		}
	}
}

// What Seen tells of a value.
const (
	seenProvable = 1 << iota
	seenUnchanged
	seenUnchangedProvable
)

// Seen implements sanitize.Rememberer.
func (o *Observer) Seen(column int) uint8 { return o.columns[column].seen }

// Again implements sanitize.Rememberer: the fingerprints of the value are there.
func (o *Observer) Again(column int, seen uint8) {
	c := &o.columns[column]
	if !c.masked {
		return
	}
	c.counts.Values++
	c.counts.Provable += int64(seen & seenProvable)
	c.counts.Unchanged += int64(seen & seenUnchanged / seenUnchanged)
	c.counts.UnchangedProvable += int64(seen & seenUnchangedProvable / seenUnchangedProvable)
}

// madeBuffer is the number of fingerprints of results that are written at once.
const madeBuffer = 4096

// Close hands what was seen to the recorder.
func (o *Observer) Close() {
	o.recorder.flush(madeBlock, o.made)
	o.made = nil
	for i := range o.columns {
		c := &o.columns[i]
		if !c.masked {
			continue
		}
		o.recorder.flush(c.number, c.prints)
		c.prints = nil
		o.recorder.merge(c)
	}
}

func (r *Recorder) merge(c *observed) {
	r.mu.Lock()
	defer r.mu.Unlock()
	into := r.columns[c.number]
	into.Values += c.counts.Values
	into.Provable += c.counts.Provable
	into.Unchanged += c.counts.Unchanged
	into.UnchangedProvable += c.counts.UnchangedProvable
	into.seen.merge(c.counts.seen)
	r.sample = mergeSamples(r.sample, &c.sample)
}
