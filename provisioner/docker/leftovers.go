package docker

import (
	"context"
	"errors"
	"strings"

	"github.com/docker/docker/api/types/container"
)

// Containers returns the names of this installation's containers that carry the labels, instances and throwaway ones,
// running or not.
func (e *Engine) Containers(ctx context.Context, labels map[string]string) ([]string, error) {
	filter := e.filter()
	for key, value := range labels {
		filter.Add("label", labelPrefix+key+"="+value)
	}
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, e.wrap(err, "list the containers of installation %s", e.installation)
	}
	names := make([]string, 0, len(found))
	for _, c := range found {
		for _, name := range c.Names[:min(1, len(c.Names))] {
			names = append(names, strings.TrimPrefix(name, "/"))
		}
	}
	return names, nil
}

// RemoveAll kills and removes every container of this installation, in use or not: for uninstalling.
func (e *Engine) RemoveAll(ctx context.Context) error {
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: e.filter()})
	if err != nil {
		return e.wrap(err, "list all containers of installation %s", e.installation)
	}
	var problems []error
	for _, c := range found {
		if id := c.Labels[labelID]; id != "" {
			problems = append(problems, e.Remove(ctx, id))
			continue
		}
		problems = append(problems, e.wrap(e.removeContainer(ctx, c.ID), "remove container %s", c.ID))
	}
	return errors.Join(problems...)
}
