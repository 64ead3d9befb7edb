package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
)

// service is the Mayfly that is measured: its own process, on its own data directory.
type service struct {
	dir     string // of the run
	address string // of the API
	token   string
	secret  []byte // of the webhook
	forge   string // the token for the fake GitHub
	api     *client.Client
	http    *http.Client
	process *exec.Cmd
	exited  chan error

	github     *forgetest.Server
	repository *forgetest.Repo

	// A second look at the service's own things: its pool, and its instances.
	pool   *cow.Pool
	engine *docker.Engine
}

const repositoryName = "acme/size"

func (s *service) dataDir() string { return filepath.Join(s.dir, serviceDir) }
func (s *service) poolDir() string { return filepath.Join(s.dataDir(), "pool") }
func (s *service) logPath() string { return filepath.Join(s.dir, "serve.log") }
func (s *service) config() string  { return filepath.Join(s.dir, "mayfly.yaml") }

// startService writes a configuration with a project for each data set, and starts the program on it.
func (b *bench) startService(ctx context.Context) (_ *service, err error) {
	s := &service{dir: b.dir, http: &http.Client{}, exited: make(chan error, 1), forge: rand.Text()}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.stop())
		}
	}()
	if s.github, err = forgetest.New(ctx, forgetest.Options{Dir: filepath.Join(b.dir, "github"), Token: s.forge, Unchecked: true}); err != nil {
		return nil, err
	}
	if s.repository, err = s.github.CreateRepository(ctx, repositoryName); err != nil {
		return nil, err
	}
	if err := b.configure(s); err != nil {
		return nil, err
	}
	if err := s.start(ctx, b.program); err != nil {
		return nil, err
	}
	return s, s.look(ctx)
}

// start runs the program and waits until it is ready.
func (s *service) start(ctx context.Context, program string) error {
	log, err := os.Create(s.logPath())
	if err != nil {
		return fmt.Errorf("make the service's log: %w", err)
	}
	defer func() { _ = log.Close() }()
	process := exec.Command(program, "serve", "--config", s.config()) //nolint:noctx // stopped by stop, in order
	process.Stdout, process.Stderr = log, log
	process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for this program, which stops it when it is done
	if err := process.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	s.process = process
	go func() { s.exited <- process.Wait() }()
	if err := os.WriteFile(filepath.Join(s.dir, "service.pid"), []byte(strconv.Itoa(process.Process.Pid)), 0o600); err != nil {
		return fmt.Errorf("note the service's process: %w", err)
	}
	if err := s.waitReady(ctx); err != nil {
		return err
	}
	token, err := exec.CommandContext(ctx, program, "token", "create", "--config", s.config(), "--scope", "admin", "--ttl", "1d").Output()
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	s.token = strings.TrimSpace(string(token))
	s.api, err = client.New("http://"+s.address, s.token, s.http)
	return err
}

func (s *service) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/readyz", http.NoBody)
		if err != nil {
			return err
		}
		if response, err := s.http.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case err := <-s.exited:
			s.process = nil
			raw, _ := os.ReadFile(s.logPath())
			return fmt.Errorf("the service ended: %w\n%s", err, raw)
		case <-ctx.Done():
			return fmt.Errorf("the service is not ready: %w", ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// look opens the service's pool and engine a second time.
func (s *service) look(ctx context.Context) (err error) {
	if s.pool, err = cow.Open(ctx, cow.Options{Dir: s.poolDir()}); err != nil {
		return err
	}
	id, err := os.ReadFile(filepath.Join(s.dataDir(), "installation"))
	if err != nil {
		return err
	}
	s.engine, err = docker.New(docker.Options{
		RunDir: filepath.Join(s.dataDir(), "run"), Installation: strings.TrimSpace(string(id)), VolumePath: s.pool.Path,
	})
	return err
}

// stop ends the service and what belongs to it in this process. It removes nothing.
func (s *service) stop() error {
	var err error
	if s.process != nil {
		err = s.process.Process.Signal(syscall.SIGTERM)
		select {
		case exit := <-s.exited:
			err = errors.Join(err, exit)
		case <-time.After(time.Minute):
			err = errors.Join(err, errors.New("the service did not stop"), s.process.Process.Kill(), <-s.exited)
		}
		s.process = nil
	}
	if s.engine != nil {
		err = errors.Join(err, s.engine.Close())
	}
	if s.pool != nil {
		err = errors.Join(err, s.pool.Close())
	}
	if s.github != nil {
		err = errors.Join(err, s.github.Close())
	}
	return err
}

// call makes a request to the API that the client has no method for: one that waits for its own effect.
func (s *service) call(ctx context.Context, method, path, body string) (*client.Preview, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+s.address+"/api/v1"+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	request.Header.Set("Content-Type", "application/json")
	response, err := s.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode >= http.StatusBadRequest {
		var problem client.Problem
		if err := json.Unmarshal(raw, &problem); err != nil {
			return nil, fmt.Errorf("%s %s: %s: %s", method, path, response.Status, raw)
		}
		return nil, &mayfly.Error{Code: mayfly.Code(problem.Code), Message: method + " " + path + ": " + problem.Detail}
	}
	var p client.Preview
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	return &p, nil
}

// suspend stops a preview's Postgres and returns when it is stopped.
func (s *service) suspend(ctx context.Context, name string) error {
	p, err := s.call(ctx, http.MethodPatch, "/previews/"+name+"?wait=ready", `{"suspended": true}`)
	if err == nil && p.State != string(mayfly.PreviewSuspended) {
		err = fmt.Errorf("%s is %s instead of suspended", name, p.State)
	}
	return err
}

// remove deletes a preview and returns when it is gone.
func (s *service) remove(ctx context.Context, name string) error {
	_, err := s.call(ctx, http.MethodDelete, "/previews/"+name+"?wait=deleted", "")
	return err
}

// removeAll deletes previews, several at a time.
func (s *service) removeAll(ctx context.Context, names []string) error {
	for _, name := range names {
		if _, err := s.api.DeletePreview(ctx, name); err != nil {
			return err
		}
	}
	for _, name := range names {
		if err := s.remove(ctx, name); err != nil && mayfly.ErrorCode(err) != mayfly.CodeNotFound {
			return err
		}
	}
	return nil
}

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0") //nolint:noctx // it does not block
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = listener.Close() }()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(port)
}
