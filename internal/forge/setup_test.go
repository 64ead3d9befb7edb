package forge_test

import (
	"sync"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

const token = "github_pat_test"

// testBundle is a fake GitHub with one repository, a client for it, and the clock of both.
type testBundle struct {
	clock  *clock
	server *forgetest.Server
	repo   *forgetest.Repo
	client *forge.Client
}

// clock is a clock that tests move. It starts at a whole second, because GitHub's headers have no more.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type setupOptions struct {
	app      bool
	truncate int
	limits   forge.Limits
}

func setup(t *testing.T, o setupOptions) *testBundle {
	t.Helper()
	b := &testBundle{clock: &clock{now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}}
	serverOptions := forgetest.Options{Dir: t.TempDir(), Now: b.clock.Now, TruncateTrees: o.truncate}
	clientOptions := forge.Options{Now: b.clock.Now, Version: "test", Limits: o.limits}
	if o.app {
		pem, public, err := forgetest.NewAppKey()
		if err != nil {
			t.Fatal(err)
		}
		serverOptions.AppID, serverOptions.AppKey = 77, public
		clientOptions.App = &forge.App{ID: 77, PrivateKeyPEM: pem}
	} else {
		serverOptions.Token, clientOptions.Token = token, token
	}
	var err error
	if b.server, err = forgetest.New(t.Context(), serverOptions); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.server.Close(); err != nil {
			t.Errorf("close the fake GitHub: %v", err)
		}
	})
	if b.repo, err = b.server.CreateRepository(t.Context(), "acme/shop"); err != nil {
		t.Fatal(err)
	}
	clientOptions.BaseURL = b.server.URL()
	if b.client, err = forge.New(clientOptions); err != nil {
		t.Fatal(err)
	}
	return b
}

// open commits files to a branch and opens a pull request for it.
func (b *testBundle) open(t *testing.T, branch string, files map[string]string) *forgetest.PR {
	t.Helper()
	if _, err := b.repo.Commit(t.Context(), branch, files, "Work on "+branch); err != nil {
		t.Fatal(err)
	}
	p, err := b.repo.OpenPullRequest(t.Context(), branch, "main", "Add "+branch, forgetest.PROptions{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}
