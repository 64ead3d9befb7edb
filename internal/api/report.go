package api

import (
	"bytes"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/templates"
)

// templateReport answers with the manifest, or with a page for people to whom the Accept header says so.
func (a *API) templateReport(c echo.Context) error {
	project, err := a.project(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	t, err := a.Store.Template(c.Request().Context(), c.Param("id"))
	if err != nil {
		return err
	}
	if t.Project != project {
		return mayfly.Errorf(mayfly.CodeNotFound, "there is no template %s", c.Param("id"))
	}
	c.Response().Header().Set(echo.HeaderVary, echo.HeaderAccept)
	if !prefersHTML(c.Request().Header.Get(echo.HeaderAccept)) {
		if len(t.Report) == 0 {
			return mayfly.Errorf(mayfly.CodeNotFound, "template %s has no report yet", t.ID).WithHint("it is written when the build ends")
		}
		return c.JSONBlob(http.StatusOK, t.Report)
	}
	var page bytes.Buffer
	if err := templates.WriteHTML(&page, t); err != nil {
		return err
	}
	// Names in the page are the source's: should one ever get past the escaping, nothing of it may run or call out.
	c.Response().Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox")
	return c.HTMLBlob(http.StatusOK, page.Bytes())
}

// prefersHTML reports whether text/html comes before JSON in an Accept header. Browsers name it first; programs that take
// anything get JSON.
func prefersHTML(accept string) bool {
	for one := range strings.SplitSeq(accept, ",") {
		name, _, _ := strings.Cut(one, ";")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "text/html", "application/xhtml+xml":
			return true
		case "application/json", "*/*", "application/*":
			return false
		}
	}
	return false
}
