package sanitize

import (
	"crypto/hmac"
	"crypto/sha256"
	"hash"
	"unicode"
	"unicode/utf8"
)

// keyLabel separates these keys from any other use of the masking key, and this version of the mappings from a next.
const keyLabel = "mayfly sanitize 1"

// deriveKey returns the key of one transformer in one domain.
func deriveKey(key []byte, transformer, domain string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(keyLabel + "\x00" + transformer + "\x00" + domain))
	return mac.Sum(nil)
}

// prf is HMAC-SHA-256 under one derived key, with its working memory. One goroutine uses it.
type prf struct {
	mac  hash.Hash
	sum  [sha256.Size]byte
	fold bool // ignore case
	trim bool // ignore trailing spaces
	text []byte
}

func newPRF(key []byte, t *target) *prf {
	return &prf{mac: hmac.New(sha256.New, key), fold: t.fold, trim: t.trim}
}

// of returns 32 bytes that depend on the value and on nothing else but the key. They are valid until the next call.
func (p *prf) of(value []byte) *[sha256.Size]byte {
	if p.fold || p.trim {
		value = p.canonical(value)
	}
	p.mac.Reset()
	p.mac.Write(value)
	p.mac.Sum(p.sum[:0])
	return &p.sum
}

// canonical maps values that the column's type considers equal to one.
func (p *prf) canonical(value []byte) []byte {
	if p.trim {
		for len(value) > 0 && value[len(value)-1] == ' ' {
			value = value[:len(value)-1]
		}
	}
	if !p.fold {
		return value
	}
	p.text = AppendFolded(p.text[:0], value)
	return p.text
}

// AppendFolded appends a text in lower case. Bytes that are not UTF-8 stay as they are: two values that differ in them are two.
func AppendFolded(dst, value []byte) []byte {
	for i := 0; i < len(value); {
		if c := value[i]; c < utf8.RuneSelf {
			if 'A' <= c && c <= 'Z' {
				c += 'a' - 'A'
			}
			dst = append(dst, c)
			i++
			continue
		}
		r, size := utf8.DecodeRune(value[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(dst, value[i])
		} else {
			dst = utf8.AppendRune(dst, unicode.ToLower(r))
		}
		i += size
	}
	return dst
}

// base32Digits is Crockford's alphabet in lower case: no i, l, o, u, so that tokens neither spell words nor mislead.
const base32Digits = "0123456789abcdefghjkmnpqrstvwxyz"

// maxBase32 and maxHex are the longest tokens that one sum can fill.
const (
	maxBase32 = sha256.Size * 8 / 5
	maxHex    = sha256.Size * 2
)

// appendBase32 appends n digits, five bits each, from the start of bits.
func appendBase32(dst, bits []byte, n int) []byte {
	var acc uint32
	var have uint
	next := 0
	for range n {
		if have < 5 {
			acc = acc<<8 | uint32(bits[next])
			next++
			have += 8
		}
		have -= 5
		dst = append(dst, base32Digits[acc>>have&31])
	}
	return dst
}

const hexDigits = "0123456789abcdef"

// appendHex appends n digits, four bits each, from the start of bits.
func appendHex(dst, bits []byte, n int) []byte {
	for i := range n {
		b := bits[i/2]
		if i%2 == 0 {
			b >>= 4
		}
		dst = append(dst, hexDigits[b&15])
	}
	return dst
}

// pick chooses from list by two bytes of a sum, and moves on to the next entry while the choice is a part of value, so
// that no word of the original survives by chance.
func pick(list []string, hi, lo byte, value []byte) string {
	i := int(uint32(hi)<<8|uint32(lo)) * len(list) >> 16
	for range list {
		if !containsFold(value, list[i]) {
			break
		}
		i++
		if i == len(list) {
			i = 0
		}
	}
	return list[i]
}

// containsFold reports whether word, which is ASCII, occurs in value, without regard to the case of ASCII letters.
func containsFold(value []byte, word string) bool {
	first := word[0] | 0x20
	for i := 0; i+len(word) <= len(value); i++ {
		if value[i]|0x20 == first && equalFold(value[i:i+len(word)], word) {
			return true
		}
	}
	return false
}

func equalFold(a []byte, b string) bool {
	for i := range a {
		x, y := a[i], b[i]
		if 'A' <= x && x <= 'Z' {
			x |= 0x20
		}
		if 'A' <= y && y <= 'Z' {
			y |= 0x20
		}
		if x != y {
			return false
		}
	}
	return true
}
