package sanitize

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize/recognise"
)

// evidence is what values of a column, or of a place in its documents, look like.
type evidence struct {
	values  int            // that are neither NULL nor empty
	seen    map[string]int // how often each of the first few different values occurs
	more    bool           // there are more different ones
	whole   map[recognise.Kind]int
	inside  map[recognise.Kind]int
	schemes map[recognise.Kind]int
	spaced  int // values with three words or more

	strings, numbers, booleans int                  // in JSON
	paths                      map[string]*evidence // in JSON, by path
	keys                       map[string]string    // of the paths: their last name
}

const (
	// maxSeen is how many different values are told apart: more are no code.
	maxSeen = 50
	// maxPaths is how many places of documents are looked at.
	maxPaths = 200
	// maxEvidenceBytes is how much of a value is looked at.
	maxEvidenceBytes = 16 << 10
)

func newEvidence() *evidence {
	return &evidence{
		seen: map[string]int{}, whole: map[recognise.Kind]int{}, inside: map[recognise.Kind]int{}, schemes: map[recognise.Kind]int{},
		paths: map[string]*evidence{}, keys: map[string]string{},
	}
}

// add looks at one value.
func (e *evidence) add(s *recognise.Scanner, value []byte) {
	if len(bytes.TrimSpace(value)) == 0 {
		return
	}
	value = value[:min(len(value), maxEvidenceBytes)]
	e.values++
	if _, known := e.seen[string(value)]; known || len(e.seen) < maxSeen {
		e.seen[string(value)]++
	} else {
		e.more = true
	}
	if k := s.Whole(value); k != "" {
		e.whole[k]++
	}
	for _, m := range s.Find(nil, value) {
		e.inside[m.Kind]++
	}
	s.Schemes(value, func(k recognise.Kind) { e.schemes[k]++ })
	if len(bytes.Fields(value)) >= 3 {
		e.spaced++
	}
}

// document looks at every value in a JSON document.
func (e *evidence) document(s *recognise.Scanner, value []byte) {
	decoder := json.NewDecoder(bytes.NewReader(value))
	decoder.UseNumber()
	var root any
	if decoder.Decode(&root) == nil {
		e.values++
		e.walk(s, "$", "", root, 0)
	}
}

func (e *evidence) walk(s *recognise.Scanner, path, key string, value any, depth int) {
	const deepest = 50
	if depth > deepest {
		return
	}
	switch v := value.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			e.walk(s, path+jsonStep([]byte(k)), k, v[k], depth+1)
		}
		return
	case []any:
		for _, one := range v {
			e.walk(s, path+"[*]", key, one, depth+1)
		}
		return
	case nil:
		return
	}
	at := e.paths[path]
	if at == nil {
		if len(e.paths) >= maxPaths {
			return
		}
		at = newEvidence()
		e.paths[path] = at
		if strings.HasSuffix(path, ".*") {
			key = "" // the key may be data
		}
		e.keys[path] = key
	}
	switch v := value.(type) {
	case string:
		at.strings++
		at.add(s, []byte(v))
	case json.Number:
		at.numbers++
		at.values++
	case bool:
		at.booleans++
		at.values++
	}
}

// kind returns what nearly all values are, with the share of those that are.
func (e *evidence) kind() (k recognise.Kind, share float64) {
	if e == nil || e.values < leastValues {
		return "", 0
	}
	for _, candidate := range slices.Sorted(maps.Keys(e.whole)) {
		if n := float64(e.whole[candidate]) / float64(e.values); n > share {
			k, share = candidate, n
		}
	}
	return k, share
}

// leastValues is how many values are needed to believe them.
const leastValues = 3

// scheme returns the national identifier that nearly all values are valid for, "" for none.
func (e *evidence) scheme() recognise.Kind {
	if e == nil || e.values < leastValues {
		return ""
	}
	best, most := recognise.Kind(""), 0
	for _, k := range slices.Sorted(maps.Keys(e.schemes)) {
		if e.schemes[k] > most {
			best, most = k, e.schemes[k]
		}
	}
	if float64(most) < 0.9*float64(e.values) {
		return ""
	}
	return best
}

// mixed says what is found inside of values, "" for nothing.
func (e *evidence) mixed() string {
	if e == nil {
		return ""
	}
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(e.inside)) {
		parts = append(parts, k.Noun())
	}
	return strings.Join(parts, ", ")
}

// code reports whether the values are few and come again and again, without anything that is recognised in them.
func (e *evidence) code() bool {
	return e != nil && e.values >= 50 && !e.more && len(e.seen) <= 20 && len(e.inside) == 0 && e.spaced == 0
}

// described says how many values there were, for people.
func (e *evidence) described() string {
	switch {
	case e == nil || e.values == 0:
		return "no values were seen"
	case e.more:
		return fmt.Sprintf("%d values were seen", e.values)
	default:
		return fmt.Sprintf("%d values were seen, %d different", e.values, len(e.seen))
	}
}
