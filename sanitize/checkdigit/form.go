package checkdigit

// Form is one kind of number, over its letters and digits in upper case.
type Form interface {
	// Valid reports whether s is a number of this kind, check digits included.
	Valid(s []byte) bool
	// Role says what happens to the character at i of a valid number.
	Role(s []byte, i int) Role
	// Complete computes the check digits from the rest. It may leave s invalid.
	Complete(s []byte)
}

// Role is what a character of a number is.
type Role int

// What a character can be.
const (
	Payload Role = iota // replaced
	Kept                // stays: a country, a century
	Check               // computed from the others
)

// MaxLength is more than any of the forms has, separators included.
const MaxLength = 64

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
