package quarantine

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

const (
	cleanupTimeout = 30 * time.Minute
	deleteTimeout  = 2 * time.Minute
)

// shredScript overwrites every file once with zeros and waits until that is on disk. Links are not followed.
const shredScript = `find "$1" -xdev -type f -exec shred -f -n 0 -z {} +`

// newestMajor and oldestMajor are the images that are looked for when a quarantine has to be shredded that another
// process made: any of them can.
const (
	newestMajor = 18
	oldestMajor = 13
)

// Destroy removes what there is of a template's quarantine: the instance, then the contents of the files, then the volume.
// It does nothing if there is none.
//
// Overwriting reaches the disk's blocks where the file system writes in place: ext4, and XFS for files that share no block
// with others, as these never do. On btrfs and ZFS a write goes to other blocks, so the files are only deleted, and freed
// blocks hold rows until they are used again or discarded. What a solid-state disk keeps below that nobody can tell from
// above; who must be sure encrypts the disk.
func Destroy(ctx context.Context, engine driver.Engine, volumes driver.Volumes, log *slog.Logger, templateID string) error {
	if !driver.ValidID(ID(templateID)) {
		return nil // there can be none
	}
	return destroy(ctx, engine, volumes, log, ID(templateID), func(ctx context.Context) (image driver.Image, err error) {
		for major := newestMajor; major >= oldestMajor; major-- {
			if image, err = engine.Image(ctx, "", major); err == nil {
				break
			}
		}
		return image, err
	})
}

func destroy(ctx context.Context, engine driver.Engine, volumes driver.Volumes, log *slog.Logger, id string, image func(context.Context) (driver.Image, error)) error {
	if err := engine.Remove(ctx, id); err != nil {
		return fmt.Errorf("remove the instance of quarantine %s: %w", id, err)
	}
	all, err := volumes.List(ctx)
	if err != nil {
		return fmt.Errorf("list volumes: %w", err)
	}
	if slices.ContainsFunc(all, func(v driver.Volume) bool { return v.ID == id }) {
		if err := shred(ctx, engine, volumes, id, image); err != nil {
			// Deleting is worth more than keeping it for another try.
			log.WarnContext(ctx, "the files of a quarantine could not be overwritten; they are deleted all the same", "volume", id, "error", err)
		}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deleteTimeout) // also when the time was not enough to overwrite
	defer cancel()
	if err := volumes.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete the volume of quarantine %s: %w", id, err)
	}
	return nil
}

func shred(ctx context.Context, engine driver.Engine, volumes driver.Volumes, id string, image func(context.Context) (driver.Image, error)) error {
	stat, err := volumes.Stat(ctx)
	if err != nil {
		return fmt.Errorf("ask for the pool's kind: %w", err)
	}
	if stat.Driver == "btrfs" || stat.Driver == "zfs" {
		return nil // see Destroy
	}
	if local, ok := volumes.(interface {
		Path(id string) (string, error)
	}); ok {
		path, err := local.Path(id)
		if err != nil {
			return fmt.Errorf("find the files: %w", err)
		}
		// The image that made the quarantine need not be known here, and another one's user may not read its files.
		return overwrite(ctx, path)
	}
	with, err := image(ctx)
	if err != nil {
		return fmt.Errorf("find an image: %w", err)
	}
	result, err := engine.Run(ctx, driver.RunSpec{
		Image: with.ID, Command: []string{"sh", "-c", shredScript, "shred", driver.VolumeMount}, Volume: id,
		Labels: map[string]string{"role": "quarantine"}, Limits: limits(),
	})
	if err != nil {
		return err
	}
	if result.ExitCode != 0 {
		return fmt.Errorf("exit code %d: %s", result.ExitCode, result.Stderr)
	}
	return nil
}
