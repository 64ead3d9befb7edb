package mayfly

import (
	"errors"
	"fmt"
)

// Code is a stable, machine-readable name for what went wrong. It is part of the external contract: the API returns it
// in problem details, the command line derives its exit code from it, and the gateway derives a SQLSTATE.
type Code string

// The codes. A new one is added here and mapped in internal/api (HTTP status) and cmd/mayfly (exit code).
const (
	CodeInvalid            Code = "invalid"             // the request or the configuration is wrong
	CodeUnauthenticated    Code = "unauthenticated"     // no token, or one that does not verify
	CodeForbidden          Code = "forbidden"           // the token's scopes do not allow this
	CodeNotFound           Code = "not_found"           // no such preview, project or template
	CodeConflict           Code = "conflict"            // the name is taken, or the state does not allow this
	CodeProtected          Code = "protected"           // the preview is protected for now: nothing deletes it or its data
	CodePrecondition       Code = "precondition_failed" // If-Match names another version than the current one
	CodeIdempotency        Code = "idempotency_reused"  // the Idempotency-Key was used for another request
	CodeTooLarge           Code = "too_large"           // the body exceeds the limit
	CodeTimeout            Code = "timeout"             // a wait ended before the condition came true
	CodeRateLimited        Code = "rate_limited"        // too many requests for now; Retry-After says when to come again
	CodeQuotaExceeded      Code = "quota_exceeded"      // a limit on the number of previews or on disk
	CodePoolFull           Code = "pool_full"           // the pool has not enough free space for another clone
	CodeNoTemplate         Code = "no_template"         // the project has no ready template yet
	CodeEngineUnavailable  Code = "engine_unavailable"  // the container engine does not answer
	CodeStateUnavailable   Code = "state_unavailable"   // the state database does not answer
	CodeForgeUnavailable   Code = "forge_unavailable"   // GitHub does not answer or refuses for now
	CodeIssuerUnavailable  Code = "issuer_unavailable"  // the OpenID Connect provider does not answer
	CodeImageUnavailable   Code = "image_unavailable"   // the Postgres image is neither present nor pullable
	CodeMigrationFailed    Code = "migration_failed"    // a migration of the pull request failed; the preview stays inspectable
	CodeMigrationInvalid   Code = "migration_invalid"   // the migrations directory cannot be understood
	CodeUnclassified       Code = "unclassified_column" // a column has no masking rule; the hint has the lines to add
	CodeSourceUnavailable  Code = "source_unavailable"  // the source does not answer, or died half-way
	CodeSourceInvalid      Code = "source_invalid"      // a dump that is broken, truncated or of an unknown format
	CodeVerificationFailed Code = "verification_failed" // the built template differs from the source
	CodeForkDenied         Code = "fork_denied"         // pull requests from forks get no database
	CodeHeadGone           Code = "head_gone"           // the head commit of the pull request no longer exists
	CodeCancelled          Code = "cancelled"           // somebody cancelled it
	CodeInternal           Code = "internal"            // anything else: logged in full, told in short
)

// Error is an error with a code for programs, a message for people, and a hint that says what to do about it.
// Err is the cause, for logs; it is never shown to API clients.
type Error struct {
	Code    Code
	Message string
	Hint    string
	Err     error
	// Fields name what is wrong with a request, field by field; nil for errors that are about no field.
	Fields []FieldError
}

// FieldError is what is wrong with one field of a request.
type FieldError struct {
	// Field is a JSON pointer into the body ("/labels/team"), or the name of a query parameter or a header.
	Field   string `json:"field"`
	Message string `json:"message"`
}

// InvalidField makes an *Error with CodeInvalid about one field of a request.
func InvalidField(field, format string, args ...any) *Error {
	e := Errorf(CodeInvalid, format, args...)
	e.Fields = []FieldError{{Field: field, Message: e.Message}}
	return e
}

// Errorf makes an *Error whose message is formatted and whose cause is the error wrapped with %w, if there is one.
func Errorf(code Code, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Code: code, Message: err.Error(), Err: errors.Unwrap(err)}
}

// WithHint returns a copy of e with the hint set.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// Error implements error. The hint is not part of it: callers that talk to people print it separately.
func (e *Error) Error() string { return e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ErrorCode returns the code of the first *Error in err's chain, "" for nil and CodeInternal otherwise.
func ErrorCode(err error) Code {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}

// ErrorHint returns the hint of the first *Error in err's chain, or "".
func ErrorHint(err error) string {
	var e *Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}
