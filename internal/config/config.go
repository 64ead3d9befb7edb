package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/outgoing"
)

// Config is the whole configuration, with secrets read and defaults filled in.
type Config struct {
	Listen      string
	ExternalURL string
	DataDir     string
	// DatabaseURL is the state database's, or "" for the embedded one. A secret.
	DatabaseURL string
	Engine      Engine
	Pool        Pool
	Gateway     Gateway
	GitHub      *GitHub // nil without pull requests
	CI          CI
	// Outgoing are the receivers that are told about previews, or get their URLs.
	Outgoing   []*outgoing.Target
	SignIn     SignIn
	Quotas     Quotas
	RateLimits RateLimits
	// SealKey is what passwords are encrypted with at rest, in base64; "" for the one in DataDir. A secret.
	SealKey string
	// AuditKept is for how long the audit log is kept; 0 means for ever.
	AuditKept time.Duration
	// TrustedProxies are whose word is taken for where a request came from.
	TrustedProxies []netip.Prefix
	MaxPreviews    int
	// SizeClasses are the limits that a preview can be made with, by name.
	SizeClasses map[string]mayfly.SizeClass
	Workers     int
	projects    []mayfly.Project
	maskingKeys map[string]string // file by project
}

// Engine says which engine to use.
type Engine struct {
	Host string `yaml:"host"`
}

// Pool says where and how data directories are stored.
type Pool struct {
	Driver       string
	SizeBytes    int64
	ReserveBytes int64
}

// Gateway says how clients reach previews.
type Gateway struct {
	Listen         string
	ExternalHost   string
	ExternalPort   int
	BaseDomain     string
	CertFile       string
	KeyFile        string
	AllowPlaintext bool
	MaxConnections int
	MaxPerPreview  int
	WaitTimeout    time.Duration
}

// GitHub says how to talk to the forge. Either Token or App is set.
type GitHub struct {
	BaseURL        string
	WebhookSecrets [][]byte // any may match, so that a secret can be rotated
	Token          string
	AppID          int64
	AppKeyPEM      []byte

	Reach
}

// Load reads and checks the file. Relative paths in it are relative to its directory. Errors are *mayfly.Error with CodeInvalid
// and name the line.
func Load(path string) (*Config, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the configuration: %w", err).
			WithHint("give its path with --config, or copy examples/mayfly.yaml")
	}
	return Parse(path, raw)
}

// Parse is Load for bytes that came from path.
func Parse(path string, raw []byte) (*Config, error) {
	var f file
	decoder := yaml.NewDecoder(bytes.NewReader(raw), yaml.Strict(), yaml.DisallowUnknownField())
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s: %s", path, strings.TrimSpace(yaml.FormatError(err, false, true))).
			WithHint("docs/configuration.md lists every key")
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s: %w", path, err)
	}
	c, err := f.resolve(dir)
	if err != nil {
		var coded *mayfly.Error
		if errors.As(err, &coded) {
			return nil, (&mayfly.Error{Code: coded.Code, Message: path + ": " + err.Error(), Err: coded.Err}).WithHint("%s", coded.Hint)
		}
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "%s: %w", path, err)
	}
	return c, nil
}

// Project returns a project by name.
func (c *Config) Project(name string) (mayfly.Project, bool) {
	for _, p := range c.projects {
		if p.Name == name {
			return p, true
		}
	}
	return mayfly.Project{}, false
}

// Projects returns all projects in the order of the file.
func (c *Config) Projects() []mayfly.Project { return c.projects }

// MaskingKey reads the masking key of a project from its file, each time: the key is held in memory during a build only.
// CodeInvalid, with a hint how to make one, if there is none.
func (c *Config) MaskingKey(project string) ([]byte, error) {
	path := c.maskingKeys[project]
	hint := fmt.Sprintf("make one with: (umask 077; head -c 32 /dev/urandom | base64 > %s)", or(path, "masking.key"))
	if path == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "project %s has no masking_key_file", project).WithHint("%s", hint)
	}
	key, err := readSecret(path)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "masking key of project %s: %w", project, err).WithHint("%s", hint)
	}
	return []byte(key), nil
}

// GatewayAddress returns the host and port that clients connect to.
func (c *Config) GatewayAddress() (host string, port int) {
	return c.Gateway.ExternalHost, c.Gateway.ExternalPort
}

func or[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// readSecret reads a file without its trailing line end. A secret that others may read is refused.
func readSecret(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "%s can be read by others (mode %04o)", path, info.Mode().Perm()).
			WithHint("chmod 600 %s", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(string(raw), "\r\n")
	if secret == "" {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "%s is empty", path)
	}
	return secret, nil
}
