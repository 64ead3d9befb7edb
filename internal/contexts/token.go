package contexts

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Token is what signing in gave.
type Token struct {
	Access string `json:"access_token"`
	// Refresh gets the next access token; "" if there is none.
	Refresh string `json:"refresh_token,omitempty"`
	// ExpiresAt is when Access ends; zero if that is not known.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	Subject   string    `json:"subject,omitempty"`
}

// expiresSoon is how long before its end a token is refreshed.
const expiresSoon = time.Minute

// Usable reports whether the access token can be used at that time.
func (t *Token) Usable(now time.Time) bool {
	return t.Access != "" && (t.ExpiresAt.IsZero() || now.Add(expiresSoon).Before(t.ExpiresAt))
}

func (d Dir) tokenPath(name string) string { return filepath.Join(string(d), "tokens", name+".json") }

// Token returns the token that is kept for a context; nil if there is none.
func (d Dir) Token(name string) (*Token, error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(d.tokenPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // no token is kept
	}
	t := &Token{}
	if err == nil {
		err = json.Unmarshal(raw, t)
	}
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the token of the context %s cannot be read", name).WithHint("mayfly login --context %s", name)
	}
	return t, nil
}

// PutToken keeps a token for a context.
func (d Dir) PutToken(name string, t Token) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	unlock, err := d.lock()
	if err != nil {
		return err
	}
	defer unlock()
	return d.putToken(name, t)
}

func (d Dir) putToken(name string, t Token) error {
	if err := os.MkdirAll(filepath.Dir(d.tokenPath(name)), 0o700); err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "make the directory of tokens: %w", err)
	}
	raw, err := json.Marshal(t) //nolint:gosec // it is what the file is for, which only its owner can read
	if err != nil {
		return fmt.Errorf("encode the token: %w", err)
	}
	return replace(d.tokenPath(name), raw)
}

// RemoveToken forgets a context's token. There being none is no error.
func (d Dir) RemoveToken(name string) error {
	if err := ValidateName(name); err != nil {
		return err
	}
	if err := os.Remove(d.tokenPath(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return mayfly.Errorf(mayfly.CodeInvalid, "remove the token: %w", err)
	}
	return nil
}

// Refreshed returns a context's token, made new with refresh if it ends soon. Of several processes one refreshes, and the others use
// what it got: a refresh token may be good for one use only.
func (d Dir) Refreshed(ctx context.Context, name string, now time.Time, refresh func(context.Context, Token) (*Token, error)) (*Token, error) {
	t, err := d.Token(name)
	if err != nil || t == nil || t.Usable(now) || t.Refresh == "" {
		return t, err
	}
	unlock, err := d.lock()
	if err != nil {
		return nil, err
	}
	defer unlock()
	if t, err = d.Token(name); err != nil || t == nil || t.Usable(now) || t.Refresh == "" {
		return t, err
	}
	next, err := refresh(ctx, *t)
	if err != nil {
		return nil, err
	}
	if next.Refresh == "" {
		next.Refresh = t.Refresh
	}
	if next.Subject == "" {
		next.Subject = t.Subject
	}
	return next, d.putToken(name, *next)
}
