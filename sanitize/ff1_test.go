package sanitize

import (
	"encoding/hex"
	"strings"
	"testing"
)

const ff1Alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"

// halvesOf reads the two halves of a numeral string.
func halvesOf(s string, radix uint32) (a, b uint64) {
	for i := range len(s) {
		digit := uint64(strings.IndexByte(ff1Alphabet, s[i]))
		if i < len(s)/2 {
			a = a*uint64(radix) + digit
		} else {
			b = b*uint64(radix) + digit
		}
	}
	return a, b
}

func numerals(a, b uint64, radix uint32, n int) string {
	out := make([]byte, n)
	for i := n - 1; i >= n/2; i-- {
		out[i] = ff1Alphabet[b%uint64(radix)]
		b /= uint64(radix)
	}
	for i := n/2 - 1; i >= 0; i-- {
		out[i] = ff1Alphabet[a%uint64(radix)]
		a /= uint64(radix)
	}
	return string(out)
}

// TestFF1GivesNISTSamples takes the nine samples that NIST publishes for FF1 (Examples with Intermediate Values, FF1samples).
func TestFF1GivesNISTSamples(t *testing.T) {
	t.Parallel()
	const (
		key128 = "2B7E151628AED2A6ABF7158809CF4F3C"
		key192 = key128 + "EF4359D8D580AA4F"
		key256 = key192 + "7F036D6F04FC6A94"
	)
	for i, c := range []struct {
		key, tweak string
		radix      uint32
		plain      string
		want       string
	}{
		{key128, "", 10, "0123456789", "2433477484"},
		{key128, "39383736353433323130", 10, "0123456789", "6124200773"},
		{key128, "3737373770717273373737", 36, "0123456789abcdefghi", "a9tv40mll9kdu509eum"},
		{key192, "", 10, "0123456789", "2830668132"},
		{key192, "39383736353433323130", 10, "0123456789", "2496655549"},
		{key192, "3737373770717273373737", 36, "0123456789abcdefghi", "xbj3kv35jrawxv32ysr"},
		{key256, "", 10, "0123456789", "6657667009"},
		{key256, "39383736353433323130", 10, "0123456789", "1001623463"},
		{key256, "3737373770717273373737", 36, "0123456789abcdefghi", "xs8a0azh2avyalyzuwd"},
	} {
		key, err := hex.DecodeString(c.key)
		if err != nil {
			t.Fatal(err)
		}
		tweak, err := hex.DecodeString(c.tweak)
		if err != nil {
			t.Fatal(err)
		}
		f, shape := newFF1(key), newFF1Shape(c.radix, len(c.plain))
		a, b := halvesOf(c.plain, c.radix)
		a, b = f.encrypt(&shape, tweak, a, b)
		if got := numerals(a, b, c.radix, len(c.plain)); got != c.want {
			t.Errorf("sample %d: %s, want %s", i+1, got, c.want)
		}
		a, b = f.decrypt(&shape, tweak, a, b)
		if got := numerals(a, b, c.radix, len(c.plain)); got != c.plain {
			t.Errorf("sample %d: decrypted to %s, want %s", i+1, got, c.plain)
		}
	}
}

func TestFF1IsOneToOne(t *testing.T) {
	t.Parallel()
	f := newFF1(make([]byte, 32))
	for _, n := range []int{20, 21} { // a part of all values: the whole takes long under the race detector
		shape := newFF1Shape(2, n)
		seen := make([]bool, 1<<n)
		for x := range uint64(1 << 15) {
			a, b := f.encrypt(&shape, []byte("tweak"), x>>shape.v, x&(shape.modulusV-1))
			y := a<<shape.v | b
			if seen[y] {
				t.Fatalf("%d bits: two values became %d", n, y)
			}
			seen[y] = true
		}
	}
}

func TestFF1UndoesItselfOnEveryLength(t *testing.T) {
	t.Parallel()
	f := newFF1(make([]byte, 32))
	tweak := []byte("a tweak that is longer than one block of AES")
	for n := ff1LeastBits; n <= ff1MostBits; n++ {
		shape := newFF1Shape(2, n)
		a, b := uint64(0x123456789abcdef0)&(shape.modulusU-1), uint64(0xfedcba9876543210)&(shape.modulusV-1)
		for l := range tweak {
			x, y := f.encrypt(&shape, tweak[:l], a, b)
			if backA, backB := f.decrypt(&shape, tweak[:l], x, y); backA != a || backB != b || x == a && y == b {
				t.Fatalf("%d bits, tweak of %d bytes: %x %x became %x %x and %x %x", n, l, a, b, x, y, backA, backB)
			}
		}
	}
}
