package sanitize

// Numbers with a form and check digits: payment cards, bank accounts, national identifiers. A valid number becomes another
// valid one, what is not valid becomes something of the same form that is not valid either: so the mapping stays one to one.

// checkedForm is one kind of number, over its letters and digits in upper case.
type checkedForm interface {
	// valid reports whether s is a number of this kind, check digits included.
	valid(s []byte) bool
	// role says what happens to the character at i of a valid number.
	role(s []byte, i int) role
	// complete computes the check digits from the rest. It may leave s invalid.
	complete(s []byte)
}

// role is what a character of a number is.
type role int

const (
	rolePayload role = iota // replaced
	roleKept                // stays: a country, a century
	roleCheck               // computed from the others
)

// checkedMask replaces numbers of a form. Separators, and the case of letters, stay where they are.
type checkedMask struct {
	form    checkedForm
	generic formMask
	text    symbols
	compact []byte
	kept    []byte // the tweak
}

func newCheckedMask(form checkedForm, key []byte, t *target) *checkedMask {
	f := newFPE(key)
	return &checkedMask{form: form, generic: formMask{fpe: f, fold: foldOf(t)}}
}

// maxCheckedLength is more than any of the forms has, separators included.
const maxCheckedLength = 64

func (m *checkedMask) mask(dst, value []byte) []byte {
	if m.generic.fold != nil {
		value = m.generic.fold.canonical(value)
	}
	start := len(dst)
	dst = append(dst, value...)
	s := dst[start:]
	if m.read(s) && m.form.valid(m.compact) {
		m.replace()
		m.write(s)
		return dst
	}
	for {
		m.generic.apply(s)
		if string(s) == string(value) || !m.read(s) || !m.form.valid(m.compact) {
			return dst
		}
	}
}

// read gathers letters and digits. It returns false for what cannot be a number of any form.
func (m *checkedMask) read(s []byte) bool {
	m.compact = m.compact[:0]
	if len(s) > maxCheckedLength {
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
		switch m.form.role(s, i) {
		case roleCheck:
		case roleKept:
			m.kept = append(m.kept, c)
		case rolePayload:
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
			if m.form.role(s, i) != rolePayload {
				continue
			}
			base := byte('0')
			if m.text.radix[next] == 26 {
				base = 'A'
			}
			s[i] = base + m.text.value[next]
			next++
		}
		m.form.complete(s)
		if m.form.valid(s) {
			return
		}
	}
}

func allDigits(s []byte) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

func digitAt(s []byte, i int) int { return int(s[i] - '0') }

// numberIn reads digits as a number.
func numberIn(s []byte) int {
	n := 0
	for _, c := range s {
		n = n*10 + int(c-'0')
	}
	return n
}

// weighted returns the sum of the products of digits and weights.
func weighted(s []byte, weights ...int) int {
	sum := 0
	for i, w := range weights {
		sum += digitAt(s, i) * w
	}
	return sum
}

// luhn returns the check digit for s, which does not have it yet (ISO/IEC 7812-1, annex B).
func luhn(s []byte) byte {
	sum := 0
	for i := range s {
		d := digitAt(s, len(s)-1-i)
		if i%2 == 0 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return byte('0' + (10-sum%10)%10)
}

// checkedKind makes a transformer for numbers of a form.
func checkedKind(name, summary string, params []param, form func(a *arguments) checkedForm) kind {
	return kind{
		name: name, summary: summary, params: params,
		families: []family{familyText},
		keyed:    true, unique: true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			mapping := name
			for _, p := range params {
				mapping += " " + a.text(p.name)
			}
			return binding{
				make:    func() maskFunc { return newCheckedMask(form(a), key, t).mask },
				escape:  true, // what has another form keeps its punctuation
				unique:  true,
				mapping: mapping + " " + t.equality(),
			}, nil
		},
	}
}

func cardKind() kind {
	return checkedKind("card", "a payment card number with a valid check digit (Luhn); spaces and dashes stay",
		[]param{{name: "bin", kind: paramChoice, values: []string{"keep", "mask"}, fallback: "keep", summary: "keep leaves the first six digits, mask only the first"}},
		func(a *arguments) checkedForm {
			if a.text("bin") == "keep" {
				return cardForm{kept: 6}
			}
			return cardForm{kept: 1}
		})
}

// cardForm is a primary account number of ISO/IEC 7812.
type cardForm struct{ kept int }

func (cardForm) valid(s []byte) bool {
	return len(s) >= 12 && len(s) <= 19 && allDigits(s) && s[0] != '0' && luhn(s[:len(s)-1]) == s[len(s)-1]
}

func (f cardForm) role(s []byte, i int) role {
	switch {
	case i < f.kept:
		return roleKept
	case i == len(s)-1:
		return roleCheck
	default:
		return rolePayload
	}
}

func (cardForm) complete(s []byte) { s[len(s)-1] = luhn(s[:len(s)-1]) }

func ibanKind() kind {
	return checkedKind("iban", "an IBAN of the same country with valid check digits; spaces stay",
		[]param{{name: "bank", kind: paramChoice, values: []string{"mask", "keep"}, fallback: "mask", summary: "keep leaves the part that names the bank"}},
		func(a *arguments) checkedForm { return ibanForm{keepBank: a.text("bank") == "keep"} })
}

// ibanForm is an International Bank Account Number (ISO 13616).
type ibanForm struct{ keepBank bool }

func (ibanForm) valid(s []byte) bool {
	if len(s) < 15 || len(s) != ibanLength(s) {
		return false
	}
	high, low := ibanCheck(s)
	return s[2] == high && s[3] == low
}

func (f ibanForm) role(s []byte, i int) role {
	switch {
	case i < 2:
		return roleKept
	case i < 4:
		return roleCheck
	case f.keepBank && i < 4+bankLength(s):
		return roleKept
	default:
		return rolePayload
	}
}

func (ibanForm) complete(s []byte) { s[2], s[3] = ibanCheck(s) }

// ibanCheck computes the check digits: 98 minus the rest modulo 97 of account, country and "00" as a number in which A is
// 10 and Z is 35 (ISO 7064, MOD 97-10).
func ibanCheck(s []byte) (high, low byte) {
	rest := 0
	add := func(c byte) {
		if c <= '9' {
			rest = (rest*10 + int(c-'0')) % 97
		} else {
			rest = (rest*100 + int(c-'A') + 10) % 97
		}
	}
	for _, c := range s[4:] {
		add(c)
	}
	add(s[0])
	add(s[1])
	check := 98 - rest*100%97
	return byte('0' + check/10), byte('0' + check%10)
}

// ibanLength returns how long an IBAN of the country at the start of s is, 0 for a country without (SWIFT IBAN registry).
func ibanLength(s []byte) int {
	const lengths = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 " +
		"FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 " +
		"LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 " +
		"SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30 "
	for i := 0; i < len(lengths); i += 5 {
		if lengths[i] == s[0] && lengths[i+1] == s[1] {
			return int(lengths[i+2]-'0')*10 + int(lengths[i+3]-'0')
		}
	}
	return 0
}

// bankLength returns how many characters after the check digits name the bank, and the branch where the country has one.
func bankLength(s []byte) int {
	switch string(s[:2]) {
	case "BE", "DK", "FI", "NO", "SK", "CZ", "NL", "SE":
		if s[0] == 'B' || s[0] == 'F' || s[0] == 'S' && s[1] == 'E' {
			return 3
		}
		return 4
	case "AT", "CH", "LI":
		return 5
	case "DE", "PL", "PT", "ES":
		return 8
	case "FR", "MC", "GB", "IE":
		return 10
	case "IT", "SM":
		return 11
	default:
		return 4
	}
}
