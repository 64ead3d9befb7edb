package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// forgetPeak makes the process's peak memory its present one (proc(5), clear_refs).
func (s *service) forgetPeak() error {
	path := fmt.Sprintf("/proc/%d/clear_refs", s.process.Process.Pid)
	if err := os.WriteFile(path, []byte("5"), 0o600); err != nil {
		return fmt.Errorf("reset the service's peak of memory: %w", err)
	}
	return nil
}

// peakMiB is the most memory that the service's process had at once since then, in MiB.
func (s *service) peakMiB() (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.process.Process.Pid))
	if err != nil {
		return 0, fmt.Errorf("read the service's peak of memory: %w", err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			return kib / 1024, err
		}
	}
	return 0, errors.New("the kernel does not tell the peak of memory")
}

// cpuSeconds is what the service's process has computed so far, in user mode and in the kernel.
func (s *service) cpuSeconds() (float64, error) {
	return processSeconds(s.process.Process.Pid)
}

// ticksPerSecond is the unit of times in proc(5); it is 100 on every Linux that matters.
const ticksPerSecond = 100

func processSeconds(pid int) (float64, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("read the times of process %d: %w", pid, err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // the name may have spaces
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("the times of process %d cannot be understood", pid)
	}
	user, userErr := strconv.ParseFloat(fields[11], 64)
	system, systemErr := strconv.ParseFloat(fields[12], 64)
	return (user + system) / ticksPerSecond, errors.Join(userErr, systemErr)
}

// machineSeconds is what all processes of the machine have computed so far: the service, the engine and every server of
// Postgres; and whatever else runs.
func machineSeconds() (float64, error) {
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read the times of the machine: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	fields := strings.Fields(line)
	if len(fields) < 8 || fields[0] != "cpu" {
		return 0, errors.New("the times of the machine cannot be understood")
	}
	var sum float64
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			return 0, err
		}
		sum += v
	}
	return sum / ticksPerSecond, nil
}
