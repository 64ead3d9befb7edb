package proof

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/mayflydb/mayfly/sanitize"
)

// Outcome is what a scan looked at and what it found.
type Outcome struct {
	Looked []Looked     `json:"looked"`
	Files  *FilesLooked `json:"files,omitempty"`
	Hits   []Hit        `json:"hits,omitempty"`
	// Coincidences counts values that are some original and at the same time a result of a transformer that chooses among
	// such values (ClassShared): no evidence of anything.
	Coincidences int64       `json:"coincidences"`
	Allowances   []Allowance `json:"allowances,omitempty"`
	Prints       Prints      `json:"fingerprints"`
}

// Prints describes the fingerprints that were looked for, and the errors that the method makes.
type Prints struct {
	Count  int64  `json:"count"`
	SHA256 string `json:"sha256"` // of the file
	// Share of the different originals that was looked for: 1 unless there are more than fit in memory.
	Share float64 `json:"share"`
	// FalseAlarms is the expected number of values that are taken for an original and are none.
	FalseAlarms float64 `json:"false_alarms"`
	// Missed is the probability that one surviving original is taken for the result of a transformer, by the form of
	// the filter of such results.
	Missed float64 `json:"missed"`
	// DistinctError is the standard error of the numbers of different values.
	DistinctError float64 `json:"distinct_error"`
}

// Allowance is one of the rules with what it covers.
type Allowance struct {
	sanitize.Allowance
	Values int64 `json:"values"`
	Count  int64 `json:"count"`
}

// Outcome ends the scan.
func (s *Scanner) Outcome(allow []sanitize.Allowance) (*Outcome, error) {
	places := map[string]int{}
	out := &Outcome{Looked: s.sortedLooked(), Files: s.files, Coincidences: s.coincidences}
	for _, a := range allow {
		places[a.Place] = len(out.Allowances)
		out.Allowances = append(out.Allowances, Allowance{Allowance: a})
	}
	allowance := func(p Place) (int, bool) {
		i, found := places[p.String()]
		if !found {
			// Statistics are made of their column.
			i, found = places[p.Name]
			found = found && p.Kind == KindStatistics
		}
		return i, found
	}
	var err error
	out.Hits, err = s.m.hits(func(p Place) bool { _, found := allowance(p); return found })
	if err != nil {
		return nil, err
	}
	for _, h := range out.Hits {
		if i, found := allowance(h.Place); found {
			out.Allowances[i].Values += h.Values
			out.Allowances[i].Count += h.Count
		}
	}
	out.Prints = s.prints(out.Looked)
	return out, nil
}

func (s *Scanner) prints(looked []Looked) Prints {
	o := s.m.originals
	var values int64
	for _, l := range looked {
		values += l.Values
	}
	return Prints{
		Count: o.Prints, SHA256: o.SHA256, Share: math.Ldexp(1, -int(o.Skipped)),
		FalseAlarms: float64(o.Prints) * float64(values) * math.Ldexp(1, -8*fingerprintBytes), Missed: o.made.passes(), DistinctError: distinctError,
	}
}

// Distinct returns how many different values a masked column has in the template, by an estimate, and how many values.
func (s *Scanner) Distinct(column string) (distinct, values int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.distinct[column], s.values[column]
}

// Surviving returns the hits that no rule allows.
func (o *Outcome) Surviving() []Hit {
	return slices.DeleteFunc(slices.Clone(o.Hits), func(h Hit) bool { return h.Allowed })
}

// Unused returns the rules that cover nothing.
func (o *Outcome) Unused() []Allowance {
	return slices.DeleteFunc(slices.Clone(o.Allowances), func(a Allowance) bool { return a.Count > 0 })
}

// String says what a hit is, without any value.
func (h Hit) String() string {
	return fmt.Sprintf("%s holds %d values of %s (%d times)", h.Place, h.Values, h.Of, h.Count)
}

// Summary is one line about an outcome.
func (o *Outcome) Summary() string {
	var values int64
	for _, l := range o.Looked {
		values += l.Values
	}
	line := fmt.Sprintf("%d values compared with %d fingerprints", values, o.Prints.Count)
	if o.Files != nil {
		line += fmt.Sprintf(", %d files searched for %d originals", o.Files.Files, o.Files.Patterns)
	}
	if n := len(o.Surviving()); n > 0 {
		line += fmt.Sprintf(", originals survive in %d places", n)
	}
	return strings.TrimSpace(line)
}
