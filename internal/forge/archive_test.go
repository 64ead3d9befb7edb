package forge_test

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

// TestArchive reads a commit's archive, as an App and with a token: through the redirect, whose host must not see credentials.
func TestArchive(t *testing.T) {
	t.Parallel()
	for _, app := range []bool{true, false} {
		b := setup(t, setupOptions{app: app})
		sha, err := b.repo.Apply(t.Context(), "topic", forgetest.Change{
			Write: map[string]string{"db/a.rb": "a", "bin/b": "b"}, Symlinks: map[string]string{"link": "db/a.rb"},
		}, "Two files")
		if err != nil {
			t.Fatal(err)
		}
		archive, err := b.client.Archive(t.Context(), b.repo.ID(), sha)
		if err != nil {
			t.Fatalf("open the archive: %v", err)
		}
		names := entries(t, archive)
		if err := archive.Close(); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"db/a.rb", "bin/b", "link", "README.md"} {
			if !strings.Contains(names, "/"+want+"\n") {
				t.Errorf("the archive lacks %s; it has:\n%s", want, names)
			}
		}
	}
}

func entries(t *testing.T, archive io.Reader) string {
	t.Helper()
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		t.Fatal(err)
	}
	var names strings.Builder
	for entries := tar.NewReader(unzipped); ; {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return names.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		names.WriteString(header.Name + "\n")
	}
}

// TestArchiveOfNoCommit says that the head is gone.
func TestArchiveOfNoCommit(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	_, err := b.client.Archive(t.Context(), b.repo.ID(), strings.Repeat("0", 40))
	if code := mayfly.ErrorCode(err); code != mayfly.CodeHeadGone {
		t.Errorf("a commit that does not exist gives %s: %v", code, err)
	}
	if _, err := b.client.Archive(t.Context(), b.repo.ID(), "main"); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
		t.Errorf("a branch is taken for a commit: %v", err)
	}
}
