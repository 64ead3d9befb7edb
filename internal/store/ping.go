package store

import (
	"context"
	"encoding/json"
	"time"
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
