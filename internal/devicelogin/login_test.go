package devicelogin_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/devicelogin"
)

// provider is as much of an OpenID Connect provider as the client sees.
func provider(t *testing.T, device bool, refuse string) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	answer := func(w http.ResponseWriter, code int, v any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		about := map[string]any{
			"issuer": server.URL, "authorization_endpoint": server.URL + "/authorize", "token_endpoint": server.URL + "/token", "jwks_uri": server.URL + "/keys",
		}
		if device {
			about["device_authorization_endpoint"] = server.URL + "/device"
		}
		answer(w, http.StatusOK, about)
	})
	mux.HandleFunc("/device", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"device_code": "dev", "user_code": "ABCD-EFGH", "verification_uri": server.URL + "/enter", "expires_in": 60, "interval": 1})
	})
	var polls atomic.Int32
	challenges := make(chan string, 1)
	mux.HandleFunc("/authorize", func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		challenges <- q.Get("code_challenge")
		back, _ := url.Parse(q.Get("redirect_uri"))
		out := url.Values{"state": {q.Get("state")}, "code": {"the-code"}}
		if refuse != "" {
			out = url.Values{"state": {q.Get("state")}, "error": {refuse}}
		}
		back.RawQuery = out.Encode()
		http.Redirect(w, r, back.String(), http.StatusFound)
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		if device {
			switch {
			case refuse != "":
				answer(w, http.StatusBadRequest, map[string]string{"error": refuse})
				return
			case polls.Add(1) == 1:
				answer(w, http.StatusBadRequest, map[string]string{"error": "authorization_pending"})
				return
			}
		} else {
			sum := sha256.Sum256([]byte(r.Form.Get("code_verifier")))
			if <-challenges != base64.RawURLEncoding.EncodeToString(sum[:]) || r.Form.Get("code") != "the-code" {
				answer(w, http.StatusBadRequest, map[string]string{"error": "invalid_grant"})
				return
			}
		}
		answer(w, http.StatusOK, map[string]string{"access_token": "unused", "token_type": "Bearer", "id_token": "the-id-token"})
	})
	return server
}

func TestIDToken(t *testing.T) {
	t.Parallel()
	for name, device := range map[string]bool{"by code": true, "by browser": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := provider(t, device, "")
			prompts := devicelogin.Prompts{
				Code: func(page, code string) {
					if page != server.URL+"/enter" || code != "ABCD-EFGH" {
						t.Errorf("told to enter %s on %s", code, page)
					}
				},
				Browse: func(page string) { go browse(t, page) },
			}
			token, nonce, err := devicelogin.IDToken(t.Context(), devicelogin.Provider{Issuer: server.URL, ClientID: "mayfly"}, prompts)
			if err != nil || token != "the-id-token" || (nonce == "") != device {
				t.Errorf("token %q, nonce %q, %v", token, nonce, err)
			}
		})
	}
}

// browse is what a browser does: an answer that somebody else made up comes first.
func browse(t *testing.T, page string) {
	t.Helper()
	u, _ := url.Parse(page)
	for _, address := range []string{u.Query().Get("redirect_uri") + "?state=guessed&code=stolen", page} {
		response, err := http.Get(address)
		if err != nil {
			t.Error(err)
			return
		}
		_ = response.Body.Close()
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	for name, device := range map[string]bool{"by code": true, "by browser": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := provider(t, device, "access_denied")
			_, _, err := devicelogin.IDToken(t.Context(), devicelogin.Provider{Issuer: server.URL, ClientID: "mayfly"}, devicelogin.Prompts{
				Code: func(string, string) {}, Browse: func(page string) { go browse(t, page) },
			})
			if mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
				t.Errorf("the error is %v", err)
			}
		})
	}
}
