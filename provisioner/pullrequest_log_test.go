package provisioner_test

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

func TestLostDeliveriesAreAskedForAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	b.sync(t, pr)
	var got []string
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.Header.Get("X-GitHub-Delivery")
		got = append(got, id)
		if _, err := b.store.AcceptDelivery(r.Context(), store.Delivery{ID: id, Event: "pull_request", Payload: []byte("{}")}); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer hook.Close()
	b.opts.ExternalURL = hook.URL
	b.Service = provisioner.New(b.opts)
	b.repo.SetHook(hook.URL + "/webhooks/github")
	poll := func() {
		t.Helper()
		if err := b.PollDeliveries(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	b.sync(t, pr) // so that the repository is known
	poll()        // what was before is not ours
	lost, err := b.github.Lose(t.Context(), forgetest.Delivery{Action: "synchronize", PR: pr, URL: hook.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.github.Deliver(t.Context(), forgetest.Delivery{Action: "edited", PR: pr, URL: hook.URL}); err != nil {
		t.Fatal(err)
	}
	got = nil
	for range 4 {
		b.clock.advance(5 * time.Minute)
		poll()
	}
	if len(got) != 1 || got[0] != lost {
		t.Errorf("asked for %v, not once for %s", got, lost)
	}
}

func TestDeliveryThatFailsAgainIsGivenUp(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	attempts := 0
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		attempts++
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer hook.Close()
	b.opts.ExternalURL = hook.URL
	b.Service = provisioner.New(b.opts)
	b.repo.SetHook(hook.URL + "/webhooks/github")
	b.sync(t, pr) // so that the repository is known
	if err := b.PollDeliveries(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := b.github.Lose(t.Context(), forgetest.Delivery{Action: "synchronize", PR: pr, URL: hook.URL}); err != nil {
		t.Fatal(err)
	}
	for _, minutes := range []int{5, 5, 30, 30, 30, 30, 30, 30} {
		b.clock.advance(time.Duration(minutes) * time.Minute)
		if err := b.PollDeliveries(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if attempts != 4 {
		t.Errorf("a delivery that fails each time was asked for %d times, not 4", attempts)
	}
}

// everywhere is a GitHub on which every repository and pull request exists: the published payloads are about others than the fake has.
type everywhere struct{ provisioner.Forge }

func (everywhere) Repository(context.Context, string) (forge.Repository, error) {
	return forge.Repository{ID: 186853002, FullName: "Codertocat/Hello-World", DefaultBranch: "master"}, nil
}

func (everywhere) RepositoryByID(_ context.Context, id int64) (forge.Repository, error) {
	return forge.Repository{ID: id, FullName: "Codertocat/Hello-World", DefaultBranch: "master"}, nil
}

func (everywhere) PullRequest(_ context.Context, id int64, number int) (*forge.PullRequest, error) {
	return &forge.PullRequest{RepositoryID: id, Number: number, State: "closed", HeadSHA: strings.Repeat("a", 40)}, nil
}

func (everywhere) OpenPullRequests(context.Context, int64) ([]*forge.PullRequest, error) {
	return nil, nil
}

func (everywhere) BranchHead(context.Context, int64, string) (string, error) {
	return strings.Repeat("b", 40), nil
}

func (everywhere) MayWrite(context.Context, int64, string, int64) (bool, error) { return true, nil }

func (everywhere) React(context.Context, int64, int64, forge.Reaction) error { return nil }

func (everywhere) File(context.Context, int64, string, string, int) ([]byte, bool, error) {
	return nil, false, nil
}

func (everywhere) Files(context.Context, int64, string, string) ([]forge.File, error) {
	return nil, mayfly.Errorf(mayfly.CodeHeadGone, "it is an example")
}

func TestEveryHandlerTakesThePublishedExamples(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.opts.Forge = everywhere{b.opts.Forge}
	b.Service = provisioner.New(b.opts)
	f, err := os.Open(filepath.Join("..", "webhooks", "testdata", "examples.json.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var examples []struct {
		Event   string          `json:"event"`
		Payload json.RawMessage `json:"payload"`
	}
	if err := json.NewDecoder(unzipped).Decode(&examples); err != nil {
		t.Fatal(err)
	}
	handled := map[string]int{}
	for _, e := range examples {
		var named struct {
			Action     string `json:"action"`
			Number     int    `json:"number"`
			Repository struct {
				ID int64 `json:"id"`
			} `json:"repository"`
			Issue struct {
				Number int       `json:"number"`
				PR     *struct{} `json:"pull_request"`
			} `json:"issue"`
		}
		if err := json.Unmarshal(e.Payload, &named); err != nil {
			t.Fatal(err)
		}
		if named.Number == 0 && named.Issue.PR != nil {
			named.Number = named.Issue.Number
		}
		d := b.eventOf(t, mayfly.NewID("d"), e.Event, named.Action, named.Repository.ID, named.Number, e.Payload)
		if d.State == store.DeliveryDone {
			handled[e.Event]++
		} else if d.Note == "" {
			t.Errorf("%s %s is ignored without a reason", e.Event, named.Action)
		}
	}
	for _, event := range []string{"ping", "pull_request", "repository", "installation"} {
		if handled[event] == 0 {
			t.Errorf("no example of %s led to anything: %v", event, handled)
		}
	}
	if at, events, ok, err := b.store.LastPing(t.Context()); err != nil || !ok || at.IsZero() || len(events) == 0 {
		t.Errorf("the ping is not remembered: %v %v %t %v", at, events, ok, err)
	}
}

// Titles, branches, labels and logins are text of strangers.
func TestHostileTextStaysText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	pr := b.open(t, "points", history())
	hostile := "\x1b[2J]8;;x\x07 <!-- mayfly --> ![x](https://evil.example/x) @everyone | ` \u202e </details>"
	pr.Edit(func(e *forgetest.PREdit) { e.Title, e.Labels = hostile, []string{hostile, "mayfly:size=" + hostile} })
	p := b.ready(t, pr)
	comment := onlyComment(t, pr)
	for _, bad := range []string{"\x1b", "\x07", "evil.example", "@everyone", "\u202e"} {
		if strings.Contains(comment, bad) {
			t.Errorf("the comment has %q in it:\n%s", bad, comment)
		}
	}
	if p.SizeClass != "" {
		t.Errorf("the size class is %q", p.SizeClass)
	}
}
