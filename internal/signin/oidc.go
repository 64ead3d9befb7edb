package signin

import (
	"context"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/auth"
)

// maxStatementAge is how old an ID token may be with which somebody signs in: it was asked for just now.
const maxStatementAge = 10 * time.Minute

// WithIDToken lets in whom an ID token is about. It is good for this once. nonce is what it was asked for with; a token that has one is
// refused without. CodeUnauthenticated if it is not valid, and CodeForbidden if it gives no role.
func (s *Service) WithIDToken(ctx context.Context, provider, signed, nonce string) (*Signed, error) {
	p, err := s.provider(provider)
	if err != nil {
		return nil, err
	}
	identity, err := p.Issuer.Verify(ctx, signed, p.ClientID)
	if err != nil {
		return nil, err
	}
	now := s.opts.Clock()
	if identity.Nonce != nonce || now.Sub(identity.IssuedAt) > maxStatementAge {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "the ID token was not issued for this sign-in").WithHint("begin again: mayfly login")
	}
	fresh, err := s.opts.Store.UseStatement(ctx, hashOf(signed), identity.ExpiresAt)
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, mayfly.Errorf(mayfly.CodeUnauthenticated, "the ID token was used before").WithHint("begin again: mayfly login")
	}
	life := p.Session
	if life == 0 {
		life = defaultOIDCTTL
	}
	name := p.called(identity)
	return s.begin(ctx, person{
		provider: p.Name, account: identity.Subject, login: name, subject: p.Name + ":" + name, grants: p.grants(identity), expires: now.Add(life),
	})
}

func (s *Service) provider(name string) (*OIDC, error) {
	for i := range s.opts.OIDC {
		if s.opts.OIDC[i].Name == name {
			return &s.opts.OIDC[i], nil
		}
	}
	return nil, noProvider(name)
}

// called returns what somebody is called: what nobody else of the provider can be called as far as the configuration chose well.
func (p *OIDC) called(identity *auth.Identity) string {
	if p.SubjectClaim != "" {
		if name := identity.Claim(p.SubjectClaim); name != "" {
			return name
		}
		return identity.Subject
	}
	if email := identity.Claim("email"); email != "" && identity.Claim("email_verified") == "true" {
		return email
	}
	return identity.Subject
}

// grants returns the roles that the values of the claim give; of two for one project, the higher one.
func (p *OIDC) grants(identity *auth.Identity) auth.Grants {
	grants := auth.Grants{}
	values := append(identity.Claims(p.RoleClaim), "*") // what everybody of the provider has
	for _, value := range values {
		for project, role := range p.Roles[value] {
			if role.Rank() > grants[project].Rank() {
				grants[project] = role
			}
		}
	}
	return grants
}
