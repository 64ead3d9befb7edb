package main

import (
	"context"
	"fmt"
	"time"

	"github.com/mayflydb/mayfly/internal/api"
	"github.com/mayflydb/mayfly/internal/auth"
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
	return d.store.PurgeIDTokens(ctx, time.Now().Add(-clocks))
}
