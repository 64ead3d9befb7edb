package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/api"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/outgoing"
	"github.com/mayflydb/mayfly/internal/signin"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/sanitize/proof"
	"github.com/mayflydb/mayfly/sanitize/recognise"
	"github.com/mayflydb/mayfly/templates"
	"github.com/mayflydb/mayfly/webhooks"
)

// stateVolume is the id under which the engine knows the directory of the embedded state database.
const stateVolume = "state"

// daemon is everything that serve runs.
type daemon struct {
	config    *config.Config
	adopt     bool // accept another state database than before
	logger    *slog.Logger
	pool      *cow.Pool
	engine    *docker.Engine
	store     *store.Store
	watcher   *store.Watcher
	templates *templates.Service
	previews  *provisioner.Service
	gateway   *gateway.Gateway
	outgoing  *outgoing.Service
	queue     *jobs.Queue
	api       *api.API
	signIn    *signin.Service // nil if nobody can sign in
}

// open builds the daemon from the bottom up: storage, engine, state, stages, faces.
func open(ctx context.Context, c *config.Config, adopt bool, logger *slog.Logger, h hooks) (_ *daemon, err error) {
	d := &daemon{config: c, adopt: adopt, logger: logger}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if os.Geteuid() != 0 {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "mayfly serve needs root: it mounts the pool and owns the sockets of previews").
			WithHint("run it with sudo, or in its container: docker compose up (see docs/install.md)")
	}
	installation, err := installationID(c.DataDir)
	if err != nil {
		return nil, err
	}
	if err := d.openMachine(ctx, installation); err != nil {
		return nil, err
	}
	keys, err := auth.LoadKeys(filepath.Join(c.DataDir, "keys"))
	if err != nil {
		return nil, err
	}
	if keys.Sealer, err = auth.OpenSealer(filepath.Join(c.DataDir, "keys"), c.SealKey); err != nil {
		return nil, err
	}
	if err := d.openState(ctx, installation); err != nil {
		return nil, err
	}
	if err := d.reseal(ctx, keys.Sealer); err != nil {
		return nil, err
	}
	return d, d.openService(keys, h) //nolint:contextcheck // requests bring their own contexts
}

func (d *daemon) openMachine(ctx context.Context, installation string) error {
	var err error
	d.engine, err = docker.New(docker.Options{
		Host: d.config.Engine.Host, RunDir: filepath.Join(d.config.DataDir, "run"), Installation: installation,
		VolumePath: d.volumePath, Logger: d.logger,
	})
	if err != nil {
		return err
	}
	if _, err := d.engine.Probe(ctx); err != nil {
		return err
	}
	d.pool, err = cow.Open(ctx, cow.Options{
		Dir: filepath.Join(d.config.DataDir, "pool"), Driver: d.config.Pool.Driver, SizeBytes: d.config.Pool.SizeBytes,
		ReserveBytes: d.config.Pool.ReserveBytes, Logger: d.logger,
	})
	if err != nil {
		return err
	}
	for _, warning := range d.pool.Describe().Warnings {
		d.logger.WarnContext(ctx, "the pool is not as good as it could be", "warning", warning)
	}
	return d.engine.RemoveStaleRuns(ctx)
}

// volumePath finds a volume's directory for the engine: those of the pool, and the state database's own.
func (d *daemon) volumePath(id string) (string, error) {
	if id == stateVolume {
		return d.stateDir(), nil
	}
	return d.pool.Path(id)
}

func (d *daemon) stateDir() string { return filepath.Join(d.config.DataDir, "state") }

// requestConnections are the connections to the state database for everything but jobs: requests, connecting clients, upkeep.
const requestConnections = 20

func (d *daemon) openState(ctx context.Context, installation string) error {
	poolConfig, err := d.stateConfig(ctx)
	if err != nil {
		return err
	}
	needed := jobs.Connections(d.config.Workers) + requestConnections
	poolConfig.MaxConns = max(poolConfig.MaxConns, int32(needed))
	pool, err := store.Connect(ctx, poolConfig, "")
	if err != nil {
		return err
	}
	enqueuer, err := jobs.NewEnqueuer(pool)
	if err != nil {
		return err
	}
	d.store = store.New(pool, enqueuer, d.logger)
	if err := store.Migrate(ctx, pool); err != nil {
		return err
	}
	if err := jobs.Migrate(ctx, pool); err != nil {
		return err
	}
	d.watcher = d.store.NewWatcher()
	return d.claimState(ctx, installation)
}

func (d *daemon) stateConfig(ctx context.Context) (*pgxpool.Config, error) {
	if d.config.DatabaseURL == "" {
		return store.StartEmbedded(ctx, store.EmbeddedOptions{
			Engine: d.engine, Dir: d.stateDir(), Volume: stateVolume, Major: d.stateMajor(),
		})
	}
	poolConfig, err := pgxpool.ParseConfig(d.config.DatabaseURL)
	if err != nil {
		// pgx's error may quote the URL, which has a password in it.
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the state database's URL cannot be understood").
			WithHint("database_url_file holds something like postgres://mayfly:secret@host:5432/mayfly")
	}
	return poolConfig, nil
}

// stateMajor is the version of a new embedded state database: the one that the first project's previews need anyway.
func (d *daemon) stateMajor() int {
	for _, p := range d.config.Projects() {
		if p.Postgres.Major != 0 {
			return p.Postgres.Major
		}
	}
	return 17
}

func (d *daemon) openService(keys *auth.Keys, h hooks) error {
	forgeClient, err := d.openForge()
	if err != nil {
		return err
	}
	opts := provisioner.Options{
		Store: d.store, Watcher: d.watcher, Engine: d.engine, Volumes: d.pool, Projects: d.config, Sealer: keys.Sealer,
		Connections: connections{d}, Clock: time.Now, Logger: d.logger, MaxPreviews: d.config.MaxPreviews, SizeClasses: d.config.SizeClasses, Quotas: quotas(d.config.Quotas),
		ExternalURL: d.config.ExternalURL, Checkpoint: h.checkpoint,
		LooksPersonal: looksPersonal,
		WatchDisk:     d.pool.Describe().Quota == "", MigrationSlots: max(1, cmp.Or(d.config.Workers, jobs.DefaultWorkers)-2),
	}
	if forgeClient != nil {
		opts.Forge, opts.CommentEvery = forgeClient, d.config.GitHub.CommentEvery
		if opts.Code, err = d.projectCode(forgeClient); err != nil {
			return err
		}
	}
	d.previews = provisioner.New(opts)
	registry := prometheus.NewRegistry()
	d.templates = templates.NewService(templates.ServiceOptions{
		Store: d.store,
		Builder: templates.NewBuilder(templates.BuilderOptions{
			Engine: d.engine, Volumes: d.pool, Logger: d.logger, Clock: time.Now, SpoolDir: filepath.Join(d.config.DataDir, "spool"),
			ProofDir: filepath.Join(d.config.DataDir, "proof"), Signer: proof.NewSigner(keys.Attestation), Version: version,
		}),
		Projects: d.config.Project, AllProjects: d.config.Projects, Key: d.config.MaskingKey, Progress: d.recordProgress, Registerer: registry,
		Clock: time.Now, Logger: d.logger,
	})
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if err := d.openGateway(registry); err != nil {
		return err
	}
	d.openOutgoing()
	if err := d.openQueue(); err != nil {
		return err
	}
	tokens, err := d.openTokens()
	if err != nil {
		return err
	}
	if d.signIn, err = d.openSignIn(tokens, forgeClient); err != nil {
		return err
	}
	return d.openAPI(keys, tokens, registry)
}

// projectCode is what running migrations that are code takes. The first process inside is this very program.
func (d *daemon) projectCode(forgeClient *forge.Client) (*provisioner.Code, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the program of this process: %w", err)
	}
	return &provisioner.Code{Engine: d.engine, Archive: forgeClient.Archive, Program: program}, nil
}

// looksPersonal is what the provisioner may know of sanitizing.
func looksPersonal(column, typ string) string {
	const sure = 0.75
	kind, confidence := recognise.Column(column, typ)
	if confidence < sure {
		return ""
	}
	return kind
}

func (d *daemon) openForge() (*forge.Client, error) {
	g := d.config.GitHub
	if g == nil {
		return nil, nil //nolint:nilnil // no forge is configured
	}
	client, err := forge.NewHTTP(g.Proxy, g.Authorities)
	if err != nil {
		return nil, err
	}
	opts := forge.Options{BaseURL: g.BaseURL, Token: g.Token, HTTP: client, Logger: d.logger, Now: time.Now, Version: version}
	if g.AppID != 0 {
		opts.App = &forge.App{ID: g.AppID, PrivateKeyPEM: g.AppKeyPEM}
	}
	return forge.New(opts)
}

func (d *daemon) openGateway(registry prometheus.Registerer) error {
	g := d.config.Gateway
	hosts := []string{g.ExternalHost, "localhost", "127.0.0.1"}
	if g.BaseDomain != "" {
		hosts = append(hosts, "*."+g.BaseDomain)
	}
	tlsConfig, err := gateway.TLSConfig(g.CertFile, g.KeyFile, filepath.Join(d.config.DataDir, "keys"), hosts)
	if err != nil {
		return err
	}
	d.gateway = gateway.New(gateway.Options{
		Previews: gatewayPreviews{d}, Logins: d.previews, Dialer: d.engine, TLS: tlsConfig, AllowPlaintext: g.AllowPlaintext, BaseDomain: g.BaseDomain,
		WaitTimeout: g.WaitTimeout, MaxConnections: g.MaxConnections, MaxPerPreview: g.MaxPerPreview, Logger: d.logger, Registerer: registry,
	})
	return nil
}

func (d *daemon) openQueue() error {
	var err error
	d.queue, err = jobs.New(jobs.Options{
		Pool: d.store.Pool(), Logger: d.logger, Workers: d.config.Workers,
		Handlers: jobs.Handlers{
			Converge: d.previews.Converge, PullRequest: d.previews.SyncPullRequest, Publish: d.previews.Publish,
			Delivery: d.previews.HandleDelivery, BuildTemplate: d.buildTemplate,
			Reconcile: d.previews.Reconcile, Expire: d.expire, Sweep: d.sweep,
			Schedule: d.templates.RunSchedules, Outgoing: d.outgoing.Deliver,
		},
	})
	return err
}

func (d *daemon) openAPI(keys *auth.Keys, tokens *auth.Tokens, registry *prometheus.Registry) error {
	host, port := d.config.GatewayAddress()
	opts := api.Options{
		Previews: d.previews, Logins: d.previews, Templates: d.templates, Store: d.store, Watcher: d.watcher,
		Tokens: tokens, Projects: d.projectNames, AttestationKey: proof.NewSigner(keys.Attestation).Public(),
		GatewayHost: host, GatewayPort: port, SSLMode: "require", Ready: d.ready, Metrics: registry,
		Logger: d.logger, Clock: time.Now, Version: version,
	}
	if g := d.config.GitHub; g != nil {
		opts.Webhooks = webhooks.NewHandler(webhooks.Options{Secrets: g.WebhookSecrets, Inbox: inbox{d.store}, Logger: d.logger, Now: time.Now})
	}
	var err error
	if opts.Exchange, err = d.openExchange(opts.Tokens); err != nil {
		return err
	}
	d.people(&opts)
	d.api, err = api.New(opts)
	return err
}

func (d *daemon) projectNames() []string {
	var names []string
	for _, p := range d.config.Projects() {
		names = append(names, p.Name)
	}
	return names
}

// buildTemplate builds, and lets previews that waited for a template go on.
func (d *daemon) buildTemplate(ctx context.Context, id string) error {
	if err := d.templates.Build(ctx, id); err != nil {
		return err
	}
	return d.previews.Reconcile(ctx)
}

func (d *daemon) recordProgress(templateID string, p templates.Progress) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := d.store.SetTemplateProgress(ctx, templateID, p); err != nil {
		d.logger.Debug("cannot record progress", "template", templateID, "error", err)
	}
}

// refreshMetrics keeps the metrics that are read from the state database up to date, in each process.
func (d *daemon) refreshMetrics(ctx context.Context) {
	const every = 30 * time.Second
	for ctx.Err() == nil {
		if err := d.templates.RefreshMetrics(ctx); err != nil && ctx.Err() == nil {
			d.logger.DebugContext(ctx, "cannot refresh the metrics of templates", "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

func (d *daemon) sweep(ctx context.Context) error {
	return errors.Join(d.engine.RemoveStaleRuns(ctx), d.previews.Sweep(ctx), d.templates.CollectGarbage(ctx), d.restartBuilds(ctx), d.previews.RetryDeliveries(ctx), d.previews.RetryPublishing(ctx), d.previews.PollDeliveries(ctx), d.forgetPeople(ctx), d.forgetMachines(ctx))
}

// restartBuilds starts the builds again that a process left when it died. One that runs has its lock, and is not touched.
func (d *daemon) restartBuilds(ctx context.Context) error {
	all, err := d.store.Templates(ctx, "")
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.State != mayfly.TemplateBuilding {
			continue
		}
		unlock, ok, err := d.store.TryLock(ctx, templates.LockName(t.ID))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		unlock()
		if err := d.store.RequestBuild(ctx, t.ID); err != nil {
			return err
		}
	}
	return nil
}

// repair is what the periodic jobs do, once, now.
func (d *daemon) repair(ctx context.Context) {
	for name, job := range map[string]func(context.Context) error{"reconcile": d.previews.Reconcile, "sweep": d.sweep, "expire": d.expire} {
		if err := job(ctx); err != nil && ctx.Err() == nil {
			d.logger.WarnContext(ctx, "cannot repair yet; the periodic job goes on", "job", name, "error", err)
		}
	}
}

func (d *daemon) ready(ctx context.Context) error {
	if err := d.store.Ping(ctx); err != nil {
		return err
	}
	_, err := d.engine.Probe(ctx)
	return err
}

// stop lets requests, jobs and connections finish, each for as long as ctx lasts: a client that stays connected, or a request
// that waits for something, must not take the time from a migration.
func (d *daemon) stop(ctx context.Context, server *http.Server) error {
	var group sync.WaitGroup
	var serverErr, queueErr, gatewayErr error
	group.Go(func() {
		if serverErr = server.Shutdown(ctx); errors.Is(serverErr, context.DeadlineExceeded) {
			serverErr = server.Close() // requests that stayed wait for something; they can ask again
		}
	})
	group.Go(func() { queueErr = d.queue.Stop(ctx) })
	group.Go(func() {
		if gatewayErr = d.gateway.Shutdown(ctx); errors.Is(gatewayErr, context.DeadlineExceeded) {
			gatewayErr = nil // clients that stayed were told to go
		}
	})
	group.Wait()
	return errors.Join(serverErr, queueErr, gatewayErr)
}

// close releases what open got. Previews, and the embedded state database, go on running.
func (d *daemon) close() {
	if d.store != nil {
		d.store.Pool().Close()
	}
	if d.pool != nil {
		if err := d.pool.Close(); err != nil {
			d.logger.Warn("cannot close the pool", "error", err)
		}
	}
	if d.engine != nil {
		if err := d.engine.Close(); err != nil {
			d.logger.Warn("cannot close the engine", "error", err)
		}
	}
}

// connections is the gateway as the provisioner sees it. The two are made of each other; this breaks the circle.
type connections struct{ d *daemon }

func (c connections) Active(previewID string) int { return c.d.gateway.Active(previewID) }
func (c connections) Disconnect(previewID string) { c.d.gateway.Disconnect(previewID) }

// gatewayPreviews is the provisioner as the gateway sees it.
type gatewayPreviews struct{ d *daemon }

func (g gatewayPreviews) Preview(ctx context.Context, name string) (*mayfly.Preview, error) {
	return g.d.store.PreviewByName(ctx, name)
}

func (g gatewayPreviews) AwaitConnectable(ctx context.Context, name string) (*mayfly.Preview, error) {
	return g.d.previews.AwaitConnectable(ctx, name)
}

func (g gatewayPreviews) Progress(ctx context.Context, name string) string {
	return g.d.previews.Progress(ctx, name)
}

func (g gatewayPreviews) Touch(ctx context.Context, id string) {
	if err := g.d.store.Touch(ctx, id, time.Now()); err != nil && ctx.Err() == nil {
		g.d.logger.WarnContext(ctx, "cannot record the use of a preview", "preview", id, "error", err)
	}
}

// inbox is the store as the webhook handler sees it.
type inbox struct{ store *store.Store }

func (i inbox) Accept(ctx context.Context, d webhooks.Delivery) (bool, error) {
	return i.store.AcceptDelivery(ctx, store.Delivery{
		ID: d.ID, Event: d.Event, Action: d.Action, RepositoryID: d.RepositoryID, Repository: d.Repository, Number: d.Number,
		InstallationID: d.InstallationID, Payload: d.Payload,
	})
}
