package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/store"
)

// Forge is what signing in needs of GitHub; internal/forge implements it.
type Forge interface {
	StartDevice(ctx context.Context, clientID string) (*forge.Device, error)
	FinishDevice(ctx context.Context, clientID, deviceCode string) (*forge.User, error)
	UserByID(ctx context.Context, repositoryID, id int64) (*forge.User, error)
	PermissionOf(ctx context.Context, repositoryID int64, login string) (forge.Permission, error)
	Public(ctx context.Context, repositoryID int64) (bool, error)
	Repository(ctx context.Context, fullName string) (forge.Repository, error)
}

// GitHub says how people sign in with GitHub.
type GitHub struct {
	// ClientID is that of the App whose device flow is used.
	ClientID string
	// Roles are what the roles in a repository come to: admin, maintain, write, triage and read. Nil means DefaultGitHubRoles.
	Roles map[string]auth.Role
	// PublicRead lets everybody be a viewer who can read a public repository, which is everybody.
	PublicRead bool
	// Admins are the logins of those who may do everything in all projects.
	Admins []string
}

// DefaultGitHubRoles are what roles in a repository come to unless the configuration says otherwise.
func DefaultGitHubRoles() map[string]auth.Role {
	return map[string]auth.Role{
		"admin": auth.RoleMaintainer, "maintain": auth.RoleMaintainer, "write": auth.RoleDeveloper, "triage": auth.RoleDeveloper, "read": auth.RoleViewer,
	}
}

// OIDC is an OpenID Connect provider with which people sign in.
type OIDC struct {
	// Name is what people call it, and the first part of their subjects: "okta:alice@example.com".
	Name     string
	Issuer   *auth.Issuer
	ClientID string
	// Scopes are what the client asks the provider for besides "openid".
	Scopes []string
	// SubjectClaim is the claim that people are called by, "" for "email" if that is verified, else "sub".
	SubjectClaim string
	// RoleClaim is the claim whose values Roles are by, such as "groups".
	RoleClaim string
	Roles     map[string]auth.Grants
	// Session is how long somebody is let in before they sign in again: the provider is not asked in between. 0 means 12 hours.
	Session time.Duration
}

// Options are what a Service is made of.
type Options struct {
	Store  *store.Store
	Tokens *auth.Tokens
	Forge  Forge // nil without GitHub
	GitHub *GitHub
	OIDC   []OIDC
	// Projects returns the projects that exist.
	Projects func() []mayfly.Project
	// SessionTTL is how long somebody who signed in with GitHub is let in before they sign in again. 0 means 30 days.
	SessionTTL time.Duration
	// CheckEvery is how often what they may do is asked again. 0 means 2 minutes.
	CheckEvery time.Duration
	Clock      func() time.Time
	Logger     *slog.Logger
}

// AccessTTL is how long an access token of a session lives.
const AccessTTL = time.Hour

const (
	defaultSessionTTL = 30 * 24 * time.Hour
	defaultOIDCTTL    = 12 * time.Hour
	defaultCheckEvery = 2 * time.Minute
	// GitHubProvider is the name of signing in with GitHub.
	GitHubProvider = "github"
)

// Service lets people in. Its methods may be called concurrently and from several processes.
type Service struct{ opts Options }

// New makes a Service.
func New(opts Options) *Service {
	if opts.SessionTTL == 0 {
		opts.SessionTTL = defaultSessionTTL
	}
	if opts.CheckEvery == 0 {
		opts.CheckEvery = defaultCheckEvery
	}
	return &Service{opts: opts}
}

// Provider is a way to sign in.
type Provider struct {
	Name, Kind, Issuer, ClientID string
	Scopes                       []string
}

// Providers lists the ways to sign in.
func (s *Service) Providers() []Provider {
	var list []Provider
	if s.opts.GitHub != nil && s.opts.Forge != nil {
		list = append(list, Provider{Name: GitHubProvider, Kind: "github"})
	}
	for _, p := range s.opts.OIDC {
		list = append(list, Provider{Name: p.Name, Kind: "oidc", Issuer: p.Issuer.URL(), ClientID: p.ClientID, Scopes: p.Scopes})
	}
	return list
}

// Signed is what somebody gets who is let in.
type Signed struct {
	Token     string
	ExpiresAt time.Time
	// Refresh gets the next token, once.
	Refresh          string
	SessionExpiresAt time.Time
	Subject          string
	Roles            map[string]string
}

// person is who somebody turned out to be.
type person struct {
	provider, account, login, subject string
	grants                            auth.Grants
	expires                           time.Time
}

// begin lets somebody in.
func (s *Service) begin(ctx context.Context, p person) (*Signed, error) {
	if len(p.grants) == 0 {
		s.deny(ctx, p)
		return nil, mayfly.Errorf(mayfly.CodeForbidden, "%s has no role in any project of this server", p.subject).
			WithHint("ask for access to the project's repository, or the administrator for a role")
	}
	refresh, hash := newRefresh()
	session := &store.Session{
		ID: mayfly.NewID("s"), Subject: p.subject, Provider: p.provider, Account: p.account, Login: p.login, Roles: rolesOf(p.grants),
		RefreshHash: hash, ExpiresAt: p.expires,
	}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: p.subject, Address: mayfly.ActorOf(ctx).Address})
	if err := s.opts.Store.CreateSession(ctx, session); err != nil {
		return nil, err
	}
	return s.sign(session, p.grants, refresh)
}

func (s *Service) deny(ctx context.Context, p person) {
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: p.subject, Address: mayfly.ActorOf(ctx).Address})
	err := s.opts.Store.Audit(ctx, store.AuditEntry{
		Action: "session.begin", Outcome: store.AuditDenied, Kind: "session", Name: p.subject, Detail: map[string]any{"provider": p.provider},
	})
	if err != nil {
		s.opts.Logger.ErrorContext(ctx, "cannot record a refused sign-in", "subject", p.subject, "error", err)
	}
}

func (s *Service) sign(session *store.Session, grants auth.Grants, refresh string) (*Signed, error) {
	ttl := min(AccessTTL, session.ExpiresAt.Sub(s.opts.Clock()))
	signed, token, err := s.opts.Tokens.Sign(auth.Token{Subject: session.Subject, Grants: grants, Session: session.TokenSession()}, ttl)
	if err != nil {
		return nil, fmt.Errorf("sign in %s: %w", session.Subject, err)
	}
	return &Signed{
		Token: signed, ExpiresAt: token.ExpiresAt, Refresh: refresh, SessionExpiresAt: session.ExpiresAt, Subject: session.Subject, Roles: rolesOf(grants),
	}, nil
}

// newRefresh makes a refresh token and the hash that is stored of it.
func newRefresh() (token string, hash []byte) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	token = "mfr_" + base64.RawURLEncoding.EncodeToString(raw)
	return token, hashOf(token)
}

func hashOf(token string) []byte {
	sum := sha256.Sum256([]byte(token))
	return sum[:]
}

func rolesOf(grants auth.Grants) map[string]string {
	roles := map[string]string{}
	for project, role := range grants {
		roles[project] = string(role)
	}
	return roles
}

// Refresh gives the next access token for a refresh token, after asking what its owner may do now. One that was used before ends the
// session: somebody has a copy.
func (s *Service) Refresh(ctx context.Context, refresh string) (*Signed, error) {
	now := s.opts.Clock()
	session, reused, err := s.opts.Store.SessionByRefresh(ctx, hashOf(refresh), now)
	if err != nil {
		return nil, err
	}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: session.Subject, Address: mayfly.ActorOf(ctx).Address})
	if reused {
		if err := s.opts.Store.EndSession(ctx, session, "its refresh token was used twice", now); err != nil {
			return nil, err
		}
		return nil, ended()
	}
	grants, err := s.check(ctx, session)
	if err != nil {
		return nil, err
	}
	next, hash := newRefresh()
	fresh, err := s.opts.Store.RefreshSession(ctx, session, hash, now)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, ended()
	}
	return s.sign(session, grants, next)
}

func ended() error {
	return mayfly.Errorf(mayfly.CodeUnauthenticated, "the session has ended").WithHint("sign in again: mayfly login")
}

// End signs somebody out. A token that is of no session is no error: it is over.
func (s *Service) End(ctx context.Context, refresh string) error {
	session, _, err := s.opts.Store.SessionByRefresh(ctx, hashOf(refresh), s.opts.Clock())
	if mayfly.ErrorCode(err) == mayfly.CodeUnauthenticated {
		return nil
	}
	if err != nil {
		return err
	}
	ctx = mayfly.WithActor(ctx, mayfly.Actor{Subject: session.Subject, Address: mayfly.ActorOf(ctx).Address})
	return s.opts.Store.EndSession(ctx, session, "signed out", s.opts.Clock())
}

// check asks what the owner of a session may do now, and stores it. The session ends if that is nothing any more; CodeUnauthenticated then.
func (s *Service) check(ctx context.Context, session *store.Session) (auth.Grants, error) {
	before := auth.Grants{}
	for project, role := range session.Roles {
		before[project] = auth.Role(role)
	}
	if session.Provider != GitHubProvider {
		return before, s.opts.Store.CheckSession(ctx, session, session.Login, session.Roles, false, s.opts.Clock())
	}
	login, grants, err := s.gitHubNow(ctx, session.Account)
	if err != nil {
		return nil, err
	}
	reason := ""
	switch {
	case len(grants) == 0:
		reason = "no role in any project any more"
	case !strings.EqualFold(login, session.Login):
		reason = "the account has another name now" // what they made is under the one before
	}
	if reason != "" {
		if err := s.opts.Store.EndSession(ctx, session, reason, s.opts.Clock()); err != nil {
			return nil, err
		}
		return nil, ended()
	}
	return grants, s.opts.Store.CheckSession(ctx, session, login, rolesOf(grants), less(before, grants), s.opts.Clock())
}

// less reports whether something can be done by before that cannot be done by after.
func less(before, after auth.Grants) bool {
	for project, role := range before {
		if after.In(project).Rank() < role.Rank() {
			return true
		}
	}
	return false
}

// maxChecked bounds the sessions that are checked at a time.
const maxChecked = 200

// Check asks for everybody who is signed in, and was not asked for lately, what they may do now. Whoever has lost it is out by then. While
// GitHub does not answer, nobody is: the answers that were given last count, for as long as access tokens and sessions live.
func (s *Service) Check(ctx context.Context) error {
	now := s.opts.Clock()
	sessions, err := s.opts.Store.SessionsToCheck(ctx, now.Add(-s.opts.CheckEvery), now, maxChecked)
	if err != nil {
		return err
	}
	var failures []error
	for _, session := range sessions {
		_, err := s.check(ctx, session)
		if err != nil && mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
			failures = append(failures, fmt.Errorf("check %s: %w", session.Subject, err))
		}
		if mayfly.ErrorCode(err) == mayfly.CodeForgeUnavailable { // nor will it answer for the next
			break
		}
	}
	return errors.Join(failures...)
}

// StartDevice begins to sign in with GitHub.
func (s *Service) StartDevice(ctx context.Context) (*forge.Device, error) {
	if s.opts.GitHub == nil || s.opts.Forge == nil {
		return nil, noProvider(GitHubProvider)
	}
	return s.opts.Forge.StartDevice(ctx, s.opts.GitHub.ClientID)
}

func noProvider(name string) error {
	return mayfly.Errorf(mayfly.CodeNotFound, "nobody can sign in here with %q", name).WithHint("GET /api/v1/auth/providers lists the ways; see docs/access.md")
}

// FinishDevice lets in whoever has entered the code. An error of type *forge.Pending if nobody has yet.
func (s *Service) FinishDevice(ctx context.Context, deviceCode string) (*Signed, error) {
	if s.opts.GitHub == nil || s.opts.Forge == nil {
		return nil, noProvider(GitHubProvider)
	}
	user, err := s.opts.Forge.FinishDevice(ctx, s.opts.GitHub.ClientID, deviceCode)
	if err != nil {
		return nil, err
	}
	grants, err := s.gitHubGrants(ctx, user.Login)
	if err != nil {
		return nil, err
	}
	return s.begin(ctx, person{
		provider: GitHubProvider, account: strconv.FormatInt(user.ID, 10), login: user.Login, subject: "github:" + user.Login, grants: grants,
		expires: s.opts.Clock().Add(s.opts.SessionTTL),
	})
}

// gitHubNow returns what somebody is called and may do now. Somebody whose account is gone may do nothing.
func (s *Service) gitHubNow(ctx context.Context, account string) (string, auth.Grants, error) {
	id, err := strconv.ParseInt(account, 10, 64)
	if err != nil {
		return "", nil, fmt.Errorf("account %q: %w", account, err)
	}
	for _, project := range s.opts.Projects() {
		if project.Repository == "" {
			continue
		}
		repository, err := s.opts.Forge.Repository(ctx, project.Repository)
		if err != nil {
			continue // another one may do
		}
		user, err := s.opts.Forge.UserByID(ctx, repository.ID, id)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			return "", nil, nil
		}
		if err != nil {
			return "", nil, err
		}
		grants, err := s.gitHubGrants(ctx, user.Login)
		return user.Login, grants, err
	}
	return "", nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "no repository of a project can be read")
}

// gitHubGrants asks for the role in each project's repository.
func (s *Service) gitHubGrants(ctx context.Context, login string) (auth.Grants, error) {
	grants := auth.Grants{}
	for _, admin := range s.opts.GitHub.Admins {
		if strings.EqualFold(admin, login) {
			grants[auth.AllProjects] = auth.RoleAdmin
		}
	}
	roles := s.opts.GitHub.Roles
	if roles == nil {
		roles = DefaultGitHubRoles()
	}
	asked := map[int64]auth.Role{}
	for _, project := range s.opts.Projects() {
		if project.Repository == "" {
			continue
		}
		repository, err := s.opts.Forge.Repository(ctx, project.Repository)
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			continue // nobody has a role in what is not there
		}
		if err != nil {
			return nil, err
		}
		role, known := asked[repository.ID]
		if !known {
			if role, err = s.roleIn(ctx, repository.ID, login, roles); err != nil {
				return nil, err
			}
			asked[repository.ID] = role
		}
		if role != "" {
			grants[project.Name] = role
		}
	}
	return maps.Clone(grants), nil
}

func (s *Service) roleIn(ctx context.Context, repositoryID int64, login string, roles map[string]auth.Role) (auth.Role, error) {
	permission, err := s.opts.Forge.PermissionOf(ctx, repositoryID, login)
	if err != nil {
		return "", err
	}
	if permission.Role == "read" && !s.opts.GitHub.PublicRead {
		public, err := s.opts.Forge.Public(ctx, repositoryID)
		if err != nil || public {
			return "", err // read is what every stranger has
		}
	}
	return roles[permission.Role], nil
}
