package api

import (
	"encoding/json"
	"time"

	"github.com/mayflydb/mayfly/client"
)

//nolint:gosec // G101: nobody's credentials
const (
	examplePreviewID  = "pq4mzk7y2hxv3tdw6cabn5rjel"
	exampleTemplateID = "tr7w2kqj5xm4c6zvha3ntd5ble"
	exampleSnapshotID = "nk5x3wq7v2mzt4hc6jdba7rlye"
	exampleCommit     = "3f786850e387550fdab836ed7e6dc881de23001b"
	exampleTokenID    = "9f86d081884c7d659a2feaa0c55ad015"
	exampleToken      = "eyJhbGciOiJFZERTQSIsImtpZCI6IjEifQ.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
)

// exampleParameters are values for the parameters of paths.
func exampleParameters() map[string]string {
	return map[string]string{"name": "shop-pr-42", "project": "shop", "id": exampleTemplateID, "snapshot": "before-import", "role": "alice"}
}

func at(minute int) time.Time { return time.Date(2026, time.March, 2, 9, minute, 0, 0, time.UTC) }

func pointerTo[T any](v T) *T { return &v }

func examplePreview() client.Preview {
	return client.Preview{
		ID: examplePreviewID, Name: "shop-pr-42", Project: "shop", Kind: "pull_request", State: "ready", Settled: true, Generation: 1,
		PullRequest: &client.PullRequest{
			RepositoryID: 812645, Repository: "acme/shop", Number: 42, Title: "Add a column for the delivery note", HeadSHA: exampleCommit,
			AppliedSHA: exampleCommit, BaseRef: "main",
		},
		Template: &client.TemplateRef{ID: exampleTemplateID, Version: 7}, Labels: map[string]string{"team": "checkout"},
		CreatedBy: "github:alice", CreatedAt: at(0), ReadyAt: pointerTo(at(1)), LastUsedAt: pointerTo(at(12)), ExpiresAt: pointerTo(at(59)),
		Steps: []client.Step{{Name: "clone", Detail: "template shop v7", StartedAt: at(0), FinishedAt: pointerTo(at(0)), DurationMS: 24.5}},
	}
}

func exampleTemplate() client.Template {
	return client.Template{
		ID: exampleTemplateID, Project: "shop", Version: 7, State: "ready", Source: "live", Major: 17, SizeBytes: 1610612736, RowCount: 2400000,
		CreatedAt: at(0), ReadyAt: pointerTo(at(4)), Current: true, Cause: "schedule", RequestedBy: "system:schedule",
	}
}

func exampleSnapshot() client.Snapshot {
	return client.Snapshot{
		ID: exampleSnapshotID, Name: "before-import", Project: "shop", PreviewID: examplePreviewID, Preview: "shop-pr-42",
		Template: &client.TemplateRef{ID: exampleTemplateID, Version: 7}, SHA: exampleCommit, SizeBytes: 1610612736, CreatedBy: "alice",
		CreatedAt: at(20), Keep: true, ExpiresAt: pointerTo(at(50)),
	}
}

func exampleTokenInfo() client.TokenInfo {
	return client.TokenInfo{
		ID: exampleTokenID, Subject: "ci", Roles: map[string]string{"shop": "developer"}, CreatedBy: "alice", IssuedAt: at(0), ExpiresAt: at(59),
	}
}

func exampleSignedIn() *client.SignedIn {
	return &client.SignedIn{
		Token: exampleToken, ExpiresAt: pointerTo(at(15)), Refresh: "r-4b1d0c5e", SessionExpiresAt: pointerTo(at(59)), Subject: "github:alice",
		Roles: map[string]string{"shop": "maintainer"},
	}
}

func exampleDelivery() client.HookDelivery {
	return client.HookDelivery{
		ID: "1", EventID: "e7", Target: "chat", Event: "preview.ready", Project: "shop", Preview: "shop-pr-42", State: "delivered", Attempts: 1,
		Created: at(1), DoneAt: pointerTo(at(1)), Status: 200, Payload: json.RawMessage(`{"event":"preview.ready","preview":"shop-pr-42"}`),
	}
}

// examples has a value of every type that requests take or give. A type without one fails the tests.
//
//nolint:gosec // G101: nobody's credentials
func examples() []any {
	return []any{
		&client.PreviewList{Items: []client.Preview{examplePreview()}, Next: "eyJsIjoicHJldmlld3MiLCJrIjoiMjAyNi0wMy0wMlQwOTowMDowMFoifQ"},
		pointerTo(examplePreview()),
		&client.CreatePreview{Project: "shop", Name: "import-trial", TTL: "2d", From: "shop-pr-42", Labels: map[string]string{"team": "checkout"}},
		&client.ChangePreview{TTL: "2d", Suspended: pointerTo(false), Labels: map[string]*string{"team": pointerTo("checkout"), "draft": nil}},
		&client.Reset{Template: "same"},
		&client.Protect{For: "7d", Reason: "the release is being tested with it"},
		&client.CreateSnapshot{Name: "before-import", Keep: true, TTL: "30d"},
		pointerTo(exampleSnapshot()),
		&client.SnapshotList{Items: []client.Snapshot{exampleSnapshot()}},
		&client.DeletedSnapshot{ID: exampleSnapshotID, Deleted: true},
		&client.Credentials{
			Host: "db.example.com", Port: 6432, Database: "shop-pr-42", User: "app", Password: "kX0v2T9yLq", SSLMode: "require",
			URL: "postgres://app:kX0v2T9yLq@db.example.com:6432/shop-pr-42?sslmode=require",
		},
		&client.CreateCredentials{Role: "read-only"},
		&client.Login{Role: "alice", Subject: "alice", Access: "read-only", CreatedAt: at(5), CreatedBy: "alice"},
		&client.LoginList{Items: []client.Login{{Role: "alice", Subject: "alice", Access: "read-only", CreatedAt: at(5)}}},
		&client.ProjectList{Items: []client.Project{{Name: "shop", Schedule: &client.Schedule{Schedule: "0 3 * * *", TimeZone: "UTC", NextAt: pointerTo(at(59))}}}},
		pointerTo(exampleTemplate()),
		&client.TemplateList{Items: []client.Template{exampleTemplate()}},
		&client.RollBack{ToVersion: 6, Reason: "the newest lacks the orders of yesterday"},
		&client.RolledBack{Current: exampleTemplate(), Replaced: []client.Template{}},
		&client.Reason{Reason: "the wrong source"},
		&client.Attestation{
			PayloadType: "application/vnd.in-toto+json", Payload: "eyJfdHlwZSI6Imh0dHBzOi8vaW4tdG90by5pby9TdGF0ZW1lbnQvdjEifQ==",
			Signatures: []client.AttestationSignature{{KeyID: "sha256:5c1f", Sig: "c2lnbmF0dXJl"}},
		},
		&client.AttestationKey{KeyID: "sha256:5c1f", Algorithm: "ed25519", PublicKey: "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"},
		&client.Rescan{Clean: true, Summary: "no original of 6 columns was found", Outcome: json.RawMessage(`{}`)},
		&client.AuditList{Items: []client.AuditEntry{{
			ID: 4711, At: at(3), Actor: "github:alice", Token: exampleTokenID, Address: "192.0.2.7", Action: "credentials.read", Outcome: "done",
			Project: "shop", Kind: "preview", Name: "shop-pr-42", Object: examplePreviewID, Detail: json.RawMessage(`{"role":"app"}`),
		}}},
		&client.Self{Subject: "alice", TokenID: exampleTokenID, Roles: map[string]string{"shop": "developer"}, ExpiresAt: at(59)},
		&client.TokenList{Items: []client.TokenInfo{exampleTokenInfo()}},
		&client.CreateToken{Subject: "ci", Roles: map[string]string{"shop": "developer"}, TTL: "90d"},
		&client.CreatedToken{Token: exampleToken, TokenInfo: exampleTokenInfo()},
		&client.RevokedToken{ID: exampleTokenID, Revoked: true},
		&client.ExchangeToken{Token: exampleToken, PullRequest: 42},
		&client.ExchangedToken{Token: exampleToken, ExpiresAt: at(15), Project: "shop", Preview: "shop-pr-42"},
		pointerTo(exampleDelivery()),
		&client.HookDeliveryList{Items: []client.HookDelivery{exampleDelivery()}},
		&client.ProviderList{Items: []client.Provider{{Name: "github", Kind: "github"}}},
		&client.StartDevice{Provider: "github"},
		&client.Device{DeviceCode: "d-7f3a", UserCode: "WDJB-MJHT", VerificationURI: "https://github.com/login/device", ExpiresIn: 900, Interval: 5},
		&client.PollDevice{DeviceCode: "d-7f3a"},
		exampleSignedIn(),
		&client.SignInOIDC{Provider: "corporate", IDToken: exampleToken},
		&client.Refresh{Token: "r-4b1d0c5e"},
		&client.SignOut{Token: "r-4b1d0c5e"},
		&client.Problem{
			Type: "about:blank", Title: "Unprocessable Entity", Status: 422, Code: "invalid", Detail: "ttl: \"soon\" is not a duration such as 12h or 7d",
			Hint:   "GET /api/v1/docs describes the fields",
			Errors: []client.FieldError{{Field: "/ttl", Message: "ttl: \"soon\" is not a duration such as 12h or 7d"}},
		},
	}
}
