package sanitize

import (
	"math/rand/v2"
	"slices"
)

// Distribution is what the values of a column look like, for resample and shuffle. Whoever reads the source provides it
// before Plan, in Column.Distribution, for the columns that Rules.Sampled names. Values are in PostgreSQL's text form.
type Distribution interface {
	// Values returns values of a sample of the column's rows that are not NULL, with how many rows of the sample have each.
	// Rows of a sample weigh the same. It is called once, by Plan.
	Values() []CountedValue
}

// CountedValue is a value and how often it occurs.
type CountedValue struct {
	Value string
	Count int
}

// Sampler takes a random sample of fixed size from a stream of values (Vitter, "Random Sampling with a Reservoir", ACM TOMS
// 1985, algorithm R). It is a Distribution. One goroutine uses it.
type Sampler struct {
	size   int
	seen   int64
	random *rand.Rand
	values []string
}

// maxSampledValue bounds what is remembered of a column, in bytes per value: longer values are left out.
const maxSampledValue = 1 << 10

// NewSampler returns a sampler of up to size values that draws from the given source of random numbers.
func NewSampler(size int, source rand.Source) *Sampler {
	return &Sampler{size: size, random: rand.New(source)} //nolint:gosec // the caller chooses; a sample is no secret
}

// Add takes the next value that is not NULL into account.
func (s *Sampler) Add(value string) {
	if len(value) > maxSampledValue {
		return
	}
	s.seen++
	if len(s.values) < s.size {
		s.values = append(s.values, value)
		return
	}
	if at := s.random.Int64N(s.seen); at < int64(s.size) {
		s.values[at] = value
	}
}

// Values implements Distribution.
func (s *Sampler) Values() []CountedValue {
	counts := map[string]int{}
	for _, v := range s.values {
		counts[v]++
	}
	out := make([]CountedValue, 0, len(counts))
	for v, n := range counts {
		out = append(out, CountedValue{Value: v, Count: n})
	}
	slices.SortFunc(out, func(a, b CountedValue) int {
		switch {
		case a.Value < b.Value:
			return -1
		case a.Value > b.Value:
			return 1
		default:
			return 0
		}
	})
	return out
}

// Sampled returns the columns whose distribution the rules need, as places in tables: of each, the index of the table and
// of its column.
func (r *Rules) Sampled(tables []Table) [][2]int {
	b := newBinder(r, tables, nil)
	var out [][2]int
	for i := range tables {
		t := &tables[i]
		rule := b.rule(t)
		if rule != nil && rule.noRows {
			continue
		}
		for j := range t.Columns {
			if t.Columns[j].Generated {
				continue
			}
			s, _ := b.decide(t, &t.Columns[j], rule)
			if s != nil && (s.mask == "resample" || s.mask == "shuffle") {
				out = append(out, [2]int{i, j})
			}
		}
	}
	return out
}
