package auth

import (
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealer encrypts small secrets for storage with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): its nonces are long enough to be
// random without counting.
type Sealer struct{ aead cipher.AEAD }

// SealKeySize is the size of a sealing key in bytes.
const SealKeySize = chacha20poly1305.KeySize

// NewSealer makes a Sealer from a key of SealKeySize bytes.
func NewSealer(key []byte) (*Sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	return &Sealer{aead: aead}, nil
}

// Seal encrypts plaintext. context is authenticated but not stored: Open needs the same, so that a sealed value cannot be
// moved to where it does not belong.
func (s *Sealer) Seal(plaintext, context []byte) []byte {
	nonce := make([]byte, s.aead.NonceSize(), s.aead.NonceSize()+len(plaintext)+s.aead.Overhead())
	_, _ = rand.Read(nonce)
	return s.aead.Seal(nonce, nonce, plaintext, context)
}

// Open decrypts what Seal made.
func (s *Sealer) Open(sealed, context []byte) ([]byte, error) {
	if len(sealed) < s.aead.NonceSize() {
		return nil, errors.New("sealed value is too short")
	}
	nonce, ciphertext := sealed[:s.aead.NonceSize()], sealed[s.aead.NonceSize():]
	plaintext, err := s.aead.Open(nil, nonce, ciphertext, context)
	if err != nil {
		return nil, errors.New("sealed value does not open with this key")
	}
	return plaintext, nil
}
