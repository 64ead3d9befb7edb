package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

func busy(w http.ResponseWriter, status int, after string) {
	w.Header().Set("Retry-After", after)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `{"code":"rate_limited","detail":"too many requests"}`)
}

// TestBusy: a request is made again when the server says when, and nothing can be done twice by it.
func TestBusy(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		after  string
		asked  int32
		done   bool
	}{
		"rate limited":        {http.StatusTooManyRequests, "0", 3, true},
		"unavailable":         {http.StatusServiceUnavailable, "0", 3, true},
		"by a date":           {http.StatusTooManyRequests, "Mon, 02 Jan 2006 15:04:05 GMT", 3, true},
		"over quota":          {http.StatusTooManyRequests, "", 1, false},
		"for a long time":     {http.StatusServiceUnavailable, "3600", 1, false},
		"some other mistake":  {http.StatusConflict, "0", 1, false},
		"no number, nor date": {http.StatusTooManyRequests, "soon", 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			keys := make(chan string, 10)
			server := serve(t, func(w http.ResponseWriter, r *http.Request) {
				keys <- r.Header.Get("Idempotency-Key")
				if asked.Add(1) < 3 {
					busy(w, c.status, c.after)
					return
				}
				_, _ = io.WriteString(w, `{"name":"shop-x"}`)
			})
			p, err := server.CreatePreview(t.Context(), client.CreatePreview{Project: "shop"})
			if asked.Load() != c.asked || (err == nil) != c.done || (c.done && p.Name != "shop-x") {
				t.Errorf("asked %d times: %+v, %v", asked.Load(), p, err)
			}
			close(keys)
			first := <-keys
			for key := range keys {
				if key != first || key == "" {
					t.Errorf("the keys are %q and %q", first, key)
				}
			}
		})
	}
}

func TestBusyWithoutKey(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		busy(w, http.StatusServiceUnavailable, "0")
	})
	if _, err := c.BuildTemplate(t.Context(), "shop"); err == nil || asked.Load() != 1 {
		t.Errorf("something that may have been done was asked for %d times: %v", asked.Load(), err)
	}
}

func TestPreviewsWalksThroughPages(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Query().Get("after") {
		case "":
			_, _ = io.WriteString(w, `{"items":[{"name":"a"},{"name":"b"}],"next":"2"}`)
		case "2":
			_, _ = io.WriteString(w, `{"items":[{"name":"c"}],"next":"3"}`)
		default:
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, `{"code":"not_found","detail":"gone"}`)
		}
	})
	var seen []string
	for p, err := range c.Previews(t.Context(), client.ListOptions{Labels: []string{"team=x"}, Sort: "name", Descending: true}) {
		if err != nil {
			seen = append(seen, string(mayfly.ErrorCode(err)))
			continue
		}
		seen = append(seen, p.Name)
	}
	if !slices.Equal(seen, []string{"a", "b", "c", "not_found"}) {
		t.Errorf("walked through %v", seen)
	}
	for p := range c.Previews(t.Context(), client.ListOptions{}) {
		if p.Name != "a" {
			t.Errorf("went on to %s", p.Name)
		}
		break
	}
}

func TestConditions(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("ETag", `"v2"`)
		switch {
		case r.Header.Get("If-None-Match") == `"v2"`:
			w.WriteHeader(http.StatusNotModified)
		case r.Method == http.MethodDelete && r.Header.Get("If-Match") != `"v2"`:
			w.WriteHeader(http.StatusPreconditionFailed)
			_, _ = io.WriteString(w, `{"code":"precondition_failed","detail":"changed","errors":[{"field":"If-Match","message":"old"}]}`)
		default:
			_, _ = io.WriteString(w, `{"name":"p"}`)
		}
	})
	p, err := c.Preview(t.Context(), "p")
	if err != nil || p.ETag != `"v2"` {
		t.Fatalf("%+v, %v", p, err)
	}
	if _, err := c.Preview(t.Context(), "p", client.IfNoneMatch(p.ETag)); !errors.Is(err, client.ErrNotModified) {
		t.Errorf("nothing new is %v", err)
	}
	_, err = c.DeletePreview(t.Context(), "p", client.IfMatch(`"v1"`))
	var refused *mayfly.Error
	if mayfly.ErrorCode(err) != mayfly.CodePrecondition || !errors.As(err, &refused) || len(refused.Fields) != 1 {
		t.Errorf("an old version is %v", err)
	}
	if _, err := c.DeletePreview(t.Context(), "p", client.IfMatch(p.ETag)); err != nil {
		t.Error(err)
	}
}

// TestFollowStepsGoesOn cuts the stream after each event: every step is seen once.
func TestFollowStepsGoesOn(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		last := 0
		_, _ = fmt.Sscan(r.Header.Get("Last-Event-ID"), &last)
		_, _ = fmt.Fprintf(w, ": hello\n\nid: %d\nevent: step\ndata: {\"step_id\":%d,\ndata: \"name\":\"s%d\"}\n\nevent: preview\ndata: {}\n\n", last+1, last+1, last+1)
	})
	var seen []string
	err := c.FollowSteps(t.Context(), "p", func(s *client.StepEvent) bool {
		seen = append(seen, s.Name)
		return len(seen) < 3
	})
	if err != nil || strings.Join(seen, " ") != "s1 s2 s3" {
		t.Errorf("saw %v, %v", seen, err)
	}
}

func TestFollowEndsWithTheToken(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "event: error\ndata: {\"code\":\"unauthenticated\",\"detail\":\"the token has expired\"}\n\n")
	})
	err := c.FollowPreview(t.Context(), "p", func(*client.Preview) bool { return true })
	if mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("the stream ended with %v", err)
	}
}
