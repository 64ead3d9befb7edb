package relay

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// The container's own control group, as the container sees it (kernel docs, cgroup-v1/pids.rst, cgroup-v1/memory.rst,
// cgroup-v2.rst). Of each list the first that is there counts.
func processFiles() []string {
	return []string{"/sys/fs/cgroup/pids.events", "/sys/fs/cgroup/pids/pids.events"}
}

func memoryFiles() []string {
	return []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"}
}

// refusedProcesses is how many times a process could not be made because of the limit.
func refusedProcesses() int64 { return counter(processFiles(), "max") }

// killedForMemory is how many processes the kernel has killed for want of memory.
func killedForMemory() int64 { return counter(memoryFiles(), "oom_kill") }

// counter reads "name value" from the first file that exists. What cannot be read is 0.
func counter(files []string, name string) int64 {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
			key, value, _ := strings.Cut(lines.Text(), " ")
			if key == name {
				n, _ := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
				return n
			}
		}
		return 0
	}
	return 0
}

// probeBytes is what must fit into a directory that is not full. Tools write less, but in many pieces.
const probeBytes = 1 << 20

// full returns the directories into which nothing more fits: out of space or over a quota. A file system tells that best by
// being written to: what statfs says of quotas differs.
func full(dirs []string) []string {
	var found []string
	for _, dir := range dirs {
		if isFull(dir) {
			found = append(found, dir)
		}
	}
	return found
}

func isFull(dir string) bool {
	name := filepath.Join(dir, ".mayfly-probe")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = file.Write(make([]byte, probeBytes))
		err = errors.Join(err, file.Close(), os.Remove(name))
	}
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
