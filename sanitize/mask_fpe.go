package sanitize

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

func fpeKind() kind {
	return kind{
		name:    "fpe",
		summary: "format-preserving encryption (FF1): digits become digits, letters letters of the same case, the rest stays",
		params: []param{
			{name: "alphabet", kind: paramChoice, values: []string{"alphanumeric", "digits"}, fallback: "alphanumeric", summary: "digits leaves the letters of values that have digits, too"},
			{name: "small", kind: paramChoice, values: []string{"refuse", "widen"}, fallback: "refuse", summary: "a column that can hold less than a million values is refused, or walked within 20 bits"},
		},
		families: []family{familyText},
		keyed:    true, unique: true,
		bind: bindFPE,
	}
}

func bindFPE(a *arguments, t *target, key []byte) (binding, error) {
	digits := a.text("alphabet") == "digits"
	if err := checkSmall(a, t, digits); err != nil {
		return binding{}, err
	}
	return binding{
		make: func() maskFunc {
			m := &formMask{fpe: newFPE(key), digits: digits, fold: foldOf(t)}
			return m.mask
		},
		escape:  true, // what stays may need it
		unique:  true,
		mapping: "fpe " + a.text("alphabet") + " " + t.equality(),
	}, nil
}

// checkSmall refuses a column in which every value is shorter than FF1 allows.
func checkSmall(a *arguments, t *target, digits bool) error {
	if t.limit == 0 || a.text("small") == "widen" {
		return nil
	}
	radix, most := 62, 1
	if digits {
		radix = 10
	}
	for range t.limit {
		if most *= radix; most >= ff1LeastDomain {
			return nil
		}
	}
	return &refusal{
		fmt.Sprintf("the column takes %d characters, at most %d different values, and FF1 needs %d (NIST SP 800-38G): in a smaller domain the mapping can be found by trying",
			t.limit, most, ff1LeastDomain),
		"write small: widen to accept that, or use token, static or null",
	}
}

// foldOf returns a prf without key use that folds values which the type considers equal, or nil where all bytes count.
func foldOf(t *target) *prf {
	if !t.fold {
		return nil
	}
	return &prf{fold: true}
}

// formMask replaces characters by others of the same class.
type formMask struct {
	fpe     *fpe
	digits  bool // letters stay where there are digits
	letters bool // of the current value
	fold    *prf
	text    symbols
}

func (m *formMask) mask(dst, value []byte) []byte {
	if m.fold != nil {
		value = m.fold.canonical(value)
	}
	start := len(dst)
	dst = append(dst, value...)
	m.apply(dst[start:])
	return dst
}

// apply replaces the characters of s in place. Every character of a class stays in it, so this is one to one. Where only
// digits are to be replaced, a value without them has its letters replaced: it must not stay.
func (m *formMask) apply(s []byte) {
	m.letters = !m.digits || !bytes.ContainsAny(s, "0123456789")
	m.text.reset()
	for i := range s {
		if base, radix := m.base(s, i); radix > 0 {
			m.text.add(s[i]-base, radix)
		}
	}
	if len(m.text.value) == 0 {
		return
	}
	m.fpe.apply(&m.text, nil)
	next := 0
	for i := range s {
		base, radix := m.base(s, i)
		if radix == 0 {
			continue
		}
		s[i] = base + m.text.value[next]
		next++
	}
}

// base returns the first character and the size of the class of the byte at i, 0 when it stays. Of a character outside
// ASCII the last byte changes: it becomes one of the 64 characters in its row of Unicode.
func (m *formMask) base(s []byte, i int) (first, radix uint8) {
	switch c := s[i]; {
	case '0' <= c && c <= '9':
		return '0', 10
	case c < utf8.RuneSelf && !m.letters:
		return 0, 0
	case 'a' <= c && c <= 'z':
		return 'a', 26
	case 'A' <= c && c <= 'Z':
		return 'A', 26
	case 0x80 <= c && c <= 0xbf && (i+1 == len(s) || s[i+1] < 0x80 || s[i+1] > 0xbf):
		return 0x80, 64
	default:
		return 0, 0
	}
}
