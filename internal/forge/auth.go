package forge

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// App identifies a GitHub App.
type App struct {
	ID int64
	// PrivateKeyPEM is the key that GitHub made for the App, as downloaded. A secret.
	PrivateKeyPEM []byte
}

// secret is a credential. It is a function because that is what no way of printing, at any depth, looks into: methods
// like String do not help in fields that are not exported.
type secret func() string

func conceal(value string) secret { return func() string { return value } }

// account is what GitHub counts requests by: the id of an installation, asApp, or anyone.
type account int64

const (
	asApp     account = -1 // the App itself, by a JWT
	asAnyRepo account = 0  // the one account of a plain token
)

// authenticator finds the credential for a request.
type authenticator interface {
	// account returns the account that may act on a repository: by id if it is not 0, else by "owner/name". fresh means
	// to ask GitHub even if the answer is known, because a repository may have moved to another installation.
	account(ctx context.Context, repositoryID int64, fullName string, fresh bool) (account, error)
	// learn tells the account under which a repository found by name has been seen.
	learn(repositoryID int64, who account)
	// bearer returns the token to send for who.
	bearer(ctx context.Context, who account) (secret, error)
	// forget drops what is cached for who after GitHub refused it, and reports whether trying again may help.
	forget(who account) bool
	// login returns the login that comments are written as.
	login(ctx context.Context, c *Client) (string, error)
}

// tokenAuth is a personal access token.
type tokenAuth struct{ token secret }

func (tokenAuth) account(context.Context, int64, string, bool) (account, error) {
	return asAnyRepo, nil
}

func (tokenAuth) learn(int64, account) {}

func (t tokenAuth) bearer(context.Context, account) (secret, error) { return t.token, nil }

func (tokenAuth) forget(account) bool { return false }

func (tokenAuth) login(ctx context.Context, c *Client) (string, error) {
	var user github.User
	if err := c.get(ctx, asAnyRepo, "user", &user); err != nil {
		return "", fmt.Errorf("ask GitHub whose token it is: %w", err)
	}
	return user.GetLogin(), nil
}

// appAuth is a GitHub App with its installations.
type appAuth struct {
	client *Client
	id     int64
	key    *rsa.PrivateKey

	mu           sync.Mutex
	repositories map[int64]account // which installation a repository belongs to
	tokens       map[account]*installationToken
}

// installationToken is the token of one installation. turn is held by whoever uses or renews it, so that many jobs that
// find it expired ask for one new token; it is a channel so that waiting for it ends with the context.
type installationToken struct {
	turn    chan struct{}
	value   secret
	expires time.Time
}

// tokenMargin is how long before its end a token is no longer used. Tokens live for an hour.
const tokenMargin = 5 * time.Minute

func newAppAuth(c *Client, app App) (*appAuth, error) {
	key, err := jwt.ParseRSAPrivateKeyFromPEM(app.PrivateKeyPEM)
	if err != nil || app.ID <= 0 {
		// The cause is left out: it may quote what it could not parse.
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the GitHub App's id or private key is not usable").
			WithHint("the id is the number on the App's settings page; the key is the .pem file that GitHub offered there, unchanged")
	}
	return &appAuth{
		client: c, id: app.ID, key: key,
		repositories: map[int64]account{}, tokens: map[account]*installationToken{},
	}, nil
}

// jwt returns the token that proves to be the App. It starts a minute in the past, against clocks that differ, and ends
// within the ten minutes that GitHub allows (GitHub docs, "Generating a JSON Web Token for a GitHub App").
func (a *appAuth) jwt() (secret, error) {
	now := a.client.now()
	token := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.RegisteredClaims{
		Issuer:    strconv.FormatInt(a.id, 10),
		IssuedAt:  jwt.NewNumericDate(now.Add(-time.Minute)),
		ExpiresAt: jwt.NewNumericDate(now.Add(8 * time.Minute)),
	})
	signed, err := token.SignedString(a.key)
	if err != nil {
		return nil, fmt.Errorf("sign the GitHub App's token: %w", err)
	}
	return conceal(signed), nil
}

func (a *appAuth) account(ctx context.Context, repositoryID int64, fullName string, fresh bool) (account, error) {
	if repositoryID != 0 && !fresh {
		a.mu.Lock()
		who, ok := a.repositories[repositoryID]
		a.mu.Unlock()
		if ok {
			return who, nil
		}
	}
	path, name := fmt.Sprintf("repositories/%d/installation", repositoryID), fmt.Sprintf("repository %d", repositoryID)
	if repositoryID == 0 {
		path, name = "repos/"+fullName+"/installation", "repository "+fullName
	}
	var installation github.Installation
	if err := a.client.get(ctx, asApp, path, &installation); err != nil {
		if errors.Is(err, errNotFound) {
			return 0, notFound(err, "the GitHub App is not installed on %s", name).
				WithHint("install the App on the repository, or correct its name in the configuration")
		}
		return 0, fmt.Errorf("find the installation for %s: %w", name, err)
	}
	who := account(installation.GetID())
	if who <= 0 {
		return 0, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub named no installation for %s", name)
	}
	a.learn(repositoryID, who)
	return who, nil
}

func (a *appAuth) learn(repositoryID int64, who account) {
	if repositoryID == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.repositories[repositoryID] = who
}

func (a *appAuth) bearer(ctx context.Context, who account) (secret, error) {
	if who == asApp {
		return a.jwt()
	}
	a.mu.Lock()
	token, ok := a.tokens[who]
	if !ok {
		token = &installationToken{turn: make(chan struct{}, 1)}
		a.tokens[who] = token
	}
	a.mu.Unlock()
	select {
	case token.turn <- struct{}{}:
		defer func() { <-token.turn }()
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for an installation token: %w", ctx.Err())
	}
	if token.value != nil && a.client.now().Before(token.expires.Add(-tokenMargin)) {
		return token.value, nil
	}
	var fresh github.InstallationToken
	in := call{method: http.MethodPost, path: fmt.Sprintf("app/installations/%d/access_tokens", int64(who))}
	if err := a.client.exchange(ctx, asApp, in, &fresh); err != nil {
		if errors.Is(err, errNotFound) {
			a.forget(who)
			return nil, notFound(err, "the GitHub App is no longer installed (installation %d)", int64(who)).
				WithHint("install the App again, or remove the project")
		}
		if refused := (*Refused)(nil); errors.As(err, &refused) && refused.Status == http.StatusForbidden {
			return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "the GitHub App's installation %d is suspended, or may not have a token: %w", int64(who), err).
				WithHint("an owner of the account can unsuspend it under Settings, GitHub Apps; previews that exist stay as they are until then")
		}
		return nil, fmt.Errorf("get a token for installation %d: %w", int64(who), err)
	}
	// The token's form is GitHub's business: its length and prefix have changed before.
	token.value, token.expires = conceal(fresh.GetToken()), fresh.GetExpiresAt().Time
	return token.value, nil
}

func (a *appAuth) forget(who account) bool {
	if who == asApp {
		return false // a JWT is fresh every time
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	// Whoever is renewing the old entry keeps it; later calls start with a new one.
	delete(a.tokens, who)
	for repository, owner := range a.repositories {
		if owner == who {
			delete(a.repositories, repository)
		}
	}
	return true
}

func (a *appAuth) login(ctx context.Context, c *Client) (string, error) {
	var app github.App
	if err := c.get(ctx, asApp, "app", &app); err != nil {
		return "", fmt.Errorf("ask GitHub for the App's name: %w", err)
	}
	return app.GetSlug() + "[bot]", nil
}

// asRepository calls f with the account that may act on the repository. When GitHub finds nothing or refuses, and the
// repository turns out to belong to another installation by now, it calls f once more.
func (c *Client) asRepository(ctx context.Context, repoID int64, f func(who account) error) error {
	who, err := c.auth.account(ctx, repoID, "", false)
	if err != nil {
		return err
	}
	err = f(who)
	if refused := (*Refused)(nil); !errors.Is(err, errNotFound) && !errors.As(err, &refused) {
		return err
	}
	now, lookupErr := c.auth.account(ctx, repoID, "", true)
	if lookupErr != nil || now == who {
		return err // the first error says what the caller asked about
	}
	return f(now)
}

// Self returns the login that Mayfly acts as on GitHub: the token's user, or the App's bot. It is also the cheapest
// question that shows whether the credentials work.
func (c *Client) Self(ctx context.Context) (string, error) {
	c.mu.Lock()
	self := c.self
	c.mu.Unlock()
	if self != "" {
		return self, nil
	}
	self, err := c.auth.login(ctx, c)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	c.self = self
	c.mu.Unlock()
	return self, nil
}
