package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// serve returns a client of a server that answers with handle.
func serve(t *testing.T, handle http.HandlerFunc) *client.Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	c, err := client.New(server.URL, "secret-token", nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestNewRefusesAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"", "localhost:8080", "ftp://x", "http://", "://", "http://a b"} {
		if _, err := client.New(address, "t", nil); mayfly.ErrorCode(err) != mayfly.CodeInvalid || mayfly.ErrorHint(err) == "" {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// TestRequests looks at what each call sends.
func TestRequests(t *testing.T) {
	t.Parallel()
	suspended := true
	for want, call := range map[string]func(context.Context, *client.Client) error{
		"GET /api/v1/previews?kind=sandbox&limit=3&project=a%26b ": func(ctx context.Context, c *client.Client) error {
			_, err := c.ListPreviews(ctx, client.ListOptions{Project: "a&b", Kind: "sandbox", Limit: 3})
			return err
		},
		`POST /api/v1/previews {"project":"shop","ttl":"2d"}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.CreatePreview(ctx, client.CreatePreview{Project: "shop", TTL: "2d"})
			return err
		},
		"GET /api/v1/previews/..%2Ftemplates%3Fx ": func(ctx context.Context, c *client.Client) error {
			_, err := c.Preview(ctx, "../templates?x")
			return err
		},
		`PATCH /api/v1/previews/p {"suspended":true}`: func(ctx context.Context, c *client.Client) error {
			_, err := c.ChangePreview(ctx, "p", client.ChangePreview{Suspended: &suspended})
			return err
		},
		"POST /api/v1/previews/p/reset ": func(ctx context.Context, c *client.Client) error { _, err := c.ResetPreview(ctx, "p"); return err },
		"DELETE /api/v1/previews/p ":     func(ctx context.Context, c *client.Client) error { _, err := c.DeletePreview(ctx, "p"); return err },
		"GET /api/v1/previews/p/credentials ": func(ctx context.Context, c *client.Client) error {
			_, err := c.Credentials(ctx, "p")
			return err
		},
		"GET /api/v1/previews/p/report ": func(ctx context.Context, c *client.Client) error { _, err := c.Report(ctx, "p"); return err },
		"GET /api/v1/projects ":          func(ctx context.Context, c *client.Client) error { _, err := c.Projects(ctx); return err },
		"GET /api/v1/projects/shop/templates ": func(ctx context.Context, c *client.Client) error {
			_, err := c.Templates(ctx, "shop")
			return err
		},
		"POST /api/v1/projects/shop/templates ": func(ctx context.Context, c *client.Client) error {
			_, err := c.BuildTemplate(ctx, "shop")
			return err
		},
		"GET /api/v1/templates/t1 ":       func(ctx context.Context, c *client.Client) error { _, err := c.Template(ctx, "t1"); return err },
		"POST /api/v1/tokens/abc/revoke ": func(ctx context.Context, c *client.Client) error { return c.RevokeToken(ctx, "abc") },
		"GET /api/v1/previews/p?sha=s&timeout=50s&wait=ready ": func(ctx context.Context, c *client.Client) error {
			_, err := c.WaitReady(ctx, "p", "s")
			return err
		},
	} {
		t.Run(strings.Fields(want)[0]+" "+strings.Fields(want)[1], func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, err := io.ReadAll(r.Body)
				if err != nil {
					t.Error(err)
				}
				if got := r.Method + " " + r.URL.RequestURI() + " " + string(body); got != want {
					t.Errorf("sent %q", got)
				}
				if r.Header.Get("Authorization") != "Bearer secret-token" {
					t.Error("sent without the token")
				}
				_, _ = io.WriteString(w, `{"name":"p"}`)
			})
			if err := call(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status     int
		body       string
		code       mayfly.Code
		says, hint string
	}{
		"problem":      {409, `{"status":409,"code":"no_template","detail":"none yet","hint":"build one"}`, mayfly.CodeNoTemplate, "none yet", "build one"},
		"unknown code": {418, `{"code":"teapot","detail":"short and stout"}`, "teapot", "short", ""},
		"another web":  {404, `<html>nothing here</html>`, mayfly.CodeInternal, "404 Not Found", "something else than mayfly"},
		"a proxy":      {502, `<html>bad gateway</html>`, mayfly.CodeInternal, "502 Bad Gateway", ""},
		"no JSON":      {200, `<html>login</html>`, mayfly.CodeInternal, "read the server's answer", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			_, err := c.Preview(t.Context(), "p")
			if mayfly.ErrorCode(err) != test.code || !strings.Contains(err.Error(), test.says) || !strings.Contains(mayfly.ErrorHint(err), test.hint) {
				t.Errorf("code %s, message %v, hint %q", mayfly.ErrorCode(err), err, mayfly.ErrorHint(err))
			}
		})
	}
}

func TestUnreachable(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	c, err := client.New(server.URL, "t", nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Preview(t.Context(), "p")
	if err == nil || !strings.Contains(err.Error(), "cannot be reached") || mayfly.ErrorHint(err) == "" {
		t.Errorf("%v, hint %q", err, mayfly.ErrorHint(err))
	}
}

// TestCancel ends calls that the server holds.
func TestCancel(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, *client.Client) error{
		"wait": func(ctx context.Context, c *client.Client) error { _, err := c.WaitReady(ctx, "p", ""); return err },
		"follow": func(ctx context.Context, c *client.Client) error {
			return c.FollowPreview(ctx, "p", func(*client.Preview) bool { return true })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			held := make(chan struct{}, 8)
			c := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/api/v1/previews/p" {
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
				}
				held <- struct{}{}
				<-r.Context().Done()
			})
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-held; cancel() }()
			if err := call(ctx, c); mayfly.ErrorCode(err) != mayfly.CodeCancelled || !errors.Is(err, context.Canceled) {
				t.Errorf("cancelled: %v", err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if err := call(ctx, c); mayfly.ErrorCode(err) != mayfly.CodeTimeout {
				t.Errorf("out of time: %v", err)
			}
		})
	}
}

func TestWaitReadyAsksAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch asked.Add(1) {
		case 1: // a server that is being stopped answers early
			w.WriteHeader(http.StatusGatewayTimeout)
			_, _ = io.WriteString(w, `{"code":"timeout","detail":"being stopped"}`)
		case 2: // its proxy, until the next one is there
			w.WriteHeader(http.StatusBadGateway)
		default:
			_, _ = io.WriteString(w, `{"name":"p","state":"failed"}`)
		}
	})
	p, err := c.WaitReady(t.Context(), "p", "")
	if err != nil || p.State != "failed" || asked.Load() != 3 {
		t.Errorf("after %d requests: %+v, %v", asked.Load(), p, err)
	}
}

// TestFollowChunks cuts a stream at every byte: a network may.
func TestFollowChunks(t *testing.T) {
	t.Parallel()
	stream := []byte(": hello\n\nevent: preview\ndata: {\"name\":\"p\",\"state\":\"creating\"}\n\n: still here\n\n" +
		"event: preview\r\ndata:{\"name\":\"p\",\r\ndata: \"state\":\"ready\"}\r\n\r\nid: 7\nevent: preview\ndata: {\"name\":\"p\",\"state\":\"deleted\"}\n\n")
	for cut := range stream {
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(stream[:cut])
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write(stream[cut:])
		})
		var states []string
		err := c.FollowPreview(t.Context(), "p", func(p *client.Preview) bool { states = append(states, p.State); return true })
		if got := strings.Join(states, " "); err != nil || got != "creating ready deleted" {
			t.Fatalf("cut at %d: %s, %v", cut, got, err)
		}
	}
}

// TestFollowReconnects breaks a stream within an event: nobody must think that it is over.
func TestFollowReconnects(t *testing.T) {
	t.Parallel()
	var opened atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		switch opened.Add(1) {
		case 1:
			_, _ = io.WriteString(w, "event: template\ndata: {\"id\":\"t\",\"state\":\"building\"}\n\nevent: template\ndata: {\"id\":\"t\",\"sta")
		case 2:
			panic(http.ErrAbortHandler)
		case 3:
			w.WriteHeader(http.StatusServiceUnavailable)
		default:
			_, _ = io.WriteString(w, "event: template\ndata: {\"id\":\"t\",\"state\":\"ready\"}\n\n")
		}
	})
	var states []string
	err := c.FollowTemplate(t.Context(), "t", func(tmpl *client.Template) bool { states = append(states, tmpl.State); return true })
	if got := strings.Join(states, " "); err != nil || got != "building ready" || opened.Load() != 4 {
		t.Errorf("%s after %d streams, %v", got, opened.Load(), err)
	}
}

func TestFollowEndsWhenTold(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "event: preview\ndata: {\"name\":\"p\",\"state\":\"ready\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	calls := 0
	if err := c.FollowPreview(t.Context(), "p", func(*client.Preview) bool { calls++; return false }); err != nil || calls != 1 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestFollowRefused(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"code":"not_found","detail":"there is no preview p"}`)
	})
	err := c.FollowPreview(t.Context(), "p", func(*client.Preview) bool { return true })
	if mayfly.ErrorCode(err) != mayfly.CodeNotFound || asked.Load() != 1 {
		t.Errorf("asked %d times: %v", asked.Load(), err)
	}
}

func TestFollowBadEvent(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.Copy(w, bytes.NewBufferString("event: preview\ndata: {\n\n"))
	})
	if err := c.FollowPreview(t.Context(), "p", func(*client.Preview) bool { return true }); err == nil || !strings.Contains(err.Error(), "read an event") {
		t.Errorf("an event that is no JSON: %v", err)
	}
}

// A CI job waits for the database of exactly its commit, and runs against it.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := client.New("https://mayfly.example.com", "the token, from the CI's secrets", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := c.WaitReady(ctx, "shop-pr-42", "8e1b1b0f6f9c9b9f3e5a1d2c3b4a5968778695a4")
	if err != nil {
		fmt.Println(err, mayfly.ErrorHint(err))
		return
	}
	if p.Failure != nil {
		fmt.Println(p.Failure.Message, p.Failure.Hint)
		return
	}
	credentials, err := c.Credentials(ctx, p.Name)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(credentials.URL)
}
