package forge_test

import (
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func TestBranchHead(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	want, err := b.repo.Commit(ctx, "feature-x", map[string]string{"a": "b"}, "Begin a feature")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := b.client.BranchHead(ctx, b.repo.ID(), "feature-x"); err != nil || got != want {
		t.Errorf("the head is %q, not %q: %v", got, want, err)
	}
	if _, err := b.client.BranchHead(ctx, b.repo.ID(), "nope"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("a branch that is not there: %v", err)
	}
}
