package auth

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/oauth2"
	"golang.org/x/sync/singleflight"

	mayfly "github.com/mayflydb/mayfly"
)

// IssuerOptions describe an OpenID Connect provider whose tokens are believed. They come from the configuration only: nothing
// that a token says chooses the address that is asked for keys.
type IssuerOptions struct {
	// URL is the issuer as its tokens name it ("iss"), https unless the host is a loopback address.
	URL string
	// RootCAs are the authorities that may vouch for the issuer's host; nil means the system's.
	RootCAs *x509.CertPool
	// Proxy chooses a proxy for a request; nil means HTTPS_PROXY and NO_PROXY of the environment.
	Proxy  func(*http.Request) (*url.URL, error)
	Logger *slog.Logger
	Now    func() time.Time
}

// Issuer verifies the ID tokens of one OpenID Connect provider. Its keys are found by discovery (OpenID Connect Discovery 1.0) and
// kept; a token with a key that is not known leads to a look for new ones, but not more often than the provider should be asked.
// Methods may be called concurrently.
type Issuer struct {
	opts   IssuerOptions
	client *http.Client
	lookUp singleflight.Group

	mu       sync.Mutex
	provider *oidc.Provider
	keys     oidc.KeySet
	found    time.Time // when discovery last succeeded
}

const (
	// issuerLeeway is how far the clocks of issuers may be from ours.
	issuerLeeway = time.Minute
	// keysFresh is how long keys are used before they are looked up again, so that a key that the issuer withdrew ends, too.
	keysFresh = time.Hour
	// keysStale is how long keys are used while the issuer does not answer.
	keysStale = 24 * time.Hour
	// maxIDToken bounds a token in bytes; the longest known ones, with groups in them, have a tenth of that.
	maxIDToken = 32 << 10
)

// signatureAlgorithms are those with a private key that only the issuer has: no HMAC, and never "none".
func signatureAlgorithms() []string {
	return []string{
		oidc.RS256, oidc.RS384, oidc.RS512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.EdDSA,
	}
}

// NewIssuer makes an Issuer. It asks nothing yet: an issuer that is down must not keep the service from starting. CodeInvalid
// for a URL that is not an https address.
func NewIssuer(opts IssuerOptions) (*Issuer, error) {
	if err := checkIssuerURL(opts.URL); err != nil {
		return nil, err
	}
	if opts.Proxy == nil {
		opts.Proxy = http.ProxyFromEnvironment
	}
	return &Issuer{opts: opts, client: newIssuerClient(opts)}, nil
}

// URL is the issuer as its tokens name it.
func (i *Issuer) URL() string { return i.opts.URL }

// Identity is what a verified ID token says.
type Identity struct {
	Issuer, Subject string
	// ID is the token's own ("jti"), "" if it has none.
	ID                  string
	Nonce               string
	IssuedAt, ExpiresAt time.Time
	claims              map[string]any
}

// Claim returns a claim that is a text, a number or a truth value, as text; "" for any other and for one that is missing.
func (i *Identity) Claim(name string) string {
	switch v := i.claims[name].(type) {
	case string:
		return v
	case json.Number:
		return v.String()
	case bool:
		return strconv.FormatBool(v)
	}
	return ""
}

// Claims returns a claim that is a list of texts, or the one text that it is, such as groups.
func (i *Identity) Claims(name string) []string {
	list, ok := i.claims[name].([]any)
	if !ok {
		if one := i.Claim(name); one != "" {
			return []string{one}
		}
		return nil
	}
	var out []string
	for _, v := range list {
		if s, ok := v.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

// Verify checks an ID token for an audience: signature, algorithm, issuer, audience, and that it is neither expired nor from the
// future. CodeUnauthenticated if it is not valid; the error that it wraps says why, for the log. CodeIssuerUnavailable if the
// issuer's keys cannot be had. A nonce, and whether the token was used before, are the caller's to check.
func (i *Issuer) Verify(ctx context.Context, signed, audience string) (*Identity, error) {
	if audience == "" {
		return nil, errors.New("no audience to verify a token for")
	}
	if len(signed) > maxIDToken {
		return nil, notValid(fmt.Errorf("it has %d bytes", len(signed)))
	}
	_, keys, err := i.discover(ctx)
	if err != nil {
		return nil, err
	}
	source := &keySource{keys: keys}
	verifier := oidc.NewVerifier(i.opts.URL, source, &oidc.Config{
		ClientID: audience, SupportedSigningAlgs: signatureAlgorithms(),
		SkipExpiryCheck: true, // times are checked below, with a leeway in both directions
	})
	token, err := verifier.Verify(oidc.ClientContext(ctx, i.client), signed)
	var fetch *fetchError
	switch {
	case errors.As(source.err, &fetch) && !fetch.tooSoon:
		return nil, i.unavailable(source.err) // the token may be signed with a key that is too new to be known
	case err != nil:
		return nil, notValid(err)
	}
	return i.identity(token, audience)
}

// identity reads a token whose signature, issuer and audience are right.
func (i *Issuer) identity(token *oidc.IDToken, audience string) (*Identity, error) {
	var raw json.RawMessage
	if err := token.Claims(&raw); err != nil {
		return nil, notValid(err)
	}
	var registered jwt.RegisteredClaims
	if err := json.Unmarshal(raw, &registered); err != nil {
		return nil, notValid(err)
	}
	validator := jwt.NewValidator(jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(issuerLeeway), jwt.WithTimeFunc(i.opts.Now))
	if err := validator.Validate(registered); err != nil {
		return nil, notValid(err)
	}
	if registered.IssuedAt == nil || registered.Subject == "" {
		return nil, notValid(errors.New("it lacks iat or sub"))
	}
	out := &Identity{
		Issuer: token.Issuer, Subject: registered.Subject, ID: registered.ID, Nonce: token.Nonce,
		IssuedAt: registered.IssuedAt.Time, ExpiresAt: registered.ExpiresAt.Time, claims: map[string]any{},
	}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber() // ids are longer than what a float64 holds
	if err := decoder.Decode(&out.claims); err != nil {
		return nil, notValid(err)
	}
	// OpenID Connect Core 1.0, 3.1.3.7: a token for several must say that it was issued to this one.
	if azp := out.Claim("azp"); len(token.Audience) > 1 && azp != audience || azp != "" && !slices.Contains(token.Audience, azp) {
		return nil, notValid(fmt.Errorf("it is for %q and was issued to %q", token.Audience, azp))
	}
	return out, nil
}

// Endpoint returns where the provider lets people sign in.
func (i *Issuer) Endpoint(ctx context.Context) (oauth2.Endpoint, error) {
	provider, _, err := i.discover(ctx)
	if err != nil {
		return oauth2.Endpoint{}, err
	}
	return provider.Endpoint(), nil
}

// Client returns a context with which golang.org/x/oauth2 talks to the provider as this Issuer does: with its authorities and
// proxy, within its bounds.
func (i *Issuer) Client(ctx context.Context) context.Context {
	return context.WithValue(ctx, oauth2.HTTPClient, exchangeClient(i.opts))
}

// discover returns what discovery found, looking again when that is old. While the issuer does not answer, what was found goes on
// being used for a day: a team's CI must not stand still because of it.
func (i *Issuer) discover(ctx context.Context) (*oidc.Provider, oidc.KeySet, error) {
	provider, keys, age := i.known()
	if provider != nil && age < keysFresh {
		return provider, keys, nil
	}
	result := i.lookUp.DoChan("", func() (any, error) {
		return nil, i.look(context.WithoutCancel(ctx)) // for all who wait; the client has a timeout
	})
	var err error
	select {
	case <-ctx.Done():
		err = ctx.Err()
	case r := <-result:
		err = r.Err
	}
	provider, keys, age = i.known()
	switch {
	case provider == nil || age > keysStale:
		return nil, nil, i.unavailable(err)
	case err != nil:
		i.opts.Logger.WarnContext(ctx, "an issuer of tokens does not answer; its known keys are used", "issuer", i.opts.URL, "error", err)
	}
	return provider, keys, nil
}

func (i *Issuer) known() (*oidc.Provider, oidc.KeySet, time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.provider, i.keys, i.opts.Now().Sub(i.found)
}

func (i *Issuer) look(ctx context.Context) error {
	ctx = oidc.ClientContext(ctx, i.client)
	provider, err := oidc.NewProvider(ctx, i.opts.URL)
	if err != nil {
		return err
	}
	var document struct {
		KeysURL string `json:"jwks_uri"`
	}
	if err := provider.Claims(&document); err != nil {
		return err
	}
	if err := checkIssuerURL(document.KeysURL); err != nil {
		return fmt.Errorf("jwks_uri: %w", err)
	}
	keys := oidc.NewRemoteKeySet(ctx, document.KeysURL)
	// Keys are fetched when a token is verified. This one cannot be valid, and the library wraps an error only if it could not fetch:
	// keys that are in use are not given up for ones that cannot be had.
	const nobodys = "eyJhbGciOiJSUzI1NiJ9.e30.AA"
	if _, err := keys.VerifySignature(ctx, nobodys); errors.Unwrap(err) != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.provider, i.keys, i.found = provider, keys, i.opts.Now()
	return nil
}

// keySource is the issuer's keys for one verification. It keeps the error, of which the verifier passes on the text alone.
type keySource struct {
	keys oidc.KeySet
	err  error
}

// VerifySignature implements oidc.KeySet.
func (s *keySource) VerifySignature(ctx context.Context, signed string) ([]byte, error) {
	var payload []byte
	payload, s.err = s.keys.VerifySignature(ctx, signed)
	return payload, s.err
}

func notValid(reason error) error {
	return &mayfly.Error{Code: mayfly.CodeUnauthenticated, Message: "the token is not valid", Err: reason}
}

func (i *Issuer) unavailable(reason error) error {
	return (&mayfly.Error{Code: mayfly.CodeIssuerUnavailable, Message: "the issuer of the token does not answer", Err: reason}).
		WithHint("try again; whoever runs the server finds the reason in its log")
}
