package auth

import (
	"context"
	"crypto/ed25519"
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
	ScopePreviewsWrite   Scope = "previews:write"   // create previews; reset, extend, suspend, wake and remove one's own
	ScopePreviewsManage  Scope = "previews:manage"  // change and remove everybody's previews, protect them, approve forks
	ScopeCredentialsRead Scope = "credentials:read" // see the password of a preview
	ScopeTemplatesWrite  Scope = "templates:write"  // build templates
	ScopeAuditRead       Scope = "audit:read"       // read the audit log
	ScopeAdmin           Scope = "admin"            // everything, in every project
)

// Scopes lists all scopes.
func Scopes() []Scope {
	return []Scope{
		ScopePreviewsRead, ScopePreviewsWrite, ScopePreviewsManage, ScopeCredentialsRead, ScopeTemplatesWrite, ScopeAuditRead, ScopeAdmin,
	}
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
	ID      string
	Subject string
	// Scopes are what it allows in Projects; no projects means all of them.
	Scopes   []Scope
	Projects []string
	// Grants are the roles that it has besides.
	Grants Grants
	// Limit, if not nil, bounds all of it to one preview.
	Limit *Limit
	// Session is what somebody signed in to, "" for a token that was made.
	Session   string
	IssuedAt  time.Time
	ExpiresAt time.Time
}

// Allows reports whether the token has the scope for the project. Project "" stands for a request about no project in particular: then it
// is enough to have the scope anywhere, but for ScopeAdmin, which is only had for all projects. A token that is limited to a preview
// allows nothing in any project: see AllowsOn.
func (t *Token) Allows(scope Scope, project string) bool {
	if t.Limit != nil {
		return project == "" && slices.Contains(t.Scopes, scope)
	}
	if t.All() {
		return true
	}
	if slices.Contains(t.Scopes, scope) && (project == "" || len(t.Projects) == 0 || slices.Contains(t.Projects, project)) {
		return true
	}
	if project != "" {
		return slices.Contains(t.Grants.In(project).Scopes(), scope)
	}
	for _, role := range t.Grants {
		if slices.Contains(role.Scopes(), scope) {
			return true
		}
	}
	return false
}

// All reports whether the token may do everything in every project.
func (t *Token) All() bool {
	return t.Limit == nil && (slices.Contains(t.Scopes, ScopeAdmin) || t.Grants[AllProjects] == RoleAdmin)
}

// Visible returns the projects of which the token may see anything with the scope, nil for all.
func (t *Token) Visible(scope Scope) []string {
	if t.Limit != nil {
		return []string{}
	}
	if t.All() || slices.Contains(t.Scopes, scope) && len(t.Projects) == 0 || slices.Contains(t.Grants[AllProjects].Scopes(), scope) {
		return nil
	}
	visible := []string{}
	if slices.Contains(t.Scopes, scope) {
		visible = append(visible, t.Projects...)
	}
	for project, role := range t.Grants {
		if slices.Contains(role.Scopes(), scope) {
			visible = append(visible, project)
		}
	}
	slices.Sort(visible)
	return slices.Compact(visible)
}

type claims struct {
	jwt.RegisteredClaims
	Scope    string   `json:"scope,omitempty"` // space-separated (RFC 8693, 4.2)
	Projects []string `json:"projects,omitempty"`
	Roles    Grants   `json:"roles,omitempty"`
	Limit    *Limit   `json:"preview,omitempty"`
	Session  string   `json:"sid,omitempty"`
}

// Revocations knows which tokens were revoked before they expired.
type Revocations interface {
	TokenRevoked(ctx context.Context, id string) (bool, error)
}

// signingKeys is what tokens are signed and verified with: *Keys, or a *KeyRing, which follows a rotation.
type signingKeys interface {
	signer() (key ed25519.PrivateKey, kid string)
	// verifier returns the public key that goes with kid, if a token that was issued at that time may be signed with it now.
	verifier(kid string, issued *jwt.NumericDate, now time.Time) (ed25519.PublicKey, error)
}

// Tokens issues and verifies access tokens: JWTs signed with Ed25519 (RFC 8037). No other algorithm is accepted.
type Tokens struct {
	keys    signingKeys
	revoked Revocations // nil: none are
	now     func() time.Time
}

// NewTokens makes a Tokens.
func NewTokens(keys signingKeys, revoked Revocations, now func() time.Time) *Tokens {
	return &Tokens{keys: keys, revoked: revoked, now: now}
}

// Issue makes a token with scopes. CodeInvalid for unknown scopes, no scopes, and a ttl that is not positive or over MaxTokenTTL.
func (t *Tokens) Issue(subject string, scopes []Scope, projects []string, ttl time.Duration) (string, *Token, error) {
	return t.Sign(Token{Subject: subject, Scopes: scopes, Projects: projects}, ttl)
}

// Sign makes a token that says what token says, with an id and times of its own. CodeInvalid for one that allows nothing or something
// unknown, and for a ttl that is not positive or over MaxTokenTTL.
func (t *Tokens) Sign(token Token, ttl time.Duration) (string, *Token, error) {
	if err := token.check(); err != nil {
		return "", nil, err
	}
	if ttl <= 0 || ttl > MaxTokenTTL {
		return "", nil, mayfly.Errorf(mayfly.CodeInvalid, "a token cannot live for %s", ttl).WithHint("use a time up to 366d")
	}
	id := make([]byte, tokenIDSize)
	_, _ = rand.Read(id)
	now := t.now()
	token.ID, token.IssuedAt, token.ExpiresAt = hex.EncodeToString(id), now, now.Add(ttl).Truncate(time.Second)
	unsigned := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims{
		RegisteredClaims: jwt.RegisteredClaims{
			ID: token.ID, Subject: token.Subject, Issuer: issuer, Audience: jwt.ClaimStrings{audience},
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(token.ExpiresAt),
		},
		Scope: joinScopes(token.Scopes, " "), Projects: token.Projects, Roles: token.Grants, Limit: token.Limit, Session: token.Session,
	})
	key, kid := t.keys.signer()
	unsigned.Header["kid"] = kid
	signed, err := unsigned.SignedString(key)
	if err != nil {
		return "", nil, fmt.Errorf("sign token: %w", err)
	}
	return signed, &token, nil
}

func (t *Token) check() error {
	if len(t.Scopes) == 0 && len(t.Grants) == 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "a token needs at least one scope or role").
			WithHint("scopes: %s; roles: %s", joinScopes(Scopes(), ", "), roleNames())
	}
	for _, scope := range t.Scopes {
		if !slices.Contains(Scopes(), scope) {
			return mayfly.Errorf(mayfly.CodeInvalid, "there is no scope %q", scope).WithHint("scopes: %s", joinScopes(Scopes(), ", "))
		}
	}
	if slices.Contains(t.Scopes, ScopeAdmin) && len(t.Projects) > 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "the scope admin cannot be limited to projects").
			WithHint("give the role admin for them instead (--role admin --project …), or the other scopes: %s", joinScopes(RoleAdmin.Scopes(), ", "))
	}
	if t.Limit != nil {
		return t.checkLimit()
	}
	return t.Grants.Check()
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
		kid, _ := token.Header["kid"].(string)
		return t.keys.verifier(kid, c.IssuedAt, t.now())
	}, jwt.WithValidMethods([]string{jwt.SigningMethodEdDSA.Alg()}), jwt.WithIssuer(issuer), jwt.WithAudience(audience),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(t.now))
	if err != nil {
		message := "the token is not valid"
		if errors.Is(err, jwt.ErrTokenExpired) {
			message = "the token has expired"
		}
		return nil, (&mayfly.Error{Code: mayfly.CodeUnauthenticated, Message: message, Err: err}).
			WithHint("sign in again: mayfly login; or make one on the server: mayfly token create")
	}
	if !ValidTokenID(c.ID) || c.ExpiresAt == nil || c.IssuedAt == nil {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "the token is not valid")
	}
	if err := t.checkRevoked(ctx, c); err != nil {
		return nil, err
	}
	token := &Token{
		ID: c.ID, Subject: c.Subject, Projects: c.Projects, Grants: c.Roles, Limit: c.Limit, Session: c.Session,
		IssuedAt: c.IssuedAt.Time, ExpiresAt: c.ExpiresAt.Time,
	}
	for _, scope := range strings.Fields(c.Scope) {
		token.Scopes = append(token.Scopes, Scope(scope))
	}
	return token, nil
}

// checkRevoked asks for the token itself and for the session that it came from.
func (t *Tokens) checkRevoked(ctx context.Context, c claims) error {
	if t.revoked == nil {
		return nil
	}
	ids := []string{c.ID}
	if c.Session != "" {
		ids = append(ids, c.Session)
	}
	for _, id := range ids {
		revoked, err := t.revoked.TokenRevoked(ctx, id)
		if err != nil {
			return err
		}
		if revoked {
			return mayfly.Errorf(mayfly.CodeUnauthenticated, "the token was revoked").WithHint("sign in again: mayfly login")
		}
	}
	return nil
}
