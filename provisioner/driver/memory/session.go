package memory

import (
	"net"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"
)

// serve speaks the protocol of Postgres with one client until it leaves.
func (e *Engine) serve(conn net.Conn, volume string) {
	backend := pgproto3.NewBackend(conn, conn)
	startup, err := backend.ReceiveStartupMessage()
	if err != nil {
		return
	}
	hello, ok := startup.(*pgproto3.StartupMessage)
	if !ok {
		return
	}
	if hello.Parameters["user"] != e.admin {
		backend.Send(refusal("28P01", "only the admin role can log in here"))
		_ = backend.Flush()
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{
		"server_version": "17.0", "server_encoding": "UTF8", "client_encoding": "UTF8", "standard_conforming_strings": "on", "is_superuser": "on",
	} {
		backend.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	backend.Send(&pgproto3.BackendKeyData{ProcessID: 1, SecretKey: []byte{0, 0, 0, 1}})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	for backend.Flush() == nil {
		message, err := backend.Receive()
		if err != nil {
			return
		}
		switch message := message.(type) {
		case *pgproto3.Query:
			e.query(backend, volume, message.String)
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Terminate:
			return
		case *pgproto3.Sync:
			backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		case *pgproto3.Parse:
			backend.Send(unknown(message.Query))
		}
	}
}

func refusal(code, text string) *pgproto3.ErrorResponse {
	return &pgproto3.ErrorResponse{Severity: "ERROR", SeverityUnlocalized: "ERROR", Code: code, Message: text}
}

func unknown(statement string) *pgproto3.ErrorResponse {
	return refusal("0A000", "the Postgres in memory does not know this statement: "+statement)
}

var (
	// alterRole is how a role gets its password: neither a verifier nor the names in tests have a quote in them.
	alterRole = regexp.MustCompile(`(?is)^alter role "([^"]+)" .*password '(SCRAM-SHA-256\$[^']+)'$`)
	endOthers = regexp.MustCompile(`(?is)^select (pg_catalog\.)?pg_terminate_backend\(`)
)

// query answers a simple query, statement by statement until one is refused.
func (e *Engine) query(backend *pgproto3.Backend, volume, text string) {
	answered := false
	for statement := range strings.SplitSeq(text, ";") { // no literal here has one in it
		statement = strings.TrimSpace(statement)
		if statement == "" {
			continue
		}
		answered = true
		lower := strings.ToLower(statement)
		switch role := alterRole.FindStringSubmatch(statement); {
		case strings.HasPrefix(lower, "set "):
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SET")})
		case role != nil:
			e.volumes.setVerifier(volume, role[1], role[2])
			backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("ALTER ROLE")})
		case lower == "select 1":
			e.column(backend, []byte("1"))
		case endOthers.MatchString(statement): // nobody else can be there
			e.column(backend)
		case lower == "-- ping":
			backend.Send(&pgproto3.EmptyQueryResponse{})
		default:
			backend.Send(unknown(statement))
			return
		}
	}
	if !answered {
		backend.Send(&pgproto3.EmptyQueryResponse{})
	}
}

// column answers with rows of one text column.
func (e *Engine) column(backend *pgproto3.Backend, rows ...[]byte) {
	const oidText = 25
	backend.Send(&pgproto3.RowDescription{Fields: []pgproto3.FieldDescription{{Name: []byte("?column?"), DataTypeOID: oidText, DataTypeSize: -1, TypeModifier: -1}}})
	for _, row := range rows {
		backend.Send(&pgproto3.DataRow{Values: [][]byte{row}})
	}
	backend.Send(&pgproto3.CommandComplete{CommandTag: []byte("SELECT 1")})
}
