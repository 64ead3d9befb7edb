package auth_test

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/auth/authtest"
)

// movable is a clock that tests move.
type movable struct{ by atomic.Int64 }

func (m *movable) now() time.Time          { return time.Now().Add(time.Duration(m.by.Load())) }
func (m *movable) forward(d time.Duration) { m.by.Add(int64(d)) }

func newIssuer(t *testing.T) (*authtest.Issuer, *auth.Issuer, *movable) {
	t.Helper()
	fake, clock := authtest.NewIssuer(t), &movable{}
	issuer, err := auth.NewIssuer(auth.IssuerOptions{URL: fake.URL(), Logger: slog.New(slog.DiscardHandler), Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return fake, issuer, clock
}

const (
	jwksPath      = "/.well-known/jwks"
	discoveryPath = "/.well-known/openid-configuration"
)

func TestIssuerVerifies(t *testing.T) {
	t.Parallel()
	fake, issuer, _ := newIssuer(t)
	claims := authtest.Actions("https://mayfly.example", 74, 65, "acme/shop", 7)
	claims["big"], claims["groups"], claims["one"], claims["yes"] = json.Number("9007199254740993"), []string{"a", "b"}, "c", true
	got, err := issuer.Verify(t.Context(), fake.Sign(claims), "https://mayfly.example")
	if err != nil {
		t.Fatal(err)
	}
	if got.Claim("repository_id") != "74" || got.Claim("big") != "9007199254740993" || got.Claim("yes") != "true" ||
		got.Claim("groups") != "" || len(got.Claims("groups")) != 2 || len(got.Claims("one")) != 1 || got.ID == "" || got.Issuer != fake.URL() {
		t.Errorf("claims are read wrongly: %+v", got)
	}
	for range 20 {
		if _, err := issuer.Verify(t.Context(), fake.Sign(claims), "https://mayfly.example"); err != nil {
			t.Fatal(err)
		}
	}
	if n, m := fake.Asked(discoveryPath), fake.Asked(jwksPath); n != 1 || m != 1 {
		t.Errorf("%d requests for discovery and %d for keys for the same key", n, m)
	}
}

func TestIssuerRefusesForgeries(t *testing.T) {
	t.Parallel()
	fake, issuer, _ := newIssuer(t)
	const audience = "https://mayfly.example"
	with := func(changes ...any) map[string]any {
		claims := authtest.Actions(audience, 74, 65, "acme/shop", 7)
		for i := 0; i < len(changes); i += 2 {
			claims[changes[i].(string)] = changes[i+1]
		}
		return claims
	}
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	good := fake.Sign(with())
	parts := strings.Split(good, ".")
	_, kid := fake.Key()
	public, err := x509.MarshalPKIXPublicKey(fake.Public())
	if err != nil {
		t.Fatal(err)
	}
	other := authtest.NewIssuer(t)
	otherKey, _ := other.Key()
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT","kid":"` + kid + `"}`))
	embedded := func() string { // a token that brings its own key
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(with("iss", fake.URL(), "exp", at(time.Minute), "iat", at(0), "jti", "x")))
		token.Header["jku"] = other.URL() + jwksPath
		signed, err := token.SignedString(otherKey)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	cases := map[string]string{
		"alg none":                     none + "." + parts[1] + ".",
		"alg none, signature kept":     none + "." + parts[1] + "." + parts[2],
		"HS256 with the public key":    fake.SignWith(with(), jwt.SigningMethodHS256, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}), kid),
		"HS256 with the DER of it":     fake.SignWith(with(), jwt.SigningMethodHS256, public, kid),
		"another key, same id":         fake.SignWith(with(), jwt.SigningMethodRS256, otherKey, kid),
		"another key, its own address": embedded(),
		"other audience":               fake.Sign(with("aud", "https://other.example")),
		"no audience":                  fake.Sign(with("aud", nil)),
		"many audiences":               fake.Sign(with("aud", []string{audience, "https://other.example"})),
		"issued to another":            fake.Sign(with("azp", "somebody")),
		"other issuer":                 fake.Sign(with("iss", "https://token.actions.githubusercontent.com")),
		"issuer with a slash":          fake.Sign(with("iss", fake.URL()+"/")),
		"expired":                      fake.Sign(with("exp", at(-2*time.Minute))),
		"no expiry":                    fake.Sign(with("exp", nil)),
		"from the future":              fake.Sign(with("iat", at(10*time.Minute), "exp", at(20*time.Minute))),
		"not yet valid":                fake.Sign(with("nbf", at(10*time.Minute))),
		"no iat":                       fake.Sign(with("iat", nil)),
		"no subject":                   fake.Sign(with("sub", nil)),
		"changed":                      parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"x"}`)) + "." + parts[2],
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"empty":                        "",
		"garbage":                      "a.b.c",
		"huge":                         good + strings.Repeat("A", 64<<10),
	}
	for name, token := range cases {
		_, err := issuer.Verify(t.Context(), token, audience)
		if mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated || err.Error() != "the token is not valid" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := issuer.Verify(t.Context(), good, audience); err != nil {
		t.Errorf("the good token after the forged ones: %v", err)
	}
	if _, err := issuer.Verify(t.Context(), fake.Sign(with("exp", at(-30*time.Second))), audience); err != nil {
		t.Errorf("a clock that is half a minute ahead: %v", err)
	}
	if n := other.Asked(jwksPath); n != 0 {
		t.Errorf("an address that a token named was asked %d times", n)
	}
}

func TestIssuerRotatesKeys(t *testing.T) {
	t.Parallel()
	fake, issuer, clock := newIssuer(t)
	claims := authtest.Actions("a", 74, 65, "acme/shop", 7)
	claims["exp"] = time.Now().Add(48 * time.Hour).Unix()
	old := fake.Sign(claims)
	verify := func(token string) mayfly.Code {
		_, err := issuer.Verify(t.Context(), token, "a")
		return mayfly.ErrorCode(err)
	}
	if code := verify(old); code != "" {
		t.Fatal(code)
	}
	fake.Rotate()
	if code := verify(fake.Sign(claims)); code != "" {
		t.Errorf("a token with a new key: %s", code)
	}
	key, _ := fake.Key()
	for n := range 50 {
		if code := verify(fake.SignWith(claims, jwt.SigningMethodRS256, key, "made-up-"+string(rune('a'+n)))); code != mayfly.CodeUnauthenticated {
			t.Fatalf("a made-up key id: %s", code)
		}
	}
	if n := fake.Asked(jwksPath); n > 6 {
		t.Errorf("50 tokens with made-up key ids led to %d requests", n)
	}
	if code := verify(old); code != "" {
		t.Errorf("a token with a key that is known: %s", code)
	}
	clock.forward(10 * time.Second)
	fake.Rotate()
	if code := verify(fake.Sign(claims)); code != "" {
		t.Errorf("a token with a new key, after the made-up ones: %s", code)
	}
	fake.Withdraw()
	clock.forward(2 * time.Hour)
	if code := verify(old); code != mayfly.CodeUnauthenticated {
		t.Errorf("a token with a key that was withdrawn hours ago: %q", code)
	}
}

func TestIssuerUnreachable(t *testing.T) {
	t.Parallel()
	fake, issuer, clock := newIssuer(t)
	claims := authtest.Actions("a", 74, 65, "acme/shop", 7)
	claims["exp"] = time.Now().Add(72 * time.Hour).Unix()
	token := fake.Sign(claims)
	code := func(token string) mayfly.Code {
		_, err := issuer.Verify(t.Context(), token, "a")
		return mayfly.ErrorCode(err)
	}
	fake.SetDown(true)
	for range 10 { // also when it is not asked any more
		if got := code(token); got != mayfly.CodeIssuerUnavailable {
			t.Fatalf("without keys: %q", got)
		}
	}
	fake.SetDown(false)
	clock.forward(time.Minute)
	if got := code(token); got != "" {
		t.Fatalf("the issuer is back: %q", got)
	}
	fake.SetDown(true)
	clock.forward(5 * time.Hour)
	if got := code(token); got != "" {
		t.Errorf("with keys of five hours ago: %q", got)
	}
	fake.Rotate()
	clock.forward(time.Minute)
	if got := code(fake.Sign(claims)); got != mayfly.CodeIssuerUnavailable {
		t.Errorf("with a key that cannot be known: %q", got)
	}
	clock.forward(24 * time.Hour)
	if got := code(token); got != mayfly.CodeIssuerUnavailable {
		t.Errorf("with keys of yesterday: %q", got)
	}
}

func TestIssuerAddresses(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"https://token.actions.githubusercontent.com": true, "https://ghe.example/_services/token": true, "http://127.0.0.1:1": true,
		"http://[::1]:1": true, "http://localhost:8080/x": true,
		"http://169.254.169.254/": false, "http://issuer.example": false, "": false, "issuer.example": false, "file:///etc/passwd": false,
		"https://u:p@issuer.example": false, "https://issuer.example?x=y": false, "https://issuer.example#x": false, "gopher://127.0.0.1": false,
	} {
		_, err := auth.NewIssuer(auth.IssuerOptions{URL: text})
		if (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
	fake, issuer, _ := newIssuer(t)
	token := fake.Sign(authtest.Actions("a", 74, 65, "acme/shop", 7))
	for what, change := range map[string]func(){
		"keys over plain http": func() { fake.Describe("jwks_uri", "http://keys.example/jwks") },
		"another's document":   func() { fake.Describe("issuer", "https://accounts.google.com") },
		"a redirect": func() {
			fake.Handle(discoveryPath, http.RedirectHandler("http://169.254.169.254/latest/meta-data", http.StatusFound))
		},
	} {
		change()
		if _, err := issuer.Verify(t.Context(), token, "a"); mayfly.ErrorCode(err) != mayfly.CodeIssuerUnavailable {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestIssuerBehindProxyAndCA reaches an issuer with a certificate of a private authority, through a proxy.
func TestIssuerBehindProxyAndCA(t *testing.T) {
	t.Parallel()
	fake := authtest.NewIssuer(t)
	secure := httptest.NewTLSServer(fake)
	t.Cleanup(secure.Close)
	fake.Describe("issuer", secure.URL)
	fake.Describe("jwks_uri", secure.URL+jwksPath)
	var proxied atomic.Int32
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	open := func(roots *x509.CertPool) error {
		issuer, err := auth.NewIssuer(auth.IssuerOptions{
			URL: secure.URL, RootCAs: roots, Logger: slog.New(slog.DiscardHandler), Now: time.Now,
			Proxy: func(*http.Request) (*url.URL, error) { proxied.Add(1); return nil, nil }, //nolint:nilnil // no proxy after all
		})
		if err != nil {
			return err
		}
		claims := authtest.Actions("a", 74, 65, "acme/shop", 7)
		claims["iss"] = secure.URL
		_, err = issuer.Verify(t.Context(), fake.Sign(claims), "a")
		return err
	}
	if err := open(nil); mayfly.ErrorCode(err) != mayfly.CodeIssuerUnavailable {
		t.Errorf("a certificate that nobody vouches for: %v", err)
	}
	if err := open(pool); err != nil {
		t.Errorf("with the private authority: %v", err)
	}
	if proxied.Load() == 0 {
		t.Error("no proxy was asked for")
	}
}
