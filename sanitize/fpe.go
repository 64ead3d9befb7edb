package sanitize

import (
	"encoding/binary"
	"math/bits"
)

// fpe permutes domains of any size up to 2^128 with FF1, and strings over mixed alphabets of any length. A domain that is
// no power of two is walked: FF1 on the next longer string of bits is applied until the result lies inside (SP 800-38G,
// appendix B; Black and Rogaway, CT-RSA 2002). Domains below ff1LeastDomain are widened the same way, to 20 bits. One
// goroutine uses it.
type fpe struct {
	ff1    *ff1
	shapes [ff1MostBits + 1]ff1Shape
	tweak  []byte
	// small remembers results in domains that take long to walk; there are few values in them.
	small map[[2]uint64]uint64
	// chunks are the parts of a long string.
	chunks []chunk
}

func newFPE(key []byte) *fpe {
	f := &fpe{ff1: newDerivedFF1(key), small: map[[2]uint64]uint64{}}
	for n := ff1LeastBits; n <= ff1MostBits; n++ {
		f.shapes[n] = newFF1Shape(2, n)
	}
	return f
}

// number128 is an unsigned integer of 128 bits.
type number128 struct{ hi, lo uint64 }

func (x number128) less(y number128) bool { return x.hi < y.hi || x.hi == y.hi && x.lo < y.lo }

// timesPlus returns x*factor + digit; ok is false when that is 2^128 or more.
func (x number128) timesPlus(factor, digit uint64) (y number128, ok bool) {
	over, high := bits.Mul64(x.hi, factor)
	carry, low := bits.Mul64(x.lo, factor)
	low, c := bits.Add64(low, digit, 0)
	high, c2 := bits.Add64(high, carry, c)
	return number128{high, low}, over == 0 && c2 == 0
}

// divide returns x/divisor and the rest.
func (x number128) divide(divisor uint64) (quotient number128, rest uint64) {
	quotient.hi, rest = x.hi/divisor, x.hi%divisor
	quotient.lo, rest = bits.Div64(rest, x.lo, divisor)
	return quotient, rest
}

func (x number128) bitLength() int {
	if x.hi > 0 {
		return 64 + bits.Len64(x.hi)
	}
	return bits.Len64(x.lo)
}

// minusOne returns x-1, x > 0.
func (x number128) minusOne() number128 {
	low, borrow := bits.Sub64(x.lo, 1, 0)
	return number128{x.hi - borrow, low}
}

// plusOne returns x+1 mod n.
func (x number128) plusOne(n number128) number128 {
	low, carry := bits.Add64(x.lo, 1, 0)
	y := number128{x.hi + carry, low}
	if y == n {
		return number128{}
	}
	return y
}

// split returns the high and the low half of a string of bits.
func (x number128) split(s *ff1Shape) (a, b uint64) {
	if s.v == 64 {
		return x.hi, x.lo
	}
	return x.hi<<(64-s.v) | x.lo>>s.v, x.lo & (s.modulusV - 1)
}

func joinHalves(s *ff1Shape, a, b uint64) number128 {
	if s.v == 64 {
		return number128{a, b}
	}
	return number128{a >> (64 - s.v), a<<s.v | b}
}

const (
	// memoDomain is the size of a domain up to which results are remembered: walking into a smaller one takes more than
	// a dozen steps.
	memoDomain = 1 << 16
	// fixedPointBits is the length of numbers from which on a value that maps to itself is not to be expected.
	fixedPointBits = 40
)

// permute maps x < n to another number below n, one to one for each tweak. Small domains do without the tweak.
func (f *fpe) permute(x, n number128, tweak []byte) number128 {
	if n.hi == 0 && n.lo <= 1 {
		return x
	}
	f.tweak = binary.BigEndian.AppendUint64(f.tweak[:0], n.hi)
	f.tweak = binary.BigEndian.AppendUint64(f.tweak, n.lo)
	length := n.minusOne().bitLength()
	s := &f.shapes[max(length, ff1LeastBits)]
	if n.hi == 0 && n.lo <= memoDomain {
		key := [2]uint64{n.lo, x.lo}
		y, known := f.small[key]
		if !known {
			y = f.cycle(s, x, n).lo
			f.small[key] = y
		}
		return number128{0, y}
	}
	f.tweak = append(f.tweak, tweak...)
	if length < fixedPointBits {
		return f.cycle(s, x, n)
	}
	return f.forward(s, x, n)
}

// cycle is a permutation without fixed points, for domains in which they would be noticed: one cycle through all values,
// D(E(x)+1).
func (f *fpe) cycle(s *ff1Shape, x, n number128) number128 {
	x = f.forward(s, x, n).plusOne(n)
	for {
		a, b := x.split(s)
		a, b = f.ff1.decrypt(s, f.tweak, a, b)
		if x = joinHalves(s, a, b); x.less(n) {
			return x
		}
	}
}

func (f *fpe) forward(s *ff1Shape, x, n number128) number128 {
	for {
		a, b := x.split(s)
		a, b = f.ff1.encrypt(s, f.tweak, a, b)
		if x = joinHalves(s, a, b); x.less(n) {
			return x
		}
	}
}

// symbols is a string whose symbols are replaced by others of the same alphabet.
type symbols struct {
	value []uint8 // the symbol, below radix
	radix []uint8 // 2 or more
}

func (s *symbols) reset() { s.value, s.radix = s.value[:0], s.radix[:0] }

func (s *symbols) add(value, radix uint8) {
	s.value, s.radix = append(s.value, value), append(s.radix, radix)
}

// chunk is a stretch of symbols as one number.
type chunk struct {
	start, end int
	x, n       number128
}

// apply replaces the symbols, one to one for all strings with the same alphabets and tweak. Strings too long for one
// number are cut in chunks, each permuted twice under its neighbour as the tweak, from the end to the start and back:
// every symbol of the result depends on every symbol of the value.
func (f *fpe) apply(s *symbols, tweak []byte) {
	f.chunks = f.chunks[:0]
	for start := 0; start < len(s.value); {
		c := chunk{start: start, n: number128{0, 1}}
		for c.end = start; c.end < len(s.value); c.end++ {
			n, ok := c.n.timesPlus(uint64(s.radix[c.end]), 0)
			if !ok {
				break
			}
			c.n = n
			c.x, _ = c.x.timesPlus(uint64(s.radix[c.end]), uint64(s.value[c.end]))
		}
		f.chunks = append(f.chunks, c)
		start = c.end
	}
	last := len(f.chunks) - 1
	for i := last; i > 0; i-- {
		f.permuteChunk(s, i-1, s.value[f.chunks[i].start:f.chunks[i].end])
	}
	for i := range f.chunks {
		if i > 0 {
			tweak = s.value[f.chunks[i-1].start:f.chunks[i-1].end]
		}
		f.permuteChunk(s, i, tweak)
	}
}

func (f *fpe) permuteChunk(s *symbols, i int, tweak []byte) {
	c := &f.chunks[i]
	c.x = f.permute(c.x, c.n, tweak)
	x := c.x
	for at := c.end - 1; at >= c.start; at-- {
		var digit uint64
		x, digit = x.divide(uint64(s.radix[at]))
		s.value[at] = uint8(digit)
	}
}
