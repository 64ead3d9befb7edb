package proof

import (
	"cmp"
	"slices"
)

const (
	// sampleColumn is how many values of one column are sampled at most, sampleTotal of all columns.
	sampleColumn = 24
	sampleTotal  = 4096
	// samplePrefix is how much of a value is searched for.
	samplePrefix = 64
)

// sampled is a clear value that the files will be searched for. It is only ever in memory.
type sampled struct {
	column   uint32
	rank     int    // within its column
	priority uint64 // random: bits of the fingerprint
	value    []byte
}

// sample keeps the values of one column whose fingerprints are the smallest: a random choice of the different values.
type sample struct {
	values []sampled
}

// wants reports whether a value with that priority would be kept.
func (s *sample) wants(priority uint64) bool {
	return len(s.values) < sampleColumn || priority < s.values[len(s.values)-1].priority
}

// add adds a value that the sample wants.
func (s *sample) add(column uint32, priority uint64, value []byte) {
	at, found := slices.BinarySearchFunc(s.values, priority, func(have sampled, p uint64) int { return cmp.Compare(have.priority, p) })
	if found || !searchable(value) {
		return
	}
	one := sampled{column: column, priority: priority, value: slices.Clone(value[:min(len(value), samplePrefix)])}
	s.values = slices.Insert(s.values, at, one)
	s.values = s.values[:min(len(s.values), sampleColumn)]
}

// mergeSamples keeps the best of all, in turn from each column.
func mergeSamples(all []sampled, of *sample) []sampled {
	for i := range of.values {
		one := of.values[i]
		one.rank = i
		all = append(all, one)
	}
	if len(all) < 2*sampleTotal {
		return all
	}
	return cutSamples(all)
}

func cutSamples(all []sampled) []sampled {
	slices.SortFunc(all, func(a, b sampled) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.priority, b.priority))
	})
	return all[:min(len(all), sampleTotal)]
}

// Lengths below which a value turns up in random bytes and digits by chance.
const (
	minSearchMixed  = 8
	minSearchAlnum  = 10
	minSearchDigits = 11
)

// searchable reports whether finding these bytes anywhere in a file cannot be chance.
func searchable(value []byte) bool {
	f, provable := classify(value)
	if !provable {
		return false
	}
	if len(value) > samplePrefix {
		value = value[:samplePrefix]
	}
	digits, alnum := 0, 0
	for _, c := range value {
		switch kindOf[c] {
		case isDigit:
			digits++
			alnum++
		case isLower, isUpper:
			alnum++
		}
		if c < ' ' {
			return false // files may hold it escaped
		}
	}
	switch {
	case f == formDigits && digits == len(value):
		return digits >= minSearchDigits
	case alnum == len(value):
		return len(value) >= minSearchAlnum
	default:
		return len(value) >= minSearchMixed
	}
}
