package sanitize

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"

	"github.com/mayflydb/mayfly"
)

// MinKeyLength is the least length of a masking key, in bytes.
const MinKeyLength = 32

// GenerateKey returns a new random masking key of 256 bits as 64 hexadecimal digits. A key is used as the bytes that it
// is: the digits are the key, they are not decoded.
func GenerateKey() []byte {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand, Go 1.24)
	return hex.AppendEncode(nil, random[:])
}

const keyHint = "make one with `openssl rand -hex 32`, keep it outside the repository, and use the same one for every build"

// checkKey refuses keys that would make masking reversible by trying: short ones, and one byte repeated. Errors show no
// part of the key.
func checkKey(key []byte) error {
	if len(key) < MinKeyLength {
		return mayfly.Errorf(mayfly.CodeInvalid, "the masking key has %d bytes; at least %d are needed", len(key), MinKeyLength).
			WithHint(keyHint)
	}
	if bytes.Count(key, key[:1]) == len(key) {
		return mayfly.Errorf(mayfly.CodeInvalid, "the masking key is one byte repeated").WithHint(keyHint)
	}
	return nil
}
