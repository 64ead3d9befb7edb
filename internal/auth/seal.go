package auth

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// Sealer encrypts small secrets for storage with XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha): its nonces are long enough to be
// random without counting.
//
// It may have older keys besides, which open what they have sealed and seal nothing any more.
type Sealer struct {
	aead cipher.AEAD
	old  []cipher.AEAD
}

// SealKeySize is the size of a sealing key in bytes.
const SealKeySize = chacha20poly1305.KeySize

// NewSealer makes a Sealer from a key of SealKeySize bytes, and from older ones.
func NewSealer(key []byte, old ...[]byte) (*Sealer, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("sealing key: %w", err)
	}
	s := &Sealer{aead: aead}
	for _, key := range old {
		aead, err := chacha20poly1305.NewX(key)
		if err != nil {
			return nil, fmt.Errorf("older sealing key: %w", err)
		}
		s.old = append(s.old, aead)
	}
	return s, nil
}

const (
	sealKeyFile = "seal.key"
	// A key that seals no more is kept as "seal-<random>.old", to open what it has sealed.
	oldSealPrefix, oldSealSuffix = "seal-", ".old"
)

// OpenSealer makes the Sealer of an installation. configured is its key in base64, from the environment or a file of the
// administrator's; "" for the one in dir. The older keys are those in dir, and the one there if it is not used any more.
func OpenSealer(dir, configured string) (*Sealer, error) {
	paths, err := filepath.Glob(filepath.Join(dir, oldSealPrefix+"*"+oldSealSuffix))
	if err != nil {
		return nil, fmt.Errorf("list older sealing keys: %w", err)
	}
	current := filepath.Join(dir, sealKeyFile)
	var key []byte
	if configured == "" {
		if key, err = loadKey(current); err != nil {
			return nil, err
		}
	} else {
		if key, err = base64.StdEncoding.DecodeString(strings.TrimSpace(configured)); err != nil || len(key) != SealKeySize {
			return nil, fmt.Errorf("the sealing key is not %d bytes in base64", SealKeySize) // and is not quoted
		}
		if _, err := os.Stat(current); err == nil {
			paths = append(paths, current)
		}
	}
	var old [][]byte
	for _, path := range paths {
		k, err := loadKey(path)
		if err != nil {
			return nil, err
		}
		old = append(old, k)
	}
	return NewSealer(key, old...)
}

// RotateSealKey makes a new sealing key in dir and keeps the one before, to open what it has sealed. A service uses it from its next start
// on, and seals what is stored anew with it.
func RotateSealKey(dir string) error {
	key, err := loadKey(filepath.Join(dir, sealKeyFile))
	if err != nil {
		return err
	}
	id := hex.EncodeToString(randomKey(oldSealID))
	if err := replaceFile(filepath.Join(dir, oldSealPrefix+id+oldSealSuffix), []byte(base64.StdEncoding.EncodeToString(key))); err != nil {
		return err
	}
	return replaceFile(filepath.Join(dir, sealKeyFile), []byte(base64.StdEncoding.EncodeToString(randomKey(SealKeySize))))
}

const oldSealID = 8

// Reseal returns a value sealed with the key in use; changed is false if it was. An error if no key opens it.
func (s *Sealer) Reseal(sealed, context []byte) (fresh []byte, changed bool, err error) {
	if _, err := openWith(s.aead, sealed, context); err == nil {
		return sealed, false, nil
	}
	plaintext, err := s.Open(sealed, context)
	if err != nil {
		return nil, false, err
	}
	return s.Seal(plaintext, context), true, nil
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
	plaintext, err := openWith(s.aead, sealed, context)
	for i := 0; err != nil && i < len(s.old); i++ {
		plaintext, err = openWith(s.old[i], sealed, context)
	}
	return plaintext, err
}

func openWith(aead cipher.AEAD, sealed, context []byte) ([]byte, error) {
	if len(sealed) < aead.NonceSize() {
		return nil, errors.New("sealed value is too short")
	}
	nonce, ciphertext := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	plaintext, err := aead.Open(nil, nonce, ciphertext, context)
	if err != nil {
		return nil, errors.New("sealed value does not open with this key")
	}
	return plaintext, nil
}
