package api

import (
	"encoding/json"
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// status maps every error code to an HTTP status: the only place where that is decided.
func status(code mayfly.Code) int {
	switch code {
	case mayfly.CodeInvalid, mayfly.CodeIdempotency, mayfly.CodeMigrationInvalid, mayfly.CodeUnclassified, mayfly.CodeSourceInvalid:
		return http.StatusUnprocessableEntity
	case mayfly.CodeUnauthenticated:
		return http.StatusUnauthorized
	case mayfly.CodeForbidden, mayfly.CodeForkDenied:
		return http.StatusForbidden
	case mayfly.CodeNotFound:
		return http.StatusNotFound
	case mayfly.CodeConflict, mayfly.CodeProtected, mayfly.CodeNoTemplate, mayfly.CodeHeadGone, mayfly.CodeMigrationFailed, mayfly.CodeVerificationFailed, mayfly.CodeCancelled:
		return http.StatusConflict
	case mayfly.CodePrecondition:
		return http.StatusPreconditionFailed
	case mayfly.CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case mayfly.CodeTimeout:
		return http.StatusGatewayTimeout
	case mayfly.CodeQuotaExceeded, mayfly.CodeRateLimited:
		return http.StatusTooManyRequests
	case mayfly.CodePoolFull:
		return http.StatusInsufficientStorage
	case mayfly.CodeEngineUnavailable, mayfly.CodeStateUnavailable, mayfly.CodeForgeUnavailable,
		mayfly.CodeImageUnavailable, mayfly.CodeSourceUnavailable, mayfly.CodeIssuerUnavailable:
		return http.StatusServiceUnavailable
	case mayfly.CodeInternal:
	}
	return http.StatusInternalServerError
}

// problemOf turns an error into what a client is shown. Errors without a code are internal: their text stays in the log.
func problemOf(err error) client.Problem {
	var httpErr *echo.HTTPError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		err = mayfly.Errorf(mayfly.CodeTooLarge, "the request body is larger than %d bytes", tooLarge.Limit)
	case errors.As(err, &httpErr) && httpErr.Code == http.StatusNotFound:
		err = mayfly.Errorf(mayfly.CodeNotFound, "there is nothing at this path").WithHint("GET /api/v1/openapi.json describes the API")
	case errors.As(err, &httpErr) && httpErr.Code == http.StatusMethodNotAllowed:
		return problem(http.StatusMethodNotAllowed, mayfly.CodeInvalid, "this path does not take this method", "GET /api/v1/openapi.json describes the API")
	}
	code := mayfly.ErrorCode(err)
	message := err.Error()
	if code == mayfly.CodeInternal {
		message = "internal error; the server's log has the details"
	}
	p := problem(status(code), code, message, mayfly.ErrorHint(err))
	var coded *mayfly.Error
	if code != mayfly.CodeInternal && errors.As(err, &coded) {
		p.Errors = coded.Fields
	}
	return p
}

func problem(status int, code mayfly.Code, detail, hint string) client.Problem {
	return client.Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: string(code), Hint: hint}
}

func (a *API) writeError(err error, c echo.Context) {
	if c.Response().Committed {
		return
	}
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		a.Logger.ErrorContext(c.Request().Context(), "request failed", "path", c.Request().URL.Path, "error", err)
	}
	if p.Status == http.StatusUnauthorized {
		c.Response().Header().Set("WWW-Authenticate", "Bearer")
	}
	body, marshalErr := json.Marshal(p)
	if marshalErr != nil {
		c.Response().WriteHeader(http.StatusInternalServerError)
		return
	}
	_ = c.Blob(p.Status, "application/problem+json", body) // the client is gone if this fails
}
