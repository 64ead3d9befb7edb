package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/pgtest"
)

// holds says whether there is the container, and whether there is the volume, of a preview.
func (in *installation) holds(t *testing.T, id string) (container, volume bool) {
	t.Helper()
	found, err := in.engine.List(t.Context(), map[string]string{"role": "preview"})
	if err != nil {
		t.Fatal(err)
	}
	for _, instance := range found {
		container = container || instance.ID == id
	}
	stored, err := in.pool.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range stored {
		volume = volume || v.ID == id
	}
	return container, volume
}

// refused starts a service that must end without serving or removing the sandbox.
func (in *installation) refused(t *testing.T, sandbox string) {
	t.Helper()
	s := in.launch(t, "")
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("the service starts with a state database that does not know its previews")
	}
	text := s.log.String()
	if s.cmd.ProcessState.ExitCode() != exitCode(mayfly.Errorf(mayfly.CodeConflict, "refused")) || !strings.Contains(text, "--adopt-state") ||
		!strings.Contains(text, "state database is new") {
		t.Errorf("exit code %d, message:\n%s", s.cmd.ProcessState.ExitCode(), text)
	}
	if container, volume := in.holds(t, sandbox); !container || !volume {
		t.Fatalf("after a refused start there is the container of the sandbox: %v, its volume: %v", container, volume)
	}
}

// An empty state database knows no preview: to the sweep, all of them would be garbage.
func TestNewStateDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	s := in.start(t, "")
	made := in.sandbox(t, in.client(t, s), "keep")
	in.ready(t, made.ID)
	stored, err := in.store.Preview(t.Context(), made.ID)
	check(t, err)
	sandbox := stored.Instance()
	s.stop(t)
	idFile := filepath.Join(in.dir, "data", stateIDFile)
	remembered, err := os.ReadFile(idFile)
	check(t, err)
	if info, err := os.Stat(idFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%s: %v, %v; want mode 0600", stateIDFile, info, err)
	}
	right, err := os.ReadFile(filepath.Join(in.dir, "database.url"))
	check(t, err)

	server := pgtest.Cluster(t)
	in.put(t, "database.url", server.DSN(server.Database(t)))
	in.refused(t, sandbox)
	in.refused(t, sandbox) // a database that was refused is still a stranger
	check(t, os.Remove(idFile))
	in.refused(t, sandbox) // without the file, what exists speaks for itself

	in.put(t, "database.url", string(right))
	s = in.start(t, "")
	in.reachable(t, s, made.Name)
	s.stop(t)
	if again, err := os.ReadFile(idFile); err != nil || string(again) != string(remembered) {
		t.Errorf("the state database's id was %q and is %q (%v)", remembered, again, err)
	}

	in.put(t, "database.url", server.DSN(server.Database(t)))
	s = in.start(t, "", "--adopt-state")
	eventually(t, "the sweep removes what the adopted database does not know", func() bool {
		container, volume := in.holds(t, sandbox)
		return !container && !volume
	})
	s.stop(t)
	in.start(t, "").stop(t) // from then on it is the right one
}

// The embedded state database is lost with its directory, and the service makes an empty one in its place.
func TestLostEmbeddedStateDatabaseIsRefused(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{embedded: true})
	in.start(t, "").stop(t)
	in.start(t, "").stop(t) // the same database is no stranger
	check(t, errors.Join(in.engine.Stop(t.Context(), stateVolume, time.Minute), in.engine.Remove(t.Context(), stateVolume),
		os.RemoveAll(filepath.Join(in.dir, "data", "state"))))
	s := in.launch(t, "")
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("the service starts with an empty state database in place of the one that was lost")
	}
	if text := s.log.String(); s.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(text, "--adopt-state") {
		t.Errorf("exit code %d, message:\n%s", s.cmd.ProcessState.ExitCode(), text)
	}
	in.start(t, "", "--adopt-state").stop(t)
}
