package proof

import (
	"bytes"
	"math/bits"
	"strings"
)

// A value is provable if it holds so much information that finding it elsewhere cannot be chance. The thresholds are part
// of the attestation's meaning; docs/sanitize.md and the decision record have them too.
const (
	// minBytes is the length of the shortest provable text, if it has anything but letters and spaces.
	minBytes = 8
	// minLetters is that of words: shorter ones are in every dictionary.
	minLetters = 10
	// minWord is that of a single word within a longer text.
	minWord = 12
	// minDigits is the number of digits of the shortest provable number.
	minDigits = 9
	// minDistinct is the number of different bytes that a provable text has at least: "--------" says nothing.
	minDistinct = 5
	// classified is how many bytes of a long value are looked at to classify it.
	classified = 256
)

// form is the normal form in which a value is compared.
type form uint8

const (
	formExact  form = iota // as it is: nothing to fold
	formFold               // in lower case
	formDigits             // its digits: phone and card numbers are written in many ways
)

// Kinds of bytes.
const (
	isDigit = 1 << iota
	isLower
	isUpper
	isHigh  // not ASCII
	isPunct // what stands between digits in numbers, dates and phone numbers
	isOther
	kinds   = isSpace - 1
	isSpace = 1 << 6 // where words end, beside its kind
)

// kindOf is a table of the kinds of bytes.
type kindTable [256]uint8

var kindOf = func() (t kindTable) { //nolint:gochecknoglobals // constant: a table cannot be one in Go
	for i := range t {
		switch c := byte(i); {
		case '0' <= c && c <= '9':
			t[i] = isDigit
		case 'a' <= c && c <= 'z':
			t[i] = isLower
		case 'A' <= c && c <= 'Z':
			t[i] = isUpper
		case c >= 0x80:
			t[i] = isHigh
		case strings.IndexByte(" +-()./,:", c) >= 0:
			t[i] = isPunct
		default:
			t[i] = isOther
		}
		if strings.IndexByte(" \t\n\r\"'<>()[]{},;=|\x00", byte(i)) >= 0 {
			t[i] |= isSpace
		}
	}
	return t
}()

// trim removes spaces at both ends.
func trim(value []byte) []byte {
	for len(value) > 0 && value[0] <= ' ' {
		value = value[1:]
	}
	for len(value) > 0 && value[len(value)-1] <= ' ' {
		value = value[:len(value)-1]
	}
	return value
}

// classify returns the normal form of a trimmed value and whether it is provable.
func classify(value []byte) (form, bool) {
	look := value
	if len(look) > classified {
		look = look[:classified]
	}
	var all uint8
	var seen uint64
	digits, spaces, puncts := 0, 0, 0
	for _, c := range look { // without branches: it is done for every value
		k := kindOf[c]
		all |= k
		seen |= 1 << (c & 63)
		digits += int(k & isDigit)
		puncts += int(k / isPunct & 1)
		if c == ' ' {
			spaces++
		}
	}
	all &= kinds
	onlySpaces := puncts == spaces
	f := formExact
	if all&(isUpper|isHigh) != 0 || len(look) < len(value) {
		f = formFold
	}
	switch {
	case all&^(isDigit|isPunct) == 0:
		return classifyNumber(value, digits, bits.OnesCount64(seen))
	case digits >= 8 && dateShape(value):
		return f, false
	case len(value) < minBytes || bits.OnesCount64(seen) < minDistinct:
		return f, false
	case all&(isDigit|isOther) == 0 && onlySpaces:
		return f, len(value)-spaces >= minLetters
	default:
		return f, true
	}
}

// classifyNumber is classify for what has only digits and what stands between them.
func classifyNumber(value []byte, digits, distinct int) (form, bool) {
	switch {
	case addressShape(value):
		return formExact, len(value) >= minBytes && !bytes.HasPrefix(value, []byte("127.")) && !bytes.HasPrefix(value, []byte("255.")) && !bytes.HasPrefix(value, []byte("0."))
	case digits < minDigits || dateShape(value):
		return formDigits, false
	default:
		return formDigits, distinct >= 3
	}
}

// addressShape reports whether value looks like an IPv4 address.
func addressShape(value []byte) bool {
	dots, run := 0, 0
	for _, c := range value {
		switch {
		case c == '.' && run > 0:
			dots, run = dots+1, 0
		case '0' <= c && c <= '9' && run < 3:
			run++
		default:
			return false
		}
	}
	return dots == 3 && run > 0
}

// uuidBytes is the length of a UUID with its dashes.
const uuidBytes = 36

// uuidShape reports whether value is as long as a UUID and has dashes where one has them.
func uuidShape(value []byte) bool {
	return len(value) == uuidBytes && value[8] == '-' && value[13] == '-' && value[18] == '-' && value[23] == '-'
}

// dateShape reports whether value begins like a date (2024-01-31) or a time of day (10:20:30): every moment is also one of something else.
func dateShape(value []byte) bool {
	return shape(value, "dddd-dd-dd") || shape(value, "dd:dd:dd") || shape(value, "-dddd-dd-dd")
}

func shape(value []byte, pattern string) bool {
	if len(value) < len(pattern) || len(value) > len("2024-01-31 10:20:30.123456+00:00:00 BC") {
		return false
	}
	for i := range len(pattern) {
		if pattern[i] == 'd' {
			if kindOf[value[i]] != isDigit {
				return false
			}
		} else if value[i] != pattern[i] {
			return false
		}
	}
	return true
}
