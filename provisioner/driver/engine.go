package driver

import (
	"context"
	"io"
	"net"
	"time"
)

// Engine runs Postgres on volumes: long-lived instances, and one-shot commands from the same images.
//
// All methods may be called concurrently and from several processes. All are idempotent. Instances never have a
// network; their Postgres is reached through Dial alone. Errors that mean "the engine itself does not answer" are
// *mayfly.Error with CodeEngineUnavailable; an image that cannot be had gives CodeImageUnavailable.
type Engine interface {
	// Image resolves a reference ("postgres:17", a digest, or "" with the major version) to an image that is present,
	// pulling it if it can be had quickly. The result's ID is a digest and stays valid for Create and Run.
	Image(ctx context.Context, ref string, major int) (Image, error)

	// Create makes a stopped instance. If one with that id exists, Create does nothing. ErrNotFound if the volume does
	// not exist when the driver needs it to.
	Create(ctx context.Context, spec InstanceSpec) error

	// Start starts the instance's process and returns without waiting for Postgres to accept connections. Starting a
	// running one does nothing. ErrNotFound if there is none.
	Start(ctx context.Context, id string) error

	// Stop ends the process cleanly (Postgres fast shutdown) and kills it after the timeout. Stopping a stopped one
	// does nothing. ErrNotFound if there is none.
	Stop(ctx context.Context, id string, timeout time.Duration) error

	// Remove kills and removes the instance and its socket; never its volume. Removing what does not exist is not an
	// error.
	Remove(ctx context.Context, id string) error

	// List returns the instances that carry all the given labels (keys without the "dev.mayfly." prefix), running or not.
	List(ctx context.Context, labels map[string]string) ([]Instance, error)

	// Dial opens a connection to the instance's Postgres. It fails at once, with an error for which
	// errors.Is(err, ErrNotFound) holds if there is no such socket, when Postgres is not listening yet.
	Dial(ctx context.Context, id string) (net.Conn, error)

	// Run runs one command to its end in a throwaway container and removes it, also when ctx is cancelled. A command
	// that exits non-zero is not an error: see RunResult.
	Run(ctx context.Context, spec RunSpec) (RunResult, error)
}

// Inspector is implemented by engines that can report on one instance.
type Inspector interface {
	// Inspect returns the instance. ErrNotFound if there is none.
	Inspect(ctx context.Context, id string) (Instance, error)
	// Logs returns the last lines that the instance wrote.
	Logs(ctx context.Context, id string, lines int) ([]byte, error)
	// Memory returns the resident bytes of the instance's processes as the engine accounts them, page cache excluded.
	Memory(ctx context.Context, id string) (int64, error)
}

// Pauser is implemented by engines that can hold an instance's processes still and let them go on as if nothing had been.
//
// A paused instance counts as running. Start, Stop and Remove work on it as on any other: Start also lets it go on.
type Pauser interface {
	// Pause returns when no process of the instance runs any more. A write to a file that one of them had begun is whole by then.
	// Pausing a paused one does nothing. ErrNotFound if there is none, or if it does not run.
	Pause(ctx context.Context, id string) error
	// Unpause lets the processes go on. Unpausing one that is not paused does nothing. ErrNotFound if there is none.
	Unpause(ctx context.Context, id string) error
}

// LogFollower is implemented by engines that can go on reading what an instance writes.
type LogFollower interface {
	// FollowLogs writes the last lines that the instance wrote, and then what it writes, until ctx ends, which is no error, or the
	// instance stops. An error of w ends it and is returned.
	FollowLogs(ctx context.Context, id string, lines int, w io.Writer) error
}

// Prober is implemented by engines that can say what they are, for doctor and readiness.
type Prober interface {
	Probe(ctx context.Context) (EngineInfo, error)
}

// EngineInfo is what an engine says of itself.
type EngineInfo struct {
	Name       string // "docker"
	Version    string
	APIVersion string
	Endpoint   string
}

// Image is a resolved Postgres image.
type Image struct {
	ID    string // digest, "sha256:…"
	Ref   string // what it was resolved from
	Major int
	// User is the numeric owner of the postgres user inside the image: 999 in the official Debian image, another in others.
	User Owner
}

// InstanceSpec describes one long-lived Postgres. The engine runs `postgres -D <data>` as the image's postgres user,
// with the volume mounted as the data directory's parent, a read-only root, no network, no capabilities and
// no-new-privileges; Postgres listens on the socket directory that the engine mounts.
type InstanceSpec struct {
	ID     string
	Image  string // Image.ID
	Volume string
	// Args are added to the postgres command line, as "-c name=value" pairs already split.
	Args   []string
	Labels map[string]string // keys without the "dev.mayfly." prefix
	Limits Limits
	// RestartOnEngineStart brings the instance back after a reboot (the embedded state database).
	RestartOnEngineStart bool
}

// Limits bound an instance. Zero values mean unlimited, except ShmBytes, where 0 means 64 MiB.
type Limits struct {
	MemoryBytes int64
	CPUs        float64
	Pids        int64
	ShmBytes    int64
}

// Instance is what exists.
type Instance struct {
	ID        string
	Labels    map[string]string // keys without the "dev.mayfly." prefix
	Running   bool
	Paused    bool // Pauser holds it still; it is running too
	ExitCode  int
	OOMKilled bool
	CreatedAt time.Time
}

// DataDir is where the Postgres data directory is inside instances and Run commands that mount a volume at VolumeMount.
const (
	VolumeMount = "/mayfly/volume"
	DataDir     = VolumeMount + "/pgdata"
	SocketDir   = "/mayfly/socket"
)

// RunSpec describes one command in a throwaway container: read-only root with a writable /tmp, no network, no
// capabilities, the image's postgres user.
type RunSpec struct {
	Image   string // Image.ID
	Command []string
	Env     []string // "NAME=value"; never a secret
	Volume  string   // mounted writable at VolumeMount; "" for none
	// Socket, if set, is an instance whose socket directory is mounted at SocketDir.
	Socket string
	// Listener, if set, is served at SocketDir + "/.s.PGSQL.5432" inside the container: every connection that the
	// command makes there is handed to it. This is how a command reaches a source without a network or a password.
	Listener func(net.Conn)
	// Files are host files or directories mounted read-only, target path by source path.
	Files  map[string]string
	Stdin  io.Reader // nil for none
	Stdout io.Writer // nil to discard
	Stderr io.Writer // nil: the last 64 KiB are kept in RunResult.Stderr either way
	Labels map[string]string
	Limits Limits
}

// RunResult is how a command ended.
type RunResult struct {
	ExitCode  int
	Stderr    []byte // the last 64 KiB
	OOMKilled bool
}
