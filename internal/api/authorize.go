package api

import (
	"strings"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

// tokenKey is where the verified token is kept in a request's context.
const tokenKey = "token"

// authorize wraps a route's handler: the bearer must have the route's scope, and a handler finds out about the project by
// itself through allow or preview.
func (a *API) authorize(r route) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		scheme, signed, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
		if !strings.EqualFold(scheme, "Bearer") || signed == "" {
			return mayfly.Errorf(mayfly.CodeUnauthenticated, "a token is needed").
				WithHint("send 'Authorization: Bearer <token>'; make one on the server with: mayfly token create")
		}
		token, err := a.Tokens.Verify(c.Request().Context(), strings.TrimSpace(signed))
		if err != nil {
			return err
		}
		c.Set(tokenKey, token)
		if err := allow(c, r.scope, ""); err != nil {
			return err
		}
		return r.handle(c)
	}
}

// bearer returns the verified token of a request below /api/v1; one that allows nothing if there is none.
func bearer(c echo.Context) *auth.Token {
	if token, ok := c.Get(tokenKey).(*auth.Token); ok {
		return token
	}
	return &auth.Token{}
}

// allow returns an error with CodeForbidden unless the bearer has the scope for the project.
func allow(c echo.Context, scope auth.Scope, project string) error {
	if bearer(c).Allows(scope, project) {
		return nil
	}
	what := "the token does not have the scope " + string(scope)
	if project != "" {
		what += " for project " + project
	}
	return mayfly.Errorf(mayfly.CodeForbidden, "%s", what).WithHint("make a token that has it: mayfly token create --scope %s", scope)
}

// preview returns the preview that the path names, if the bearer may see it. One of a project that the bearer has no access to
// does not exist for it: names are not given away.
func (a *API) preview(c echo.Context, scope auth.Scope) (*mayfly.Preview, error) {
	name := c.Param("name")
	p, err := a.Store.PreviewByName(c.Request().Context(), name)
	if err != nil {
		return nil, err
	}
	if allow(c, scope, p.Project) != nil {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no preview %s", name).WithHint("mayfly ls shows all previews")
	}
	return p, nil
}
