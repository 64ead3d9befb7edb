package config

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// file is the YAML as written. docs/configuration.md describes every key.
type file struct {
	Listen          string      `yaml:"listen"`
	ExternalURL     string      `yaml:"external_url"`
	DataDir         string      `yaml:"data_dir"`
	DatabaseURL     string      `yaml:"database_url"`
	DatabaseURLFile string      `yaml:"database_url_file"`
	Engine          Engine      `yaml:"engine"`
	Pool            filePool    `yaml:"pool"`
	Gateway         fileGateway `yaml:"gateway"`
	GitHub          *fileGitHub `yaml:"github"`
	MaxPreviews     int         `yaml:"max_previews"`
	Workers         int         `yaml:"workers"`

	SizeClasses    map[string]fileSizeClass `yaml:"size_classes"`
	Projects       []fileProject            `yaml:"projects"`
	Auth           fileAuth                 `yaml:"auth"`
	Outgoing       []fileOutgoing           `yaml:"outgoing"`
	Push           []filePush               `yaml:"push"`
	Audit          fileAudit                `yaml:"audit"`
	Quotas         fileQuotas               `yaml:"quotas"`
	RateLimits     RateLimits               `yaml:"rate_limits"`
	TrustedProxies []string                 `yaml:"trusted_proxies"`
	SealKeyFile    string                   `yaml:"seal_key_file"`
}

type filePool struct {
	Driver  string `yaml:"driver"`
	Size    Bytes  `yaml:"size"`
	Reserve Bytes  `yaml:"reserve"`
}

type fileGateway struct {
	Listen         string   `yaml:"listen"`
	ExternalHost   string   `yaml:"external_host"`
	ExternalPort   int      `yaml:"external_port"`
	BaseDomain     string   `yaml:"base_domain"`
	CertFile       string   `yaml:"cert_file"`
	KeyFile        string   `yaml:"key_file"`
	AllowPlaintext bool     `yaml:"allow_plaintext"`
	MaxConnections int      `yaml:"max_connections"`
	MaxPerPreview  int      `yaml:"max_per_preview"`
	WaitTimeout    Duration `yaml:"wait_timeout"`
}

type fileGitHub struct {
	BaseURL           string  `yaml:"base_url"`
	WebhookSecretFile string  `yaml:"webhook_secret_file"`
	WebhookSecretOld  string  `yaml:"webhook_secret_old_file"`
	TokenFile         string  `yaml:"token_file"`
	App               fileApp `yaml:"app"`

	Reach fileReach `yaml:",inline"`
}

type fileApp struct {
	ID             int64  `yaml:"id"`
	PrivateKeyFile string `yaml:"private_key_file"`
}

type fileProject struct {
	Name           string         `yaml:"name"`
	Repository     string         `yaml:"repository"`
	RepositoryID   int64          `yaml:"repository_id"`
	Source         fileSource     `yaml:"source"`
	Rules          string         `yaml:"rules"`
	MaskingKeyFile string         `yaml:"masking_key_file"`
	Postgres       filePostgres   `yaml:"postgres"`
	Migrations     fileMigrations `yaml:"migrations"`
	Previews       filePreviews   `yaml:"previews"`
	Templates      fileTemplates  `yaml:"templates"`
	KeepTemplates  int            `yaml:"keep_templates"`
	Quota          *fileQuota     `yaml:"quota"`
}

type fileSource struct {
	DSNFile string `yaml:"dsn_file"`
	DSNEnv  string `yaml:"dsn_env"`
	Archive string `yaml:"archive"`

	Checksum   string `yaml:"checksum"`
	HeaderFile string `yaml:"header_file"`

	MaxConnections   int      `yaml:"max_connections"`
	RateLimit        Rate     `yaml:"rate_limit"`
	StatementTimeout Duration `yaml:"statement_timeout"`
	LockTimeout      Duration `yaml:"lock_timeout"`

	Database  string `yaml:"database"`
	WAL       string `yaml:"wal"`
	RecoverTo string `yaml:"recover_to"`
}

type filePostgres struct {
	Major    int    `yaml:"major"`
	Image    string `yaml:"image"`
	Database string `yaml:"database"`
	Owner    string `yaml:"owner"`
}

type filePreviews struct {
	TTL            Duration `yaml:"ttl"`
	PullRequestTTL Duration `yaml:"pull_request_ttl"`
	IdleAfter      Duration `yaml:"idle_after"`
	Memory         Bytes    `yaml:"memory"`
	CPUs           float64  `yaml:"cpus"`
	Pids           int64    `yaml:"pids"`
	Shm            Bytes    `yaml:"shm"`
	Disk           Bytes    `yaml:"disk"`
	Max            int      `yaml:"max"`
	MaxSnapshots   int      `yaml:"max_snapshots"`
	SizeClasses    []string `yaml:"size_classes"`

	Policy filePolicy `yaml:",inline"`
}

// DefaultDataDir is where everything of an installation lives unless data_dir says otherwise.
const DefaultDataDir = "/var/lib/mayfly"

func (f *file) resolve(dir string) (*Config, error) {
	c := &Config{
		Listen: or(f.Listen, "127.0.0.1:8080"), ExternalURL: strings.TrimRight(f.ExternalURL, "/"),
		DataDir: inDir(dir, or(f.DataDir, DefaultDataDir)), Engine: f.Engine,
		Pool:        Pool{Driver: f.Pool.Driver, SizeBytes: int64(f.Pool.Size), ReserveBytes: int64(f.Pool.Reserve)},
		MaxPreviews: f.MaxPreviews, Workers: f.Workers, maskingKeys: map[string]string{},
	}
	if c.Pool.Driver == "auto" {
		c.Pool.Driver = ""
	}
	var err error
	if c.DatabaseURL, err = f.databaseURL(dir); err != nil {
		return nil, err
	}
	if c.Gateway, err = f.Gateway.resolve(dir); err != nil {
		return nil, err
	}
	if f.GitHub != nil {
		if c.GitHub, err = f.GitHub.resolve(dir); err != nil {
			return nil, err
		}
	}
	if err := f.resolveProjects(dir, c); err != nil {
		return nil, err
	}
	if err := f.resolveCI(dir, c); err != nil {
		return nil, err
	}
	if err := f.resolveOutgoing(dir, c); err != nil {
		return nil, err
	}
	if err := f.resolveAuth(dir, c); err != nil {
		return nil, err
	}
	if err := f.resolveSizes(c); err != nil {
		return nil, err
	}
	return c, f.resolveQuotas(c)
}

// databaseURL finds the state database's address: MAYFLY_DATABASE_URL, database_url_file, or database_url without a password in it (which
// then comes from PGPASSFILE or PGPASSWORD).
func (f *file) databaseURL(dir string) (string, error) {
	switch {
	case f.DatabaseURL != "" && f.DatabaseURLFile != "":
		return "", mayfly.Errorf(mayfly.CodeInvalid, "database_url and database_url_file exclude each other")
	case f.DatabaseURLFile != "":
		u, err := readSecret(inDir(dir, f.DatabaseURLFile))
		if err != nil {
			return "", fmt.Errorf("database_url_file: %w", err)
		}
		return u, nil
	case f.DatabaseURL != "":
		u, err := url.Parse(f.DatabaseURL)
		if err != nil || u.Scheme == "" || u.Query().Has("password") {
			return "", mayfly.Errorf(mayfly.CodeInvalid, "database_url is not a URL without a password").
				WithHint("write postgres://user@host:5432/database, and give the password by PGPASSFILE; or use database_url_file")
		}
		if _, has := u.User.Password(); has {
			return "", mayfly.Errorf(mayfly.CodeInvalid, "database_url has a password in it").
				WithHint("put the URL into a file of mode 0600 and name that with database_url_file, or give the password by PGPASSFILE")
		}
		return f.DatabaseURL, nil
	}
	return os.Getenv("MAYFLY_DATABASE_URL"), nil
}

func inDir(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

func (g *fileGateway) resolve(dir string) (Gateway, error) {
	listen := or(g.Listen, "127.0.0.1:6432")
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return Gateway{}, mayfly.Errorf(mayfly.CodeInvalid, "gateway.listen %q is not host:port", listen)
	}
	port, err := strconv.Atoi(portText)
	if err != nil {
		return Gateway{}, mayfly.Errorf(mayfly.CodeInvalid, "gateway.listen %q has no numeric port", listen)
	}
	if ip := net.ParseIP(host); host == "" || (ip != nil && ip.IsUnspecified()) {
		host = "127.0.0.1"
	}
	if (g.CertFile == "") != (g.KeyFile == "") {
		return Gateway{}, mayfly.Errorf(mayfly.CodeInvalid, "gateway.cert_file and gateway.key_file belong together")
	}
	return Gateway{
		Listen: listen, ExternalHost: or(g.ExternalHost, host), ExternalPort: or(g.ExternalPort, port), BaseDomain: g.BaseDomain,
		CertFile: inDir(dir, g.CertFile), KeyFile: inDir(dir, g.KeyFile), AllowPlaintext: g.AllowPlaintext,
		MaxConnections: or(g.MaxConnections, 1000), MaxPerPreview: or(g.MaxPerPreview, 90),
		WaitTimeout: time.Duration(or(g.WaitTimeout, Duration(30*time.Second))),
	}, nil
}

func (g *fileGitHub) resolve(dir string) (*GitHub, error) {
	reach, err := g.Reach.resolve(dir)
	if err != nil {
		return nil, err
	}
	out := &GitHub{BaseURL: g.BaseURL, AppID: g.App.ID, Reach: reach}
	if g.WebhookSecretFile == "" {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "github.webhook_secret_file is missing: without a secret anyone could send events").
			WithHint("make one with: (umask 077; openssl rand -hex 32 > webhook.secret), and give the same to GitHub")
	}
	for _, path := range []string{g.WebhookSecretFile, g.WebhookSecretOld} {
		if path == "" {
			continue
		}
		secret, err := readSecret(inDir(dir, path))
		if err != nil {
			return nil, fmt.Errorf("github.webhook_secret_file: %w", err)
		}
		out.WebhookSecrets = append(out.WebhookSecrets, []byte(secret))
	}
	if (g.TokenFile == "") == (g.App.ID == 0) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "github needs either token_file or app, and not both").
			WithHint("docs/github.md shows how to make an App, and a token for small installations")
	}
	if g.TokenFile != "" {
		if out.Token, err = readSecret(inDir(dir, g.TokenFile)); err != nil {
			return nil, fmt.Errorf("github.token_file: %w", err)
		}
		return out, nil
	}
	key, err := readSecret(inDir(dir, g.App.PrivateKeyFile))
	if err != nil {
		return nil, fmt.Errorf("github.app.private_key_file: %w", err)
	}
	out.AppKeyPEM = []byte(key)
	return out, nil
}

func (f *file) resolveProjects(dir string, c *Config) error {
	seen := map[string]bool{}
	for i := range f.Projects {
		p := &f.Projects[i]
		if err := mayfly.ValidateProjectName(p.Name); err != nil {
			return err
		}
		// "shop" and "shop-eu" would be able to make the same preview name.
		for other := range seen {
			if other == p.Name || strings.HasPrefix(other, p.Name+"-") || strings.HasPrefix(p.Name, other+"-") {
				return mayfly.Errorf(mayfly.CodeInvalid, "projects %q and %q could make previews of the same name", other, p.Name).
					WithHint("rename one so that neither is the other, or the other followed by '-'")
			}
		}
		seen[p.Name] = true
		project, err := p.resolve(dir)
		if err != nil {
			return fmt.Errorf("project %s: %w", p.Name, err)
		}
		if project.Repository != "" && c.GitHub == nil {
			return mayfly.Errorf(mayfly.CodeInvalid, "project %s has a repository, but there is no github section", p.Name)
		}
		c.projects = append(c.projects, project)
		c.maskingKeys[p.Name] = inDir(dir, p.MaskingKeyFile)
	}
	return nil
}

func (p *fileProject) resolve(dir string) (mayfly.Project, error) {
	var none mayfly.Project
	source, err := p.Source.resolve(dir)
	if err == nil {
		err = p.Source.resolveRestore(dir, &source)
	}
	if err == nil {
		err = p.Source.resolveLive(&source)
	}
	if err != nil {
		return none, err
	}
	if p.Rules == "" {
		return none, mayfly.Errorf(mayfly.CodeInvalid, "rules is missing").WithHint("name the project's sanitize.yaml; docs/sanitize.md describes it")
	}
	if p.Postgres.Database == "" || p.Postgres.Owner == "" {
		return none, mayfly.Errorf(mayfly.CodeInvalid, "postgres.database and postgres.owner are needed").
			WithHint("the database and the role that the application itself uses")
	}
	if strings.HasPrefix(p.Postgres.Owner, "mayfly_") || p.Postgres.Owner == "postgres" || strings.HasPrefix(p.Postgres.Owner, "pg_") {
		return none, mayfly.Errorf(mayfly.CodeInvalid, "postgres.owner %q is kept for superusers", p.Postgres.Owner).
			WithHint("use the role that the application connects as")
	}
	migrations, err := p.Migrations.resolve(dir)
	if err != nil {
		return none, err
	}
	policy, err := p.Previews.Policy.resolve()
	if err != nil {
		return none, fmt.Errorf("previews: %w", err)
	}
	templates, err := p.Templates.resolve(dir)
	if err != nil {
		return none, fmt.Errorf("templates: %w", err)
	}
	return mayfly.Project{
		Name: p.Name, Repository: p.Repository, RepositoryID: p.RepositoryID, Source: source, RulesFile: inDir(dir, p.Rules), Templates: templates,
		Postgres: mayfly.PostgresSettings{
			Major: p.Postgres.Major, Image: p.Postgres.Image, Database: p.Postgres.Database, Owner: p.Postgres.Owner,
		},
		Migrations: migrations,
		Previews: mayfly.PreviewSettings{
			TTL: time.Duration(p.Previews.TTL), PullRequestTTL: time.Duration(p.Previews.PullRequestTTL),
			IdleAfter: time.Duration(p.Previews.IdleAfter), MemoryBytes: int64(p.Previews.Memory), CPUs: p.Previews.CPUs,
			Pids: p.Previews.Pids, ShmBytes: int64(p.Previews.Shm), DiskBytes: int64(p.Previews.Disk), MaxPreviews: p.Previews.Max,
			MaxSnapshots: p.Previews.MaxSnapshots, SizeClasses: p.Previews.SizeClasses,
			PullRequests: policy,
		},
		KeepTemplates: max(or(p.KeepTemplates, defaultKeepTemplates), 1),
	}, nil
}

func (s *fileSource) resolve(dir string) (mayfly.Source, error) {
	set := 0
	for _, v := range []string{s.DSNFile, s.DSNEnv, s.Archive} {
		if v != "" {
			set++
		}
	}
	if set != 1 {
		return mayfly.Source{}, mayfly.Errorf(mayfly.CodeInvalid, "source needs exactly one of dsn_file, dsn_env and archive")
	}
	if s.Archive == "" && (s.Checksum != "" || s.HeaderFile != "") {
		return mayfly.Source{}, mayfly.Errorf(mayfly.CodeInvalid, "source.checksum and source.header_file belong to source.archive")
	}
	switch {
	case s.Archive != "":
		source := mayfly.Source{Archive: s.Archive, Checksum: s.Checksum, HeaderFile: inDir(dir, s.HeaderFile)}
		if !strings.Contains(s.Archive, "://") {
			source.Archive = inDir(dir, s.Archive)
		}
		return source, nil
	case s.DSNEnv != "":
		dsn := os.Getenv(s.DSNEnv)
		if dsn == "" {
			return mayfly.Source{}, mayfly.Errorf(mayfly.CodeInvalid, "source.dsn_env: the environment variable %s is empty", s.DSNEnv)
		}
		return mayfly.Source{DSN: dsn}, nil
	}
	dsn, err := readSecret(inDir(dir, s.DSNFile))
	if err != nil {
		return mayfly.Source{}, fmt.Errorf("source.dsn_file: %w", err)
	}
	return mayfly.Source{DSN: dsn}, nil
}
