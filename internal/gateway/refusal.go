package gateway

import (
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgproto3"

	mayfly "github.com/mayflydb/mayfly"
)

// SQLSTATEs (PostgreSQL docs, appendix A).
const (
	codeProtocolViolation    = "08P01"
	codeFeatureNotSupported  = "0A000"
	codeInvalidAuthorization = "28000"
	codeUnknownDatabase      = "3D000"
	codeDiskFull             = "53100"
	codeTooManyConnections   = "53300"
	codeLimitExceeded        = "53400"
	codeAdminShutdown        = "57P01"
	codeCannotConnectNow     = "57P03"
	codeQueryCanceled        = "57014"
	codeSystemError          = "58000"
	codeInternalError        = "XX000"
)

// refusal is why a client is sent away, in the words that it is told.
type refusal struct {
	code, message, detail, hint string
	outcome                     string // label of the metric
	err                         error  // for the log; nil if there is nothing to add
}

func (r *refusal) Error() string {
	if r.err != nil {
		return fmt.Sprintf("%s: %v", r.message, r.err)
	}
	return r.message
}

func (r *refusal) Unwrap() error { return r.err }

// encode returns the ErrorResponse. Error texts end at NUL in the protocol, so there is none in them.
func (r *refusal) encode() []byte {
	clean := func(s string) string {
		return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
	}
	message, err := (&pgproto3.ErrorResponse{
		Severity: "FATAL", SeverityUnlocalized: "FATAL", Code: r.code,
		Message: clean(r.message), Detail: clean(r.detail), Hint: clean(r.hint),
	}).Encode(nil)
	if err != nil { // only for messages beyond 1 GiB
		return nil
	}
	return message
}

// refusalFor turns any error into what the client is told. It has not logged in, so its causes are for the log alone.
func refusalFor(name string, err error) *refusal {
	var r *refusal
	if errors.As(err, &r) {
		return r
	}
	var e *mayfly.Error
	if !errors.As(err, &e) {
		return &refusal{
			code: codeInternalError, message: "internal error", hint: "The server's log has the details.",
			outcome: "internal_error", err: err,
		}
	}
	switch e.Code {
	case mayfly.CodeNotFound:
		return unknownDatabase(name)
	case mayfly.CodeInternal:
		return refusalFor(name, e.Err)
	case mayfly.CodeEngineUnavailable, mayfly.CodeStateUnavailable, mayfly.CodeImageUnavailable, mayfly.CodeConflict:
		return &refusal{
			code: codeCannotConnectNow, message: name + " is not available now", hint: "Try again in a few seconds.",
			outcome: "unavailable", err: err,
		}
	}
	return failedFor(name, e.Code, err)
}

// failedFor tells where the reason can be read by those who may.
func failedFor(name string, code mayfly.Code, cause error) *refusal {
	r := &refusal{code: codeSystemError, message: name + " failed; see: mayfly get " + name, outcome: "failed", err: cause}
	switch code {
	case mayfly.CodePoolFull:
		r.code = codeDiskFull
	case mayfly.CodeQuotaExceeded:
		r.code = codeLimitExceeded
	}
	return r
}

// unknownDatabase uses Postgres's own words: tools match on them.
func unknownDatabase(name string) *refusal {
	return &refusal{
		code: codeUnknownDatabase, message: fmt.Sprintf("database %q does not exist", name),
		hint: "The database name is the preview's name; `mayfly ls` lists them.", outcome: "unknown_database",
	}
}

// goodbye is what a client is told whose connection is ended from outside.
func goodbye(name string, cause error, connected bool) *refusal {
	if !connected {
		return &refusal{
			code: codeCannotConnectNow, message: errShutdown.Error(), hint: "Try again in a few seconds.", outcome: "shutdown",
		}
	}
	r := &refusal{
		code: codeAdminShutdown, message: "terminating connection due to administrator command",
		detail: errShutdown.Error() + ".", hint: "Connect again.", outcome: "shutdown",
	}
	if errors.Is(cause, errGone) {
		r.detail, r.hint, r.outcome = fmt.Sprintf("Preview %s was deleted or reset.", name), "", "disconnected"
	}
	return r
}
