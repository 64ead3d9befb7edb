package quarantine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

const backupSQL = `CREATE TABLE t (id int PRIMARY KEY, name text); INSERT INTO t SELECT i, 'row ' || i FROM generate_series(1, 1000) i;
	CREATE UNLOGGED TABLE u AS SELECT 1 AS id; CREATE ROLE someone; ALTER TABLE t OWNER TO someone`

// primary makes a server with a database "shop" and a tablespace, if wanted.
func primary(t *testing.T, tablespace bool) *pgtest.Primary {
	t.Helper()
	server := pgtest.StartPrimary(t, 0)
	server.Exec(t, "postgres", "CREATE DATABASE shop")
	server.Exec(t, "shop", backupSQL)
	// Whatever the source is configured to do must not be done here.
	server.Exec(t, "postgres", "ALTER SYSTEM SET shared_preload_libraries = 'no_such_library'")
	server.Exec(t, "postgres", "SELECT pg_create_physical_replication_slot('slot', true)")
	if tablespace {
		server.Exec(t, "postgres", `COPY (SELECT 1) TO PROGRAM 'mkdir -p /mayfly/volume/space'`)
		server.Exec(t, "postgres", `CREATE TABLESPACE space LOCATION '/mayfly/volume/space'`)
		server.Exec(t, "shop", `CREATE TABLE spaced (id int) TABLESPACE space; INSERT INTO spaced SELECT generate_series(1, 77)`)
	}
	return server
}

func mustBackup(t *testing.T, opts Options, b Backup) *Cluster {
	t.Helper()
	c, err := RestoreBackup(bounded(t), opts, b)
	if err != nil {
		t.Fatalf("restore: %v (%s)", err, mayfly.ErrorHint(err))
	}
	return destroyed(t, c)
}

// copyOf copies a backup so that a test can change it.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "backup")
	if out, err := exec.CommandContext(t.Context(), "cp", "-a", dir, to).CombinedOutput(); err != nil {
		t.Fatalf("copy the backup: %v: %s", err, out)
	}
	return to
}

func TestBaseBackups(t *testing.T) {
	t.Parallel()
	server := primary(t, true)
	asTars := server.BaseBackup(t, "--format=tar", "--gzip")
	server.Exec(t, "shop", "DROP TABLE spaced")
	server.Exec(t, "postgres", "DROP TABLESPACE space")
	server.Exec(t, "postgres", "ALTER DATABASE shop SET session_preload_libraries = 'no_such_library'")
	plain := server.BaseBackup(t, "--format=plain")

	t.Run("tar with a tablespace", func(t *testing.T) {
		t.Parallel()
		c := mustBackup(t, options(t), Backup{Path: asTars})
		if got := value(t, c, "SELECT (SELECT count(*) FROM t) || ' ' || (SELECT sum(id) FROM spaced)"); got != "1000 3003" {
			t.Errorf("read %s", got)
		}
	})
	t.Run("tar of a directory", func(t *testing.T) {
		t.Parallel()
		tarred := filepath.Join(t.TempDir(), "backup.tar.gz")
		if out, err := exec.CommandContext(t.Context(), "tar", "-C", filepath.Dir(plain), "-czf", tarred, "backup").CombinedOutput(); err != nil {
			t.Fatalf("tar: %v: %s", err, out)
		}
		c := mustBackup(t, options(t), Backup{Path: tarred})
		if got := value(t, c, "SELECT count(*) FROM t"); got != "1000" {
			t.Errorf("count %s", got)
		}
		if f := finding(c, "unlogged_table_empty"); f == nil || f.Count != 1 || f.Samples[0] != "public.u" {
			t.Errorf("findings: %+v", c.Findings)
		}
		if finding(c, "backup_not_verified") != nil {
			t.Error("the manifest was not used")
		}
	})
	t.Run("hostile", func(t *testing.T) {
		t.Parallel()
		testHostile(t, copyOf(t, plain))
	})
	t.Run("damaged", func(t *testing.T) {
		t.Parallel()
		dir := copyOf(t, plain)
		if err := os.WriteFile(filepath.Join(dir, "pg_xact", "0000"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, Backup{Path: dir}, mayfly.CodeSourceInvalid, "not what its manifest says")
	})
	t.Run("copy of a running server", func(t *testing.T) {
		t.Parallel()
		dir := copyOf(t, plain)
		if err := errors.Join(os.Remove(filepath.Join(dir, "backup_label")), os.Remove(filepath.Join(dir, "backup_manifest"))); err != nil {
			t.Fatal(err)
		}
		refused(t, Backup{Path: dir}, mayfly.CodeSourceInvalid, "copy of a running server")
	})
	t.Run("no WAL", func(t *testing.T) {
		t.Parallel()
		dir := copyOf(t, plain)
		if err := os.RemoveAll(filepath.Join(dir, "pg_wal")); err != nil {
			t.Fatal(err)
		}
		refused(t, Backup{Path: dir}, mayfly.CodeSourceInvalid, "lacks WAL")
	})
	t.Run("truncated", func(t *testing.T) {
		t.Parallel()
		dir := copyOf(t, asTars)
		if err := os.Truncate(filepath.Join(dir, "base.tar.gz"), 1<<20); err != nil {
			t.Fatal(err)
		}
		refused(t, Backup{Path: dir}, mayfly.CodeSourceInvalid, "truncated or damaged")
	})
}

func refused(t *testing.T, b Backup, code mayfly.Code, want string) {
	t.Helper()
	opts := options(t)
	c, err := RestoreBackup(bounded(t), opts, b)
	if err == nil {
		destroyed(t, c)
	}
	if mayfly.ErrorCode(err) != code || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v (%s), want %s: %s", err, mayfly.ErrorCode(err), code, want)
	}
}

// testHostile plants what a server would run, load or follow.
func testHostile(t *testing.T, dir string) {
	outside := write(t, "outside", "a secret of the host")
	file := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	file("postgresql.auto.conf", "restore_command = 'touch /mayfly/volume/pwned'\nshared_preload_libraries = 'nothing'\nlisten_addresses = '*'\n")
	file("postgresql.conf", "include '/etc/passwd'\nnonsense\n")
	file("pg_hba.conf", "local all all trust\n")
	file("pg_ident.conf", "mayfly postgres mayfly_admin\n")
	file("standby.signal", "")
	file("recovery.signal", "")
	file("tablespace_map", "16400 /mayfly/socket\n")
	file("evil.so", "ELF")
	file("base/evil", "not a relation")
	file("pg_replslot/logical/state", "garbage")
	file("pg_logical/snapshots/0-1.snap", "garbage")
	for _, link := range []string{"base/1/99999", "global/99999", "link", "pg_wal/000000010000000000000099"} {
		if err := os.Symlink(outside, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	c := mustBackup(t, options(t), Backup{Path: dir})
	if f := finding(c, "foreign_file"); f == nil || f.Count != 2 {
		t.Errorf("findings: %+v", c.Findings)
	}
	if got := value(t, c, `SELECT string_agg(name || '=' || setting, ' ' ORDER BY name) FROM pg_settings
		WHERE name IN ('listen_addresses', 'shared_preload_libraries', 'primary_conninfo')`); got != "listen_addresses= primary_conninfo= shared_preload_libraries=" {
		t.Errorf("settings: %s", got)
	}
	if got := value(t, c, `SELECT count(*) FROM pg_hba_file_rules WHERE auth_method = 'trust'`); got != "0" {
		t.Error("the source's pg_hba.conf is in force")
	}
	path, err := pgtest.Pool(t).Path(c.id)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(path, func(name string, entry fs.DirEntry, err error) error {
		if err == nil && (entry.Type()&fs.ModeSymlink != 0 || strings.Contains(name, "evil") || strings.Contains(name, "99999") || strings.Contains(name, "pwned")) {
			t.Errorf("%s is in the quarantine", name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecoverToTime(t *testing.T) {
	t.Parallel()
	server := primary(t, false)
	early := now(t, server).Add(-time.Hour)
	backup := server.BaseBackup(t, "--format=tar", "--wal-method=fetch")
	server.Exec(t, "shop", "INSERT INTO t VALUES (5001, 'before')")
	target := now(t, server)
	server.Exec(t, "shop", "INSERT INTO t VALUES (5002, 'after')")
	server.ArchiveWAL(t)
	wal := compressedWAL(t, server.ArchiveDir())

	const found = "SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM t WHERE id > 5000"
	for name, test := range map[string]struct {
		backup Backup
		want   string
	}{
		"without more WAL": {Backup{Path: backup}, ""},
		"to the end":       {Backup{Path: backup, WAL: wal}, "5001 5002"},
		"to a time":        {Backup{Path: backup, WAL: wal, RecoverTo: &target}, "5001"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := value(t, mustBackup(t, options(t), test.backup), found); got != test.want {
				t.Errorf("found the rows %q, want %q", got, test.want)
			}
		})
	}
	late := time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		to   *time.Time
		want string
	}{"too late": {&late, "ends before source.recover_to"}, "too early": {&early, "before the end of the base backup"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused(t, Backup{Path: backup, WAL: wal, RecoverTo: test.to}, mayfly.CodeInvalid, test.want)
		})
	}
	t.Run("truncated segment", func(t *testing.T) {
		t.Parallel()
		cut := t.TempDir()
		if err := os.WriteFile(filepath.Join(cut, "0000000100000000000000FF"), bytes.Repeat([]byte{0, 0, 0, 1}, 1000), 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, Backup{Path: backup, WAL: cut}, mayfly.CodeSourceInvalid, "truncated or damaged at the WAL segment")
	})
}

// now is a moment by the server's clock, before whatever is done next and after whatever was done.
func now(t *testing.T, server *pgtest.Primary) time.Time {
	t.Helper()
	var at time.Time
	if err := server.Connect(t, "postgres").QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&at); err != nil {
		t.Fatal(err)
	}
	return at
}

// compressedWAL copies an archive of WAL, each segment compressed.
func compressedWAL(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		in, err := os.Open(filepath.Join(from, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(filepath.Join(to, entry.Name()+".gz"))
		if err != nil {
			t.Fatal(err)
		}
		z, _ := gzip.NewWriterLevel(out, gzip.BestSpeed)
		_, err = io.Copy(z, in)
		if err := errors.Join(err, z.Close(), out.Close(), in.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestCancelledBackupLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for i, name := range []string{"PG_VERSION", "base/1/1259"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprint(pgtest.Image(t, 0).Major*(1-i), "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(dir, "base/1/1259"), 64<<30); err != nil { // sparse: long to copy
		t.Fatal(err)
	}
	opts := options(t)
	ctx, cancel := context.WithCancel(bounded(t))
	defer cancel()
	ended := make(chan error, 1)
	go func() {
		_, err := RestoreBackup(ctx, opts, Backup{Path: dir})
		ended <- err
	}()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for size := int64(0); size < 1<<20; {
		select {
		case err := <-ended:
			t.Fatalf("ended early: %v", err)
		case <-ticker.C:
		}
		size, _ = opts.Volumes.Size(ctx, ID(opts.TemplateID))
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	nothingLeft(t, opts)
}
