package forge_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

const queryRoute = "POST /graphql"

// history is a directory with a level below, a binary file, a link, and one file that is longer than a query answers.
func history() forgetest.Change {
	c := forgetest.Change{Write: map[string]string{}, Symlinks: map[string]string{"db/migrations/link": "0001.sql"}}
	for i := range 30 {
		c.Write[fmt.Sprintf("db/migrations/%04d.sql", i)] = fmt.Sprintf("select %d; -- é\r\n", i)
	}
	c.Write["db/migrations/2026_points/migration.sql"] = "select 'below';\n"
	c.Write["db/migrations/binary.bin"] = "a\x00b\xff"
	c.Write["db/migrations/long.sql"] = strings.Repeat("-- long\n", 80_000)
	c.Write["elsewhere.sql"] = "select 'elsewhere';\n"
	return c
}

func TestFilesInOneRequest(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			want := history()
			sha, err := b.repo.Apply(t.Context(), "points", want, "Work")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := b.client.Repository(t.Context(), "acme/shop"); err != nil {
				t.Fatal(err)
			}
			b.server.ResetCalls()
			check := func(files []forge.File, err error) {
				t.Helper()
				if err != nil || len(files) != len(want.Write)-1 {
					t.Fatalf("%d files, %v; want %d", len(files), err, len(want.Write)-1)
				}
				for i, f := range files {
					if want.Write[f.Path] != string(f.Content) || i > 0 && files[i-1].Path >= f.Path {
						t.Errorf("file %s differs, or is out of order", f.Path)
					}
				}
			}
			check(b.client.Files(t.Context(), b.repo.ID(), sha, "db/migrations"))
			calls := b.server.Calls()
			if calls[queryRoute] != 1 || calls["GET /repositories/{id}/git/blobs/{sha}"] != 2 || len(calls) != 2 {
				t.Errorf("calls %v, want one query, and two for the files that it cannot have", calls)
			}
			check(b.client.Files(t.Context(), b.repo.ID(), sha, "db/migrations"))
			if again := b.server.Calls(); again[queryRoute] != 1 {
				t.Errorf("the second look took calls: %v", again)
			}
			none, err := b.client.Files(t.Context(), b.repo.ID(), sha, "nowhere")
			if err != nil || len(none) != 0 {
				t.Errorf("a directory that is not there: %v, %v", none, err)
			}
		})
	}
}

func TestFilesWithoutQueries(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	sha, err := b.repo.Apply(t.Context(), "points", history(), "Work")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.Repository(t.Context(), "acme/shop"); err != nil {
		t.Fatal(err)
	}
	b.server.Deny(queryRoute, true)
	for range 2 {
		if files, err := b.client.Files(t.Context(), b.repo.ID(), sha, "db/migrations"); err != nil || len(files) != 33 {
			t.Errorf("%d files, %v", len(files), err)
		}
		if _, err := b.client.Files(t.Context(), b.repo.ID(), sha, "db"); err != nil {
			t.Error(err)
		}
	}
	if tries := b.server.Calls()[queryRoute]; tries != 1 {
		t.Errorf("tried %d queries", tries)
	}
}
