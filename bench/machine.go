package main

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// conditions are those under which everything of this run is measured, and the load of the moment.
func (b *bench) conditions() map[string]any {
	c := map[string]any{
		"cpus": runtime.NumCPU(), "cpu": cpuModel(), "memory_gib": memoryGiB(), "kernel": kernel(), "engine": b.engineVersion,
		"storage": b.storage, "postgres": b.version, "load": loadAverage(), "measured_at": b.began.UTC().Format(time.DateOnly),
	}
	if b.quick {
		c["quick"] = true
	}
	return c
}

func cpuModel() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return runtime.GOARCH
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func memoryGiB() float64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0
	}
	return math.Round(10*float64(info.Totalram)*float64(info.Unit)/(1<<30)) / 10
}

func kernel() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// loadAverage is that of the last minute: what else the machine is doing.
func loadAverage() string {
	raw, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	first, _, _ := strings.Cut(string(raw), " ")
	return first
}

// freeBytes returns the free space of the file system that holds path, after everything written there is on disk.
func freeBytes(path string) (int64, error) {
	dir, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open %s: %w", path, err)
	}
	defer func() { _ = dir.Close() }()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return 0, fmt.Errorf("sync %s: %w", path, err)
	}
	var stat unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &stat); err != nil {
		return 0, fmt.Errorf("measure the space of %s: %w", path, err)
	}
	return int64(stat.Bfree) * stat.Bsize, nil
}

// tmpfsMagic is the type of a file system in memory (statfs(2)).
const tmpfsMagic = 0x01021994

// checkDisk refuses a place that is in memory or too small for the data: its sources, templates, dumps and restores.
func (b *bench) checkDisk() error {
	var stat unix.Statfs_t
	if err := unix.Statfs(b.parent, &stat); err != nil {
		return fmt.Errorf("measure the space of %s: %w", b.parent, err)
	}
	if stat.Type == tmpfsMagic {
		return fmt.Errorf("%s is in memory: give a directory on a disk with -dir", b.parent)
	}
	needed := 4.0
	for _, s := range b.sizes {
		needed += 2.2 * s.gib
	}
	needed += 9 * b.shop // templates, their replacements, dumps, restores
	if free := float64(stat.Bavail) * float64(stat.Bsize) / (1 << 30); free < needed {
		return errors.Join(fmt.Errorf("%s has %.0f GiB free, and %.0f are needed", b.parent, free, needed), errors.New("choose smaller -sizes or another -dir"))
	}
	return nil
}
