package proof

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/dchest/siphash"

	"github.com/mayflydb/mayfly/sanitize"
)

// Fingerprint is 96 bits of SipHash-2-4-128 over the normal form of a value. Among 10^9 originals and 10^11 values of a
// template, two different values share one with a probability below 10^-8.
type Fingerprint struct {
	High uint64
	Low  uint32
}

// fingerprintBytes is the size of a Fingerprint in the file.
const fingerprintBytes = 12

// Key is the key of fingerprints: who does not have it cannot ask whether a value is among them.
type Key struct{ k0, k1 uint64 }

// NewKey derives the key from the masking key.
func NewKey(maskingKey []byte) Key {
	sum := derive(maskingKey, "mayfly proof fingerprints 1")
	return Key{binary.LittleEndian.Uint64(sum[:8]), binary.LittleEndian.Uint64(sum[8:16])}
}

// KeyCheck names a masking key without telling it: equal names, equal keys.
func KeyCheck(maskingKey []byte) string {
	sum := derive(maskingKey, "mayfly proof key check 1")
	return hex.EncodeToString(sum[:8])
}

func derive(key []byte, label string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(label))
	return [sha256.Size]byte(mac.Sum(nil))
}

// hasher makes fingerprints. One goroutine uses it.
type hasher struct {
	key  Key
	text []byte
}

// of returns the fingerprint of a value in its normal form.
func (h *hasher) of(value []byte, f form) Fingerprint {
	value = h.normal(value, f)
	high, low := siphash.Hash128(h.key.k0, h.key.k1, value)
	return Fingerprint{high, uint32(low)}
}

// normal returns the normal form of a value, valid until the next call. UUIDs are compared without their dashes.
func (h *hasher) normal(value []byte, f form) []byte {
	if uuidShape(value) && f != formDigits {
		h.fold(value)
		h.text = append(append(append(append(h.text[:8], h.text[9:13]...), h.text[14:18]...), h.text[19:23]...), h.text[24:]...)
		return h.text
	}
	switch f {
	case formDigits:
		return h.digits(value)
	case formFold:
		return h.fold(value)
	default:
		return value
	}
}

// digits keeps the digits of value.
func (h *hasher) digits(value []byte) []byte {
	h.text = h.text[:0]
	for _, c := range value {
		if '0' <= c && c <= '9' {
			h.text = append(h.text, c)
		}
	}
	return h.text
}

// fold puts value in lower case.
func (h *hasher) fold(value []byte) []byte {
	h.text = sanitize.AppendFolded(h.text[:0], value)
	return h.text
}
