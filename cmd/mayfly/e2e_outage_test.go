package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/store"
)

func TestEngineDownAtStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	config := filepath.Join(dir, "mayfly.yaml")
	if err := os.WriteFile(config, []byte("data_dir: "+dir+"\nlisten: 127.0.0.1:0\ngateway: {listen: '127.0.0.1:0'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "mayfly", "serve", "--config", config)
	cmd.Env = append(os.Environ(), "DOCKER_HOST=unix://"+filepath.Join(dir, "none.sock"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed {
		t.Errorf("the service ended with %v, not with code %d", err, exitFailed)
	}
	if text := string(out); !strings.Contains(text, "does not answer") || !strings.Contains(text, "none.sock") || !strings.Contains(text, "hint: ") {
		t.Errorf("the message is not clear:\n%s", text)
	}
}

// outlet is a socket in front of the engine's that can be taken away.
type outlet struct {
	path string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]bool
	done     sync.WaitGroup
}

func (o *outlet) plug(t *testing.T) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", o.path)
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.listener, o.conns = listener, map[net.Conn]bool{}
	o.done.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			o.done.Go(func() { o.serve(conn) })
		}
	})
}

func (o *outlet) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	engine, err := new(net.Dialer).DialContext(context.Background(), "unix", "/var/run/docker.sock")
	if err != nil {
		return
	}
	defer func() { _ = engine.Close() }()
	o.mu.Lock()
	o.conns[conn], o.conns[engine] = true, true
	o.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(engine, conn); _ = engine.Close() })
	both.Go(func() { _, _ = io.Copy(conn, engine); _ = conn.Close() })
	both.Wait()
}

func (o *outlet) unplug() {
	o.mu.Lock()
	_ = o.listener.Close()
	for conn := range o.conns {
		_ = conn.Close()
	}
	o.mu.Unlock()
	o.done.Wait()
}

func TestEngineGoesAwayWhileServing(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{engineHost: "docker.sock"})
	engine := &outlet{path: filepath.Join(in.dir, "docker.sock")}
	engine.plug(t)
	t.Cleanup(engine.unplug)
	s := in.start(t, "")
	api := in.client(t, s)
	before := in.sandbox(t, api, "before")
	in.ready(t, before.ID)

	engine.unplug()
	if status := in.get(t, s, "/readyz"); status != http.StatusServiceUnavailable {
		t.Errorf("without an engine the service says %d of its readiness", status)
	}
	in.reachable(t, s, before.Name) // what runs needs no engine
	pr := in.open(t, "points")
	if status := in.deliver(t, s, "", "opened", pr); status != http.StatusAccepted {
		t.Errorf("without an engine a delivery is answered with %d", status)
	}
	during := in.sandbox(t, api, "during")
	if _, err := api.DeletePreview(t.Context(), before.Name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the outage is told", func() bool {
		p, err := in.store.Preview(t.Context(), during.ID)
		return err == nil && p.Failure != nil && p.Failure.Code == mayfly.CodeEngineUnavailable
	})
	engine.plug(t)
	in.ready(t, during.ID)
	in.deleted(t, before.ID)
	in.settled(t, pr)
	in.hasOneComment(t, pr)
	in.reachable(t, s, during.Name)
	in.holdsExactly(t)
	s.stop(t)
}

func (in *installation) sandbox(t *testing.T, api *client.Client, name string) *client.Preview {
	t.Helper()
	p, err := api.CreatePreview(t.Context(), client.CreatePreview{Project: "shop", Name: name})
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return p
}

func (in *installation) ready(t *testing.T, id string) {
	t.Helper()
	eventually(t, "the preview is ready", func() bool {
		p, err := in.store.Preview(t.Context(), id)
		return err == nil && p.Settled() && p.State == mayfly.PreviewReady
	})
}

func (in *installation) get(t *testing.T, s *process, path string) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.api+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.StatusCode
}

// The embedded state database is killed, and comes back by itself: the service goes on without a restart.
func TestEmbeddedStateDatabaseIsKilled(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{embedded: true})
	s := in.start(t, "")
	api := in.client(t, s)
	answers := func() bool {
		_, err := api.CreatePreview(t.Context(), client.CreatePreview{Project: "shop", Name: "a"})
		return mayfly.ErrorCode(err) == mayfly.CodeNoTemplate
	}
	if !answers() {
		t.Fatal("a new service does not say that there is no template")
	}
	conn, err := in.engine.Dial(t.Context(), "state")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(peerOf(t, conn), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	eventually(t, "the service answers after its state database came back", answers)
	eventually(t, "the service is ready again", func() bool { return in.get(t, s, "/readyz") == http.StatusOK })
	s.stop(t)
	again := in.start(t, "") // the database that runs already is taken over
	api = in.client(t, again)
	eventually(t, "the service answers after a restart", answers)
	again.stop(t)
}

// peerOf returns the process that listens at the other end of a Unix socket.
func peerOf(t *testing.T, conn net.Conn) int {
	t.Helper()
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		t.Fatalf("%T is no Unix socket", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var peer *unix.Ucred
	var peerErr error
	err = raw.Control(func(fd uintptr) { peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err = errors.Join(err, peerErr); err != nil {
		t.Fatal(err)
	}
	return int(peer.Pid)
}

// Two services on one state database and one data_dir share the work; when one is killed, another takes over.
func TestTwoServices(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	first, second := in.start(t, ""), in.start(t, "")
	both := []*process{first, second}
	pr := in.open(t, "points")
	in.deliver(t, first, "one", "opened", pr)
	in.deliver(t, second, "one", "opened", pr)
	in.deliver(t, second, "two", "synchronize", pr)
	var made []string
	for i := range 6 {
		made = append(made, in.sandbox(t, in.client(t, both[i%2]), fmt.Sprint("n", i)).ID)
	}
	for _, id := range made {
		in.ready(t, id)
		in.madeOnce(t, id)
	}
	in.madeOnce(t, in.settled(t, pr).ID)
	in.hasOneComment(t, pr)
	in.reachable(t, first, "shop-n0")
	in.reachable(t, second, "shop-n0")
	in.holdsExactly(t)

	for i := range 4 {
		made = append(made, in.sandbox(t, in.client(t, both[i%2]), fmt.Sprint("m", i)).ID)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.died(t)
	third := in.start(t, "")
	for _, id := range made {
		in.ready(t, id)
	}
	in.reachable(t, third, "shop-m0")
	in.holdsExactly(t)
	second.stop(t)
	third.stop(t)
}

func (in *installation) madeOnce(t *testing.T, id string) {
	t.Helper()
	steps, err := in.store.Steps(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	clones := 0
	for _, step := range steps {
		if step.Name == "clone" {
			clones++
		}
	}
	if clones != 1 {
		t.Errorf("preview %s was cloned %d times: %+v", id, clones, steps)
	}
}

// Another installation's state database is refused: to it, everything of this one would be garbage.
func TestForeignStateDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	if _, err := in.store.Pool().Exec(t.Context(), "update setting set value = 'iother' where key = 'installation'"); err != nil {
		t.Fatal(err)
	}
	s := in.launch(t, "")
	<-s.ended
	if text := s.log.String(); s.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(text, "iother") || !strings.Contains(text, "hint: ") {
		t.Errorf("exit code %d, message:\n%s", s.cmd.ProcessState.ExitCode(), text)
	}
	if previews, err := in.store.Previews(t.Context(), store.Filter{}); err != nil || len(previews) != 0 {
		t.Errorf("previews: %v, %v", previews, err)
	}
}
