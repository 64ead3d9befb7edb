package sanitize

import (
	"strings"

	"github.com/mayflydb/mayfly/sanitize/checkdigit"
)

// Numbers with a form and check digits: payment cards, bank accounts, national identifiers. A valid number becomes another
// valid one, what is not valid becomes something of the same form that is not valid either: so the mapping stays one to one.

// checkedMask replaces numbers of a form. Separators, and the case of letters, stay where they are.
type checkedMask struct {
	form    checkdigit.Form
	generic formMask
	text    symbols
	compact []byte
	kept    []byte // the tweak
}

func newCheckedMask(form checkdigit.Form, key []byte, t *target) *checkedMask {
	f := newFPE(key)
	return &checkedMask{form: form, generic: formMask{fpe: f, fold: foldOf(t)}}
}

func (m *checkedMask) mask(dst, value []byte) []byte {
	if m.generic.fold != nil {
		value = m.generic.fold.canonical(value)
	}
	start := len(dst)
	dst = append(dst, value...)
	s := dst[start:]
	if m.read(s) && m.form.Valid(m.compact) {
		m.replace()
		m.write(s)
		return dst
	}
	for {
		m.generic.apply(s)
		if string(s) == string(value) || !m.read(s) || !m.form.Valid(m.compact) {
			return dst
		}
	}
}

// read gathers letters and digits. It returns false for what cannot be a number of any form.
func (m *checkedMask) read(s []byte) bool {
	m.compact = m.compact[:0]
	if len(s) > checkdigit.MaxLength {
		return false
	}
	for _, c := range s {
		switch {
		case '0' <= c && c <= '9' || 'A' <= c && c <= 'Z':
			m.compact = append(m.compact, c)
		case 'a' <= c && c <= 'z':
			m.compact = append(m.compact, c-'a'+'A')
		case c != ' ' && c != '-' && c != '.' && c != '/' && c != '+':
			return false
		}
	}
	return true
}

// write puts compact back between the separators.
func (m *checkedMask) write(s []byte) {
	next := 0
	for i, c := range s {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			continue
		}
		n := m.compact[next]
		next++
		if 'a' <= c && c <= 'z' && n >= 'A' {
			n |= 0x20
		}
		s[i] = n
	}
}

// replace walks to the next number that is valid. It ends, because the number itself is.
func (m *checkedMask) replace() {
	s := m.compact
	m.kept = m.kept[:0]
	m.text.reset()
	for i, c := range s {
		switch m.form.Role(s, i) {
		case checkdigit.Check:
		case checkdigit.Kept:
			m.kept = append(m.kept, c)
		case checkdigit.Payload:
			if c <= '9' {
				m.text.add(c-'0', 10)
			} else {
				m.text.add(c-'A', 26)
			}
		}
	}
	if len(m.text.value) == 0 {
		return
	}
	for {
		m.generic.fpe.apply(&m.text, m.kept)
		next := 0
		for i := range s {
			if m.form.Role(s, i) != checkdigit.Payload {
				continue
			}
			base := byte('0')
			if m.text.radix[next] == 26 {
				base = 'A'
			}
			s[i] = base + m.text.value[next]
			next++
		}
		m.form.Complete(s)
		if m.form.Valid(s) {
			return
		}
	}
}

// checkedKind makes a transformer for numbers of a form.
func checkedKind(name, summary string, params []param, form func(a *arguments) checkdigit.Form) kind {
	return kind{
		name: name, summary: summary, params: params,
		families: []family{familyText},
		keyed:    true, unique: true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			mapping := []string{name}
			for _, p := range params {
				mapping = append(mapping, a.text(p.name))
			}
			return binding{
				make:    func() maskFunc { return newCheckedMask(form(a), key, t).mask },
				escape:  true, // what has another form keeps its punctuation
				unique:  true,
				mapping: strings.Join(mapping, " ") + " " + t.equality(),
			}, nil
		},
	}
}

func cardKind() kind {
	return checkedKind("card", "a payment card number with a valid check digit (Luhn); spaces and dashes stay",
		[]param{{name: "bin", kind: paramChoice, values: []string{"keep", "mask"}, fallback: "keep", summary: "keep leaves the first six digits, mask only the first"}},
		func(a *arguments) checkdigit.Form {
			if a.text("bin") == "keep" {
				return checkdigit.Card{KeptDigits: 6}
			}
			return checkdigit.Card{KeptDigits: 1}
		})
}

func ibanKind() kind {
	return checkedKind("iban", "an IBAN of the same country with valid check digits; spaces stay",
		[]param{{name: "bank", kind: paramChoice, values: []string{"mask", "keep"}, fallback: "mask", summary: "keep leaves the part that names the bank"}},
		func(a *arguments) checkdigit.Form { return checkdigit.IBAN{KeepBank: a.text("bank") == "keep"} })
}
