package config

import (
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

func TestSizes(t *testing.T) {
	t.Parallel()
	f := &file{SizeClasses: map[string]fileSizeClass{"small": {Memory: 1 << 28, CPUs: 0.5}}}
	c := &Config{projects: []mayfly.Project{{Name: "shop", Previews: mayfly.PreviewSettings{SizeClasses: []string{"small"}}}}}
	if err := f.resolveSizes(c); err != nil || c.SizeClasses["small"] != (mayfly.SizeClass{MemoryBytes: 1 << 28, CPUs: 0.5}) {
		t.Errorf("size classes %+v, %v", c.SizeClasses, err)
	}
	c.projects[0].Previews.SizeClasses = []string{"large"}
	if err := f.resolveSizes(c); mayfly.ErrorCode(err) != mayfly.CodeInvalid || mayfly.ErrorHint(err) == "" {
		t.Errorf("a project that names a size class that does not exist: %v", err)
	}
	for name, bad := range map[string]fileSizeClass{"UPPER": {}, "negative": {Pids: -1}} {
		if err := (&file{SizeClasses: map[string]fileSizeClass{name: bad}}).resolveSizes(&Config{}); mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}
