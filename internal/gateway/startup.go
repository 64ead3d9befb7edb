package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

// Request codes and limits of the startup phase (PostgreSQL docs, 54.7; src/include/libpq/pqcomm.h).
const (
	codeCancelRequest = 80877102
	codeSSLRequest    = 80877103
	codeGSSENCRequest = 80877104

	protocolMajor    = 3
	minStartupBody   = 4
	maxStartupBody   = 10_000
	maxCancelKey     = 256
	minCancelKey     = 4
	alpnProtocol     = "postgresql"
	recordHandshake  = 0x16 // first byte of a TLS ClientHello; that of a startup packet's length is always 0
	answerYes        = 'S'
	answerNo         = 'N'
	parameterUser    = "user"
	parameterDB      = "database"
	parameterReplica = "replication"
)

// errGarbage is what is not worth an answer: the peer does not speak the protocol.
var errGarbage = errors.New("not a Postgres startup packet")

// opening is what a client asked for, before anything has been looked up. Exactly one of startup and cancel is set if
// there was no error; conn is always set.
type opening struct {
	conn    net.Conn // the client's connection, inside TLS if it asked for that
	sni     string   // lower case; "" without TLS or server name
	startup *startup
	cancel  *cancelRequest
}

// open runs the startup phase up to the packet that says what the client wants. The caller sets the deadline. Packets are
// read exactly, never ahead: bytes sent in plain text behind an SSLRequest cannot slip into the encrypted session.
func (g *Gateway) open(ctx context.Context, raw net.Conn) (opening, error) {
	o := opening{conn: raw}
	tlsDone, gssDone := false, false
	for first := true; ; first = false {
		head := make([]byte, 4)
		if _, err := io.ReadFull(o.conn, head); err != nil {
			return o, err
		}
		if first && head[0] == recordHandshake && g.opts.TLS != nil {
			if err := o.secure(ctx, &prefixedConn{Conn: raw, prefix: head}, g.opts.TLS, true); err != nil {
				return o, err
			}
			tlsDone, gssDone = true, true
			continue
		}
		body, err := readStartupBody(o.conn, head)
		if err != nil {
			return o, err
		}
		switch code := binary.BigEndian.Uint32(body); {
		case code == codeCancelRequest:
			// Taken in plain text too: libpq before 17 never encrypts it.
			o.cancel, err = parseCancel(body)
			return o, err
		case code == codeGSSENCRequest && !gssDone:
			gssDone = true
			_, err = raw.Write([]byte{answerNo})
		case code == codeSSLRequest && !tlsDone && g.opts.TLS == nil:
			tlsDone = true
			_, err = raw.Write([]byte{answerNo})
		case code == codeSSLRequest && !tlsDone:
			tlsDone, gssDone = true, true
			if _, err = raw.Write([]byte{answerYes}); err == nil {
				err = o.secure(ctx, raw, g.opts.TLS, false)
			}
		default:
			o.startup, err = parseStartup(body)
			if err == nil && o.conn == raw && !g.opts.AllowPlaintext {
				err = errTLSRequired
			}
			return o, err
		}
		if err != nil {
			return o, err
		}
	}
}

// errTLSRequired is told to clients that come in plain text. No password has been sent at that point.
var errTLSRequired = &refusal{
	code: codeInvalidAuthorization, message: "this server accepts TLS connections only",
	hint: "Connect with sslmode=require.", outcome: "tls_required",
}

// secure does the TLS handshake over conn. direct is the way without an SSLRequest, where ALPN is mandatory: it is what
// keeps another protocol's client from being tricked into talking to us.
func (o *opening) secure(ctx context.Context, conn net.Conn, config *tls.Config, direct bool) error {
	server := tls.Server(conn, config)
	if err := server.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS handshake: %w", err)
	}
	state := server.ConnectionState()
	o.conn, o.sni = server, strings.ToLower(strings.TrimSuffix(state.ServerName, "."))
	if direct && state.NegotiatedProtocol != alpnProtocol {
		return &refusal{
			code: codeProtocolViolation, message: "direct TLS needs the application protocol " + alpnProtocol,
			hint: "Use a client with sslnegotiation=direct (libpq 17) or without direct TLS.", outcome: "bad_startup",
		}
	}
	return nil
}

// readStartupBody reads what follows the length word of a startup packet: at least the 4 bytes of its code.
func readStartupBody(r io.Reader, head []byte) ([]byte, error) {
	length := int64(binary.BigEndian.Uint32(head)) - 4
	if length < minStartupBody || length > maxStartupBody {
		return nil, fmt.Errorf("%w: length %d", errGarbage, length)
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body, nil
}

// startup is a StartupMessage. pgproto3's is not used because it refuses unknown minor versions, which the backend
// negotiates down, and forgets order and duplicates.
type startup struct {
	version  uint32
	user     string
	database string // "" if absent
	// rest is every other parameter in order, names and values alternating. They go to the backend unread.
	rest []string
	// replication is set when the client asks for a replication connection.
	replication bool
}

func parseStartup(body []byte) (*startup, error) {
	s := &startup{version: binary.BigEndian.Uint32(body)}
	if major := s.version >> 16; major != protocolMajor {
		if major > protocolMajor+1 { // nobody's version; more likely not Postgres at all
			return nil, fmt.Errorf("%w: code %d", errGarbage, s.version)
		}
		return nil, &refusal{
			code:    codeFeatureNotSupported,
			message: fmt.Sprintf("unsupported frontend protocol %d.%d: this server supports 3.0 and up", major, s.version&0xffff),
			outcome: "bad_startup",
		}
	}
	invalid := &refusal{code: codeProtocolViolation, message: "invalid startup packet layout", outcome: "bad_startup"}
	seen := map[string]bool{}
	for rest := body[4:]; ; {
		name, after, ok := bytes.Cut(rest, []byte{0})
		if !ok {
			return nil, invalid
		}
		if len(name) == 0 { // the terminator, and nothing behind it
			if len(after) != 0 {
				return nil, invalid
			}
			break
		}
		value, next, ok := bytes.Cut(after, []byte{0})
		if !ok {
			return nil, invalid
		}
		if bytes.ContainsFunc(value, isControl) {
			return nil, &refusal{
				code: codeProtocolViolation, message: "control character in a startup parameter", outcome: "bad_startup",
			}
		}
		if !s.set(string(name), string(value), seen) {
			return nil, invalid
		}
		rest = next
	}
	if s.user == "" {
		return nil, &refusal{
			code: codeInvalidAuthorization, message: "no PostgreSQL user name specified in startup packet", outcome: "bad_startup",
		}
	}
	return s, nil
}

// isControl finds what no parameter needs and what could forge lines in logs.
func isControl(r rune) bool { return r < ' ' }

// set takes one parameter. It refuses to see one of those it interprets twice: the backend takes the last one, and nobody
// shall get past a check by writing a name two times.
func (s *startup) set(name, value string, seen map[string]bool) bool {
	switch name {
	case parameterUser:
		s.user = value
	case parameterDB:
		s.database = value
	case parameterReplica:
		s.replication = !falseBoolean(value)
	default:
		s.rest = append(s.rest, name, value)
		return true
	}
	if seen[name] {
		return false
	}
	seen[name] = true
	return true
}

// falseBoolean reports whether Postgres reads the value as false (parse_bool: any unique prefix, in any case).
func falseBoolean(value string) bool {
	v := strings.ToLower(value)
	return v == "0" || v != "" && (strings.HasPrefix("false", v) || strings.HasPrefix("no", v)) ||
		len(v) >= 2 && strings.HasPrefix("off", v)
}

// encode returns the packet for the backend: the same with the database's real name. Everything that the gateway does not
// interpret stays, so that the backend itself negotiates versions and "_pq_." options.
func (s *startup) encode(database string) ([]byte, error) {
	packet := make([]byte, 4, 128)
	packet = binary.BigEndian.AppendUint32(packet, s.version)
	for _, word := range append([]string{parameterUser, s.user, parameterDB, database}, s.rest...) {
		packet = append(append(packet, word...), 0)
	}
	packet = append(packet, 0)
	if len(packet) > maxStartupBody+4 {
		return nil, &refusal{code: codeProtocolViolation, message: "startup packet too long", outcome: "bad_startup"}
	}
	binary.BigEndian.PutUint32(packet, uint32(len(packet)))
	return packet, nil
}

// prefixedConn gives back bytes that were already read.
type prefixedConn struct {
	net.Conn

	prefix []byte
}

func (c *prefixedConn) Read(p []byte) (int, error) {
	if len(c.prefix) > 0 {
		n := copy(p, c.prefix)
		c.prefix = c.prefix[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}
