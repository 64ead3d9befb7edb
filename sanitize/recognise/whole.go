package recognise

import "bytes"

// Whole returns the kind of item that a value is as a whole, "" if it is none.
func (s *Scanner) Whole(value []byte) Kind {
	value = bytes.TrimSpace(value)
	var memory [4]Match
	found := s.Find(memory[:0], value)
	if len(found) != 1 {
		return ""
	}
	// A bracket or a sign may stand around a number.
	if m := found[0]; m.Start <= 1 && m.End >= len(value)-1 {
		return m.Kind
	}
	return ""
}

// Schemes calls visit with each national identifier that a value may be by its characters and check digits alone. One
// value says little: every tenth number has the right check digit. Many do.
func (s *Scanner) Schemes(value []byte, visit func(Kind)) {
	s.text = bytes.TrimSpace(value)
	defer func() { s.text = nil }()
	compact := s.squeeze(0, len(s.text))
	if len(compact) < 8 || len(compact) > maxGroup {
		return
	}
	for kind, form := range s.forms {
		if form.Valid(compact) {
			visit(kind)
		}
	}
}
