package docker

import (
	"fmt"
	"maps"
	"strings"

	"github.com/docker/docker/api/types/filters"
)

// The labels that this package sets itself. Callers choose the others.
const (
	labelPrefix   = "dev.mayfly."
	labelInstance = labelPrefix + "instance" // the installation
	labelID       = labelPrefix + "id"       // the instance's id, on instances only
	labelVolume   = labelPrefix + "volume"   // the instance's volume
	labelRun      = labelPrefix + "run"      // the owner, on throwaway containers only
)

// labels returns what a container carries: the caller's labels and ours, which win.
func (e *Engine) labels(given, own map[string]string) map[string]string {
	all := make(map[string]string, len(given)+len(own)+1)
	for key, value := range given {
		all[labelPrefix+key] = value
	}
	for _, reserved := range []string{labelID, labelVolume, labelRun} {
		delete(all, reserved)
	}
	maps.Copy(all, own)
	all[labelInstance] = e.installation
	return all
}

// filter selects this installation's containers that have all the labels.
func (e *Engine) filter(labels ...string) filters.Args {
	args := filters.NewArgs(filters.Arg("label", labelInstance+"="+e.installation))
	for _, label := range labels {
		args.Add("label", label)
	}
	return args
}

// stripped returns our labels without their prefix. It drops those of others, and those that describe the image
// (dev.mayfly.image.*), which a container inherits.
func stripped(labels map[string]string) map[string]string {
	out := make(map[string]string, len(labels))
	for key, value := range labels {
		if short, ours := strings.CutPrefix(key, labelPrefix); ours && !strings.HasPrefix(short, "image.") {
			out[short] = value
		}
	}
	return out
}

// containerName includes the installation, so that well-known instance ids of two installations do not collide.
func (e *Engine) containerName(id string) string {
	return fmt.Sprintf("mayfly-%s-%s", e.installation, id)
}
