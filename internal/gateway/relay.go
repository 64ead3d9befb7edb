package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

const (
	// readyTimeout bounds the time from a successful login to the first ReadyForQuery.
	readyTimeout = 90 * time.Second
	// authenticationOk is the value of the Authentication message that ends the login (PostgreSQL docs, 54.7).
	authenticationOk = 0
	// bufferSize holds two full TLS records.
	bufferSize = 32 << 10
)

// relay passes bytes both ways until one side is done. It returns nil when the backend closed the connection.
func (s *session) relay(ctx context.Context, b *backend) error {
	defer func() { _ = b.Close() }()
	_ = b.SetReadDeadline(time.Now().Add(s.g.opts.AuthenticationTimeout))
	stop := context.AfterFunc(ctx, func() {
		_ = b.SetReadDeadline(past())
		_ = s.raw.SetWriteDeadline(time.Now().Add(lingerTimeout)) // a client that does not read must not hold us
	})
	defer stop()
	s.backend = b.Conn
	close(s.linked)

	key, ready, err := s.relayStartup(ctx, b)
	if key != "" {
		defer s.g.keys.remove(key)
	}
	if err == nil && ready {
		s.outcome = "ok"
		s.g.metrics.started(s)
		_ = b.SetReadDeadline(time.Time{})
		if ctx.Err() == nil { // or the deadline that says so was just overwritten
			err = s.pumpDown(b)
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// relayStartup passes the backend's messages on until the first ReadyForQuery and puts the gateway's cancel key in the
// place of the backend's. ready is false when the backend refused the client.
func (s *session) relayStartup(ctx context.Context, b *backend) (key string, ready bool, err error) {
	s.outcome = "authentication_failed"
	var out []byte
	for {
		var message []byte
		if len(b.held) > 0 {
			message, b.held = b.held[0], b.held[1:]
		} else if message, err = readMessage(b.reader); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) && s.g.sessions.using(s) == "" {
				return key, false, errTooSlow
			}
			return key, false, ended(err)
		}
		switch message[0] {
		case typeAuthentication:
			if len(message) == 9 && binary.BigEndian.Uint32(message[5:]) == authenticationOk {
				if err := s.loggedIn(ctx, b); err != nil {
					return key, false, err
				}
			}
		case typeKeyData:
			if body := message[5:]; key == "" && len(body) >= 4+minCancelKey {
				key = s.g.keys.add(b.instance, body)
				copy(body, key)
			}
		case typeReady:
			ready = true
			s.idleAt.Store(s.sent.Load() + 1)
		}
		out = append(out, message...)
		if !ready && (len(b.held) > 0 || b.reader.Buffered() > 0) {
			continue
		}
		if err := s.writeClient(out); err != nil {
			return key, false, err
		}
		out = out[:0]
		if ready {
			return key, true, nil
		}
	}
}

// errTooSlow is in the words of Postgres, whose own limit is a minute.
var errTooSlow = &refusal{
	code: codeQueryCanceled, message: "canceling authentication due to timeout", outcome: "authentication_timeout",
}

// loggedIn counts the session as one of its preview's. Before this a stranger may be at the other end.
func (s *session) loggedIn(ctx context.Context, b *backend) error {
	if err := s.g.sessions.authenticated(s); err != nil {
		return err
	}
	id := s.g.sessions.using(s)
	s.touches.Go(func() { s.touch(ctx, id) }) // not in the client's way
	_ = b.SetReadDeadline(time.Now().Add(readyTimeout))
	return context.Cause(ctx) // or the deadline that says so was just overwritten
}

// pumpDown copies from the backend to the client. It follows the framing, only the five bytes of each header, to know
// when the session is between transactions and where a last message of ours may stand.
func (s *session) pumpDown(b *backend) error {
	var frames framing
	buffer := make([]byte, bufferSize)
	for {
		n, err := b.reader.Read(buffer) // straight from the connection once the reader's own buffer is empty
		if n > 0 {
			sent, readies := s.sent.Load(), frames.readies
			frames.feed(buffer[:n])
			if err := s.writeClient(buffer[:n]); err != nil {
				return err
			}
			switch {
			case !frames.idle():
				s.idleAt.Store(0)
			case frames.readies != readies: // else only notices came, which say nothing about what was sent meanwhile
				s.idleAt.Store(sent + 1)
			}
		}
		if err != nil {
			s.broken = !frames.between()
			return ended(err)
		}
	}
}

func (s *session) writeClient(p []byte) error {
	n, err := s.conn.Write(p)
	s.bytesDown.Add(int64(n))
	if err != nil {
		s.broken = true
		return fmt.Errorf("%w: %w", errClientGone, err)
	}
	return nil
}

// ended returns nil for the errors with which a backend's connection ends in the course of things.
func ended(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return fmt.Errorf("read from the backend: %w", err)
}

// pumpUp copies from the client to the backend. It starts before there is a backend, to notice when a client that waits
// for one goes away, and it goes on after the end, to read what a client sends that has not heard of it yet.
func (s *session) pumpUp(ctx context.Context) {
	defer close(s.upDone)
	buffer := make([]byte, bufferSize)
	discard := false
	for {
		n, err := s.conn.Read(buffer)
		if n > 0 && !discard {
			discard = !s.writeBackend(ctx, buffer[:n])
		}
		if err != nil {
			s.clientEnded(err)
			return
		}
	}
}

// writeBackend waits for the backend if there is none yet. It returns false when the session has ended.
func (s *session) writeBackend(ctx context.Context, p []byte) bool {
	select {
	case <-s.linked:
	case <-ctx.Done():
		return false
	}
	s.sent.Add(1)
	n, err := s.backend.Write(p)
	s.bytesUp.Add(int64(n))
	return err == nil
}

// clientEnded passes on how the client's side ended: its end of stream is one for the backend, which may still have
// something to say; anything else, and any end before there is a backend, ends the session.
func (s *session) clientEnded(err error) {
	// TLS reports an end of stream without close_notify as unexpected; libpq and others just close.
	if s.isLinked() && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		closeWrite(s.backend)
		return
	}
	s.end(errClientGone)
}

// framing follows the message boundaries in a stream of the backend.
type framing struct {
	header [5]byte
	have   int  // bytes of header seen
	left   int  // bytes of the body to come
	lost   bool // the stream was not one of messages
	// status is that of the last message if it was a ReadyForQuery, and 0 otherwise. Messages that may come at any time
	// do not count.
	status  byte
	readies int // how many ReadyForQuery began
}

const headerSize = 5

func (f *framing) feed(p []byte) {
	for len(p) > 0 && !f.lost {
		if f.have < headerSize {
			if f.have == 0 {
				f.begin(p[0])
			}
			n := copy(f.header[f.have:], p)
			f.have += n
			p = p[n:]
			if f.have < headerSize {
				return
			}
			f.left = int(binary.BigEndian.Uint32(f.header[1:])) - 4
			if f.left < 0 {
				f.lost = true
				return
			}
		}
		n := min(f.left, len(p))
		if n > 0 && f.header[0] == typeReady {
			f.status = p[0]
		}
		f.left -= n
		p = p[n:]
		if f.left == 0 {
			f.have = 0
		}
	}
}

func (f *framing) begin(kind byte) {
	switch kind {
	case typeNotice, typeNotification, typeParameterStatus: // at any time (PostgreSQL docs, 54.2.7)
	case typeReady:
		f.readies++
		f.status = 0 // until its body comes
	default:
		f.status = 0
	}
}

// between reports whether the stream stands at a message boundary.
func (f *framing) between() bool { return !f.lost && f.have == 0 }

// idle reports whether the backend said last: ready, and not in a transaction.
func (f *framing) idle() bool { return !f.lost && f.status == 'I' }
