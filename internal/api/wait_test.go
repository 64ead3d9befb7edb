package api

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// later answers a request that waits, when it is answered.
func (b *bed) later(path, body string) <-chan reply {
	b.t.Helper()
	token, answered := b.admin(), make(chan reply, 1)
	go func() { answered <- b.send(token, path, body) }()
	return answered
}

func (b *bed) answered(ch <-chan reply, status int) client.Preview {
	b.t.Helper()
	select {
	case r := <-ch:
		if r.StatusCode != status {
			b.t.Fatalf("%d instead of %d: %s", r.StatusCode, status, r.body)
		}
		var p client.Preview
		must(b.t, json.Unmarshal(r.body, &p))
		return p
	case <-time.After(testTimeout):
		b.t.Fatal("the request still waits")
		return client.Preview{}
	}
}

// unanswered fails if a request was answered that should go on waiting. It gives the server time to err: the state is written, announced
// and seen within milliseconds.
func (b *bed) unanswered(ch <-chan reply, why string) {
	b.t.Helper()
	select {
	case r := <-ch:
		b.t.Errorf("answered though %s: %d %s", why, r.StatusCode, r.body)
	case <-time.After(100 * time.Millisecond):
	}
}

func TestWaitReady(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	waiting := b.later("/previews/"+p.Name+"?wait=ready", "")
	b.observe(p, mayfly.PreviewCreating)
	b.unanswered(waiting, "it is only being created")
	b.observe(p, mayfly.PreviewReady)
	if got := b.answered(waiting, http.StatusOK); got.State != "ready" || !got.Settled {
		t.Errorf("waited for %+v", got)
	}
	b.answered(b.later("/previews/"+p.Name+"?wait=ready", ""), http.StatusOK) // what is so already is not waited for
	reset := b.later("POST /previews/"+p.Name+"/reset?wait=ready", "")
	b.wait("the reset is stored", func() bool {
		now, err := b.Store.PreviewByName(t.Context(), p.Name)
		return err == nil && now.Generation == 2
	})
	b.unanswered(reset, "only the old generation is ready")
	b.observe(p, mayfly.PreviewReady)
	b.answered(reset, http.StatusAccepted)
	created := b.later("POST /previews?wait=ready&timeout=30s", `{"project":"shop","name":"second"}`)
	var second *mayfly.Preview
	b.wait("the preview appears", func() bool {
		var err error
		second, err = b.Store.PreviewByName(t.Context(), "shop-second")
		return err == nil
	})
	b.observe(second, mayfly.PreviewReady)
	if got := b.answered(created, http.StatusCreated); got.State != "ready" {
		t.Errorf("created and waited for: %s", got.State)
	}
}

func TestWaitFailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	waiting := b.later("/previews/"+p.Name+"?wait=ready", "")
	p.State, p.ObservedGeneration, p.Failure = mayfly.PreviewFailed, 1, &mayfly.Failure{Code: mayfly.CodeImageUnavailable, Message: "no image", Hint: "get one"}
	must(t, b.Store.Observe(t.Context(), p))
	if got := b.answered(waiting, http.StatusOK); got.State != "failed" || got.Failure == nil || got.Failure.Hint != "get one" {
		t.Errorf("waited for %+v", got)
	}
}

func TestWaitDeleted(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	waiting := b.later("DELETE /previews/"+p.Name+"?wait=deleted", "")
	b.wait("the wish is stored", func() bool {
		now, err := b.Store.PreviewByName(t.Context(), p.Name)
		return err == nil && now.WantDeleted
	})
	b.unanswered(waiting, "it is still there")
	b.observe(p, mayfly.PreviewDeleted)
	if got := b.answered(waiting, http.StatusAccepted); got.State != "deleted" || !got.Settled {
		t.Errorf("waited for %+v", got)
	}
}

// TestWaitForCommit is what a CI job does: it asks for exactly its commit, before the webhook came and while an older commit is there.
func TestWaitForCommit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	waiting := b.later("/previews/shop-pr-9?wait=ready&timeout=1m&sha="+sha('b'), "")
	b.unanswered(waiting, "there is no preview")
	p := b.pullRequest(9, sha('a'))
	b.observe(p, mayfly.PreviewReady)
	b.unanswered(waiting, "another commit is applied")
	_, err := b.Store.ChangePreview(t.Context(), p.ID, func(p *mayfly.Preview) error { p.PR.HeadSHA = sha('b'); return nil })
	must(t, err)
	b.unanswered(waiting, "its commit is only wanted")
	b.observe(p, mayfly.PreviewReady)
	if got := b.answered(waiting, http.StatusOK); got.PullRequest.AppliedSHA != sha('b') {
		t.Errorf("waited for %+v", got.PullRequest)
	}
	// Names that no pull request can have are not waited for.
	for _, name := range []string{"shop-trial", "nothing-pr-9", "pr-9"} {
		b.refused(b.admin(), "/previews/"+name+"?wait=ready&sha="+sha('b'), "", http.StatusNotFound, mayfly.CodeNotFound)
	}
}

func TestWaitTimeout(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	got := b.refused(b.admin(), "/previews/"+p.Name+"?wait=ready&timeout=50ms", "", http.StatusGatewayTimeout, mayfly.CodeTimeout)
	if !strings.Contains(got.Detail, "still pending") || got.Hint == "" {
		t.Errorf("a timeout says %q, hint %q", got.Detail, got.Hint)
	}
	b.refused(b.admin(), "/previews/shop-pr-1?wait=ready&timeout=50ms&sha="+sha('a'), "", http.StatusGatewayTimeout, mayfly.CodeTimeout)
	pr := b.pullRequest(2, sha('a'))
	b.observe(pr, mayfly.PreviewReady)
	got = b.refused(b.admin(), "/previews/"+pr.Name+"?wait=ready&timeout=50ms&sha="+sha('b'), "", http.StatusGatewayTimeout, mayfly.CodeTimeout)
	if !strings.Contains(got.Detail, sha('a')) {
		t.Errorf("a timeout does not say which commit is there: %q", got.Detail)
	}
}

// event is one server-sent event.
type event struct {
	name, comment, data, id string
}

// stream opens a stream and returns its events. The channel is closed at the end of the stream.
func (b *bed) stream(path string) (events <-chan event, leave func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.url+"/api/v1"+path, nil)
	must(b.t, err)
	request.Header.Set("Authorization", "Bearer "+b.admin())
	response, err := b.http.Do(request) //nolint:bodyclose // the goroutine below closes it
	must(b.t, err)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		b.t.Fatalf("%s: %d, %s", path, response.StatusCode, response.Header.Get("Content-Type"))
	}
	ch := make(chan event, 100)
	go func() {
		defer close(ch)
		defer func() { _ = response.Body.Close() }()
		scanner := bufio.NewScanner(response.Body)
		var e event
		for scanner.Scan() {
			switch field, value, _ := strings.Cut(scanner.Text(), ": "); {
			case scanner.Text() == "":
				ch <- e
				e = event{}
			case field == "id":
				e.id = value
			case field == "event":
				e.name = value
			case field == "data":
				e.data = value
			default:
				e.comment = value
			}
		}
	}()
	b.t.Cleanup(cancel)
	return ch, cancel
}

// next returns the next event, checked against the document; a heartbeat is left out. The second result is false at the end.
func next[T any](b *bed, events <-chan event, kind, schema string) (T, bool) {
	b.t.Helper()
	var value T
	for {
		select {
		case e, ok := <-events:
			if !ok {
				return value, false
			}
			if e.comment != "" {
				continue
			}
			if e.name == "step" && kind != "step" {
				b.http.Transport.(*conforming).checkSchema("StepEvent", []byte(e.data), "event step")
				continue
			}
			if e.name != kind {
				b.t.Errorf("an event named %q", e.name)
			}
			b.http.Transport.(*conforming).checkSchema(schema, []byte(e.data), "event "+kind)
			must(b.t, json.Unmarshal([]byte(e.data), &value))
			return value, true
		case <-time.After(testTimeout):
			b.t.Fatal("no event comes")
		}
	}
}

func TestPreviewEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	events, _ := b.stream("/previews/" + p.Name + "/events")
	if first, _ := next[client.Preview](b, events, "preview", "Preview"); first.State != "pending" || first.Name != p.Name {
		t.Errorf("the first event is %+v", first)
	}
	for _, state := range []mayfly.PreviewState{mayfly.PreviewCreating, mayfly.PreviewReady, mayfly.PreviewSuspended} {
		b.observe(p, state)
		for {
			got, ok := next[client.Preview](b, events, "preview", "Preview")
			if !ok {
				t.Fatal("the stream ended")
			}
			if got.State == string(state) {
				break
			}
		}
	}
	_, err := b.Store.BeginStep(t.Context(), p.ID, "clone", "")
	must(t, err)
	for {
		got, ok := next[client.Preview](b, events, "preview", "Preview")
		if !ok {
			t.Fatal("the stream ended")
		}
		if len(got.Steps) == 1 {
			break
		}
	}
	b.observe(p, mayfly.PreviewDeleted)
	last := client.Preview{}
	for {
		got, ok := next[client.Preview](b, events, "preview", "Preview")
		if !ok {
			break
		}
		last = got
	}
	if last.State != "deleted" {
		t.Errorf("the stream ended with %s", last.State)
	}
}

func TestTemplateEvents(t *testing.T) {
	t.Parallel()
	b := setup(t)
	template, err := b.Templates.Request(t.Context(), "shop", "tester")
	must(t, err)
	events, _ := b.stream("/templates/" + template.ID + "/events")
	if first, _ := next[client.Template](b, events, "template", "Template"); first.State != "building" {
		t.Errorf("the first event is %+v", first)
	}
	must(t, b.Store.SetTemplateProgress(t.Context(), template.ID, mayfly.BuildProgress{Phase: "copy", Bytes: 1, TotalBytes: 2}))
	for {
		got, ok := next[client.Template](b, events, "template", "Template")
		if !ok {
			t.Fatal("the stream ended")
		}
		if got.Progress != nil {
			if got.Progress.Phase != "copy" || got.Progress.TotalBytes != 2 {
				t.Errorf("progress is %+v", got.Progress)
			}
			break
		}
	}
	template.State = mayfly.TemplateReady
	must(t, b.Store.UpdateTemplate(t.Context(), template))
	last := client.Template{}
	for {
		got, ok := next[client.Template](b, events, "template", "Template")
		if !ok {
			break
		}
		last = got
	}
	if last.State != "ready" || last.Progress != nil {
		t.Errorf("the stream ended with %+v", last)
	}
}

func TestHeartbeat(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *Options) { o.Heartbeat = 10 * time.Millisecond })
	p := b.sandbox("shop")
	events, _ := b.stream("/previews/" + p.Name + "/events")
	beats := 0
	for beats < 3 {
		select {
		case e, ok := <-events:
			if !ok {
				t.Fatal("the stream ended")
			}
			if e.comment != "" {
				beats++
			}
		case <-time.After(testTimeout):
			t.Fatal("nothing says that the stream is still there")
		}
	}
}

// TestStop: a server that stops does not wait for those who wait.
func TestStop(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.sandbox("shop")
	events, _ := b.stream("/previews/" + p.Name + "/events")
	next[client.Preview](b, events, "preview", "Preview")
	waiting := b.later("/previews/"+p.Name+"?wait=ready", "")
	absent := b.later("/previews/shop-pr-5?wait=ready&sha="+sha('a'), "")
	b.unanswered(waiting, "it is pending")
	b.Stop()
	b.Stop()
	for more := true; more; { // what came before may still be read
		_, more = next[client.Preview](b, events, "preview", "Preview")
	}
	for _, ch := range []<-chan reply{waiting, absent} {
		if r := <-ch; r.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("a request that waits is answered %d: %s", r.StatusCode, r.body)
		}
	}
}
