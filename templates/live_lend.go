package templates

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// lender lets a local client that has no password, pg_dump, use a connection of ours in the middle of its transaction.
// The client so sees the very snapshot that the rows are read in, also where a second connection would end at another
// node; and whatever it sets in its session is gone with the transaction, also where a pooler gives the session to
// somebody else afterwards. Nothing of its says goodbye to the server: we still need the connection.
type lender struct {
	ctx  context.Context //nolint:containedctx // serve is a callback without a context; this is the build's
	conn *pgx.Conn

	mu    sync.Mutex
	used  bool
	first error
}

// err returns why the connection could not be lent, if it could not.
func (l *lender) err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first
}

func (l *lender) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = errors.Join(l.first, err)
}

// take reports whether nobody had the connection before.
func (l *lender) take() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := l.used
	l.used = true
	return !taken
}

// serve handles one connection of a client, to its end.
func (l *lender) serve(client net.Conn) {
	defer func() { _ = client.Close() }()
	backend := pgproto3.NewBackend(client, client)
	startup, err := receiveStartup(client, backend)
	if startup == nil || err != nil {
		return // a cancel request, or a client that went away
	}
	if !l.take() {
		l.fail(errors.New("the client connected twice"))
		return
	}
	server := l.conn.PgConn()
	if err := server.SyncConn(l.ctx); err != nil {
		l.fail(err)
		return
	}
	raw := server.Conn()
	stop := context.AfterFunc(l.ctx, func() { _ = raw.Close(); _ = client.Close() })
	defer stop()
	if err := welcome(backend, startup, server); err != nil {
		return
	}
	if err := lend(client, raw); err != nil {
		l.fail(err)
	}
}

// reported are the parameters of a server that clients look at.
func reported() []string {
	return []string{"server_version", "server_encoding", "client_encoding", "standard_conforming_strings", "integer_datetimes", "in_hot_standby"}
}

// welcome tells the client what the server told us when we logged in.
func welcome(backend *pgproto3.Backend, startup *pgproto3.StartupMessage, server *pgconn.PgConn) error {
	if startup.ProtocolVersion > pgproto3.ProtocolVersion30 {
		backend.Send(&pgproto3.NegotiateProtocolVersion{NewestMinorProtocol: 0})
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for _, name := range reported() {
		if value := server.ParameterStatus(name); value != "" {
			backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
		}
	}
	// A key of zeros: cancelling goes by closing the connection.
	backend.Send(&pgproto3.BackendKeyData{ProcessID: server.PID(), SecretKey: make([]byte, 4)})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: server.TxStatus()})
	return backend.Flush()
}

// lend copies both ways until the client says goodbye or goes away.
func lend(client, server net.Conn) error {
	var replies sync.WaitGroup
	var replyErr error
	var done atomic.Bool
	replies.Go(func() {
		if _, replyErr = io.Copy(client, server); !done.Load() {
			_ = client.Close() // the server is gone, and the client waits for it
		}
	})
	asked := forwardMessages(server, client)
	done.Store(true)
	// A client that said goodbye has seen all replies, so there is nothing left to read.
	_ = server.SetReadDeadline(time.Now())
	replies.Wait()
	var timeout net.Error
	if errors.As(replyErr, &timeout) && timeout.Timeout() {
		replyErr = nil
	}
	if replyErr == nil && asked == nil {
		replyErr = server.SetReadDeadline(time.Time{})
	}
	return errors.Join(asked, replyErr)
}

// terminate is the type of the message by which a client says goodbye (PostgreSQL docs, "Message Formats").
const terminate = 'X'

// forwardMessages copies messages, each a type byte and a length that counts itself, until the client says goodbye.
func forwardMessages(server io.Writer, client io.Reader) error {
	in := bufio.NewReader(client)
	for {
		header, err := in.Peek(5)
		if err != nil {
			return fmt.Errorf("the client went away without saying goodbye: %w", err)
		}
		length := int64(binary.BigEndian.Uint32(header[1:]))
		if header[0] == terminate {
			return nil
		}
		if _, err := io.CopyN(server, in, 1+length); err != nil {
			return fmt.Errorf("pass on what the client asks: %w", err)
		}
	}
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
