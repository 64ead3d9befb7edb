package sanitize

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

func resampleKind() kind {
	return kind{
		name: "resample", summary: "values drawn from those of the column, as often as they occur there, without regard to the row",
		params: []param{
			{name: "least", kind: paramInt, least: 1, most: 1000, fallback: "5", summary: "how often a value must occur in the sample to be drawn: rare values point at people"},
		},
		keyed: true, random: true,
		bind: bindResample,
	}
}

const distributionHint = "use another transformer, or keep, where values cannot be sampled"

// distributionOf returns the values of a column that occur often enough.
func distributionOf(t *target, least int) (values []CountedValue, err error) {
	if t.column.Distribution == nil {
		return nil, &refusal{"the values of the column were not sampled", distributionHint}
	}
	for _, v := range t.column.Distribution.Values() {
		if v.Count >= least && v.Value != "" && len(v.Value) <= maxSampledValue {
			values = append(values, v)
		}
	}
	return values, nil
}

func bindResample(a *arguments, t *target, key []byte) (binding, error) {
	least := a.number("least")
	values, err := distributionOf(t, least)
	if err != nil {
		return binding{}, err
	}
	if len(values) < 2 {
		return binding{}, &refusal{
			fmt.Sprintf("of the sampled values, %d occur %d times or more; at least two are needed to draw from", len(values), least),
			"lower least, or use another transformer: a column in which hardly a value comes twice has no distribution to keep",
		}
	}
	d := newDrawer(values)
	return binding{
		make: func() maskFunc {
			random := keyedRandom(key, t)
			return func(dst, _ []byte) []byte { return append(dst, d.draw(random)...) }
		},
		escape:  true,
		mapping: fmt.Sprintf("resample %d %s", least, t.path),
	}, nil
}

// drawer draws values in proportion to their counts. It is immutable.
type drawer struct {
	values []CountedValue
	upTo   []int // the rows of the sample up to the last one of each value
}

func newDrawer(values []CountedValue) *drawer {
	d := &drawer{values: values, upTo: make([]int, 0, len(values))}
	sum := 0
	for _, v := range values {
		sum += v.Count
		d.upTo = append(d.upTo, sum)
	}
	return d
}

func (d *drawer) draw(random *rand.Rand) string {
	at, _ := slices.BinarySearch(d.upTo, random.IntN(d.upTo[len(d.upTo)-1])+1)
	return d.values[at].Value
}

// keyedRandom draws the same numbers for the same column in every build.
func keyedRandom(key []byte, t *target) *rand.Rand {
	return rand.New(rand.NewChaCha8([32]byte(deriveKey(key, "draw", t.path)))) //nolint:gosec // ChaCha8 under a secret key
}

func shuffleKind() kind {
	return kind{
		name: "shuffle", summary: "the column's own values in other rows: each goes to one of the next rows",
		params: []param{
			{name: "block", kind: paramInt, least: 10, most: 100000, fallback: "1000", summary: "how many values wait for another row: more mixes better and takes more memory"},
		},
		keyed: true, random: true,
		bind: bindShuffle,
	}
}

// bindShuffle mixes a stream with a buffer: each value takes a place in it and sends off the one that was there. The buffer
// begins with a sample of the column, so the first rows get sampled values and the last values that came get no row; what
// is too long to wait is not taken in.
func bindShuffle(a *arguments, t *target, key []byte) (binding, error) {
	block := a.number("block")
	values, err := distributionOf(t, 1)
	if err != nil {
		return binding{}, err
	}
	if len(values) < 2 {
		return binding{}, &refusal{fmt.Sprintf("%d values were sampled; at least two are needed to shuffle", len(values)), distributionHint}
	}
	d := newDrawer(values)
	return binding{
		make: func() maskFunc {
			m := &shuffleMask{random: keyedRandom(key, t), waiting: make([][]byte, block)}
			for i := range m.waiting {
				m.waiting[i] = []byte(d.draw(m.random))
			}
			return m.mask
		},
		escape:  true,
		mapping: fmt.Sprintf("shuffle %d %s", block, t.path),
	}, nil
}

type shuffleMask struct {
	random  *rand.Rand
	waiting [][]byte
}

func (m *shuffleMask) mask(dst, value []byte) []byte {
	at := m.random.IntN(len(m.waiting))
	dst = append(dst, m.waiting[at]...)
	if len(value) <= maxSampledValue {
		m.waiting[at] = append(m.waiting[at][:0], value...)
	}
	return dst
}
