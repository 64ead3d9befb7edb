package templates

import (
	"context"
	"errors"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	mayfly "github.com/mayflydb/mayfly"
)

// SQLSTATEs that are told from others (PostgreSQL docs, appendix A).
const (
	sqlInvalidPassword      = "28P01"
	sqlInvalidAuthorization = "28000"
	sqlUnknownDatabase      = "3D000"
	sqlInsufficientPriv     = "42501"
	sqlLockNotAvailable     = "55P03"
	sqlSerializationFailure = "40001"
	sqlDeadlock             = "40P01"
	sqlUndefinedObject      = "42704"
	sqlFeatureNotSupported  = "0A000"
	sqlUndefinedFile        = "58P01"
	sqlDiskFull             = "53100"
	sqlTooManyConnections   = "53300"
	sqlQueryCanceled        = "57014"
	sqlIdleInTransaction    = "25P03"
	sqlTransactionTimeout   = "25P04"
	sqlInvalidParameter     = "22023"
	sqlDivisionByZero       = "22012"
	sqlObjectNotConfigured  = "55P02"
	sqlLimitExceeded        = "54000"
	sqlForeignKeyViolation  = "23503"
	sqlUniqueViolation      = "23505"
	sqlExclusionViolation   = "23P01"
	sqlInvalidForeignKey    = "42830"
	sqlNotInPrerequisite    = "55000"
)

// failed turns whatever went wrong with the source into an error for people, without its password.
func (s *liveSource) failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e := mayfly.Errorf(mayfly.CodeSourceUnavailable, "cannot %s: %s", doing, s.scrub(sourceMessage(err)))
	return e.WithHint("%s", sourceHint(err))
}

// sourceMessage is what of an error may be shown: of a server's error the message alone, as detail and context may hold values of
// rows. Of errors about values, and of those that functions raise, the message does, too.
func sourceMessage(err error) string {
	var coded *mayfly.Error
	if errors.As(err, &coded) {
		return coded.Message
	}
	var connect *pgconn.ConnectError
	var server *pgconn.PgError
	if errors.As(err, &server) && !errors.As(err, &connect) {
		switch text := " (SQLSTATE " + server.Code + ")"; {
		case strings.HasPrefix(server.Code, "22") && server.Code != sqlInvalidParameter && server.Code != sqlDivisionByZero:
			return "a value cannot be used" + text
		case strings.HasPrefix(server.Code, "P0"):
			return "a function raised an error" + text
		default:
			return server.Message + text
		}
	}
	return err.Error()
}

func sourceHint(err error) string {
	var server *pgconn.PgError
	if !errors.As(err, &server) {
		return "check that the source's host and port can be reached from the machine that Mayfly runs on, and that it stays up during a build"
	}
	switch server.Code {
	case sqlInvalidPassword, sqlInvalidAuthorization:
		return "check the user and the password in the connection string (source.dsn_file or source.dsn_env), and the server's pg_hba.conf"
	case sqlUnknownDatabase:
		return "check the database name in the connection string (source.dsn_file or source.dsn_env)"
	case sqlInsufficientPriv:
		return "grant the source's role pg_read_all_data (PostgreSQL 14 and newer), or SELECT on all tables and sequences, and BYPASSRLS if tables have row security"
	case sqlLockNotAvailable:
		return "another session holds or waits for a lock on the table; build again when it is done, or use a read replica"
	case sqlSerializationFailure:
		return hintConflict
	case sqlQueryCanceled:
		return "a statement took longer than source.statement_timeout, or somebody cancelled it; raise the limit if a table is that large"
	case sqlTooManyConnections:
		return "set source.max_connections to what the source has to spare, or raise the role's CONNECTION LIMIT"
	case sqlIdleInTransaction, sqlTransactionTimeout:
		return "something on the way ends long transactions: exempt the source's role from the limit"
	}
	if strings.Contains(server.Message, "conflict with recovery") { // ends the whole session, with a code of its own
		return hintConflict
	}
	return "the server's log has the details"
}

const hintConflict = "the replica cancelled the read because it had to replay changes that the read was in the way of: set hot_standby_feedback = on there, " +
	"or raise max_standby_streaming_delay, and build again"

// scrub removes the password from a text. Nothing that is known puts it there; this is for what is not known.
func (s *liveSource) scrub(text string) string {
	if s.config == nil || len(s.config.Password) < 4 { // a shorter one would blot out words, and is no secret
		return text
	}
	return strings.ReplaceAll(text, s.config.Password, "[password]")
}

// lastLines returns the last n lines of a text that are not empty, on one line.
func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "; ")
}

// quoteLiteral quotes a string constant for sessions with standard_conforming_strings = on.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
