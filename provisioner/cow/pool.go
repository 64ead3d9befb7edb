package cow

import (
	"context"
	"log/slog"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// Names of the drivers, as Options.Driver takes them and PoolStat.Driver reports them.
const (
	DriverReflink = "reflink"
	DriverBtrfs   = "btrfs"
	DriverZFS     = "zfs"
	DriverOverlay = "overlay"
	DriverCopy    = "copy"
)

// Options configure Open and Probe.
type Options struct {
	// Dir is the pool's directory. Open makes it. Beside it lie Dir.lock and, if Mayfly makes a file system of its own,
	// the image Dir.img.
	Dir string
	// Driver is "" for the automatic choice, or one of the Driver constants.
	Driver string
	// SizeBytes is the size of the image file, if one is made; 0 means 80% of the free space. The file is sparse. An
	// existing smaller image is grown to it; a larger one is left as it is.
	SizeBytes int64
	// ReserveBytes is kept free: Create and Clone fail with driver.ErrNoSpace below it. 0 means 5% of the pool, at most
	// 2 GiB.
	ReserveBytes int64
	// Logger may be nil.
	Logger *slog.Logger

	// fault is called before each step of every operation. The package's own tests kill the process in it.
	fault func(step string)
}

// Description says what a pool is made of, for people.
type Description struct {
	Driver string `json:"driver"`
	Dir    string `json:"dir"`
	// FileSystem is the type of the file system that the volumes are on.
	FileSystem string `json:"file_system"`
	// Image is the file that holds the pool's file system if Mayfly made one, otherwise "".
	Image string `json:"image,omitempty"`
	// Exists is false if Probe describes what Open would make.
	Exists bool `json:"exists"`
	// Why this driver was chosen, and what it costs.
	Why  string `json:"why"`
	Cost string `json:"cost"`
	// Quota says how a clone's disk limit is enforced; "" if it is not.
	Quota    string      `json:"quota,omitempty"`
	Warnings []string    `json:"warnings,omitempty"`
	Rejected []Rejection `json:"rejected,omitempty"`
	// ReserveBytes is what Create and Clone leave free.
	ReserveBytes int64 `json:"reserve_bytes"`
}

// Rejection is a driver that could not be used, and why.
type Rejection struct {
	Driver string `json:"driver"`
	Why    string `json:"why"`
}

func (d *Description) warn(w string) { d.Warnings = append(d.Warnings, w) }

func (d *Description) reject(name, why string) {
	d.Rejected = append(d.Rejected, Rejection{Driver: name, Why: why})
}

// volumes is what a kind of storage provides to Pool.
type volumes interface {
	driver.Volumes
	driver.Snapshotter
	path(id string) (string, error)
	close() error
	unmount(ctx context.Context) error
}

// Pool is an open pool. It implements driver.Volumes; the comments there are its specification.
type Pool struct {
	volumes
	desc Description
}

var (
	_ driver.Volumes     = (*Pool)(nil)
	_ driver.Snapshotter = (*Pool)(nil)
)

// Open opens the pool at opts.Dir, making it if need be, and removes what crashed operations left there. Errors are
// *mayfly.Error with a hint where the machine lacks something.
func Open(ctx context.Context, opts Options) (*Pool, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return open(ctx, opts)
}

// Probe says what Open would choose, and why, without making a pool: no image, no mount, no directory stays behind.
func Probe(ctx context.Context, opts Options) (Description, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return probe(ctx, opts)
}

// Path returns the directory on this host of a whole volume: what an engine mounts. It wraps driver.ErrNotFound if
// there is none. The files of a frozen volume must not be written to, whoever could.
func (p *Pool) Path(id string) (string, error) { return p.path(id) }

// Describe returns what the pool is made of and why.
func (p *Pool) Describe() Description { return p.desc }

// Close releases what the pool holds in this process. File systems stay mounted for the previews that run on them.
func (p *Pool) Close() error { return p.close() }

// Unmount unmounts the pool's file systems and detaches its loop device. It fails if anything still uses them. The
// volumes stay on disk and are there again after the next Open.
func (p *Pool) Unmount(ctx context.Context) error { return p.unmount(ctx) }
