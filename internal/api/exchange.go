package api

import (
	"context"
	"net/http"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// ExchangeLedger keeps exchanges in the state database (auth.Ledger).
type ExchangeLedger struct{ Store *store.Store }

// Record implements auth.Ledger.
func (l ExchangeLedger) Record(ctx context.Context, e auth.Exchanged) (bool, error) {
	return l.Store.UseIDToken(ctx, e.Identity.Issuer, e.Identity.ID, e.Identity.ExpiresAt, tokenRecord(e.Token), e.Detail)
}

func (a *API) exchangeToken(c echo.Context) error {
	if err := requireJSON(c); err != nil {
		return err
	}
	var body client.ExchangeToken
	if err := decode(c, &body); err != nil {
		return err
	}
	if a.Exchange == nil {
		return mayfly.Errorf(mayfly.CodeForbidden, "this server exchanges no tokens").
			WithHint("set external_url and github, or auth.ci_issuers, in the server's configuration; see docs/ci.md")
	}
	if body.Token == "" || body.PullRequest < 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "token is missing").WithHint("it is the job's ID token; docs/ci.md shows how a job gets one")
	}
	granted, err := a.Exchange.Exchange(c.Request().Context(), auth.ExchangeRequest{
		Token: body.Token, Project: body.Project, PullRequest: body.PullRequest,
	})
	if err != nil {
		return err
	}
	return c.JSON(http.StatusOK, client.ExchangedToken{
		Token: granted.Signed, ExpiresAt: granted.Token.ExpiresAt.UTC(), Project: granted.Project, Preview: granted.Preview,
	})
}

// onlyReads refuses everything but looking to a token that is limited to a preview: also what needs no more than a scope that reads, such
// as making another login.
func onlyReads(c echo.Context) error {
	if method := c.Request().Method; bearer(c).Limit == nil || method == http.MethodGet || method == http.MethodHead {
		return nil
	}
	return mayfly.Errorf(mayfly.CodeForbidden, "this token can look at one preview, and change nothing")
}
