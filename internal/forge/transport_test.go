package forge_test

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
)

// Enterprise Server has its API below a path, often with certificates of the company's own.
func TestEnterpriseServerWithAPrivateAuthority(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	target, err := url.Parse(b.server.URL())
	if err != nil {
		t.Fatal(err)
	}
	var queries atomic.Int32
	through := httputil.NewSingleHostReverseProxy(target)
	enterprise := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/api/graphql":
			queries.Add(1)
		case !strings.HasPrefix(r.URL.Path, "/api/v3/"):
			t.Errorf("%s is not where Enterprise Server has its API", r.URL.Path)
		}
		through.ServeHTTP(w, r)
	}))
	t.Cleanup(enterprise.Close)
	sha, err := b.repo.Commit(t.Context(), "points", map[string]string{"db/1.sql": "select 1;\n"}, "Work")
	if err != nil {
		t.Fatal(err)
	}
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: enterprise.Certificate().Raw})
	for name, authorities := range map[string][]byte{"trusted": authority, "not trusted": nil} {
		client, err := forge.NewHTTP("", authorities)
		if err != nil {
			t.Fatal(err)
		}
		hub, err := forge.New(forge.Options{BaseURL: enterprise.URL + "/api/v3", Token: token, HTTP: client, Now: b.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		repository, err := hub.Repository(t.Context(), "acme/shop")
		if authorities == nil {
			if mayfly.ErrorCode(err) != mayfly.CodeForgeUnavailable {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if files, err := hub.Files(t.Context(), repository.ID, sha, "db"); err != nil || len(files) != 1 || queries.Load() != 1 {
			t.Errorf("%s: %v, %v after %d queries", name, files, err, queries.Load())
		}
	}
}

func TestProxy(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	var through atomic.Int32
	proxy := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		through.Add(1)
		r.Out.URL = r.In.URL // a proxy is asked by whole addresses
	}})
	t.Cleanup(proxy.Close)
	client, err := forge.NewHTTP(proxy.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	hub, err := forge.New(forge.Options{BaseURL: b.server.URL(), Token: token, HTTP: client, Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hub.Repository(t.Context(), "acme/shop"); err != nil || through.Load() != 1 {
		t.Errorf("%v after %d requests through the proxy", err, through.Load())
	}
	for _, bad := range []string{"proxy", "ftp://proxy", "http://"} {
		if _, err := forge.NewHTTP(bad, nil); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if _, err := forge.NewHTTP("", []byte("nonsense")); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
		t.Errorf("authorities that are none: %v", err)
	}
}
