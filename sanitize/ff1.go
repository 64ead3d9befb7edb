package sanitize

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// ff1 is the format-preserving encryption FF1 of NIST SP 800-38G, for numeral strings whose halves fit into 64 bits: up to
// 38 decimal digits, 24 alphanumerics, 128 bits. It is written here because the Go implementations there are work on
// strings with math/big, allocate dozens of times per value, and the best known one is archived; this one is checked
// against NIST's sample vectors. One goroutine uses it.
type ff1 struct {
	block cipher.Block
	// p is the first block of every input, q the blocks after it, chain the state of the CBC-MAC.
	p, chain, mac [aes.BlockSize]byte
	q             []byte
	// tail is the part of q that is not yet in chain.
	tail []byte
}

// newFF1 takes an AES key of 16, 24 or 32 bytes.
func newFF1(key []byte) *ff1 {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("sanitize: FF1 key of wrong length: " + err.Error())
	}
	return &ff1{block: block}
}

// newDerivedFF1 derives its own key from that of the domain.
func newDerivedFF1(key []byte) *ff1 { return newFF1(deriveKey(key, "ff1", "")) }

const (
	ff1Rounds = 10
	// ff1LeastDomain is the least number of values that SP 800-38G (and its revision 1) allows a domain to have.
	ff1LeastDomain = 1_000_000
	// ff1MostBits is the longest string of bits whose halves fit into 64 bits.
	ff1MostBits = 128
	// ff1LeastBits is the shortest string of bits with ff1LeastDomain values.
	ff1LeastBits = 20
)

// ff1Shape is what depends on the radix and the length of the numeral strings only.
type ff1Shape struct {
	radix uint32
	// u and v are the numerals in the two halves; modulus of either is radix to that power, 0 for 2^64.
	u, v                 int
	modulusU, modulusV   uint64
	halfBytes, macedSize int // b and d of SP 800-38G
}

// newFF1Shape is for strings of n numerals; radix^n must be at least ff1LeastDomain, and radix^ceil(n/2) at most 2^64.
func newFF1Shape(radix uint32, n int) ff1Shape {
	s := ff1Shape{radix: radix, u: n / 2, v: n - n/2}
	s.modulusU, s.modulusV = power(radix, s.u), power(radix, s.v)
	s.halfBytes = (bits.Len64(s.modulusV-1) + 7) / 8
	s.macedSize = 4*((s.halfBytes+3)/4) + 4
	return s
}

// power returns radix^n modulo 2^64.
func power(radix uint32, n int) uint64 {
	p := uint64(1)
	for range n {
		p *= uint64(radix)
	}
	return p
}

// start computes what is the same in all rounds: the CBC-MAC over P and the whole blocks of the tweak.
func (f *ff1) start(s *ff1Shape, tweak []byte) {
	f.p = [aes.BlockSize]byte{1, 2, 1, byte(s.radix >> 16), byte(s.radix >> 8), byte(s.radix), ff1Rounds, byte(s.u)}
	binary.BigEndian.PutUint32(f.p[8:], uint32(s.u+s.v))
	binary.BigEndian.PutUint32(f.p[12:], uint32(len(tweak)))
	f.block.Encrypt(f.chain[:], f.p[:])
	pad := (aes.BlockSize - (len(tweak)+s.halfBytes+1)%aes.BlockSize) % aes.BlockSize
	f.q = append(f.q[:0], tweak...)
	for range pad + 1 + s.halfBytes {
		f.q = append(f.q, 0)
	}
	f.tail = f.q
	for len(f.tail)-aes.BlockSize > s.halfBytes { // the last blocks hold the round and the half
		f.absorb(&f.chain, f.tail)
		f.tail = f.tail[aes.BlockSize:]
	}
}

func (f *ff1) absorb(state *[aes.BlockSize]byte, block []byte) {
	for i := range state {
		state[i] ^= block[i]
	}
	f.block.Encrypt(state[:], state[:])
}

// round returns NUM(S) mod modulus for the half and the number of the round.
func (f *ff1) round(s *ff1Shape, i int, half, modulus uint64) uint64 {
	n := len(f.tail)
	f.tail[n-1-s.halfBytes] = byte(i)
	for j := n - 1; j >= n-s.halfBytes; j-- {
		f.tail[j] = byte(half)
		half >>= 8
	}
	f.mac = f.chain
	for at := 0; at < n; at += aes.BlockSize {
		f.absorb(&f.mac, f.tail[at:])
	}
	// d is at most 12 bytes, so S is the start of one block.
	high, low := uint64(0), binary.BigEndian.Uint64(f.mac[:])
	if s.macedSize > 8 {
		high, low = low>>32, binary.BigEndian.Uint64(f.mac[4:])
	}
	if modulus == 0 {
		return low
	}
	return bits.Rem64(high, low, modulus)
}

// encrypt maps the halves A and B of a numeral string to those of another one, one to one for each tweak.
func (f *ff1) encrypt(s *ff1Shape, tweak []byte, a, b uint64) (outA, outB uint64) {
	f.start(s, tweak)
	for i := range ff1Rounds {
		modulus := s.modulusU
		if i%2 == 1 {
			modulus = s.modulusV
		}
		a, b = b, addMod(a, f.round(s, i, b, modulus), modulus)
	}
	return a, b
}

// decrypt is the inverse of encrypt.
func (f *ff1) decrypt(s *ff1Shape, tweak []byte, a, b uint64) (outA, outB uint64) {
	f.start(s, tweak)
	for i := ff1Rounds - 1; i >= 0; i-- {
		modulus := s.modulusU
		if i%2 == 1 {
			modulus = s.modulusV
		}
		a, b = subMod(b, f.round(s, i, a, modulus), modulus), a
	}
	return a, b
}

// addMod adds two numbers below modulus, 0 for 2^64.
func addMod(x, y, modulus uint64) uint64 {
	sum, carry := bits.Add64(x, y, 0)
	if modulus != 0 && (carry == 1 || sum >= modulus) {
		sum -= modulus
	}
	return sum
}

func subMod(x, y, modulus uint64) uint64 {
	if x >= y {
		return x - y
	}
	return x - y + modulus
}
