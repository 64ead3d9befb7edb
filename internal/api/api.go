package api

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/signin"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/templates"
)

// Previews is what the API asks of the provisioner.
type Previews interface {
	CreateSandbox(ctx context.Context, r provisioner.SandboxRequest) (*mayfly.Preview, error)
	Credentials(ctx context.Context, name string) (*provisioner.Credentials, error)
	ResetTo(ctx context.Context, name string, r provisioner.ResetRequest) (*mayfly.Preview, error)
	Change(ctx context.Context, name string, c provisioner.Change) (*mayfly.Preview, error)
	DeleteIf(ctx context.Context, name string, c provisioner.ChangeOptions) (*mayfly.Preview, error)
	RecordedReport(ctx context.Context, name string) (json.RawMessage, error)
	Upkeep
	Snapshots
}

// Upkeep is what the API asks of the provisioner about previews that live for longer.
type Upkeep interface {
	// Protect keeps everybody and everything from removing the preview for that time; 0 ends that.
	Protect(ctx context.Context, name string, how time.Duration, by, reason string, c provisioner.ChangeOptions) (*mayfly.Preview, error)
	// RotatePassword gives the preview a new password, which it has when it is settled.
	RotatePassword(ctx context.Context, name string, c provisioner.ChangeOptions) (*mayfly.Preview, error)
	// Logs writes what the preview's Postgres wrote.
	Logs(ctx context.Context, p *mayfly.Preview, lines int, follow bool, w io.Writer) error
}

// Templates is what the API asks of the template service.
type Templates interface {
	// Request stores a new template in state building and the job that builds it.
	Request(ctx context.Context, project, by string) (*mayfly.Template, error)
	// Cancel asks for a build to be stopped.
	Cancel(ctx context.Context, templateID, by, reason string) (*mayfly.Template, error)
	// RollBack makes an older template current; version 0 is the one before the current.
	RollBack(ctx context.Context, project string, version int, by, reason string) (current *mayfly.Template, replaced []*mayfly.Template, err error)
	// Remove deletes a template that nothing uses; the current one only with force.
	Remove(ctx context.Context, templateID, by string, force bool) (*mayfly.Template, error)
	// Outlook returns what is coming for a project's templates.
	Outlook(ctx context.Context, project string) (templates.Outlook, error)
	// Rescan scans a finished template again for originals of its source.
	Rescan(ctx context.Context, templateID string) (*proof.Outcome, error)
}

// Options are what the API is made of.
type Options struct {
	Previews  Previews
	Logins    Logins
	Templates Templates
	Store     *store.Store
	Watcher   *store.Watcher
	Tokens    *auth.Tokens
	// Exchange gives CI jobs a token for one of theirs; nil if nobody's are taken.
	Exchange *auth.Exchange
	// Projects returns the names of the projects that exist.
	Projects func() []string
	// GatewayHost and GatewayPort are where clients reach the gateway.
	GatewayHost string
	GatewayPort int
	// SSLMode is what the URLs that are handed out ask for.
	SSLMode string
	// AttestationKey checks the attestations of templates.
	AttestationKey ed25519.PublicKey
	// Webhooks handles POST /webhooks/github; nil without a forge.
	Webhooks http.Handler
	// Ready is asked by /readyz: nil, or what is missing.
	Ready    func(ctx context.Context) error
	Metrics  *prometheus.Registry
	Logger   *slog.Logger
	Clock    func() time.Time
	Version  string
	MaxBytes int64 // bound of a request body; 0 means 1 MiB
	// Heartbeat is how often a stream of events says that it is still there; 0 means every 15 seconds.
	Heartbeat time.Duration
	// SignIn lets people in; nil if nobody can sign in, and tokens are made by hand.
	SignIn *signin.Service
	// RateLimits bound how often the API may be asked.
	RateLimits RateLimits
	// TrustedProxies are the networks of proxies whose X-Forwarded-For is believed.
	TrustedProxies []netip.Prefix
	// PullRequestsNeedMaintainer keeps developers from changing and removing the previews of pull requests.
	PullRequestsNeedMaintainer bool
}

// API serves the HTTP interface.
type API struct {
	Options
	echo     *echo.Echo
	stopping chan struct{}
	stop     func()
	turns    turns

	byToken, byAddress, denials, uses *limiter
}

// New makes the API.
func New(opts Options) (*API, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 20
	}
	if opts.Heartbeat == 0 {
		opts.Heartbeat = heartbeat
	}
	e := echo.New()
	e.HideBanner, e.HidePort = true, true
	a := &API{Options: opts, echo: e, stopping: make(chan struct{})}
	a.stop = sync.OnceFunc(func() { close(a.stopping) })
	a.makeLimiters()
	e.IPExtractor = extractor(opts.TrustedProxies)
	e.HTTPErrorHandler = a.writeError
	e.Use(a.logRequests, a.limitBody, refuseBadText)
	document, err := a.openAPI()
	if err != nil {
		return nil, err
	}
	for _, r := range a.routes() {
		r.handle = refuseUnknownQuery(r)
		e.Add(r.method, "/api/v1"+r.path, a.authorize(r))
	}
	if err := a.serveReference(document); err != nil {
		return nil, err
	}
	e.GET("/api/v1/openapi.json", func(c echo.Context) error { return c.JSONBlob(http.StatusOK, document) })
	e.GET("/healthz", func(c echo.Context) error {
		return c.JSON(http.StatusOK, map[string]string{"status": "ok", "version": opts.Version})
	})
	e.GET("/readyz", a.readyz)
	e.GET("/previews/:name", a.previewPage)
	if opts.Metrics != nil {
		e.GET("/metrics", echo.WrapHandler(promhttp.HandlerFor(opts.Metrics, promhttp.HandlerOpts{})))
	}
	if opts.Webhooks != nil {
		e.Any("/webhooks/github", echo.WrapHandler(opts.Webhooks))
	}
	return a, nil
}

// Stop ends the streams of events and answers the requests that wait, so that nothing long holds up the end of the server
// (http.Server.RegisterOnShutdown). Clients ask again. It may be called more than once.
func (a *API) Stop() { a.stop() }

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.echo.ServeHTTP(w, r) }

func (a *API) readyz(c echo.Context) error {
	if err := a.Ready(c.Request().Context()); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, map[string]string{"status": "ready"})
}

// limitBody bounds the bodies of everything but the webhook, which has its own, larger limit.
func (a *API) limitBody(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		r := c.Request()
		if r.URL.Path != "/webhooks/github" {
			r.Body = http.MaxBytesReader(c.Response(), r.Body, a.MaxBytes)
		}
		return next(c)
	}
}

// refuseBadText refuses paths and queries that are not text as Postgres can store it, UTF-8 without NUL: they name nothing.
func refuseBadText(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		query, err := url.QueryUnescape(c.Request().URL.RawQuery)
		if err != nil || !isText(query) || !isText(c.Request().URL.Path) {
			return mayfly.Errorf(mayfly.CodeInvalid, "the path or the query is not text: it has bytes that are not UTF-8, a NUL, or a broken escape")
		}
		return next(c)
	}
}

// refuseUnknownQuery refuses parameters that the route does not have: a filter that is misspelt would select everything.
func refuseUnknownQuery(r route) echo.HandlerFunc {
	names := make([]string, len(r.query))
	for i, p := range r.query {
		names[i] = p.name
	}
	return func(c echo.Context) error {
		for _, name := range slices.Sorted(maps.Keys(c.QueryParams())) {
			switch {
			case slices.Contains(names, name):
			case len(names) == 0:
				return mayfly.InvalidField(name, "there is no parameter %q: this request takes none", name)
			default:
				return mayfly.InvalidField(name, "there is no parameter %q", name).WithHint("one of: %s", strings.Join(names, ", "))
			}
		}
		return r.handle(c)
	}
}

func isText(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

// logRequests writes one line per request, without query strings and bodies: those may hold what is nobody's business.
func (a *API) logRequests(next echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		began := time.Now()
		err := next(c)
		if err != nil {
			c.Error(err) // writes the response, so that its status is known here
		}
		r := c.Request()
		level := slog.LevelInfo
		if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" || r.URL.Path == "/metrics" {
			level = slog.LevelDebug
		}
		attrs := []any{"method", r.Method, "path", r.URL.Path, "status", c.Response().Status, "took", time.Since(began)}
		if token, ok := c.Get(tokenKey).(*auth.Token); ok {
			attrs = append(attrs, "subject", token.Subject, "token", token.ID)
		}
		a.Logger.Log(r.Context(), level, "request", attrs...)
		return nil
	}
}
