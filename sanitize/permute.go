package sanitize

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math"
	"math/bits"
)

// permuter maps [0, n) onto itself, one to one, without any fixed point: what numbers and phone numbers need to stay
// unique and never to be left as they were.
//
// It is a Feistel network on two unequal halves a*b >= n with AES as the round function, walked until the result is
// below n (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). With P that permutation the result is
// P(P⁻¹(x)+1 mod n): one cycle through all of [0, n), hence no fixed point when n > 1.
type permuter struct {
	block   cipher.Block
	in, out [aes.BlockSize]byte
	sizes   map[uint64]halves
	// last are the halves of lastSize: most values of a column have the same size.
	last     halves
	lastSize uint64
}

// halves are the moduli of the two halves.
type halves struct{ a, b uint64 }

// feistelRounds is the number of rounds of FF3 (NIST SP 800-38G).
const feistelRounds = 8

// newPermuter derives its own key from that of the domain.
func newPermuter(key []byte) *permuter {
	block, err := aes.NewCipher(deriveKey(key, "permute", ""))
	if err != nil {
		panic("sanitize: derived key of wrong length: " + err.Error())
	}
	return &permuter{block: block, sizes: make(map[uint64]halves)}
}

func (p *permuter) halves(n uint64) halves {
	if n == p.lastSize {
		return p.last
	}
	h, ok := p.sizes[n]
	if !ok {
		h.a = uint64(math.Sqrt(float64(n)))
		for h.a*h.a < n {
			h.a++
		}
		h.b = (n + h.a - 1) / h.a
		p.sizes[n] = h
	}
	p.last, p.lastSize = h, n
	return h
}

// of returns the image of x, x < n, n > 1, n < 2^63 + 2^32.
func (p *permuter) of(x, n uint64) uint64 {
	h := p.halves(n)
	x = p.backward(x, n, h) + 1
	if x == n {
		x = 0
	}
	return p.forward(x, n, h)
}

func (p *permuter) forward(x, n uint64, h halves) uint64 {
	for {
		left, right := x%h.a, x/h.a
		for i := uint64(0); i < feistelRounds; i += 2 {
			left = add(left, p.round(n, i, right, h.a), h.a)
			right = add(right, p.round(n, i+1, left, h.b), h.b)
		}
		x = right*h.a + left
		if x < n {
			return x
		}
	}
}

func (p *permuter) backward(x, n uint64, h halves) uint64 {
	for {
		left, right := x%h.a, x/h.a
		for i := uint64(feistelRounds); i > 0; i -= 2 {
			right = add(right, h.b-p.round(n, i-1, left, h.b), h.b)
			left = add(left, h.a-p.round(n, i-2, right, h.a), h.a)
		}
		x = right*h.a + left
		if x < n {
			return x
		}
	}
}

// add returns x + y modulo m, for x < m and y <= m.
func add(x, y, m uint64) uint64 {
	if x += y; x >= m {
		x -= m
	}
	return x
}

// round binds the domain size, the round and one half, which is below 2^33. The result is below m: the upper half of a
// product instead of a remainder, which would cost more than the cipher.
func (p *permuter) round(n, i, half, m uint64) uint64 {
	binary.LittleEndian.PutUint64(p.in[:8], n)
	binary.LittleEndian.PutUint64(p.in[8:], half|i<<56)
	p.block.Encrypt(p.out[:], p.in[:])
	below, _ := bits.Mul64(binary.LittleEndian.Uint64(p.out[:8]), m)
	return below
}

// powersOfTen holds 10^0 to 10^18.
func powersOfTen() [19]uint64 {
	var powers [19]uint64
	powers[0] = 1
	for i := 1; i < len(powers); i++ {
		powers[i] = powers[i-1] * 10
	}
	return powers
}
