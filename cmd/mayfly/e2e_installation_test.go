package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sys/unix"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/jobs"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// patience bounds every wait for a condition, on a machine that is busy with other tests.
const patience = 90 * time.Second

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came true that %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// killAt names the step before which the program mayfly-killed ends itself with SIGKILL.
const killAt = "MAYFLY_TEST_KILL_AT"

// killedMain is main with a checkpoint that kills the process.
func killedMain() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	checkpoint := func(step string) {
		if step == os.Getenv(killAt) {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	os.Exit(run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}, hooks{checkpoint: checkpoint}))
}

// installation is a data_dir, a state database and a configuration, on which services are started and killed. The test looks at
// its state, its containers and its volumes beside the services.
type installation struct {
	dir    string
	id     string
	config string
	store  *store.Store
	engine *docker.Engine
	pool   *cow.Pool
	github *forgetest.Server
	repo   *forgetest.Repo
	token  string
}

// installationOptions are what differs between tests.
type installationOptions struct {
	embedded   bool   // the state database is the service's own, and there is no template
	engineHost string // in the installation's directory, "" for the default
	extra      string // further lines of the configuration
}

const webhookSecret = "a secret of the tests"

func newInstallation(t *testing.T, o installationOptions) *installation {
	t.Helper()
	cleanLeftovers(t)
	// Not TempDir: paths of sockets must be short.
	dir, err := os.MkdirTemp("/tmp", leftoverPrefix)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	in := &installation{dir: dir, id: mayfly.NewID("i"), config: filepath.Join(dir, "mayfly.yaml")}
	t.Cleanup(func() {
		if err := removeInstallation(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
		_ = lock.Close()
	})
	if in.github, err = forgetest.New(t.Context(), forgetest.Options{Token: "token", Dir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.github.Close() })
	if in.repo, err = in.github.CreateRepository(t.Context(), "acme/shop"); err != nil {
		t.Fatal(err)
	}
	in.write(t, o)
	if in.engine, in.pool, err = openMachine(dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = errors.Join(in.engine.Close(), in.pool.Close()) })
	if !o.embedded {
		in.openState(t)
		in.makeTemplate(t)
	}
	return in
}

// write writes the configuration and the secrets.
func (in *installation) write(t *testing.T, o installationOptions) {
	t.Helper()
	state := ""
	if !o.embedded {
		server := pgtest.Cluster(t)
		in.put(t, "database.url", server.DSN(server.Database(t)))
		state = "database_url_file: database.url"
	}
	engine := ""
	if o.engineHost != "" {
		engine = "engine: {host: 'unix://" + filepath.Join(in.dir, o.engineHost) + "'}"
	}
	in.put(t, "github.token", "token")
	in.put(t, "webhook.secret", webhookSecret)
	in.put(t, "mayfly.yaml", fmt.Sprintf(`
listen: 127.0.0.1:0
data_dir: data
%s
%s
%s
pool: {size: 8GiB}
gateway: {listen: '127.0.0.1:0'}
github: {base_url: '%s', token_file: github.token, webhook_secret_file: webhook.secret}
projects:
  - name: shop
    repository: acme/shop
    source: {archive: none.dump}
    rules: none.yaml
    masking_key_file: none.key
    postgres: {major: %d, database: app, owner: app}
    migrations: {tool: golang-migrate, path: db/migrations}
`, state, engine, o.extra, in.github.URL(), pgtest.Image(t, 0).Major))
	if err := os.Mkdir(filepath.Join(in.dir, "data"), 0o711); err != nil {
		t.Fatal(err)
	}
	in.put(t, "data/installation", in.id+"\n")
}

func (in *installation) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(in.dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// openMachine opens an installation's engine and pool, as its service does.
func openMachine(dir string) (*docker.Engine, *cow.Pool, error) {
	data := filepath.Join(dir, "data")
	id, err := os.ReadFile(filepath.Join(data, "installation"))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	pool, err := cow.Open(ctx, cow.Options{Dir: filepath.Join(data, "pool"), SizeBytes: 8 << 30})
	if err != nil {
		return nil, nil, err
	}
	engine, err := docker.New(docker.Options{
		RunDir: filepath.Join(data, "run"), Installation: strings.TrimSpace(string(id)), VolumePath: pool.Path,
	})
	return engine, pool, err
}

func (in *installation) openState(t *testing.T) {
	t.Helper()
	url, err := os.ReadFile(filepath.Join(in.dir, "database.url"))
	if err != nil {
		t.Fatal(err)
	}
	config, err := pgxpool.ParseConfig(string(url))
	if err != nil {
		t.Fatal(err)
	}
	pool, err := store.Connect(t.Context(), config, "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	enqueuer, err := jobs.NewEnqueuer(pool)
	if err = errors.Join(err, store.Migrate(t.Context(), pool), jobs.Migrate(t.Context(), pool)); err != nil {
		t.Fatal(err)
	}
	in.store = store.New(pool, enqueuer, slog.New(slog.DiscardHandler))
	if err := in.store.Claim(t.Context(), in.id, nil); err != nil {
		t.Fatal(err)
	}
}

// makeTemplate makes a ready template with the database "app", owned by "app", at version 1 of its migrations.
func (in *installation) makeTemplate(t *testing.T) {
	t.Helper()
	ctx, image := t.Context(), pgtest.Image(t, 0)
	made := &mayfly.Template{
		ID: mayfly.NewID("t"), Project: "shop", Image: image.ID, Major: image.Major, Database: "app", Owner: "app", Source: "archive",
	}
	err := errors.Join(in.pool.Create(ctx, made.ID, image.User), cluster.Init(ctx, in.engine, image, made.ID, cluster.InitOptions{}),
		in.engine.Create(ctx, driver.InstanceSpec{ID: made.ID, Image: image.ID, Volume: made.ID, Args: cluster.Args(cluster.Build)}),
		in.engine.Start(ctx, made.ID))
	if err != nil {
		t.Fatalf("make a template: %v", err)
	}
	for _, statement := range []struct{ database, sql string }{
		{"postgres", `create role app login nosuperuser`},
		{"postgres", `create database app owner app`},
		{"app", `set role app; create table customer (id bigint primary key);
			create table schema_migrations (version bigint not null primary key, dirty boolean not null);
			insert into schema_migrations values (1, false)`},
	} {
		conn, err := cluster.WaitReady(ctx, in.engine, made.ID, statement.database, nil)
		if err != nil {
			t.Fatalf("make a template: %v", err)
		}
		_, err = conn.PgConn().Exec(ctx, statement.sql).ReadAll()
		if err = errors.Join(err, conn.Close(ctx)); err != nil {
			t.Fatalf("make a template: %v", err)
		}
	}
	now := time.Now()
	err = errors.Join(in.engine.Stop(ctx, made.ID, time.Minute), in.engine.Remove(ctx, made.ID), in.pool.Freeze(ctx, made.ID),
		in.store.CreateTemplate(ctx, made))
	made.State, made.ReadyAt = mayfly.TemplateReady, &now
	if err = errors.Join(err, in.store.UpdateTemplate(ctx, made)); err != nil {
		t.Fatalf("make a template: %v", err)
	}
}

// leftoverPrefix starts the names of installations' directories.
const leftoverPrefix = "mfe-"

var leftovers sync.Once

// cleanLeftovers removes what test processes left that were killed.
func cleanLeftovers(t *testing.T) {
	t.Helper()
	leftovers.Do(func() {
		dirs, err := filepath.Glob(filepath.Join("/tmp", leftoverPrefix+"*"))
		if err != nil {
			return
		}
		for _, dir := range dirs {
			info, err := os.Stat(dir)
			if err != nil || time.Since(info.ModTime()) < time.Minute {
				continue // perhaps another process is just making it
			}
			if lock, err := lockDir(dir); err == nil {
				if err := removeInstallation(dir); err != nil {
					t.Logf("cannot remove what an earlier run left: %v", err)
				}
				_ = lock.Close()
			}
		}
	})
}

func lockDir(dir string) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func removeInstallation(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "data", "installation")); err != nil {
		return os.RemoveAll(dir)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	engine, pool, err := openMachine(dir)
	if err != nil {
		return err
	}
	err = errors.Join(engine.RemoveAll(ctx), engine.Close(), pool.Unmount(ctx), pool.Close())
	if err != nil {
		return err // nothing may be deleted under a pool that is still mounted
	}
	return os.RemoveAll(dir)
}

// process is a service that runs.
type process struct {
	cmd     *exec.Cmd
	log     *output
	ended   chan struct{}
	api     string
	gateway string
}

// output is what a process wrote.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

var serving = regexp.MustCompile(`msg="mayfly serves".* api=(\S+) gateway=(\S+)`)

// launch starts a service without waiting for it. kill is the step before which it kills itself, or "".
func (in *installation) launch(t *testing.T, kill string, flags ...string) *process {
	t.Helper()
	s := &process{log: &output{}, ended: make(chan struct{})}
	program := "mayfly"
	if kill != "" {
		program = "mayfly-killed"
	}
	s.cmd = exec.Command(program, append([]string{"serve", "--config", in.config}, flags...)...)
	s.cmd.Env = append(os.Environ(), killAt+"="+kill)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatalf("start the service: %v", err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.ended
		if t.Failed() {
			t.Logf("the log of a service (kill at %q):\n%s", kill, s.log)
		}
	})
	return s
}

// start starts a service and waits until it serves.
func (in *installation) start(t *testing.T, kill string, flags ...string) *process {
	t.Helper()
	s := in.launch(t, kill, flags...)
	eventually(t, "the service serves", func() bool {
		match := serving.FindStringSubmatch(s.log.String())
		if match != nil {
			s.api, s.gateway = "http://"+match[1], match[2]
		}
		return match != nil || s.gone()
	})
	if s.gone() && s.api == "" {
		t.Fatal("the service ended before it served")
	}
	return s
}

func (s *process) gone() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// died waits for a service to have been killed.
func (s *process) died(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("the service did not come to the step at which it was to be killed")
	}
	if status, ok := s.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the service ended with %s, not by SIGKILL", s.cmd.ProcessState)
	}
}

// stop ends a service as an operator does.
func (s *process) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("the service does not stop")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the service stopped with exit code %d", code)
	}
}

func (in *installation) client(t *testing.T, s *process) *client.Client {
	t.Helper()
	if in.token == "" {
		out, err := exec.CommandContext(t.Context(), "mayfly", "token", "create", "--config", in.config, "--scope", "admin", "--ttl", "1h").Output()
		if err != nil {
			t.Fatalf("make a token: %v", err)
		}
		in.token = strings.TrimSpace(string(out))
	}
	c, err := client.New(s.api, in.token, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// deliver sends a signed delivery and returns the answer's status.
func (in *installation) deliver(t *testing.T, s *process, id, action string, pr *forgetest.PR) int {
	t.Helper()
	answer, err := in.github.Deliver(t.Context(), forgetest.Delivery{
		URL: s.api + "/webhooks/github", Secret: []byte(webhookSecret), ID: id, Action: action, PR: pr,
	})
	if err != nil {
		t.Fatalf("deliver: %v", err)
	}
	return answer.Status
}

// open opens a pull request with one pending migration.
func (in *installation) open(t *testing.T, branch string) *forgetest.PR {
	t.Helper()
	files := map[string]string{
		"db/migrations/1_init.up.sql":   "create table customer (id bigint primary key);\n",
		"db/migrations/2_points.up.sql": "alter table customer add points int not null default 7;\n",
	}
	if _, err := in.repo.Commit(t.Context(), branch, files, "Change "+branch); err != nil {
		t.Fatal(err)
	}
	pr, err := in.repo.OpenPullRequest(t.Context(), branch, "main", "Change "+branch, forgetest.PROptions{})
	if err != nil {
		t.Fatal(err)
	}
	return pr
}

// settled waits until the live preview of a pull request is ready.
func (in *installation) settled(t *testing.T, pr *forgetest.PR) *mayfly.Preview {
	t.Helper()
	var p *mayfly.Preview
	eventually(t, fmt.Sprintf("the preview of pull request %d is ready", pr.Number()), func() bool {
		var err error
		p, err = in.store.PreviewByPullRequest(t.Context(), "shop", in.repo.ID(), pr.Number())
		return err == nil && p.Settled() && p.State == mayfly.PreviewReady
	})
	return p
}

func (in *installation) deleted(t *testing.T, id string) {
	t.Helper()
	eventually(t, "the preview is deleted", func() bool {
		p, err := in.store.Preview(t.Context(), id)
		return err == nil && p.State == mayfly.PreviewDeleted
	})
}

// version returns what the tracking table of a preview says.
func (in *installation) version(t *testing.T, p *mayfly.Preview) string {
	t.Helper()
	conn, err := cluster.Connect(t.Context(), in.engine, p.Instance(), p.Database)
	if err != nil {
		t.Fatalf("connect to %s: %v", p.Name, err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var version string
	if err := conn.QueryRow(t.Context(), `select version || ' ' || dirty from schema_migrations`).Scan(&version); err != nil {
		t.Fatalf("look at the migrations of %s: %v", p.Name, err)
	}
	return version
}

// reachable connects through a service's gateway with what its API hands out.
func (in *installation) reachable(t *testing.T, s *process, name string) {
	t.Helper()
	credentials, err := in.client(t, s).Credentials(t.Context(), name)
	if err != nil {
		t.Fatalf("credentials of %s: %v", name, err)
	}
	config, err := pgx.ParseConfig("sslmode=require host=127.0.0.1 port=" + s.gateway[strings.LastIndex(s.gateway, ":")+1:])
	if err != nil {
		t.Fatal(err)
	}
	config.User, config.Password, config.Database = credentials.User, credentials.Password, credentials.Database
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err != nil {
		t.Fatalf("connect to %s through the gateway: %v", name, err)
	}
	if err := errors.Join(conn.Ping(t.Context()), conn.Close(t.Context())); err != nil {
		t.Errorf("use %s through the gateway: %v", name, err)
	}
}

// holdsExactly checks that each live preview has its container and its volume, and that there is nothing else.
func (in *installation) holdsExactly(t *testing.T) {
	t.Helper()
	var wanted, instances, volumes []string
	eventually(t, "there is exactly one container and one volume for each live preview", func() bool {
		wanted, instances, volumes = nil, nil, nil
		previews, err := in.store.Previews(t.Context(), store.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range previews {
			wanted = append(wanted, p.Instance())
		}
		found, err := in.engine.List(t.Context(), map[string]string{"role": "preview"})
		if err != nil {
			t.Fatal(err)
		}
		for _, instance := range found {
			instances = append(instances, instance.ID)
		}
		stored, err := in.pool.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, volume := range stored {
			if strings.HasPrefix(volume.ID, "p") {
				volumes = append(volumes, volume.ID)
			}
		}
		slices.Sort(wanted)
		slices.Sort(instances)
		slices.Sort(volumes)
		return slices.Equal(wanted, instances) && slices.Equal(wanted, volumes)
	})
}

func (in *installation) hasOneComment(t *testing.T, pr *forgetest.PR) {
	t.Helper()
	eventually(t, "the pull request has a comment", func() bool { return len(pr.Comments()) > 0 })
	if n := len(pr.Comments()); n != 1 {
		t.Errorf("pull request %d has %d comments", pr.Number(), n)
	}
}
