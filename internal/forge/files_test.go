package forge_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

func paths(files []forge.File) []string {
	var all []string
	for _, f := range files {
		all = append(all, f.Path)
	}
	return all
}

const (
	treesRoute = "GET /repositories/{id}/git/trees/{sha}"
	blobsRoute = "GET /repositories/{id}/git/blobs/{sha}"
)

func TestFiles(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	sha, err := b.repo.Apply(ctx, "main", forgetest.Change{
		Write: map[string]string{
			"db/migrations/001_a.up.sql":      "CREATE TABLE a ();\n",
			"db/migrations/002_ü b.up.sql":    "-- \x00 binary \xff\n",
			"db/migrations/003_empty.up.sql":  "",
			"db/migrations/old/000_x.up.sql":  "SELECT 0;\n",
			"db/migrationsX/004_other.up.sql": "no\n",
			"db/seed.sql":                     "no\n",
		},
		Symlinks: map[string]string{"db/migrations/005_link.up.sql": "/etc/passwd", "db/link": "migrations"},
	}, "Add migrations")
	if err != nil {
		t.Fatal(err)
	}
	read := func(sha, dir string) ([]forge.File, error) { return b.client.Files(ctx, b.repo.ID(), sha, dir) }

	files, err := read(sha, "db/migrations")
	want := []string{"db/migrations/001_a.up.sql", "db/migrations/002_ü b.up.sql", "db/migrations/003_empty.up.sql", "db/migrations/old/000_x.up.sql"}
	if err != nil || !slices.Equal(paths(files), want) {
		t.Fatalf("files %q, %v; want %q", paths(files), err, want)
	}
	if string(files[1].Content) != "-- \x00 binary \xff\n" || len(files[2].Content) != 0 {
		t.Errorf("contents %q and %q", files[1].Content, files[2].Content)
	}
	files[0].Content[0] = 'X'
	if again, err := read(sha, "db/migrations/"); err != nil || string(again[0].Content) != "CREATE TABLE a ();\n" {
		t.Errorf("read again: %q, %v; want what is in Git", again[0].Content, err)
	}
	for _, dir := range []string{"db/nothing", "nothing/at/all", "DB/migrations"} {
		if files, err := read(sha, dir); err != nil || len(files) != 0 {
			t.Errorf("directory %q that is not there: %q, %v; want none", dir, paths(files), err)
		}
	}
	for _, dir := range []string{"/db", "../db", "db/../db", "db//migrations", "./db", "db\\migrations", "db\x00", "..", "db/seed.sql", "db/link"} {
		_, err := read(sha, dir)
		wantCode(t, fmt.Sprintf("directory %q", dir), err, mayfly.CodeInvalid)
	}
	for _, commit := range []string{"main", sha[:12], "", strings.ToUpper(sha), sha + "/../../x"} {
		_, err := read(commit, "db")
		wantCode(t, fmt.Sprintf("commit %q", commit), err, mayfly.CodeInvalid)
	}
	_, err = read(strings.Repeat("0", 39)+"1", "db/migrations")
	wantCode(t, "a commit that never was", err, mayfly.CodeHeadGone)
}

// What one commit shares with the one before is not read again.
func TestFilesAreCached(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	files := map[string]string{}
	for i := range 20 {
		files[fmt.Sprintf("db/m/%03d.up.sql", i)] = fmt.Sprintf("SELECT %d;\n", i)
	}
	pr := b.open(t, "work", files)
	read := func(blobs int) {
		t.Helper()
		got, err := b.client.Files(ctx, b.repo.ID(), pr.HeadSHA(ctx), "db/m")
		if err != nil || len(got) < 20 {
			t.Fatalf("%d files, %v", len(got), err)
		}
		if n := b.server.Calls()[blobsRoute]; n != blobs {
			t.Errorf("%d blobs were read so far, want %d", n, blobs)
		}
	}
	read(20)
	b.server.ResetCalls()
	read(0)
	if n := b.server.Calls()[treesRoute]; n != 0 {
		t.Errorf("%d trees were read again", n)
	}
	if _, err := pr.Push(ctx, map[string]string{"db/m/020.up.sql": "SELECT 20;\n"}); err != nil {
		t.Fatal(err)
	}
	read(1)
}

func TestFilesOfOneRepositoryAreNotReadThroughAnother(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{})
	ctx := t.Context()
	pr := b.open(t, "work", map[string]string{"db/a.sql": "SELECT 'secret';\n"})
	if _, err := b.client.Files(ctx, b.repo.ID(), pr.HeadSHA(ctx), "db"); err != nil {
		t.Fatal(err)
	}
	other, err := b.server.CreateRepository(ctx, "globex/shop")
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.client.Files(ctx, other.ID(), pr.HeadSHA(ctx), "db")
	wantCode(t, "a commit of another repository", err, mayfly.CodeHeadGone)
}

func TestFilesOfTruncatedTree(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{truncate: 3})
	ctx := t.Context()
	files := map[string]string{"z": "z"}
	for i := range 4 {
		files[fmt.Sprintf("db/m/%d.sql", i)] = "x"
		files[fmt.Sprintf("db/m/sub/%d.sql", i)] = "y"
	}
	sha, err := b.repo.Commit(ctx, "main", files, "Many files")
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.client.Files(ctx, b.repo.ID(), sha, "db/m")
	if err != nil || len(got) != 8 {
		t.Errorf("%q, %v; want 8 files", paths(got), err)
	}
}

func TestFilesLimits(t *testing.T) {
	t.Parallel()
	for name, limits := range map[string]forge.Limits{
		"count": {Files: 2}, "size of one": {FileBytes: 99}, "size of all": {TotalBytes: 299},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, setupOptions{limits: limits})
			big := strings.Repeat("x", 100)
			pr := b.open(t, "work", map[string]string{"db/a": big, "db/b": big, "db/c": big})
			_, err := b.client.Files(t.Context(), b.repo.ID(), pr.HeadSHA(t.Context()), "db")
			wantCode(t, name, err, mayfly.CodeTooLarge)
			if n := b.server.Calls()[blobsRoute]; n != 0 {
				t.Errorf("%d blobs were read before the limit was looked at", n)
			}
		})
	}
}

func TestHeadGone(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]setupOptions{"token": {}, "app": {app: true}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, o)
			ctx := t.Context()
			pr := b.open(t, "work", map[string]string{"db/a": "a"})
			sha := pr.HeadSHA(ctx)
			if err := pr.DeleteHead(ctx); err != nil {
				t.Fatal(err)
			}
			if pull, err := b.client.PullRequest(ctx, b.repo.ID(), pr.Number()); err != nil || !pull.Open() || pull.HeadSHA != sha {
				t.Errorf("the pull request: %+v, %v; want it open with the head that is gone", pull, err)
			}
			_, err := b.client.Files(ctx, b.repo.ID(), sha, "db")
			wantCode(t, "Files", err, mayfly.CodeHeadGone)
			err = b.client.SetStatus(ctx, b.repo.ID(), sha, forge.Status{State: forge.StatusPending})
			wantCode(t, "SetStatus", err, mayfly.CodeHeadGone)
		})
	}
}

func TestFilesConcurrently(t *testing.T) {
	t.Parallel()
	b := setup(t, setupOptions{app: true})
	ctx := t.Context()
	pr := b.open(t, "work", map[string]string{"db/a": "a", "db/b": "b", "db/c": "c"})
	sha := pr.HeadSHA(ctx)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if files, err := b.client.Files(ctx, b.repo.ID(), sha, "db"); err != nil || len(files) != 3 {
				t.Errorf("%q, %v", paths(files), err)
			}
		})
	}
	wg.Wait()
}
