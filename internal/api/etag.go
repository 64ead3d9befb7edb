package api

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
)

// jsonWithETag answers with JSON and an ETag, or with 304 if If-None-Match has it. The ETag says which version of what is shown that is,
// if it has versions, and what exactly is shown.
func jsonWithETag(c echo.Context, status int, version string, value any) error {
	var body bytes.Buffer
	if err := json.NewEncoder(&body).Encode(value); err != nil {
		return fmt.Errorf("encode the answer: %w", err)
	}
	const enough = 12
	sum := sha256.Sum256(body.Bytes())
	etag := `"` + version + "." + hex.EncodeToString(sum[:enough]) + `"`
	c.Response().Header().Set("ETag", etag)
	if c.Request().Method == http.MethodGet && status == http.StatusOK && matches(c.Request().Header.Get("If-None-Match"), etag) {
		return c.NoContent(http.StatusNotModified)
	}
	return c.JSONBlob(status, body.Bytes())
}

// matches reports whether a list of ETags has that one, by weak comparison (RFC 9110, 13.1.2).
func matches(list, etag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if one == "*" || one == etag {
			return true
		}
	}
	return false
}

// versionOf is the part of a preview's ETag that a change is conditional on: its timeline, and when it was used last, may go on.
func versionOf(p *mayfly.Preview) string { return p.ID + "." + strconv.FormatInt(p.Revision, 10) }

// condition returns what If-Match asks of a preview that is to be changed; nil if it asks for nothing. The comparison is strong: a weak
// ETag matches nothing (RFC 9110, 13.1.1).
func condition(c echo.Context) func(*mayfly.Preview) error {
	list := c.Request().Header.Get("If-Match")
	if list == "" || strings.TrimSpace(list) == "*" {
		return nil
	}
	return func(p *mayfly.Preview) error {
		for one := range strings.SplitSeq(list, ",") {
			text, ok := strings.CutPrefix(strings.TrimSpace(one), `"`)
			if ok && strings.HasPrefix(text, versionOf(p)+".") {
				return nil
			}
		}
		return mayfly.Errorf(mayfly.CodePrecondition, "preview %s has changed since: it is %s", p.Name, p.State).
			WithHint("look at it again, and decide again: GET /api/v1/previews/%s", p.Name)
	}
}

// stillAllowed checks again, during something long, that the token of a request is good: it may have expired, or been revoked.
func (a *API) stillAllowed(ctx context.Context, c echo.Context) error {
	_, signed, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
	_, err := a.Tokens.Verify(ctx, strings.TrimSpace(signed))
	if mayfly.ErrorCode(err) == mayfly.CodeUnauthenticated {
		return err
	}
	return nil // a state database that does not answer is told elsewhere
}
