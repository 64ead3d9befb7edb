package quarantine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/templates/archive"
)

const partitionedSQL = `CREATE TABLE parts (id int, name text) PARTITION BY HASH (id);
	CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
	CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
	INSERT INTO parts SELECT i, E'it''s \\ ' || i FROM generate_series(1, 500) i;
	ALTER TABLE parts ENABLE ROW LEVEL SECURITY; CREATE ROLE "some one"; CREATE POLICY p ON parts TO "some one" USING (true)`

// TestArchives restores archives of each format whose rows cannot be streamed.
func TestArchives(t *testing.T) {
	t.Parallel()
	server := pgtest.StartPrimary(t, 0)
	server.Exec(t, "postgres", "CREATE DATABASE shop")
	server.Exec(t, "shop", partitionedSQL)
	dump := func(t *testing.T, args ...string) string {
		return write(t, "dump", string(server.Client(t, append([]string{"pg_dump", "--dbname=shop"}, args...)...)))
	}
	unpacked := func(t *testing.T) string { // pg_dump -Fd, from a tar of it
		dir := filepath.Join(t.TempDir(), "dir")
		tarred := write(t, "tar", string(server.Client(t, "sh", "-c", "pg_dump --dbname=shop -Fd --inserts -f /tmp/d && tar -C /tmp -cf - d")))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.CommandContext(t.Context(), "tar", "-C", dir, "--strip-components=1", "-xf", tarred).CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		return dir
	}
	for name, test := range map[string]struct {
		format archive.Format
		path   func(t *testing.T) string
	}{
		"custom":    {archive.Custom, func(t *testing.T) string { return dump(t, "-Fc", "--column-inserts") }},
		"tar":       {archive.Tar, func(t *testing.T) string { return dump(t, "-Ft", "--load-via-partition-root") }},
		"directory": {archive.Directory, unpacked},
		"directory tar": {archive.Tar, func(t *testing.T) string {
			return write(t, "tar", string(server.Client(t, "sh", "-c", "pg_dump --dbname=shop -Fd --inserts -f /tmp/d && tar -C /tmp -czf - d")))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := test.path(t)
			if _, err := archive.Open(t.Context(), path); !archive.NeedsRestore(err) {
				t.Errorf("the archive can be streamed: %v", err)
			}
			c, err := RestoreArchive(bounded(t), options(t), server.Image.Major, "", test.format, path)
			if err != nil {
				t.Fatalf("restore: %v", err)
			}
			destroyed(t, c)
			if got := value(t, c, `SELECT count(*) || ' ' || min(name) || ' ' || (SELECT polroles::regrole[]::text FROM pg_policy) FROM parts`); got != `500 it's \ 1 {"\"some one\""}` {
				t.Errorf("read %s", got)
			}
		})
	}
	t.Run("truncated", func(t *testing.T) {
		t.Parallel()
		path := dump(t, "-Fc", "--inserts", "--compress=0")
		if err := os.Truncate(path, 20000); err != nil {
			t.Fatal(err)
		}
		opts := options(t)
		if c, err := RestoreArchive(bounded(t), opts, server.Image.Major, "", archive.Custom, path); err == nil {
			_ = c.Destroy(context.Background())
			t.Error("a truncated archive was restored")
		}
	})
}
