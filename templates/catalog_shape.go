package templates

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"unicode"
)

// shaper makes texts of the same shape as others: letters become letters, digits digits, and everything else stays. The
// same text gives the same result, so that what was equal in two definitions still is.
type shaper struct{ key []byte }

func newShaper(maskingKey []byte) *shaper {
	mac := hmac.New(sha256.New, maskingKey)
	mac.Write([]byte("mayfly catalog 1"))
	return &shaper{mac.Sum(nil)}
}

// made returns what takes the place of a passage. Addresses lead to a domain that nobody has (RFC 2606), and URLs keep
// their scheme.
func (s *shaper) made(what, text string) string {
	if local, _, found := strings.Cut(text, "@"); found && what == whatEmail {
		return s.like(local) + "@example.com"
	}
	if scheme, rest, found := strings.Cut(text, "://"); found {
		return scheme + "://" + s.like(rest)
	}
	return s.like(text)
}

// like returns a text of the shape of text, and never the same one unless there is nothing to change in it.
func (s *shaper) like(text string) string {
	for try := range byte(8) {
		if out := s.attempt(text, try); out != text {
			return out
		}
	}
	return strings.Repeat("x", len(text))
}

func (s *shaper) attempt(text string, try byte) string {
	var block [sha256.Size]byte
	used := len(block)
	number := uint32(0)
	next := func(n byte) byte {
		if used == len(block) {
			mac := hmac.New(sha256.New, s.key)
			mac.Write(binary.BigEndian.AppendUint32([]byte{try}, number))
			mac.Write([]byte(text))
			mac.Sum(block[:0])
			number, used = number+1, 0
		}
		used++
		return block[used-1] % n
	}
	first := true
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return rune('a' + next(26))
		case r >= 'A' && r <= 'Z':
			return rune('A' + next(26))
		case r >= '0' && r <= '9':
			if first && r != '0' { // a number keeps its length
				first = false
				return rune('1' + next(9))
			}
			return rune('0' + next(10))
		case r >= 0x80 && (unicode.IsLetter(r) || unicode.IsDigit(r)):
			return 'x'
		}
		return r
	}, text)
}
