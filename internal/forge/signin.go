package forge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/google/go-github/v60/github"

	"github.com/mayflydb/mayfly"
)

// User is somebody on GitHub. The id stays when they change their login.
type User struct {
	ID    int64
	Login string
}

// Device is a sign-in that was begun (GitHub docs, "Authorizing OAuth apps", device flow).
type Device struct {
	DeviceCode      string
	UserCode        string
	VerificationURI string
	ExpiresIn       time.Duration
	Interval        time.Duration
}

// asPerson is what GitHub counts the requests of people by who sign in: none of our accounts.
const asPerson account = -2

// Pending means that nobody has entered the code of a Device yet.
type Pending struct{ Interval time.Duration } //nolint:errname // it is no failure

// Error implements error.
func (p *Pending) Error() string { return "nobody has entered the code yet" }

// StartDevice begins a sign-in with the App that has this client id.
func (c *Client) StartDevice(ctx context.Context, clientID string) (*Device, error) {
	var out struct {
		oauthError
		DeviceCode      string `json:"device_code"`
		UserCode        string `json:"user_code"`
		VerificationURI string `json:"verification_uri"`
		ExpiresIn       int    `json:"expires_in"`
		Interval        int    `json:"interval"`
	}
	if err := c.postForm(ctx, "login/device/code", url.Values{"client_id": {clientID}}, &out); err != nil {
		return nil, err
	}
	if out.Code != "" || out.DeviceCode == "" {
		return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub lets nobody sign in with this App: %s", clip(out.Code, 100)).
			WithHint("enable the device flow in the App's settings, and check auth.github.client_id")
	}
	return &Device{
		DeviceCode: out.DeviceCode, UserCode: out.UserCode, VerificationURI: out.VerificationURI,
		ExpiresIn: time.Duration(out.ExpiresIn) * time.Second, Interval: time.Duration(max(out.Interval, 1)) * time.Second,
	}, nil
}

// FinishDevice returns who has entered the code of a Device. The token that GitHub gives for them is used for that one question, and
// kept nowhere. An error of type *Pending if nobody has yet; CodeUnauthenticated if the code has expired or they have refused.
func (c *Client) FinishDevice(ctx context.Context, clientID, deviceCode string) (*User, error) {
	var out struct {
		oauthError
		AccessToken string `json:"access_token"`
		Interval    int    `json:"interval"`
	}
	err := c.postForm(ctx, "login/oauth/access_token", url.Values{
		"client_id": {clientID}, "device_code": {deviceCode}, "grant_type": {"urn:ietf:params:oauth:grant-type:device_code"},
	}, &out)
	if err != nil {
		return nil, err
	}
	switch {
	case out.Code == "authorization_pending", out.Code == "slow_down":
		return nil, &Pending{Interval: time.Duration(out.Interval) * time.Second}
	case out.Code == "expired_token", out.Code == "access_denied", out.Code == "incorrect_device_code":
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "the sign-in has expired, or was refused").WithHint("begin again: mayfly login")
	case out.Code != "" || out.AccessToken == "":
		return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub lets nobody sign in with this App: %s", clip(out.Code, 100)).
			WithHint("enable the device flow in the App's settings, and check auth.github.client_id")
	}
	in := call{method: http.MethodGet, path: "user"}
	answer, err := c.send(ctx, asPerson, in, conceal(out.AccessToken))
	if err != nil {
		return nil, err
	}
	var user github.User
	if err := decode(in, answer, &user); err != nil {
		return nil, err
	}
	if user.GetID() == 0 || user.GetLogin() == "" {
		return nil, mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub does not say who signed in")
	}
	return &User{ID: user.GetID(), Login: user.GetLogin()}, nil
}

// UserByID returns somebody's login of today, asking as whoever may read the repository. CodeNotFound if the account is gone.
func (c *Client) UserByID(ctx context.Context, repoID, id int64) (*User, error) {
	var user github.User
	err := c.asRepository(ctx, repoID, func(who account) error {
		return c.get(ctx, who, fmt.Sprintf("user/%d", id), &user)
	})
	if errors.Is(err, errNotFound) {
		return nil, notFound(err, "there is no account %d on GitHub", id)
	}
	if err != nil {
		return nil, fmt.Errorf("read account %d: %w", id, err)
	}
	return &User{ID: user.GetID(), Login: user.GetLogin()}, nil
}

// Permission is what somebody may do in a repository.
type Permission struct {
	// Role is admin, maintain, write, triage, read or none; of a role that an organization made itself, the one it is based on as far as
	// GitHub says: admin, write or read.
	Role string
	// UserID is whom it was told of.
	UserID int64
}

// PermissionOf returns what somebody may do in a repository now (GitHub docs, "Get repository permissions for a user"). In a public
// repository everybody has read.
func (c *Client) PermissionOf(ctx context.Context, repoID int64, login string) (Permission, error) {
	var level github.RepositoryPermissionLevel
	var role struct {
		Name string `json:"role_name"`
	}
	err := c.asRepository(ctx, repoID, func(who account) error {
		in := call{method: http.MethodGet, path: fmt.Sprintf("repositories/%d/collaborators/%s/permission", repoID, url.PathEscape(login))}
		out, err := c.do(ctx, who, in)
		if err != nil {
			return err
		}
		return errors.Join(decode(in, out, &level), decode(in, out, &role))
	})
	switch {
	case mayfly.ErrorCode(err) == mayfly.CodeNotFound: // the repository itself
		return Permission{}, err
	case errors.Is(err, errNotFound): // nobody of that name
		return Permission{Role: "none"}, nil
	case err != nil:
		return Permission{}, fmt.Errorf("read what %q may do in repository %d: %w", login, repoID, err)
	}
	out := Permission{Role: role.Name, UserID: level.GetUser().GetID()}
	switch out.Role {
	case "admin", "maintain", "write", "triage", "read", "none":
	default:
		out.Role = level.GetPermission()
	}
	return out, nil
}

// Public reports whether everybody can read a repository.
func (c *Client) Public(ctx context.Context, repoID int64) (bool, error) {
	var repository github.Repository
	err := c.asRepository(ctx, repoID, func(who account) error {
		return c.get(ctx, who, fmt.Sprintf("repositories/%d", repoID), &repository)
	})
	if err != nil {
		return false, fmt.Errorf("read repository %d: %w", repoID, err)
	}
	return repository.Private == nil || !repository.GetPrivate(), nil // what GitHub does not say is taken for public
}

// oauthError is how GitHub's sign-in says no, with status 200 (RFC 6749, 5.2).
type oauthError struct {
	Code string `json:"error"`
}

// postForm asks GitHub's sign-in, which is beside its API and takes no credentials of ours.
func (c *Client) postForm(ctx context.Context, path string, form url.Values, into any) error {
	in := call{method: http.MethodPost, path: path}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	address := c.webURL().JoinPath(path)
	request, err := http.NewRequestWithContext(ctx, in.method, address.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return fmt.Errorf("build request %s %s: %w", in.method, in.path, err)
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", c.requests.UserAgent)
	reply, err := c.http.Do(request)
	if err != nil {
		return unreachable(ctx, in, err)
	}
	defer func() { _ = reply.Body.Close() }()
	const longest = 64 << 10
	body, err := io.ReadAll(io.LimitReader(reply.Body, longest))
	if err != nil {
		return unreachable(ctx, in, err)
	}
	if reply.StatusCode != http.StatusOK && reply.StatusCode != http.StatusBadRequest {
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub answered %d to %s %s", reply.StatusCode, in.method, in.path).
			WithHint("enable the device flow in the App's settings, and check auth.github.client_id")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return mayfly.Errorf(mayfly.CodeForgeUnavailable, "GitHub's answer to %s %s cannot be read", in.method, in.path)
	}
	return nil
}

// webURL is where people see GitHub: https://github.com for the API at https://api.github.com, and the host itself of an Enterprise
// Server, whose API is at /api/v3.
func (c *Client) webURL() *url.URL {
	u := *c.requests.BaseURL
	u.Path = strings.TrimSuffix(u.Path, "api/v3/")
	if host, ok := strings.CutPrefix(u.Host, "api."); ok {
		u.Host = host
	}
	return &u
}
