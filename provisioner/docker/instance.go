package docker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Create implements driver.Engine. The volume need not exist yet; Start needs it.
func (e *Engine) Create(ctx context.Context, spec driver.InstanceSpec) error {
	if err := checkID(spec.ID); err != nil {
		return err
	}
	if !driver.ValidID(spec.Volume) {
		return fmt.Errorf("volume %q of instance %s: %w", spec.Volume, spec.ID, driver.ErrInvalidID)
	}
	image, err := e.probed(ctx, spec.Image)
	if err != nil {
		return err
	}
	if err := e.makeSocketDir(spec.ID, image.user); err != nil {
		return err
	}
	link, err := e.linkVolume(spec.ID, spec.Volume)
	if err != nil {
		return err
	}
	config := &container.Config{
		Image:      spec.Image,
		User:       userOf(image.user),
		Entrypoint: []string{"postgres"},
		Cmd:        append([]string{"-D", driver.DataDir}, spec.Args...),
		Labels:     e.labels(spec.Labels, map[string]string{labelID: spec.ID, labelVolume: spec.Volume}),
		StopSignal: "SIGINT", // fast shutdown (PostgreSQL docs, "Shutting Down the Server")
	}
	host := hardened(config, image, spec.Limits)
	host.Mounts = append(host.Mounts,
		mount.Mount{Type: mount.TypeBind, Source: link, Target: driver.VolumeMount},
		mount.Mount{Type: mount.TypeBind, Source: e.socketDir(spec.ID), Target: driver.SocketDir})
	host.LogConfig = container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m", "max-file": "2"}}
	if spec.RestartOnEngineStart {
		host.RestartPolicy = container.RestartPolicy{Name: container.RestartPolicyUnlessStopped}
	}
	return e.createInstance(ctx, spec.ID, config, host)
}

// createInstance creates the container, unless there is one. The engine reserves the name before the container can be
// inspected, and frees it only after the container is gone, so a conflict may take a moment to explain itself.
func (e *Engine) createInstance(ctx context.Context, id string, config *container.Config, host *container.HostConfig) error {
	for {
		created, err := e.api.ContainerCreate(ctx, config, host, nil, nil, e.containerName(id))
		if err == nil {
			e.ids.Store(id, created.ID)
			return nil
		}
		if !cerrdefs.IsConflict(err) {
			return e.wrap(err, "create instance %s", id)
		}
		found, err := e.inspect(ctx, id)
		switch {
		case err == nil && found.State.Status != container.StateRemoving && found.State.Status != container.StateDead:
			return nil
		case errors.Is(err, errForeign):
			return mayfly.Errorf(mayfly.CodeConflict, "the container name %s is taken by a container that is not Mayfly's", e.containerName(id)).
				WithHint("rename or remove that container")
		case err != nil && !errors.Is(err, driver.ErrNotFound):
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("create instance %s, while another call creates or removes it: %w", id, ctx.Err())
		case <-time.After(3 * time.Millisecond):
		}
	}
}

// errForeign is wrapped, beside driver.ErrNotFound, when a container has the right name and not our labels.
var errForeign = errors.New("a foreign container has the name")

// Start implements driver.Engine.
func (e *Engine) Start(ctx context.Context, id string) error {
	return e.onContainer(ctx, id, "start", func(containerID string) error {
		if err := errors.Join(e.pointAtVolume(ctx, id), e.restoreSocketDir(ctx, id)); err != nil {
			return err
		}
		err := e.api.ContainerStart(ctx, containerID, container.StartOptions{})
		if err == nil || !isPaused(err) {
			return err
		}
		return e.unpause(ctx, containerID)
	})
}

// Stop implements driver.Engine. The timeout is rounded up to a second, the engine's unit.
func (e *Engine) Stop(ctx context.Context, id string, timeout time.Duration) error {
	seconds := max(1, int(math.Ceil(timeout.Seconds())))
	return e.onContainer(ctx, id, "stop", func(containerID string) error {
		return e.api.ContainerStop(ctx, containerID, container.StopOptions{Timeout: &seconds})
	})
}

// Remove implements driver.Engine.
func (e *Engine) Remove(ctx context.Context, id string) error {
	err := e.onContainer(ctx, id, "remove", func(containerID string) error {
		return e.removeContainer(ctx, containerID)
	})
	if err != nil && !errors.Is(err, driver.ErrNotFound) {
		return err
	}
	if err := checkID(id); err != nil {
		return err
	}
	e.ids.Delete(id)
	if err := os.RemoveAll(e.socketDir(id)); err != nil {
		return fmt.Errorf("remove socket directory of instance %s: %w", id, err)
	}
	if err := os.RemoveAll(e.linkDir(id)); err != nil {
		return fmt.Errorf("remove volume link of instance %s: %w", id, err)
	}
	return nil
}

// onContainer calls do with the id of the instance's container. If the cached id turns out to be stale, it looks the
// container up and tries once more. ErrNotFound if there is no container of this installation.
func (e *Engine) onContainer(ctx context.Context, id, doing string, do func(containerID string) error) error {
	if err := checkID(id); err != nil {
		return err
	}
	if cached, ok := e.ids.Load(id); ok {
		containerID, _ := cached.(string)
		err := do(containerID)
		if !cerrdefs.IsNotFound(err) {
			return e.wrap(err, "%s instance %s", doing, id)
		}
		e.ids.CompareAndDelete(id, cached)
	}
	found, err := e.inspect(ctx, id)
	if err != nil {
		return err
	}
	return e.wrap(do(found.ID), "%s instance %s", doing, id)
}

// inspect looks an instance's container up by name and makes sure that it is ours.
func (e *Engine) inspect(ctx context.Context, id string) (container.InspectResponse, error) {
	found, err := e.api.ContainerInspect(ctx, e.containerName(id))
	if err != nil {
		return found, e.wrap(err, "inspect instance %s", id)
	}
	if found.Config.Labels[labelInstance] != e.installation || found.Config.Labels[labelID] != id {
		return container.InspectResponse{}, fmt.Errorf("inspect instance %s: %w: %w", id, driver.ErrNotFound, errForeign)
	}
	e.ids.Store(id, found.ID)
	return found, nil
}

// removeContainer kills and removes a container and waits until it is gone, also when somebody else is removing it.
func (e *Engine) removeContainer(ctx context.Context, containerID string) error {
	for {
		err := e.api.ContainerRemove(ctx, containerID, container.RemoveOptions{Force: true, RemoveVolumes: true})
		if err == nil || cerrdefs.IsNotFound(err) {
			return nil
		}
		if !cerrdefs.IsConflict(err) { // "removal of container … is already in progress"
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (last: %w)", ctx.Err(), err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}
