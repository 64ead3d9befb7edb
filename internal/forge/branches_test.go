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
	parents, err := b.client.CommitParents(ctx, b.repo.ID(), want)
	if err != nil || len(parents) != 1 || parents[0] != b.repo.Head(ctx, "main") {
		t.Errorf("its parents are %q: %v", parents, err)
	}
	for _, sha := range []string{"0f3d8a1c5b7e9f2046a8c0d1e2f3a4b5c6d7e8f9", "../pulls", ""} {
		if _, err := b.client.CommitParents(ctx, b.repo.ID(), sha); mayfly.ErrorCode(err) != mayfly.CodeHeadGone {
			t.Errorf("the parents of %q: %v", sha, err)
		}
	}
	if _, err := b.client.BranchHead(ctx, b.repo.ID(), "nope"); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("a branch that is not there: %v", err)
	}
}
