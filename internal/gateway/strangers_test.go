package gateway_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// challenged opens a connection that stays where it is asked for its password.
func (r *running) challenged(l login) net.Conn {
	r.t.Helper()
	conn := r.dialTLS("localhost")
	send(r.t, conn, startupPacket(version30, "user", l.preview.Owner, "database", l.preview.Name))
	if kind, body := message(r.t, conn); kind != 'R' {
		r.t.Fatalf("got message %q %q instead of a request to authenticate", kind, body)
	}
	return conn
}

func TestAStrangerDoesNotWakeAPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(&mayfly.Preview{ID: mayfly.NewID("p"), Name: "shop-pr-42", State: mayfly.PreviewSuspended, Owner: "app", Database: "shop"})
	w.setAwait(func(context.Context, string) (*mayfly.Preview, error) {
		t.Error("the preview was woken")
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "gone")
	})
	g := serve(t, w, nil)
	conn := g.dialTLS("localhost")
	send(t, conn, startupPacket(version30, "user", "stranger", "database", "shop-pr-42"))
	if response := refused(t, conn); response.Code != "28000" {
		t.Errorf("answered %s %q, want 28000", response.Code, response.Message)
	}
}

// Who cannot log in must not learn why a preview failed either.
func TestAStrangerIsNotToldOfFailures(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set(&mayfly.Preview{ID: mayfly.NewID("p"), Name: "shop-pr-42", State: mayfly.PreviewFailed, Owner: "app", Database: "shop"})
	g := serve(t, w, nil)
	conn := g.dialTLS("localhost")
	send(t, conn, startupPacket(version30, "user", "stranger", "database", "shop-pr-42"))
	if response := refused(t, conn); response.Code != "28000" {
		t.Errorf("answered %s %q, want 28000", response.Code, response.Message)
	}
}

func TestWhoDoesNotLogInDoesNotUseAPreview(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, func(o *gateway.Options) { o.MaxPerPreview, o.TouchEvery = 1, time.Millisecond })
	stranger := g.challenged(l)
	if n := g.Active(l.preview.ID); n != 0 {
		t.Errorf("%d connections keep the preview in use before anyone has logged in", n)
	}
	_ = stranger.Close()
	left := g.challenged(l)
	w.mu.Lock()
	touched := w.touched[l.preview.ID]
	w.mu.Unlock()
	if touched != 0 {
		t.Errorf("the use of the preview was recorded %d times before anyone had logged in", touched)
	}
	g.connect(l) // the limit of one counts those that are in
	_ = left
	eventually(t, "the use of the preview is recorded", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.touched[l.preview.ID] > 0
	})
	if n := g.Active(l.preview.ID); n != 1 {
		t.Errorf("%d connections keep the preview in use, want 1", n)
	}
}

// Both are let in to log in, and the second one is refused by the time it has.
func TestTheLimitHoldsForClientsThatLogInAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, func(o *gateway.Options) { o.MaxPerPreview = 3 })
	var lock sync.Mutex
	in := 0
	var wait sync.WaitGroup
	for range 12 {
		wait.Go(func() {
			conn, err := pgx.ConnectConfig(t.Context(), g.config(l))
			if err != nil {
				wantPgError(t, err, "53300", "too many clients", "")
				return
			}
			t.Cleanup(func() { _ = conn.Close(context.Background()) })
			lock.Lock()
			defer lock.Unlock()
			in++
		})
	}
	wait.Wait()
	if in != 3 {
		t.Errorf("%d clients are in, want 3", in)
	}
}

func TestClientsTakeTurnsToLogIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := pgtest.Cluster(t)
	l, other := w.add(server, "shop-pr-42"), w.add(server, "shop-pr-43")
	g := serve(t, w, func(o *gateway.Options) {
		o.MaxUnauthenticated, o.WaitTimeout, o.AuthenticationTimeout = 1, 2*time.Second, time.Hour
	})
	first := g.challenged(l)
	_, err := pgx.ConnectConfig(t.Context(), g.config(l))
	wantPgError(t, err, "53300", "too many clients", "")
	g.connect(other) // has places of its own
	_ = first.Close()
	for range 3 { // each that has logged in, and each that left, makes room
		g.connect(l)
	}
}

func TestLoggingInHasATimeLimit(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, func(o *gateway.Options) {
		o.MaxUnauthenticated, o.AuthenticationTimeout = 1, 2*time.Second
	})
	conn := g.challenged(l)
	g.connect(l) // gets the place of the one that does nothing
	if response := refused(t, conn); response.Code != "57014" {
		t.Errorf("who does not log in is told %s %q, want 57014", response.Code, response.Message)
	}
}
