package provisioner_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// machine is the shared engine as one installation of its own: it lists only what was made through it, so that a sweep
// of one test does not see the previews of another. It can be made to fail as an engine that is down fails.
type machine struct {
	provisioner.Engine

	label string // the value of the label that its instances carry
	mu    sync.Mutex
	down  bool
	calls map[string]int
	// before, if set, is called at the start of every operation and may fail it.
	before func(ctx context.Context, operation, id string) error
	// created, if set, is told what every instance is made with.
	created func(driver.InstanceSpec)
}

func (m *machine) onCreate(created func(driver.InstanceSpec)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.created = created
}

func newMachine(engine provisioner.Engine) *machine {
	return &machine{Engine: engine, label: mayfly.NewID("b"), calls: map[string]int{}}
}

// unplug makes the engine not answer until plugged in again.
func (m *machine) unplug(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
}

func (m *machine) intercept(before func(ctx context.Context, operation, id string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = before
}

func (m *machine) count(operation string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[operation]
}

func (m *machine) enter(ctx context.Context, operation, id string) error {
	m.mu.Lock()
	m.calls[operation]++
	down, before := m.down, m.before
	m.mu.Unlock()
	if down {
		return mayfly.Errorf(mayfly.CodeEngineUnavailable, "%s: the engine does not answer: %w", operation, io.EOF)
	}
	if before != nil {
		return before(ctx, operation, id)
	}
	return nil
}

func (m *machine) Create(ctx context.Context, spec driver.InstanceSpec) error {
	if err := m.enter(ctx, "create", spec.ID); err != nil {
		return err
	}
	m.mu.Lock()
	if m.created != nil {
		m.created(spec)
	}
	m.mu.Unlock()
	labels := map[string]string{"bed": m.label}
	for key, value := range spec.Labels {
		labels[key] = value
	}
	spec.Labels = labels
	return m.Engine.Create(ctx, spec)
}

func (m *machine) Start(ctx context.Context, id string) error {
	if err := m.enter(ctx, "start", id); err != nil {
		return err
	}
	return m.Engine.Start(ctx, id)
}

func (m *machine) Stop(ctx context.Context, id string, timeout time.Duration) error {
	if err := m.enter(ctx, "stop", id); err != nil {
		return err
	}
	return m.Engine.Stop(ctx, id, timeout)
}

func (m *machine) Remove(ctx context.Context, id string) error {
	if err := m.enter(ctx, "remove", id); err != nil {
		return err
	}
	return m.Engine.Remove(ctx, id)
}

func (m *machine) List(ctx context.Context, labels map[string]string) ([]driver.Instance, error) {
	if err := m.enter(ctx, "list", ""); err != nil {
		return nil, err
	}
	own := map[string]string{"bed": m.label}
	for key, value := range labels {
		own[key] = value
	}
	return m.Engine.List(ctx, own)
}

func (m *machine) Pause(ctx context.Context, id string) error {
	if err := m.enter(ctx, "pause", id); err != nil {
		return err
	}
	return m.Engine.(driver.Pauser).Pause(ctx, id)
}

func (m *machine) Unpause(ctx context.Context, id string) error {
	if err := m.enter(ctx, "unpause", id); err != nil {
		return err
	}
	return m.Engine.(driver.Pauser).Unpause(ctx, id)
}

func (m *machine) FollowLogs(ctx context.Context, id string, lines int, w io.Writer) error {
	return m.Engine.(driver.LogFollower).FollowLogs(ctx, id, lines, w)
}

func (m *machine) Inspect(ctx context.Context, id string) (driver.Instance, error) {
	if err := m.enter(ctx, "inspect", id); err != nil {
		return driver.Instance{}, err
	}
	return m.Engine.Inspect(ctx, id)
}

// kill ends an instance's Postgres with SIGKILL, as the kernel does when memory runs out. The listening end of the socket
// tells which process it is.
func (m *machine) kill(t *testing.T, id string) {
	t.Helper()
	conn, err := m.Dial(t.Context(), id)
	if err != nil {
		t.Fatalf("find the Postgres of %s: %v", id, err)
	}
	defer func() { _ = conn.Close() }()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var peer *unix.Ucred
	var peerErr error
	if err := raw.Control(func(fd uintptr) {
		peer, peerErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil || peerErr != nil {
		t.Fatalf("find the Postgres of %s: %v", id, errors.Join(err, peerErr))
	}
	if err := unix.Kill(int(peer.Pid), unix.SIGKILL); err != nil {
		t.Fatalf("kill the Postgres of %s: %v", id, err)
	}
	eventually(t, "the killed Postgres ends", func() bool {
		found, err := m.Engine.Inspect(t.Context(), id)
		return err == nil && !found.Running
	})
}

// shelf is the shared pool, of which it lists what was made through it.
type shelf struct {
	driver.Volumes

	mu    sync.Mutex
	own   map[string]bool
	base  string // the template that all tests share
	free  int64  // what Stat says is free, if not 0
	clone func(ctx context.Context, to string) error
}

func newShelf(volumes driver.Volumes, base string) *shelf {
	return &shelf{Volumes: volumes, base: base, own: map[string]bool{}}
}

func (s *shelf) add(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.own[id] = true
}

func (s *shelf) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make([]string, 0, len(s.own))
	for id := range s.own {
		ids = append(ids, id)
	}
	return ids
}

func (s *shelf) Create(ctx context.Context, id string, owner driver.Owner) error {
	s.add(id)
	return s.Volumes.Create(ctx, id, owner)
}

func (s *shelf) Clone(ctx context.Context, from, to string, limitBytes int64) error {
	s.mu.Lock()
	clone := s.clone
	s.mu.Unlock()
	if clone != nil {
		if err := clone(ctx, to); err != nil {
			return err
		}
	}
	s.add(to)
	return s.Volumes.Clone(ctx, from, to, limitBytes)
}

func (s *shelf) Snapshot(ctx context.Context, from, to string, still func(context.Context) (context.Context, func(), error)) error {
	s.add(to)
	return s.Volumes.(driver.Snapshotter).Snapshot(ctx, from, to, still)
}

func (s *shelf) List(ctx context.Context) ([]driver.Volume, error) {
	all, err := s.Volumes.List(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	var own []driver.Volume
	for _, volume := range all {
		if s.own[volume.ID] || volume.ID == s.base {
			own = append(own, volume)
		}
	}
	return own, err
}

func (s *shelf) Stat(ctx context.Context) (driver.PoolStat, error) {
	stat, err := s.Volumes.Stat(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free != 0 {
		stat.FreeBytes = s.free
	}
	return stat, err
}

// fill makes the pool look as if it had so many bytes free; 0 ends that.
func (s *shelf) fill(free int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free = free
}

func (s *shelf) onClone(hook func(ctx context.Context, to string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clone = hook
}

// previewVolumes returns the volumes of previews that exist.
func (s *shelf) previewVolumes(t *testing.T) []string {
	t.Helper()
	volumes, err := s.List(t.Context())
	if err != nil {
		t.Fatalf("list volumes: %v", err)
	}
	var ids []string
	for _, volume := range volumes {
		if strings.HasPrefix(volume.ID, "p") {
			ids = append(ids, volume.ID)
		}
	}
	return ids
}
