package docker

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/client"
	"golang.org/x/sync/singleflight"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// maxSocketPath bounds the paths of sockets, in bytes: sockaddr_un holds 108 with the final NUL (unix(7)).
const maxSocketPath = 100

// socketName is what Postgres calls its socket for the default port.
const socketName = ".s.PGSQL.5432"

// maxIDLength is the longest identifier that driver.ValidID accepts.
const maxIDLength = 40

// Options say which engine to use and as whom.
type Options struct {
	// Host is the engine's address, such as "unix:///var/run/docker.sock". "" means DOCKER_HOST and its companions,
	// else the default socket.
	Host string
	// RunDir holds the directories of sockets. It must exist at the same path on the engine's host, and be at most 45
	// bytes long. New creates it, closed to everyone but root.
	RunDir string
	// Installation is the id that separates this Mayfly's containers from everything else on the engine.
	Installation string
	// VolumePath returns the host path of a volume. It wraps driver.ErrNotFound if there is none.
	VolumePath func(id string) (string, error)
	// Logger receives what is worth knowing and not returned. Nil discards it.
	Logger *slog.Logger
}

// Engine is a Docker engine. It is safe for concurrent use, and several processes may share an engine, a run directory
// and an installation id.
type Engine struct {
	api          *client.Client
	runDir       string
	installation string
	volumePath   func(id string) (string, error)
	log          *slog.Logger

	// ids caches the container id by instance id. A container id is never reused, so a stale entry gives "no such
	// container" at worst, and saves checking labels by inspection before each call.
	ids sync.Map
	// images caches what probing an image found, by image id.
	images sync.Map
	// programs caches where programFile has put a program, by its own path.
	programs sync.Map
	flights  singleflight.Group

	owner *owner
}

var (
	_ driver.Engine    = (*Engine)(nil)
	_ driver.Inspector = (*Engine)(nil)
	_ driver.Prober    = (*Engine)(nil)
)

var installationPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,39}$`)

// New returns an engine. It does not talk to it yet: an engine that is down shows at the first call. Close the result.
func New(opts Options) (*Engine, error) {
	if !installationPattern.MatchString(opts.Installation) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "installation id %q is not usable", opts.Installation).
			WithHint("use lower-case letters, digits, '.', '_' and '-', at most 40 characters")
	}
	if opts.VolumePath == nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the Docker engine needs to know where volumes are")
	}
	if !filepath.IsAbs(opts.RunDir) {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "run directory %q is not an absolute path", opts.RunDir)
	}
	runDir := filepath.Clean(opts.RunDir)
	if longest := len(runDir) + 1 + maxIDLength + 1 + len(socketName); longest > maxSocketPath {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "run directory %s is too long a path for Unix sockets", runDir).
			WithHint("choose a data directory whose path is at least %d bytes shorter", longest-maxSocketPath)
	}
	if err := os.MkdirAll(runDir, 0o700); err != nil {
		return nil, fmt.Errorf("make run directory: %w", err)
	}
	clientOpts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if opts.Host != "" {
		clientOpts = append(clientOpts, client.WithHost(opts.Host))
	}
	api, err := client.NewClientWithOpts(clientOpts...)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "Docker engine settings: %w", err).
			WithHint("check DOCKER_HOST and the engine's address in the configuration")
	}
	log := opts.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Engine{
		api:          api,
		runDir:       runDir,
		installation: opts.Installation,
		volumePath:   opts.VolumePath,
		log:          log,
		owner:        &owner{dir: filepath.Join(runDir, ".owners"), id: randomHex()},
	}, nil
}

// Close releases the connections to the engine and the claim on this process's runs. What exists on the engine stays.
func (e *Engine) Close() error {
	return errors.Join(e.api.Close(), e.owner.release())
}

// Probe asks the engine what it is.
func (e *Engine) Probe(ctx context.Context) (driver.EngineInfo, error) {
	version, err := e.api.ServerVersion(ctx)
	if err != nil {
		return driver.EngineInfo{}, e.wrap(err, "ask the Docker engine for its version")
	}
	return driver.EngineInfo{
		Name:       "docker",
		Version:    version.Version,
		APIVersion: e.api.ClientVersion(),
		Endpoint:   e.api.DaemonHost(),
	}, nil
}

// wrap says what was being done, and turns an engine that does not answer into CodeEngineUnavailable.
func (e *Engine) wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	doing := fmt.Sprintf(format, args...)
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if connectionLost(err) {
		return mayfly.Errorf(mayfly.CodeEngineUnavailable, "%s: the Docker engine at %s does not answer: %w", doing, e.api.DaemonHost(), err).
			WithHint("check that the engine runs and that Mayfly may use its socket: docker -H %s version", e.api.DaemonHost())
	}
	if cerrdefs.IsNotFound(err) {
		return fmt.Errorf("%s: %w: %w", doing, driver.ErrNotFound, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// randomHex returns a name that no other process, run or owner has.
func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}
