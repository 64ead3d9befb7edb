package api

import (
	"errors"
	"net/http"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/signin"
)

// sessionRoutes are how people sign in. They need no token: it is what they give.
func (a *API) sessionRoutes() []route {
	return []route{
		{
			method: http.MethodGet, path: "/auth/providers", id: "listProviders", summary: "List the ways to sign in",
			public: true, gives: &client.ProviderList{}, status: http.StatusOK, handle: a.listProviders,
		},
		{
			method: http.MethodPost, path: "/auth/device", id: "startDevice", summary: "Begin to sign in with GitHub: a code to enter in a browser",
			public: true, takes: &client.StartDevice{}, gives: &client.Device{}, status: http.StatusOK, handle: a.startDevice,
		},
		{
			method: http.MethodPost, path: "/auth/device/token", id: "pollDevice", summary: "Ask whether the code was entered; then the answer has a token",
			public: true, takes: &client.PollDevice{}, gives: &client.SignedIn{}, status: http.StatusOK, handle: a.pollDevice,
		},
		{
			method: http.MethodPost, path: "/auth/oidc", id: "signInOIDC", summary: "Sign in with an ID token of an OpenID Connect provider, which is good for this once",
			public: true, takes: &client.SignInOIDC{}, gives: &client.SignedIn{}, status: http.StatusOK, handle: a.signInOIDC,
		},
		{
			method: http.MethodPost, path: "/auth/refresh", id: "refreshToken",
			summary: "Get the next access token and refresh token for a refresh token, which is good for this once",
			public:  true, takes: &client.Refresh{}, gives: &client.SignedIn{}, status: http.StatusOK, handle: a.refreshToken,
		},
		{
			method: http.MethodPost, path: "/auth/logout", id: "signOut", summary: "End a session: its tokens are good for nothing any more",
			public: true, takes: &client.SignOut{}, gives: &client.SignedIn{}, status: http.StatusOK, handle: a.signOut,
		},
	}
}

// signInBody reads the body of a request that gives a session.
func (a *API) signInBody(c echo.Context, body any) error {
	if err := requireJSON(c); err != nil {
		return err
	}
	if err := decode(c, body); err != nil {
		return err
	}
	if a.SignIn == nil {
		return mayfly.Errorf(mayfly.CodeNotFound, "nobody can sign in here").WithHint("use a token: mayfly token create; docs/access.md says how to let people sign in")
	}
	return nil
}

func (a *API) listProviders(c echo.Context) error {
	list := client.ProviderList{Items: []client.Provider{}}
	if a.SignIn != nil {
		for _, p := range a.SignIn.Providers() {
			list.Items = append(list.Items, client.Provider{Name: p.Name, Kind: p.Kind, Issuer: p.Issuer, ClientID: p.ClientID, Scopes: p.Scopes})
		}
	}
	return c.JSON(http.StatusOK, list)
}

func (a *API) startDevice(c echo.Context) error {
	var body client.StartDevice
	if err := a.signInBody(c, &body); err != nil {
		return err
	}
	if body.Provider != "" && body.Provider != signin.GitHubProvider {
		return mayfly.Errorf(mayfly.CodeInvalid, "provider: %q has no device flow here", body.Provider).
			WithHint("of a provider of kind oidc the client gets an ID token by itself, and sends it to POST /api/v1/auth/oidc")
	}
	device, err := a.SignIn.StartDevice(c.Request().Context())
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, client.Device{
		DeviceCode: device.DeviceCode, UserCode: device.UserCode, VerificationURI: device.VerificationURI,
		ExpiresIn: int(device.ExpiresIn.Seconds()), Interval: int(device.Interval.Seconds()),
	})
}

func (a *API) pollDevice(c echo.Context) error {
	var body client.PollDevice
	if err := a.signInBody(c, &body); err != nil {
		return err
	}
	if body.DeviceCode == "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "device_code is missing").WithHint("POST /api/v1/auth/device gives one")
	}
	signed, err := a.SignIn.FinishDevice(c.Request().Context(), body.DeviceCode)
	if pending := (*forge.Pending)(nil); errors.As(err, &pending) {
		return c.JSON(http.StatusOK, client.SignedIn{Pending: true, Interval: max(int(pending.Interval.Seconds()), 1)})
	}
	return a.signedIn(c, signed, err)
}

func (a *API) signInOIDC(c echo.Context) error {
	var body client.SignInOIDC
	if err := a.signInBody(c, &body); err != nil {
		return err
	}
	signed, err := a.SignIn.WithIDToken(c.Request().Context(), body.Provider, body.IDToken, body.Nonce)
	if mayfly.ErrorCode(err) == mayfly.CodeUnauthenticated {
		a.Logger.WarnContext(c.Request().Context(), "sign-in refused", "provider", body.Provider, "address", a.address(c), "reason", errors.Unwrap(err))
	}
	return a.signedIn(c, signed, err)
}

func (a *API) refreshToken(c echo.Context) error {
	var body client.Refresh
	if err := a.signInBody(c, &body); err != nil {
		return err
	}
	signed, err := a.SignIn.Refresh(c.Request().Context(), body.Token)
	return a.signedIn(c, signed, err)
}

func (a *API) signOut(c echo.Context) error {
	var body client.SignOut
	if err := a.signInBody(c, &body); err != nil {
		return err
	}
	if err := a.SignIn.End(c.Request().Context(), body.Token); err != nil {
		return err
	}
	return c.JSON(http.StatusOK, client.SignedIn{})
}

func (a *API) signedIn(c echo.Context, signed *signin.Signed, err error) error {
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, client.SignedIn{
		Token: signed.Token, ExpiresAt: utc(&signed.ExpiresAt), Refresh: signed.Refresh, SessionExpiresAt: utc(&signed.SessionExpiresAt),
		Subject: signed.Subject, Roles: signed.Roles,
	})
}
