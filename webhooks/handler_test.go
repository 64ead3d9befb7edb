package webhooks_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/webhooks"
)

// memory is an inbox for tests of the handler alone; the real one is tested in internal/store.
type memory struct {
	mu     sync.Mutex
	stored []webhooks.Delivery
	err    error
}

func (m *memory) Accept(_ context.Context, d webhooks.Delivery) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return false, m.err
	}
	for _, old := range m.stored {
		if old.ID == d.ID {
			return false, nil
		}
	}
	m.stored = append(m.stored, d)
	return true, nil
}

type testBundle struct {
	inbox *memory
	now   time.Time
	h     http.Handler
}

const maxBody = 4096

func setup(t *testing.T, secrets ...string) *testBundle {
	t.Helper()
	b := &testBundle{inbox: &memory{}, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	o := webhooks.Options{Inbox: b.inbox, MaxBody: maxBody, Now: func() time.Time { return b.now }}
	for _, secret := range secrets {
		o.Secrets = append(o.Secrets, []byte(secret))
	}
	b.h = webhooks.NewHandler(o)
	return b
}

func request(secret, event, id, contentType, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/webhooks/github", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("X-GitHub-Event", event)
	r.Header.Set("X-GitHub-Delivery", id)
	r.Header.Set(webhooks.SignatureHeader, webhooks.Sign([]byte(secret), []byte(body)))
	return r
}

func (b *testBundle) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.h.ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	t.Parallel()
	opened := string(fixture(t, "pull_request.opened.json"))
	form := "payload=" + url.QueryEscape(opened)
	const jsonType, formType = "application/json", "application/x-www-form-urlencoded"
	plain := func() *http.Request { return request("new", "pull_request", "d-1", jsonType, opened) }
	with := func(change func(*http.Request)) *http.Request { r := plain(); change(r); return r }
	header := func(name, value string) *http.Request {
		return with(func(r *http.Request) {
			r.Header.Del(name)
			if value != "" {
				r.Header.Set(name, value)
			}
		})
	}
	good := webhooks.Sign([]byte("new"), []byte(opened))
	for _, tt := range []struct {
		name    string
		request *http.Request
		status  int
		code    mayfly.Code // of the problem, or "" if it is stored
	}{
		{"signed with the new secret", plain(), 202, ""},
		{"signed with the old secret", request("old", "pull_request", "d-1", jsonType, opened), 202, ""},
		{"charset parameter", request("new", "pull_request", "d-1", "application/json; charset=utf-8", opened), 202, ""},
		{"form", request("new", "pull_request", "d-1", formType, form), 202, ""},
		{"unknown event", request("new", "star", "d-1", jsonType, `{"action":"created"}`), 202, ""},
		{"ping", request("new", "ping", "d-1", jsonType, string(fixture(t, "ping.json"))), 200, ""},
		{"another secret", request("evil", "pull_request", "d-1", jsonType, opened), 401, mayfly.CodeUnauthenticated},
		{"empty secret", request("", "pull_request", "d-1", jsonType, opened), 401, mayfly.CodeUnauthenticated},
		{"no signature", header(webhooks.SignatureHeader, ""), 401, mayfly.CodeUnauthenticated},
		{"signature without prefix", header(webhooks.SignatureHeader, good[7:]), 401, mayfly.CodeUnauthenticated},
		{"signature cut", header(webhooks.SignatureHeader, good[:60]), 401, mayfly.CodeUnauthenticated},
		{"signature not hex", header(webhooks.SignatureHeader, "sha256="+strings.Repeat("z", 64)), 401, mayfly.CodeUnauthenticated},
		{"signature all zero", header(webhooks.SignatureHeader, "sha256="+strings.Repeat("0", 64)), 401, mayfly.CodeUnauthenticated},
		{"SHA-1 only", with(func(r *http.Request) {
			r.Header.Del(webhooks.SignatureHeader)
			r.Header.Set("X-Hub-Signature", "sha1=da39a3ee5e6b4b0d3255bfef95601890afd80709")
		}), 401, mayfly.CodeUnauthenticated},
		{"body changed by a byte", with(func(r *http.Request) {
			r.Body = io.NopCloser(strings.NewReader(strings.Replace(opened, "42", "43", 1)))
		}), 401, mayfly.CodeUnauthenticated},
		{"malformed JSON with a wrong signature", request("evil", "pull_request", "d-1", jsonType, "{"), 401, mayfly.CodeUnauthenticated},
		{"malformed JSON", request("new", "pull_request", "d-1", jsonType, "{"), 400, mayfly.CodeInvalid},
		{"empty body", request("new", "pull_request", "d-1", jsonType, ""), 400, mayfly.CodeInvalid},
		{"no event", header("X-GitHub-Event", ""), 400, mayfly.CodeInvalid},
		{"hostile event", header("X-GitHub-Event", "pull_request\x00"), 400, mayfly.CodeInvalid},
		{"no delivery id", header("X-GitHub-Delivery", ""), 400, mayfly.CodeInvalid},
		{"long delivery id", header("X-GitHub-Delivery", strings.Repeat("a", 129)), 400, mayfly.CodeInvalid},
		{"no content type", header("Content-Type", ""), 415, mayfly.CodeInvalid},
		{"text", header("Content-Type", "text/plain"), 415, mayfly.CodeInvalid},
		{"form without payload", request("new", "pull_request", "d-1", formType, "a=b"), 415, mayfly.CodeInvalid},
		{"too large", request("new", "pull_request", "d-1", jsonType, opened+strings.Repeat(" ", maxBody)), 413, mayfly.CodeTooLarge},
		{"too large, length not told", with(func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(opened+strings.Repeat(" ", maxBody))), -1
		}), 413, mayfly.CodeTooLarge},
		{"GET", httptest.NewRequest(http.MethodGet, "/webhooks/github", nil), 405, mayfly.CodeInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, "old", "new", "")
			w := b.serve(tt.request)
			if w.Code != tt.status {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if tt.code == "" {
				if len(b.inbox.stored) != 1 {
					t.Errorf("%d deliveries stored, want 1", len(b.inbox.stored))
				}
				return
			}
			if len(b.inbox.stored) != 0 {
				t.Errorf("a refused delivery was stored: %+v", b.inbox.stored)
			}
			var problem struct {
				Status int         `json:"status"`
				Code   mayfly.Code `json:"code"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil || problem.Status != tt.status || problem.Code != tt.code {
				t.Errorf("problem %s (%v), want status %d and code %q", w.Body, err, tt.status, tt.code)
			}
			if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("content type %q", got)
			}
		})
	}
}

func TestHandlerStoresWhatItReceived(t *testing.T) {
	t.Parallel()
	b := setup(t, "s")
	opened := string(fixture(t, "pull_request.opened.json"))
	if w := b.serve(request("s", "pull_request", "6f9a-1", "application/x-www-form-urlencoded", "payload="+url.QueryEscape(opened))); w.Code != 202 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	d := b.inbox.stored[0]
	if string(d.Payload) != opened {
		t.Errorf("payload %q, want the JSON in the form", d.Payload)
	}
	d.Payload = nil
	want := webhooks.Delivery{ID: "6f9a-1", Event: "pull_request", Action: "opened", RepositoryID: 9001,
		Repository: "acme/shop", Number: 42, InstallationID: 555, ReceivedAt: b.now}
	if d.ID != want.ID || d.Event != want.Event || d.Action != want.Action || d.RepositoryID != want.RepositoryID ||
		d.Repository != want.Repository || d.Number != want.Number || d.InstallationID != want.InstallationID ||
		!d.ReceivedAt.Equal(want.ReceivedAt) || !d.Actionable() {
		t.Errorf("stored %+v, want %+v", d, want)
	}
}

func TestHandlerTakesADeliveryOnce(t *testing.T) {
	t.Parallel()
	b := setup(t, "s")
	opened := string(fixture(t, "pull_request.opened.json"))
	for i, want := range []string{"accepted", "repeated", "repeated"} {
		w := b.serve(request("s", "pull_request", "same", "application/json", opened))
		var ack struct {
			Status   string `json:"status"`
			Delivery string `json:"delivery"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &ack); err != nil || w.Code != 202 || ack.Status != want || ack.Delivery != "same" {
			t.Errorf("delivery %d: %d %s (%v), want 202 %q", i, w.Code, w.Body, err, want)
		}
	}
	if len(b.inbox.stored) != 1 {
		t.Errorf("%d deliveries stored, want 1", len(b.inbox.stored))
	}
}

func TestHandlerConcurrentRepeats(t *testing.T) {
	t.Parallel()
	b := setup(t, "s")
	opened := string(fixture(t, "pull_request.opened.json"))
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if w := b.serve(request("s", "pull_request", "same", "application/json", opened)); w.Code != 202 {
				t.Errorf("status %d: %s", w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	if len(b.inbox.stored) != 1 {
		t.Errorf("%d deliveries stored, want 1", len(b.inbox.stored))
	}
}

func TestHandlerInboxFails(t *testing.T) {
	t.Parallel()
	b := setup(t, "s")
	b.inbox.err = errors.New("connection to 10.0.0.7 refused")
	w := b.serve(request("s", "pull_request", "d-1", "application/json", string(fixture(t, "pull_request.opened.json"))))
	if w.Code != 503 || !strings.Contains(w.Body.String(), string(mayfly.CodeStateUnavailable)) {
		t.Errorf("%d %s, want 503 %s", w.Code, w.Body, mayfly.CodeStateUnavailable)
	}
	if strings.Contains(w.Body.String(), "10.0.0.7") {
		t.Errorf("the cause is told to the sender: %s", w.Body)
	}
}

// A sender that hangs up after the body was read must not undo the commit.
func TestHandlerAcceptOutlivesTheRequest(t *testing.T) {
	t.Parallel()
	var seen error
	h := webhooks.NewHandler(webhooks.Options{Secrets: [][]byte{[]byte("s")}, Inbox: inboxFunc(func(ctx context.Context, _ webhooks.Delivery) (bool, error) {
		seen = ctx.Err()
		return true, nil
	})})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := request("s", "pull_request", "d-1", "application/json", string(fixture(t, "pull_request.opened.json"))).WithContext(ctx)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != 202 || seen != nil {
		t.Errorf("status %d, context in Accept: %v; want 202 and a live context", w.Code, seen)
	}
}

type inboxFunc func(context.Context, webhooks.Delivery) (bool, error)

func (f inboxFunc) Accept(ctx context.Context, d webhooks.Delivery) (bool, error) { return f(ctx, d) }

func TestHandlerWithoutSecretsRefusesEverything(t *testing.T) {
	t.Parallel()
	b := setup(t, "")
	w := b.serve(request("", "pull_request", "d-1", "application/json", string(fixture(t, "pull_request.opened.json"))))
	if w.Code != 401 || len(b.inbox.stored) != 0 {
		t.Errorf("status %d, %d stored; want 401 and nothing stored", w.Code, len(b.inbox.stored))
	}
}
