package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

type fileSizeClass struct {
	Memory Bytes   `yaml:"memory"`
	CPUs   float64 `yaml:"cpus"`
	Pids   int64   `yaml:"pids"`
	Shm    Bytes   `yaml:"shm"`
	Disk   Bytes   `yaml:"disk"`
}

var sizeName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$`)

// resolveSizes reads the size classes, and checks that the projects name those that exist.
func (f *file) resolveSizes(c *Config) error {
	c.SizeClasses = map[string]mayfly.SizeClass{}
	for name, s := range f.SizeClasses {
		if !sizeName.MatchString(name) {
			return mayfly.Errorf(mayfly.CodeInvalid, "size_classes: the name %q is not usable", name).WithHint("use lower-case letters, digits and '-', at most 32")
		}
		if s.Memory < 0 || s.CPUs < 0 || s.Pids < 0 || s.Shm < 0 || s.Disk < 0 {
			return mayfly.Errorf(mayfly.CodeInvalid, "size_classes: %s has a limit below 0", name)
		}
		c.SizeClasses[name] = mayfly.SizeClass{
			MemoryBytes: int64(s.Memory), CPUs: s.CPUs, Pids: s.Pids, ShmBytes: int64(s.Shm), DiskBytes: int64(s.Disk),
		}
	}
	for _, p := range c.projects {
		for _, name := range p.Previews.SizeClasses {
			if _, ok := c.SizeClasses[name]; !ok {
				return mayfly.Errorf(mayfly.CodeInvalid, "project %s: there is no size class %q", p.Name, name).
					WithHint("size_classes has: %s", strings.Join(slices.Sorted(maps.Keys(c.SizeClasses)), ", "))
			}
		}
	}
	return nil
}
