package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
)

// command runs mayfly on the machine of an installation, and returns its exit code and what it said.
func (in *installation) command(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	run := exec.CommandContext(t.Context(), "mayfly", args...)
	run.Env = append(os.Environ(), "HOME="+in.dir, "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=", "MAYFLY_TOKEN=")
	run.Stdout, run.Stderr = &stdout, &stderr
	err := run.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("mayfly %s: %v", strings.Join(args, " "), err)
	}
	return run.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

// expect runs mayfly, which must end with that exit code, having said that.
func (in *installation) expect(t *testing.T, code int, text string, args ...string) string {
	t.Helper()
	got, out, said := in.command(t, args...)
	if got != code || !strings.Contains(out+said, text) {
		t.Fatalf("mayfly %s: exit code %d (not %d), or nothing of %q in:\n%s%s", strings.Join(args, " "), got, code, text, out, said)
	}
	return out
}

// loseState does what a broken disk does to everything but the pool.
func (in *installation) loseState(t *testing.T) {
	t.Helper()
	for _, name := range []string{"keys", "state.id", "proof"} {
		check(t, os.RemoveAll(filepath.Join(in.dir, "data", name)))
	}
	url, err := os.ReadFile(filepath.Join(in.dir, "database.url"))
	check(t, err)
	conn, err := pgx.Connect(t.Context(), string(url))
	check(t, err)
	_, err = conn.Exec(t.Context(), "drop schema mayfly cascade")
	check(t, errors.Join(err, conn.Close(t.Context())))
}

// TestBackup: what a backup has comes back, with keys, tokens and passwords; previews whose data is gone are made anew; what was made
// after it is removed; and nothing is touched where it may not be.
func TestBackup(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	s := in.start(t, "")
	api := in.client(t, s)
	kept, lost := in.sandbox(t, api, "kept"), in.sandbox(t, api, "lost")
	in.ready(t, kept.ID)
	in.ready(t, lost.ID)
	before, err := api.Credentials(t.Context(), kept.Name)
	check(t, err)
	file := filepath.Join(in.dir, "mayfly.tar.gz")
	in.expect(t, exitDone, "2 previews, 1 templates", "backup", file, "--config", in.config)
	info, err := os.Stat(file)
	check(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the backup has mode %v", info.Mode())
	}
	after := in.sandbox(t, api, "after")
	in.ready(t, after.ID)

	in.expect(t, exitFailed, "a service is running", "restore", file, "--config", in.config)
	s.stop(t)
	in.store.Pool().Close() // sessions of the test look like a service's
	in.expect(t, exitFailed, "is not empty", "restore", file, "--config", in.config)
	whole, err := os.ReadFile(file)
	check(t, err)
	in.loseState(t)
	for name, content := range map[string][]byte{"cut": whole[:len(whole)/2], "none": []byte("no backup"), "changed": changed(whole)} {
		in.put(t, name, string(content))
		in.expect(t, exitFailed, "the backup is damaged", "restore", filepath.Join(in.dir, name), "--config", in.config)
	}
	in.put(t, "data/keys.other", "")
	check(t, os.MkdirAll(filepath.Join(in.dir, "data/keys"), 0o700))
	in.put(t, "data/keys/seal.key", "another")
	in.expect(t, exitFailed, "is another one than in the backup", "restore", file, "--config", in.config)
	check(t, os.Remove(filepath.Join(in.dir, "data/keys/seal.key")))

	// One preview's data is gone, too.
	p, err := in.pool.List(t.Context())
	check(t, err)
	if len(p) != 4 {
		t.Errorf("there are %d volumes", len(p))
	}
	check(t, in.engine.Stop(t.Context(), lost.ID+"-1", time.Minute))
	check(t, errors.Join(in.engine.Remove(t.Context(), lost.ID+"-1"), in.pool.Delete(t.Context(), lost.ID+"-1")))

	in.expect(t, exitDone, "2 previews, 1 templates", "restore", file, "--config", in.config)
	leftovers, err := filepath.Glob(filepath.Join(in.dir, "data", ".restore-*"))
	check(t, err)
	if len(leftovers) > 0 {
		t.Errorf("it left %v", leftovers)
	}
	in.openState(t)
	s = in.start(t, "")
	if api, err = client.New(s.api, in.token, nil); err != nil { // the token from before: its key came back
		t.Fatal(err)
	}
	in.ready(t, kept.ID)
	in.ready(t, lost.ID)
	in.reachable(t, s, kept.Name)
	in.reachable(t, s, lost.Name)
	now, err := api.Credentials(t.Context(), kept.Name)
	check(t, err)
	if now.Password != before.Password {
		t.Error("the password is another one")
	}
	if _, err := api.Preview(t.Context(), after.Name); mayfly.ErrorCode(err) != mayfly.CodeNotFound {
		t.Errorf("what was made after the backup: %v", err)
	}
	in.holdsExactly(t)
	s.stop(t)
}

// changed is a file with one byte that is not as it was, in the middle.
func changed(content []byte) []byte {
	content = bytes.Clone(content)
	content[len(content)/2] ^= 0xff
	return content
}

// TestBackupEmbedded: the state database that is lost with everything is the service's own.
func TestBackupEmbedded(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{embedded: true})
	in.expect(t, exitNotFound, "there is no state", "backup", filepath.Join(in.dir, "early"), "--config", in.config)
	s := in.start(t, "")
	api := in.client(t, s)
	_, err := api.Self(t.Context())
	check(t, err)
	file := filepath.Join(in.dir, "mayfly.tar.gz")
	in.expect(t, exitDone, "0 previews, 0 templates", "backup", file, "--config", in.config)
	s.stop(t)
	check(t, errors.Join(in.engine.Stop(t.Context(), stateVolume, time.Minute), in.engine.Remove(t.Context(), stateVolume)))
	for _, name := range []string{"state", "keys", "state.id"} {
		check(t, os.RemoveAll(filepath.Join(in.dir, "data", name)))
	}
	in.expect(t, exitDone, "is back", "restore", file, "--config", in.config)
	s = in.start(t, "") // without --adopt-state: it is the state from before
	if api, err = client.New(s.api, in.token, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Self(t.Context()); err != nil {
		t.Errorf("the token from before: %v", err)
	}
	s.stop(t)
}
