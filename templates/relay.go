package templates

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// relay lets a local client that has no password talk to the source: it connects and authenticates there itself, tells
// the client that all is well, and from then on copies bytes.
type relay struct {
	ctx    context.Context //nolint:containedctx // serve is a callback without a context; this is the build's
	config *pgx.ConnConfig

	mu    sync.Mutex
	first error
}

func newRelay(ctx context.Context, config *pgx.ConnConfig) *relay {
	return &relay{ctx: ctx, config: config}
}

// err returns why a connection could not be made, if one could not.
func (r *relay) err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// serve handles one connection of a client, to its end.
func (r *relay) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	backend := pgproto3.NewBackend(client, client)
	startup, err := receiveStartup(client, backend)
	if startup == nil || err != nil {
		return // a cancel request, or a client that went away
	}
	server, err := r.dial()
	if err != nil {
		r.mu.Lock()
		r.first = errors.Join(r.first, err)
		r.mu.Unlock()
		backend.Send(&pgproto3.ErrorResponse{Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: "08001", Message: "the source cannot be reached"})
		_ = backend.Flush()
		return
	}
	defer func() { _ = server.Conn.Close() }()
	stop := context.AfterFunc(r.ctx, func() { _ = server.Conn.Close(); _ = client.Close() })
	defer stop()
	if err := welcome(backend, startup, server); err != nil {
		return
	}
	splice(client, server.Conn)
}

// dial connects and authenticates, and takes the bare connection.
func (r *relay) dial() (*pgconn.HijackedConn, error) {
	conn, err := pgconn.ConnectConfig(r.ctx, r.config.Config.Copy())
	if err != nil {
		return nil, err
	}
	// What the client sends is pg_dump's, which only reads; the server shall hold it to that.
	if _, err := conn.Exec(r.ctx, "SET default_transaction_read_only = on; SET idle_in_transaction_session_timeout = 0").ReadAll(); err != nil {
		return nil, errors.Join(err, conn.Close(r.ctx))
	}
	if err := conn.SyncConn(r.ctx); err != nil {
		return nil, err
	}
	return conn.Hijack()
}

// receiveStartup answers requests for encryption with no and returns the startup message; nil for a cancel request.
func receiveStartup(client net.Conn, backend *pgproto3.Backend) (*pgproto3.StartupMessage, error) {
	for {
		message, err := backend.ReceiveStartupMessage()
		if err != nil {
			return nil, fmt.Errorf("receive the startup message: %w", err)
		}
		switch m := message.(type) {
		case *pgproto3.StartupMessage:
			return m, nil
		case *pgproto3.SSLRequest, *pgproto3.GSSEncRequest:
			if _, err := client.Write([]byte{'N'}); err != nil {
				return nil, fmt.Errorf("refuse encryption on a local socket: %w", err)
			}
		default:
			return nil, nil
		}
	}
}

// welcome tells the client what the server told us when we logged in.
func welcome(backend *pgproto3.Backend, startup *pgproto3.StartupMessage, server *pgconn.HijackedConn) error {
	if startup.ProtocolVersion > pgproto3.ProtocolVersion30 {
		backend.Send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 0})
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range server.ParameterStatuses {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	// A key of zeros: cancelling goes by closing the connection.
	backend.Send(&pgproto3.BackendKeyData{ProcessID: server.PID, SecretKey: make([]byte, 4)})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return backend.Flush()
}

// splice copies both ways until either side ends.
func splice(a, b net.Conn) {
	var wait sync.WaitGroup
	oneWay := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		// Let the other direction finish what is under way, then end it.
		_ = to.SetReadDeadline(time.Now().Add(time.Second))
		if half, ok := to.(interface{ CloseWrite() error }); ok {
			_ = half.CloseWrite()
		}
	}
	wait.Go(func() { oneWay(a, b) })
	wait.Go(func() { oneWay(b, a) })
	wait.Wait()
}
