package proof

import (
	"bytes"
	"encoding/binary"
	"slices"
	"sync/atomic"
)

// patterns searches bytes for many texts at once. It looks at every fourth position: each pattern is known by four
// consecutive windows of five bytes, and one of them falls on such a position wherever the pattern is.
type patterns struct {
	all     []pattern
	windows [1 << windowBits / 64]uint64
	at      map[uint64][]window
}

type pattern struct {
	sampled
	digits bool // digits only: what stands in a longer number is not it
	// excused is set when the pattern was found where it may be: where a transformer made it by itself, or in a place that
	// the rules allow. It cannot be told from those elsewhere.
	excused atomic.Bool
	// own is set when PostgreSQL itself brings the text: "Iceland" is in the description of a collation. Then it tells nothing
	// where it is found in a file.
	own atomic.Bool
}

type window struct {
	pattern, offset int
}

const (
	windowBits  = 19
	windowBytes = 5
	stride      = 4
)

func windowOf(b []byte) uint64 {
	return uint64(binary.LittleEndian.Uint32(b)) | uint64(b[4])<<32
}

func windowHash(w uint64) uint64 { return w * 0x9e3779b97f4a7c15 >> (64 - windowBits) }

// newPatterns prepares the search for samples.
func newPatterns(samples []sampled) *patterns {
	seen := map[string]bool{}
	unique := slices.DeleteFunc(slices.Clone(samples), func(s sampled) bool {
		again := seen[string(s.value)]
		seen[string(s.value)] = true
		return again
	})
	p := &patterns{all: make([]pattern, len(unique)), at: map[uint64][]window{}}
	common := map[uint64]int{}
	for i, s := range unique {
		p.all[i].sampled, p.all[i].digits = s, onlyDigits(s.value)
		for at := 0; at+windowBytes <= len(s.value); at++ {
			common[windowOf(s.value[at:])]++
		}
	}
	for i := range p.all {
		start := rarest(p.all[i].value, common)
		for offset := start; offset < start+stride; offset++ {
			w := windowOf(p.all[i].value[offset:])
			h := windowHash(w)
			p.windows[h/64] |= 1 << (h % 64)
			p.at[w] = append(p.at[w], window{i, offset})
		}
	}
	return p
}

// rarest returns where the four windows begin that the fewest other patterns have: in an e-mail address, not in its domain.
func rarest(value []byte, common map[uint64]int) int {
	best, least := 0, -1
	for start := 0; start+stride-1+windowBytes <= len(value); start++ {
		sum := 0
		for offset := start; offset < start+stride; offset++ {
			sum += common[windowOf(value[offset:])]
		}
		if least < 0 || sum < least {
			best, least = start, sum
		}
	}
	return best
}

func onlyDigits(value []byte) bool {
	for _, c := range value {
		if kindOf[c] != isDigit {
			return false
		}
	}
	return true
}

// search calls found for every pattern in text, with where it begins.
func (p *patterns) search(text []byte, found func(i, at int)) {
	if len(p.all) == 0 {
		return
	}
	// Eight bytes are read for a window of five: the last few are read from a copy.
	safe := len(text) - 8
	i := 0
	for ; i <= safe; i += stride {
		w := binary.LittleEndian.Uint64(text[i:]) & (1<<(8*windowBytes) - 1)
		h := windowHash(w)
		if p.windows[h/64]&(1<<(h%64)) != 0 {
			p.confirm(text, i, w, found)
		}
	}
	for ; i+windowBytes <= len(text); i += stride {
		w := windowOf(text[i:])
		h := windowHash(w)
		if p.windows[h/64]&(1<<(h%64)) != 0 {
			p.confirm(text, i, w, found)
		}
	}
}

func (p *patterns) confirm(text []byte, i int, w uint64, found func(i, at int)) {
	for _, candidate := range p.at[w] {
		one := &p.all[candidate.pattern]
		start := i - candidate.offset
		if start < 0 || start+len(one.value) > len(text) || !bytes.Equal(text[start:start+len(one.value)], one.value) {
			continue
		}
		end := start + len(one.value)
		if one.digits && (start > 0 && kindOf[text[start-1]] == isDigit || end < len(text) && kindOf[text[end]] == isDigit) {
			continue
		}
		found(candidate.pattern, start)
	}
}
