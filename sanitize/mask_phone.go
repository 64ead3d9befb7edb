package sanitize

import (
	"fmt"
	"strings"
)

func phoneKind() kind {
	return kind{
		name: "phone", summary: "a number of the same form: digits are replaced, and +, spaces, dashes, dots, slashes and brackets stay",
		params: []param{
			{name: "country", kind: paramChoice, values: []string{"keep", "mask"}, fallback: "keep", summary: "keep leaves the country code after + or 00 and the zero in front of an area code"},
		},
		families: []family{familyText},
		keyed:    true, unique: true,
		bind: func(a *arguments, t *target, key []byte) (binding, error) {
			keep := a.text("country") == "keep"
			return binding{
				make: func() maskFunc {
					m := &phoneMask{prf: newPRF(key, t), permuter: newPermuter(key), keepCountry: keep, limit: t.limit}
					return m.mask
				},
				unique:  true,
				mapping: fmt.Sprintf("phone %s limit %d %s", a.text("country"), t.binding(longestPhone), t.equality()),
			}, nil
		},
	}
}

// longestPhone is the length of the number that stands for a text which is not a phone number: "+999" and 12 digits.
const longestPhone = 16

type phoneMask struct {
	prf         *prf
	permuter    *permuter
	keepCountry bool
	limit       int
	at          []phoneDigit
}

// phoneDigit is a digit that is replaced: where it is in dst, and the digits that may take its place.
type phoneDigit struct {
	at           int
	least, radix uint8
}

// nationalNumber is how many digits a national number has at least: shorter ones are extensions and service numbers, in
// which no digit has a meaning of its own.
const nationalNumber = 7

func (m *phoneMask) mask(dst, value []byte) []byte {
	if !phoneLike(value) {
		return m.other(dst, value)
	}
	start := len(dst)
	skip := 0
	if m.keepCountry {
		skip = countryPrefix(value)
	}
	dst = append(dst, value...)
	m.at = m.at[:0]
	for i := skip; i < len(value); i++ {
		if '0' <= value[i] && value[i] <= '9' {
			m.at = append(m.at, phoneDigit{at: start + i, radix: 10})
		}
	}
	if m.keepCountry && len(m.at) >= nationalNumber {
		m.national(dst, string(value[:skip]) == "+1" || string(value[:skip]) == "001")
	}
	for at := m.at; len(at) > 0; {
		n := min(len(at), chunkDigits)
		m.permute(dst, at[:n])
		at = at[n:]
	}
	return dst
}

// national keeps a national number plausible: a trunk zero stays, no other number begins with zero, and in North America
// neither area code nor exchange begins with 0 or 1. Digits that break these rules do so in the result: every kind of
// number is mapped onto itself.
func (m *phoneMask) national(dst []byte, northAmerica bool) {
	if dst[m.at[0].at] == '0' {
		m.at = m.at[1:]
	}
	least := uint8(1)
	if northAmerica && len(m.at) == 10 {
		least = 2
		m.at[3].restrict(dst, least)
	}
	m.at[0].restrict(dst, least)
}

// restrict keeps the digit at or above least, or below it.
func (d *phoneDigit) restrict(dst []byte, least uint8) {
	if dst[d.at]-'0' >= least {
		d.least, d.radix = least, 10-least
	} else {
		d.radix = least
	}
}

// permute replaces the digits of dst at the given places as one number.
func (m *phoneMask) permute(dst []byte, digits []phoneDigit) {
	x, n := uint64(0), uint64(1)
	for _, d := range digits {
		x = x*uint64(d.radix) + uint64(dst[d.at]-'0'-d.least)
		n *= uint64(d.radix)
	}
	x = m.permuter.of(x, n)
	for j := len(digits) - 1; j >= 0; j-- {
		d := digits[j]
		dst[d.at] = byte(x%uint64(d.radix)) + '0' + d.least
		x /= uint64(d.radix)
	}
}

// other stands in for a text that is not only digits and separators: words, an extension, an address in the wrong
// column. "+999" is no country.
func (m *phoneMask) other(dst, value []byte) []byte {
	sum := m.prf.of(value)
	start := len(dst)
	dst = append(dst, "+999"...)
	for _, b := range sum[:longestPhone-len("+999")] {
		dst = append(dst, '0'+b%10)
	}
	if m.limit > 0 && len(dst)-start > m.limit {
		dst = dst[:start+m.limit]
	}
	return dst
}

func phoneLike(value []byte) bool {
	for _, c := range value {
		if (c < '0' || c > '9') && strings.IndexByte("+-()[]./ #,;*", c) < 0 {
			return false
		}
	}
	return true
}

// countryPrefix returns the length of "+<country code>" or "00<country code>" at the start of value, else 0 (ITU-T E.164,
// assigned country codes). It is 0, too, when fewer than minSubscriber digits would be left to replace.
func countryPrefix(value []byte) int {
	var start int
	switch {
	case len(value) > 1 && value[0] == '+':
		start = 1
	case len(value) > 2 && value[0] == '0' && value[1] == '0':
		start = 2
	default:
		return 0
	}
	end := start
	for end < len(value) && end < start+3 && '0' <= value[end] && value[end] <= '9' {
		end++
	}
	end = start + countryCodeLength(value[start:end])
	left := 0
	for _, c := range value[end:] {
		if '0' <= c && c <= '9' {
			left++
		}
	}
	if left < minSubscriber {
		return 0
	}
	return end
}

// minSubscriber is the least number of digits that must be replaced for the country code to stay.
const minSubscriber = 4

// countryCodeLength returns how many of up to three digits are the country code.
func countryCodeLength(digits []byte) int {
	const two = " 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 "
	switch {
	case len(digits) == 0:
		return 0
	case digits[0] == '1' || digits[0] == '7':
		return 1
	case len(digits) >= 2 && strings.Contains(two, " "+string(digits[:2])+" "):
		return 2
	default:
		return len(digits)
	}
}
