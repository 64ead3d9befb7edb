package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// runnerImage is what tests take for a project's own image: Alembic, Django, ActiveRecord and Knex.
const runnerImage = "mayfly-test-runner:local"

// RunnerImage returns the reference of the image for runner containers. It is never pulled: there is nowhere to pull it from.
func RunnerImage(tb testing.TB) string {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	if _, err := Engine(tb).PresentImage(ctx, runnerImage); err != nil {
		tb.Fatalf("the image %s is missing: %v\nmake test builds it, and so does: scripts/build-image.sh runner", runnerImage, err)
	}
	return runnerImage
}

// Relay returns the path of a static program that is Mayfly's hidden command `relay`, built once in a process.
func Relay(tb testing.TB) string {
	tb.Helper()
	program, err := current(tb).relay()
	if err != nil {
		tb.Fatalf("build the relay: %v", err)
	}
	return program
}

func (p *process) buildRelay() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	program := filepath.Join(p.base, "relay")
	build := exec.CommandContext(ctx, "go", "build", "-buildvcs=false", "-trimpath", "-o", program,
		"github.com/mayflydb/mayfly/migrations/runner/relay/testdata/program")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
}

// LimitedVolume makes an empty volume of the pool that holds at most limit bytes, and deletes it when the test ends.
func LimitedVolume(tb testing.TB, limit int64) string {
	tb.Helper()
	pool, empty, id := Pool(tb), mayfly.NewID("v"), mayfly.NewID("v")
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
		defer cancel()
		if err := errors.Join(pool.Delete(ctx, id), pool.Delete(ctx, empty)); err != nil {
			tb.Errorf("delete a volume: %v", err)
		}
	})
	err := pool.Create(tb.Context(), empty, driver.Owner{})
	if err == nil {
		err = pool.Freeze(tb.Context(), empty)
	}
	if err == nil {
		err = pool.Clone(tb.Context(), empty, id, limit)
	}
	if err != nil {
		tb.Fatalf("make a volume: %v", err)
	}
	return id
}
