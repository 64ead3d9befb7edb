package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mayflydb/mayfly/provisioner/cow"
	"github.com/mayflydb/mayfly/provisioner/docker"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// stalePrefix begins the names of the directories of runs.
const stalePrefix = "mf-bench-"

// removeStale removes what runs left that were killed.
func removeStale(ctx context.Context, parent string) {
	dirs, err := filepath.Glob(filepath.Join(parent, stalePrefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		if processOf(filepath.Join(dir, "pid")) != 0 {
			continue
		}
		fmt.Fprintln(os.Stderr, "removing what an earlier run left in", dir)
		if err := stopStale(filepath.Join(dir, "service.pid")); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			continue
		}
		if err := cleanUp(ctx, dir); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
	}
}

// processOf returns the process that a file names and that lives, if its command line looks like one of ours, or 0.
func processOf(path string) int {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid <= 1 {
		return 0
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err == nil && (strings.Contains(string(command), "bench") || strings.Contains(string(command), filepath.Dir(path))) {
		return pid
	}
	return 0
}

// stopStale ends the service of a run that was killed.
func stopStale(path string) error {
	const patience = 30 * time.Second
	for began := time.Now(); time.Since(began) < patience; time.Sleep(100 * time.Millisecond) {
		pid := processOf(path)
		if pid == 0 {
			return nil
		}
		if err := unix.Kill(pid, unix.SIGTERM); err != nil {
			return fmt.Errorf("stop process %d: %w", pid, err)
		}
	}
	return fmt.Errorf("the service named in %s does not stop", path)
}

// cleanUp removes the containers, the mounts and the files of a run. Nothing of it may run any more.
func cleanUp(ctx context.Context, dir string) error {
	data := filepath.Join(dir, serviceDir)
	err := removeContainers(ctx, installation(dir), filepath.Join(dir, plainRun))
	raw, readErr := os.ReadFile(filepath.Join(data, "installation"))
	switch {
	case readErr == nil:
		err = errors.Join(err, removeContainers(ctx, strings.TrimSpace(string(raw)), filepath.Join(data, "run")))
	case !errors.Is(readErr, fs.ErrNotExist):
		err = errors.Join(err, readErr)
	}
	err = errors.Join(err, removePool(ctx, filepath.Join(data, "pool")))
	if err != nil {
		return fmt.Errorf("clean up %s: %w", dir, err) // what is mounted below must not be deleted file by file
	}
	return os.RemoveAll(dir)
}

func removeContainers(ctx context.Context, installation, runDir string) error {
	if _, err := os.Stat(runDir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	engine, err := docker.New(docker.Options{
		RunDir: runDir, Installation: installation,
		VolumePath: func(id string) (string, error) { return "", fmt.Errorf("volume %s: %w", id, driver.ErrNotFound) },
	})
	if err != nil {
		return err
	}
	return errors.Join(engine.RemoveAll(ctx), engine.Close())
}

// removePool deletes the volumes of a pool, and unmounts what Mayfly mounted for it.
func removePool(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	pool, err := cow.Open(ctx, cow.Options{Dir: dir})
	if err != nil {
		return err
	}
	if pool.Describe().Image == "" { // volumes may be subvolumes, or protected against being written to
		volumes, err := pool.List(ctx)
		if err != nil {
			return err
		}
		for _, v := range volumes {
			if err := pool.Delete(ctx, v.ID); err != nil {
				return err
			}
		}
	}
	return errors.Join(pool.Unmount(ctx), pool.Close())
}
