package proof

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// prefixes knows how originals that are texts begin: their first eight bytes, without regard to case, by a cheap hash.
// Most values of a template begin in another way, and need no more than this one look: three bits of one word. It is only
// ever in memory, as the hash is not one that hides anything; a scan of an earlier template does without.
type prefixes struct {
	words []atomic.Uint64
	shift uint // 64 - log2 of the number of words
}

const (
	// prefixWords is log2 of the number of words while rows stream by: 16 MiB.
	prefixWords = 21
	// prefixLeast is that of the smallest table, prefixFull the share (one in) of set bits up to which it is made smaller:
	// a table that fits the processor's cache answers faster. One in 200 other beginnings then is taken for one that is there.
	prefixLeast = 10
	prefixFull  = 6
	prefixBytes = 8
)

func newPrefixes() *prefixes {
	return &prefixes{words: make([]atomic.Uint64, 1<<prefixWords), shift: 64 - prefixWords}
}

// prefixOf hashes the beginning of a text that has prefixBytes at least; false if it cannot be compared in this way.
func prefixOf(text []byte) (hash uint64, ascii bool) {
	const high, lower = 0x8080808080808080, 0x2020202020202020
	w := binary.LittleEndian.Uint64(text)
	hash = (w | lower) * 0x9e3779b97f4a7c15
	return (hash ^ hash>>29) * 0xbf58476d1ce4e5b9, w&high == 0
}

// prefixMask are the bits of a beginning in its word.
func prefixMask(hash uint64) uint64 { return 1<<(hash&63) | 1<<(hash>>6&63) | 1<<(hash>>12&63) }

func (p *prefixes) add(text []byte) {
	if len(text) < prefixBytes {
		return
	}
	hash, ok := prefixOf(text)
	if !ok {
		return
	}
	mask := prefixMask(hash)
	if word := &p.words[hash>>p.shift]; word.Load()&mask != mask {
		word.Or(mask)
	}
}

// may reports whether an original may begin as text does. nil says yes to all.
func (p *prefixes) may(text []byte) bool {
	if p == nil {
		return true
	}
	if len(text) < prefixBytes {
		return false // no provable text is shorter
	}
	hash, ok := prefixOf(text)
	mask := prefixMask(hash)
	return !ok || p.words[hash>>p.shift].Load()&mask == mask
}

// shrink returns a smaller table that says the same, and no more than it can afford of what is not so.
func (p *prefixes) shrink() *prefixes {
	set := 0
	for i := range p.words {
		set += bits.OnesCount64(p.words[i].Load())
	}
	log := prefixLeast
	for log < prefixWords && 64<<log < set*prefixFull {
		log++
	}
	out := &prefixes{words: make([]atomic.Uint64, 1<<log), shift: 64 - uint(log)}
	for i := range p.words {
		if word := p.words[i].Load(); word != 0 {
			out.words[i>>(prefixWords-log)].Or(word)
		}
	}
	return out
}
