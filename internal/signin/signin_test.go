package signin_test

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/auth/authtest"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/internal/signin"
	"github.com/mayflydb/mayfly/internal/store"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// bed is signing in on a real state database, with a fake GitHub and a fake provider.
type bed struct {
	*signin.Service
	store  *store.Store
	tokens *auth.Tokens
	github *forgetest.Server
	shop   *forgetest.Repo
	issuer *authtest.Issuer
	log    *bytes.Buffer

	mu  sync.Mutex
	now time.Time
}

func (b *bed) clock() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *bed) advance(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.now = b.now.Add(d)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func setup(t *testing.T, change ...func(*signin.Options)) *bed {
	t.Helper()
	server := pgtest.Cluster(t)
	config, err := pgxpool.ParseConfig(server.DSN(server.Database(t)))
	must(t, err)
	pool, err := store.Connect(t.Context(), config, "")
	must(t, err)
	t.Cleanup(pool.Close)
	must(t, store.Migrate(t.Context(), pool))
	b := &bed{now: time.Now().Truncate(time.Second), log: &bytes.Buffer{}}
	logger := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	b.store = store.New(pool, nil, logger)
	keys, err := auth.LoadKeys(t.TempDir())
	must(t, err)
	b.tokens = auth.NewTokens(keys, b.store, b.clock)

	pem, public, err := forgetest.NewAppKey()
	must(t, err)
	b.github, err = forgetest.New(t.Context(), forgetest.Options{AppID: 7, AppKey: public, Now: b.clock})
	must(t, err)
	t.Cleanup(func() {
		if err := b.github.Close(); err != nil {
			t.Error(err)
		}
	})
	b.github.AllowSignIn("Iv1.client")
	b.shop, err = b.github.CreateRepository(t.Context(), "acme/shop")
	must(t, err)
	b.shop.SetPrivate(true)
	client, err := forge.New(forge.Options{BaseURL: b.github.URL(), App: &forge.App{ID: 7, PrivateKeyPEM: pem}, Logger: logger, Now: b.clock})
	must(t, err)
	b.issuer = authtest.NewIssuer(t)
	issuer, err := auth.NewIssuer(auth.IssuerOptions{URL: b.issuer.URL(), Logger: logger, Now: b.clock})
	must(t, err)
	opts := signin.Options{
		Store: b.store, Tokens: b.tokens, Forge: client, GitHub: &signin.GitHub{ClientID: "Iv1.client", Admins: []string{"root"}},
		OIDC: []signin.OIDC{{
			Name: "okta", Issuer: issuer, ClientID: "mayfly-cli", RoleClaim: "groups",
			Roles: map[string]auth.Grants{"engineers": {"shop": auth.RoleDeveloper}, "platform": {"*": auth.RoleAdmin}},
		}},
		Projects: func() []mayfly.Project {
			return []mayfly.Project{{Name: "shop", Repository: "acme/shop"}, {Name: "tool"}}
		},
		Clock: b.clock, Logger: logger,
	}
	for _, c := range change {
		c(&opts)
	}
	b.Service = signin.New(opts)
	return b
}

// signIn is the whole device flow of somebody.
func (b *bed) signIn(t *testing.T, login string) (*signin.Signed, error) {
	t.Helper()
	device, err := b.StartDevice(t.Context())
	must(t, err)
	if _, err := b.FinishDevice(t.Context(), device.DeviceCode); !errors.As(err, new(*forge.Pending)) {
		t.Fatalf("before the code is entered: %v", err)
	}
	if !b.github.EnterCode(device.UserCode, login) {
		t.Fatal("there is no such code")
	}
	return b.FinishDevice(t.Context(), device.DeviceCode)
}

func (b *bed) works(t *testing.T, what, token string, want bool) *auth.Token {
	t.Helper()
	got, err := b.tokens.Verify(t.Context(), token)
	if (err == nil) != want {
		t.Errorf("%s: %v", what, err)
	}
	return got
}

func TestRoleFollowsPermission(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for permission, want := range map[string]auth.Role{
		"admin": auth.RoleMaintainer, "maintain": auth.RoleMaintainer, "write": auth.RoleDeveloper, "triage": auth.RoleDeveloper, "read": auth.RoleViewer,
	} {
		b.shop.SetRole("alice", permission)
		signed, err := b.signIn(t, "alice")
		must(t, err)
		token := b.works(t, permission, signed.Token, true)
		if token.Subject != "github:alice" || token.Grants.In("shop") != want || token.Grants.In("tool") != "" || token.All() {
			t.Errorf("%s comes to %+v", permission, token)
		}
		if life := signed.ExpiresAt.Sub(b.clock()); life > signin.AccessTTL {
			t.Errorf("the token lives for %s", life)
		}
	}
	b.shop.SetPrivate(false)
	b.shop.SetRole("stranger", "read") // as everybody has in a public repository
	if _, err := b.signIn(t, "stranger"); mayfly.ErrorCode(err) != mayfly.CodeForbidden {
		t.Errorf("somebody who can read a public repository: %v", err)
	}
	b.shop.SetRole("eve", "none")
	if _, err := b.signIn(t, "eve"); mayfly.ErrorCode(err) != mayfly.CodeForbidden {
		t.Errorf("somebody without access: %v", err)
	}
	denied, err := b.store.AuditLog(t.Context(), store.AuditFilter{Outcome: store.AuditDenied})
	if err != nil || len(denied) != 2 || denied[0].Actor.Subject != "github:eve" {
		t.Errorf("the log has %+v, %v", denied, err)
	}
	b.shop.SetRole("root", "none")
	signed, err := b.signIn(t, "Root")
	must(t, err)
	if !b.works(t, "admin", signed.Token, true).All() {
		t.Error("who is listed as an admin is none")
	}
	if text := b.log.String(); strings.Contains(text, "ghu_") || strings.Contains(text, signed.Refresh) || strings.Contains(text, signed.Token) {
		t.Error("the log has a token in it")
	}
}

func TestDeviceThatNobodyEnters(t *testing.T) {
	t.Parallel()
	b := setup(t)
	device, err := b.StartDevice(t.Context())
	must(t, err)
	b.github.RefuseCode(device.UserCode)
	if _, err := b.FinishDevice(t.Context(), device.DeviceCode); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("a refused code: %v", err)
	}
	device, err = b.StartDevice(t.Context())
	must(t, err)
	b.advance(time.Hour)
	if _, err := b.FinishDevice(t.Context(), device.DeviceCode); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("an expired code: %v", err)
	}
	if _, err := b.FinishDevice(t.Context(), "guessed"); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("a guessed code: %v", err)
	}
}

func TestRefreshRotates(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shop.SetRole("alice", "write")
	first, err := b.signIn(t, "alice")
	must(t, err)
	second, err := b.Refresh(t.Context(), first.Refresh)
	must(t, err)
	b.works(t, "the token before", first.Token, true)
	b.works(t, "the next", second.Token, true)
	third, err := b.Refresh(t.Context(), second.Refresh)
	must(t, err)
	// Somebody shows the refresh token again that was replaced: it was copied, and nobody knows by whom.
	if _, err := b.Refresh(t.Context(), second.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("a refresh token used twice: %v", err)
	}
	for what, s := range map[string]*signin.Signed{"first": first, "second": second, "third": third} {
		b.works(t, what+" token of a session that was stolen", s.Token, false)
		if _, err := b.Refresh(t.Context(), s.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
			t.Errorf("its %s refresh token: %v", what, err)
		}
	}
	// Whoever has a copy and is quick has replaced it several times before its owner shows it.
	stolen, err := b.signIn(t, "alice")
	must(t, err)
	theirs := stolen
	for range 3 {
		theirs, err = b.Refresh(t.Context(), theirs.Refresh)
		must(t, err)
	}
	if _, err := b.Refresh(t.Context(), stolen.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("a refresh token used twice: %v", err)
	}
	b.works(t, "the token of whoever was quicker", theirs.Token, false)
	if _, err := b.Refresh(t.Context(), theirs.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("the session of whoever was quicker goes on: %v", err)
	}
	out, err := b.signIn(t, "alice")
	must(t, err)
	must(t, b.End(t.Context(), out.Refresh))
	must(t, b.End(t.Context(), out.Refresh))
	b.works(t, "a token of who signed out", out.Token, false)
	// Two at once: one is served, and the other is told to ask again or to sign in; never two tokens.
	racing, err := b.signIn(t, "alice")
	must(t, err)
	var wg sync.WaitGroup
	var mu sync.Mutex
	served := 0
	for range 8 {
		wg.Go(func() {
			if _, err := b.Refresh(t.Context(), racing.Refresh); err == nil {
				mu.Lock()
				served++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if served > 1 {
		t.Errorf("one refresh token gave %d", served)
	}
}

func TestRoleIsLost(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.shop.SetRole("alice", "maintain")
	b.shop.SetRole("bob", "write")
	alice, err := b.signIn(t, "alice")
	must(t, err)
	bob, err := b.signIn(t, "bob")
	must(t, err)
	must(t, b.Check(t.Context()))
	b.works(t, "nothing has changed", alice.Token, true)

	b.shop.SetRole("alice", "read")
	b.shop.SetRole("bob", "none")
	must(t, b.Check(t.Context()))
	b.works(t, "asked again too soon", alice.Token, true)
	b.advance(3 * time.Minute)
	must(t, b.Check(t.Context()))
	b.works(t, "a token with a role that was lost", alice.Token, false)
	b.works(t, "a token of somebody who has none any more", bob.Token, false)
	next, err := b.Refresh(t.Context(), alice.Refresh)
	must(t, err)
	if token := b.works(t, "the next", next.Token, true); token != nil && token.Grants.In("shop") != auth.RoleViewer {
		t.Errorf("the role is %s", token.Grants.In("shop"))
	}
	if _, err := b.Refresh(t.Context(), bob.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("refreshing without any role: %v", err)
	}
	// More than before takes no token away.
	b.shop.SetRole("alice", "maintain")
	b.advance(3 * time.Minute)
	must(t, b.Check(t.Context()))
	b.works(t, "a token of somebody who may do more now", next.Token, true)
	again, err := b.Refresh(t.Context(), next.Refresh)
	must(t, err)

	// Somebody else takes the name of an account that was renamed.
	b.github.Rename("alice", "alice2")
	b.advance(3 * time.Minute)
	must(t, b.Check(t.Context()))
	b.works(t, "a token of an account that has another name now", again.Token, false)
	ended, err := b.store.AuditLog(t.Context(), store.AuditFilter{Action: "session.end"})
	if err != nil || len(ended) != 2 {
		t.Errorf("the log has %+v, %v", ended, err)
	}
}

func TestSessionsEnd(t *testing.T) {
	t.Parallel()
	b := setup(t, func(o *signin.Options) { o.SessionTTL = 90 * time.Minute })
	b.shop.SetRole("alice", "write")
	first, err := b.signIn(t, "alice")
	must(t, err)
	b.advance(time.Hour)
	second, err := b.Refresh(t.Context(), first.Refresh)
	must(t, err)
	if !second.ExpiresAt.Equal(first.SessionExpiresAt) {
		t.Errorf("a token until %s in a session until %s", second.ExpiresAt, first.SessionExpiresAt)
	}
	b.advance(time.Hour)
	if _, err := b.Refresh(t.Context(), second.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("after the end of the session: %v", err)
	}
}

func TestOIDC(t *testing.T) {
	t.Parallel()
	b := setup(t)
	key, kid := b.issuer.Key()
	sign := func(change func(jwt.MapClaims)) string {
		claims := jwt.MapClaims{
			"iss": b.issuer.URL(), "aud": "mayfly-cli", "sub": "00u1", "email": "alice@example.com", "email_verified": true, "nonce": "n-1",
			"groups": []string{"everyone", "engineers"}, "iat": b.clock().Unix(), "exp": b.clock().Add(time.Hour).Unix(),
		}
		change(claims)
		token := jwt.NewWithClaims(jwt.SigningMethodRS256, claims)
		token.Header["kid"] = kid
		signed, err := token.SignedString(key)
		must(t, err)
		return signed
	}
	good := sign(func(jwt.MapClaims) {})
	signed, err := b.WithIDToken(t.Context(), "okta", good, "n-1")
	must(t, err)
	token := b.works(t, "an ID token", signed.Token, true)
	if token.Subject != "okta:alice@example.com" || token.Grants.In("shop") != auth.RoleDeveloper || len(token.Grants) != 1 {
		t.Errorf("it gives %+v", token)
	}
	for what, c := range map[string]struct {
		token, nonce string
		code         mayfly.Code
	}{
		"replayed":        {good, "n-1", mayfly.CodeUnauthenticated},
		"another nonce":   {sign(func(c jwt.MapClaims) { c["jti"] = "1" }), "n-2", mayfly.CodeUnauthenticated},
		"nonce left out":  {sign(func(c jwt.MapClaims) { c["jti"] = "2" }), "", mayfly.CodeUnauthenticated},
		"another client":  {sign(func(c jwt.MapClaims) { c["aud"] = "grafana" }), "n-1", mayfly.CodeUnauthenticated},
		"an old one":      {sign(func(c jwt.MapClaims) { c["iat"] = b.clock().Add(-30 * time.Minute).Unix() }), "n-1", mayfly.CodeUnauthenticated},
		"expired":         {sign(func(c jwt.MapClaims) { c["exp"] = b.clock().Add(-time.Hour).Unix() }), "n-1", mayfly.CodeUnauthenticated},
		"without a group": {sign(func(c jwt.MapClaims) { c["groups"] = []string{"everyone"} }), "n-1", mayfly.CodeForbidden},
		"garbage":         {"x.y.z", "n-1", mayfly.CodeUnauthenticated},
	} {
		if _, err := b.WithIDToken(t.Context(), "okta", c.token, c.nonce); mayfly.ErrorCode(err) != c.code {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := b.WithIDToken(t.Context(), "github", good, "n-1"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("another provider: %v", err)
	}
	unverified, err := b.WithIDToken(t.Context(), "okta", sign(func(c jwt.MapClaims) { c["email_verified"] = false; c["groups"] = "platform" }), "n-1")
	must(t, err)
	if token := b.works(t, "the group of admins", unverified.Token, true); token.Subject != "okta:00u1" || !token.All() {
		t.Errorf("it gives %+v", token)
	}
	// A session of another provider is refreshed without asking it, until it ends.
	if _, err := b.Refresh(t.Context(), unverified.Refresh); err != nil {
		t.Error(err)
	}
	b.advance(13 * time.Hour)
	if _, err := b.Refresh(t.Context(), signed.Refresh); mayfly.ErrorCode(err) != mayfly.CodeUnauthenticated {
		t.Errorf("after half a day: %v", err)
	}
}
