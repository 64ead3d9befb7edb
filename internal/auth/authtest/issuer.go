package authtest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/golang-jwt/jwt/v5"
)

// Issuer is a provider that listens on a loopback address.
type Issuer struct {
	server *httptest.Server
	tb     testing.TB

	mu       sync.Mutex
	keys     []*rsa.PrivateKey // the last one signs
	withdraw int               // how many of the first ones are no longer published
	down     bool
	asked    map[string]int
	document map[string]any
	handlers map[string]http.Handler
}

// NewIssuer starts a provider, which stops with the test.
func NewIssuer(tb testing.TB) *Issuer {
	tb.Helper()
	i := &Issuer{tb: tb, asked: map[string]int{}, handlers: map[string]http.Handler{}}
	i.server = httptest.NewServer(i)
	tb.Cleanup(i.server.Close)
	i.document = map[string]any{
		"issuer": i.server.URL, "jwks_uri": i.server.URL + "/.well-known/jwks",
		"authorization_endpoint": i.server.URL + "/authorize", "token_endpoint": i.server.URL + "/token",
		"device_authorization_endpoint": i.server.URL + "/device",
		"response_types_supported":      []string{"id_token"}, "subject_types_supported": []string{"public"},
		// More than is true, to see that nobody believes it.
		"id_token_signing_alg_values_supported": []string{"RS256", "HS256", "none"},
	}
	i.Rotate()
	return i
}

// URL is the issuer's name and address.
func (i *Issuer) URL() string { return i.server.URL }

// Handle serves a path in the test's own way, such as the token endpoint.
func (i *Issuer) Handle(path string, handler http.Handler) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.handlers[path] = handler
}

// Describe changes the discovery document.
func (i *Issuer) Describe(key string, value any) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.document[key] = value
}

// Rotate makes a new key, which signs from now on. The old ones stay published until Withdraw.
func (i *Issuer) Rotate() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		i.tb.Fatalf("make a key: %v", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, key)
}

// Withdraw stops publishing all keys but the last.
func (i *Issuer) Withdraw() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.withdraw = len(i.keys) - 1
}

// SetDown makes every request fail, or not.
func (i *Issuer) SetDown(down bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.down = down
}

// Asked returns how often a path was asked for.
func (i *Issuer) Asked(path string) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.asked[path]
}

// Key returns the key that signs, and its id.
func (i *Issuer) Key() (*rsa.PrivateKey, string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	n := len(i.keys) - 1
	return i.keys[n], keyID(n)
}

func keyID(n int) string { return fmt.Sprintf("key-%d", n) }

// ServeHTTP implements http.Handler.
func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.asked[r.URL.Path]++
	handler := i.handlers[r.URL.Path]
	switch {
	case i.down:
		http.Error(w, "down", http.StatusServiceUnavailable)
	case handler != nil:
		i.mu.Unlock()
		defer i.mu.Lock()
		handler.ServeHTTP(w, r)
	case r.URL.Path == "/.well-known/openid-configuration":
		i.answer(w, i.document)
	case r.URL.Path == "/.well-known/jwks":
		i.answer(w, i.published())
	default:
		http.NotFound(w, r)
	}
}

func (i *Issuer) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		i.tb.Errorf("answer: %v", err)
	}
}

func (i *Issuer) published() jose.JSONWebKeySet {
	var set jose.JSONWebKeySet
	for n, key := range i.keys {
		if n >= i.withdraw {
			set.Keys = append(set.Keys, jose.JSONWebKey{Key: key.Public(), KeyID: keyID(n), Algorithm: "RS256", Use: "sig"})
		}
	}
	return set
}

// Sign makes a token with these claims. iss, iat, nbf, exp (five minutes) and jti are filled in unless they are given; one that is
// nil is left out.
func (i *Issuer) Sign(claims map[string]any) string {
	i.tb.Helper()
	key, id := i.Key()
	return i.SignWith(claims, jwt.SigningMethodRS256, key, id)
}

// SignWith is Sign with another method, key and key id.
func (i *Issuer) SignWith(claims map[string]any, method jwt.SigningMethod, key any, id string) string {
	i.tb.Helper()
	now := time.Now()
	all := jwt.MapClaims{
		"iss": i.URL(), "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": rand.Text(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	token := jwt.NewWithClaims(method, all)
	token.Header["kid"] = id
	signed, err := token.SignedString(key)
	if err != nil {
		i.tb.Fatalf("sign: %v", err)
	}
	return signed
}

// Public returns the public half of the key that signs.
func (i *Issuer) Public() crypto.PublicKey {
	key, _ := i.Key()
	return key.Public()
}

// Actions returns the claims of a GitHub Actions workflow that runs for a pull request of a repository, as documented in GitHub's
// "OpenID Connect reference".
func Actions(audience string, repositoryID, ownerID int64, repository string, number int) map[string]any {
	ref := fmt.Sprintf("refs/pull/%d/merge", number)
	return map[string]any{
		"sub": "repo:" + repository + ":pull_request", "aud": audience, "ref": ref, "ref_type": "branch", "ref_protected": "false",
		"sha": "0f3d8a1c5b7e9f2046a8c0d1e2f3a4b5c6d7e8f9", "repository": repository, "repository_id": strconv.FormatInt(repositoryID, 10),
		"repository_owner": "acme", "repository_owner_id": strconv.FormatInt(ownerID, 10), "repository_visibility": "private",
		"actor": "alice", "actor_id": "11", "event_name": "pull_request", "head_ref": "add-phones", "base_ref": "main",
		"workflow": "CI", "workflow_ref": repository + "/.github/workflows/ci.yml@" + ref, "job_workflow_ref": repository + "/.github/workflows/ci.yml@" + ref,
		"run_id": "7019", "run_number": "12", "run_attempt": "1", "runner_environment": "github-hosted", "enterprise": "",
	}
}
