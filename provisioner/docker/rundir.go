package docker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// socketDir is where an instance's Postgres makes its socket. Names in the run directory that start with a dot are
// ours: no valid id does.
func (e *Engine) socketDir(id string) string { return filepath.Join(e.runDir, id) }

// SocketDir returns the host's directory in which the instance's Postgres makes its socket: for tools that, unlike Dial's
// callers, need a path. Only root gets there.
func (e *Engine) SocketDir(id string) string { return e.socketDir(id) }

// linkDir holds one symbolic link, named by the volume.
func (e *Engine) linkDir(id string) string { return filepath.Join(e.runDir, ".volumes", id) }

// emptyDir is what the link leads to until the volume exists.
func (e *Engine) emptyDir() string { return filepath.Join(e.runDir, ".empty") }

// makeSocketDir makes the socket directory for the postgres user. Others may connect through it, not list it; and only
// from inside containers, since the run directory above is closed.
func (e *Engine) makeSocketDir(id string, user driver.Owner) error {
	dir := e.socketDir(id)
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("make socket directory of instance %s: %w", id, err)
	}
	if err := os.Chown(dir, user.UID, user.GID); err != nil {
		return fmt.Errorf("give socket directory of instance %s to its user: %w", id, err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // containers of other users connect through it
		return fmt.Errorf("open socket directory of instance %s: %w", id, err)
	}
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err != nil { // young, for RemoveStaleRuns
		return fmt.Errorf("touch socket directory of instance %s: %w", id, err)
	}
	return nil
}

// restoreSocketDir makes the directory again if it is missing: the run directory may not survive a reboot.
func (e *Engine) restoreSocketDir(ctx context.Context, id string) error {
	if _, err := os.Stat(e.socketDir(id)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	found, err := e.inspect(ctx, id)
	if err != nil {
		return err
	}
	var user driver.Owner
	if _, err := fmt.Sscanf(found.Config.User, "%d:%d", &user.UID, &user.GID); err != nil {
		return fmt.Errorf("read the user %q of instance %s: %w", found.Config.User, id, err)
	}
	return e.makeSocketDir(id, user)
}

// linkVolume makes the link that the container mounts, and returns its path. It leads to the volume if that exists
// already. The link of an existing instance is left alone.
func (e *Engine) linkVolume(id, volume string) (string, error) {
	target, err := e.volumePath(volume)
	if errors.Is(err, driver.ErrNotFound) {
		target = e.emptyDir()
		err = os.MkdirAll(target, 0o700)
	}
	if err != nil {
		return "", fmt.Errorf("find volume %s: %w", volume, err)
	}
	if err := os.MkdirAll(e.linkDir(id), 0o700); err != nil {
		return "", fmt.Errorf("make volume link of instance %s: %w", id, err)
	}
	link := filepath.Join(e.linkDir(id), volume)
	if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("link volume %s: %w", volume, err)
	}
	return link, nil
}

// pointAtVolume makes the instance's link lead to its volume. ErrNotFound if the volume does not exist.
func (e *Engine) pointAtVolume(ctx context.Context, id string) error {
	volume, err := e.volumeOf(ctx, id)
	if err != nil {
		return err
	}
	target, err := e.volumePath(volume)
	if err != nil {
		return fmt.Errorf("find volume %s: %w", volume, err)
	}
	link := filepath.Join(e.linkDir(id), volume)
	if current, err := os.Readlink(link); err == nil && current == target {
		return nil
	}
	if err := os.MkdirAll(e.linkDir(id), 0o700); err != nil {
		return fmt.Errorf("make volume link of instance %s: %w", id, err)
	}
	// Rename replaces the link in one step: two processes that start the same instance never meet a missing one.
	fresh := filepath.Join(e.linkDir(id), ".new-"+randomHex())
	if err := os.Symlink(target, fresh); err != nil {
		return fmt.Errorf("link volume %s: %w", volume, err)
	}
	if err := os.Rename(fresh, link); err != nil {
		return fmt.Errorf("link volume %s: %w", volume, err)
	}
	return nil
}

// volumeOf returns the name of the instance's volume: from the link's name, or else from the container's label.
func (e *Engine) volumeOf(ctx context.Context, id string) (string, error) {
	entries, err := os.ReadDir(e.linkDir(id))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read volume link of instance %s: %w", id, err)
	}
	valid := ""
	for _, entry := range entries {
		if !driver.ValidID(entry.Name()) {
			continue
		}
		if valid != "" { // left of an earlier instance with this id; the label decides
			valid = ""
			break
		}
		valid = entry.Name()
	}
	if valid != "" {
		return valid, nil
	}
	found, err := e.inspect(ctx, id)
	if err != nil {
		return "", err
	}
	return found.Config.Labels[labelVolume], nil
}
