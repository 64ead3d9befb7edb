package drivertest

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func testPause(t *testing.T, s *engineSuite) {
	pauser, ok := s.Engine.(driver.Pauser)
	if !ok {
		t.Skip("the engine cannot pause")
	}
	ctx, spec := t.Context(), s.spec(t)
	wantNotFound(t, "pause what does not exist", pauser.Pause(ctx, mayfly.NewID("e")))
	wantNotFound(t, "unpause what does not exist", pauser.Unpause(ctx, mayfly.NewID("e")))
	s.must(t, "create", s.Engine.Create(ctx, spec))
	wantNotFound(t, "pause what does not run", pauser.Pause(ctx, spec.ID))
	s.must(t, "start", s.Engine.Start(ctx, spec.ID))
	conn := s.connect(t, spec.ID)
	for range 2 {
		s.must(t, "pause", pauser.Pause(ctx, spec.ID))
	}
	if instance, err := s.find(ctx, spec.ID); err != nil || !instance.Paused || !instance.Running {
		t.Errorf("a paused instance is listed as %+v, error %v", instance, err)
	}
	answered := make(chan error, 1)
	go func() { _, err := conn.Exec(ctx, "SELECT 1"); answered <- err }()
	select {
	case err := <-answered:
		t.Errorf("a paused instance answers: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	for range 2 {
		s.must(t, "unpause", pauser.Unpause(ctx, spec.ID))
	}
	s.must(t, "the statement that waited", <-answered)
	s.must(t, "pause", pauser.Pause(ctx, spec.ID))
	s.must(t, "start a paused one", s.Engine.Start(ctx, spec.ID))
	if _, err := conn.Exec(ctx, "SELECT 1"); err != nil {
		t.Errorf("after start of a paused instance: %v", err)
	}
	s.must(t, "pause", pauser.Pause(ctx, spec.ID))
	s.must(t, "stop a paused one", s.Engine.Stop(ctx, spec.ID, patience))
	s.must(t, "start again", s.Engine.Start(ctx, spec.ID))
	s.connect(t, spec.ID)
	s.must(t, "pause", pauser.Pause(ctx, spec.ID))
	s.must(t, "remove a paused one", s.Engine.Remove(ctx, spec.ID))
}

// shared is a buffer that is written to while it is read.
type shared struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *shared) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *shared) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

func testFollowLogs(t *testing.T, s *engineSuite) {
	follower, ok := s.Engine.(driver.LogFollower)
	if !ok {
		t.Skip("the engine cannot follow logs")
	}
	ctx, spec := t.Context(), s.spec(t)
	wantNotFound(t, "follow what does not exist", follower.FollowLogs(ctx, mayfly.NewID("e"), 1, &shared{}))
	s.must(t, "create", s.Engine.Create(ctx, spec))
	s.must(t, "start", s.Engine.Start(ctx, spec.ID))
	conn := s.connect(t, spec.ID)
	var out shared
	following, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- follower.FollowLogs(following, spec.ID, 100, &out) }()
	for _, word := range []string{"first", "second"} {
		_, _ = conn.Exec(ctx, `SELECT the_`+word+`_mistake`)
		for deadline := time.Now().Add(patience); !strings.Contains(out.String(), word+"_mistake"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("the mistake %s is not in %q", word, out.String())
			}
		}
	}
	cancel()
	s.must(t, "follow until told to end", <-ended)
	go func() { ended <- follower.FollowLogs(ctx, spec.ID, 0, &out) }()
	s.must(t, "stop", s.Engine.Stop(ctx, spec.ID, patience))
	s.must(t, "follow until the instance stops", <-ended)
}
