package client

import (
	"encoding/json"
	"time"
)

// AuditEntry is one thing that somebody did.
type AuditEntry struct {
	ID int64     `json:"id"`
	At time.Time `json:"at"`
	// Actor is who did it: the subject of a token, github:<login>, or system:<job>.
	Actor string `json:"actor"`
	// Token is the id of the token that was used, Address where the request came from; left out if there was none.
	Token   string `json:"token,omitempty"`
	Address string `json:"address,omitempty"`
	// Action is what was done, such as preview.create or credentials.read.
	Action  string `json:"action"`
	Outcome string `json:"outcome" jsonschema:"enum=done,enum=denied,enum=failed"`
	Project string `json:"project,omitempty"`
	// Kind, Name and Object say what it was done to: preview, its name and its id.
	Kind   string          `json:"kind,omitempty"`
	Name   string          `json:"name,omitempty"`
	Object string          `json:"object,omitempty"`
	Detail json.RawMessage `json:"detail,omitempty"`
}

// AuditList is a page of the audit log, newest first.
type AuditList struct {
	Items []AuditEntry `json:"items"`
	// Next is the value of the query parameter "before" for the next page; "" on the last one.
	Next string `json:"next,omitempty"`
}

// CreateToken asks for an access token.
type CreateToken struct {
	// Subject is whom it is for; left out for whoever asks.
	Subject string `json:"subject,omitempty"`
	// Scopes are what it allows in Projects, in all of them if that is empty.
	Scopes   []string `json:"scopes,omitempty"`
	Projects []string `json:"projects,omitempty"`
	// Roles are viewer, developer, maintainer or admin by project; "*" is for all projects.
	Roles map[string]string `json:"roles,omitempty"`
	// TTL is how long it is valid, such as "90d", up to 366d.
	TTL string `json:"ttl"`
}

// CreatedToken is a new access token. It is shown this once.
type CreatedToken struct {
	Token string `json:"token"`
	TokenInfo
}

// TokenInfo is what is known of an access token.
type TokenInfo struct {
	ID        string            `json:"id"`
	Subject   string            `json:"subject"`
	Scopes    []string          `json:"scopes,omitempty"`
	Projects  []string          `json:"projects,omitempty"`
	Roles     map[string]string `json:"roles,omitempty"`
	CreatedBy string            `json:"created_by,omitempty"`
	IssuedAt  time.Time         `json:"issued_at"`
	ExpiresAt time.Time         `json:"expires_at"`
	// LastUsedAt is kept to within some minutes.
	LastUsedAt *time.Time `json:"last_used_at,omitempty"`
	Revoked    bool       `json:"revoked,omitempty"`
}

// TokenList is the tokens that were used or made through the API and have not expired, newest first.
type TokenList struct {
	Items []TokenInfo `json:"items"`
}

// Self is who a token belongs to and what it allows.
type Self struct {
	Subject  string   `json:"subject"`
	TokenID  string   `json:"token_id"`
	Scopes   []string `json:"scopes,omitempty"`
	Projects []string `json:"projects,omitempty"`
	// Roles are by project; "*" is for all projects.
	Roles     map[string]string `json:"roles,omitempty"`
	ExpiresAt time.Time         `json:"expires_at"`
	// Session is there if somebody signed in, rather than having been given a token.
	Session string `json:"session,omitempty"`
}

// Provider is a way to sign in.
type Provider struct {
	Name string `json:"name"`
	// Kind is github: the server runs the device flow (POST /auth/device); or oidc: the client gets an ID token from Issuer as ClientID.
	Kind     string   `json:"kind" jsonschema:"enum=github,enum=oidc"`
	Issuer   string   `json:"issuer,omitempty"`
	ClientID string   `json:"client_id,omitempty"`
	Scopes   []string `json:"scopes,omitempty"`
}

// ProviderList is the ways to sign in.
type ProviderList struct {
	Items []Provider `json:"items"`
}

// StartDevice begins signing in on another device (RFC 8628).
type StartDevice struct {
	// Provider is the name of one of kind github; left out for the only one.
	Provider string `json:"provider,omitempty"`
}

// Device is what somebody who signs in is to do: open VerificationURI and enter UserCode there.
type Device struct {
	DeviceCode      string `json:"device_code"`
	UserCode        string `json:"user_code"`
	VerificationURI string `json:"verification_uri"`
	// ExpiresIn and Interval are in seconds: for how long the code is good, and how long to wait between two polls.
	ExpiresIn int `json:"expires_in"`
	Interval  int `json:"interval"`
}

// PollDevice asks whether somebody has signed in.
type PollDevice struct {
	Provider   string `json:"provider,omitempty"`
	DeviceCode string `json:"device_code"`
}

// SignedIn is the answer to signing in and to refreshing. While a device flow goes on only Pending is there.
type SignedIn struct {
	// Pending is true while nobody has entered the code; Interval is how many seconds to wait before asking again.
	Pending  bool `json:"pending,omitempty"`
	Interval int  `json:"interval,omitempty"`
	// Token is the access token, good until ExpiresAt; Refresh gets another one, once, until SessionExpiresAt.
	Token            string            `json:"token,omitempty"`
	ExpiresAt        *time.Time        `json:"expires_at,omitempty"`
	Refresh          string            `json:"refresh_token,omitempty"`
	SessionExpiresAt *time.Time        `json:"session_expires_at,omitempty"`
	Subject          string            `json:"subject,omitempty"`
	Roles            map[string]string `json:"roles,omitempty"`
}

// SignInOIDC signs in with an ID token of a provider of kind oidc.
type SignInOIDC struct {
	Provider string `json:"provider"`
	IDToken  string `json:"id_token"`
	// Nonce is the one that the ID token was asked for with; left out if it was got by a device flow.
	Nonce string `json:"nonce,omitempty"`
}

// Refresh asks for a new access token.
type Refresh struct {
	Token string `json:"refresh_token"`
}

// SignOut ends a session.
type SignOut struct {
	Token string `json:"refresh_token"`
}

// CreateCredentials asks for a login of one's own.
type CreateCredentials struct {
	// Role is personal, which may do what the owner may under a name of its own, or read-only.
	Role string `json:"role" jsonschema:"enum=personal,enum=read-only"`
}

// Login is a login of a preview besides the owner's.
type Login struct {
	// Role is its name in Postgres: what pg_stat_activity and the log say.
	Role      string    `json:"role"`
	Subject   string    `json:"subject"`
	Access    string    `json:"access" jsonschema:"enum=personal,enum=read-only"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by,omitempty"`
	Revoked   bool      `json:"revoked,omitempty"`
}

// LoginList is the logins of a preview besides the owner's.
type LoginList struct {
	Items []Login `json:"items"`
}
