package gateway_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// cancelWorks cancels a running query by CancelRequests inside TLS.
func cancelWorks(t *testing.T, g *running, a authenticated) {
	t.Helper()
	cancelUntilDone(t, func() net.Conn { return g.dialTLS("localhost") }, a, func() {
		if _, state, err := a.query("SELECT pg_sleep(60)"); err != nil || state != "57014" {
			t.Errorf("the query ended with SQLSTATE %q, %v; want 57014", state, err)
		}
	})
}

// cancelUntilDone sends cancel requests until what it shall cancel has ended: one that comes before the query begins
// has no effect.
func cancelUntilDone(t *testing.T, dial func() net.Conn, a authenticated, query func()) {
	t.Helper()
	ctx, done := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	defer wait.Wait()
	defer done()
	wait.Go(func() {
		for ctx.Err() == nil {
			conn := dial()
			if _, err := conn.Write(cancelPacket(a.processID, a.secretKey)); err != nil {
				t.Errorf("send cancel request: %v", err)
				return
			}
			if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
				t.Errorf("a cancel request was answered with %q, %v", rest, err)
				return
			}
		}
	})
	query()
}

func cancelPacket(processID uint32, secretKey []byte) []byte {
	packet := binary.BigEndian.AppendUint32(nil, uint32(12+len(secretKey)))
	packet = binary.BigEndian.AppendUint32(packet, 80877102)
	return append(binary.BigEndian.AppendUint32(packet, processID), secretKey...)
}

// Two fresh containers count their processes alike, so that two backends can have the same process id.
func TestCancelReachesTheRightOfTwoBackends(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := serve(t, w, nil)
	first, second := g.connect(w.add(pgtest.Cluster(t), "shop-pr-1")), g.connect(w.add(pgtest.Start(t, pgtest.StartOptions{}), "shop-pr-2"))
	watch := pgtest.Cluster(t).Connect(t, "postgres")

	results := make(chan error, 1)
	ctx := context.Background()
	go func() {
		_, err := first.Exec(ctx, "SELECT pg_sleep(60)")
		results <- err
	}()
	eventually(t, "the first query runs", func() bool {
		var running bool
		err := watch.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')",
			first.PgConn().PID()).Scan(&running)
		if err != nil {
			t.Fatalf("the process id of the client's connection is not the backend's: %v", err)
		}
		return running
	})
	// The other connection's key must not touch it ...
	if err := second.PgConn().CancelRequest(ctx); err != nil {
		t.Fatalf("cancel on the second connection: %v", err)
	}
	if _, err := second.Exec(ctx, "SELECT 1"); err != nil && !isCancelled(err) {
		t.Fatalf("query on the second connection: %v", err)
	}
	select {
	case err := <-results:
		t.Fatalf("the first connection's query ended by the second's cancel request: %v", err)
	default:
	}
	// ... and its own must.
	if err := first.PgConn().CancelRequest(ctx); err != nil {
		t.Fatalf("cancel on the first connection: %v", err)
	}
	if err := <-results; !isCancelled(err) {
		t.Errorf("the first query ended with %v, want a cancelled query", err)
	}
	if _, err := first.Exec(ctx, "SELECT 1"); err != nil {
		t.Errorf("the connection does not survive a cancelled query: %v", err)
	}
}

// libpq before 17 sends cancel requests in plain text, also for connections with TLS.
func TestInterruptedPSQLCancels(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	watch := pgtest.Cluster(t).Connect(t, "postgres")
	psql := exec.CommandContext(t.Context(), "psql", "-XAtq", "-d", "host=127.0.0.1 port="+strconv.Itoa(g.port)+
		" sslmode=require dbname=shop-pr-42 user="+l.preview.Owner, "-c", "SELECT pg_sleep(60)")
	psql.Env = append(os.Environ(), "PGPASSWORD="+l.password)
	var output bytes.Buffer
	psql.Stdout, psql.Stderr = &output, &output
	if err := psql.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the query runs", func() bool {
		var running bool
		err := watch.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = $1 AND wait_event = 'PgSleep')",
			l.preview.Database).Scan(&running)
		return err == nil && running
	})
	if err := psql.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := psql.Wait(); err == nil || !containsAll(output.String(), "ERROR", "canceling statement due to user request") {
		t.Errorf("psql printed %q (%v), want that the statement was cancelled", output.String(), err)
	}
}

func TestForgedCancelRequestsDoNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := pgtest.Start(t, pgtest.StartOptions{Profile: cluster.Preview})
	l := w.add(server, "shop-pr-42")
	g := serve(t, w, nil)
	conn := g.dialTLS("localhost")
	send(t, conn, startupPacket(version30, "user", l.preview.Owner, "database", "shop-pr-42"))
	a := logIn(t, conn, l)
	dials := w.dialled()
	flipped := append([]byte(nil), a.secretKey...)
	flipped[0] ^= 1
	for name, packet := range map[string][]byte{
		"a wrong key":      cancelPacket(a.processID, flipped),
		"another process":  cancelPacket(a.processID+1, a.secretKey),
		"a key too long":   cancelPacket(a.processID, make([]byte, 257)),
		"a key too short":  cancelPacket(a.processID, a.secretKey[:3]),
		"no key":           cancelPacket(a.processID, nil),
		"the longest key":  cancelPacket(a.processID, make([]byte, 256)),
		"a prefix of more": cancelPacket(a.processID, append(append([]byte(nil), a.secretKey...), 0)),
	} {
		forged := g.dial()
		send(t, forged, packet)
		if rest, err := io.ReadAll(forged); err != nil || len(rest) > 0 {
			t.Errorf("%s: answered with %q, %v", name, rest, err)
		}
	}
	if n := w.dialled(); n != dials {
		t.Errorf("forged cancel requests made the gateway dial %d times", n-dials)
	}
	// After the connection has ended, its own key is worth nothing either.
	send(t, conn, []byte{'X', 0, 0, 0, 4})
	eventually(t, "the connection ends", func() bool { return g.Active(l.preview.ID) == 0 })
	late := g.dial()
	send(t, late, cancelPacket(a.processID, a.secretKey))
	_, _ = io.ReadAll(late)
	if n := w.dialled(); n != dials {
		t.Errorf("a cancel request for a connection that has ended made the gateway dial")
	}
}
