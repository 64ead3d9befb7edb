package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// waitAgainst runs a command against a server on which nothing ever gets ready, and returns what it said. interrupt is called
// when the command waits.
func waitAgainst(t *testing.T, interrupt func(cancel func()), args ...string) (code int, stderr string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		const preview = `{"name":"shop-x","project":"shop","state":"migrating","steps":[{"name":"clone","started_at":"2026-01-01T00:00:00Z","finished_at":"2026-01-01T00:00:01Z","duration_ms":1000}]}`
		const template = `{"id":"t1","project":"shop","state":"building"}`
		body := preview
		if strings.Contains(r.URL.Path, "templates") {
			body = template
		}
		if !strings.HasSuffix(r.URL.Path, "/events") && r.URL.Query().Get("wait") == "" {
			_, _ = io.WriteString(w, body)
			return
		}
		if r.URL.Query().Get("wait") == "" {
			event := "preview"
			if body == template {
				event = "template"
			}
			_, _ = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, body)
		}
		_ = http.NewResponseController(w).Flush()
		interrupt(cancel)
		<-r.Context().Done()
	}))
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	token := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(token, []byte("x\n"), 0o600))
	var out, errs bytes.Buffer
	code = run(ctx, append(args, "--server", server.URL, "--token-file", token), streams{out: &out, err: &errs}, hooks{})
	if out.Len() > 0 {
		t.Errorf("%v prints to standard output though it did not succeed: %s", args, out.String())
	}
	return code, errs.String()
}

// TestInterrupt is Ctrl-C while a command waits: it stops waiting, and says what is and what can be done.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	for command, says := range map[string]string{
		"create --project shop --wait":         "stopped waiting; shop-x is migrating on the server, which goes on",
		"get shop-x --wait":                    "stopped waiting; shop-x is migrating on the server, which goes on",
		"rm shop-x --wait":                     "stopped waiting; shop-x is migrating on the server, which goes on",
		"reset shop-x --wait":                  "stopped waiting; shop-x is migrating on the server, which goes on",
		"template build --project shop --wait": "template t1 is still being built",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			// The event that was sent must arrive before the signal does.
			interrupt := func(cancel func()) { time.AfterFunc(200*time.Millisecond, cancel) }
			code, stderr := waitAgainst(t, interrupt, strings.Fields(command)...)
			if code != exitFailed || !strings.Contains(stderr, says) || !strings.Contains(stderr, "hint: see it with: mayfly") && !strings.Contains(stderr, "hint: mayfly get shop-x shows how far it is, mayfly rm shop-x removes it") {
				t.Errorf("exit code %d: %s", code, stderr)
			}
		})
	}
}

// TestWaitTimeout is --timeout.
func TestWaitTimeout(t *testing.T) {
	t.Parallel()
	for command, says := range map[string]string{
		"get shop-x --wait --timeout 300ms":                                         "shop-x is still migrating after 300ms",
		"create --project shop --wait --timeout 300ms":                              "shop-x is still migrating after 300ms",
		"template build --project shop --wait --timeout 300ms":                      "template t1 is still being built",
		"get shop-x --timeout 300ms --sha 8e1b1b0f6f9c9b9f3e5a1d2c3b4a5968778695a4": "shop-x is still not at commit 8e1b1b0 after 300ms",
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			code, stderr := waitAgainst(t, func(func()) {}, strings.Fields(command)...)
			if code != exitTimeout || !strings.Contains(stderr, says) {
				t.Errorf("exit code %d: %s", code, stderr)
			}
			if created := strings.HasPrefix(command, "create"); strings.Contains(stderr, "ok   clone") != created {
				t.Errorf("steps from before the command, and only those, are no news: %s", stderr)
			}
		})
	}
}

func TestDurationFlag(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"90s": "1m30s", "10m": "10m", "24h": "24h", "7d": "168h", "1h30m": "1h30m", "100m": "1h40m", "300ms": "300ms"} {
		var d duration
		if err := d.Set(text); err != nil || d.String() != want {
			t.Errorf("%s is shown as %s, %v", text, d.String(), err)
		}
	}
	for _, text := range []string{"", "0s", "never", "-1h", "soon"} {
		var d duration
		if err := d.Set(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}

func TestRough(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{
		-time.Hour: "0s", 0: "0s", 119 * time.Second: "119s", 3 * time.Minute: "3m", 48*time.Hour - time.Second: "48h", 7*24*time.Hour - time.Second: "7d",
	} {
		if got := rough(d); got != want {
			t.Errorf("%s is shown as %s instead of %s", d, got, want)
		}
	}
}

// TestPsqlEnvironment: nothing of the user's own settings may lead psql to another server.
func TestPsqlEnvironment(t *testing.T) {
	t.Parallel()
	got := withoutPG([]string{"PATH=/bin", "PGSERVICE=production", "PGHOSTADDR=10.0.0.1", "PGPASSFILE=x", "PGOPTIONS=-c x=y", "PGTZ=UTC", "PAGER=less"})
	if text := strings.Join(got, " "); text != "PATH=/bin PGOPTIONS=-c x=y PGTZ=UTC PAGER=less" {
		t.Errorf("psql is given %s", text)
	}
}
