package forgetest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/webhooks"
)

const token = "ghp_test"

type testBundle struct {
	server *forgetest.Server
	repo   *forgetest.Repo
	pr     *forgetest.PR
}

func setup(t *testing.T) *testBundle {
	t.Helper()
	_, public, err := forgetest.NewAppKey()
	if err != nil {
		t.Fatal(err)
	}
	b := &testBundle{}
	// No directory given: the server makes one, and Close removes it.
	if b.server, err = forgetest.New(t.Context(), forgetest.Options{Token: token, AppID: 1, AppKey: public}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	if b.repo, err = b.server.CreateRepository(t.Context(), "acme/shop"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.repo.Commit(t.Context(), "work", map[string]string{"db/1.sql": "SELECT 1;\n"}, "Work"); err != nil {
		t.Fatal(err)
	}
	if b.pr, err = b.repo.OpenPullRequest(t.Context(), "work", "main", "Add work", forgetest.PROptions{Labels: []string{"db"}}); err != nil {
		t.Fatal(err)
	}
	return b
}

// request makes a request with a bearer token and returns the answer.
func (b *testBundle) request(t *testing.T, bearer, method, path, body string) (int, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, b.server.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+bearer)
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reply.Body.Close() }()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	return reply.StatusCode, text
}

// strict decodes JSON into one of go-github's types, and fails if there is a field that GitHub does not have.
func strict(t *testing.T, what string, text []byte, v any) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		t.Errorf("%s: %v in %s", what, err, text)
	}
}

// Every answer is compared with GitHub's description; what differs is an error of Close.
func TestShapes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	head := b.pr.HeadSHA(t.Context())
	comment := b.repo.AddComment(1, "reviewer", "Hello")
	var tree github.Tree
	for _, tt := range []struct {
		method, path, body string
		status             int
		into               any
	}{
		{"GET", "/repos/acme/shop", "", 200, new(github.Repository)},
		{"GET", "/repos/acme/shop/pulls?state=all", "", 200, new([]*github.PullRequest)},
		{"GET", "/repos/acme/shop/pulls/1", "", 200, new(github.PullRequest)},
		{"GET", "/repos/acme/shop/git/commits/" + head, "", 200, new(github.Commit)},
		{"GET", "/repos/acme/shop/git/trees/" + head + "?recursive=1", "", 200, &tree},
		{"POST", "/repos/acme/shop/issues/1/comments", `{"body":"x"}`, 201, new(github.IssueComment)},
		{"GET", "/repos/acme/shop/issues/1/comments", "", 200, new([]*github.IssueComment)},
		{"POST", "/repos/acme/shop/statuses/" + head, `{"state":"success","context":"c"}`, 201, new(github.RepoStatus)},
		{"GET", "/repos/acme/shop/commits/" + head + "/statuses", "", 200, new([]*github.RepoStatus)},
		{"GET", "/user", "", 200, new(github.User)},
	} {
		status, text := b.request(t, token, tt.method, tt.path, tt.body)
		if status != tt.status {
			t.Errorf("%s %s: status %d: %s", tt.method, tt.path, status, text)
			continue
		}
		if err := json.Unmarshal(text, tt.into); err != nil {
			t.Errorf("%s: %v in %s", tt.path, err, text)
		}
	}
	for _, e := range tree.Entries {
		if e.GetType() == "blob" {
			if status, text := b.request(t, token, http.MethodGet, "/repos/acme/shop/git/blobs/"+e.GetSHA(), ""); status != 200 {
				t.Errorf("blob: status %d: %s", status, text)
			}
		}
	}
	path := fmt.Sprintf("/repositories/%d/issues/comments/%d", b.repo.ID(), comment)
	if status, _ := b.request(t, token, http.MethodDelete, path, ""); status != 204 {
		t.Errorf("delete a comment: status %d", status)
	}
}

func TestCallsThatGitHubDoesNotHaveAreFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	head := b.pr.HeadSHA(t.Context())
	for _, tt := range []struct{ method, path, body string }{
		{"GET", "/repos/acme/shop/nothing", ""},
		{"GET", "/repos/acme/shop/pulls?sorted=yes", ""},
		{"GET", "/repos/acme/shop/pulls?state=opened", ""},
		{"POST", "/repos/acme/shop/issues/1/comments", `{"text":"x"}`},
		{"POST", "/repos/acme/shop/statuses/" + head, `{"state":"fine"}`},
		{"POST", "/repos/acme/shop/statuses/" + head, `{"state":"success","colour":"red"}`},
		{"POST", "/graphql", `{"query":"{ node(id: \"R_1\") { name } }"}`},
	} {
		b.request(t, token, tt.method, tt.path, tt.body)
		if found := b.server.Violations(); len(found) == 0 {
			t.Errorf("%s %s %s: found %q", tt.method, tt.path, tt.body, found)
		}
		b.server.Expect()
	}
}

func TestCredentialsAreChecked(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, bearer := range []string{"", "wrong", "eyJhbGciOiJub25lIn0.eyJpc3MiOiIxIn0."} {
		for _, path := range []string{"/repos/acme/shop", "/app", "/user", "/repos/acme/shop/installation"} {
			if status, text := b.request(t, bearer, http.MethodGet, path, ""); status != 401 {
				t.Errorf("GET %s as %q: status %d: %s", path, bearer, status, text)
			}
		}
	}
	if status, _ := b.request(t, token, http.MethodGet, "/app", ""); status != 401 {
		t.Errorf("GET /app with a user's token: status %d", status)
	}
}

type inbox struct {
	mu  sync.Mutex
	all []webhooks.Delivery
}

func (i *inbox) Accept(_ context.Context, d webhooks.Delivery) (bool, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.all = append(i.all, d)
	return true, nil
}

func TestDeliver(t *testing.T) {
	t.Parallel()
	b := setup(t)
	box := &inbox{}
	receiver := httptest.NewServer(webhooks.NewHandler(webhooks.Options{Secrets: [][]byte{[]byte("s")}, Inbox: box}))
	t.Cleanup(receiver.Close)
	deliver := func(d forgetest.Delivery, status int) forgetest.Answer {
		t.Helper()
		d.URL = receiver.URL
		answer, err := b.server.Deliver(t.Context(), d)
		if err != nil || answer.Status != status {
			t.Fatalf("%+v, %v; want status %d", answer, err, status)
		}
		return answer
	}
	deliver(forgetest.Delivery{PR: b.pr, Action: "opened"}, 401)
	deliver(forgetest.Delivery{PR: b.pr, Action: "opened", Secret: []byte("wrong")}, 401)
	deliver(forgetest.Delivery{Event: "ping", Repo: b.repo, Secret: []byte("s")}, 200)
	first := deliver(forgetest.Delivery{PR: b.pr, Action: "opened", Secret: []byte("s")}, 202)
	deliver(forgetest.Delivery{PR: b.pr, Action: "synchronize", Secret: []byte("s"), ID: first.ID}, 202)
	if len(box.all) != 3 {
		t.Fatalf("%d deliveries arrived, want 3", len(box.all))
	}
	opened := box.all[1]
	if opened.RepositoryID != b.repo.ID() || opened.Number != 1 || opened.Action != "opened" || opened.InstallationID == 0 ||
		opened.Repository != "acme/shop" || opened.ID != first.ID || box.all[2].ID != first.ID {
		t.Errorf("arrived %+v", opened)
	}
	var event github.PullRequestEvent
	strict(t, "payload", opened.Payload, &event)
	if event.GetPullRequest().GetHead().GetSHA() != b.pr.HeadSHA(t.Context()) {
		t.Errorf("the payload's head is %s", event.GetPullRequest().GetHead().GetSHA())
	}
}

// People and other tests may use the repository with git itself.
func TestRepositoryIsGit(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, clone := t.Context(), t.TempDir()
	for _, args := range [][]string{
		{"clone", "--quiet", "--branch", "work", b.repo.Dir(), clone},
		{"-C", clone, "-c", "user.name=Dev", "-c", "user.email=dev@example.com", "commit", "--quiet", "--allow-empty", "-m", "More"},
		{"-C", clone, "push", "--quiet", "origin", "HEAD:work"},
	} {
		if out, err := exec.CommandContext(ctx, "git", args...).CombinedOutput(); err != nil {
			t.Fatalf("git %q: %v: %s", args, err, out)
		}
	}
	want, err := exec.CommandContext(ctx, "git", "-C", clone, "rev-parse", "HEAD").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := b.pr.HeadSHA(ctx); got != strings.TrimSpace(string(want)) {
		t.Errorf("head %s after a push, want %s", got, want)
	}
}

func TestMergeConflict(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx := t.Context()
	if _, err := b.repo.Commit(ctx, "main", map[string]string{"db/1.sql": "SELECT 'other';\n"}, "Other"); err != nil {
		t.Fatal(err)
	}
	if err := b.pr.Close(ctx, true); err == nil {
		t.Error("merged although both sides made the same file")
	}
	if err := b.pr.Close(ctx, false); err != nil {
		t.Errorf("close after a conflict: %v", err)
	}
}
