package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// owner is this process's claim on its throwaway containers: a file that is locked while the process lives. A lock
// says more than a process id: it holds across PID namespaces and does not survive a reboot.
type owner struct {
	dir string
	id  string

	mu   sync.Mutex
	file *os.File
}

// claim takes the lock, once.
func (o *owner) claim() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		return nil
	}
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return fmt.Errorf("claim runs: %w", err)
	}
	// Locked before it gets its name: a file with a name and without a lock belongs to a dead process.
	file, err := os.CreateTemp(o.dir, ".new-")
	if err != nil {
		return fmt.Errorf("claim runs: %w", err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		err = os.Rename(file.Name(), filepath.Join(o.dir, o.id))
	}
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("claim runs: %w", err)
	}
	o.file = file
	return nil
}

func (o *owner) release() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file == nil {
		return nil
	}
	err := errors.Join(os.Remove(filepath.Join(o.dir, o.id)), o.file.Close())
	o.file = nil
	return err
}

// alive reports whether the owner's process still holds its lock.
func (o *owner) alive(id string) (bool, error) {
	if id == o.id {
		return true, nil
	}
	file, err := os.Open(filepath.Join(o.dir, filepath.Base(id)))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at owner %s: %w", id, err)
	}
	defer func() { _ = file.Close() }()
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at owner %s: %w", id, err)
	}
	return false, nil
}

// orphanAge is how long a socket directory without a container is left alone: Create makes the directory first.
const orphanAge = 10 * time.Minute

// RemoveStaleRuns removes what processes that died left of their Run calls, and socket directories whose instance is
// gone, and what instances put beside their sockets. Runs of living processes that share the run directory stay. Call it at start and now and then.
func (e *Engine) RemoveStaleRuns(ctx context.Context) error {
	return errors.Join(e.removeStaleContainers(ctx), e.removeStaleRunDirs(), e.removeStaleSocketDirs(ctx), e.owner.tidy())
}

func (e *Engine) removeStaleContainers(ctx context.Context) error {
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: e.filter(labelRun)})
	if err != nil {
		return e.wrap(err, "list throwaway containers")
	}
	var problems []error
	for _, c := range found {
		alive, err := e.owner.alive(c.Labels[labelRun])
		if err != nil {
			problems = append(problems, err)
		}
		if err != nil || alive {
			continue
		}
		e.log.InfoContext(ctx, "removing a throwaway container of a process that died", "container", c.ID[:12], "role", c.Labels[labelPrefix+"role"])
		problems = append(problems, e.wrap(e.removeContainer(ctx, c.ID), "remove throwaway container %s", c.ID))
	}
	return errors.Join(problems...)
}

// removeStaleRunDirs removes listener directories of dead owners. Their names are "<owner>-<run>".
func (e *Engine) removeStaleRunDirs() error {
	entries, err := os.ReadDir(e.runsDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list run directories: %w", err)
	}
	var problems []error
	for _, entry := range entries {
		alive, err := e.owner.alive(ownerOfRunDir(entry.Name()))
		if err != nil {
			problems = append(problems, err)
		}
		if err == nil && !alive {
			problems = append(problems, os.RemoveAll(filepath.Join(e.runsDir(), entry.Name())))
		}
	}
	return errors.Join(problems...)
}

func (e *Engine) removeStaleSocketDirs(ctx context.Context) error {
	// The directories are read before the containers: one that is being created now is young, and skipped for that.
	dirs, err := e.oldDirs(e.runDir)
	if err != nil {
		return err
	}
	links, err := e.oldDirs(filepath.Dir(e.linkDir("x")))
	if err != nil {
		return err
	}
	instances, err := e.List(ctx, nil)
	if err != nil {
		return err
	}
	for _, instance := range instances {
		delete(dirs, instance.ID)
		delete(links, instance.ID)
		e.reportStrays(ctx, instance.ID)
	}
	var problems []error
	for id := range dirs {
		problems = append(problems, os.RemoveAll(e.socketDir(id)))
	}
	for id := range links {
		problems = append(problems, os.RemoveAll(e.linkDir(id)))
	}
	return errors.Join(problems...)
}

// oldDirs returns the instance ids for which dir has a directory older than orphanAge.
func (e *Engine) oldDirs(dir string) (map[string]bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("list run directory: %w", err)
	}
	old := make(map[string]bool)
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || !entry.IsDir() || !driver.ValidID(entry.Name()) {
			continue // gone meanwhile, or not ours
		}
		if time.Since(info.ModTime()) > orphanAge {
			old[entry.Name()] = true
		}
	}
	return old, nil
}

// tidy removes the files of dead owners.
func (o *owner) tidy() error {
	entries, err := os.ReadDir(o.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("list owners: %w", err)
	}
	var problems []error
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || time.Since(info.ModTime()) < orphanAge {
			continue // gone meanwhile, or perhaps just being claimed
		}
		if alive, err := o.alive(entry.Name()); err == nil && !alive {
			problems = append(problems, os.Remove(filepath.Join(o.dir, entry.Name())))
		}
	}
	return errors.Join(problems...)
}
