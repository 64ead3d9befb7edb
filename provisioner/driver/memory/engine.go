package memory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Options describe an engine.
type Options struct {
	Volumes *Volumes
	// AdminRole is whom instances let in without a password.
	AdminRole string
}

// Engine runs instances. Several processes are several users of one Engine.
type Engine struct {
	volumes *Volumes
	admin   string

	mu        sync.Mutex
	instances map[string]*instance
}

// instance is what exists. Its fields are guarded by the engine's lock.
type instance struct {
	spec    driver.InstanceSpec
	running bool
	exit    int
	created time.Time
	clients map[net.Conn]bool // the engine's ends
}

// NewEngine makes an engine without instances.
func NewEngine(o Options) *Engine {
	return &Engine{volumes: o.Volumes, admin: o.AdminRole, instances: map[string]*instance{}}
}

// firstMajor is the oldest version of Postgres that the engine says to have an image of.
const firstMajor = 13

// image is the image of a major version.
func image(major int) driver.Image {
	sum := sha256.Sum256([]byte("memory" + strconv.Itoa(major)))
	return driver.Image{ID: "sha256:" + hex.EncodeToString(sum[:]), Ref: "memory:" + strconv.Itoa(major), Major: major, User: driver.Owner{UID: 999, GID: 999}}
}

// find returns the image with that reference.
func find(ref string) (driver.Image, error) {
	for major := firstMajor; major < firstMajor+10; major++ {
		if found := image(major); found.ID == ref || found.Ref == ref {
			return found, nil
		}
	}
	return driver.Image{}, mayfly.Errorf(mayfly.CodeImageUnavailable, "there is no image %s", ref).WithHint("the engine in memory has memory:13 and later")
}

// Image implements driver.Engine.
func (e *Engine) Image(ctx context.Context, ref string, major int) (driver.Image, error) {
	if err := ctx.Err(); err != nil {
		return driver.Image{}, err
	}
	if ref == "" {
		ref = image(major).Ref
	}
	found, err := find(ref)
	if err == nil && major != 0 && found.Major != major {
		return driver.Image{}, mayfly.Errorf(mayfly.CodeInvalid, "image %s is PostgreSQL %d, not %d", ref, found.Major, major)
	}
	return found, err
}

// Create implements driver.Engine.
func (e *Engine) Create(ctx context.Context, spec driver.InstanceSpec) error {
	if err := enter(ctx, spec.ID, spec.Volume); err != nil {
		return err
	}
	if _, err := find(spec.Image); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.instances[spec.ID] != nil {
		return nil
	}
	spec.Labels = maps.Clone(spec.Labels)
	e.instances[spec.ID] = &instance{spec: spec, created: time.Now(), clients: map[net.Conn]bool{}}
	return nil
}

// Start implements driver.Engine.
func (e *Engine) Start(ctx context.Context, id string) error {
	if err := enter(ctx, id); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.instances[id]
	if found == nil || !found.running && !e.volumes.has(found.spec.Volume) {
		return fmt.Errorf("start instance %s: %w", id, driver.ErrNotFound)
	}
	found.running, found.exit = true, 0
	return nil
}

// Stop implements driver.Engine.
func (e *Engine) Stop(ctx context.Context, id string, _ time.Duration) error {
	if err := enter(ctx, id); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.instances[id]
	if found == nil {
		return fmt.Errorf("stop instance %s: %w", id, driver.ErrNotFound)
	}
	found.end(0)
	return nil
}

// Kill ends an instance's Postgres as a crash would.
func (e *Engine) Kill(id string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := e.instances[id]; found != nil {
		found.end(int(killed))
	}
}

// killed is the exit code of what SIGKILL ended.
const killed = 137

// end ends a running instance and its sessions. The caller holds the lock.
func (i *instance) end(code int) {
	if !i.running {
		return
	}
	i.running, i.exit = false, code
	for client := range i.clients {
		_ = client.Close()
	}
	clear(i.clients)
}

// Remove implements driver.Engine.
func (e *Engine) Remove(ctx context.Context, id string) error {
	if err := enter(ctx, id); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if found := e.instances[id]; found != nil {
		found.end(killed)
		delete(e.instances, id)
	}
	return nil
}

// List implements driver.Engine.
func (e *Engine) List(ctx context.Context, labels map[string]string) ([]driver.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	list := make([]driver.Instance, 0, len(e.instances))
	for _, found := range e.instances {
		carries := true
		for key, value := range labels {
			carries = carries && found.spec.Labels[key] == value
		}
		if carries {
			list = append(list, found.describe())
		}
	}
	return list, nil
}

// describe returns what List says of it. The caller holds the lock.
func (i *instance) describe() driver.Instance {
	return driver.Instance{ID: i.spec.ID, Labels: maps.Clone(i.spec.Labels), Running: i.running, ExitCode: i.exit, CreatedAt: i.created}
}

// Dial implements driver.Engine.
func (e *Engine) Dial(ctx context.Context, id string) (net.Conn, error) {
	if err := enter(ctx, id); err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.instances[id]
	if found == nil || !found.running {
		return nil, fmt.Errorf("dial instance %s: %w", id, driver.ErrNotFound)
	}
	client, server := net.Pipe()
	found.clients[server] = true
	go func() {
		defer e.hangUp(found, server)
		e.serve(server, found.spec.Volume)
	}()
	return client, nil
}

func (e *Engine) hangUp(i *instance, conn net.Conn) {
	_ = conn.Close()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(i.clients, conn)
}

// Run implements driver.Engine; it refuses what could be run.
func (e *Engine) Run(ctx context.Context, spec driver.RunSpec) (driver.RunResult, error) {
	for _, id := range []string{spec.Volume, spec.Socket} {
		if id == "" {
			continue
		}
		if err := enter(ctx, id); err != nil {
			return driver.RunResult{}, err
		}
	}
	if spec.Volume != "" && !e.volumes.has(spec.Volume) {
		return driver.RunResult{}, fmt.Errorf("run on volume %s: %w", spec.Volume, driver.ErrNotFound)
	}
	if _, err := find(spec.Image); err != nil {
		return driver.RunResult{}, err
	}
	return driver.RunResult{}, fmt.Errorf("run %s: %w", strings.Join(spec.Command, " "), errors.ErrUnsupported)
}

// Inspect implements driver.Inspector.
func (e *Engine) Inspect(ctx context.Context, id string) (driver.Instance, error) {
	if err := enter(ctx, id); err != nil {
		return driver.Instance{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.instances[id]
	if found == nil {
		return driver.Instance{}, fmt.Errorf("inspect instance %s: %w", id, driver.ErrNotFound)
	}
	return found.describe(), nil
}

// Logs implements driver.Inspector; there never are any.
func (e *Engine) Logs(ctx context.Context, id string, _ int) ([]byte, error) {
	_, err := e.Inspect(ctx, id)
	return nil, err
}

// Memory implements driver.Inspector; instances take none.
func (e *Engine) Memory(ctx context.Context, id string) (int64, error) {
	_, err := e.Inspect(ctx, id)
	return 0, err
}
