package templates

import (
	"cmp"
	"slices"
)

// Severity says how much a finding matters.
type Severity string

// The severities, from the least to the worst.
const (
	SeverityInfo    Severity = "info"    // the template is as good as the source
	SeverityWarning Severity = "warning" // something differs from the source and may matter to somebody
	SeverityError   Severity = "error"   // the source is damaged, or something of it that applications rely on is missing
)

// rank orders severities; what is not known is the worst.
func (s Severity) rank() int {
	switch s {
	case SeverityInfo:
		return 1
	case SeverityWarning:
		return 2
	default:
		return 3
	}
}

// AtLeast reports whether s is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool { return s.rank() >= other.rank() }

// Finding is one thing about a source, or about what became of it in the template, that people should know. It never
// holds a value that the template does not hold.
type Finding struct {
	Code     string   `json:"code"` // stable: "foreign_key_violated"
	Severity Severity `json:"severity"`
	Object   string   `json:"object"` // kind and name: "constraint public.orders.orders_customer_id_fkey"
	Cause    string   `json:"cause"`  // in plain words
	Done     string   `json:"done"`   // what the build did about it
	Advice   string   `json:"advice,omitempty"`
	Count    int64    `json:"count,omitempty"`   // of rows or objects
	Samples  []string `json:"samples,omitempty"` // keys of rows as they are in the template, or names
}

// find notes a finding, once. It may be called concurrently.
func (t *target) find(f Finding) {
	t.mu.Lock()
	defer t.mu.Unlock()
	same := func(have Finding) bool {
		return have.Code == f.Code && have.Object == f.Object && have.Cause == f.Cause
	}
	if !slices.ContainsFunc(t.findings, same) {
		t.findings = append(t.findings, f)
	}
}

// sortFindings puts the worst first, and keeps the order in which they were made otherwise.
func sortFindings(all []Finding) {
	slices.SortStableFunc(all, func(a, b Finding) int { return cmp.Compare(b.Severity.rank(), a.Severity.rank()) })
}
