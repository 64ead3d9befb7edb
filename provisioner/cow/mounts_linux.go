package cow

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// mount is one line of /proc/self/mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	point, fsType, source, options string
}

// mountOf returns the mount that the nearest existing ancestor of path is on.
func mountOf(path string) (mount, error) {
	resolved, err := existing(path)
	if err != nil {
		return mount{}, err
	}
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return mount{}, fmt.Errorf("read the mounts: %w", err)
	}
	var best mount
	for line := range strings.Lines(string(data)) {
		m, ok := parseMount(line)
		// Of two on one point the later one covers the earlier.
		if ok && under(resolved, m.point) && len(m.point) >= len(best.point) {
			best = m
		}
	}
	if best.point == "" {
		return mount{}, fmt.Errorf("no mount holds %s", path)
	}
	return best, nil
}

func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < 6 || len(rest) < 3 {
		return mount{}, false
	}
	return mount{point: unescape(fields[4]), fsType: rest[0], source: unescape(rest[1]), options: rest[2]}, true
}

// unescape decodes the octal escapes that the kernel writes for blanks and backslashes.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func under(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// existing resolves the nearest ancestor of path that exists.
func existing(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	for {
		resolved, err := filepath.EvalSymlinks(abs)
		if err == nil {
			return resolved, nil
		}
		if !errors.Is(err, unix.ENOENT) || abs == "/" {
			return "", fmt.Errorf("resolve %s: %w", path, err)
		}
		abs = filepath.Dir(abs)
	}
}
