package auth

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Keys are the installation's own keys.
type Keys struct {
	Sealer  *Sealer
	Signing ed25519.PrivateKey
	// KeyID names the signing key in tokens ("kid"): the beginning of the SHA-256 of its public half.
	KeyID string
	// Attestation signs what is said about templates. Its public half is given to whoever checks that.
	Attestation ed25519.PrivateKey
}

// LoadKeys reads the keys in dir, making those that are missing. Several processes may call it at once. Losing the sealing key
// loses the previews' passwords (a reset makes new ones); losing the signing key makes every token invalid; after
// losing the attestation key, templates are attested by another one.
func LoadKeys(dir string) (*Keys, error) {
	// The directory above is data_dir, which others may pass through; a token may be made before the service was ever started.
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil { //nolint:gosec // see above
		return nil, fmt.Errorf("make the key directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the key directory: %w", err)
	}
	sealer, err := OpenSealer(dir, "")
	if err != nil {
		return nil, err
	}
	seed, err := loadKey(filepath.Join(dir, tokenKeyFile))
	if err != nil {
		return nil, err
	}
	attestation, err := loadKey(filepath.Join(dir, "attestation.key"))
	if err != nil {
		return nil, err
	}
	signing := ed25519.NewKeyFromSeed(seed)
	return &Keys{
		Sealer: sealer, Signing: signing, KeyID: keyID(publicOf(signing)),
		Attestation: ed25519.NewKeyFromSeed(attestation),
	}, nil
}

// keySize is the size of every key there is: seeds of Ed25519 and keys of XChaCha20-Poly1305.
const keySize = ed25519.SeedSize

// loadKey reads a key of keySize bytes in base64, or makes one. A new one is written beside and linked into place, so that of two
// processes one wins whole and both use its key.
func loadKey(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeKey(path); err != nil {
			return nil, err
		}
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	key := make([]byte, base64.StdEncoding.DecodedLen(len(raw)))
	n, err := base64.StdEncoding.Decode(key, raw)
	if err != nil || n != keySize {
		return nil, fmt.Errorf("%s does not hold a key of %d bytes in base64", path, keySize)
	}
	return key[:n], nil
}

func makeKey(path string) error {
	key := randomKey(keySize)
	temp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.WriteString(base64.StdEncoding.EncodeToString(key))
	err = errors.Join(err, temp.Sync(), temp.Close())
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make key: %w", err)
	}
	return nil
}

func randomKey(size int) []byte {
	key := make([]byte, size)
	_, _ = rand.Read(key)
	return key
}
