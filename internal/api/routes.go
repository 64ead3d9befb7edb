package api

import (
	"net/http"
	"slices"

	"github.com/labstack/echo/v4"

	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
)

// route is one operation of the API.
type route struct {
	method, path string // path below /api/v1, in echo's notation
	id, summary  string
	scope        auth.Scope
	query        []parameter
	takes        any // a pointer to the type of the body, or nil
	gives        any // a pointer to the type of the answer, nil for anything
	status       int
	events       bool              // the answer is a stream of server-sent events with gives as data
	html         bool              // the answer is an HTML page for who accepts text/html
	text         bool              // the answer is plain text
	exports      map[string]string // other media types that the answer may have, with an example of each
	once         bool              // takes an Idempotency-Key
	conditional  bool              // takes If-Match
	etag         bool              // its answer has an ETag, and it takes If-None-Match
	public       bool              // needs no token: it is how one gets one
	handle       echo.HandlerFunc
}

// parameter is one query parameter; values lists what it may be, if that is a list.
type parameter struct {
	name, description string
	values            []string
}

func (a *API) routes() []route {
	wait := waitParameters()
	return append(slices.Concat(a.sessionRoutes(), a.loginRoutes(), a.hookRoutes(), a.stateRoutes()), []route{
		{
			method: http.MethodGet, path: "/previews", id: "listPreviews", summary: "List previews",
			scope: auth.ScopePreviewsRead, query: previewFilters(), gives: &client.PreviewList{}, status: http.StatusOK, handle: a.listPreviews,
		},
		{
			method: http.MethodPost, path: "/previews", id: "createPreview", summary: "Create a sandbox",
			scope: auth.ScopePreviewsWrite, query: wait, takes: &client.CreatePreview{}, gives: &client.Preview{}, status: http.StatusCreated,
			once: true, handle: a.createPreview,
		},
		{
			method: http.MethodGet, path: "/previews/:name", id: "getPreview", summary: "Look at a preview and its timeline",
			scope: auth.ScopePreviewsRead, query: wait, gives: &client.Preview{}, status: http.StatusOK, etag: true, handle: a.getPreview,
		},
		{
			method: http.MethodPatch, path: "/previews/:name", id: "changePreview", summary: "Extend, label, suspend or wake a preview",
			scope: auth.ScopePreviewsWrite, query: wait, takes: &client.ChangePreview{}, gives: &client.Preview{}, status: http.StatusOK,
			conditional: true, handle: a.changePreview,
		},
		{
			method: http.MethodDelete, path: "/previews/:name", id: "deletePreview", summary: "Remove a preview with everything it has",
			scope: auth.ScopePreviewsWrite, query: wait, gives: &client.Preview{}, status: http.StatusAccepted, conditional: true, handle: a.deletePreview,
		},
		{
			method: http.MethodPost, path: "/previews/:name/reset", id: "resetPreview",
			summary: "Make a preview anew, with a new password: from what it was branched from, from the newest template, or from another that the body names",
			scope:   auth.ScopePreviewsWrite, query: wait, takes: &client.Reset{}, gives: &client.Preview{}, status: http.StatusAccepted,
			once: true, conditional: true, handle: a.resetPreview,
		},
		{
			method: http.MethodGet, path: "/previews/:name/report", id: "getReport", summary: "What the pull request's migrations did, as JSON or as a page",
			scope: auth.ScopePreviewsRead, status: http.StatusOK, html: true, handle: a.previewReport,
		},
		{
			method: http.MethodGet, path: "/previews/:name/events", id: "streamPreview", summary: "Follow a preview: every step, and its state now and after every change",
			scope: auth.ScopePreviewsRead, gives: &client.Preview{}, status: http.StatusOK, events: true, handle: a.previewEvents,
		},
		{
			method: http.MethodPost, path: "/auth/exchange", id: "exchangeToken",
			summary: "Exchange a CI job's OpenID Connect token for one that can read the preview of its pull request",
			public:  true, takes: &client.ExchangeToken{}, gives: &client.ExchangedToken{}, status: http.StatusOK, handle: a.exchangeToken,
		},
		{
			method: http.MethodGet, path: "/projects", id: "listProjects", summary: "List the projects that the token may see",
			scope: auth.ScopePreviewsRead, gives: &client.ProjectList{}, status: http.StatusOK, handle: a.listProjects,
		},
		{
			method: http.MethodGet, path: "/projects/:project/templates", id: "listTemplates", summary: "List a project's templates by version",
			scope: auth.ScopePreviewsRead, query: templateFilters(), gives: &client.TemplateList{}, status: http.StatusOK, handle: a.listTemplates,
		},
		{
			method: http.MethodPost, path: "/projects/:project/templates", id: "buildTemplate", summary: "Build a new template from the project's source",
			scope: auth.ScopeTemplatesWrite, gives: &client.Template{}, status: http.StatusAccepted, handle: a.buildTemplate,
		},
		{
			method: http.MethodGet, path: "/templates/:id", id: "getTemplate", summary: "Look at a template, its build and its report",
			scope: auth.ScopePreviewsRead, gives: &client.Template{}, status: http.StatusOK, etag: true, handle: a.getTemplate,
		},
		{
			method: http.MethodPost, path: "/projects/:project/templates/rollback", id: "rollBackTemplates",
			summary: "Go back to an older template: new previews use it, existing ones keep theirs until they are reset",
			scope:   auth.ScopeTemplatesWrite, takes: &client.RollBack{}, gives: &client.RolledBack{}, status: http.StatusOK, handle: a.rollBackTemplates,
		},
		{
			method: http.MethodPost, path: "/templates/:id/cancel", id: "cancelTemplate", summary: "Stop a template's build and remove what it made",
			scope: auth.ScopeTemplatesWrite, takes: &client.Reason{}, gives: &client.Template{}, status: http.StatusAccepted, handle: a.cancelTemplate,
		},
		{
			method: http.MethodDelete, path: "/templates/:id", id: "removeTemplate", summary: "Delete a template that no preview uses",
			scope: auth.ScopeTemplatesWrite, gives: &client.Template{}, status: http.StatusOK, handle: a.removeTemplate,
			query: []parameter{{"force", "also the one that new previews use", []string{"true", "false"}}},
		},
		{
			method: http.MethodGet, path: "/projects/:project/templates/:id/report", id: "getTemplateReport",
			summary: "What a template was built from, what was verified and what was found, as JSON or as a page",
			scope:   auth.ScopePreviewsRead, status: http.StatusOK, html: true, handle: a.templateReport,
		},
		{
			method: http.MethodGet, path: "/templates/:id/attestation", id: "getAttestation",
			summary: "The signed statement about a template, as a DSSE envelope",
			scope:   auth.ScopePreviewsRead, gives: &client.Attestation{}, status: http.StatusOK, handle: a.attestation,
		},
		{
			method: http.MethodGet, path: "/attestation-key", id: "getAttestationKey", summary: "The public key that checks attestations",
			scope: auth.ScopePreviewsRead, gives: &client.AttestationKey{}, status: http.StatusOK, handle: a.attestationKey,
		},
		{
			method: http.MethodPost, path: "/templates/:id/rescan", id: "rescanTemplate",
			summary: "Scan a clone of a template again for originals of its source; the answer comes when that is done",
			scope:   auth.ScopeTemplatesWrite, gives: &client.Rescan{}, status: http.StatusOK, handle: a.rescanTemplate,
		},
		{
			method: http.MethodGet, path: "/templates/:id/events", id: "streamTemplate", summary: "Follow a template's build",
			scope: auth.ScopePreviewsRead, gives: &client.Template{}, status: http.StatusOK, events: true, handle: a.templateEvents,
		},
		{
			method: http.MethodGet, path: "/audit", id: "listAudit", summary: "What was done, by whom, from where and with which token; newest first",
			scope: auth.ScopeAuditRead, query: auditFilters(), gives: &client.AuditList{}, status: http.StatusOK, handle: a.listAudit,
			exports: auditExports(),
		},
		{
			method: http.MethodGet, path: "/auth/self", id: "getSelf", summary: "Who the token belongs to, and what it allows",
			scope: auth.ScopePreviewsRead, gives: &client.Self{}, status: http.StatusOK, handle: a.self,
		},
		{
			method: http.MethodGet, path: "/tokens", id: "listTokens", summary: "List the access tokens that were used or made here and have not expired",
			scope: auth.ScopeAdmin, gives: &client.TokenList{}, status: http.StatusOK, handle: a.listTokens,
		},
		{
			method: http.MethodPost, path: "/tokens", id: "createToken", summary: "Make an access token, which is shown this once",
			scope: auth.ScopeAdmin, takes: &client.CreateToken{}, gives: &client.CreatedToken{}, status: http.StatusCreated, handle: a.createToken,
		},
		{
			method: http.MethodPost, path: "/tokens/:id/revoke", id: "revokeToken", summary: "Make an access token invalid before it expires",
			scope: auth.ScopeAdmin, gives: &client.RevokedToken{}, status: http.StatusOK, handle: a.revokeToken,
		},
	}...)
}
