package proof

import (
	"encoding/binary"
	"math/bits"
	"sync/atomic"
)

// prefixes knows how originals that are texts begin: their first eight bytes, without regard to case, by a cheap hash.
// Most values of a template begin in another way, and need no more than this one look. It is only ever in memory, as the
// hash is not one that hides anything; a scan of an earlier template does without.
type prefixes struct {
	words []atomic.Uint64
	shift uint // 64 - log2 of the number of bits
}

const (
	// prefixBits is log2 of the number of bits while rows stream by: 16 MiB.
	prefixBits = 27
	// prefixLeast is that of the smallest table, prefixFull the share (one in) of set bits up to which it is made smaller:
	// a table that fits the processor's cache answers faster.
	prefixLeast = 16
	prefixFull  = 12
	prefixBytes = 8
)

func newPrefixes() *prefixes {
	return &prefixes{words: make([]atomic.Uint64, 1<<prefixBits/64), shift: 64 - prefixBits}
}

// prefixOf returns the beginning of a text that has prefixBytes at least; false if it cannot be compared in this way.
func prefixOf(text []byte) (uint64, bool) {
	const ascii, lower = 0x8080808080808080, 0x2020202020202020
	w := binary.LittleEndian.Uint64(text)
	return (w | lower) * 0x9e3779b97f4a7c15, w&ascii == 0
}

func (p *prefixes) add(text []byte) {
	if len(text) < prefixBytes {
		return
	}
	h, ok := prefixOf(text)
	if !ok {
		return
	}
	at := h >> p.shift
	if word := &p.words[at/64]; word.Load()&(1<<(at%64)) == 0 {
		word.Or(1 << (at % 64))
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
	h, ok := prefixOf(text)
	at := h >> p.shift
	return !ok || p.words[at/64].Load()&(1<<(at%64)) != 0
}

// shrink returns a smaller table that says the same, and no more than it can afford of what is not so.
func (p *prefixes) shrink() *prefixes {
	set := 0
	for i := range p.words {
		set += bits.OnesCount64(p.words[i].Load())
	}
	log := prefixLeast
	for log < prefixBits && 1<<log < set*prefixFull {
		log++
	}
	out := &prefixes{words: make([]atomic.Uint64, 1<<log/64), shift: 64 - uint(log)}
	drop := uint(prefixBits - log)
	for i := range p.words {
		for word := p.words[i].Load(); word != 0; word &= word - 1 {
			at := (uint64(i)*64 + uint64(bits.TrailingZeros64(word))) >> drop
			out.words[at/64].Or(1 << (at % 64))
		}
	}
	return out
}
