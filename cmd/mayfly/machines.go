package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/api"
	"github.com/mayflydb/mayfly/internal/auth"
	"github.com/mayflydb/mayfly/internal/outgoing"
	"github.com/mayflydb/mayfly/internal/store"
)

// openExchange makes what CI jobs exchange their tokens at; nil if nobody's are taken.
func (d *daemon) openExchange(tokens *auth.Tokens) (*auth.Exchange, error) {
	opts := auth.ExchangeOptions{
		Ledger: api.ExchangeLedger{Store: d.store}, Tokens: tokens, TTL: d.config.CI.TokenTTL, Logger: d.logger, Now: time.Now,
	}
	if d.config.GitHub != nil {
		opts.PullRequests = d.previews
	}
	byURL := map[string]*auth.Issuer{} // entries of one issuer share its keys
	for i, entry := range d.config.CI.Issuers {
		if byURL[entry.URL] == nil || entry.RootCAs != nil {
			issuer, err := auth.NewIssuer(auth.IssuerOptions{URL: entry.URL, RootCAs: entry.RootCAs, Logger: d.logger, Now: time.Now})
			if err != nil {
				return nil, fmt.Errorf("auth.ci_issuers[%d]: %w", i, err)
			}
			byURL[entry.URL] = issuer
		}
		issuer := entry.Rest
		issuer.Issuer = byURL[entry.URL]
		opts.Issuers = append(opts.Issuers, issuer)
	}
	if len(opts.Issuers) == 0 {
		return nil, nil //nolint:nilnil // it is off
	}
	return auth.NewExchange(opts), nil
}

// forgetMachines removes what was kept about tokens of CI systems and webhooks for as long as it was needed.
func (d *daemon) forgetMachines(ctx context.Context) error {
	const clocks = time.Hour // more than clocks differ by
	const kept = 30 * 24 * time.Hour
	return errors.Join(d.store.PurgeIDTokens(ctx, time.Now().Add(-clocks)), d.store.RequeueOutgoing(ctx), d.store.PurgeOutgoing(ctx, time.Now().Add(-kept)))
}

// openOutgoing makes what tells receivers outside about previews. It is called before the first job runs.
func (d *daemon) openOutgoing() {
	d.outgoing = outgoing.New(outgoing.Options{
		Targets: d.config.Outgoing, Store: d.store, Previews: pushed{d}, Logger: d.logger, Now: time.Now,
	})
	if len(d.config.Outgoing) > 0 {
		d.store.SetOutgoing(d.outgoing.Interested)
	}
}

// pushed is the provisioner as hosts of preview deployments see it.
type pushed struct{ d *daemon }

// Connection implements outgoing.Previews. Like a password that is shown, one that is pushed is on record before it is.
func (p pushed) Connection(ctx context.Context, previewID, target string) (*mayfly.Preview, *outgoing.Connection, error) {
	preview, err := p.d.store.Preview(ctx, previewID)
	if err != nil {
		return nil, nil, err
	}
	if preview.WantDeleted || preview.State == mayfly.PreviewDeleted {
		return nil, nil, mayfly.Errorf(mayfly.CodeNotFound, "preview %s is gone", preview.Name)
	}
	if !preview.Connectable() {
		return nil, nil, mayfly.Errorf(mayfly.CodeConflict, "preview %s is %s", preview.Name, preview.State)
	}
	credentials, err := p.d.previews.Credentials(ctx, preview.Name)
	if err != nil {
		return nil, nil, err
	}
	err = p.d.store.Audit(ctx, store.AuditEntry{
		Action: "credentials.push", Project: preview.Project, Kind: "preview", Name: preview.Name, ObjectID: preview.ID,
		Detail: map[string]any{"target": target, "role": credentials.User},
	})
	if err != nil {
		return nil, nil, err
	}
	const sslMode = "require"
	host, port := p.d.config.GatewayAddress()
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(credentials.User, credentials.Password), Host: net.JoinHostPort(host, strconv.Itoa(port)),
		Path: "/" + credentials.Database, RawQuery: "sslmode=" + sslMode,
	}
	return preview, &outgoing.Connection{
		URL: u.String(), Host: host, Port: port, Database: credentials.Database, User: credentials.User, Password: credentials.Password, SSLMode: sslMode,
	}, nil
}
