package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// lingerTimeout is how long a client gets to read the last message and to close. Closing with unread input would
	// make the kernel reset the connection, and the client could lose that message.
	lingerTimeout = time.Second
	// touchTimeout bounds one call of Previews.Touch.
	touchTimeout = 5 * time.Second
)

// session is one client connection from accept to close. Two goroutines work for it: its own, which is the only one that
// writes to the client, and pumpUp, which is the only one that reads from it once the startup packet has been read.
type session struct {
	g        *Gateway
	raw      net.Conn // as accepted
	conn     net.Conn // raw, or TLS over it
	remote   netip.Addr
	log      *slog.Logger
	cancel   context.CancelCauseFunc
	accepted time.Time

	name  string // of the preview, once known
	woken bool   // it had to wait

	// linked is closed once backend is set: from then on what the client sends goes there.
	linked  chan struct{}
	backend net.Conn
	upDone  chan struct{} // nil until pumpUp runs; closed when it has ended
	touches sync.WaitGroup

	// sent counts the chunks passed to the backend. idleAt is sent+1 as it was when the backend last said that it is ready
	// and outside a transaction; 0 while it is busy. A client that pipelines can be idle here a moment too early.
	sent, idleAt       atomic.Uint64
	bytesUp, bytesDown atomic.Int64
	// broken is set when the client cannot be told anything: a message was cut in the middle, or writing failed.
	broken bool
	// outcome is the label of the metric.
	outcome string
}

// handle serves one accepted connection to its end.
func (g *Gateway) handle(parent context.Context, raw net.Conn) {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	s := &session{
		g: g, raw: raw, conn: raw, remote: remoteAddr(raw), cancel: cancel, accepted: time.Now(),
		linked: make(chan struct{}), log: g.log.With("remote", raw.RemoteAddr().String()),
	}
	verdict := g.sessions.admit(s)
	if verdict == turnAway {
		_ = raw.Close()
		g.metrics.ended(s, "overload")
		return
	}
	err := s.run(ctx, verdict)
	cancel(nil)
	s.farewell(ctx, err)
	s.closeClient()
	s.touches.Wait()
	if id := g.sessions.using(s); id != "" {
		s.touch(ctx, id)
	}
	g.sessions.remove(s)
	g.metrics.ended(s, s.outcome)
	s.log.DebugContext(ctx, "gateway connection closed", "preview", s.name, "outcome", s.outcome,
		"bytes_up", s.bytesUp.Load(), "bytes_down", s.bytesDown.Load(), "error", err)
}

// run returns nil when the connection ended by itself, and otherwise why it is to be closed.
func (s *session) run(ctx context.Context, verdict admission) error {
	s.outcome = "closed_early"
	keepAlive(s.raw)
	_ = s.raw.SetDeadline(time.Now().Add(s.g.opts.StartupTimeout))
	stop := context.AfterFunc(ctx, func() { _ = s.raw.SetDeadline(past()) })
	opening, err := s.g.open(ctx, s.raw)
	s.conn = opening.conn
	if !stop() {
		s.broken = true
		return context.Cause(ctx)
	}
	_ = s.raw.SetDeadline(time.Time{})
	switch {
	case err != nil:
		return err
	case opening.cancel != nil:
		s.outcome, err = s.g.cancel(ctx, opening.cancel)
		s.broken = true
		return err
	case verdict != admitted:
		return tooMany("%s", verdict)
	}
	to := route(s.g.opts.BaseDomain, opening)
	s.name = to.name
	s.log = s.log.With("user", shorten(opening.startup.user), "database", shorten(opening.startup.database))
	if err := refuseEarly(opening.startup, to); err != nil {
		return err
	}
	s.upDone = make(chan struct{})
	go s.pumpUp(ctx)
	backend, err := s.connect(ctx, opening.startup, to)
	if err != nil {
		return err
	}
	return s.relay(ctx, backend)
}

// farewell tells the client why its connection ends, if there is something to tell and it can still be told.
func (s *session) farewell(ctx context.Context, err error) {
	var netErr net.Error
	var r *refusal
	switch {
	case err == nil, s.broken, errors.Is(err, errClientGone), errors.Is(err, io.EOF), errors.Is(err, errGarbage):
		if errors.Is(err, errGarbage) {
			s.outcome = "garbage"
		}
		return
	case errors.As(err, &r):
	case s.upDone == nil: // startup broke off
		if errors.As(err, &netErr) && netErr.Timeout() || errors.Is(err, os.ErrDeadlineExceeded) {
			s.outcome = "startup_timeout"
		}
		return
	case errors.Is(err, errShutdown), errors.Is(err, errGone), errors.Is(err, context.Canceled):
		r = goodbye(s.name, err, s.isLinked())
	default:
		r = refusalFor(s.name, err)
	}
	s.outcome = r.outcome
	if r.code == codeInternalError {
		s.log.ErrorContext(ctx, "gateway cannot serve a connection", "preview", s.name, "error", err)
	} else {
		s.log.InfoContext(ctx, "gateway refused or ended a connection", "preview", s.name, "sqlstate", r.code, "reason", r.Error())
	}
	_ = s.raw.SetWriteDeadline(time.Now().Add(lingerTimeout))
	if _, err := s.conn.Write(r.encode()); err != nil {
		s.log.DebugContext(ctx, "gateway could not tell the client", "error", err)
	}
}

// closeClient ends the connection in order: our side first, then the client's, for which it gets a moment.
func (s *session) closeClient() {
	_ = s.raw.SetDeadline(time.Now().Add(lingerTimeout))
	if s.conn != s.raw {
		closeWrite(s.conn)
	}
	closeWrite(s.raw)
	if s.upDone != nil {
		<-s.upDone // it discards what still comes
	} else if !s.broken {
		_, _ = io.Copy(io.Discard, io.LimitReader(s.raw, maxStartupBody))
	}
	_ = s.raw.Close()
}

// end closes the session from outside. The first cause counts.
func (s *session) end(cause error) { s.cancel(cause) }

// idle reports whether the session may be ended without cutting anything: it waits for a preview, or is between
// transactions.
func (s *session) idle() bool {
	return !s.isLinked() || s.idleAt.Load() == s.sent.Load()+1
}

// isLinked reports whether the session has a backend.
func (s *session) isLinked() bool {
	select {
	case <-s.linked:
		return true
	default:
		return false
	}
}

// touch records the use of a preview, also when ctx has ended.
func (s *session) touch(ctx context.Context, id string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), touchTimeout)
	defer cancel()
	s.g.opts.Previews.Touch(ctx, id)
}

// touchLoop records the use of every preview with connections until ctx ends.
func (g *Gateway) touchLoop(ctx context.Context) {
	ticker := time.NewTicker(g.opts.TouchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for _, id := range g.sessions.previews() {
			touchCtx, cancel := context.WithTimeout(ctx, touchTimeout)
			g.opts.Previews.Touch(touchCtx, id)
			cancel()
		}
	}
}

// keepAlive notices clients that vanished without a word within two minutes.
func keepAlive(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4})
	}
}

// remoteAddr returns the address that startups are counted by: of IPv6 the /64, because a client has all of it.
func remoteAddr(conn net.Conn) netip.Addr {
	tcp, ok := conn.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := tcp.AddrPort().Addr().Unmap().WithZone("")
	if addr.Is6() {
		if prefix, err := addr.Prefix(64); err == nil {
			return prefix.Addr()
		}
	}
	return addr
}

// shorten bounds what a stranger can write into the log.
func shorten(s string) string {
	const longest = 63 // of an identifier
	return s[:min(len(s), longest)]
}
