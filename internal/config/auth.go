package config

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

// fileAuth is the section auth: who may do what, and how they say who they are.
type fileAuth struct {
	CIIssuers  []fileCIIssuer `yaml:"ci_issuers"`
	CITokenTTL Duration       `yaml:"ci_token_ttl"`

	GitHub       *fileSignInGitHub `yaml:"github"`
	OIDC         []fileSignInOIDC  `yaml:"oidc"`
	CheckEvery   Duration          `yaml:"check_every"`
	PullRequests string            `yaml:"pull_requests"`
}

type fileSignInGitHub struct {
	ClientID   string            `yaml:"client_id"`
	Roles      map[string]string `yaml:"roles"`
	PublicRead bool              `yaml:"public_read"`
	Admins     []string          `yaml:"admins"`
	Session    Duration          `yaml:"session"`
}

type fileSignInOIDC struct {
	Name         string                       `yaml:"name"`
	Issuer       string                       `yaml:"issuer"`
	ClientID     string                       `yaml:"client_id"`
	Scopes       []string                     `yaml:"scopes"`
	SubjectClaim string                       `yaml:"subject_claim"`
	RoleClaim    string                       `yaml:"role_claim"`
	Roles        map[string]map[string]string `yaml:"roles"`
	Session      Duration                     `yaml:"session"`
	CAFile       string                       `yaml:"ca_file"`
}

// SignIn says how people sign in.
type SignIn struct {
	GitHub     *SignInGitHub
	OIDC       []SignInOIDC
	CheckEvery time.Duration
	// PullRequestsNeedMaintainer keeps developers from changing the previews of pull requests.
	PullRequestsNeedMaintainer bool
}

// SignInGitHub is auth.github.
type SignInGitHub struct {
	ClientID   string
	Roles      map[string]auth.Role // by the role in the repository; nil for the default
	PublicRead bool
	Admins     []string
	Session    time.Duration
}

// SignInOIDC is an entry of auth.oidc.
type SignInOIDC struct {
	Name, Issuer, ClientID  string
	Scopes                  []string
	SubjectClaim, RoleClaim string
	Roles                   map[string]auth.Grants // by the value of RoleClaim
	Session                 time.Duration
	RootCAs                 *x509.CertPool // nil: the system's
}

// RateLimits are how often the API may be asked in a minute; 0 is the default, below 0 unbounded.
type RateLimits struct {
	Token   int `yaml:"token"`
	Address int `yaml:"address"`
}

type fileAudit struct {
	Keep Duration `yaml:"keep"`
}

const (
	maxSignInSession = 90 * 24 * time.Hour
	// minAuditKept is what the state database refuses to go below (store.MinAuditKept).
	minAuditKept  = 31 * 24 * time.Hour
	maxCheckEvery = 10 * time.Minute
)

// resolveAuth reads the sections auth (but for CI), audit, trusted_proxies and rate_limits.
func (f *file) resolveAuth(dir string, c *Config) error {
	c.SignIn.CheckEvery = time.Duration(f.Auth.CheckEvery)
	if c.SignIn.CheckEvery < 0 || c.SignIn.CheckEvery > maxCheckEvery {
		return mayfly.Errorf(mayfly.CodeInvalid, "auth.check_every is longer than 10m").
			WithHint("it is how long somebody keeps what they may do after they have lost it")
	}
	switch f.Auth.PullRequests {
	case "", "developer":
	case "maintainer":
		c.SignIn.PullRequestsNeedMaintainer = true
	default:
		return mayfly.Errorf(mayfly.CodeInvalid, "auth.pull_requests: %q is neither developer nor maintainer", f.Auth.PullRequests)
	}
	if err := f.resolveSignInGitHub(c); err != nil {
		return fmt.Errorf("auth.github: %w", err)
	}
	for i := range f.Auth.OIDC {
		provider, err := f.Auth.OIDC[i].resolve(dir, c)
		if err != nil {
			return fmt.Errorf("auth.oidc[%d]: %w", i, err)
		}
		c.SignIn.OIDC = append(c.SignIn.OIDC, provider)
	}
	c.SealKey = os.Getenv("MAYFLY_SEAL_KEY")
	if f.SealKeyFile != "" {
		key, err := readSecret(inDir(dir, f.SealKeyFile))
		if err != nil {
			return fmt.Errorf("seal_key_file: %w", err)
		}
		c.SealKey = key
	}
	c.RateLimits = f.RateLimits
	c.AuditKept = time.Duration(f.Audit.Keep)
	if c.AuditKept != 0 && c.AuditKept < minAuditKept {
		return mayfly.Errorf(mayfly.CodeInvalid, "audit.keep is shorter than 31d").WithHint("leave it out to keep the audit log for ever")
	}
	return f.resolveProxies(c)
}

func (f *file) resolveProxies(c *Config) error {
	for _, text := range f.TrustedProxies {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			addr, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return mayfly.Errorf(mayfly.CodeInvalid, "trusted_proxies: %q is neither an address nor a network such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(addr, addr.BitLen())
		}
		c.TrustedProxies = append(c.TrustedProxies, prefix)
	}
	return nil
}

func (f *file) resolveSignInGitHub(c *Config) error {
	g := f.Auth.GitHub
	if g == nil {
		return nil
	}
	if c.GitHub == nil || g.ClientID == "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "client_id and the github section are needed").
			WithHint("the client id is shown in the settings of the GitHub App, where the device flow has to be enabled")
	}
	out := &SignInGitHub{ClientID: g.ClientID, PublicRead: g.PublicRead, Admins: g.Admins, Session: time.Duration(g.Session)}
	for permission, role := range g.Roles {
		if !slices.Contains([]string{"admin", "maintain", "write", "triage", "read"}, permission) {
			return mayfly.Errorf(mayfly.CodeInvalid, "roles: %q is none of admin, maintain, write, triage, read", permission)
		}
		if out.Roles == nil {
			out.Roles = map[string]auth.Role{}
		}
		if role == "none" {
			continue
		}
		if auth.Role(role).Rank() == 0 {
			return mayfly.Errorf(mayfly.CodeInvalid, "roles.%s: there is no role %q", permission, role).WithHint("roles: viewer, developer, maintainer, admin, none")
		}
		out.Roles[permission] = auth.Role(role)
	}
	if out.Session < 0 || out.Session > maxSignInSession {
		return mayfly.Errorf(mayfly.CodeInvalid, "session is longer than 90d")
	}
	c.SignIn.GitHub = out
	return nil
}

var providerName = regexp.MustCompile(`^[a-z][a-z0-9-]{0,30}$`)

func (p *fileSignInOIDC) resolve(dir string, c *Config) (SignInOIDC, error) {
	out := SignInOIDC{
		Name: p.Name, Issuer: p.Issuer, ClientID: p.ClientID, Scopes: p.Scopes, SubjectClaim: p.SubjectClaim, RoleClaim: p.RoleClaim,
		Roles: map[string]auth.Grants{}, Session: time.Duration(p.Session),
	}
	taken := slices.ContainsFunc(c.SignIn.OIDC, func(o SignInOIDC) bool { return o.Name == p.Name })
	if !providerName.MatchString(p.Name) || slices.Contains([]string{"github", "system", "ci"}, p.Name) || taken {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "name %q is not usable: it begins what people are called", p.Name).
			WithHint("lower-case letters, digits and '-', unlike every other's, and not github, system or ci")
	}
	if u, err := url.Parse(p.Issuer); err != nil || u.Host == "" || p.ClientID == "" {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "issuer and client_id are needed")
	}
	if len(p.Roles) == 0 {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "roles is missing: nobody would have one").
			WithHint(`such as roles: {engineers: {shop: developer}}, for the values of role_claim; "*" is for everybody of the provider`)
	}
	for value, roles := range p.Roles {
		grants := auth.Grants{}
		for project, role := range roles {
			if _, ok := c.Project(project); !ok && project != auth.AllProjects {
				return out, mayfly.Errorf(mayfly.CodeInvalid, "roles.%s: there is no project %q", value, project)
			}
			grants[project] = auth.Role(role)
		}
		if err := grants.Check(); err != nil {
			return out, err
		}
		if value != "*" && p.RoleClaim == "" {
			return out, mayfly.Errorf(mayfly.CodeInvalid, "role_claim is missing: whose value is %q?", value)
		}
		out.Roles[value] = grants
	}
	if out.Session < 0 || out.Session > maxSignInSession {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "session is longer than 90d")
	}
	if p.CAFile == "" {
		return out, nil
	}
	var err error
	out.RootCAs, err = readCAs(inDir(dir, p.CAFile))
	return out, err
}
