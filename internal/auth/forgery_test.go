package auth_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

// forge is a token that somebody made by hand.
type forge struct {
	method jwt.SigningMethod
	key    any
	header map[string]any
	claims jwt.MapClaims
}

func (f forge) sign(t *testing.T) string {
	t.Helper()
	token := jwt.NewWithClaims(f.method, f.claims)
	for name, value := range f.header {
		token.Header[name] = value
	}
	signed, err := token.SignedString(f.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestForgeries tries what has let strangers into services that take JWTs. The base of every attempt is a set of claims that is taken when
// it is signed as it should be.
func TestForgeries(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys, err := auth.LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	ring, err := auth.NewKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	tokens := auth.NewTokens(ring, nil, func() time.Time { return now })
	public := keys.Signing.Public().(ed25519.PublicKey)
	_, stranger, _ := ed25519.GenerateKey(rand.Reader)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	good := func(change func(*forge)) string {
		f := forge{
			method: jwt.SigningMethodEdDSA, key: keys.Signing, header: map[string]any{"kid": keys.KeyID},
			claims: jwt.MapClaims{
				"iss": "mayfly", "aud": "mayfly", "sub": "mallory", "jti": strings.Repeat("ab", 16), "scope": "admin",
				"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
			},
		}
		change(&f)
		return f.sign(t)
	}
	if _, err := tokens.Verify(t.Context(), good(func(*forge) {})); err != nil {
		t.Fatalf("what is right is refused: %v", err)
	}
	der := func() []byte { // the public key as people would paste it
		return []byte(base64.StdEncoding.EncodeToString(public))
	}
	attempts := map[string]string{
		"alg none":     good(func(f *forge) { f.method, f.key = jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType }),
		"another key":  good(func(f *forge) { f.key = stranger }),
		"HS256, raw":   good(func(f *forge) { f.method, f.key = jwt.SigningMethodHS256, []byte(public) }),
		"HS256, text":  good(func(f *forge) { f.method, f.key = jwt.SigningMethodHS256, der() }),
		"HS512, kid":   good(func(f *forge) { f.method, f.key = jwt.SigningMethodHS512, []byte(keys.KeyID) }),
		"HS256, empty": good(func(f *forge) { f.method, f.key = jwt.SigningMethodHS256, []byte{} }),
		"RS256":        good(func(f *forge) { f.method, f.key = jwt.SigningMethodRS256, rsaKey }),
		"key inside": good(func(f *forge) {
			f.key = stranger
			f.header["jwk"] = map[string]string{"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(stranger.Public().(ed25519.PublicKey))}
		}),
		"jku":        good(func(f *forge) { f.key = stranger; f.header["jku"] = "https://attacker.example/keys" }),
		"no kid":     good(func(f *forge) { delete(f.header, "kid") }),
		"kid empty":  good(func(f *forge) { f.header["kid"] = "" }),
		"kid a path": good(func(f *forge) { f.header["kid"] = "../token.key"; f.key = stranger }),
		"kid /dev/null": good(func(f *forge) {
			f.header["kid"] = "../../../../dev/null"
			f.method, f.key = jwt.SigningMethodHS256, []byte{}
		}),
		"kid a list":   good(func(f *forge) { f.header["kid"] = []string{keys.KeyID} }),
		"kid SQL":      good(func(f *forge) { f.header["kid"] = "x' or '1'='1"; f.key = stranger }),
		"audience":     good(func(f *forge) { f.claims["aud"] = "grafana" }),
		"no audience":  good(func(f *forge) { delete(f.claims, "aud") }),
		"issuer":       good(func(f *forge) { f.claims["iss"] = "https://token.actions.githubusercontent.com" }),
		"no issuer":    good(func(f *forge) { delete(f.claims, "iss") }),
		"expired":      good(func(f *forge) { f.claims["exp"] = now.Add(-time.Minute).Unix() }),
		"no expiry":    good(func(f *forge) { delete(f.claims, "exp") }),
		"expiry text":  good(func(f *forge) { f.claims["exp"] = "never" }),
		"future":       good(func(f *forge) { f.claims["iat"] = now.Add(time.Hour).Unix() }),
		"not yet":      good(func(f *forge) { f.claims["nbf"] = now.Add(time.Hour).Unix() }),
		"no iat":       good(func(f *forge) { delete(f.claims, "iat") }),
		"no id":        good(func(f *forge) { delete(f.claims, "jti") }),
		"id a path":    good(func(f *forge) { f.claims["jti"] = "../../x" }),
		"cut":          func() string { s := good(func(*forge) {}); return s[:len(s)-4] }(),
		"two payloads": func() string { s := good(func(*forge) {}); return s + "." + strings.Split(s, ".")[1] }(),
		"JSON":         `{"protected":"e30","payload":"e30","signature":""}`,
		"padding":      func() string { s := good(func(*forge) {}); return s + "==" }(),
		"control":      "\x00" + good(func(*forge) {}),
	}
	for what, signed := range attempts {
		token, err := tokens.Verify(t.Context(), signed)
		if mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
			t.Errorf("%s: taken as %+v, error %v", what, token, err)
		} else if strings.Contains(err.Error(), "kid") || strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the answer says how it was found out: %v", what, err)
		}
	}
	// The signature of one token under the claims of another.
	parts, other := strings.Split(good(func(f *forge) { f.claims["scope"] = "previews:read" }), "."), strings.Split(good(func(*forge) {}), ".")
	if _, err := tokens.Verify(t.Context(), parts[0]+"."+other[1]+"."+parts[2]); err == nil {
		t.Error("claims can be exchanged below a signature")
	}
}

// TestRotation follows tokens through two changes of the key, as a service that goes on running sees them.
func TestRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if _, err := auth.LoadKeys(dir); err != nil {
		t.Fatal(err)
	}
	ring, err := auth.NewKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	tokens := auth.NewTokens(ring, nil, func() time.Time { return now })
	issue := func() string {
		signed, _, err := tokens.Issue("x", []auth.Scope{auth.ScopeAdmin}, nil, auth.MaxTokenTTL)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	works := func(what, signed string, want bool) {
		t.Helper()
		_, err := tokens.Verify(t.Context(), signed)
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	kid := func(signed string) string {
		raw, err := base64.RawURLEncoding.DecodeString(strings.Split(signed, ".")[0])
		var header struct {
			Kid string `json:"kid"`
		}
		if err != nil || json.Unmarshal(raw, &header) != nil {
			t.Fatal("no header")
		}
		return header.Kid
	}
	first := issue()
	id, err := auth.RotateTokenKey(dir, now, false)
	if err != nil {
		t.Fatal(err)
	}
	second := issue()
	if kid(second) != id || kid(first) == id {
		t.Errorf("after the rotation to %s tokens are signed by %s, before by %s", id, kid(second), kid(first))
	}
	works("a token from before a rotation", first, true)
	works("a token from after it", second, true)

	list, err := ring.Keys()
	if err != nil || len(list) != 2 || !list[0].Signing || list[1].ID != kid(first) || list[1].VerifyUntil.Before(now.Add(auth.MaxTokenTTL-time.Minute)) {
		t.Errorf("the keys are %+v, %v", list, err)
	}
	if err := auth.RetireTokenKey(dir, kid(first)); err != nil {
		t.Fatal(err)
	}
	works("a token of a key that was retired for good", first, false)
	works("one of the key that signs", second, true)
	if mayfly.ErrorCode(auth.RetireTokenKey(dir, "nonsense")) != mayfly.CodeNotFound {
		t.Error("a key that is not there can be retired")
	}
	if _, err := auth.RotateTokenKey(dir, now, true); err != nil {
		t.Fatal(err)
	}
	works("a token from before a rotation at once", second, false)
	third := issue()
	works("the newest token", third, true)
	if _, err := auth.RotateTokenKey(dir, now, false); err != nil {
		t.Fatal(err)
	}
	now = now.Add(auth.MaxTokenTTL + time.Hour)
	works("a token whose key has had its time", third, false)
	// What lies about in the directory is not taken for a key.
	if err := os.WriteFile(filepath.Join(dir, "token-"+kid(third)+".public"), []byte(`{"public":"AAAA"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	works("a broken directory of keys", issueOne(t, tokens), false)
}

func issueOne(t *testing.T, tokens *auth.Tokens) string {
	t.Helper()
	signed, _, err := tokens.Issue("x", []auth.Scope{auth.ScopeAdmin}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestReplacedKeyMakesNoNewTokens has the private half of a key that was replaced.
func TestReplacedKeyMakesNoNewTokens(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stolen, err := auth.LoadKeys(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Truncate(time.Second)
	if _, err := auth.RotateTokenKey(dir, now, false); err != nil {
		t.Fatal(err)
	}
	ring, err := auth.NewKeyRing(dir)
	if err != nil {
		t.Fatal(err)
	}
	later := func() time.Time { return now.Add(time.Hour) }
	signed, _, err := auth.NewTokens(stolen, nil, later).Issue("mallory", []auth.Scope{auth.ScopeAdmin}, nil, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := auth.NewTokens(ring, nil, later).Verify(t.Context(), signed); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("a key that was replaced an hour ago makes tokens: %v", err)
	}
}

// TestRoles says what each role may do, and where.
func TestRoles(t *testing.T) {
	t.Parallel()
	for role, want := range map[auth.Role][]auth.Scope{
		auth.RoleViewer:    {auth.ScopePreviewsRead},
		auth.RoleDeveloper: {auth.ScopePreviewsRead, auth.ScopePreviewsWrite, auth.ScopeCredentialsRead},
		auth.RoleMaintainer: {
			auth.ScopePreviewsRead, auth.ScopePreviewsWrite, auth.ScopeCredentialsRead, auth.ScopePreviewsManage, auth.ScopeTemplatesWrite, auth.ScopeAuditRead,
		},
		auth.RoleAdmin: {
			auth.ScopePreviewsRead, auth.ScopePreviewsWrite, auth.ScopeCredentialsRead, auth.ScopePreviewsManage, auth.ScopeTemplatesWrite, auth.ScopeAuditRead,
		},
	} {
		token := &auth.Token{Grants: auth.Grants{"shop": role, "till": auth.RoleViewer}}
		for _, scope := range auth.Scopes() {
			if token.Allows(scope, "shop") != slices.Contains(want, scope) {
				t.Errorf("%s in shop, %s: %v", role, scope, !slices.Contains(want, scope))
			}
			if token.Allows(scope, "till") != (scope == auth.ScopePreviewsRead) || token.Allows(scope, "other") {
				t.Errorf("%s in shop says something about %s elsewhere", role, scope)
			}
		}
		if token.Allows(auth.ScopeAdmin, "") || token.All() {
			t.Errorf("%s of a project may do what is for the installation", role)
		}
	}
	all := &auth.Token{Grants: auth.Grants{auth.AllProjects: auth.RoleAdmin}}
	if !all.Allows(auth.ScopeAdmin, "") || all.Visible(auth.ScopePreviewsRead) != nil {
		t.Error("an admin of all projects is none of the installation")
	}
	mixed := &auth.Token{Scopes: []auth.Scope{auth.ScopePreviewsRead}, Projects: []string{"a"}, Grants: auth.Grants{"b": auth.RoleMaintainer}}
	if got := mixed.Visible(auth.ScopePreviewsRead); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("sees %v", got)
	}
	if got := mixed.Visible(auth.ScopeAuditRead); !slices.Equal(got, []string{"b"}) {
		t.Errorf("reads the audit log of %v", got)
	}
	if got := (&auth.Token{}).Visible(auth.ScopePreviewsRead); got == nil || len(got) != 0 {
		t.Errorf("a token that allows nothing sees %v", got)
	}
}

func TestReadGrants(t *testing.T) {
	t.Parallel()
	got, err := auth.ReadGrants([]string{"developer", "till=maintainer"}, []string{"shop", "blog"})
	if err != nil || got["shop"] != auth.RoleDeveloper || got["blog"] != auth.RoleDeveloper || got["till"] != auth.RoleMaintainer || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := auth.ReadGrants([]string{"viewer"}, nil); err != nil || got[auth.AllProjects] != auth.RoleViewer {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"owner", "shop=", "=viewer", ""} {
		if _, err := auth.ReadGrants([]string{bad}, nil); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
