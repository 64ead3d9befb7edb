package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	mayfly "github.com/mayflydb/mayfly"
)

const (
	// A preview that is said to be ready and does not answer is asked for again this often, with these pauses: 15 s in all.
	maxAttempts = 24
	minPause    = 5 * time.Millisecond
	maxPause    = time.Second
	// progressTimeout bounds asking what a preview is doing.
	progressTimeout = 2 * time.Second
	// maxStartupMessage bounds one message of the backend before the first ReadyForQuery.
	maxStartupMessage = 1 << 20
)

// Message types that the gateway knows (PostgreSQL docs, 54.7).
const (
	typeAuthentication  = 'R'
	typeError           = 'E'
	typeNotice          = 'N'
	typeNotification    = 'A'
	typeParameterStatus = 'S'
	typeNegotiate       = 'v'
	typeKeyData         = 'K'
	typeReady           = 'Z'
)

// backend is a connection to a preview's Postgres that has answered the startup packet.
type backend struct {
	net.Conn

	instance string
	reader   *bufio.Reader
	held     [][]byte // whole messages read from it that the client has not seen
}

// retryError wraps the reasons for which dialling is tried again.
type retryError struct{ err error }

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// connect finds the preview, wakes it if need be, and returns a connection to its Postgres.
func (s *session) connect(ctx context.Context, packet *startup, to target) (*backend, error) {
	waitCtx, done := context.WithTimeout(ctx, s.g.opts.WaitTimeout)
	defer done()
	preview, err := s.g.opts.Previews.Preview(waitCtx, to.name)
	if err != nil {
		return nil, s.explain(ctx, waitCtx, err)
	}
	var last error
	for attempt := range maxAttempts {
		if attempt > 0 && !sleep(waitCtx, min(minPause<<attempt, maxPause)) {
			break
		}
		// Before anything is woken: strangers shall not.
		if err := s.claim(waitCtx, packet, preview); err != nil {
			return nil, s.explainRefusal(ctx, waitCtx, err)
		}
		if attempt > 0 || !dialable(preview) {
			s.woken = true
			s.g.sessions.waits(s)
			if preview, err = s.g.opts.Previews.AwaitConnectable(waitCtx, to.name); err != nil {
				return nil, s.explain(ctx, waitCtx, err)
			}
			if err := s.claim(waitCtx, packet, preview); err != nil {
				return nil, s.explainRefusal(ctx, waitCtx, err)
			}
		}
		if err := s.g.sessions.enter(waitCtx, s); err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return nil, err
		}
		conn, err := s.dial(waitCtx, preview, packet, to)
		var again *retryError
		if !errors.As(err, &again) {
			return conn, err
		}
		s.g.sessions.leave(s)
		last = err
		s.log.DebugContext(ctx, "preview does not answer yet", "preview", preview.ID, "error", err)
	}
	return nil, s.explain(ctx, waitCtx, mayfly.Errorf(mayfly.CodeTimeout, "%s does not answer: %w", to.name, last))
}

// claim checks that the client may have this preview and binds it to it.
func (s *session) claim(ctx context.Context, packet *startup, preview *mayfly.Preview) error {
	if preview.WantDeleted || preview.State == mayfly.PreviewDeleting || preview.State == mayfly.PreviewDeleted {
		return unknownDatabase(s.name)
	}
	if err := s.refuseRole(ctx, packet, preview); err != nil {
		return err
	}
	if preview.State == mayfly.PreviewFailed && !preview.Connectable() {
		return failed(preview)
	}
	s.g.sessions.bind(s, preview.ID)
	return nil
}

// dialable reports whether the preview is up as far as its record says, so that no wake is needed.
func dialable(p *mayfly.Preview) bool {
	return p.Connectable() && p.State != mayfly.PreviewSuspended && !p.WantSuspended && p.ObservedGeneration == p.Generation
}

// failed is what the clients of a preview that could not be made are told.
func failed(p *mayfly.Preview) *refusal {
	code, cause := mayfly.CodeInternal, errors.New("the reason was not recorded")
	if p.Failure != nil {
		code, cause = p.Failure.Code, errors.New(p.Failure.Message)
	}
	return failedFor(p.Name, code, cause)
}

// explain turns an error of a look-up or a wait into what the client is told. When the time is up, that is what the
// preview is doing.
func (s *session) explain(ctx, waitCtx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case waitCtx.Err() == nil && mayfly.ErrorCode(err) != mayfly.CodeTimeout:
		return refusalFor(s.name, err)
	}
	ctx, cancel := context.WithTimeout(ctx, progressTimeout)
	defer cancel()
	progress := undetailed(s.g.opts.Previews.Progress(ctx, s.name))
	if progress == "" {
		progress = "not ready yet"
	}
	return &refusal{
		code: codeCannotConnectNow, message: s.name + " is " + progress, hint: "Try again in a few seconds.",
		outcome: "not_ready", err: err,
	}
}

// explainRefusal is explain for an error that may be a refusal already.
func (s *session) explainRefusal(ctx, waitCtx context.Context, err error) error {
	if refused := (*refusal)(nil); errors.As(err, &refused) {
		return err
	}
	return s.explain(ctx, waitCtx, err)
}

// undetailed cuts a progress text before its first colon. Behind it may be a file's name or a message of Postgres, which
// are not for clients that have yet to log in.
func undetailed(progress string) string {
	short, _, cut := strings.Cut(progress, ":")
	if cut && strings.Count(short, "(") > strings.Count(short, ")") {
		short += ")"
	}
	return short
}

// dial connects to the preview's Postgres and sends the startup packet. A retryError means: come again.
func (s *session) dial(ctx context.Context, preview *mayfly.Preview, packet *startup, to target) (*backend, error) {
	database, err := realDatabase(packet, to, preview)
	if err != nil {
		return nil, err
	}
	encoded, err := packet.encode(database)
	if err != nil {
		return nil, err
	}
	conn, err := s.g.opts.Dialer.Dial(ctx, preview.Instance())
	if err != nil {
		return nil, &retryError{fmt.Errorf("dial: %w", err)}
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(past()) })
	b := &backend{Conn: conn, instance: preview.Instance(), reader: bufio.NewReader(conn)}
	err = b.greet(encoded)
	if !stop() && err == nil {
		err = &retryError{ctx.Err()}
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return b, nil
}

// greet sends the startup packet and reads up to the first message that decides. Nothing has been passed on to the client
// by then, so that a Postgres that is starting up, shutting down or dying can be tried again unseen.
func (b *backend) greet(packet []byte) error {
	if _, err := b.Write(packet); err != nil {
		return &retryError{fmt.Errorf("send startup packet: %w", err)}
	}
	for {
		message, err := readMessage(b.reader)
		if err != nil {
			return &retryError{fmt.Errorf("read the first answer: %w", err)}
		}
		b.held = append(b.held, message)
		switch message[0] {
		case typeNegotiate, typeNotice:
			continue
		case typeError:
			if sqlstate(message) == codeCannotConnectNow {
				return &retryError{errors.New("the database system is starting up or shutting down")}
			}
		}
		return nil
	}
}

// readMessage reads one whole message, header included.
func readMessage(r io.Reader) ([]byte, error) {
	header := make([]byte, 5)
	if _, err := io.ReadFull(r, header); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(header[1:])
	if length < 4 || length > maxStartupMessage {
		return nil, fmt.Errorf("message %q of %d bytes", header[0], length)
	}
	message := make([]byte, 1+length)
	copy(message, header)
	_, err := io.ReadFull(r, message[5:])
	return message, err
}

// sqlstate returns the code of an ErrorResponse, or "".
func sqlstate(message []byte) string {
	var response pgproto3.ErrorResponse
	if err := response.Decode(message[5:]); err != nil {
		return ""
	}
	return response.Code
}

// sleep returns false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
