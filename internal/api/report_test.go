package api

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/auth"
)

// TestTemplateReport asks for a template's report as programs and as browsers do.
func TestTemplateReport(t *testing.T) {
	t.Parallel()
	b := setup(t)
	template := b.template("shop")
	ask := func(path, accept string) reply {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/api/v1"+path, nil)
		must(t, err)
		request.Header.Set("Authorization", "Bearer "+b.token([]auth.Scope{auth.ScopePreviewsRead}))
		if accept != "" {
			request.Header.Set("Accept", accept)
		}
		response, err := b.http.Do(request)
		must(t, err)
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		must(t, err)
		return reply{Response: response, body: body}
	}
	path := "/projects/shop/templates/" + template.ID + "/report"
	for _, accept := range []string{"", "*/*", "application/json", "application/json, text/html"} {
		if got := ask(path, accept); got.StatusCode != http.StatusOK || !strings.HasPrefix(got.Header.Get("Content-Type"), "application/json") || !strings.Contains(string(got.body), `"tables"`) {
			t.Errorf("Accept %q: %d, %s: %.200s", accept, got.StatusCode, got.Header.Get("Content-Type"), got.body)
		}
	}
	page := ask(path, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
	if page.StatusCode != http.StatusOK || !strings.HasPrefix(page.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(page.body), template.ID) {
		t.Errorf("as a browser: %d, %s: %.200s", page.StatusCode, page.Header.Get("Content-Type"), page.body)
	}
	if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") {
		t.Errorf("the page may load things: %q", policy)
	}
	for _, missing := range []string{"/projects/till/templates/" + template.ID + "/report", "/projects/shop/templates/t0/report"} {
		if got := ask(missing, ""); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d; want 404", missing, got.StatusCode)
		}
	}
}

func TestThePreviewsReportAsAPage(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.pullRequest(1, sha('a'))
	must(t, b.Store.SetMigrated(t.Context(), p.ID, []byte(`[]`), []byte(`{"tool": "goose", "findings": [{"kind": "late", "message": "<script>alert(1)</script>"}]}`)))
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/api/v1/previews/"+p.Name+"/report", http.NoBody)
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+b.token([]auth.Scope{auth.ScopePreviewsRead}))
	request.Header.Set("Accept", "text/html")
	response, err := b.http.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	page, err := io.ReadAll(response.Body)
	must(t, err)
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/html") || !strings.Contains(string(page), "goose") {
		t.Errorf("%d, %s: %.300s", response.StatusCode, response.Header.Get("Content-Type"), page)
	}
	if policy := response.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "default-src 'none'") || strings.Contains(string(page), "<script") {
		t.Errorf("the page may run things: %q: %s", policy, page)
	}
}
