package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	mayfly "github.com/mayflydb/mayfly"
)

// CIQuery names a pull request as a CI system's token does: by the ids of its repository and of who that belongs to, and by its number
// or by the branch that it wants merged.
type CIQuery struct {
	RepositoryID, OwnerID int64  // as the token says, or
	Project               string // the project whose repository is meant, with RepositoryID 0
	Number                int
	Branch                string // with Number 0
	// Commit is what the job runs on, which for a pull request is a merge of its head into its base; "" where the token does not say.
	Commit string
}

// CIPullRequest is what is known of a pull request that a CI system asks for.
type CIPullRequest struct {
	RepositoryID int64
	Number       int
	Projects     []string // those of its repository
	Fork         bool
	Approved     bool // if it is a fork's: its head is what somebody with write access approved, and the job runs on a merge of that
}

// PullRequests knows the pull requests of the configured repositories.
type PullRequests interface {
	// PullRequestForCI returns an open pull request. CodeNotFound if there is none, the repository is not one of a project, or it belongs
	// to somebody else; the message says which, for the log. CodeForgeUnavailable if that cannot be known now.
	PullRequestForCI(ctx context.Context, q CIQuery) (*CIPullRequest, error)
}

// Exchanged is what is kept of an exchange.
type Exchanged struct {
	Identity *Identity
	Token    *Token
	// Detail says what it was for: repository, event, run.
	Detail map[string]any
}

// Ledger keeps which ID tokens were exchanged.
type Ledger interface {
	// Record stores an exchange. fresh is false, and nothing is stored, if the ID token was exchanged before; also for concurrent calls.
	Record(ctx context.Context, e Exchanged) (fresh bool, err error)
}

// ExchangeOptions are what an Exchange is made of.
type ExchangeOptions struct {
	Issuers      []CIIssuer
	PullRequests PullRequests // nil without a forge
	Ledger       Ledger
	Tokens       *Tokens
	// TTL is how long the tokens live that are given out; 0 means DefaultExchangeTTL.
	TTL    time.Duration
	Logger *slog.Logger
	Now    func() time.Time
}

const (
	// DefaultExchangeTTL is how long a token for a CI job lives unless the configuration says otherwise.
	DefaultExchangeTTL = 10 * time.Minute
	// maxIDTokenLife bounds how long an ID token may be good for, and with that how long it is remembered after its use.
	maxIDTokenLife = 24 * time.Hour
)

// Exchange gives CI jobs a token of ours for one of their CI system's: no secret has to be stored there. It can read one preview.
type Exchange struct{ opts ExchangeOptions }

// NewExchange makes an Exchange.
func NewExchange(opts ExchangeOptions) *Exchange {
	if opts.TTL == 0 {
		opts.TTL = DefaultExchangeTTL
	}
	return &Exchange{opts: opts}
}

// ExchangeRequest is what a CI job sends.
type ExchangeRequest struct {
	Token string // the ID token
	// Project is needed where the repository has several; PullRequest where a branch has several.
	Project     string
	PullRequest int
}

// Granted is what a CI job gets.
type Granted struct {
	Signed  string
	Token   *Token
	Project string
	Preview string // its name; it need not exist yet
}

// denial is the reason of a refusal, for the log alone.
type denial struct{ reason string }

func (d *denial) Error() string { return d.reason }

func deny(format string, args ...any) error { return &denial{fmt.Sprintf(format, args...)} }

// Exchange checks an ID token and gives a token for the preview of its pull request. Whoever is refused learns nothing but that
// (CodeForbidden): not which repositories, pull requests and previews there are. The log has the reason. CodeIssuerUnavailable and
// CodeForgeUnavailable if it cannot be told now.
func (e *Exchange) Exchange(ctx context.Context, r ExchangeRequest) (*Granted, error) {
	identity, issuer, err := e.verify(ctx, r.Token)
	if err != nil {
		return nil, e.answer(ctx, identity, issuer, err)
	}
	granted, err := e.grant(ctx, issuer, identity, r)
	if err != nil {
		return nil, e.answer(ctx, identity, issuer, err)
	}
	e.opts.Logger.InfoContext(ctx, "token exchanged", append(describe(identity), "preview", granted.Preview, "token", granted.Token.ID)...)
	return granted, nil
}

// answer turns an error into what the caller is told.
func (e *Exchange) answer(ctx context.Context, identity *Identity, issuer *CIIssuer, err error) error {
	switch code := mayfly.ErrorCode(err); code {
	case mayfly.CodeIssuerUnavailable, mayfly.CodeForgeUnavailable, mayfly.CodeStateUnavailable:
		e.opts.Logger.ErrorContext(ctx, "cannot exchange a token now", "error", err, "reason", errors.Unwrap(err))
		return err
	case mayfly.CodeUnauthenticated, mayfly.CodeNotFound:
	case mayfly.CodeInternal:
		var d *denial
		if !errors.As(err, &d) {
			return err
		}
	default:
		return err
	}
	attrs := []any{"reason", err.Error()}
	if inner := errors.Unwrap(err); inner != nil {
		const longest = 1000 // it may have an answer of the issuer in it
		attrs = append(attrs, "cause", inner.Error()[:min(len(inner.Error()), longest)])
	}
	if issuer != nil {
		attrs = append(attrs, "issuer", issuer.Issuer.URL())
	}
	e.opts.Logger.WarnContext(ctx, "token exchange refused", append(attrs, describe(identity)...)...)
	return mayfly.Errorf(mayfly.CodeForbidden, "this token gives access to no preview").
		WithHint("the server's log says why; docs/ci.md lists what a job must be, and name the project if the repository has several")
}

// describe is what the log says of an identity. Its texts are those of strangers; the logger quotes them.
func describe(identity *Identity) []any {
	if identity == nil {
		return nil
	}
	attrs := []any{"subject", identity.Subject}
	for _, claim := range []string{"repository_id", "event_name", "ref", "run_id", "project_id", "pipeline_source", "ref_path", "job_id"} {
		if v := identity.Claim(claim); v != "" {
			attrs = append(attrs, claim, v)
		}
	}
	return attrs
}

// verify finds the configured issuer that the token names, and verifies the token as one of its. Several entries may have the same
// issuer: the first whose audience and claims fit is taken.
func (e *Exchange) verify(ctx context.Context, signed string) (*Identity, *CIIssuer, error) {
	var claimed jwt.RegisteredClaims
	if len(signed) > maxIDToken {
		return nil, nil, deny("the token has %d bytes", len(signed))
	}
	if _, _, err := jwt.NewParser().ParseUnverified(signed, &claimed); err != nil {
		return nil, nil, deny("that is not a token: %s", err)
	}
	var last error
	var of *CIIssuer
	for i := range e.opts.Issuers {
		issuer := &e.opts.Issuers[i]
		if issuer.Issuer.URL() != claimed.Issuer {
			continue
		}
		of = issuer
		identity, err := issuer.Issuer.Verify(ctx, signed, issuer.Audience)
		if err == nil {
			if err = issuer.matches(identity); err == nil {
				return identity, issuer, e.checkUse(identity)
			}
		}
		if last = err; mayfly.ErrorCode(err) == mayfly.CodeIssuerUnavailable {
			return nil, of, err
		}
	}
	if of == nil {
		return nil, nil, deny("no issuer %q is configured", claimed.Issuer)
	}
	return nil, of, last
}

// checkUse refuses a token that cannot be told from others, or that would have to be remembered for long.
func (e *Exchange) checkUse(identity *Identity) error {
	if identity.ID == "" || len(identity.ID) > 255 {
		return deny("the token has no usable jti")
	}
	if life := identity.ExpiresAt.Sub(e.opts.Now()); life > maxIDTokenLife {
		return deny("the token is good for another %s", life.Round(time.Second))
	}
	return nil
}

func (e *Exchange) grant(ctx context.Context, issuer *CIIssuer, identity *Identity, r ExchangeRequest) (*Granted, error) {
	wanted, err := issuer.wanted(identity, r)
	if err != nil {
		return nil, err
	}
	limit, project := Limit{Name: wanted.sandbox}, issuer.Project
	if wanted.sandbox == "" {
		if limit, project, err = e.pullRequest(ctx, issuer, wanted, r.Project); err != nil {
			return nil, err
		}
	} else if r.Project != "" && r.Project != project {
		return nil, deny("project %q is not that of the issuer's entry", r.Project)
	}
	signed, token, err := e.opts.Tokens.Sign(Token{
		Subject: issuer.subject(identity), Scopes: []Scope{ScopePreviewsRead, ScopeCredentialsRead}, Projects: []string{project}, Limit: &limit,
	}, e.opts.TTL)
	if err != nil {
		return nil, err
	}
	fresh, err := e.opts.Ledger.Record(ctx, Exchanged{Identity: identity, Token: token, Detail: detailOf(identity, limit.Name)})
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, deny("the token %q was exchanged before", identity.ID)
	}
	return &Granted{Signed: signed, Token: token, Project: project, Preview: limit.Name}, nil
}

func detailOf(identity *Identity, preview string) map[string]any {
	detail := map[string]any{"issuer": identity.Issuer, "preview": preview}
	attrs := describe(identity)
	for i := 0; i+1 < len(attrs); i += 2 {
		if key, ok := attrs[i].(string); ok {
			detail[key] = attrs[i+1]
		}
	}
	return detail
}

// pullRequest finds the preview of a pull request that somebody may have.
func (e *Exchange) pullRequest(ctx context.Context, issuer *CIIssuer, wanted wanted, project string) (Limit, string, error) {
	if e.opts.PullRequests == nil {
		return Limit{}, "", deny("there is no github section, so there are no pull requests")
	}
	pr, err := e.opts.PullRequests.PullRequestForCI(ctx, wanted.query)
	if err != nil {
		return Limit{}, "", err
	}
	if pr.Fork && !pr.Approved {
		return Limit{}, "", deny("pull request %d is a fork's, and the commit that the job runs on was not approved", pr.Number)
	}
	if issuer.Project != "" {
		if project != "" && project != issuer.Project {
			return Limit{}, "", deny("project %q is not that of the issuer's entry", project)
		}
		project = issuer.Project
	}
	switch {
	case project == "" && len(pr.Projects) == 1:
		project = pr.Projects[0]
	case project == "":
		return Limit{}, "", deny("the repository has the projects %q, and none was named", pr.Projects)
	case !slices.Contains(pr.Projects, project):
		return Limit{}, "", deny("project %q is not one of the repository's, %q", project, pr.Projects)
	}
	return Limit{Name: mayfly.PullRequestName(project, pr.Number), RepositoryID: pr.RepositoryID}, project, nil
}
