package gateway_test

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// protocol versions as on the wire.
const (
	version30 = 3 << 16
	version32 = 3<<16 | 2
)

// startupPacket encodes a StartupMessage with parameters in order.
func startupPacket(version uint32, words ...string) []byte {
	packet := binary.BigEndian.AppendUint32(make([]byte, 4), version)
	for _, word := range words {
		packet = append(append(packet, word...), 0)
	}
	packet = append(packet, 0)
	binary.BigEndian.PutUint32(packet, uint32(len(packet)))
	return packet
}

func readN(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if _, err := io.ReadFull(r, p); err != nil {
		t.Fatalf("read %d bytes: %v", n, err)
	}
	return p
}

func send(t *testing.T, w io.Writer, p []byte) {
	t.Helper()
	if _, err := w.Write(p); err != nil {
		t.Fatalf("write: %v", err)
	}
}

// refused reads an ErrorResponse and then the end of the stream.
func refused(t *testing.T, conn io.Reader) *pgproto3.ErrorResponse {
	t.Helper()
	kind, body := message(t, conn)
	if kind != 'E' {
		t.Fatalf("got message %q instead of an ErrorResponse", kind)
	}
	var response pgproto3.ErrorResponse
	if err := response.Decode(body); err != nil {
		t.Fatalf("decode ErrorResponse: %v", err)
	}
	if rest, err := io.ReadAll(conn); err != nil || len(rest) > 0 {
		t.Fatalf("after the ErrorResponse came %q, %v instead of the end", rest, err)
	}
	return &response
}

func message(t *testing.T, r io.Reader) (kind byte, body []byte) {
	t.Helper()
	header := readN(t, r, 5)
	return header[0], readN(t, r, int(binary.BigEndian.Uint32(header[1:]))-4)
}

// authenticated is what a raw client knows after its startup.
type authenticated struct {
	*pgproto3.Frontend

	processID  uint32
	secretKey  []byte
	parameters map[string]string
	negotiated *pgproto3.NegotiateProtocolVersion
}

// logIn does the rest of the startup after the startup packet, with SCRAM.
func logIn(t *testing.T, conn net.Conn, l login) authenticated {
	t.Helper()
	a := authenticated{Frontend: pgproto3.NewFrontend(conn, conn), parameters: map[string]string{}}
	client := scramClient{password: l.password}
	for {
		received, err := a.Receive()
		if err != nil {
			t.Fatalf("receive: %v", err)
		}
		switch m := received.(type) {
		case *pgproto3.AuthenticationSASL:
			a.Send(&pgproto3.SASLInitialResponse{AuthMechanism: "SCRAM-SHA-256", Data: client.first()})
		case *pgproto3.AuthenticationSASLContinue:
			a.Send(&pgproto3.SASLResponse{Data: client.final(t, m.Data)})
		case *pgproto3.NegotiateProtocolVersion:
			negotiated := *m
			a.negotiated = &negotiated
		case *pgproto3.BackendKeyData:
			a.processID, a.secretKey = m.ProcessID, append([]byte(nil), m.SecretKey...)
		case *pgproto3.ParameterStatus:
			a.parameters[m.Name] = m.Value
		case *pgproto3.ErrorResponse:
			t.Fatalf("refused: %s %s", m.Code, m.Message)
		case *pgproto3.ReadyForQuery:
			return a
		}
		if err := a.Flush(); err != nil {
			t.Fatalf("send: %v", err)
		}
	}
}

// query runs a query that returns one value, and returns the SQLSTATE if it failed.
func (a authenticated) query(sql string) (value, state string, err error) {
	a.Send(&pgproto3.Query{String: sql})
	if err := a.Flush(); err != nil {
		return "", "", err
	}
	for {
		received, err := a.Receive()
		if err != nil {
			return "", state, err
		}
		switch m := received.(type) {
		case *pgproto3.DataRow:
			value = string(m.Values[0])
		case *pgproto3.ErrorResponse:
			state = m.Code
		case *pgproto3.ReadyForQuery:
			return value, state, nil
		}
	}
}

// wantPgError checks the SQLSTATE and a part of each text of an error.
func wantPgError(t *testing.T, err error, code, message, hint string) {
	t.Helper()
	var pgErr *pgconn.PgError
	if !errors.As(err, &pgErr) {
		t.Fatalf("got %v, want a Postgres error with SQLSTATE %s", err, code)
	}
	if pgErr.Severity != "FATAL" || pgErr.Code != code || !strings.Contains(pgErr.Message, message) || !strings.Contains(pgErr.Hint, hint) {
		t.Errorf("got %s %s %q (hint %q), want FATAL %s with %q (hint %q)",
			pgErr.Severity, pgErr.Code, pgErr.Message, pgErr.Hint, code, message, hint)
	}
}
