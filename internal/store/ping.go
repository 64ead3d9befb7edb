package store

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// pingKey is the name under which the last ping is remembered.
const pingKey = "ping"

type ping struct {
	At     time.Time `json:"at"`
	HookID int64     `json:"hook_id"`
	Events []string  `json:"events"`
}

// SetPing records that the forge sent a ping for a webhook that sends these events.
func (s *Store) SetPing(ctx context.Context, at time.Time, hookID int64, events []string) error {
	encoded, err := json.Marshal(ping{At: at, HookID: hookID, Events: events})
	if err != nil {
		return failed(err, "record a ping")
	}
	return s.Remember(ctx, pingKey, string(encoded))
}

// LastPing returns the last ping that came. ok is false if none ever did.
func (s *Store) LastPing(ctx context.Context) (at time.Time, events []string, ok bool, err error) {
	text, err := s.Recall(ctx, pingKey)
	if err != nil || text == "" {
		return time.Time{}, nil, false, err
	}
	var p ping
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return time.Time{}, nil, false, failed(err, "read the last ping")
	}
	return p.At, p.Events, true, nil
}

// Received says what has come from the forge's webhook. Zero values mean that nothing has.
type Received struct {
	Last   time.Time // the last delivery
	Ping   time.Time // the last ping
	Events []string  // what the webhook sends, as the ping said
}

// LastReceived reads it through a connection of the caller's to the state database, which need not be in use by a service.
func LastReceived(ctx context.Context, conn *pgx.Conn) (Received, error) {
	schema := pgx.Identifier{DefaultSchema}.Sanitize()
	var last *time.Time
	var text string
	err := conn.QueryRow(ctx, `
		select (select max(received_at) from `+schema+`.delivery), coalesce((select value from `+schema+`.setting where key = $1), '')`, "known."+pingKey).
		Scan(&last, &text)
	if err != nil {
		return Received{}, failed(err, "read which deliveries came")
	}
	var r Received
	if last != nil {
		r.Last = *last
	}
	var p ping
	if text != "" && json.Unmarshal([]byte(text), &p) == nil {
		r.Ping, r.Events = p.At, p.Events
	}
	return r, nil
}
