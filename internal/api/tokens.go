package api

import (
	"net/http"
	"strings"
	"unicode"

	"github.com/labstack/echo/v4"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/store"
)

// maxListedTokens bounds the list of tokens.
const maxListedTokens = 1000

func (a *API) listTokens(c echo.Context) error {
	tokens, err := a.Store.Tokens(c.Request().Context(), a.Clock(), maxListedTokens)
	if err != nil {
		return err
	}
	list := client.TokenList{Items: []client.TokenInfo{}}
	for _, t := range tokens {
		list.Items = append(list.Items, tokenJSON(t))
	}
	return c.JSON(http.StatusOK, list)
}

func tokenJSON(t store.TokenRecord) client.TokenInfo {
	return client.TokenInfo{
		ID: t.ID, Subject: t.Subject, Scopes: t.Scopes, Projects: t.Projects, Roles: t.Roles, CreatedBy: t.CreatedBy,
		IssuedAt: t.IssuedAt.UTC(), ExpiresAt: t.ExpiresAt.UTC(), LastUsedAt: utc(t.LastUsedAt), Revoked: t.Revoked,
	}
}

// createToken makes a token for anybody. It is for admins: whoever could make tokens of their own could keep what they have by signing in
// after they have lost it.
func (a *API) createToken(c echo.Context) error {
	var body client.CreateToken
	if err := decode(c, &body); err != nil {
		return err
	}
	wanted, err := a.readToken(c, body)
	if err != nil {
		return err
	}
	ttl, err := mayfly.ParseDuration(body.TTL)
	if err != nil || ttl <= 0 {
		return mayfly.Errorf(mayfly.CodeInvalid, "ttl: %q is not a duration such as 12h or 90d", body.TTL)
	}
	signed, token, err := a.Tokens.Sign(wanted, ttl)
	if err != nil {
		return err
	}
	record := tokenRecord(token)
	record.CreatedBy = bearer(c).Subject
	if err := a.Store.RecordToken(c.Request().Context(), record); err != nil {
		return err
	}
	return c.JSON(http.StatusCreated, client.CreatedToken{Token: signed, TokenInfo: tokenJSON(record)})
}

func (a *API) readToken(c echo.Context, body client.CreateToken) (auth.Token, error) {
	own := bearer(c)
	token := auth.Token{Subject: body.Subject, Projects: body.Projects, Grants: auth.Grants{}}
	if token.Subject == "" {
		token.Subject = own.Subject
	}
	if len(token.Subject) > 255 || strings.ContainsFunc(token.Subject, unicode.IsControl) {
		return token, mayfly.Errorf(mayfly.CodeInvalid, "subject is one line of at most 255 bytes")
	}
	for _, scope := range body.Scopes {
		token.Scopes = append(token.Scopes, auth.Scope(scope))
	}
	for project, role := range body.Roles {
		token.Grants[project] = auth.Role(role)
	}
	if err := token.Grants.Check(); err != nil {
		return token, err
	}
	for _, project := range append(token.Grants.Projects(), body.Projects...) {
		if !a.knows(project) {
			return token, mayfly.Errorf(mayfly.CodeInvalid, "there is no project %q", project)
		}
	}
	return token, nil
}

func (a *API) knows(project string) bool {
	for _, name := range a.Projects() {
		if name == project {
			return true
		}
	}
	return false
}

func (a *API) self(c echo.Context) error {
	record := tokenRecord(bearer(c))
	return c.JSON(http.StatusOK, client.Self{
		Subject: record.Subject, TokenID: record.ID, Scopes: record.Scopes, Projects: record.Projects, Roles: record.Roles,
		ExpiresAt: record.ExpiresAt.UTC(), Session: record.SessionID,
	})
}

// revokeToken makes a token invalid. Not all tokens are stored, so whether one with that id exists cannot be said, nor when it
// expires: the id is kept for as long as any token may live.
func (a *API) revokeToken(c echo.Context) error {
	id := c.Param("id")
	if !auth.ValidTokenID(id) {
		return mayfly.Errorf(mayfly.CodeInvalid, "%q is not a token's id", id).
			WithHint("mayfly token create -o json shows it, and the server's log names it with every request")
	}
	if err := a.Store.RevokeToken(c.Request().Context(), id, a.Clock().Add(auth.MaxTokenTTL)); err != nil {
		return err
	}
	a.Logger.InfoContext(c.Request().Context(), "token revoked", "revoked", id, "subject", bearer(c).Subject, "token", bearer(c).ID)
	return c.JSON(http.StatusOK, client.RevokedToken{ID: id, Revoked: true})
}
