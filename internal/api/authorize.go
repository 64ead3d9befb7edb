package api

import (
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// tokenKey is where the verified token is kept in a request's context.
const tokenKey = "token"

// authorize wraps a route's handler: the bearer must have the route's scope, and a handler finds out about the project by
// itself through allow or preview. Whoever asks is in the request's context from then on (mayfly.ActorOf), and in the audit log if it
// was for more than they may.
func (a *API) authorize(r route) echo.HandlerFunc {
	return func(c echo.Context) error {
		c.Response().Header().Set("Cache-Control", "no-store")
		c.Response().Header().Set("X-Content-Type-Options", "nosniff")
		a.actAs(c, mayfly.Actor{Subject: "anonymous", Address: a.address(c)})
		if r.public {
			if err := a.limitAddress(c); err != nil {
				return err
			}
			return r.handle(c)
		}
		token, err := a.authenticate(c)
		if err != nil {
			return err
		}
		c.Set(tokenKey, token)
		a.actAs(c, mayfly.Actor{Subject: token.Subject, TokenID: token.ID, Address: a.address(c)})
		if err := a.limitToken(c, token); err != nil {
			return err
		}
		a.recordUse(c, token)
		if err = allow(c, r.scope, ""); err == nil {
			err = onlyReads(c)
		}
		if err == nil {
			err = r.handle(c)
		}
		a.recordDenial(c, r, err)
		return err
	}
}

// authenticate returns the token of a request. A request without a good one counts against its address.
func (a *API) authenticate(c echo.Context) (*auth.Token, error) {
	scheme, signed, _ := strings.Cut(c.Request().Header.Get(echo.HeaderAuthorization), " ")
	if !strings.EqualFold(scheme, "Bearer") || signed == "" {
		if err := a.limitAddress(c); err != nil {
			return nil, err
		}
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "a token is needed").
			WithHint("sign in with: mayfly login; or send 'Authorization: Bearer <token>' with one that was made on the server: mayfly token create")
	}
	token, err := a.Tokens.Verify(c.Request().Context(), strings.TrimSpace(signed))
	if err == nil {
		return token, nil
	}
	if limited := a.limitAddress(c); limited != nil {
		return nil, limited
	}
	return nil, err
}

// actAs makes everything that is done for the request be done in somebody's name.
func (a *API) actAs(c echo.Context, who mayfly.Actor) {
	c.SetRequest(c.Request().WithContext(mayfly.WithActor(c.Request().Context(), who)))
}

// address returns where the request came from, as far as proxies that are trusted say.
func (a *API) address(c echo.Context) string { return c.RealIP() }

// recordDenial writes into the audit log that somebody asked for what they may not do, a bounded number of times.
func (a *API) recordDenial(c echo.Context, r route, err error) {
	if mayfly.ErrorCode(err) != mayfly.CodeForbidden || !a.denials.allow(bearer(c).ID) {
		return
	}
	entry := store.AuditEntry{
		Action: "request.denied", Outcome: store.AuditDenied, Project: deniedIn(c), Kind: "request", Name: c.Param("name"),
		Detail: map[string]any{"operation": r.id, "method": c.Request().Method, "path": c.Request().URL.Path},
	}
	if err := a.Store.Audit(c.Request().Context(), entry); err != nil {
		a.Logger.ErrorContext(c.Request().Context(), "cannot record a denied request", "operation", r.id, "error", err)
	}
}

// projectKey is where the project of the preview is kept that a request is about.
const projectKey = "project"

// deniedIn returns the project that a request was about, as far as that is known.
func deniedIn(c echo.Context) string {
	if project, ok := c.Get(projectKey).(string); ok {
		return project
	}
	return c.Param("project")
}

// bearer returns the verified token of a request below /api/v1; one that allows nothing if there is none.
func bearer(c echo.Context) *auth.Token {
	if token, ok := c.Get(tokenKey).(*auth.Token); ok {
		return token
	}
	return &auth.Token{}
}

// allow returns an error with CodeForbidden unless the bearer has the scope for the project.
func allow(c echo.Context, scope auth.Scope, project string) error {
	if bearer(c).Allows(scope, project) {
		return nil
	}
	what := "the token does not have the scope " + string(scope)
	if project != "" {
		what += " for project " + project
	}
	return mayfly.Errorf(mayfly.CodeForbidden, "%s", what).
		WithHint("ask for a role that has it, or make a token that has it: mayfly token create --scope %s", scope)
}

// preview returns the preview that the path names, if the bearer may see it. One of a project that the bearer has no access to
// does not exist for it: names are not given away. With auth.ScopePreviewsWrite it must also be one that the bearer may change.
func (a *API) preview(c echo.Context, scope auth.Scope) (*mayfly.Preview, error) {
	name := c.Param("name")
	p, err := a.Store.PreviewByName(c.Request().Context(), name)
	if err != nil {
		return nil, err
	}
	if !bearer(c).AllowsOn(scope, p) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no preview %s", name).WithHint("mayfly ls shows all previews")
	}
	c.Set(projectKey, p.Project)
	if scope == auth.ScopePreviewsWrite {
		return p, a.mayChange(c, p)
	}
	return p, nil
}

// mayChange returns an error with CodeForbidden for somebody else's preview, unless the bearer may manage those of its project. A pull
// request's preview belongs to all who work on the project, if the configuration does not say otherwise.
func (a *API) mayChange(c echo.Context, p *mayfly.Preview) error {
	token := bearer(c)
	own := p.CreatedBy != "" && p.CreatedBy == token.Subject
	shared := p.Kind == mayfly.KindPullRequest && !a.PullRequestsNeedMaintainer
	if own || shared || token.Allows(auth.ScopePreviewsManage, p.Project) {
		return nil
	}
	whose := "somebody else's"
	if p.CreatedBy != "" {
		whose = p.CreatedBy + "'s"
	}
	if p.Kind == mayfly.KindPullRequest {
		whose = "a pull request's"
	}
	return mayfly.Errorf(mayfly.CodeForbidden, "preview %s is %s", p.Name, whose).
		WithHint("changing it needs the scope %s, which maintainers of the project have", auth.ScopePreviewsManage)
}

// requireJSON refuses bodies that a browser would send without asking (a form of another site) where no token protects an operation.
func requireJSON(c echo.Context) error {
	if c.Request().ContentLength == 0 || strings.HasPrefix(c.Request().Header.Get(echo.HeaderContentType), echo.MIMEApplicationJSON) {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeInvalid, "the body is not JSON").WithHint("%s: application/json", http.CanonicalHeaderKey(echo.HeaderContentType))
}
