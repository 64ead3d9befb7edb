package main

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/api"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/signin"
	"github.com/mayflydb/mayfly/internal/store"
	"github.com/mayflydb/mayfly/provisioner"
)

// openTokens makes what signs and verifies access tokens. It follows a rotation of the keys by itself.
func (d *daemon) openTokens() (*auth.Tokens, error) {
	ring, err := auth.NewKeyRing(filepath.Join(d.config.DataDir, "keys"))
	if err != nil {
		return nil, err
	}
	return auth.NewTokens(ring, d.store, time.Now), nil
}

// openSignIn makes what lets people in; nil if nobody can sign in.
func (d *daemon) openSignIn(tokens *auth.Tokens, forgeClient *forge.Client) (*signin.Service, error) {
	c := d.config.SignIn
	if c.GitHub == nil && len(c.OIDC) == 0 {
		return nil, nil //nolint:nilnil // people have tokens only
	}
	opts := signin.Options{
		Store: d.store, Tokens: tokens, Projects: d.config.Projects, CheckEvery: c.CheckEvery, Clock: time.Now, Logger: d.logger,
	}
	if g := c.GitHub; g != nil && forgeClient != nil {
		opts.Forge, opts.SessionTTL = forgeClient, g.Session
		opts.GitHub = &signin.GitHub{ClientID: g.ClientID, Roles: g.Roles, PublicRead: g.PublicRead, Admins: g.Admins}
	}
	for _, p := range c.OIDC {
		issuer, err := auth.NewIssuer(auth.IssuerOptions{URL: p.Issuer, RootCAs: p.RootCAs, Logger: d.logger, Now: time.Now})
		if err != nil {
			return nil, err
		}
		opts.OIDC = append(opts.OIDC, signin.OIDC{
			Name: p.Name, Issuer: issuer, ClientID: p.ClientID, Scopes: p.Scopes, SubjectClaim: p.SubjectClaim, RoleClaim: p.RoleClaim,
			Roles: p.Roles, Session: p.Session,
		})
	}
	return signin.New(opts), nil
}

// people gives the API what concerns who may do what.
func (d *daemon) people(opts *api.Options) {
	opts.SignIn = d.signIn
	opts.RateLimits = api.RateLimits{TokenPerMinute: d.config.RateLimits.Token, AddressPerMinute: d.config.RateLimits.Address}
	opts.TrustedProxies = d.config.TrustedProxies
	opts.PullRequestsNeedMaintainer = d.config.SignIn.PullRequestsNeedMaintainer
}

func quotas(c config.Quotas) provisioner.Quotas {
	out := provisioner.Quotas{
		Server: store.Quota(c.Server), Project: store.Quota(c.Project), Person: store.Quota(c.Person), Token: store.Quota(c.Token),
		Projects: map[string]store.Quota{},
	}
	for project, quota := range c.Projects {
		out.Projects[project] = store.Quota(quota)
	}
	return out
}

// expire ends what has had its time, and lets those in who wait for room; and asks what people may do now who are signed in.
func (d *daemon) expire(ctx context.Context) error {
	err := errors.Join(d.previews.Expire(ctx), d.previews.Promote(mayfly.WithActor(ctx, mayfly.Actor{Subject: "system:queue"})))
	if d.signIn != nil {
		err = errors.Join(err, d.signIn.Check(ctx))
	}
	return err
}

// sessionsKept is for how long sessions stay on record that have ended.
const sessionsKept = 30 * 24 * time.Hour

// forgetPeople forgets what is past: expired tokens, ended sessions, and the audit log as far as the configuration says.
func (d *daemon) forgetPeople(ctx context.Context) error {
	now := time.Now()
	_, err := d.store.ForgetAudit(mayfly.WithActor(ctx, mayfly.Actor{Subject: "system:retention"}), now, d.config.AuditKept)
	return errors.Join(err, d.store.PurgeTokens(ctx, now), d.store.PurgeSessions(ctx, now.Add(-sessionsKept)))
}

// reseal encrypts the passwords with the key in use that an older one has sealed.
func (d *daemon) reseal(ctx context.Context, sealer *auth.Sealer) error {
	changed, lost, err := d.store.Reseal(ctx, sealer.Reseal)
	if err != nil {
		return err
	}
	if changed > 0 {
		d.logger.InfoContext(ctx, "passwords were sealed anew", "passwords", changed)
	}
	if lost > 0 {
		d.logger.WarnContext(ctx, "passwords cannot be opened with any key there is; a reset makes new ones", "passwords", lost)
	}
	return nil
}
