package api

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// Logins is what the API asks of the provisioner about logins besides the owner's.
type Logins interface {
	// CreateLogin makes somebody's login, or gives theirs a new password.
	CreateLogin(ctx context.Context, name, subject string, access store.LoginAccess) (*provisioner.Credentials, error)
	// LoginCredentials returns somebody's login; CodeNotFound if they have none.
	LoginCredentials(ctx context.Context, name, subject string, access store.LoginAccess) (*provisioner.Credentials, error)
}

// roleOwner is the login that everybody shares; the others are store.LoginAccess.
const roleOwner = "owner"

func loginRoles() []string { return []string{string(store.LoginPersonal), string(store.LoginReadOnly)} }

// loginRoutes are about the logins of previews.
func (a *API) loginRoutes() []route {
	roles := append([]string{roleOwner}, loginRoles()...)
	return []route{
		{
			method: http.MethodGet, path: "/previews/:name/credentials", id: "getCredentials", summary: "How to connect, with the password",
			scope: auth.ScopeCredentialsRead, gives: &client.Credentials{}, status: http.StatusOK, handle: a.previewCredentials,
			query: []parameter{{"role", "owner, which is the one for applications, if left out; personal or read-only for your own login, once you have made one", roles}},
		},
		{
			method: http.MethodPost, path: "/previews/:name/credentials", id: "createCredentials",
			summary: "Make a login of your own, or give it a new password: personal, which acts as the owner, or read-only",
			scope:   auth.ScopeCredentialsRead, takes: &client.CreateCredentials{}, gives: &client.Credentials{}, status: http.StatusCreated,
			handle: a.createCredentials,
		},
		{
			method: http.MethodGet, path: "/previews/:name/logins", id: "listLogins", summary: "List the logins that people have besides the owner's",
			scope: auth.ScopePreviewsRead, gives: &client.LoginList{}, status: http.StatusOK, handle: a.listLogins,
		},
		{
			method: http.MethodDelete, path: "/previews/:name/logins/:role", id: "revokeLogin",
			summary: "Take a login away: its role is dropped, its connections end, and the owner's password changes",
			scope:   auth.ScopeCredentialsRead, gives: &client.Login{}, status: http.StatusAccepted, handle: a.revokeLogin,
		},
	}
}

func (a *API) previewCredentials(c echo.Context) error {
	p, err := a.preview(c, auth.ScopeCredentialsRead)
	if err != nil {
		return err
	}
	var credentials *provisioner.Credentials
	switch role := c.QueryParam("role"); role {
	case "", roleOwner:
		credentials, err = a.Previews.Credentials(c.Request().Context(), p.Name)
	case string(store.LoginPersonal), string(store.LoginReadOnly):
		credentials, err = a.Logins.LoginCredentials(c.Request().Context(), p.Name, bearer(c).Subject, store.LoginAccess(role))
	default:
		err = badRole(role)
	}
	if err != nil {
		return err
	}
	return a.showCredentials(c, http.StatusOK, p, credentials)
}

func badRole(role string) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "role: %q is none of owner, personal, read-only", role)
}

// showCredentials answers with credentials; there is no other way out for a password. It is on record before it is shown, or it is not
// shown.
func (a *API) showCredentials(c echo.Context, code int, p *mayfly.Preview, credentials *provisioner.Credentials) error {
	if err := a.auditCredentials(c, p, credentials.User); err != nil {
		return err
	}
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(credentials.User, credentials.Password),
		Host: net.JoinHostPort(a.GatewayHost, strconv.Itoa(a.GatewayPort)), Path: "/" + credentials.Database,
		RawQuery: "sslmode=" + url.QueryEscape(a.SSLMode),
	}
	token := bearer(c)
	a.Logger.InfoContext(c.Request().Context(), "credentials handed out",
		"preview", p.Name, "role", credentials.User, "subject", token.Subject, "token", token.ID)
	return c.JSON(code, client.Credentials{
		Host: a.GatewayHost, Port: a.GatewayPort, Database: credentials.Database, User: credentials.User,
		Password: credentials.Password, SSLMode: a.SSLMode, URL: u.String(),
	})
}

func (a *API) createCredentials(c echo.Context) error {
	p, err := a.preview(c, auth.ScopeCredentialsRead)
	if err != nil {
		return err
	}
	var body client.CreateCredentials
	if err := decode(c, &body); err != nil {
		return err
	}
	access := store.LoginAccess(body.Role)
	switch access {
	case store.LoginPersonal:
		// It may write, as the owner's may: what everybody with this scope can have anyhow.
	case store.LoginReadOnly:
	default:
		return mayfly.Errorf(mayfly.CodeInvalid, "role: %q is neither personal nor read-only", body.Role).
			WithHint("POST /api/v1/previews/%s/credentials/rotate changes the owner's password", p.Name)
	}
	credentials, err := a.Logins.CreateLogin(c.Request().Context(), p.Name, bearer(c).Subject, access)
	if err != nil {
		return err
	}
	return a.showCredentials(c, http.StatusCreated, p, credentials)
}

func (a *API) listLogins(c echo.Context) error {
	p, err := a.preview(c, auth.ScopePreviewsRead)
	if err != nil {
		return err
	}
	logins, err := a.Store.Logins(c.Request().Context(), p.ID)
	if err != nil {
		return err
	}
	list := client.LoginList{Items: []client.Login{}}
	for _, l := range logins {
		if l.RevokedAt == nil {
			list.Items = append(list.Items, loginJSON(l))
		}
	}
	return c.JSON(http.StatusOK, list)
}

func loginJSON(l store.Login) client.Login {
	return client.Login{
		Role: l.Role, Subject: l.Subject, Access: string(l.Access), CreatedAt: l.CreatedAt.UTC(), CreatedBy: l.CreatedBy, Revoked: l.RevokedAt != nil,
	}
}

// revokeLogin takes a login away: one's own, or, for who may manage the project's previews, anybody's.
func (a *API) revokeLogin(c echo.Context) error {
	p, err := a.preview(c, auth.ScopeCredentialsRead)
	if err != nil {
		return err
	}
	login, err := a.Store.Login(c.Request().Context(), p, c.Param("role"))
	if err != nil {
		return err
	}
	if login.Subject != bearer(c).Subject {
		if err := allow(c, auth.ScopePreviewsManage, p.Project); err != nil {
			return err
		}
	}
	if err := a.Store.RevokeLogin(c.Request().Context(), p, login.Role); err != nil {
		return err
	}
	out := loginJSON(*login)
	out.Revoked = true
	return c.JSON(http.StatusAccepted, out)
}
