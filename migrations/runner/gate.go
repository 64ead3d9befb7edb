package runner

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Codes and limits of the startup phase (PostgreSQL docs, "Message Formats"; src/include/libpq/pqcomm.h).
const (
	codeCancel     = 80877102
	codeSSL        = 80877103
	codeGSS        = 80877104
	protocolMajor  = 3
	maxStartup     = 10_000
	maxCancel      = 4 + 4 + 256
	startupTimeout = 30 * time.Second
	// maxSessions is below a preview's max_connections: the runner must not lock Mayfly out.
	maxSessions = 60
)

// Gate is the runner's way to the preview's Postgres. Mayfly's own process is at the other end of it, as root, whom the real
// socket would take for the superuser: so the gate reads who wants to log in, and lets through nobody but User, and to no
// database but Database. Postgres then asks for the password.
type Gate struct {
	// Dial opens a connection to the preview's Postgres.
	Dial func(ctx context.Context) (net.Conn, error)
	// User is the preview's owner, Database its database.
	User, Database string
	// Parameters are set for every session unless the client sets them itself at the start.
	Parameters map[string]string

	mu       sync.Mutex
	sessions int
	backends []int32
	refused  []string
	errors   []ServerError
}

// Backends returns the process ids of the sessions that were opened through the gate. A session whose client was killed runs
// its statement to the end: somebody has to end it.
func (g *Gate) Backends() []int32 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.backends)
}

// ServerError is an error that Postgres reported to the command.
type ServerError struct {
	Severity string `json:"severity"`
	SQLState string `json:"sqlstate"`
	Message  string `json:"message"`
}

// maxErrors is how many errors are kept, the last ones.
const maxErrors = 20

// Errors returns the last errors that Postgres reported.
func (g *Gate) Errors() []ServerError {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.errors)
}

// Refused returns what the gate did not let through, in words.
func (g *Gate) Refused() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.refused)
}

// Serve handles one connection until its end. The caller closes it.
func (g *Gate) Serve(ctx context.Context, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(startupTimeout))
	packet, err := g.open(ctx, conn)
	if refusal := (*refusal)(nil); errors.As(err, &refusal) {
		g.note(refusal.message)
		_, _ = conn.Write(refusal.packet())
		return
	}
	if err != nil || packet == nil {
		return
	}
	if !g.enter() {
		_, _ = conn.Write((&refusal{"53300", fmt.Sprintf("the runner has more than %d connections open", maxSessions)}).packet())
		return
	}
	defer g.leave()
	_ = conn.SetDeadline(time.Time{})
	g.session(ctx, conn, packet)
}

func (g *Gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sessions >= maxSessions {
		return false
	}
	g.sessions++
	return true
}

func (g *Gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sessions--
}

func (g *Gate) note(refused string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.refused) < maxErrors && !slices.Contains(g.refused, refused) {
		g.refused = append(g.refused, refused)
	}
}

// session copies bytes both ways until one side ends.
func (g *Gate) session(ctx context.Context, conn net.Conn, packet []byte) {
	server, err := g.Dial(ctx)
	if err != nil {
		_, _ = conn.Write((&refusal{"57P03", "the preview's Postgres does not answer"}).packet())
		return
	}
	defer func() { _ = server.Close() }()
	defer context.AfterFunc(ctx, func() { _ = server.Close(); _ = conn.Close() })()
	if _, err := server.Write(packet); err != nil {
		return
	}
	up := make(chan struct{})
	go func() {
		defer close(up)
		_, _ = io.Copy(server, conn)
		_ = server.Close() // a client that is gone wants no answer
	}()
	_, _ = io.Copy(io.MultiWriter(conn, &scanner{report: g.report, opened: g.opened}), server)
	_ = conn.Close()
	<-up
}

func (g *Gate) opened(backend int32) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.backends = append(g.backends, backend)
}

func (g *Gate) report(e ServerError) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.errors = append(g.errors, e)
	if len(g.errors) > maxErrors {
		g.errors = slices.Delete(g.errors, 0, len(g.errors)-maxErrors)
	}
}

// open reads up to the startup packet and returns the one for the server: made anew from what was read, so that there is
// nothing in it that the gate did not see. A cancel request is passed on, and gives nil.
func (g *Gate) open(ctx context.Context, conn net.Conn) ([]byte, error) {
	for range 3 { // one for SSL, one for GSS, the startup itself
		body, err := readPacket(conn)
		if err != nil {
			return nil, err
		}
		switch binary.BigEndian.Uint32(body) {
		case codeSSL, codeGSS:
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return nil, err
			}
		case codeCancel:
			return nil, g.cancel(ctx, body)
		default:
			return g.admit(body)
		}
	}
	return nil, errors.New("the client does not get past its requests for encryption")
}

func readPacket(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length := int64(binary.BigEndian.Uint32(head[:])) - 4
	if length < 4 || length > maxStartup {
		return nil, errors.New("not a startup packet")
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body, nil
}

// cancel passes a cancel request on. The key in it is known only to who opened the session that it cancels.
func (g *Gate) cancel(ctx context.Context, body []byte) error {
	if len(body) < 12 || len(body) > maxCancel {
		return errors.New("not a cancel request")
	}
	server, err := g.Dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = server.Close() }()
	_ = server.SetDeadline(time.Now().Add(startupTimeout))
	if _, err := server.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body)+4)), body...)); err != nil {
		return err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(server, 1)) // the server closes once it has done it
	return nil
}

// admit decides about a startup packet.
func (g *Gate) admit(body []byte) ([]byte, error) {
	version := binary.BigEndian.Uint32(body)
	if version>>16 != protocolMajor {
		return nil, &refusal{"0A000", "unsupported frontend protocol"}
	}
	names, values, err := parameters(body[4:])
	if err != nil {
		return nil, err
	}
	user, database := "", ""
	for i, name := range names {
		switch name {
		case "user":
			user = values[i]
		case "database":
			database = values[i]
		case "replication":
			return nil, &refusal{"28000", "the runner may not open replication connections"}
		}
	}
	if database == "" {
		database = user // as Postgres does
	}
	if user != g.User {
		return nil, &refusal{"28000", fmt.Sprintf("the runner may log in as role %q only, not as %q", g.User, clip(user))}
	}
	if database != g.Database {
		return nil, &refusal{"3D000", fmt.Sprintf("the runner may connect to database %q only, not to %q", g.Database, clip(database))}
	}
	packet := binary.BigEndian.AppendUint32(make([]byte, 4, 256), version)
	add := func(name, value string) { packet = append(append(append(append(packet, name...), 0), value...), 0) }
	add("user", user)
	add("database", database)
	for i, name := range names {
		if name != "user" && name != "database" {
			add(name, values[i])
		}
	}
	for name, value := range g.Parameters {
		if !slices.Contains(names, name) {
			add(name, value)
		}
	}
	packet = append(packet, 0)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)))
	return packet, nil
}

// parameters reads names and values. One that is there twice is refused: whoever reads the packet after this may take the
// other one.
func parameters(rest []byte) (names, values []string, err error) {
	invalid := &refusal{"08P01", "invalid startup packet layout"}
	for {
		name, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, nil, invalid
		}
		if len(name) == 0 {
			if len(after) != 0 {
				return nil, nil, invalid
			}
			return names, values, nil
		}
		value, next, ok := bytes.Cut(after, []byte{0})
		if !ok || slices.Contains(names, string(name)) {
			return nil, nil, invalid
		}
		names, values, rest = append(names, string(name)), append(values, string(value)), next
	}
}

// clip shortens a name that a stranger chose, and takes out what could forge lines.
func clip(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, name)
	if len(name) > 63 {
		name = strings.ToValidUTF8(name[:63], "") + "…"
	}
	return name
}

// refusal is told to the client as Postgres would tell it.
type refusal struct{ code, message string }

func (r *refusal) Error() string { return r.message }

func (r *refusal) packet() []byte {
	body := []byte{}
	for _, field := range []string{"SFATAL", "VFATAL", "C" + r.code, "M" + r.message} {
		body = append(append(body, field...), 0)
	}
	body = append(body, 0)
	return append(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(body)+4)), body...)
}

// scanner follows the messages of a server: it reports the errors among them, and the process that serves the session.
type scanner struct {
	report func(ServerError)
	opened func(backend int32)

	head []byte
	left int64
	body []byte // of what is looked at; nil for what is passed over
	lost bool
}

// maxBody is how much of a message is looked at.
const maxBody = 16 << 10

// The types of messages that are looked at (PostgreSQL docs, "Message Formats").
const (
	typeError   = 'E'
	typeKeyData = 'K'
)

// Write implements io.Writer. It never fails.
func (s *scanner) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 && !s.lost {
		if s.left == 0 {
			take := min(5-len(s.head), len(p))
			s.head, p = append(s.head, p[:take]...), p[take:]
			if len(s.head) < 5 {
				break
			}
			s.left = int64(binary.BigEndian.Uint32(s.head[1:])) - 4
			s.lost = s.left < 0
			s.body = nil
			if s.head[0] == typeError || s.head[0] == typeKeyData {
				s.body = []byte{}
			}
		}
		take := int(min(s.left, int64(len(p))))
		if s.body != nil {
			s.body = append(s.body, p[:min(take, maxBody-len(s.body))]...)
		}
		p, s.left = p[take:], s.left-int64(take)
		if s.left == 0 {
			s.finish()
		}
	}
	return n, nil
}

func (s *scanner) finish() {
	switch {
	case s.body == nil:
	case s.head[0] == typeKeyData && len(s.body) >= 4:
		s.opened(int32(binary.BigEndian.Uint32(s.body)))
	case s.head[0] == typeError:
		s.report(serverError(s.body))
	}
	s.head, s.body = s.head[:0], nil
}

func serverError(body []byte) ServerError {
	var e ServerError
	for field := range bytes.SplitSeq(body, []byte{0}) {
		if len(field) == 0 {
			break
		}
		switch value := string(field[1:]); field[0] {
		case 'V':
			e.Severity = value
		case 'C':
			e.SQLState = value
		case 'M':
			e.Message = value
		}
	}
	return e
}
