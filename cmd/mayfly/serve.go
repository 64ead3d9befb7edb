package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/netutil"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/config"
)

// drainTimeout is how long requests, connections and jobs may take to finish after a signal.
const drainTimeout = 20 * time.Second

// maxAPIConnections bounds the connections to the API; more wait until one ends. Streams of events hold one each.
const maxAPIConnections = 2000

// bodyTimeout is how long the body of a request may take; deliveries of webhooks have less.
const bodyTimeout = time.Minute

func newServeCommand(s streams, h hooks) *cobra.Command {
	var configPath, logFormat string
	var verbose, adopt bool
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the service",
		Long: "Run the service: the webhook endpoint, the API, the gateway and the jobs that make, keep and remove previews.\n" +
			"It needs root, a Docker engine, and nothing else: without database_url_file it runs its own state database.\n" +
			"It refuses a state database that is not the one from before, because everything that exists would be unknown to it.",
		Example: "  mayfly serve --config /etc/mayfly/mayfly.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := config.Load(configPath)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), c, adopt, newLogger(s, logFormat, verbose), h)
		},
	}
	cmd.Flags().StringVarP(&configPath, "config", "c", "mayfly.yaml", "configuration file")
	cmd.Flags().StringVar(&logFormat, "log-format", "text", "text or json")
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "log more")
	cmd.Flags().BoolVar(&adopt, "adopt-state", false,
		"accept another state database than before, and REMOVE every preview, template and container that it does not know; use it once, if the old state is lost")
	return cmd
}

func newLogger(s streams, format string, verbose bool) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelInfo}
	if verbose {
		opts.Level = slog.LevelDebug
	}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(s.err, opts))
	}
	return slog.New(slog.NewTextHandler(s.err, opts))
}

// serve runs until ctx ends, then stops in order: no new requests and connections, no new jobs, and what runs may finish.
func serve(ctx context.Context, c *config.Config, adopt bool, logger *slog.Logger, h hooks) error {
	d, err := open(ctx, c, adopt, logger, h)
	if err != nil {
		return err
	}
	defer d.close()

	apiListener, err := listen(ctx, c.Listen, "listen")
	if err != nil {
		return err
	}
	apiListener = netutil.LimitListener(apiListener, maxAPIConnections)
	gatewayListener, err := listen(ctx, c.Gateway.Listen, "gateway.listen")
	if err != nil {
		_ = apiListener.Close()
		return err
	}
	runCtx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	defer cancel(nil)
	var background sync.WaitGroup
	background.Go(func() { d.watcher.Run(runCtx) })
	background.Go(func() { d.refreshMetrics(runCtx) })

	if err := d.queue.Start(ctx); err != nil {
		return err
	}
	// The queue's periodic jobs begin when a leader is elected, which can take a while after a crash.
	background.Go(func() { d.repair(runCtx) })

	server := newServer(d.api, logger)
	server.RegisterOnShutdown(d.api.Stop) // or streams of events would use up the time to drain
	failed := make(chan error, 2)
	background.Go(func() {
		if err := server.Serve(apiListener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	})
	background.Go(func() {
		if err := d.gateway.Serve(runCtx, gatewayListener); err != nil && runCtx.Err() == nil {
			failed <- err
		}
	})
	logger.InfoContext(ctx, "mayfly serves", "version", version, "api", apiListener.Addr().String(), "gateway", gatewayListener.Addr().String(),
		"pool", d.pool.Describe().Driver, "projects", len(c.Projects()))

	select {
	case <-ctx.Done():
		logger.InfoContext(ctx, "stopping")
	case err = <-failed:
		logger.ErrorContext(ctx, "a listener failed", "error", err)
	}
	stopCtx, stopCancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer stopCancel()
	err = errors.Join(err, d.stop(stopCtx, server))
	cancel(nil)
	background.Wait()
	return err
}

// newServer bounds what a client can hold without having said who it is.
func newServer(handler http.Handler, logger *slog.Logger) *http.Server {
	return &http.Server{
		Handler: boundBodies(handler, bodyTimeout), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
}

// boundBodies gives every body that much time. A ReadTimeout of the server would also end streams of events and long
// waits, which read nothing more.
func boundBodies(next http.Handler, timeout time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Body != nil && r.Body != http.NoBody {
			connection := http.NewResponseController(w)
			if err := connection.SetReadDeadline(time.Now().Add(timeout)); err == nil {
				r.Body = &boundBody{ReadCloser: r.Body, connection: connection}
			}
		}
		next.ServeHTTP(w, r)
	})
}

// boundBody ends the deadline with the body.
type boundBody struct {
	io.ReadCloser
	connection *http.ResponseController
}

func (b *boundBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		_ = b.connection.SetReadDeadline(time.Time{})
	}
	return n, err
}

func listen(ctx context.Context, address, key string) (net.Listener, error) {
	var lc net.ListenConfig
	listener, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "listen on %s: %w", address, err).
			WithHint("another process may use the port; %s in the configuration sets another", key)
	}
	return listener, nil
}
