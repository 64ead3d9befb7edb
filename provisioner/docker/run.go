package docker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// cleanupTimeout bounds the removal of a throwaway container after its caller's context ended.
const cleanupTimeout = 30 * time.Second

// Run implements driver.Engine. If the command ends without having read all of Stdin, Run returns without waiting for a
// Read of it that is still blocked. An error of Stdout or Stderr ends the command and is returned.
func (e *Engine) Run(ctx context.Context, spec driver.RunSpec) (driver.RunResult, error) {
	facts, err := e.probed(ctx, spec.Image)
	if err != nil {
		return driver.RunResult{}, err
	}
	return e.run(ctx, spec, facts)
}

func (e *Engine) run(ctx context.Context, spec driver.RunSpec, facts imageFacts) (result driver.RunResult, err error) {
	if len(spec.Command) == 0 {
		return result, mayfly.Errorf(mayfly.CodeInvalid, "no command to run")
	}
	what := spec.Command[0] // the arguments may be long, or carry a name that logs should not
	if err := e.owner.claim(); err != nil {
		return result, err
	}
	mounts, err := e.runMounts(spec)
	if err != nil {
		return result, fmt.Errorf("run %s: %w", what, err)
	}
	if spec.Listener != nil {
		listener, err := e.listen(ctx, spec.Listener)
		if err != nil {
			return result, fmt.Errorf("run %s: %w", what, err)
		}
		defer func() { err = errors.Join(err, listener.close()) }()
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: listener.dir, Target: driver.SocketDir, ReadOnly: true})
	}
	config := &container.Config{
		Image:        spec.Image,
		User:         userOf(facts.user),
		Entrypoint:   spec.Command[:1],
		Cmd:          spec.Command[1:],
		Env:          slices.Clone(spec.Env),
		Labels:       e.labels(spec.Labels, map[string]string{labelRun: e.owner.id}),
		AttachStdin:  spec.Stdin != nil,
		OpenStdin:    spec.Stdin != nil,
		StdinOnce:    spec.Stdin != nil,
		AttachStdout: true,
		AttachStderr: true,
	}
	host := hardened(config, facts, spec.Limits)
	host.Mounts = append(host.Mounts, mounts...)
	host.LogConfig = container.LogConfig{Type: "none"} // or else the engine would write all of stdout to its disk as JSON

	created, err := e.createRun(ctx, config, host)
	if err != nil {
		return result, e.wrap(err, "create a container for %s", what)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		err = errors.Join(err, e.wrap(e.removeContainer(ctx, created), "remove the container of %s", what))
	}()
	result, err = e.execute(ctx, created, spec)
	return result, e.wrap(err, "run %s", what)
}

// createRun creates the container. A cancelled request may or may not have made one, so its name is chosen here and
// removed if it turns up.
func (e *Engine) createRun(ctx context.Context, config *container.Config, host *container.HostConfig) (string, error) {
	name := e.containerName("run-" + randomHex())
	created, err := e.api.ContainerCreate(ctx, config, host, nil, nil, name)
	if err == nil {
		return created.ID, nil
	}
	if ctx.Err() != nil {
		cleanup, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		if removeErr := e.removeAbandoned(cleanup, name); removeErr != nil {
			e.log.WarnContext(cleanup, "an abandoned container could not be removed", "container", name, "error", removeErr)
		}
	}
	return "", err
}

// removeAbandoned removes a container whose creation was cancelled half-way. The engine may be at it still.
func (e *Engine) removeAbandoned(ctx context.Context, name string) error {
	for range 20 {
		_, err := e.api.ContainerInspect(ctx, name)
		if err == nil {
			return e.removeContainer(ctx, name)
		}
		if !cerrdefs.IsNotFound(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

// runMounts returns the mounts that a RunSpec asks for, but for the listener's.
func (e *Engine) runMounts(spec driver.RunSpec) ([]mount.Mount, error) {
	var mounts []mount.Mount
	if spec.Volume != "" {
		if !driver.ValidID(spec.Volume) {
			return nil, fmt.Errorf("volume %q: %w", spec.Volume, driver.ErrInvalidID)
		}
		path, err := e.volumePath(spec.Volume)
		if err != nil {
			return nil, fmt.Errorf("find volume %s: %w", spec.Volume, err)
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: path, Target: driver.VolumeMount})
	}
	if spec.Socket != "" {
		if err := checkID(spec.Socket); err != nil {
			return nil, err
		}
		if spec.Listener != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "a command has one socket directory: either an instance's or a listener's")
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: e.socketDir(spec.Socket), Target: driver.SocketDir, ReadOnly: true})
	}
	for target, source := range spec.Files {
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: source, Target: target, ReadOnly: true})
	}
	return mounts, nil
}

// execute runs a created container to its end. When it returns, nothing writes to Stdout or Stderr any more.
func (e *Engine) execute(ctx context.Context, id string, spec driver.RunSpec) (driver.RunResult, error) {
	stream, err := e.api.ContainerAttach(ctx, id, container.AttachOptions{
		Stream: true, Stdin: spec.Stdin != nil, Stdout: true, Stderr: true,
	})
	if err != nil {
		return driver.RunResult{}, err
	}
	defer stream.Close()
	// Closing the connection is what ends reading and writing when ctx does.
	defer context.AfterFunc(ctx, stream.Close)()

	waited, waitErr := e.api.ContainerWait(ctx, id, container.WaitConditionNextExit)
	if err := e.api.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return driver.RunResult{}, err
	}
	if spec.Stdin != nil {
		go feed(stream, spec.Stdin)
	}
	errOutput := &tail{next: spec.Stderr}
	out := spec.Stdout
	if out == nil {
		out = io.Discard
	}
	if err := demultiplex(stream.Reader, out, errOutput); err != nil {
		if ctx.Err() != nil {
			return driver.RunResult{}, ctx.Err()
		}
		return driver.RunResult{Stderr: errOutput.last()}, err
	}
	select {
	case <-ctx.Done():
		return driver.RunResult{}, ctx.Err()
	case err := <-waitErr:
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return driver.RunResult{}, err
	case ended := <-waited:
		if ended.Error != nil {
			return driver.RunResult{}, errors.New(ended.Error.Message)
		}
		result := driver.RunResult{ExitCode: int(ended.StatusCode), Stderr: errOutput.last()}
		if result.ExitCode != 0 {
			result.OOMKilled, err = e.outOfMemory(ctx, id)
		}
		return result, err
	}
}

// feed copies the command's input and says that it ended. An error here shows in what the command does.
func feed(stream types.HijackedResponse, in io.Reader) {
	_, _ = io.Copy(stream.Conn, in)
	_ = stream.CloseWrite()
}

func (e *Engine) outOfMemory(ctx context.Context, id string) (bool, error) {
	found, err := e.api.ContainerInspect(ctx, id)
	if err != nil {
		return false, err
	}
	return found.State.OOMKilled, nil
}
