package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/reportpage"
)

// previewPage answers with the report of a preview as a page for people.
func previewPage(c echo.Context, p *mayfly.Preview, raw json.RawMessage) error {
	var report migrations.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return fmt.Errorf("read the report of preview %s: %w", p.Name, err)
	}
	about := reportpage.About{Preview: p.Name, Project: p.Project, State: string(p.State), TemplateVersion: p.TemplateVersion}
	if p.PR != nil {
		about.Repository, about.Number, about.Title, about.HeadSHA = p.PR.Repository, p.PR.Number, p.PR.Title, p.PR.HeadSHA
		about.BaseRef, about.BaseSHA = p.PR.BaseRef, p.PR.BaseSHA
	}
	var page bytes.Buffer
	if err := reportpage.Write(&page, about, &report); err != nil {
		return err
	}
	c.Response().Header().Set("Content-Security-Policy", reportpage.CSP)
	return c.HTMLBlob(http.StatusOK, page.Bytes())
}
