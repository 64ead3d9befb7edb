package api

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/auth/authtest"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/provisioner"
)

// ids of acme/shop and of its owner.
const (
	shopID   = 7
	acmeID   = 65
	audience = "https://mayfly.example.com"
)

// github is what the forge would say.
type github struct {
	provisioner.Forge
	mu           sync.Mutex
	repositories map[string]forge.Repository
	pulls        []*forge.PullRequest
	down         bool
	asked        int
}

func (g *github) look() error {
	g.asked++
	if g.down {
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub does not answer")
	}
	return nil
}

func (g *github) Repository(_ context.Context, fullName string) (forge.Repository, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.look(); err != nil {
		return forge.Repository{}, err
	}
	r, ok := g.repositories[fullName]
	if !ok {
		return r, mayfly.Errorf(mayfly.CodeNotFound, "%s is not on GitHub", fullName)
	}
	return r, nil
}

func (g *github) RepositoryByID(_ context.Context, id int64) (forge.Repository, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.look(); err != nil {
		return forge.Repository{}, err
	}
	for _, r := range g.repositories {
		if r.ID == id {
			return r, nil
		}
	}
	return forge.Repository{}, mayfly.Errorf(mayfly.CodeNotFound, "repository %d is not on GitHub", id)
}

func (g *github) PullRequest(_ context.Context, repositoryID int64, number int) (*forge.PullRequest, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.look(); err != nil {
		return nil, err
	}
	for _, pr := range g.pulls {
		if pr.RepositoryID == repositoryID && pr.Number == number {
			return pr, nil
		}
	}
	return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no pull request %d", number)
}

// CommitParents has commits that are named by the first digit of the head that they merge.
func (g *github) CommitParents(_ context.Context, _ int64, sha string) ([]string, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return []string{strings.Repeat("0", 40), strings.Repeat(sha[:1], 40)}, g.look()
}

func (g *github) OpenPullRequests(context.Context, int64) ([]*forge.PullRequest, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pulls, g.look()
}

func (g *github) set(change func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change()
}

type ciBed struct {
	*bed
	github *github
	issuer *authtest.Issuer
	gitlab *authtest.Issuer
}

func setupCI(t *testing.T, change ...func(*Options)) *ciBed {
	t.Helper()
	b := &ciBed{issuer: authtest.NewIssuer(t), gitlab: authtest.NewIssuer(t), github: &github{
		repositories: map[string]forge.Repository{"acme/shop": {ID: shopID, FullName: "acme/shop", OwnerID: acmeID}},
		pulls: []*forge.PullRequest{
			{RepositoryID: shopID, Number: 42, State: "open", HeadRef: "add-phones", HeadSHA: strings.Repeat("a", 40)},
			{RepositoryID: shopID, Number: 43, State: "open", HeadRef: "add-phones", HeadSHA: strings.Repeat("b", 40), Fork: true},
			{RepositoryID: shopID, Number: 44, State: "closed", HeadRef: "old"},
			{RepositoryID: shopID, Number: 45, State: "open", HeadRef: "twice"}, {RepositoryID: shopID, Number: 46, State: "open", HeadRef: "twice"},
			{RepositoryID: shopID, Number: 50, State: "open", HeadRef: "fork", HeadSHA: strings.Repeat("c", 40), Fork: true},
		},
	}}
	b.bed = setup(t, append([]func(*Options){func(o *Options) {
		logger := o.Logger
		service := provisioner.New(provisioner.Options{
			Store: o.Store, Watcher: o.Watcher, Projects: projectList{}, Forge: b.github, Clock: time.Now, Logger: logger,
		})
		open := func(url string) *auth.Issuer {
			issuer, err := auth.NewIssuer(auth.IssuerOptions{URL: url, Logger: logger, Now: time.Now})
			must(t, err)
			return issuer
		}
		o.RateLimits.AddressPerMinute = -1
		o.Exchange = auth.NewExchange(auth.ExchangeOptions{
			Issuers: []auth.CIIssuer{
				{Issuer: open(b.issuer.URL()), Audience: audience, GitHub: true, Events: []string{"pull_request", "push"}},
				{
					Issuer: open(b.gitlab.URL()), Audience: audience, Project: "till", RefClaim: "ref_path",
					RefPattern: regexp.MustCompile(`refs/merge-requests/([0-9]+)/(head|merge)`), Preview: "mr-{ref}",
					Match: map[string]*regexp.Regexp{"project_id": regexp.MustCompile(`^74$`), "pipeline_source": regexp.MustCompile("merge_request_event")},
				},
				{
					Issuer: open(b.gitlab.URL()), Audience: audience, Project: "shop", RefClaim: "build_branch",
					RefPattern: regexp.MustCompile(`.+`), Preview: auth.PreviewOfBranch,
					Match: map[string]*regexp.Regexp{"build_branch": regexp.MustCompile("^(add|twi).*$")},
				},
			},
			PullRequests: service, Ledger: ExchangeLedger{o.Store}, Tokens: o.Tokens, Logger: logger, Now: time.Now,
		})
	}}, change...)...)
	return b
}

// actions returns the claims of a job for a pull request of acme/shop, with some changed.
func actions(number int, changes map[string]any) map[string]any {
	claims := authtest.Actions(audience, shopID, acmeID, "acme/shop", number)
	maps.Copy(claims, changes)
	return claims
}

// exchange asks for a token; more is what else the body has.
func (b *ciBed) exchange(idToken string, more map[string]any) reply {
	b.t.Helper()
	body := map[string]any{"token": idToken}
	maps.Copy(body, more)
	raw, err := json.Marshal(body)
	must(b.t, err)
	return b.send("", "POST /auth/exchange", string(raw))
}

func (b *ciBed) granted(idToken string, more map[string]any) client.ExchangedToken {
	b.t.Helper()
	r := b.exchange(idToken, more)
	var out client.ExchangedToken
	if err := json.Unmarshal(r.body, &out); err != nil || r.StatusCode != http.StatusOK {
		b.t.Fatalf("no token: %d %s\n%s", r.StatusCode, r.body, b.log)
	}
	return out
}

// TestExchange plays a job that is faster than the webhook: it gets a token for a preview that nobody made yet, and may read it
// once it is there, and nothing else.
func TestExchange(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	sha := strings.Repeat("a", 40)
	got := b.granted(b.issuer.Sign(actions(42, nil)), nil)
	if got.Preview != "shop-pr-42" || got.Project != "shop" || time.Until(got.ExpiresAt) > auth.DefaultExchangeTTL+time.Second {
		t.Errorf("granted: %+v", got)
	}
	b.refused(got.Token, "/previews/shop-pr-42", "", http.StatusNotFound, mayfly.CodeNotFound)
	p, other := b.pullRequest(42, sha), b.pullRequest(47, sha)
	sandbox := b.sandbox("shop")
	b.observe(p, mayfly.PreviewReady)
	if r := b.send(got.Token, "/previews/shop-pr-42?wait=ready&sha="+sha, ""); r.StatusCode != http.StatusOK {
		t.Errorf("its own preview: %d %s", r.StatusCode, r.body)
	}
	for _, foreign := range []string{other.Name, sandbox.Name, "shop-pr-1000"} {
		for _, suffix := range []string{"", "/credentials", "/report", "/events", "?wait=ready&timeout=10ms&sha=" + sha} {
			b.refused(got.Token, "/previews/"+foreign+suffix, "", http.StatusNotFound, mayfly.CodeNotFound)
		}
	}
	for path, body := range map[string]string{
		"POST /previews":                  `{"project":"shop"}`,
		"DELETE /previews/shop-pr-42":     "",
		"PATCH /previews/shop-pr-42":      `{"ttl":"1d"}`,
		"POST /previews/shop-pr-42/reset": "",
		"POST /projects/shop/templates":   "",
	} {
		b.refused(got.Token, path, body, http.StatusForbidden, mayfly.CodeForbidden)
	}
	b.refused(got.Token, "/projects/shop/templates", "", http.StatusForbidden, mayfly.CodeForbidden)
	for _, list := range []string{"/previews", "/projects", "/previews?project=shop"} {
		if r := b.send(got.Token, list, ""); strings.Contains(string(r.body), "shop") && r.StatusCode == http.StatusOK {
			t.Errorf("%s shows more than one preview: %s", list, r.body)
		}
	}
	var entries int
	must(t, b.pool.QueryRow(t.Context(), `select count(*) from audit where action = 'token.exchange' and project = 'shop' and detail->>'preview' = 'shop-pr-42'`).Scan(&entries))
	if entries != 1 {
		t.Errorf("%d entries of the exchange in the audit log", entries)
	}
}

// TestExchangeLimitsToRepository gives the name to another repository's pull request: a token for the old one does not open it.
func TestExchangeLimitsToRepository(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	got := b.granted(b.issuer.Sign(actions(42, nil)), nil)
	p := b.pullRequest(42, strings.Repeat("a", 40))
	_, err := b.pool.Exec(t.Context(), `update preview set repository_id = 8 where id = $1`, p.ID)
	must(t, err)
	b.refused(got.Token, "/previews/"+p.Name, "", http.StatusNotFound, mayfly.CodeNotFound)
	b.refused(got.Token, "/previews/"+p.Name+"/credentials", "", http.StatusNotFound, mayfly.CodeNotFound)
}

// TestExchangeRefuses tries what must get nothing. All answers are the same to the last byte, whatever the reason: it is in the log.
func TestExchangeRefuses(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	p := b.pullRequest(50, strings.Repeat("c", 40))
	_, err := b.pool.Exec(t.Context(), `update preview set fork = true where id = $1`, p.ID)
	must(t, err)
	replayed := b.issuer.Sign(actions(42, nil))
	b.granted(replayed, nil)
	key, kid := b.issuer.Key()
	stranger := authtest.NewIssuer(t)
	parts := strings.Split(replayed, ".")
	at := func(d time.Duration) int64 { return time.Now().Add(d).Unix() }
	with := func(changes map[string]any) string { return b.issuer.Sign(actions(42, changes)) }
	cases := map[string]struct {
		token string
		more  map[string]any
		log   string
	}{
		"replayed":                   {replayed, nil, "was exchanged before"},
		"alg none":                   {"eyJhbGciOiJub25lIn0." + parts[1] + ".", nil, "malformed"},
		"HS256":                      {b.issuer.SignWith(actions(42, nil), jwt.SigningMethodHS256, key.N.Bytes(), kid), nil, "malformed"},
		"other key":                  {b.issuer.SignWith(actions(42, nil), jwt.SigningMethodRS256, must1(stranger.Key()), kid), nil, "signature"},
		"unknown issuer":             {stranger.Sign(actions(42, nil)), nil, "no issuer"},
		"garbage":                    {"x", nil, "not a token"},
		"wrong audience":             {with(map[string]any{"aud": "https://github.com/acme"}), nil, "audience"},
		"expired":                    {with(map[string]any{"exp": at(-time.Hour)}), nil, "expired"},
		"from the future":            {with(map[string]any{"iat": at(time.Hour), "exp": at(2 * time.Hour)}), nil, "used before issued"},
		"good for ever":              {with(map[string]any{"exp": at(1000 * time.Hour)}), nil, "good for another"},
		"no jti":                     {with(map[string]any{"jti": nil}), nil, "jti"},
		"other repository":           {with(map[string]any{"repository_id": "8"}), nil, "not one of a project"},
		"name taken by another":      {with(map[string]any{"repository_id": "99", "repository": "acme/shop"}), nil, "not one of a project"},
		"other owner":                {with(map[string]any{"repository_owner_id": "66"}), nil, "belongs to"},
		"no ids":                     {with(map[string]any{"repository_id": nil}), nil, "not an id"},
		"pull_request_target":        {with(map[string]any{"event_name": "pull_request_target", "ref": "refs/heads/main"}), nil, "pull_request_target"},
		"target with a pull's ref":   {with(map[string]any{"event_name": "pull_request_target"}), nil, "pull_request_target"},
		"workflow_run":               {with(map[string]any{"event_name": "workflow_run"}), nil, "workflow_run"},
		"issue_comment":              {with(map[string]any{"event_name": "issue_comment"}), nil, "issue_comment"},
		"dispatch, not configured":   {with(map[string]any{"event_name": "workflow_dispatch", "ref": "refs/heads/add-phones"}), nil, "workflow_dispatch"},
		"no event":                   {with(map[string]any{"event_name": nil}), nil, "event"},
		"ref of the head":            {with(map[string]any{"ref": "refs/pull/42/head"}), nil, "does not name"},
		"ref with more":              {with(map[string]any{"ref": "refs/pull/42/merge\n"}), nil, "does not name"},
		"ref of a branch":            {with(map[string]any{"ref": "refs/heads/main"}), nil, "does not name"},
		"another pull request":       {with(nil), map[string]any{"pull_request": 43}, "was asked for"},
		"another project":            {with(nil), map[string]any{"project": "till"}, "not one of the repository"},
		"fork without a preview":     {b.issuer.Sign(actions(43, nil)), nil, "fork"},
		"fork with one":              {b.issuer.Sign(actions(50, nil)), nil, "fork"},
		"closed":                     {b.issuer.Sign(actions(44, nil)), nil, "no such open"},
		"no such pull request":       {b.issuer.Sign(actions(1000, nil)), nil, "there is no pull request"},
		"push to a branch without":   {with(map[string]any{"event_name": "push", "ref": "refs/heads/main"}), nil, "no such open"},
		"push of a tag":              {with(map[string]any{"event_name": "push", "ref": "refs/heads/add-phones", "ref_type": "tag"}), nil, "not a branch"},
		"push to a branch with two":  {with(map[string]any{"event_name": "push", "ref": "refs/heads/twice"}), nil, "several"},
		"push, another's number":     {with(map[string]any{"event_name": "push", "ref": "refs/heads/add-phones"}), map[string]any{"pull_request": 45}, "no such open"},
		"gitlab, other project":      {b.gitlab.Sign(map[string]any{"sub": "x", "aud": audience, "project_id": "740", "pipeline_source": "merge_request_event", "ref_path": "refs/merge-requests/3/head"}), nil, "does not match"},
		"gitlab, a branch of two MR": {b.gitlab.Sign(map[string]any{"sub": "x", "aud": audience, "build_branch": "x\nadd"}), nil, "does not match"},
	}
	var first string
	for name, c := range cases {
		before := len(b.log.String())
		r := b.exchange(c.token, c.more)
		if first == "" {
			first = string(r.body)
		}
		if r.StatusCode != http.StatusForbidden || string(r.body) != first {
			t.Errorf("%s: %d %s", name, r.StatusCode, r.body)
		}
		if logged := b.log.String()[before:]; !strings.Contains(logged, "token exchange refused") || !strings.Contains(logged, c.log) {
			t.Errorf("%s: the log does not say %q: %s", name, c.log, logged)
		}
	}
}

func must1[T, U any](v T, _ U) T { return v }

func TestExchangeOtherWays(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	push := actions(42, map[string]any{"event_name": "push", "ref": "refs/heads/add-phones"})
	if got := b.granted(b.issuer.Sign(push), nil); got.Preview != "shop-pr-42" {
		t.Errorf("a push to the branch: %+v", got)
	}
	push["ref"] = "refs/heads/twice"
	if got := b.granted(b.issuer.Sign(push), map[string]any{"pull_request": 46}); got.Preview != "shop-pr-46" {
		t.Errorf("a push to a branch of two pull requests: %+v", got)
	}
	gitlab := map[string]any{
		"sub": "project_path:acme/till:ref_type:branch:ref:x", "aud": audience, "project_id": "74", "pipeline_source": "merge_request_event",
		"ref_path": "refs/merge-requests/12/merge",
	}
	got := b.granted(b.gitlab.Sign(gitlab), nil)
	if got.Preview != "till-mr-12" || got.Project != "till" {
		t.Errorf("GitLab: %+v", got)
	}
	template := b.template("till")
	p, err := b.Previews.CreateSandbox(t.Context(), provisioner.SandboxRequest{Project: "till", Name: "mr-12", CreatedBy: "tester"})
	must(t, err)
	if r := b.send(got.Token, "/previews/"+p.Name, ""); r.StatusCode != http.StatusOK {
		t.Errorf("the sandbox of the merge request (%s): %d %s", template.ID, r.StatusCode, r.body)
	}
	branch := map[string]any{"sub": "pipeline", "aud": audience, "build_branch": "add-phones"}
	if got := b.granted(b.gitlab.Sign(branch), nil); got.Preview != "shop-pr-42" || got.Project != "shop" {
		t.Errorf("the pull request of a branch: %+v", got)
	}
	p = b.pullRequest(50, strings.Repeat("c", 40))
	_, err = b.pool.Exec(t.Context(), `update preview set fork = true where id = $1`, p.ID)
	must(t, err)
	_, err = b.pool.Exec(t.Context(), `
		insert into pull_request (project, repository_id, number, approved_sha) values ('shop', $1, 50, $2)`, shopID, strings.Repeat("c", 40))
	must(t, err)
	of := func(digit string) string {
		return b.issuer.Sign(actions(50, map[string]any{"sha": digit + strings.Repeat("1", 39)}))
	}
	if got := b.granted(of("c"), nil); got.Preview != "shop-pr-50" {
		t.Errorf("a fork's head that was approved: %+v", got)
	}
	b.refusedExchange("a job of an earlier head, still running", of("b"))
	head := func(sha string) {
		b.github.set(func() { b.github.pulls[len(b.github.pulls)-1].HeadSHA = sha })
	}
	head(strings.Repeat("d", 40))
	b.refusedExchange("a head that was pushed after the approved one and that nobody has heard of", of("d"))
	b.refusedExchange("a job of the approved head, after the push", of("c"))
	head(strings.Repeat("c", 40))
	b.granted(of("c"), nil)
	b.github.set(func() { b.github.down = true })
	if r := b.exchange(of("c"), nil); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a fork's while nobody knows its head: %d %s", r.StatusCode, r.body)
	}
	b.github.set(func() { b.github.down = false })
	_, err = b.pool.Exec(t.Context(), `update preview set head_sha = $1 where id = $2`, strings.Repeat("d", 40), p.ID)
	must(t, err)
	b.refusedExchange("a fork's head after the approved one", of("d"))
}

func (b *ciBed) refusedExchange(what, idToken string) {
	b.t.Helper()
	if r := b.exchange(idToken, nil); r.StatusCode != http.StatusForbidden {
		b.t.Errorf("%s: %d %s", what, r.StatusCode, r.body)
	}
}

// TestExchangeWithoutGitHub shows what is known going on to be used, and a transfer being noticed.
func TestExchangeWithoutGitHub(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	b.granted(b.issuer.Sign(actions(42, nil)), nil)
	b.pullRequest(47, strings.Repeat("a", 40))
	b.github.set(func() { b.github.down = true })
	_, err := b.pool.Exec(t.Context(), `update repository_owner set seen_at = now() - interval '1 hour'`)
	must(t, err)
	b.granted(b.issuer.Sign(actions(47, nil)), nil)
	if r := b.exchange(b.issuer.Sign(actions(42, nil)), nil); r.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a pull request without a preview, GitHub being down: %d %s", r.StatusCode, r.body)
	}
	b.github.set(func() {
		b.github.down = false
		b.github.repositories["acme/shop"] = forge.Repository{ID: shopID, FullName: "other/shop", OwnerID: 66}
	})
	b.refusedExchange("a token of the owner before", b.issuer.Sign(actions(47, nil)))
	b.granted(b.issuer.Sign(actions(47, map[string]any{"repository_owner_id": "66"})), nil)

	b.issuer.SetDown(true)
	b.granted(b.issuer.Sign(actions(47, map[string]any{"repository_owner_id": "66"})), nil) // its keys are known
	b.gitlab.SetDown(true)
	b.refused("", "POST /auth/exchange", `{"token":"`+b.gitlab.Sign(map[string]any{"sub": "x", "aud": audience})+`"}`,
		http.StatusServiceUnavailable, mayfly.CodeIssuerUnavailable)
}

// TestExchangeOnce exchanges one token many times at once.
func TestExchangeOnce(t *testing.T) {
	t.Parallel()
	b := setupCI(t)
	idToken := b.issuer.Sign(actions(42, nil))
	var wg sync.WaitGroup
	var mu sync.Mutex
	good := 0
	for range 8 {
		wg.Go(func() {
			if r := b.exchange(idToken, nil); r.StatusCode == http.StatusOK {
				mu.Lock()
				good++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if good != 1 {
		t.Errorf("a token was exchanged %d times", good)
	}
	must(t, b.Store.PurgeIDTokens(t.Context(), time.Now().Add(-time.Minute)))
	b.refusedExchange("after a purge that must not forget it", idToken)
	if strings.Contains(b.log.String(), idToken[strings.LastIndex(idToken, ".")+1:]) {
		t.Error("a token is in the log")
	}
}

func TestExchangeBody(t *testing.T) {
	t.Parallel()
	b := setupCI(t, func(o *Options) { o.RateLimits.AddressPerMinute = 0 })
	for _, body := range []string{`{}`, `{"token":""}`, `[]`, `{"token":"x","more":1}`, `{"token":"x","pull_request":-1}`} {
		b.refused("", "POST /auth/exchange", body, http.StatusUnprocessableEntity, mayfly.CodeInvalid)
	}
	limited := false
	for range 100 {
		limited = limited || b.exchange("x", nil).StatusCode == http.StatusTooManyRequests
	}
	if !limited {
		t.Error("a hundred guesses are not bounded")
	}
	off := setup(t)
	off.refused("", "POST /auth/exchange", `{"token":"x"}`, http.StatusForbidden, mayfly.CodeForbidden)
}
