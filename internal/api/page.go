package api

import (
	_ "embed"
	"net/http"

	"github.com/labstack/echo/v4"

	"github.com/mayflydb/mayfly/internal/auth"
)

// anyPreview is the page of every preview to those who show no token: the same bytes for every name, whether there is such a preview or
// not. The links on GitHub lead here, and whoever can read the pull request can follow them.
//
//go:embed page.html
var anyPreview []byte

// previewPage answers GET /previews/{name}: with a token that may see the preview, what its migrations did; without one, how to get there.
func (a *API) previewPage(c echo.Context) error {
	h := c.Response().Header()
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "private, no-store")
	h.Set(echo.HeaderVary, echo.HeaderAuthorization)
	if c.Request().Header.Get(echo.HeaderAuthorization) == "" {
		return c.HTMLBlob(http.StatusOK, anyPreview)
	}
	c.Request().Header.Set(echo.HeaderAccept, "text/html")
	return a.authorize(route{
		method: http.MethodGet, path: "/previews/:name", id: "getPreviewPage", scope: auth.ScopePreviewsRead, html: true, status: http.StatusOK,
		handle: a.previewReport,
	})(c)
}
