package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth/authtest"
)

// receiver is an HTTP server of somebody else that keeps what it is sent.
type receiver struct {
	*httptest.Server
	mu       sync.Mutex
	requests []received
}

type received struct {
	method, path, body string
	header             http.Header
}

func newReceiver(t *testing.T, answer string) *receiver {
	t.Helper()
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, _ := io.ReadAll(request.Body)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.requests = append(r.requests, received{request.Method, request.URL.EscapedPath(), string(body), request.Header.Clone()})
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) all() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// with returns the first request with a method and a text in its body, once there is one.
func (r *receiver) with(t *testing.T, method, text string) received {
	t.Helper()
	var found received
	eventually(t, fmt.Sprintf("the receiver is sent a %s with %q", method, text), func() bool {
		i := slices.IndexFunc(r.all(), func(one received) bool { return one.method == method && strings.Contains(one.body, text) })
		if i >= 0 {
			found = r.all()[i]
		}
		return i >= 0
	})
	return found
}

const hookSecret = "a secret of 24 bytes or more"

// A preview is handed to machines by a whole service: to a job of the CI system, to a receiver of webhooks, and to a host of preview deployments.
func TestHandedToMachines(t *testing.T) {
	t.Parallel()
	issuer, hook, host := authtest.NewIssuer(t), newReceiver(t, ""), newReceiver(t, `{"data":{"id":"v/1"}}`)
	in := newInstallation(t, installationOptions{extra: fmt.Sprintf(`
external_url: https://mayfly.example.com
auth: {ci_issuers: [{type: github, issuer: '%s'}]}
outgoing: [{name: chat, url: '%s/hook', secret_file: hook.secret}]
push:
  - name: host
    secret_files: {key: host.key}
    keep: {id: data.id}
    set:
      method: PUT
      url: '%s/branches/{{urlpath .PullRequest.Branch}}'
      headers: {Authorization: 'Bearer {{.Secrets.key}}', Content-Type: application/json}
      body: '{"value": {{json .Connection.URL}}}'
    remove: {method: DELETE, url: '%s/variables/{{urlpath .Kept.id}}', headers: {Authorization: 'Bearer {{.Secrets.key}}'}}
`, issuer.URL(), hook.URL, host.URL, host.URL)})
	in.put(t, "hook.secret", hookSecret)
	in.put(t, "host.key", "key of the host")
	s := in.start(t, "")
	pr := in.open(t, "feature/x&y")
	in.deliver(t, s, "", "opened", pr)
	p := in.settled(t, pr)
	api := in.client(t, s)
	credentials, err := api.Credentials(t.Context(), p.Name)
	check(t, err)

	verifyHook(t, hook.with(t, http.MethodPost, `"preview.ready"`))
	set := host.with(t, http.MethodPut, "value")
	var given struct {
		Value string `json:"value"`
	}
	check(t, json.Unmarshal([]byte(set.body), &given))
	u, err := url.Parse(given.Value)
	check(t, err)
	if password, _ := u.User.Password(); password != credentials.Password || u.Path != "/"+p.Name {
		t.Errorf("the host is given the URL of %s", u.Redacted())
	}
	if set.path != "/branches/feature%2Fx&y" || set.header.Get("Authorization") != "Bearer key of the host" {
		t.Errorf("the host is asked %s %v", set.path, set.header)
	}
	in.exchange(t, s, issuer, p)

	check(t, pr.Close(t.Context(), true))
	in.deliver(t, s, "", "closed", pr)
	in.deleted(t, p.ID)
	verifyHook(t, hook.with(t, http.MethodPost, `"preview.deleted"`))
	if removed := host.with(t, http.MethodDelete, ""); removed.path != "/variables/v%2F1" {
		t.Errorf("the host is asked to remove %s", removed.path)
	}
	for _, one := range hook.all() {
		if strings.Contains(one.body, credentials.Password) {
			t.Error("a webhook has the password in it")
		}
	}
	shown := fmt.Sprint(s.log.String(), pr.Comments(), in.repo.AllStatuses())
	for _, secret := range []string{credentials.Password, "key of the host", hookSecret} {
		if strings.Contains(shown, secret) {
			t.Error("a secret is in the log or in the comment")
		}
	}
}

func verifyHook(t *testing.T, one received) {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhookRaw([]byte(hookSecret))
	check(t, err)
	if err := verifier.Verify([]byte(one.body), one.header); err != nil {
		t.Errorf("the webhook is not signed: %v", err)
	}
}

func ask(t *testing.T, method, address, token, body string) (status int, answer []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, address, strings.NewReader(body))
	check(t, err)
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	check(t, err)
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	check(t, err)
	return response.StatusCode, answer
}

// exchange shows the token of a CI job, and tries what it gets on everything else.
func (in *installation) exchange(t *testing.T, s *process, issuer *authtest.Issuer, p *mayfly.Preview) {
	t.Helper()
	var repository struct {
		Owner struct {
			ID int64 `json:"id"`
		} `json:"owner"`
	}
	_, body := ask(t, "GET", fmt.Sprintf("%s/repositories/%d", in.github.URL(), in.repo.ID()), "token", "")
	check(t, json.Unmarshal(body, &repository))
	idToken := issuer.Sign(authtest.Actions("https://mayfly.example.com", in.repo.ID(), repository.Owner.ID, "acme/shop", p.PR.Number))
	var granted client.ExchangedToken
	status, body := ask(t, "POST", s.api+"/api/v1/auth/exchange", "", `{"token":"`+idToken+`"}`)
	check(t, json.Unmarshal(body, &granted))
	if status != http.StatusOK || granted.Preview != p.Name {
		t.Fatalf("the job gets %d: %+v", status, granted)
	}
	if status, _ := ask(t, "POST", s.api+"/api/v1/auth/exchange", "", `{"token":"`+idToken+`"}`); status != http.StatusForbidden {
		t.Errorf("exchanging it again is answered with %d", status)
	}
	other, err := in.client(t, s).CreatePreview(t.Context(), client.CreatePreview{Project: "shop", Name: "other"})
	check(t, err)
	defer func() {
		_, err := in.client(t, s).DeletePreview(t.Context(), other.Name)
		check(t, err)
		in.deleted(t, other.ID)
	}()
	template := p.TemplateID
	for path, want := range map[string]int{
		"GET /previews/" + p.Name + "?wait=ready&sha=" + p.PR.HeadSHA: http.StatusOK, "GET /previews/" + p.Name + "/credentials": http.StatusOK,
		"GET /previews/" + p.Name + "/report": http.StatusOK,
		"GET /previews/other":                 http.StatusNotFound, "GET /previews/" + other.Name: http.StatusNotFound, "GET /previews/" + other.Name + "/credentials": http.StatusNotFound,
		"GET /previews/" + other.Name + "/events": http.StatusNotFound, "GET /previews/" + other.Name + "/logs": http.StatusNotFound,
		"POST /previews/" + p.Name + "/reset": http.StatusForbidden, "DELETE /previews/" + p.Name: http.StatusForbidden,
		"PATCH /previews/" + p.Name: http.StatusForbidden, "POST /previews": http.StatusForbidden,
		"POST /previews/" + p.Name + "/credentials": http.StatusForbidden,
		"GET /templates/" + template:                http.StatusNotFound, "GET /templates/" + template + "/events": http.StatusNotFound,
		"GET /templates/" + template + "/attestation": http.StatusNotFound, "GET /projects/shop/templates/" + template + "/report": http.StatusForbidden,
		"GET /audit": http.StatusForbidden, "GET /tokens": http.StatusForbidden, "GET /hooks/deliveries": http.StatusForbidden,
	} {
		method, where, _ := strings.Cut(path, " ")
		if status, body := ask(t, method, s.api+"/api/v1"+where, granted.Token, "{}"); status != want {
			t.Errorf("a CI job's %s is answered with %d, not %d: %s", path, status, want, body)
		}
	}
	if _, body := ask(t, "GET", s.api+"/api/v1/previews", granted.Token, ""); strings.Contains(string(body), other.Name) {
		t.Errorf("a CI job lists %s", body)
	}
}
