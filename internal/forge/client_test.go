package forge_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

func wantCode(t *testing.T, what string, err error, code mayfly.Code) {
	t.Helper()
	if mayfly.ErrorCode(err) != code {
		t.Errorf("%s: %v (code %q), want code %q", what, err, mayfly.ErrorCode(err), code)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	pem, _, err := forgetest.NewAppKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]forge.Options{
		"no credentials":      {},
		"both credentials":    {Token: "x", App: &forge.App{ID: 1, PrivateKeyPEM: pem}},
		"no key":              {App: &forge.App{ID: 1}},
		"garbage key":         {App: &forge.App{ID: 1, PrivateKeyPEM: []byte("-----BEGIN hunter2")}},
		"no app id":           {App: &forge.App{PrivateKeyPEM: pem}},
		"address without URL": {Token: "x", BaseURL: "github.example.com"},
		"other scheme":        {Token: "x", BaseURL: "file:///etc"},
		"address with secret": {Token: "x", BaseURL: "https://me:hunter2@github.example.com"},
	} {
		_, err := forge.New(o)
		wantCode(t, name, err, mayfly.CodeInvalid)
		if mayfly.ErrorHint(err) == "" || strings.Contains(fmt.Sprint(err, mayfly.ErrorHint(err)), "hunter2") {
			t.Errorf("%s: %v (hint %q): want a hint and no secret", name, err, mayfly.ErrorHint(err))
		}
	}
}

// Everything that depends on how the client authenticates, in both ways.
func TestBothModes(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			ctx := t.Context()
			pr := b.open(t, "loyalty", map[string]string{"db/migrations/001_a.up.sql": "SELECT 1;\n"})

			repo, err := b.client.Repository(ctx, "acme/shop")
			if err != nil || repo != (forge.Repository{ID: b.repo.ID(), FullName: "acme/shop", DefaultBranch: "main", OwnerID: repo.OwnerID}) || repo.OwnerID == 0 {
				t.Fatalf("Repository = %+v, %v", repo, err)
			}
			pull, err := b.client.PullRequest(ctx, repo.ID, pr.Number())
			if err != nil || pull.HeadSHA != pr.HeadSHA(ctx) {
				t.Fatalf("PullRequest = %+v, %v", pull, err)
			}
			if open, err := b.client.OpenPullRequests(ctx, repo.ID); err != nil || len(open) != 1 {
				t.Errorf("OpenPullRequests = %v, %v; want one", open, err)
			}
			files, err := b.client.Files(ctx, repo.ID, pull.HeadSHA, "db/migrations")
			if err != nil || len(files) != 1 || string(files[0].Content) != "SELECT 1;\n" {
				t.Errorf("Files = %v, %v", files, err)
			}
			marker := forge.Marker(repo.ID, pull.Number, "shop")
			id, err := b.client.UpsertComment(ctx, repo.ID, pull.Number, 0, marker, marker+"\nhello")
			if comments := pr.Comments(); err != nil || len(comments) != 1 || comments[0].ID != id {
				t.Errorf("UpsertComment = %d, %v; comments %+v", id, err, comments)
			}
			self, err := b.client.Self(ctx)
			if want := map[bool]string{true: "mayfly[bot]", false: "mayfly-bot"}[o.app]; err != nil || self != want {
				t.Errorf("Self = %q, %v; want %q", self, err, want)
			}
			if err := b.client.SetStatus(ctx, repo.ID, pull.HeadSHA, forge.Status{State: forge.StatusPending, Description: "x"}); err != nil {
				t.Errorf("SetStatus: %v", err)
			}
			if got := b.repo.Statuses(pull.HeadSHA); len(got) != 1 || got[0].Creator != self || got[0].Context != forge.StatusContext {
				t.Errorf("statuses %+v", got)
			}
		})
	}
}

func TestRepositoryRenamed(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	if err := b.repo.Rename("acme/store"); err != nil {
		t.Fatal(err)
	}
	b.repo.Archive()
	want := forge.Repository{ID: b.repo.ID(), FullName: "acme/store", DefaultBranch: "main", Archived: true}
	if found, err := b.client.Repository(t.Context(), "acme/store"); err == nil {
		want.OwnerID = found.OwnerID
	}
	for _, name := range []string{"acme/shop", "acme/store"} {
		if got, err := b.client.Repository(t.Context(), name); err != nil || got != want {
			t.Errorf("Repository(%q) = %+v, %v; want %+v", name, got, err, want)
		}
	}
	if got, err := b.client.RepositoryByID(t.Context(), b.repo.ID()); err != nil || got != want {
		t.Errorf("RepositoryByID = %+v, %v; want %+v", got, err, want)
	}
}

// After a transfer another installation has the repository; what is cached about the old one must not be in the way.
func TestRepositoryTransferred(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	pr := b.open(t, "a", map[string]string{"a": "a"})
	for _, owner := range []string{"acme", "globex"} {
		if owner == "globex" {
			if err := b.repo.Rename("globex/shop"); err != nil {
				t.Fatal(err)
			}
		}
		pull, err := b.client.PullRequest(t.Context(), b.repo.ID(), pr.Number())
		if err != nil || pull.Repository != owner+"/shop" {
			t.Fatalf("PullRequest under %s = %+v, %v", owner, pull, err)
		}
	}
}

func TestNotFound(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			ctx, id, sha := t.Context(), b.repo.ID(), strings.Repeat("1", 40)
			_, err := b.client.PullRequest(ctx, id, 99)
			wantCode(t, "PullRequest", err, mayfly.CodeNotFound)
			_, err = b.client.Repository(ctx, "acme/nothing")
			wantCode(t, "Repository", err, mayfly.CodeNotFound)
			_, err = b.client.Repository(ctx, "acme/../shop")
			wantCode(t, "Repository with a path", err, mayfly.CodeInvalid)
			_, err = b.client.UpsertComment(ctx, id, 99, 0, "m", "m")
			wantCode(t, "UpsertComment", err, mayfly.CodeNotFound)

			b.repo.Hide(true)
			_, err = b.client.RepositoryByID(ctx, id)
			wantCode(t, "RepositoryByID", err, mayfly.CodeNotFound)
			_, err = b.client.OpenPullRequests(ctx, id)
			wantCode(t, "OpenPullRequests", err, mayfly.CodeNotFound)
			_, err = b.client.Files(ctx, id, sha, "db")
			wantCode(t, "Files", err, mayfly.CodeNotFound)
			err = b.client.SetStatus(ctx, id, sha, forge.Status{State: forge.StatusPending})
			wantCode(t, "SetStatus", err, mayfly.CodeNotFound)
			if mayfly.ErrorHint(err) == "" {
				t.Errorf("SetStatus: %v has no hint", err)
			}
		})
	}
}

func TestPullRequest(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	if _, err := b.repo.CommitFork(ctx, "stranger", "fix", map[string]string{"a": "a"}, "Fix"); err != nil {
		t.Fatal(err)
	}
	fork, err := b.repo.OpenPullRequest(ctx, "fix", "main", "Fix @everyone", forgetest.PROptions{
		Fork: "stranger", Author: "stranger", Draft: true, Labels: []string{"bug", "db"},
	})
	if err != nil {
		t.Fatal(err)
	}
	read := func(p *forgetest.PR) *forge.PullRequest {
		t.Helper()
		got, err := b.client.PullRequest(ctx, b.repo.ID(), p.Number())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := read(fork)
	if !got.Fork || got.HeadRepositoryID == 0 || got.HeadRepositoryID == b.repo.ID() || !got.Draft || !got.Open() ||
		got.Title != "Fix @everyone" || got.Author != "stranger" || !slices.Equal(got.Labels, []string{"bug", "db"}) ||
		got.HeadRef != "fix" || got.BaseRef != "main" || got.BaseSHA != b.repo.Head(ctx, "main") || got.RepositoryID != b.repo.ID() {
		t.Errorf("pull request of a fork: %+v", got)
	}
	if err := fork.DeleteHead(ctx); err != nil {
		t.Fatal(err)
	}
	if got := read(fork); !got.Fork || got.HeadRepositoryID != 0 || got.HeadSHA == "" {
		t.Errorf("pull request of a fork that is gone: %+v", got)
	}

	own := b.open(t, "own", map[string]string{"b": "b"})
	first := read(own)
	if first.Fork || first.HeadRepositoryID != b.repo.ID() {
		t.Errorf("own pull request: %+v", first)
	}
	pushed, err := own.Push(ctx, map[string]string{"c": "c"})
	if got := read(own); err != nil || got.HeadSHA != pushed || got.HeadSHA == first.HeadSHA {
		t.Errorf("after a push: %+v, %v; want head %s", got, err, pushed)
	}
	forced, err := own.ForcePush(ctx, map[string]string{"d": "d"})
	if got := read(own); err != nil || got.HeadSHA != forced {
		t.Errorf("after a force-push: %+v, %v; want head %s", got, err, forced)
	}
	if err := own.Close(ctx, false); err != nil {
		t.Fatal(err)
	}
	if got := read(own); got.Open() || got.Merged {
		t.Errorf("after closing: %+v", got)
	}
	if err := own.Reopen(ctx); err != nil {
		t.Fatal(err)
	}
	if err := own.Close(ctx, true); err != nil {
		t.Fatal(err)
	}
	if got := read(own); got.Open() || !got.Merged {
		t.Errorf("after merging: %+v", got)
	}
	if files, err := b.client.Files(ctx, b.repo.ID(), b.repo.Head(ctx, "main"), ""); err != nil || len(files) != 2 {
		t.Errorf("files of main after merging: %v, %v; want README.md and d", files, err)
	}
}

func TestOpenPullRequestsReadsAllPages(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	if _, err := b.repo.Commit(ctx, "work", map[string]string{"a": "a"}, "Work"); err != nil {
		t.Fatal(err)
	}
	const count = 101
	var last *forgetest.PR
	for i := range count + 1 {
		pr, err := b.repo.OpenPullRequest(ctx, "work", "main", fmt.Sprint("Change ", i), forgetest.PROptions{})
		if err != nil {
			t.Fatal(err)
		}
		last = pr
	}
	if err := last.Close(ctx, false); err != nil {
		t.Fatal(err)
	}
	for _, notModified := range []int{0, 2} {
		open, err := b.client.OpenPullRequests(ctx, b.repo.ID())
		if err != nil || len(open) != count {
			t.Fatalf("%d open pull requests, %v; want %d", len(open), err, count)
		}
		for i, p := range open {
			if p.Number != i+1 || !p.Open() {
				t.Errorf("pull request %d is %+v", i, p)
			}
		}
		if got := b.server.NotModified(); got != notModified {
			t.Errorf("%d answers of 304, want %d: pages that did not change must be asked for by ETag", got, notModified)
		}
	}
}

func TestRateLimit(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			ctx := t.Context()
			ask := func() error { _, err := b.client.RepositoryByID(ctx, b.repo.ID()); return err }
			expect := func(what string, until time.Time) {
				t.Helper()
				err := ask()
				wantCode(t, what, err, mayfly.CodeForgeUnavailable)
				var limited *forge.RateLimited
				if !errors.As(err, &limited) || !limited.Until.Equal(until) {
					t.Errorf("%s: %v (%+v), want RateLimited until %s", what, err, limited, until)
				}
			}
			if err := ask(); err != nil {
				t.Fatal(err)
			}
			until := b.clock.Now().Add(20 * time.Minute)
			b.server.RateLimit(until)
			expect("primary limit", until)
			b.server.RateLimit(time.Time{})
			b.server.ResetCalls()
			expect("before the limit ends", until)
			if calls := b.server.Calls(); len(calls) != 0 {
				t.Errorf("requests were made under the limit: %v", calls)
			}
			b.clock.Advance(20 * time.Minute)
			if err := ask(); err != nil {
				t.Errorf("after the limit: %v", err)
			}

			b.server.SecondaryLimit(90 * time.Second)
			expect("secondary limit that says for how long", b.clock.Now().Add(90*time.Second))
			b.clock.Advance(90 * time.Second)
			b.server.SecondaryLimit(0)
			expect("secondary limit that does not", b.clock.Now().Add(time.Minute))
			b.clock.Advance(time.Minute)
			b.server.FailNext(1, http.StatusTooManyRequests)
			expect("status 429", b.clock.Now().Add(time.Minute))
			b.clock.Advance(time.Minute)
			if err := ask(); err != nil {
				t.Errorf("after all limits: %v", err)
			}
		})
	}
}

func TestUnavailable(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	for _, status := range []int{500, 502, 503} {
		b.server.FailNext(1, status)
		_, err := b.client.PullRequest(ctx, b.repo.ID(), 1)
		wantCode(t, strconv.Itoa(status), err, mayfly.CodeForgeUnavailable)
	}
	b.server.FailNext(1, http.StatusForbidden)
	err := b.client.SetStatus(ctx, b.repo.ID(), strings.Repeat("1", 40), forge.Status{State: forge.StatusPending})
	wantCode(t, "403", err, mayfly.CodeForgeUnavailable)
	var refused *forge.Refused
	if !errors.As(err, &refused) || refused.Status != 403 || mayfly.ErrorHint(err) == "" {
		t.Errorf("403: %v (hint %q), want Refused and a hint", err, mayfly.ErrorHint(err))
	}

	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := b.client.PullRequest(cancelled, b.repo.ID(), 1); !errors.Is(err, context.Canceled) || mayfly.ErrorCode(err) == mayfly.CodeForgeUnavailable {
		t.Errorf("cancelled: %v, want context.Canceled and not an outage", err)
	}
	if err := b.server.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = b.client.PullRequest(ctx, b.repo.ID(), 1)
	wantCode(t, "nobody listens", err, mayfly.CodeForgeUnavailable)
}

func TestWrongToken(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	client, err := forge.New(forge.Options{BaseURL: b.server.URL(), Token: "ghp_hunter2"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.Self(t.Context())
	var refused *forge.Refused
	if !errors.As(err, &refused) || refused.Status != 401 || mayfly.ErrorHint(err) == "" {
		t.Errorf("%v (hint %q), want Refused with 401 and a hint", err, mayfly.ErrorHint(err))
	}
	if text := fmt.Sprintf("%v %+v %#v", err, client, err); strings.Contains(text, "hunter2") {
		t.Errorf("the token is told: %s", text)
	}
}

func TestWrongAppKey(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	pem, _, err := forgetest.NewAppKey()
	if err != nil {
		t.Fatal(err)
	}
	client, err := forge.New(forge.Options{BaseURL: b.server.URL(), App: &forge.App{ID: 77, PrivateKeyPEM: pem}, Now: b.clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.RepositoryByID(t.Context(), b.repo.ID())
	var refused *forge.Refused
	if !errors.As(err, &refused) || refused.Status != 401 {
		t.Errorf("%v, want Refused with 401", err)
	}
}

const tokenRoute = "POST /app/installations/{installation}/access_tokens"

func TestInstallationTokens(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	other, err := b.server.CreateRepository(t.Context(), "globex/shop")
	if err != nil {
		t.Fatal(err)
	}
	ask := func(what string, tokens int) {
		t.Helper()
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for _, id := range []int64{b.repo.ID(), other.ID()} {
					if _, err := b.client.RepositoryByID(t.Context(), id); err != nil {
						t.Errorf("%s: %v", what, err)
					}
				}
			})
		}
		wg.Wait()
		if got := b.server.Calls()[tokenRoute]; got != tokens {
			t.Errorf("%s: %d tokens were asked for so far, want %d", what, got, tokens)
		}
	}
	ask("at first, one for each owner", 2)
	ask("while they are good", 2)
	b.clock.Advance(56 * time.Minute)
	ask("shortly before they end", 4)
	b.server.RevokeTokens()
	if _, err := b.client.RepositoryByID(t.Context(), b.repo.ID()); err != nil {
		t.Errorf("after all tokens were revoked: %v", err)
	}
}

func TestEnterpriseAddress(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	for _, suffix := range []string{"/api/v3", "/api/v3/"} {
		client, err := forge.New(forge.Options{BaseURL: b.server.URL() + suffix, Token: token})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.Repository(t.Context(), "acme/shop"); err != nil {
			t.Errorf("%s: %v", suffix, err)
		}
	}
}
