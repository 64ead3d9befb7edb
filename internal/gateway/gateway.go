package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	mayfly "github.com/mayflydb/mayfly"
)

// Previews is what the gateway needs to know of previews. All methods are called concurrently.
type Previews interface {
	// Preview returns the preview of that name that is not deleted, without waiting for anything. An error with
	// CodeNotFound if there is none. It is called once for every connection.
	Preview(ctx context.Context, name string) (*mayfly.Preview, error)

	// AwaitConnectable wakes the preview if it sleeps, waits while it is being made, and returns it when its Postgres can
	// be dialled, or is expected to within moments: the gateway dials again while it cannot. It is also called when
	// dialling a preview failed that Preview said was ready. An error with CodeNotFound if there is none (any more), the
	// recorded failure if it failed, and ctx's error when ctx ends.
	AwaitConnectable(ctx context.Context, name string) (*mayfly.Preview, error)

	// Progress says what is happening to the preview, to go after "<name> is ": "migrating, step 3 of 5". "" if nothing
	// is known. Clients that have not logged in are told, but nothing that follows a colon: that is detail.
	Progress(ctx context.Context, name string) string

	// Touch records that the preview with this id is in use now. It is called when a client has logged in and when
	// it leaves and, for as long as one is there, every Options.TouchEvery.
	Touch(ctx context.Context, id string)
}

// Logins knows the roles besides the owner that people were given in previews.
type Logins interface {
	// MayLogin reports whether a role of the preview was given to somebody. While the preview runs it waits for a role that is
	// being made, until ctx ends; it wakes nothing.
	MayLogin(ctx context.Context, preview *mayfly.Preview, role string) (bool, error)
}

// Dialer opens connections to the Postgres of an instance; driver.Engine is one. An instance is named by
// Preview.Instance(), which is not the preview's id: a reset gives it another.
type Dialer interface {
	// Dial fails at once when nothing listens.
	Dial(ctx context.Context, instance string) (net.Conn, error)
}

// Options configure a Gateway. For numbers and durations, zero means the default.
type Options struct {
	Previews Previews
	Dialer   Dialer
	Logins   Logins // nil: the owner of a preview is the only one who may log in

	// TLS is the server's side of TLS (see TLSConfig). Nil refuses TLS; then AllowPlaintext must be set.
	TLS *tls.Config
	// AllowPlaintext lets clients in that do not ask for TLS.
	AllowPlaintext bool
	// BaseDomain makes "<preview>.<BaseDomain>" name a preview in the TLS server name. "" turns that off.
	BaseDomain string

	// StartupTimeout bounds the time from accept to a complete startup packet, TLS handshake included. 10 s by default.
	StartupTimeout time.Duration
	// WaitTimeout bounds how long a client waits for a preview that is being made or woken. 30 s by default.
	WaitTimeout time.Duration
	// AuthenticationTimeout bounds the time that a client takes to log in, once its preview can be dialled. 15 s by default.
	AuthenticationTimeout time.Duration
	// TouchEvery is the interval between calls of Previews.Touch for a preview in use. 1 minute by default.
	TouchEvery time.Duration

	// MaxConnections bounds all connections, 1000 by default; MaxPerPreview those that have logged in to one preview, 100 by
	// default; MaxUnauthenticated those that are logging in to one preview, 16 by default, while more wait for their turn;
	// MaxStartupsPerIP those from one address (one /64 of IPv6) that have not logged in yet, 64 by default.
	// Below zero: no limit.
	MaxConnections     int
	MaxPerPreview      int
	MaxUnauthenticated int
	MaxStartupsPerIP   int

	Logger     *slog.Logger          // nil: silent
	Registerer prometheus.Registerer // nil: metrics are not exported
}

func (o *Options) setDefaults() {
	setDefault(&o.StartupTimeout, 10*time.Second)
	setDefault(&o.WaitTimeout, 30*time.Second)
	setDefault(&o.AuthenticationTimeout, 15*time.Second)
	setDefault(&o.TouchEvery, time.Minute)
	setDefault(&o.MaxConnections, 1000)
	setDefault(&o.MaxPerPreview, 100)
	setDefault(&o.MaxUnauthenticated, 16)
	setDefault(&o.MaxStartupsPerIP, 64)
	o.BaseDomain = strings.ToLower(strings.Trim(o.BaseDomain, "."))
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.TLS != nil {
		o.TLS = o.TLS.Clone()
		// PostgreSQL docs, 54.2.11: the ALPN name is required for direct TLS and checked if offered otherwise.
		o.TLS.NextProtos = []string{alpnProtocol}
	}
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// Gateway is the Postgres proxy. Its methods may be called concurrently.
type Gateway struct {
	opts     Options
	log      *slog.Logger
	sessions *sessions
	keys     *cancelKeys
	metrics  *metrics

	mu        sync.Mutex
	draining  bool
	listeners map[net.Listener]struct{}
}

// New makes a Gateway. It does nothing until Serve.
func New(opts Options) *Gateway {
	opts.setDefaults()
	g := &Gateway{
		opts: opts,
		log:  opts.Logger,
		sessions: newSessions(limits{
			total: opts.MaxConnections, perPreview: opts.MaxPerPreview,
			unauthenticated: opts.MaxUnauthenticated, startups: opts.MaxStartupsPerIP,
		}),
		keys:      newCancelKeys(),
		listeners: map[net.Listener]struct{}{},
	}
	g.metrics = newMetrics(opts.Registerer, g.sessions.total)
	return g
}

// errShutdown and the two below are the reasons for which a session is ended from outside.
var (
	errShutdown   = errors.New("the gateway is shutting down")
	errGone       = errors.New("the preview was deleted or reset")
	errClientGone = errors.New("the client went away")
)

// Serve accepts connections until Shutdown is called, and then returns nil when the last one has ended. It closes the
// listener. When ctx ends, Serve ends too, and at once: every connection is told 57P01 and closed. Give it a context
// that outlives the call of Shutdown if connections shall have time to finish.
func (g *Gateway) Serve(ctx context.Context, listener net.Listener) error {
	if !g.addListener(listener) {
		return errors.Join(errShutdown, listener.Close())
	}
	defer g.removeListener(listener)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()

	var conns sync.WaitGroup
	var touches sync.WaitGroup
	touches.Go(func() { g.touchLoop(ctx) })
	err := g.accept(ctx, listener, &conns)
	if err != nil {
		cancel(err)
	}
	conns.Wait()
	cancel(nil)
	touches.Wait()
	return err
}

// accept returns nil when the listener was closed on purpose.
func (g *Gateway) accept(ctx context.Context, listener net.Listener, conns *sync.WaitGroup) error {
	const maxPause = time.Second
	pause := time.Duration(0)
	for {
		conn, err := listener.Accept()
		if err == nil {
			pause = 0
			conns.Go(func() { g.handle(ctx, conn) })
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			if ctx.Err() != nil || g.isDraining() {
				err = nil
			}
			return err
		}
		// Out of file descriptors, most likely: it passes when other connections end.
		pause = min(max(2*pause, 5*time.Millisecond), maxPause)
		g.log.WarnContext(ctx, "gateway cannot accept a connection", "error", err, "retry_in", pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// Shutdown stops accepting and lets connections finish: those between transactions are told 57P01 and closed at once,
// the others as soon as they are. When ctx ends first, the rest is told so and closed, and ctx's error is returned.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.mu.Lock()
	g.draining = true
	for listener := range g.listeners {
		_ = listener.Close() // Accept returns the error
	}
	g.mu.Unlock()

	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var forced error
	for g.sessions.total() > 0 {
		forced = ctx.Err()
		for _, s := range g.sessions.list() {
			if s.idle() || forced != nil {
				s.end(errShutdown)
			}
		}
		<-ticker.C // also when ctx has ended: sessions need a moment to say goodbye
	}
	return forced
}

// Disconnect ends the connections of the preview with this id with 57P01. Clients that still wait for it go on waiting: it
// may be on its way to be made anew, and if it is being deleted, AwaitConnectable says so.
func (g *Gateway) Disconnect(id string) {
	for _, s := range g.sessions.of(id) {
		if s.isLinked() {
			s.end(errGone)
		}
	}
}

// Active returns how many connections the preview with this id has that keep it in use: clients that
// have logged in, and those for which it is being woken.
func (g *Gateway) Active(id string) int { return g.sessions.count(id) }

func (g *Gateway) addListener(listener net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.draining {
		g.listeners[listener] = struct{}{}
	}
	return !g.draining
}

func (g *Gateway) removeListener(listener net.Listener) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.listeners, listener)
	_ = listener.Close()
}

func (g *Gateway) isDraining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.draining
}
