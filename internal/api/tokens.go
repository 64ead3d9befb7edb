package api

import (
	"net/http"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
)

// revokeToken makes a token invalid. Tokens are stored nowhere, so whether one with that id exists cannot be said, nor when it
// expires: the id is kept for as long as any token may live.
func (a *API) revokeToken(c echo.Context) error {
	id := c.Param("id")
	if !auth.ValidTokenID(id) {
		return mayfly.Errorf(mayfly.CodeInvalid, "%q is not a token's id", id).
			WithHint("mayfly token create -o json shows it, and the server's log names it with every request")
	}
	if err := a.Store.RevokeToken(c.Request().Context(), id, a.Clock().Add(auth.MaxTokenTTL)); err != nil {
		return err
	}
	a.Logger.InfoContext(c.Request().Context(), "token revoked", "revoked", id, "subject", bearer(c).Subject, "token", bearer(c).ID)
	return c.JSON(http.StatusOK, client.RevokedToken{ID: id, Revoked: true})
}
