package sanitize

import "bytes"

// rangeMask masks the bounds of ranges in the form of range_out (PostgreSQL 18 docs, 8.17.5). Bounds that are missing
// stay missing, "empty" stays empty.
type rangeMask struct {
	bound        *leaf
	text         []byte
	lower, upper []byte
}

const emptyRange = "empty"

func (m *rangeMask) single(dst, value []byte) []byte {
	start := len(dst)
	if string(value) == emptyRange {
		return append(dst, value...)
	}
	dst, next, ok := m.one(dst, value, 0)
	if !ok || next != len(value) {
		return append(dst[:start], emptyRange...)
	}
	return dst
}

// multirange masks "{[1,3),[5,7)}".
func (m *rangeMask) multirange(dst, value []byte) []byte {
	start := len(dst)
	if value[0] != '{' || string(value) == emptyArray {
		return append(dst, emptyArray...)
	}
	for i := 0; ; {
		dst = append(dst, value[i]) // { or ,
		var ok bool
		if dst, i, ok = m.one(dst, value, i+1); !ok || i >= len(value) {
			return append(dst[:start], emptyArray...)
		}
		switch {
		case value[i] == '}' && i == len(value)-1:
			return append(dst, '}')
		case value[i] != ',':
			return append(dst[:start], emptyArray...)
		}
	}
}

// one masks the range that starts at i.
func (m *rangeMask) one(dst, value []byte, i int) (out []byte, next int, ok bool) {
	if i >= len(value) || value[i] != '[' && value[i] != '(' {
		return dst, i, false
	}
	open := value[i]
	var noLower, noUpper bool
	if m.text, i, noLower, ok = appendUnquoted(m.text[:0], value, i+1, ","); !ok {
		return dst, i, false
	}
	lowest := bytes.HasSuffix(m.text, []byte(" BC"))
	lower, noLower := m.bound.of(m.text, noLower)
	m.lower = append(m.lower[:0], lower...)
	if m.text, i, noUpper, ok = appendUnquoted(m.text[:0], value, i+1, ")]"); !ok {
		return dst, i, false
	}
	upper, noUpper := m.bound.of(m.text, noUpper)
	m.upper = append(m.upper[:0], upper...)
	// Dates at the ends of the calendar are not shifted by the same distance as the rest: let them not end before they start.
	if lowest {
		noLower = true
	}
	if !noLower && !noUpper && shortDate(m.lower) && shortDate(m.upper) && bytes.Compare(m.lower, m.upper) > 0 {
		m.lower = append(m.lower[:0], m.upper...)
	}
	dst = append(dst, open)
	if !noLower {
		dst = appendQuoted(dst, m.lower, "()[],")
	}
	dst = append(dst, ',')
	if !noUpper {
		dst = appendQuoted(dst, m.upper, "()[],")
	}
	return append(dst, value[i]), i + 1, true
}

// shortDate reports whether s starts with a year of four digits after Christ: such dates are ordered as texts.
func shortDate(s []byte) bool {
	return len(s) > 4 && s[4] == '-' && s[0] != '-' && !bytes.HasSuffix(s, []byte(" BC"))
}
