package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/mayflydb/mayfly/internal/config"
	"github.com/mayflydb/mayfly/internal/store"
)

// eventsToSend are those without which something would be found out later than it could be.
func eventsToSend() []string { return []string{"pull_request", "push", "issue_comment"} }

// diagnosePing says whether GitHub's deliveries arrive: when the last one and the last ping came, and which events the webhook sends.
func diagnosePing(ctx context.Context, c *config.Config) []finding {
	if c.GitHub == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	state, done, err := stateForReading(c)
	if err != nil {
		return nil // the state's own check says why
	}
	defer done()
	conn, err := pgx.ConnectConfig(ctx, state.ConnConfig)
	if err != nil {
		return nil
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	received, err := store.LastReceived(ctx, conn)
	if err != nil { // a state from before there was such a thing
		return nil
	}
	if received.Last.IsZero() {
		return []finding{{
			Check: "webhook", Status: "warning", Detail: "no delivery ever came from GitHub",
			Fix: "set " + c.ExternalURL + "/webhooks/github as the webhook's URL, and look at its recent deliveries on GitHub",
		}}
	}
	return []finding{describePing(received)}
}

func describePing(r store.Received) finding {
	if r.Ping.IsZero() {
		return ok("webhook", "last delivery %s ago; no ping came yet", age(r.Last))
	}
	var missing []string
	for _, event := range eventsToSend() {
		if !slices.Contains(r.Events, event) && !slices.Contains(r.Events, "*") {
			missing = append(missing, event)
		}
	}
	if len(r.Events) > 0 && len(missing) > 0 {
		return finding{
			Check: "webhook", Status: "warning", Detail: "the webhook does not send " + strings.Join(missing, ", "),
			Fix: "add these events to the webhook, or the App, on GitHub; docs/github.md lists them",
		}
	}
	return ok("webhook", "last delivery %s ago, last ping %s ago", age(r.Last), age(r.Ping))
}
