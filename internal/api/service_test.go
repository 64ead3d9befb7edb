package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/labstack/echo/v4"
	"github.com/prometheus/client_golang/prometheus"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/provisioner"
)

const (
	oddUser     = "o'connor@shop/#?"
	oddPassword = "p@ss:w/o?r#d%20&é"
)

// odd hands out credentials that need escaping.
type odd struct{ Previews }

func (odd) Credentials(_ context.Context, name string) (*provisioner.Credentials, error) {
	return &provisioner.Credentials{Database: name, User: oddUser, Password: oddPassword}, nil
}

// broken fails in ways that nobody outside should hear about.
type broken struct{ Previews }

const secretText = "dial tcp 10.1.2.3: password=hunter2"

func (broken) CreateSandbox(context.Context, provisioner.SandboxRequest) (*mayfly.Preview, error) {
	return nil, errors.New(secretText)
}

func (broken) ResetTo(context.Context, string, provisioner.ResetRequest) (*mayfly.Preview, error) {
	return nil, mayfly.Errorf(mayfly.CodeInternal, "open the file: %w", errors.New(secretText))
}

func (broken) DeleteIf(context.Context, string, provisioner.ChangeOptions) (*mayfly.Preview, error) {
	return nil, (&mayfly.Error{Code: mayfly.CodeEngineUnavailable, Message: "the engine does not answer", Err: errors.New(secretText)}).WithHint("start it")
}

func TestErrorsStayInside(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.Previews = broken{o.Previews} })
	b.template("shop")
	p := b.pullRequest(1, sha('a'))
	problems := []client.Problem{
		b.refused(b.admin(), "POST /previews", `{"project":"shop"}`, http.StatusInternalServerError, mayfly.CodeInternal),
		b.refused(b.admin(), "POST /previews/"+p.Name+"/reset", ``, http.StatusInternalServerError, mayfly.CodeInternal),
		b.refused(b.admin(), "DELETE /previews/"+p.Name, ``, http.StatusServiceUnavailable, mayfly.CodeEngineUnavailable),
	}
	for _, problem := range problems {
		text, err := json.Marshal(problem)
		must(t, err)
		if strings.Contains(string(text), "hunter2") || strings.Contains(string(text), "10.1.2.3") {
			t.Errorf("an error tells what is inside: %s", text)
		}
	}
	if problems[2].Hint != "start it" {
		t.Errorf("the hint is %q", problems[2].Hint)
	}
	if !strings.Contains(b.log.String(), "10.1.2.3") {
		t.Error("the log does not say what went wrong")
	}
}

// TestEveryCodeHasAStatus keeps status complete: a code without a case would be an internal error.
func TestEveryCodeHasAStatus(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../errors.go")
	must(t, err)
	codes := 0
	for line := range strings.Lines(string(source)) {
		_, rest, ok := strings.Cut(line, `Code = "`)
		if !ok {
			continue
		}
		code, _, _ := strings.Cut(rest, `"`)
		codes++
		if got := status(mayfly.Code(code)); (got == http.StatusInternalServerError) != (code == string(mayfly.CodeInternal)) || http.StatusText(got) == "" {
			t.Errorf("code %s has status %d", code, got)
		}
	}
	if codes < 20 {
		t.Errorf("found only %d codes in errors.go", codes)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "mayfly_test_total", Help: "for the test"})
	registry.MustRegister(counter)
	b := setup(t, func(o *Options) {
		o.Metrics = registry
		o.Webhooks = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			raw, err := io.ReadAll(r.Body)
			if err != nil || len(raw) != 2<<20 {
				http.Error(w, "cut", http.StatusBadRequest)
				return
			}
			w.WriteHeader(http.StatusAccepted)
		})
	})
	for path, says := range map[string]string{"/healthz": "v1.2.3", "/readyz": "ready", "/metrics": "mayfly_test_total 0"} {
		if r := b.send("", path, ""); r.StatusCode != http.StatusOK || !strings.Contains(string(r.body), says) {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
		}
	}
	if r := b.send("", "POST /webhooks/github", strings.Repeat("x", 2<<20)); r.StatusCode != http.StatusAccepted {
		t.Errorf("a webhook larger than the API's bodies: %d %s", r.StatusCode, r.body)
	}
	b.pool.Close()
	if r := b.send("", "/healthz", ""); r.StatusCode != http.StatusOK {
		t.Errorf("/healthz without the state database: %d", r.StatusCode)
	}
	b.refused("", "/readyz", "", http.StatusServiceUnavailable, mayfly.CodeStateUnavailable)
}

// TestDocument looks at what the document says beyond being valid.
func TestDocument(t *testing.T) {
	t.Parallel()
	b := setup(t)
	document := get[map[string]any](b, "/openapi.json", "", http.StatusOK)
	if document["openapi"] != "3.1.0" || document["info"].(map[string]any)["version"] != "v1.2.3" {
		t.Errorf("the document begins with %v %v", document["openapi"], document["info"])
	}
	guide, err := os.ReadFile("../../docs/api.md")
	must(t, err)
	for path, operations := range document["paths"].(map[string]any) {
		for method, operation := range operations.(map[string]any) {
			o := operation.(map[string]any)
			if o["summary"] == "" || o["operationId"] == "" {
				t.Errorf("%s %s has no name or summary", method, path)
			}
		}
		if !strings.Contains(string(guide), strings.TrimPrefix(path, "/api/v1")) {
			t.Errorf("docs/api.md does not mention %s", path)
		}
	}
}

// FuzzBodies: whatever comes as a body is decoded or refused as invalid.
func FuzzBodies(f *testing.F) {
	for _, seed := range []string{
		`{"project":"shop","name":"x","ttl":"1d","labels":{"a":"b"}}`, `{"ttl":"1d","suspended":true}`, `{`, `[[[[`, `{"labels":{"\u0000":1}}`, "\xff", `{"ttl":"65535d9999999h"}`,
	} {
		f.Add([]byte(seed))
	}
	e := echo.New()
	f.Fuzz(func(t *testing.T, body []byte) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(string(body)))
		c := e.NewContext(request, httptest.NewRecorder())
		var create client.CreatePreview
		err := decode(c, &create)
		if err == nil {
			err = checkLabels(create.Labels)
		}
		if err == nil {
			_, err = readTTL(create.TTL)
		}
		if err != nil && mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%q: %v", body, err)
		}
	})
}

// FuzzQueries: whatever comes as a query is read or refused as invalid, and what is read can be asked of Postgres.
func FuzzQueries(f *testing.F) {
	for _, seed := range []string{
		"wait=ready&sha=" + sha('a') + "&timeout=10m", "limit=1000&after=x&state=ready&kind=sandbox", "limit=-1", "%", "a=%00", "%ff", "timeout=1d1d", ";;&&==",
	} {
		f.Add(seed)
	}
	e := echo.New()
	f.Fuzz(func(t *testing.T, query string) {
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		request.URL.RawQuery = query
		c := e.NewContext(request, httptest.NewRecorder())
		err := refuseBadText(func(c echo.Context) error {
			w, err := readWish(c)
			if err != nil {
				return err
			}
			if w.timeout <= 0 || w.timeout > maximalWait {
				t.Errorf("%q: waits for %s", query, w.timeout)
			}
			filter, err := readFilter(c)
			if err != nil {
				return err
			}
			for _, text := range []string{filter.Project, filter.Query, filter.CreatedBy, w.sha} {
				if !isText(text) {
					t.Errorf("%q: %q goes to the database", query, text)
				}
			}
			return nil
		})(c)
		if code := mayfly.ErrorCode(err); err != nil && code != mayfly.CodeInvalid && code != mayfly.CodeForbidden {
			t.Errorf("%q: %v", query, err)
		}
	})
}
