package api

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// auditCredentials records that somebody is shown how to log in to a preview as a role. It comes first: what cannot be recorded is
// not shown.
func (a *API) auditCredentials(c echo.Context, p *mayfly.Preview, role string) error {
	return a.Store.Audit(c.Request().Context(), store.AuditEntry{
		Action: "credentials.read", Project: p.Project, Kind: "preview", Name: p.Name, ObjectID: p.ID, Detail: map[string]any{"role": role},
	})
}

const (
	formatLines = "jsonl"
	formatCSV   = "csv"
	mediaLines  = "application/jsonl"
	mediaCSV    = "text/csv"

	auditPage    = 100
	maxAuditPage = 1000
)

// auditExports are the forms of an export, with an example of each.
func auditExports() map[string]string {
	return map[string]string{
		mediaLines: `{"id":42,"at":"2026-03-02T09:12:44.031Z","actor":"github:octocat","token":"3f0c9a5be1d24c7f8a9b0c1d2e3f4a5b","address":"192.0.2.7",` +
			`"action":"credentials.read","outcome":"done","project":"shop","kind":"preview","name":"shop-pr-42","detail":{"role":"app"}}` + "\n",
		mediaCSV: "id,at,actor,token,address,action,outcome,project,kind,name,object,detail\n" +
			"42,2026-03-02T09:12:44.031Z,github:octocat,3f0c9a5be1d24c7f8a9b0c1d2e3f4a5b,192.0.2.7,credentials.read,done,shop,preview,shop-pr-42,,{}\n",
	}
}

func auditFilters() []parameter {
	return []parameter{
		{"project", "only what was done in this project", nil},
		{"actor", "only what this one did, such as github:alice or system:expire", nil},
		{"action", "only this action, such as preview.delete, or all of a kind, such as preview", nil},
		{"outcome", "only what ended so", []string{string(store.AuditDone), string(store.AuditDenied), string(store.AuditFailed)}},
		{"name", "only what was done to the thing of this name, such as a preview", nil},
		{"object", "only what was done to the thing with this id", nil},
		{"token", "only what was done with the token of this id", nil},
		{"since", "only from this moment on, in RFC 3339", nil}, {"until", "only before this moment, in RFC 3339", nil},
		{"limit", "the size of a page, 1 to 1000; 100 if left out. An export has all entries without it", nil},
		{"before", "the \"next\" of the page before", nil},
		{"format", "an export of everything, newest first, instead of a page: JSON lines or CSV", []string{formatLines, formatCSV}},
	}
}

func (a *API) listAudit(c echo.Context) error {
	filter, err := readAuditFilter(c)
	if err != nil {
		return err
	}
	format := c.QueryParam("format")
	if format != "" && format != formatLines && format != formatCSV {
		return mayfly.Errorf(mayfly.CodeInvalid, "format: %q is neither %s nor %s", format, formatLines, formatCSV)
	}
	if format != "" {
		return a.exportAudit(c, filter, format)
	}
	if filter.Limit == 0 {
		filter.Limit = auditPage
	}
	limit := filter.Limit
	filter.Limit++
	records, err := a.Store.AuditLog(c.Request().Context(), filter)
	if err != nil {
		return err
	}
	list := client.AuditList{Items: []client.AuditEntry{}}
	if len(records) > limit {
		records = records[:limit]
		list.Next = strconv.FormatInt(records[limit-1].ID, 10)
	}
	for _, r := range records {
		list.Items = append(list.Items, auditJSON(r))
	}
	return c.JSON(http.StatusOK, list)
}

func readAuditFilter(c echo.Context) (store.AuditFilter, error) {
	f := store.AuditFilter{
		Project: c.QueryParam("project"), Actor: c.QueryParam("actor"), Action: c.QueryParam("action"), Name: c.QueryParam("name"),
		ObjectID: c.QueryParam("object"), TokenID: c.QueryParam("token"), Outcome: store.AuditOutcome(c.QueryParam("outcome")),
		Projects: bearer(c).Visible(auth.ScopeAuditRead),
	}
	if f.Project != "" {
		if err := allow(c, auth.ScopeAuditRead, f.Project); err != nil {
			return f, err
		}
	}
	if strings.ContainsAny(f.Action, `%_\`) && !strings.Contains(f.Action, ".") {
		return f, mayfly.Errorf(mayfly.CodeInvalid, "action: %q is none", f.Action)
	}
	outcomes := []store.AuditOutcome{"", store.AuditDone, store.AuditDenied, store.AuditFailed}
	if !slices.Contains(outcomes, f.Outcome) {
		return f, mayfly.Errorf(mayfly.CodeInvalid, "outcome: %q is none of done, denied, failed", string(f.Outcome))
	}
	for name, into := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		text := c.QueryParam(name)
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return f, mayfly.Errorf(mayfly.CodeInvalid, "%s: %q is not a moment such as 2026-03-01T04:30:00Z", name, text)
		}
		*into = at
	}
	var err error
	if text := c.QueryParam("limit"); text != "" {
		if f.Limit, err = strconv.Atoi(text); err != nil || f.Limit < 1 || f.Limit > maxAuditPage {
			return f, mayfly.Errorf(mayfly.CodeInvalid, "limit: %q is not a number from 1 to %d", text, maxAuditPage)
		}
	}
	if text := c.QueryParam("before"); text != "" {
		if f.Before, err = strconv.ParseInt(text, 10, 64); err != nil || f.Before < 1 {
			return f, mayfly.Errorf(mayfly.CodeInvalid, "before: %q is not the next of a page", text)
		}
	}
	return f, nil
}

// exportAudit writes all entries that the filter selects, a page at a time.
func (a *API) exportAudit(c echo.Context, f store.AuditFilter, format string) error {
	ctx := c.Request().Context()
	total := f.Limit
	f.Limit = maxAuditPage
	records, err := a.Store.AuditLog(ctx, f) // before the header is written, so that an error can still be told
	if err != nil {
		return err
	}
	write, flush := auditLines(c.Response())
	contentType := mediaLines
	if format == formatCSV {
		write, flush = auditCSV(c.Response())
		contentType = mediaCSV + "; charset=utf-8"
	}
	c.Response().Header().Set(echo.HeaderContentType, contentType)
	c.Response().WriteHeader(http.StatusOK)
	for written := 0; len(records) > 0; {
		for _, r := range records {
			if total > 0 && written == total {
				return flush()
			}
			written++
			if err := write(auditJSON(r)); err != nil {
				return nil //nolint:nilerr // the client is gone
			}
		}
		f.Before = records[len(records)-1].ID
		if records, err = a.Store.AuditLog(ctx, f); err != nil {
			return fmt.Errorf("export the audit log: %w", err)
		}
	}
	return flush()
}

func auditLines(w io.Writer) (write func(client.AuditEntry) error, flush func() error) {
	encoder := json.NewEncoder(w)
	return func(e client.AuditEntry) error { return encoder.Encode(e) }, func() error { return nil }
}

func auditCSV(w io.Writer) (write func(client.AuditEntry) error, flush func() error) {
	table := csv.NewWriter(w)
	// A failed write is told by the next and by flush.
	_ = table.Write([]string{"id", "at", "actor", "token", "address", "action", "outcome", "project", "kind", "name", "object", "detail"})
	return func(e client.AuditEntry) error {
			return table.Write([]string{
				strconv.FormatInt(e.ID, 10), e.At.Format(time.RFC3339Nano), cell(e.Actor), e.Token, e.Address, e.Action, e.Outcome, e.Project, e.Kind,
				cell(e.Name), e.Object, string(e.Detail),
			})
		}, func() error {
			table.Flush()
			return nil
		}
}

// cell keeps a spreadsheet from taking what somebody is called for a formula.
func cell(text string) string {
	if text != "" && strings.ContainsAny(text[:1], "=+-@\t\r") {
		return "'" + text
	}
	return text
}

func auditJSON(r store.AuditRecord) client.AuditEntry {
	return client.AuditEntry{
		ID: r.ID, At: r.At.UTC(), Actor: r.Actor.Subject, Token: r.Actor.TokenID, Address: r.Actor.Address, Action: r.Action,
		Outcome: string(r.Outcome), Project: r.Project, Kind: r.Kind, Name: r.Name, Object: r.ObjectID, Detail: r.Detail,
	}
}
