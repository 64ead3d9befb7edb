package api

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/auth"
)

func (b *bed) page(t *testing.T, name, token string) (int, http.Header, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.url+"/previews/"+name, http.NoBody)
	must(t, err)
	request.Header.Set("Accept", "text/html,*/*;q=0.8")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := b.http.Do(request)
	must(t, err)
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	return response.StatusCode, response.Header, body
}

// Whoever can read a pull request can follow the link on it, and learns nothing.
func TestThePreviewsPageTellsStrangersNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.pullRequest(1, sha('a'))
	must(t, b.Store.SetMigrated(t.Context(), p.ID, []byte(`[]`), []byte(`{"tool": "goose"}`)))
	status, header, known := b.page(t, p.Name, "")
	if status != http.StatusOK || !strings.Contains(string(known), "mayfly psql NAME") || !strings.Contains(header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("%d, %v: %s", status, header, known)
	}
	for _, name := range []string{"shop-pr-404", "other-pr-1", "%3Cscript%3E", strings.Repeat("a", 500)} {
		otherStatus, other, unknown := b.page(t, name, "")
		if otherStatus != status || !bytes.Equal(known, unknown) || other.Get("Cache-Control") != header.Get("Cache-Control") || other.Get("ETag") != header.Get("ETag") {
			t.Errorf("%s differs: %d, %v: %s", name, otherStatus, other, unknown)
		}
	}
	reader := b.token([]auth.Scope{auth.ScopePreviewsRead})
	if status, header, body := b.page(t, p.Name, reader); status != http.StatusOK || !strings.HasPrefix(header.Get("Content-Type"), "text/html") || !strings.Contains(string(body), "goose") {
		t.Errorf("with a token: %d, %v: %.300s", status, header, body)
	}
	stranger := b.token([]auth.Scope{auth.ScopePreviewsRead}, "till")
	seen, _, hidden := b.page(t, p.Name, stranger)
	missing, _, nothing := b.page(t, "shop-pr-404", stranger)
	if seen != http.StatusNotFound || missing != seen || strings.ReplaceAll(string(hidden), p.Name, "") != strings.ReplaceAll(string(nothing), "shop-pr-404", "") {
		t.Errorf("another project's token: %d %s, %d %s", seen, hidden, missing, nothing)
	}
	if status, _, _ := b.page(t, p.Name, "nonsense"); status != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d", status)
	}
}
