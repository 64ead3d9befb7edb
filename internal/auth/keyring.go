package auth

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// errUnknownKey is the answer to every key that is not ours or not ours any more: the bearer is not told which.
var errUnknownKey = errors.New("unknown key")

const (
	tokenKeyFile = "token.key"
	// A key that signs no more is kept as its public half: "token-<kid>.public".
	publicPrefix, publicSuffix = "token-", ".public"
)

func (k *Keys) signer() (ed25519.PrivateKey, string) { return k.Signing, k.KeyID }

func (k *Keys) verifier(kid string, _ *jwt.NumericDate, _ time.Time) (ed25519.PublicKey, error) {
	public, ok := k.Signing.Public().(ed25519.PublicKey)
	if kid != k.KeyID || !ok {
		return nil, errUnknownKey
	}
	return public, nil
}

// keyID names a key: the beginning of the SHA-256 of its public half.
func keyID(public ed25519.PublicKey) string {
	sum := sha256.Sum256(public)
	return base64.RawURLEncoding.EncodeToString(sum[:9])
}

// retiredKey is a key that signs no more, as its file says it.
type retiredKey struct {
	Public    []byte    `json:"public"`
	RetiredAt time.Time `json:"retired_at"`
	// VerifyUntil is when the last token that it signed has expired.
	VerifyUntil time.Time `json:"verify_until"`
}

// KeyInfo says what a key of tokens is used for.
type KeyInfo struct {
	ID      string `json:"id"`
	Signing bool   `json:"signing"`
	// RetiredAt and VerifyUntil are zero for the key that signs.
	RetiredAt   time.Time `json:"retired_at,omitzero"`
	VerifyUntil time.Time `json:"verify_until,omitzero"`
}

// KeyRing is the keys of tokens as the files in its directory say, now: what RotateTokenKey changes there counts for the next token
// that is signed or verified, in every process.
type KeyRing struct {
	dir string

	mu      sync.Mutex
	changed time.Time // modification time of dir when it was read
	signing ed25519.PrivateKey
	kid     string
	retired map[string]retiredKey
}

// NewKeyRing reads the keys of tokens below dir, where LoadKeys made them.
func NewKeyRing(dir string) (*KeyRing, error) {
	r := &KeyRing{dir: dir}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.refresh()
}

// refresh reads the files again if the directory has changed. Every change is a file that is renamed into it or removed.
func (r *KeyRing) refresh() error {
	info, err := os.Stat(r.dir)
	if err != nil {
		return fmt.Errorf("look at the key directory: %w", err)
	}
	if r.signing != nil && info.ModTime().Equal(r.changed) {
		return nil
	}
	seed, err := loadKey(filepath.Join(r.dir, tokenKeyFile))
	if err != nil {
		return err
	}
	retired, err := readRetired(r.dir)
	if err != nil {
		return err
	}
	r.signing = ed25519.NewKeyFromSeed(seed)
	r.kid = keyID(publicOf(r.signing))
	r.retired, r.changed = retired, info.ModTime()
	if time.Since(r.changed) < time.Second {
		// A change so shortly after could have the same time on a file system with coarse ones.
		r.changed = time.Time{}
	}
	return nil
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey {
	return ed25519.PublicKey(key[ed25519.SeedSize:]) // RFC 8032: the second half
}

func readRetired(dir string) (map[string]retiredKey, error) {
	paths, err := filepath.Glob(filepath.Join(dir, publicPrefix+"*"+publicSuffix))
	if err != nil {
		return nil, fmt.Errorf("list retired keys: %w", err)
	}
	retired := map[string]retiredKey{}
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // retired for good at this moment
			continue
		}
		var key retiredKey
		if err == nil {
			err = json.Unmarshal(raw, &key)
		}
		if err != nil {
			return nil, fmt.Errorf("read retired key: %w", err)
		}
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(path), publicPrefix), publicSuffix)
		if len(key.Public) != ed25519.PublicKeySize || keyID(key.Public) != name {
			return nil, fmt.Errorf("%s does not hold the public key that it is named after", path)
		}
		retired[name] = key
	}
	return retired, nil
}

func (r *KeyRing) signer() (ed25519.PrivateKey, string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	_ = r.refresh() // the key from before still verifies
	return r.signing, r.kid
}

func (r *KeyRing) verifier(kid string, issued *jwt.NumericDate, now time.Time) (ed25519.PublicKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return nil, err // fail closed: a key may have been withdrawn
	}
	if kid == r.kid {
		return publicOf(r.signing), nil
	}
	key, ok := r.retired[kid]
	if !ok || now.After(key.VerifyUntil) || issued == nil || issued.After(key.RetiredAt.Add(leeway)) {
		return nil, errUnknownKey
	}
	return key.Public, nil
}

// Keys lists the keys that verify tokens, the one that signs first.
func (r *KeyRing) Keys() ([]KeyInfo, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.refresh(); err != nil {
		return nil, err
	}
	list := []KeyInfo{{ID: r.kid, Signing: true}}
	for id, key := range r.retired {
		list = append(list, KeyInfo{ID: id, RetiredAt: key.RetiredAt, VerifyUntil: key.VerifyUntil})
	}
	return list, nil
}

// RotateTokenKey makes a new key that signs tokens from now on and returns its id. The key before verifies those that it signed until
// the last of them can have expired; with atOnce it and all before it verify nothing any more. Services that run take notice by themselves.
func RotateTokenKey(dir string, now time.Time, atOnce bool) (string, error) {
	seed, err := loadKey(filepath.Join(dir, tokenKeyFile))
	if err != nil {
		return "", err
	}
	old := publicOf(ed25519.NewKeyFromSeed(seed))
	retired, err := readRetired(dir)
	if err != nil {
		return "", err
	}
	if !atOnce {
		record, err := json.Marshal(retiredKey{Public: old, RetiredAt: now.UTC(), VerifyUntil: now.Add(MaxTokenTTL).UTC()})
		if err != nil {
			return "", fmt.Errorf("encode retired key: %w", err)
		}
		if err := replaceFile(retiredPath(dir, keyID(old)), record); err != nil {
			return "", err
		}
	}
	fresh, err := newSeed(filepath.Join(dir, tokenKeyFile))
	if err != nil {
		return "", err
	}
	for id, key := range retired {
		if atOnce || now.After(key.VerifyUntil) {
			if err := os.Remove(retiredPath(dir, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return "", fmt.Errorf("remove retired key: %w", err)
			}
		}
	}
	return keyID(publicOf(fresh)), nil
}

// RetireTokenKey takes a key that signs no more out of use at once. CodeNotFound if there is none with that id.
func RetireTokenKey(dir, id string) error {
	retired, err := readRetired(dir)
	if err != nil {
		return err
	}
	if _, ok := retired[id]; !ok {
		return mayfly.Errorf(mayfly.CodeNotFound, "there is no retired key %s", id).
			WithHint("the key that signs is replaced with: mayfly token rotate-key --at-once")
	}
	if err := os.Remove(retiredPath(dir, id)); err != nil {
		return fmt.Errorf("remove retired key: %w", err)
	}
	return nil
}

func retiredPath(dir, id string) string { return filepath.Join(dir, publicPrefix+id+publicSuffix) }

func newSeed(path string) (ed25519.PrivateKey, error) {
	seed := randomKey(ed25519.SeedSize)
	if err := replaceFile(path, []byte(base64.StdEncoding.EncodeToString(seed))); err != nil {
		return nil, err
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// replaceFile writes a file of mode 0600 whole or not at all.
func replaceFile(path string, content []byte) error {
	temp, err := os.CreateTemp(filepath.Dir(path), ".key-*") // mode 0600
	if err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.Write(content)
	if err = errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("write key: %w", err)
	}
	return nil
}
