package forge_test

import (
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
)

const (
	createRoute = "POST /repositories/{id}/issues/{number}/comments"
	editRoute   = "PATCH /repositories/{id}/issues/comments/{comment}"
)

func TestUpsertComment(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			pr := b.open(t, "work", map[string]string{"a": "a"})
			marker := forge.Marker(b.repo.ID(), pr.Number(), "shop")
			// A stranger cannot make Mayfly write over their comment, nor keep it from writing its own.
			stranger := b.repo.AddComment(pr.Number(), "stranger", marker+"\nmine")
			upsert := func(known int64, text string) int64 {
				t.Helper()
				id, err := b.client.UpsertComment(t.Context(), b.repo.ID(), pr.Number(), known, marker, marker+"\n"+text)
				if err != nil {
					t.Fatal(err)
				}
				return id
			}
			expect := func(what, text string, id int64, creates, edits int) {
				t.Helper()
				comments := pr.Comments()
				if len(comments) != 2 || comments[0].ID != stranger || comments[0].Body != marker+"\nmine" {
					t.Fatalf("%s: comments %+v", what, comments)
				}
				if comments[1].ID != id || comments[1].Body != marker+"\n"+text {
					t.Errorf("%s: comment %+v, want %d with %q", what, comments[1], id, text)
				}
				if calls := b.server.Calls(); calls[createRoute] != creates || calls[editRoute] != edits {
					t.Errorf("%s: %d created and %d edited so far, want %d and %d", what, calls[createRoute], calls[editRoute], creates, edits)
				}
			}
			id := upsert(0, "one")
			expect("first", "one", id, 1, 0)
			if again := upsert(id, "two"); again != id {
				t.Errorf("second call: comment %d, want %d", again, id)
			}
			expect("by id", "two", id, 1, 1)
			upsert(id, "two")
			expect("unchanged", "two", id, 1, 1)
			upsert(0, "three")
			expect("by marker", "three", id, 1, 2)
			upsert(stranger, "four")
			expect("an id that is somebody else's", "four", id, 1, 3)
			b.repo.DeleteComment(id)
			id = upsert(id, "five")
			expect("deleted", "five", id, 2, 4)
		})
	}
}

func TestUpsertCommentSearchesAllPages(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	pr := b.open(t, "work", map[string]string{"a": "a"})
	for i := range 150 {
		b.repo.AddComment(pr.Number(), "reviewer", fmt.Sprint("Comment ", i))
	}
	marker := forge.Marker(b.repo.ID(), pr.Number(), "shop")
	first, err := b.client.UpsertComment(t.Context(), b.repo.ID(), pr.Number(), 0, marker, marker+"\none")
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.client.UpsertComment(t.Context(), b.repo.ID(), pr.Number(), 0, marker, marker+"\ntwo")
	if err != nil || second != first || len(pr.Comments()) != 151 {
		t.Errorf("second call: %d, %v, %d comments; want %d and 151", second, err, len(pr.Comments()), first)
	}
}

func TestSetStatus(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	pr := b.open(t, "work", map[string]string{"a": "a"})
	sha := pr.HeadSHA(t.Context())
	status := forge.Status{
		State: forge.StatusFailure, Description: strings.Repeat("é\n", 200), TargetURL: "https://mayfly.example.com/p/1",
	}
	if err := b.client.SetStatus(t.Context(), b.repo.ID(), sha, status); err != nil {
		t.Fatal(err)
	}
	got := b.repo.Statuses(sha)
	if len(got) != 1 || got[0].State != "failure" || got[0].Context != forge.StatusContext || got[0].TargetURL != status.TargetURL {
		t.Fatalf("statuses %+v", got)
	}
	if n := utf8.RuneCountInString(got[0].Description); n > 140 || n < 100 || strings.Contains(got[0].Description, "\n") {
		t.Errorf("description %q has %d characters", got[0].Description, n)
	}
	err := b.client.SetStatus(t.Context(), b.repo.ID(), "main", status)
	wantCode(t, "a branch instead of a commit", err, mayfly.CodeInvalid)
}

func TestStatusFor(t *testing.T) {
	t.Parallel()
	failed := func(code mayfly.Code) *mayfly.Failure {
		return &mayfly.Failure{Code: code, Message: "0007_x.up.sql:3: column \"a\"\nexists"}
	}
	for _, tt := range []struct {
		data  forge.StatusData
		state forge.StatusState
		text  string
	}{
		{forge.StatusData{State: forge.StateCreating}, forge.StatusPending, "Cloning the database"},
		{forge.StatusData{State: forge.StateMigrating}, forge.StatusPending, "Applying migrations"},
		{forge.StatusData{State: forge.StateReady, Preview: "shop-pr-1"}, forge.StatusSuccess, "shop-pr-1 is ready"},
		{forge.StatusData{State: forge.StateReady, Preview: "shop-pr-1", Applied: 1, Took: 321e6}, forge.StatusSuccess,
			"shop-pr-1 is ready, 1 migration applied in 321 ms"},
		{forge.StatusData{State: forge.StateSuspended, Preview: "shop-pr-1", Applied: 2}, forge.StatusSuccess,
			"shop-pr-1 is ready, 2 migrations applied"},
		{forge.StatusData{State: forge.StateFailed, Failure: failed(mayfly.CodeMigrationFailed)}, forge.StatusFailure,
			`0007_x.up.sql:3: column "a" exists`},
		{forge.StatusData{State: forge.StateFailed, Failure: failed(mayfly.CodePoolFull)}, forge.StatusError,
			`0007_x.up.sql:3: column "a" exists`},
		{forge.StatusData{State: forge.StateFailed}, forge.StatusError, "The database could not be made"},
		{forge.StatusData{State: forge.StateDeleted}, forge.StatusSuccess, "The database was removed"},
		{forge.StatusData{State: forge.StateForkDenied}, forge.StatusSuccess, "Pull requests from forks get no database"},
	} {
		got := forge.StatusFor(tt.data)
		if got.State != tt.state || got.Description != tt.text || got.Context != forge.StatusContext {
			t.Errorf("StatusFor(%+v) = %+v, want %s %q", tt.data, got, tt.state, tt.text)
		}
	}
	for _, s := range []mayfly.PreviewState{
		mayfly.PreviewPending, mayfly.PreviewCreating, mayfly.PreviewMigrating, mayfly.PreviewReady,
		mayfly.PreviewSuspended, mayfly.PreviewFailed, mayfly.PreviewDeleting, mayfly.PreviewDeleted,
	} {
		if forge.StatusFor(forge.StatusData{State: forge.StateOf(s)}).State == "" {
			t.Errorf("a preview that is %s has no status", s)
		}
	}
}
