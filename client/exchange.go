package client

import (
	"encoding/json"
	"time"
)

// ExchangeToken asks for a token in exchange for an ID token of a CI system.
type ExchangeToken struct {
	// Token is the ID token (a JWT), for the audience that the server expects.
	Token string `json:"token"`
	// Project is needed where the repository has several.
	Project string `json:"project,omitempty"`
	// PullRequest is needed where several pull requests want the job's branch merged.
	PullRequest int `json:"pull_request,omitempty"`
}

// ExchangedToken is a token that can read one preview, which need not exist yet.
type ExchangedToken struct {
	Token     string    `json:"token"`
	ExpiresAt time.Time `json:"expires_at"`
	Project   string    `json:"project"`
	Preview   string    `json:"preview"`
}

// HookDelivery is one event of a preview for one target. It never has a credential in it.
type HookDelivery struct {
	ID      string `json:"id"`
	EventID string `json:"event_id"`
	Target  string `json:"target"`
	Event   string `json:"event"`
	Project string `json:"project"`
	Preview string `json:"preview"`
	// State is waiting, delivered or failed (given up).
	State    string    `json:"state" jsonschema:"enum=waiting,enum=delivered,enum=failed"`
	Attempts int       `json:"attempts"`
	Created  time.Time `json:"created_at"`
	// NextAt is when it is tried next, while it waits.
	NextAt *time.Time `json:"next_at,omitempty"`
	DoneAt *time.Time `json:"done_at,omitempty"`
	// Status is the last HTTP status, 0 for none; Error what went wrong last.
	Status  int             `json:"status,omitempty"`
	Error   string          `json:"error,omitempty"`
	Payload json.RawMessage `json:"payload"`
}

// HookDeliveryList is a page of deliveries, newest first.
type HookDeliveryList struct {
	Items []HookDelivery `json:"items"`
	// Next is the value of the query parameter "before" for the next page; "" on the last one.
	Next string `json:"next,omitempty"`
}
