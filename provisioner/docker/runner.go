package docker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

var _ driver.ProjectRunner = (*Engine)(nil)

// programPath is where a run finds our own program.
const programPath = "/mayfly/bin/mayfly"

// ProjectImage implements driver.ProjectRunner.
func (e *Engine) ProjectImage(ctx context.Context, ref string) (string, error) {
	id, err := e.PresentImage(ctx, ref)
	if !errors.Is(err, driver.ErrNotFound) {
		return id, err
	}
	if err := e.pull(ctx, ref); err != nil {
		return "", err
	}
	id, err = e.PresentImage(ctx, ref)
	if errors.Is(err, driver.ErrNotFound) {
		return "", unavailable(ref, err)
	}
	return id, err
}

// PresentImage is ProjectImage without pulling. ErrNotFound if there is no such image on the engine.
func (e *Engine) PresentImage(ctx context.Context, ref string) (string, error) {
	found, err := e.api.ImageInspect(ctx, ref)
	if err != nil {
		return "", e.wrap(err, "look for image %s", ref)
	}
	return found.ID, nil
}

// RunProject implements driver.ProjectRunner. The image's entrypoint, command and health check are not used; its
// environment is, and its user unless the spec names another.
func (e *Engine) RunProject(ctx context.Context, spec driver.ProjectSpec) (result driver.RunResult, err error) {
	if err := e.owner.claim(); err != nil {
		return result, err
	}
	program, err := e.programFile(spec.Program)
	if err != nil {
		return result, err
	}
	mounts, err := e.projectMounts(spec)
	if err != nil {
		return result, err
	}
	listener, err := e.listenAt(ctx, spec.Sockets)
	if err != nil {
		return result, err
	}
	defer func() { err = errors.Join(err, listener.close()) }()
	mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: program, Target: programPath, ReadOnly: true})
	for _, target := range spec.SocketDirs {
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: listener.dir, Target: target, ReadOnly: true})
	}
	config := &container.Config{
		Image: spec.Image, User: spec.User, Entrypoint: []string{programPath}, Cmd: spec.Args, WorkingDir: "/",
		Labels:       e.labels(spec.Labels, map[string]string{labelRun: e.owner.id}),
		Healthcheck:  &container.HealthConfig{Test: []string{"NONE"}},
		AttachStdout: true, AttachStderr: true,
	}
	host, err := e.projectHost(ctx, spec, mounts)
	if err != nil {
		return result, err
	}
	created, err := e.createRun(ctx, config, host)
	if err != nil {
		return result, e.projectError(err, spec.Image)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		err = errors.Join(err, e.wrap(e.removeContainer(ctx, created), "remove a runner container"))
	}()
	output := spec.Output
	if output == nil {
		output = io.Discard
	}
	result, err = e.execute(ctx, created, driver.RunSpec{Stdout: output, Stderr: output})
	return result, e.wrap(err, "run the project's command")
}

// projectError says which image it was that cannot be used.
func (e *Engine) projectError(err error, image string) error {
	if cerrdefs.IsNotFound(err) {
		return unavailable(image, err)
	}
	return e.wrap(err, "create a runner container")
}

// projectHost is as hardened, but for what a project's image needs: a loopback that is up, and a /tmp that programs may
// be in.
func (e *Engine) projectHost(ctx context.Context, spec driver.ProjectSpec, mounts []mount.Mount) (*container.HostConfig, error) {
	inspected, err := e.api.ImageInspect(ctx, spec.Image)
	if err != nil {
		return nil, e.projectError(err, spec.Image)
	}
	tmp := spec.TmpBytes
	if tmp <= 0 {
		tmp = tmpBytes
	}
	tmpfs := map[string]string{"/tmp": "rw,nosuid,nodev,mode=1777,size=" + strconv.FormatInt(tmp, 10)}
	taken := map[string]bool{"/tmp": true}
	for _, m := range mounts {
		taken[path.Clean(m.Target)] = true
	}
	if inspected.Config != nil {
		// Or else the engine would make an anonymous volume for each, without a limit.
		for _, target := range slices.Sorted(maps.Keys(inspected.Config.Volumes)) {
			if !taken[path.Clean(target)] {
				tmpfs[path.Clean(target)] = "rw,nosuid,nodev,mode=1777,size=" + strconv.FormatInt(tmp, 10)
			}
		}
	}
	host := &container.HostConfig{
		NetworkMode: "none", ReadonlyRootfs: true, CapDrop: []string{"ALL"}, SecurityOpt: []string{"no-new-privileges"},
		IpcMode: container.IPCModePrivate, ShmSize: defaultShmBytes, Tmpfs: tmpfs, Mounts: mounts,
		LogConfig: container.LogConfig{Type: "none"}, // what it prints is kept by us, and bounded
		Resources: container.Resources{
			Memory: spec.Limits.MemoryBytes, MemorySwap: spec.Limits.MemoryBytes, NanoCPUs: int64(spec.Limits.CPUs * 1e9),
			Ulimits: []*container.Ulimit{{Name: "core", Soft: 0, Hard: 0}},
		},
	}
	if spec.Limits.Pids > 0 {
		host.PidsLimit = &spec.Limits.Pids
	}
	if spec.Limits.ShmBytes > 0 {
		host.ShmSize = spec.Limits.ShmBytes
	}
	return host, nil
}

// projectMounts makes the directories in the volume. The volume is new and nobody else's: nothing in it can lead elsewhere.
func (e *Engine) projectMounts(spec driver.ProjectSpec) ([]mount.Mount, error) {
	if !driver.ValidID(spec.Volume) {
		return nil, fmt.Errorf("volume %q: %w", spec.Volume, driver.ErrInvalidID)
	}
	volume, err := e.volumePath(spec.Volume)
	if err != nil {
		return nil, fmt.Errorf("find volume %s: %w", spec.Volume, err)
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return nil, fmt.Errorf("open volume %s: %w", spec.Volume, err)
	}
	defer func() { _ = root.Close() }()
	var mounts []mount.Mount
	for name, target := range spec.Mounts {
		err := root.Mkdir(name, 0o700)
		if err == nil || errors.Is(err, os.ErrExist) {
			err = root.Chmod(name, 0o777) // whatever user the image has; the pool above lets nobody else in
		}
		if err != nil {
			return nil, fmt.Errorf("make directory %s in volume %s: %w", name, spec.Volume, err)
		}
		mounts = append(mounts, mount.Mount{Type: mount.TypeBind, Source: filepath.Join(volume, name), Target: target})
	}
	return mounts, nil
}

// programFile puts a program where the engine finds it: in the run directory, which has the same path for both. It is named by
// its content, so that a process of another version does not get in the way.
func (e *Engine) programFile(program string) (string, error) {
	made, err, _ := e.flights.Do("program "+program, func() (any, error) { return e.copyProgram(program) })
	if err != nil {
		return "", mayfly.Errorf(mayfly.CodeInternal, "put Mayfly's own program into a runner container: %w", err)
	}
	name, _ := made.(string)
	return name, nil
}

func (e *Engine) copyProgram(program string) (string, error) {
	if known, ok := e.programs.Load(program); ok {
		if name, ok := known.(string); ok {
			if _, err := os.Stat(name); err == nil {
				return name, nil
			}
		}
	}
	source, err := os.Open(program)
	if err != nil {
		return "", err
	}
	defer func() { _ = source.Close() }()
	dir := filepath.Join(e.runDir, ".programs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	target, err := os.CreateTemp(dir, ".new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(target.Name()) }()
	hash := sha256.New()
	_, err = io.Copy(io.MultiWriter(target, hash), source)
	if err := errors.Join(err, target.Chmod(0o555), target.Close()); err != nil {
		return "", err
	}
	name := filepath.Join(dir, hex.EncodeToString(hash.Sum(nil))[:32])
	if err := os.Rename(target.Name(), name); err != nil {
		return "", err
	}
	e.programs.Store(program, name)
	return name, nil
}
