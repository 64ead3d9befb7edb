package proof

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Place is somewhere in a template where values are.
type Place struct {
	Kind string `json:"kind"` // "column", "statistics", "comment", …
	Name string `json:"name"` // "public.people.email"
}

func (p Place) String() string {
	if p.Kind == KindColumn {
		return p.Name
	}
	return p.Kind + " " + p.Name
}

// Hit is where originals survive, by the column that they are of. It never holds a value.
type Hit struct {
	Place
	Of string `json:"of"` // the masked column of the source: "public.people.email"
	// Values is the number of different originals that were found, Count how often.
	Values int64 `json:"values"`
	Count  int64 `json:"count"`
	// Allowed says that a rule allows them there.
	Allowed bool `json:"allowed,omitempty"`
}

// maxCandidates bounds what is kept for a later exact look. When it is reached, what is no original is sorted out.
const maxCandidates = 1 << 18

// matcher collects values whose fingerprint may be that of an original, and tells in the end which are. Its methods may
// be called concurrently.
type matcher struct {
	originals *Originals
	patterns  *patterns

	mu         sync.Mutex
	places     []Place
	numbers    map[Place]uint32
	candidates map[candidate]int64
	confirmed  map[candidate]bool
	overflow   bool

	// textHits are patterns found within values, by pattern and place.
	textHits map[textHit]int64
}

type candidate struct {
	mark  Fingerprint
	place uint32
}

type textHit struct {
	pattern int
	place   uint32
}

func newMatcher(o *Originals) *matcher {
	return &matcher{
		originals: o, patterns: newPatterns(o.sample), numbers: map[Place]uint32{},
		candidates: map[candidate]int64{}, confirmed: map[candidate]bool{}, textHits: map[textHit]int64{},
	}
}

// place returns the number of a place.
func (m *matcher) place(p Place) uint32 {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n, found := m.numbers[p]; found {
		return n
	}
	n := uint32(len(m.places))
	m.places = append(m.places, p)
	m.numbers[p] = n
	return n
}

// note keeps a candidate.
func (m *matcher) note(c candidate) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if count, found := m.candidates[c]; found || !m.overflow {
		m.candidates[c] = count + 1
	}
	if len(m.candidates) < maxCandidates || m.overflow {
		return nil
	}
	if err := m.sort(); err != nil {
		return err
	}
	m.overflow = len(m.candidates) > maxCandidates/2
	return nil
}

// sort removes the candidates that are no originals, and remembers those that are. The caller holds the lock.
func (m *matcher) sort() error {
	wanted := map[Fingerprint]bool{}
	for c := range m.candidates {
		if !m.confirmed[c] {
			wanted[c.mark] = false
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	if err := m.originals.read(io.Discard, func(column uint32, prints []byte) {
		for ; column != madeBlock && len(prints) > 0; prints = prints[fingerprintBytes:] {
			p := decode(prints)
			if _, found := wanted[p]; found {
				wanted[p] = true
			}
		}
	}); err != nil {
		return err
	}
	for c := range m.candidates {
		switch {
		case wanted[c.mark]:
			m.confirmed[c] = true
		case !m.confirmed[c]:
			delete(m.candidates, c)
		}
	}
	return nil
}

// noteText keeps that a pattern was found within a value.
func (m *matcher) noteText(pattern int, place uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.textHits[textHit{pattern, place}]++
}

// hits returns what survives, the worst first. allowed says for a place whether a rule allows originals there.
func (m *matcher) hits(allowed func(Place) bool) ([]Hit, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.sort(); err != nil {
		return nil, err
	}
	owners, err := m.owners()
	if err != nil {
		return nil, err
	}
	found := map[[2]string]*Hit{}
	add := func(place Place, column uint32, count int64) {
		of := m.originals.Columns[column].Name()
		key := [2]string{place.String(), of}
		if found[key] == nil {
			found[key] = &Hit{Place: place, Of: of, Allowed: allowed(place)}
		}
		found[key].Values++
		found[key].Count += count
	}
	seen := map[[2]uint32]bool{}
	for c, count := range m.candidates {
		add(m.places[c.place], owners[c.mark], count)
		seen[[2]uint32{c.place, owners[c.mark]}] = true
	}
	for h, count := range m.textHits {
		p := &m.patterns.all[h.pattern]
		// A whole value, too, holds itself: it was counted above.
		own := p.own.Load() && m.places[h.place].Kind == KindFile
		if !p.excused.Load() && !own && !seen[[2]uint32{h.place, p.column}] {
			add(m.places[h.place], p.column, count)
		}
	}
	return sortHits(found), nil
}

func sortHits(found map[[2]string]*Hit) []Hit {
	out := make([]Hit, 0, len(found))
	for _, h := range found {
		out = append(out, *h)
	}
	slices.SortFunc(out, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Values, a.Values), cmp.Compare(a.String(), b.String()), cmp.Compare(a.Of, b.Of))
	})
	return out
}

// owners returns a column that each candidate is an original of.
func (m *matcher) owners() (map[Fingerprint]uint32, error) {
	owners := map[Fingerprint]uint32{}
	for c := range m.candidates {
		owners[c.mark] = endBlock
	}
	if len(owners) == 0 {
		return owners, nil
	}
	err := m.originals.read(io.Discard, func(column uint32, prints []byte) {
		for ; column != madeBlock && len(prints) > 0; prints = prints[fingerprintBytes:] {
			p := decode(prints)
			if have, found := owners[p]; found && column < have {
				owners[p] = column
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look up the columns of what was found: %w", err)
	}
	return owners, nil
}

// prober asks about values of places. One goroutine uses it.
type prober struct {
	m     *matcher
	hash  hasher
	place uint32 // where the values are from
	err   error
	// coincidences counts values that are originals, and results of a transformer as well.
	coincidences int64
	decoded      [maxDecodings][]byte // what was written with escapes
}

func (m *matcher) prober() *prober { return &prober{m: m, hash: hasher{key: m.originals.key}} }

// ask asks about a fingerprint.
func (p *prober) ask(mark Fingerprint) {
	o := p.m.originals
	switch {
	case !o.filter.has(mark) || !o.wanted(mark):
	case o.made.has(mark):
		p.coincidences++
	default:
		if err := p.m.note(candidate{mark, p.place}); err != nil {
			p.err = err
		}
	}
}

// value asks about one whole value, and about what is in it, as it is and without the escapes of other formats.
func (p *prober) value(value []byte) {
	p.plain(value)
	for len(value) > decodedPart { // a long one in parts, to keep no copy of all of it
		p.decode(value[:decodedPart])
		value = value[decodedPart-overlap:]
	}
	p.decode(value)
}

// decode asks about a value without its escapes, if it has any.
func (p *prober) decode(value []byte) {
	for i := range p.decoded {
		var changed bool
		if p.decoded[i], changed = decodeEscapes(p.decoded[i][:0], value); !changed {
			return
		}
		value = p.decoded[i]
		p.plain(value)
	}
}

// plain asks about one whole value as it is written, and about what is in it.
func (p *prober) plain(value []byte) {
	value = trim(value)
	if len(value) < minBytes {
		return
	}
	// A number may be written in another way than the original; what begins with a letter is none.
	if kindOf[value[0]]&(isLower|isUpper) == 0 || p.m.originals.begins.may(value) {
		if f, provable := classify(value); provable && (f == formDigits || p.m.originals.begins.may(value)) {
			p.ask(p.hash.of(value, f))
		}
	}
	if len(value) > minWord {
		p.words(value)
	}
}

// structured asks about a value that has parts, and about each part.
func (p *prober) structured(value []byte) {
	p.value(value)
	leaves(value, p.value)
}

// search looks for the sampled values anywhere in text. made says that a transformer made what is there.
func (p *prober) search(text []byte, place func(at int) (number uint32, made bool)) {
	p.m.patterns.search(text, func(i, at int) {
		number, made := place(at)
		if made {
			p.m.patterns.all[i].excused.Store(true)
			return
		}
		p.m.noteText(i, number)
	})
}
