package auth

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// Scope is one thing that a token allows.
type Scope string

// The scopes. A token with ScopeAdmin may do everything in every project.
const (
	ScopePreviewsRead    Scope = "previews:read"    // list and look at previews, templates and reports
	ScopePreviewsWrite   Scope = "previews:write"   // create, reset, extend, suspend, wake and remove previews
	ScopeCredentialsRead Scope = "credentials:read" // see the password of a preview
	ScopeTemplatesWrite  Scope = "templates:write"  // build templates
	ScopeAdmin           Scope = "admin"            // everything, also other projects' previews
)

// Scopes lists all scopes.
func Scopes() []Scope {
	return []Scope{ScopePreviewsRead, ScopePreviewsWrite, ScopeCredentialsRead, ScopeTemplatesWrite, ScopeAdmin}
}

// MaxTokenTTL is the longest life of a token: every token expires.
const MaxTokenTTL = 366 * 24 * time.Hour

const (
	issuer   = "mayfly"
	audience = "mayfly"
	leeway   = 30 * time.Second
	// tokenIDSize is the number of random bytes in a token's id ("jti").
	tokenIDSize = 16
)

// Token is what a verified token says.
type Token struct {
	ID        string
	Subject   string
	Scopes    []Scope
	Projects  []string // empty means all projects
	ExpiresAt time.Time
}

// Allows reports whether the token has the scope for the project; project "" stands for a request about no project in particular.
func (t *Token) Allows(scope Scope, project string) bool {
	if slices.Contains(t.Scopes, ScopeAdmin) {
		return true
	}
	if !slices.Contains(t.Scopes, scope) {
		return false
	}
	return project == "" || len(t.Projects) == 0 || slices.Contains(t.Projects, project)
}

type claims struct {
	jwt.RegisteredClaims
	Scope    string   `json:"scope"` // space-separated (RFC 8693, 4.2)
	Projects []string `json:"projects,omitempty"`
}

// Revocations knows which tokens were revoked before they expired.
type Revocations interface {
	TokenRevoked(ctx context.Context, id string) (bool, error)
}

// Tokens issues and verifies access tokens: JWTs signed with Ed25519 (RFC 8037). No other algorithm is accepted.
type Tokens struct {
	keys    *Keys
	revoked Revocations // nil: none are
	now     func() time.Time
}

// NewTokens makes a Tokens.
func NewTokens(keys *Keys, revoked Revocations, now func() time.Time) *Tokens {
	return &Tokens{keys: keys, revoked: revoked, now: now}
}

// Issue makes a token. CodeInvalid for unknown scopes, no scopes, and a ttl that is not positive or over MaxTokenTTL.
func (t *Tokens) Issue(subject string, scopes []Scope, projects []string, ttl time.Duration) (string, *Token, error) {
	if len(scopes) == 0 {
		return "", nil, mayfly.Errorf(mayfly.CodeInvalid, "a token needs at least one scope").WithHint("scopes: %s", joinScopes(Scopes(), ", "))
	}
	for _, scope := range scopes {
		if !slices.Contains(Scopes(), scope) {
			return "", nil, mayfly.Errorf(mayfly.CodeInvalid, "there is no scope %q", scope).WithHint("scopes: %s", joinScopes(Scopes(), ", "))
		}
	}
	if slices.Contains(scopes, ScopeAdmin) && len(projects) > 0 {
		return "", nil, mayfly.Errorf(mayfly.CodeInvalid, "the scope admin cannot be limited to projects").
			WithHint("give the other scopes instead: %s", joinScopes(Scopes()[:len(Scopes())-1], ", "))
	}
	if ttl <= 0 || ttl > MaxTokenTTL {
		return "", nil, mayfly.Errorf(mayfly.CodeInvalid, "a token cannot live for %s", ttl).WithHint("use a time up to 366d")
	}
	id := make([]byte, tokenIDSize)
	_, _ = rand.Read(id)
	now := t.now()
	token := &Token{
		ID: hex.EncodeToString(id), Subject: subject, Scopes: scopes, Projects: projects,
		ExpiresAt: now.Add(ttl).Truncate(time.Second),
	}
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: token.ID, Subject: subject, Issuer: issuer, Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(token.ExpiresAt),
		},
		Scope: joinScopes(scopes, " "), Projects: projects,
	})
	unsigned.Header["kid"] = t.keys.KeyID
	signed, err := unsigned.SignedString(t.keys.Signing)
	if err != nil {
		return "", nil, fmt.Errorf("sign token: %w", err)
	}
	return signed, token, nil
}

// ValidTokenID reports whether id looks like the id of a token.
func ValidTokenID(id string) bool {
	raw, err := hex.DecodeString(id)
	return err == nil && len(raw) == tokenIDSize && id == strings.ToLower(id)
}

// TokenID reads the id of a token without verifying it, for whoever holds a token and wants it revoked. CodeInvalid if it is none.
func TokenID(signed string) (string, error) {
	var c jwt.RegisteredClaims
	_, _, err := jwt.NewParser().ParseUnverified(signed, &c)
	if err != nil || !ValidTokenID(c.ID) {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "that is not a token")
	}
	return c.ID, nil
}

func joinScopes(scopes []Scope, separator string) string {
	names := make([]string, len(scopes))
	for i, s := range scopes {
		names[i] = string(s)
	}
	return strings.Join(names, separator)
}

// Verify checks a token and returns what it says. CodeUnauthenticated if it is malformed, forged, expired, for somebody
// else or revoked; the message does not say more than the bearer needs.
func (t *Tokens) Verify(ctx context.Context, signed string) (*Token, error) {
	var c claims
	_, err := jwt.ParseWithClaims(signed, &c, func(token *jwt.Token) (any, error) {
		if kid, _ := token.Header["kid"].(string); kid != t.keys.KeyID {
			return nil, errors.New("unknown key")
		}
		return t.keys.Signing.Public(), nil
	}, jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(t.now))
	if err != nil {
		message := "the token is not valid"
		if errors.Is(err, jwt.ErrTokenExpired) {
			message = "the token has expired"
		}
		return nil, (&mayfly.Error{Code: mayfly.CodeUnauthenticated, Message: message, Err: err}).
			WithHint("make a new one on the server: mayfly token create")
	}
	if c.ID == "" || c.ExpiresAt == nil {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "the token is not valid")
	}
	if t.revoked != nil {
		revoked, err := t.revoked.TokenRevoked(ctx, c.ID)
		if err != nil {
			return nil, err
		}
		if revoked {
			return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "the token was revoked")
		}
	}
	token := &Token{ID: c.ID, Subject: c.Subject, Projects: c.Projects, ExpiresAt: c.ExpiresAt.Time}
	for _, scope := range strings.Fields(c.Scope) {
		token.Scopes = append(token.Scopes, Scope(scope))
	}
	return token, nil
}
