package proof

import "strconv"

// Texts looks for originals in texts that are not in a template yet. One goroutine uses it.
type Texts struct {
	p     *prober
	count int
}

// NewTexts returns a Texts for these originals.
func NewTexts(o *Originals) *Texts { return &Texts{p: newMatcher(o).prober()} }

// Add adds a text and returns its number, from 0.
func (t *Texts) Add(text string) int {
	number := t.count
	t.count++
	t.p.place = t.p.m.place(Place{"text", strconv.Itoa(number)})
	t.p.passage([]byte(text), false)
	return number
}

// Holding returns the masked columns that values in the texts are of, by the texts' numbers.
func (t *Texts) Holding() (map[int][]string, error) {
	if t.p.err != nil {
		return nil, t.p.err
	}
	hits, err := t.p.m.hits(func(Place) bool { return false })
	if err != nil {
		return nil, err
	}
	out := map[int][]string{}
	for _, h := range hits {
		number, err := strconv.Atoi(h.Name)
		if err != nil {
			return nil, err
		}
		out[number] = append(out[number], h.Of)
	}
	return out, nil
}
