package driver

import (
	"context"
	"io"
	"net"
)

// ProjectRunner is implemented by engines that can run a project's own program in the project's own image. What runs there
// is hostile: nothing is inside that it could use against anybody.
//
// A run's container has no network but its own loopback, a read-only root, no capabilities, no-new-privileges, and the
// limits of the spec. It is removed at the end, also when ctx is cancelled, and by Sweep of another process if this one dies.
type ProjectRunner interface {
	// ProjectImage resolves a reference to an image that is present, pulling it if it can be had quickly, and returns its
	// digest. It runs nothing. An image that cannot be had gives CodeImageUnavailable.
	ProjectImage(ctx context.Context, ref string) (id string, err error)

	// RunProject runs a program of Mayfly's own as the first process of a container of the image. A program that exits non-zero
	// is not an error. An error of Output ends the run and is returned.
	RunProject(ctx context.Context, spec ProjectSpec) (RunResult, error)
}

// ProjectSpec describes one run.
type ProjectSpec struct {
	Image string // as ProjectImage returned it
	// User is the user inside; "" means the image's own, which may be root.
	User string
	// Program is a statically linked program on this host. The engine makes it available inside, whatever the image has, and
	// runs it with Args. Neither may hold a secret.
	Program string
	Args    []string
	// Volume is writable; Mounts are directories in it, made if need be, that are mounted for whatever user it is: target by
	// name.
	Volume string
	Mounts map[string]string
	// Sockets are Unix sockets served by this process, by file name, in a directory that is mounted read-only at each of
	// SocketDirs. Every connection is handed to its callback, with as many callbacks at the same time.
	Sockets    map[string]func(net.Conn)
	SocketDirs []string
	// TmpBytes bounds /tmp, which is memory and counts as such.
	TmpBytes int64
	// Output gets what it prints, on both streams.
	Output io.Writer
	Labels map[string]string // keys without the "dev.mayfly." prefix
	Limits Limits
}
