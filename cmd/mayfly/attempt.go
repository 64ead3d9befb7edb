package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// attempt is one request for a sandbox. Its key stays in a file until it is known how the request ended: the same command after Ctrl-C, a
// lost connection or a crash makes the same request again, which the server answers with the sandbox that is there. While one command
// runs, the file is locked, and another that asks for the same at that time asks for a sandbox of its own.
type attempt struct {
	key  string
	file *os.File // nil if nothing is kept
}

// attemptLife is how long an interrupted request is taken up again; the server keeps keys for longer.
const attemptLife = time.Hour

// attempt begins a request, or takes up the same one that was interrupted. A machine on which nothing can be written has no memory of
// requests, and that is no reason to fail.
func (s *shell) attempt(key string, r client.CreatePreview) (*attempt, error) {
	if key != "" {
		return &attempt{key: key}, nil
	}
	fresh := &attempt{key: rand.Text()}
	t, err := s.conn.target()
	if err != nil {
		return nil, err
	}
	raw, err := json.Marshal(r)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	digest := sha256.Sum256(append([]byte(t.server+"\x00"), raw...))
	path := filepath.Join(cacheDir(), "requests", hex.EncodeToString(digest[:16]))
	if os.MkdirAll(filepath.Dir(path), 0o700) != nil {
		return fresh, nil //nolint:nilerr // as below
	}
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fresh, nil //nolint:nilerr // a machine on which nothing can be written
	}
	if unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		_ = file.Close()
		return fresh, nil //nolint:nilerr // another command does the same at this moment
	}
	fresh.file = file
	if kept, err := os.ReadFile(path); err == nil {
		at, key, ok := strings.Cut(strings.TrimSpace(string(kept)), " ")
		if when, err := time.Parse(time.RFC3339, at); ok && err == nil && time.Since(when) < attemptLife {
			fresh.key = key
			return fresh, nil
		}
	}
	if errors.Join(file.Truncate(0), writeAt(file, time.Now().UTC().Format(time.RFC3339)+" "+fresh.key+"\n")) != nil {
		fresh.end(nil)
	}
	return fresh, nil
}

func writeAt(file *os.File, text string) error {
	_, err := file.WriteAt([]byte(text), 0)
	return err
}

// end forgets a request whose end is known, and keeps the others.
func (a *attempt) end(err error) {
	if a.file == nil {
		return
	}
	switch mayfly.ErrorCode(err) {
	case mayfly.CodeCancelled, mayfly.CodeTimeout, mayfly.CodeInternal, mayfly.CodeStateUnavailable:
	default:
		_ = os.Remove(a.file.Name())
	}
	_ = a.file.Close()
	a.file = nil
}

// cacheDir is $XDG_CACHE_HOME/mayfly, or ~/.cache/mayfly.
func cacheDir() string {
	base := os.Getenv("XDG_CACHE_HOME")
	if !filepath.IsAbs(base) {
		base = filepath.Join(os.Getenv("HOME"), ".cache")
	}
	return filepath.Join(base, "mayfly")
}
