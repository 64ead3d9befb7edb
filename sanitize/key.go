package sanitize

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/mayflydb/mayfly"
)

// MinKeyLength is the least length of a masking key, in bytes.
const MinKeyLength = 32

// GenerateKey returns a new random masking key of MinKeyLength bytes.
func GenerateKey() []byte {
	key := make([]byte, MinKeyLength)
	_, _ = rand.Read(key) // never fails (crypto/rand, Go 1.24)
	return key
}

// FormatKey returns the form in which a key is kept in a file or an environment variable: hexadecimal digits.
func FormatKey(key []byte) string { return hex.EncodeToString(key) }

// ParseKey reads what FormatKey wrote; white space around it does not matter. The error, mayfly.CodeInvalid, never
// shows any part of the text.
func ParseKey(text string) ([]byte, error) {
	key, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the masking key is not hexadecimal").WithHint(keyHint)
	}
	if err := checkKey(key); err != nil {
		return nil, err
	}
	return key, nil
}

const keyHint = "make one with `openssl rand -hex 32`, keep it outside the repository, and use the same one for every build"

// checkKey refuses keys that would make masking reversible by trying: short ones, and one byte repeated.
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
