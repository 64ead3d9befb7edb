package config

import (
	"crypto/x509"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

// CI says whose jobs may exchange a token of their CI system for one of ours.
type CI struct {
	Issuers  []CIIssuer
	TokenTTL time.Duration
}

// CIIssuer is an entry of auth.ci_issuers.
type CIIssuer struct {
	URL     string
	RootCAs *x509.CertPool // nil: the system's
	// Rest is everything else, without the Issuer.
	Rest auth.CIIssuer
}

type fileCIIssuer struct {
	Type       string            `yaml:"type"`
	Issuer     string            `yaml:"issuer"`
	Audience   string            `yaml:"audience"`
	CAFile     string            `yaml:"ca_file"`
	Events     []string          `yaml:"events"`
	Project    string            `yaml:"project"`
	Match      map[string]string `yaml:"match"`
	RefClaim   string            `yaml:"ref_claim"`
	RefPattern string            `yaml:"ref_pattern"`
	Preview    string            `yaml:"preview"`
}

// ActionsIssuer is whose tokens jobs of GitHub Actions on github.com have.
const ActionsIssuer = "https://token.actions.githubusercontent.com"

const maxCITokenTTL = 24 * time.Hour

// resolveCI reads auth.ci_issuers. Without it, jobs of GitHub Actions are let in if there is an address for their tokens to be for.
func (f *file) resolveCI(dir string, c *Config) error {
	c.CI.TokenTTL = time.Duration(or(f.Auth.CITokenTTL, Duration(auth.DefaultExchangeTTL)))
	if c.CI.TokenTTL <= 0 || c.CI.TokenTTL > maxCITokenTTL {
		return mayfly.Errorf(mayfly.CodeInvalid, "auth.ci_token_ttl is not between 1s and 24h")
	}
	entries := f.Auth.CIIssuers
	if entries == nil && c.GitHub != nil && c.ExternalURL != "" {
		entries = []fileCIIssuer{{Type: "github"}}
	}
	for i := range entries {
		issuer, err := entries[i].resolve(dir, c)
		if err != nil {
			return fmt.Errorf("auth.ci_issuers[%d]: %w", i, err)
		}
		c.CI.Issuers = append(c.CI.Issuers, issuer)
	}
	return nil
}

func (e *fileCIIssuer) resolve(dir string, c *Config) (CIIssuer, error) {
	out := CIIssuer{URL: e.Issuer, Rest: auth.CIIssuer{
		Audience: or(e.Audience, c.ExternalURL), Events: e.Events, Project: e.Project, RefClaim: e.RefClaim, Preview: e.Preview,
	}}
	if out.Rest.Audience == "" {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "audience is missing").WithHint("set it, or external_url, which it is taken from")
	}
	if _, ok := c.Project(e.Project); e.Project != "" && !ok {
		return out, mayfly.Errorf(mayfly.CodeInvalid, "there is no project %q", e.Project)
	}
	if err := e.resolvePatterns(&out.Rest); err != nil {
		return out, err
	}
	var err error
	switch e.Type {
	case "github":
		err = e.resolveGitHub(&out, c)
	case "", "gitlab", "generic":
		err = e.resolveGeneric(&out)
	default:
		err = mayfly.Errorf(mayfly.CodeInvalid, "type %q is none of github, gitlab and generic", e.Type)
	}
	if err != nil || e.CAFile == "" {
		return out, err
	}
	out.RootCAs, err = readCAs(inDir(dir, e.CAFile))
	return out, err
}

// resolvePatterns compiles what claims are compared with: text as it is, or a regular expression between slashes. Both are for the whole
// claim.
func (e *fileCIIssuer) resolvePatterns(out *auth.CIIssuer) error {
	out.Match = map[string]*regexp.Regexp{}
	for _, claim := range slices.Sorted(maps.Keys(e.Match)) {
		text := e.Match[claim]
		pattern := regexp.QuoteMeta(text)
		if len(text) > 2 && strings.HasPrefix(text, "/") && strings.HasSuffix(text, "/") {
			pattern = text[1 : len(text)-1]
		}
		if text == "" {
			return mayfly.Errorf(mayfly.CodeInvalid, "match.%s is empty", claim)
		}
		compiled, err := wholePattern(pattern)
		if err != nil {
			return mayfly.Errorf(mayfly.CodeInvalid, "match.%s: %w", claim, err)
		}
		out.Match[claim] = compiled
	}
	if e.RefPattern == "" {
		return nil
	}
	var err error
	if out.RefPattern, err = wholePattern(strings.Trim(e.RefPattern, "/")); err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "ref_pattern: %w", err)
	}
	return nil
}

func wholePattern(pattern string) (*regexp.Regexp, error) {
	return regexp.Compile(`^(?:` + pattern + `)$`)
}

func (e *fileCIIssuer) resolveGitHub(out *CIIssuer, c *Config) error {
	if c.GitHub == nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "type github needs the github section: it says whose repositories there are")
	}
	if e.RefClaim != "" || e.RefPattern != "" || e.Preview != "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "ref_claim, ref_pattern and preview are not for type github, whose claims are known")
	}
	for _, event := range e.Events {
		if !slices.Contains(auth.CIEvents(), event) {
			return mayfly.Errorf(mayfly.CodeInvalid, "events: %q is not accepted", event).
				WithHint("use %s; in pull_request_target, workflow_run and issue_comment, what strangers wrote can run with the rights of the base branch",
					strings.Join(auth.CIEvents(), ", "))
		}
	}
	out.Rest.GitHub = true
	out.URL = or(e.Issuer, actionsIssuer(c.GitHub.BaseURL))
	return nil
}

// actionsIssuer is who issues the tokens of GitHub Actions: on Enterprise Server, the server itself (its docs, "OpenID Connect").
func actionsIssuer(baseURL string) string {
	u, err := url.Parse(baseURL)
	if baseURL == "" || err != nil || u.Host == "api.github.com" {
		return ActionsIssuer
	}
	if tenant, ok := strings.CutPrefix(u.Host, "api."); ok && strings.HasSuffix(u.Host, ".ghe.com") {
		return "https://token.actions." + tenant
	}
	return u.Scheme + "://" + u.Host + "/_services/token"
}

func (e *fileCIIssuer) resolveGeneric(out *CIIssuer) error {
	if e.Type == "gitlab" {
		out.URL = or(e.Issuer, "https://gitlab.com")
		if out.Rest.RefClaim == "" && out.Rest.RefPattern == nil {
			out.Rest.RefClaim, out.Rest.RefPattern = "ref_path", regexp.MustCompile(`^(?:refs/merge-requests/([0-9]+)/(?:head|merge))$`)
			out.Rest.Preview = or(out.Rest.Preview, "mr-{ref}")
		}
		if len(e.Match["project_id"]) == 0 {
			return mayfly.Errorf(mayfly.CodeInvalid, "match.project_id is missing: without it every project on %s could have a token", out.URL).
				WithHint("it is the number that GitLab shows on the project's page")
		}
	}
	switch {
	case out.URL == "":
		return mayfly.Errorf(mayfly.CodeInvalid, "issuer is missing")
	case e.Project == "":
		return mayfly.Errorf(mayfly.CodeInvalid, "project is missing: whose previews are they?")
	case len(e.Match) == 0:
		return mayfly.Errorf(mayfly.CodeInvalid, "match is missing: without it everybody with a job at %s could have a token", out.URL)
	case out.Rest.RefClaim == "" || out.Rest.RefPattern == nil:
		return mayfly.Errorf(mayfly.CodeInvalid, "ref_claim and ref_pattern are needed: they say which preview a job is for")
	case len(e.Events) > 0:
		return mayfly.Errorf(mayfly.CodeInvalid, "events is for type github; match says the same for others")
	}
	out.Rest.Preview = or(out.Rest.Preview, "pr-{ref}")
	if !strings.Contains(out.Rest.Preview, "{ref}") {
		return mayfly.Errorf(mayfly.CodeInvalid, "preview %q has no {ref} in it: all jobs would have the same", out.Rest.Preview)
	}
	return nil
}

// readCAs reads certificates of authorities, which are trusted in addition to the system's.
func readCAs(path string) (*x509.CertPool, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "ca_file: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(raw) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "ca_file: %s has no certificate in PEM", path)
	}
	return pool, nil
}
