package docker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// hangVariable makes the test binary a Mayfly process that hangs in Run. Its value is run directory, installation and
// image, separated by spaces.
const hangVariable = "MAYFLY_TEST_HANG_IN_RUN"

// hang runs a command that never ends and says so on standard output once it runs.
func hang() int {
	settings := strings.Fields(os.Getenv(hangVariable))
	engine, err := docker.New(docker.Options{
		RunDir: settings[0], Installation: settings[1],
		VolumePath: func(string) (string, error) { return "", driver.ErrNotFound },
	})
	if err == nil {
		_, err = engine.Run(context.Background(), sleeper(settings[2], os.Stdout))
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

func sleeper(image string, out io.Writer) driver.RunSpec {
	return driver.RunSpec{
		Image: image, Command: []string{"sh", "-c", "echo up; sleep 1000"}, Stdout: out,
		Listener: func(c net.Conn) { _ = c.Close() },
	}
}

// TestRemoveStaleRuns kills a process in the middle of Run, while another one is in Run too.
func TestRemoveStaleRuns(t *testing.T) {
	t.Parallel()
	b, image := newBench(t), pgtest.Image(t, 0)
	killed := exec.CommandContext(t.Context(), os.Args[0])
	killed.Env = append(os.Environ(), hangVariable+"="+strings.Join([]string{b.runDir, b.installation, image.ID}, " "))
	killed.Stderr = os.Stderr
	out, err := killed.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := killed.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the other process says %q, error %v", line, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	reader, writer := io.Pipe()
	living := make(chan error, 1)
	go func() {
		_, err := b.open(t, docker.Options{}).Run(ctx, sleeper(image.ID, writer))
		living <- err
	}()
	if line, err := bufio.NewReader(reader).ReadString('\n'); err != nil || line != "up\n" {
		t.Fatalf("the living run says %q, error %v", line, err)
	}

	wantLeft(t, b, "before anyone died", 2)
	if err := b.engine.RemoveStaleRuns(ctx); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, b, "after a sweep while both live", 2)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	if err := b.engine.RemoveStaleRuns(ctx); err != nil {
		t.Fatal(err)
	}
	wantLeft(t, b, "after one was killed", 1)
	select {
	case err := <-living:
		t.Errorf("the living run was disturbed: %v", err)
	default:
	}
	cancel()
	<-living
	wantLeft(t, b, "after the other was cancelled", 0)
}

// wantLeft checks the number of containers and of listener directories.
func wantLeft(t *testing.T, b *bench, when string, want int) {
	t.Helper()
	containers, err := b.engine.Containers(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	dirs, err := os.ReadDir(filepath.Join(b.runDir, ".runs"))
	if err != nil {
		t.Fatal(err)
	}
	if len(containers) != want || len(dirs) != want {
		t.Errorf("%s: %d containers and %d listener directories, want %d", when, len(containers), len(dirs), want)
	}
}

func TestRemoveStaleSocketDirectories(t *testing.T) {
	t.Parallel()
	b, image := newBench(t), pgtest.Image(t, 0)
	ctx := t.Context()
	b.volume(t, "volume", image.User)
	for _, id := range []string{"living", "young"} {
		if err := b.engine.Create(ctx, driver.InstanceSpec{ID: id, Image: image.ID, Volume: "volume"}); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.engine.Remove(context.Background(), id) })
	}
	for _, dir := range []string{"orphan", ".volumes/orphan", "fresh"} {
		if err := os.MkdirAll(filepath.Join(b.runDir, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Now().Add(-time.Hour)
	for _, dir := range []string{"living", ".volumes/living", "orphan", ".volumes/orphan"} {
		if err := os.Chtimes(filepath.Join(b.runDir, dir), old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.engine.RemoveStaleRuns(ctx); err != nil {
		t.Fatal(err)
	}
	for dir, want := range map[string]bool{
		"living": true, ".volumes/living": true, "young": true, "fresh": true, "orphan": false, ".volumes/orphan": false,
	} {
		if _, err := os.Stat(filepath.Join(b.runDir, dir)); (err == nil) != want {
			t.Errorf("directory %s exists: %t, want %t", dir, err == nil, want)
		}
	}
}
