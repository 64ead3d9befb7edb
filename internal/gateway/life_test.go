package gateway_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflydb/mayfly/internal/gateway"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

func TestManyConnectionsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	registry := prometheus.NewPedanticRegistry()
	g := serve(t, w, func(o *gateway.Options) { o.Registerer, o.Logger = registry, nil })
	const clients = 60
	var wait sync.WaitGroup
	for i := range clients {
		wait.Go(func() {
			conn, err := pgx.ConnectConfig(t.Context(), g.config(l))
			if err != nil {
				t.Errorf("client %d: connect: %v", i, err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for j := range 5 {
				var got int
				if err := conn.QueryRow(t.Context(), "SELECT $1::int + $2::int", i, j).Scan(&got); err != nil || got != i+j {
					t.Errorf("client %d: query returned %d, %v", i, got, err)
				}
			}
		})
	}
	wait.Wait()
	eventually(t, "all connections are forgotten", func() bool { return g.Active(l.preview.ID) == 0 })
	eventually(t, "the metrics tell of all connections", func() bool {
		return gathered(t, registry, "mayfly_gateway_connections_open") == 0 &&
			gathered(t, registry, "mayfly_gateway_connections_total") == clients
	})
	if n := gathered(t, registry, "mayfly_gateway_bytes_total"); n < clients*100 {
		t.Errorf("%v bytes are said to have been relayed", n)
	}
}

// gathered returns the sum of a metric over its labels, of which "outcome" must be "ok".
func gathered(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("gather metrics: %v", err)
	}
	sum := 0.0
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "outcome" && label.GetValue() != "ok" {
					t.Errorf("a connection ended with outcome %s", label.GetValue())
				}
			}
			if family.GetName() == name {
				sum += metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// COPY in both directions moves more than any buffer holds, and a slow reader slows the backend instead of filling memory.
func TestCopyOfLargeData(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := serve(t, w, nil)
	conn := g.connect(w.add(pgtest.Cluster(t), "shop-pr-42"))
	if _, err := conn.Exec(t.Context(), "CREATE TABLE big (id int, payload text)"); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var data bytes.Buffer
	for i := range 200_000 {
		fmt.Fprintf(&data, "%d\t%x%x%s\n", i, random.Uint64(), random.Uint64(), strings.Repeat("x", random.IntN(200)))
	}
	want := sha256.Sum256(data.Bytes())
	if _, err := conn.PgConn().CopyFrom(t.Context(), &data, "COPY big FROM STDIN"); err != nil {
		t.Fatalf("copy in: %v", err)
	}
	out := sha256.New()
	if _, err := conn.PgConn().CopyTo(t.Context(), out, "COPY (SELECT * FROM big ORDER BY id) TO STDOUT"); err != nil {
		t.Fatalf("copy out: %v", err)
	}
	if !bytes.Equal(out.Sum(nil), want[:]) {
		t.Error("what came out is not what went in")
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	server := pgtest.Cluster(t)
	t.Run("per preview", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		full, other := w.add(server, "shop-pr-1"), w.add(server, "shop-pr-2")
		g := serve(t, w, func(o *gateway.Options) { o.MaxPerPreview = 1 })
		first := g.connect(full)
		_, err := pgx.ConnectConfig(t.Context(), g.config(full))
		wantPgError(t, err, "53300", "too many clients", "")
		g.connect(other)
		_ = first.Close(t.Context())
		eventually(t, "the place is free again", func() bool { return g.Active(full.preview.ID) == 0 })
		g.connect(full)
	})
	t.Run("all connections", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		l := w.add(server, "shop-pr-1")
		g := serve(t, w, func(o *gateway.Options) { o.MaxConnections = 2 })
		g.connect(l)
		second := g.connect(l)
		_, err := pgx.ConnectConfig(t.Context(), g.config(l))
		wantPgError(t, err, "53300", "too many clients", "")
		// Who is in can still cancel.
		if err := second.PgConn().CancelRequest(t.Context()); err != nil {
			t.Errorf("cancel at the limit: %v", err)
		}
	})
	t.Run("startups from one address", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		l := w.add(server, "shop-pr-1")
		g := serve(t, w, func(o *gateway.Options) { o.MaxStartupsPerIP, o.StartupTimeout = 1, time.Hour })
		conn := g.connect(l) // has logged in: does not count
		if err := conn.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
		silent := g.dial()
		send(t, silent, []byte{0, 0, 0, 8, 4, 210, 22, 48}) // GSSENCRequest
		readN(t, silent, 1)                                 // the gateway has seen it
		_, err := pgx.ConnectConfig(t.Context(), g.config(l))
		wantPgError(t, err, "53300", "too many clients", "")
		_ = silent.Close()
		eventually(t, "the place is free again", func() bool {
			conn, err := pgx.ConnectConfig(t.Context(), g.config(l))
			if err != nil {
				return false
			}
			return conn.Close(t.Context()) == nil
		})
	})
	t.Run("far beyond the limit", func(t *testing.T) {
		t.Parallel()
		g := serve(t, newWorld(t), func(o *gateway.Options) { o.MaxConnections, o.StartupTimeout = 1, time.Hour })
		eventually(t, "a connection is closed without a word", func() bool {
			conn := g.dial()
			if err := conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
				t.Fatal(err)
			}
			var timeout net.Error
			_, err := conn.Read(make([]byte, 1))
			return err != nil && (!errors.As(err, &timeout) || !timeout.Timeout())
		})
	})
}

func TestDisconnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	server := pgtest.Cluster(t)
	doomed, safe := w.add(server, "shop-pr-1"), w.add(server, "shop-pr-2")
	g := serve(t, w, nil)
	raw := g.dialTLS("localhost")
	send(t, raw, startupPacket(version30, "user", doomed.preview.Owner, "database", "shop-pr-1"))
	logIn(t, raw, doomed)
	busy, other := g.connect(doomed), g.connect(safe)
	result := make(chan error, 1)
	go func() {
		_, err := busy.Exec(context.Background(), "SELECT pg_sleep(60)")
		result <- err
	}()
	watch := server.Connect(t, "postgres")
	eventually(t, "the query runs", func() bool {
		var running bool
		err := watch.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND wait_event = 'PgSleep')", busy.PgConn().PID()).Scan(&running)
		return err == nil && running
	})
	g.Disconnect(doomed.preview.ID)
	wantPgError(t, <-result, "57P01", "terminating connection", "")
	if err := other.Ping(t.Context()); err != nil {
		t.Errorf("the other preview's connection: %v", err)
	}
	response := refused(t, raw)
	if response.Code != "57P01" || !strings.Contains(response.Detail, "shop-pr-1") {
		t.Errorf("the idle client was told %s %q (%q), want 57P01 about shop-pr-1", response.Code, response.Message, response.Detail)
	}
	_ = raw.Close()
	eventually(t, "the connections are forgotten", func() bool { return g.Active(doomed.preview.ID) == 0 })
}

func TestShutdownLetsTransactionsFinish(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	raw := g.dialTLS("localhost")
	send(t, raw, startupPacket(version30, "user", l.preview.Owner, "database", "shop-pr-42"))
	logIn(t, raw, l)
	listening := g.connect(l)
	if _, err := listening.Exec(t.Context(), "LISTEN news"); err != nil {
		t.Fatal(err)
	}
	l.server.Exec(t, l.preview.Database, "NOTIFY news")
	if _, err := listening.WaitForNotification(t.Context()); err != nil {
		t.Fatal(err)
	}
	busy := g.connect(l)
	tx, err := busy.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	shutdown := make(chan error, 1)
	go func() { shutdown <- g.Shutdown(context.Background()) }()
	if response := refused(t, raw); response.Code != "57P01" {
		t.Errorf("the idle client was told %s %q, want 57P01", response.Code, response.Message)
	}
	_ = raw.Close()
	if _, err := net.Dial("tcp4", g.addr()); err == nil {
		t.Error("the gateway accepts connections while it shuts down")
	}
	_, err = listening.WaitForNotification(t.Context())
	wantPgError(t, err, "57P01", "terminating connection", "")
	// The third one is within a transaction and may finish it.
	if _, err := tx.Exec(t.Context(), "CREATE TABLE made_while_shutting_down ()"); err != nil {
		t.Errorf("statement in the transaction: %v", err)
	}
	if err := tx.Commit(t.Context()); err != nil {
		t.Errorf("commit: %v", err)
	}
	if err := <-shutdown; err != nil {
		t.Errorf("shutdown: %v", err)
	}
	<-g.ended
	var made bool
	if err := l.server.Connect(t, l.preview.Database).QueryRow(t.Context(), "SELECT to_regclass('made_while_shutting_down') IS NOT NULL").Scan(&made); err != nil || !made {
		t.Errorf("the transaction is not there: %t, %v", made, err)
	}
}

func TestShutdownThatRunsOutOfTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, nil)
	conn := g.connect(l)
	if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := g.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("shutdown returned %v, want that its time was up", err)
	}
	<-g.ended
	_, err := conn.Exec(t.Context(), "SELECT 1")
	wantPgError(t, err, "57P01", "terminating connection", "Connect again")
}

// What the backend says last must reach the client.
func TestTheBackendsLastWordsArrive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	conn := serve(t, w, nil).connect(l)
	l.server.Exec(t, "postgres", fmt.Sprintf("SELECT pg_terminate_backend(%d)", conn.PgConn().PID()))
	_, err := conn.Exec(t.Context(), "SELECT 1")
	wantPgError(t, err, "57P01", "terminating connection due to administrator command", "")
}

// A client that has closed its sending side still gets what it asked for.
func TestHalfClosedClientGetsItsAnswer(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, func(o *gateway.Options) { o.AllowPlaintext = true })
	conn := g.dial()
	send(t, conn, startupPacket(version30, "user", l.preview.Owner, "database", "shop-pr-42"))
	logIn(t, conn, l)
	query, err := (&pgproto3.Query{String: "SELECT repeat('x', 1000000)"}).Encode(nil)
	if err != nil {
		t.Fatal(err)
	}
	send(t, conn, query)
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil || len(answer) < 1_000_000 {
		t.Errorf("got %d bytes, %v; want the whole answer", len(answer), err)
	}
}

func TestUseIsRecorded(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.touch = make(chan string, 1000)
	l := w.add(pgtest.Cluster(t), "shop-pr-42")
	g := serve(t, w, func(o *gateway.Options) { o.TouchEvery = 10 * time.Millisecond })
	conn := g.connect(l)
	for range 5 { // at connect, and then again and again
		if id := <-w.touch; id != l.preview.ID {
			t.Fatalf("Touch was called for %s, want %s", id, l.preview.ID)
		}
	}
	if n := g.Active(l.preview.ID); n != 1 {
		t.Errorf("%d connections are active, want 1", n)
	}
	_ = conn.Close(t.Context())
	eventually(t, "the connection is forgotten", func() bool { return g.Active(l.preview.ID) == 0 })
}
