package config

import (
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/outgoing"
	"github.com/mayflydb/mayfly/internal/store"
)

// fileOutgoing is an entry of outgoing: a receiver of webhooks.
type fileOutgoing struct {
	Name           string   `yaml:"name"`
	URL            string   `yaml:"url"`
	URLFile        string   `yaml:"url_file"`
	SecretFile     string   `yaml:"secret_file"`
	Events         []string `yaml:"events"`
	Projects       []string `yaml:"projects"`
	AllowLinkLocal bool     `yaml:"allow_link_local"`
}

// filePush is an entry of push: a host of preview deployments that gets the URL.
type filePush struct {
	Name           string   `yaml:"name"`
	Projects       []string `yaml:"projects"`
	AllowLinkLocal bool     `yaml:"allow_link_local"`

	Preset    string `yaml:"preset"`
	API       string `yaml:"api"`
	Project   string `yaml:"project"`
	Team      string `yaml:"team"`
	Key       string `yaml:"key"`
	TokenFile string `yaml:"token_file"`

	Set              *filePushRequest  `yaml:"set"`
	Remove           *filePushRequest  `yaml:"remove"`
	Keep             map[string]string `yaml:"keep"`
	SecretFiles      map[string]string `yaml:"secret_files"`
	PullRequestsOnly bool              `yaml:"pull_requests_only"`
}

type filePushRequest struct {
	Method  string            `yaml:"method"`
	URL     string            `yaml:"url"`
	Headers map[string]string `yaml:"headers"`
	Body    string            `yaml:"body"`
}

var targetName = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// minHookSecret is what standard-webhooks asks for at least, in bytes.
const minHookSecret = 24

// resolveOutgoing reads outgoing and push.
func (f *file) resolveOutgoing(dir string, c *Config) error {
	seen := map[string]bool{}
	add := func(section string, i int, name string, t *outgoing.Target, err error) error {
		where := fmt.Sprintf("%s[%d]", section, i)
		if err == nil && !targetName.MatchString(name) {
			err = mayfly.Errorf(mayfly.CodeInvalid, "name %q is not usable", name).WithHint("use lower-case letters, digits, '-' and '_'; it names the receiver in the log of deliveries")
		}
		if err == nil && seen[name] {
			err = mayfly.Errorf(mayfly.CodeInvalid, "there are two receivers called %q", name)
		}
		if err == nil {
			err = c.checkTarget(t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		seen[name] = true
		t.Name = name
		c.Outgoing = append(c.Outgoing, t)
		return nil
	}
	for i := range f.Outgoing {
		t, err := f.Outgoing[i].resolve(dir)
		if err := add("outgoing", i, f.Outgoing[i].Name, t, err); err != nil {
			return err
		}
	}
	for i := range f.Push {
		t, err := f.Push[i].resolve(dir)
		if err := add("push", i, f.Push[i].Name, t, err); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) checkTarget(t *outgoing.Target) error {
	for _, event := range t.Events {
		if !slices.Contains(store.EventKinds(), event) {
			return mayfly.Errorf(mayfly.CodeInvalid, "there is no event %q", event).WithHint("events: %s", strings.Join(store.EventKinds(), ", "))
		}
	}
	for _, project := range t.Projects {
		if _, ok := c.Project(project); !ok {
			return mayfly.Errorf(mayfly.CodeInvalid, "there is no project %q", project)
		}
	}
	return nil
}

func (o *fileOutgoing) resolve(dir string) (*outgoing.Target, error) {
	t := &outgoing.Target{URL: o.URL, Events: o.Events, Projects: o.Projects, AllowLinkLocal: o.AllowLinkLocal}
	if (o.URL == "") == (o.URLFile == "") {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "either url or url_file is needed, and not both").WithHint("use url_file where the address is itself a secret")
	}
	var err error
	if o.URLFile != "" {
		if t.URL, err = readSecret(inDir(dir, o.URLFile)); err != nil {
			return nil, fmt.Errorf("url_file: %w", err)
		}
	}
	u, err := url.Parse(t.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || u.User != nil && o.URL != "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the receiver's address is not an http or https address without a password").
			WithHint("put an address with a password into a file of mode 0600, and name that with url_file")
	}
	if o.SecretFile == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "secret_file is missing: without a signature anyone could pretend to be this server").
			WithHint(`make one with: (umask 077; echo "whsec_$(openssl rand -base64 32)" > hook.secret), and give the same to the receiver`)
	}
	secret, err := readSecret(inDir(dir, o.SecretFile))
	if err != nil {
		return nil, fmt.Errorf("secret_file: %w", err)
	}
	t.Secret = []byte(secret)
	if encoded, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if t.Secret, err = base64.StdEncoding.DecodeString(encoded); err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "secret_file: what follows whsec_ is not base64")
		}
	}
	if len(t.Secret) < minHookSecret {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "secret_file: the secret has fewer than %d bytes", minHookSecret)
	}
	return t, nil
}

func (p *filePush) resolve(dir string) (*outgoing.Target, error) {
	t := &outgoing.Target{Projects: p.Projects, AllowLinkLocal: p.AllowLinkLocal}
	custom := p.Set != nil || p.Remove != nil || len(p.Keep) > 0 || len(p.SecretFiles) > 0
	if (p.Preset == "") == !custom {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "either preset or set and remove are needed, and not both")
	}
	var err error
	if p.Preset != "" {
		token := ""
		if p.TokenFile != "" {
			if token, err = readSecret(inDir(dir, p.TokenFile)); err != nil {
				return nil, fmt.Errorf("token_file: %w", err)
			}
		}
		t.Push, err = outgoing.NewPush(outgoing.Preset{Host: p.Preset, Address: p.API, Project: p.Project, Team: p.Team, Key: p.Key, Token: token})
		return t, err
	}
	t.Push, err = p.custom(dir)
	return t, err
}

func (p *filePush) custom(dir string) (*outgoing.Push, error) {
	out := &outgoing.Push{Keep: p.Keep, Secrets: map[string]string{}, PullRequestsOnly: p.PullRequestsOnly}
	if p.Set == nil || p.Remove == nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "set and remove are both needed: what is given is to be taken back")
	}
	var err error
	if out.Set, err = outgoing.ParseRequest(outgoing.RequestText(*p.Set)); err != nil {
		return nil, fmt.Errorf("set: %w", err)
	}
	if out.Remove, err = outgoing.ParseRequest(outgoing.RequestText(*p.Remove)); err != nil {
		return nil, fmt.Errorf("remove: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(p.SecretFiles)) {
		if out.Secrets[name], err = readSecret(inDir(dir, p.SecretFiles[name])); err != nil {
			return nil, fmt.Errorf("secret_files.%s: %w", name, err)
		}
	}
	return out, nil
}
