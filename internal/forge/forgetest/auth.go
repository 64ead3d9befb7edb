package forgetest

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// NewAppKey makes a private key for a GitHub App, in the PEM form that GitHub offers for download, and its public half.
func NewAppKey() ([]byte, *rsa.PublicKey, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, nil, fmt.Errorf("generate a key: %w", err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	return pem.EncodeToMemory(block), &key.PublicKey, nil
}

// authenticate finds out who makes the request.
func (s *Server) authenticate(r *http.Request) (caller, bool) {
	bearer, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || bearer == "" {
		return caller{}, false
	}
	if s.options.Token != "" && subtle.ConstantTimeCompare([]byte(bearer), []byte(s.options.Token)) == 1 {
		return caller{login: s.options.Login}, true
	}
	bot := s.options.AppSlug + "[bot]"
	s.mu.Lock()
	grant, ok := s.tokens[bearer]
	s.mu.Unlock()
	if ok {
		return caller{owner: grant.owner, login: bot, bot: true}, s.now().Before(grant.expires)
	}
	return caller{app: true, login: bot, bot: true}, s.verifyApp(bearer)
}

// verifyApp checks the App's own token as GitHub does: RS256, issued in the past by the App, ending within ten minutes.
func (s *Server) verifyApp(bearer string) bool {
	if s.options.AppKey == nil {
		return false
	}
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(bearer, &claims, func(*jwt.Token) (any, error) { return s.options.AppKey, nil },
		jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(strconv.FormatInt(s.options.AppID, 10)),
		jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithTimeFunc(s.now))
	return err == nil && claims.IssuedAt != nil && !claims.ExpiresAt.After(s.now().Add(10*time.Minute))
}

// createToken answers POST /app/installations/{installation}/access_tokens.
func (s *Server) createToken(w http.ResponseWriter, r *http.Request, _ caller, _ *Repo) {
	id, err := strconv.ParseInt(r.PathValue("installation"), 10, 64)
	s.mu.Lock()
	defer s.mu.Unlock()
	for owner, installation := range s.owners {
		if err == nil && installation == id && !s.removed[id] {
			if s.suspended[id] {
				fail(w, http.StatusForbidden, "This installation has been suspended")
				return
			}
			// Longer than a token was for years: clients must not assume a length.
			token, expires := "ghs_"+rand.Text()+rand.Text()+rand.Text(), s.now().Add(time.Hour)
			s.tokens[token] = installationGrant{owner: owner, expires: expires}
			answer(w, http.StatusCreated, object{
				"token": token, "expires_at": expires.UTC().Format(time.RFC3339), "repository_selection": "all",
				"permissions": s.granted(),
			})
			return
		}
	}
	fail(w, http.StatusNotFound, "Not Found")
}

func (s *Server) getInstallation(w http.ResponseWriter, _ *http.Request, _ caller, repo *Repo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removed[s.installation(repo.owner)] {
		fail(w, http.StatusNotFound, "Not Found")
		return
	}
	answer(w, http.StatusOK, s.installationJSON(repo.owner))
}

func (s *Server) getApp(w http.ResponseWriter, _ *http.Request, _ caller, _ *Repo) {
	s.mu.Lock()
	defer s.mu.Unlock()
	answer(w, http.StatusOK, object{
		"id": s.options.AppID, "slug": s.options.AppSlug, "name": s.options.AppSlug, "permissions": s.granted(), "events": []string{"pull_request"},
		"owner": account("acme", "Organization"), "external_url": "https://mayfly.example.com", "html_url": "https://github.com/apps/" + s.options.AppSlug,
	})
}

func (s *Server) getUser(w http.ResponseWriter, _ *http.Request, who caller, _ *Repo) {
	if who.bot {
		fail(w, http.StatusForbidden, "Resource not accessible by integration")
		return
	}
	answer(w, http.StatusOK, account(who.login, "User"))
}
