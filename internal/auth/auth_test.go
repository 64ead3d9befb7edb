package auth_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

func TestSeal(t *testing.T) {
	t.Parallel()
	keys, err := auth.LoadKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	sealed := keys.Sealer.Seal([]byte("secret"), []byte("p1"))
	if strings.Contains(string(sealed), "secret") {
		t.Error("the sealed value has the plaintext in it")
	}
	if got, err := keys.Sealer.Open(sealed, []byte("p1")); err != nil || string(got) != "secret" {
		t.Errorf("open: %q, %v", got, err)
	}
	if _, err := keys.Sealer.Open(sealed, []byte("p2")); err == nil {
		t.Error("a value sealed for one preview opens for another")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := keys.Sealer.Open(sealed, []byte("p1")); err == nil {
		t.Error("a changed value opens")
	}
	if _, err := keys.Sealer.Open(nil, nil); err == nil {
		t.Error("an empty value opens")
	}
}

func TestLoadKeysIsOneKeyForAll(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "keys")
	ids := make([]string, 16)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			keys, err := auth.LoadKeys(dir)
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = keys.KeyID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("processes that start together have different keys: %v", ids)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 3 { // of tokens, of what is sealed, of attestations
		t.Errorf("%d files in the key directory, %v", len(entries), err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode of %s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

type revokedSet map[string]bool

func (r revokedSet) TokenRevoked(_ context.Context, id string) (bool, error) { return r[id], nil }

func TestTokens(t *testing.T) {
	t.Parallel()
	keys, err := auth.LoadKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.FixedZone("x", 5*3600))
	revoked := revokedSet{}
	tokens := auth.NewTokens(keys, revoked, func() time.Time { return now })
	signed, issued, err := tokens.Issue("ci", []auth.Scope{auth.ScopePreviewsRead}, []string{"shop"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tokens.Verify(t.Context(), signed)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "ci" || got.ID != issued.ID || !got.ExpiresAt.Equal(issued.ExpiresAt) {
		t.Errorf("verified token differs: %+v, %+v", got, issued)
	}
	for _, c := range []struct {
		scope   auth.Scope
		project string
		want    bool
	}{
		{auth.ScopePreviewsRead, "shop", true}, {auth.ScopePreviewsRead, "", true},
		{auth.ScopePreviewsRead, "other", false}, {auth.ScopePreviewsWrite, "shop", false}, {auth.ScopeAdmin, "shop", false},
	} {
		if got.Allows(c.scope, c.project) != c.want {
			t.Errorf("Allows(%s, %q) is %v", c.scope, c.project, !c.want)
		}
	}
	refused := func(what, token string) {
		t.Helper()
		if _, err := tokens.Verify(t.Context(), token); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
			t.Errorf("%s: %v", what, err)
		}
	}
	parts := strings.Split(signed, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT","kid":"`+keys.KeyID+`"}`)) + "." + parts[1] + "."
	refused("alg none", none)
	confused := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "mayfly", "aud": "mayfly", "jti": "x", "scope": "admin", "exp": now.Add(time.Hour).Unix(),
	})
	confused.Header["kid"] = keys.KeyID
	hs, err := confused.SignedString([]byte(keys.Signing.Public().(ed25519.PublicKey)))
	if err != nil {
		t.Fatal(err)
	}
	refused("key confusion", hs)
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	forged := auth.NewTokens(&auth.Keys{Signing: other, KeyID: keys.KeyID}, nil, func() time.Time { return now })
	fake, _, err := forged.Issue("x", []auth.Scope{auth.ScopeAdmin}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	refused("another key", fake)
	refused("garbage", "not.a.token")
	refused("empty", "")
	revoked[issued.ID] = true
	refused("revoked", signed)
	delete(revoked, issued.ID)
	now = now.Add(2 * time.Hour)
	refused("expired", signed)
	now = now.Add(-24 * time.Hour)
	refused("from the future", signed)

	for what, call := range map[string]func() error{
		"unknown scope": func() error { _, _, err := tokens.Issue("x", []auth.Scope{"all"}, nil, time.Hour); return err },
		"no scope":      func() error { _, _, err := tokens.Issue("x", nil, nil, time.Hour); return err },
		"no expiry":     func() error { _, _, err := tokens.Issue("x", auth.Scopes(), nil, 0); return err },
		"too long":      func() error { _, _, err := tokens.Issue("x", auth.Scopes(), nil, 10*auth.MaxTokenTTL); return err },
	} {
		if mayfly.ErrorCode(call()) != mayfly.CodeInvalid {
			t.Errorf("%s is not refused", what)
		}
	}
}

func TestAdminIsNotLimited(t *testing.T) {
	t.Parallel()
	keys, err := auth.LoadKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = auth.NewTokens(keys, nil, time.Now).Issue("x", []auth.Scope{auth.ScopeAdmin}, []string{"shop"}, time.Hour)
	if mayfly.ErrorCode(err) != mayfly.CodeInvalid || mayfly.ErrorHint(err) == "" {
		t.Errorf("a token that looks limited and is not: %v", err)
	}
}

func TestTokenID(t *testing.T) {
	t.Parallel()
	keys, err := auth.LoadKeys(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	signed, token, err := auth.NewTokens(keys, nil, time.Now).Issue("x", auth.Scopes(), nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := auth.TokenID(signed); err != nil || id != token.ID || !auth.ValidTokenID(id) {
		t.Errorf("the id of the token %s is read as %q, %v", token.ID, id, err)
	}
	for _, bad := range []string{"", "x", "a.b.c", token.ID} {
		if _, err := auth.TokenID(bad); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "x", token.ID + "00", strings.ToUpper("abcdef" + token.ID[6:]), "../" + token.ID[3:]} {
		if auth.ValidTokenID(bad) {
			t.Errorf("%q is taken for an id", bad)
		}
	}
}

// TestLoadKeysBeforeTheService makes a token on a new machine: the directories are as the service wants them.
func TestLoadKeysBeforeTheService(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "lib", "mayfly")
	if _, err := auth.LoadKeys(filepath.Join(data, "keys")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{data: 0o711, filepath.Join(data, "keys"): 0o700} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
}

func TestLoadKeysRefusesOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, content := range []string{"", "not base64!", "c2hvcnQ="} {
		if err := os.WriteFile(filepath.Join(dir, "seal.key"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := auth.LoadKeys(dir); err == nil {
			t.Errorf("a key file with %q is taken", content)
		}
	}
}
