package docker

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Pause implements driver.Pauser by the freezer of control groups: a process stops where it would return to its own code, so a call
// of write(2) to a file that it is in comes to its end.
func (e *Engine) Pause(ctx context.Context, id string) error {
	return e.onContainer(ctx, id, "pause", func(containerID string) error {
		err := e.api.ContainerPause(ctx, containerID)
		switch {
		case err == nil, isPaused(err):
			return nil
		case cerrdefs.IsConflict(err) || strings.Contains(err.Error(), "is not running"):
			return fmt.Errorf("%w: it does not run", driver.ErrNotFound)
		}
		return err
	})
}

// Unpause implements driver.Pauser.
func (e *Engine) Unpause(ctx context.Context, id string) error {
	return e.onContainer(ctx, id, "unpause", func(containerID string) error { return e.unpause(ctx, containerID) })
}

// unpause lets a container go on. One that somebody else let go on, or that has stopped, is not paused.
func (e *Engine) unpause(ctx context.Context, containerID string) error {
	err := e.api.ContainerUnpause(ctx, containerID)
	if err != nil && strings.Contains(err.Error(), "is not paused") {
		return nil
	}
	return err
}

// isPaused reports whether the engine refused because a container is paused: it has no code for that.
func isPaused(err error) bool {
	text := err.Error()
	return strings.Contains(text, "already paused") || strings.Contains(text, "cannot start a paused container")
}

// FollowLogs implements driver.LogFollower.
func (e *Engine) FollowLogs(ctx context.Context, id string, lines int, w io.Writer) error {
	err := e.onContainer(ctx, id, "follow the log of", func(containerID string) error {
		stream, err := e.api.ContainerLogs(ctx, containerID, container.LogsOptions{
			ShowStdout: true, ShowStderr: true, Follow: true, Tail: strconv.Itoa(max(lines, 0)),
		})
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		return demultiplex(stream, w, w)
	})
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it was told to end
	}
	return err
}
