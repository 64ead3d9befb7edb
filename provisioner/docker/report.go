package docker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// List implements driver.Engine.
func (e *Engine) List(ctx context.Context, labels map[string]string) ([]driver.Instance, error) {
	filter := e.filter(labelID)
	for key, value := range labels {
		filter.Add("label", labelPrefix+key+"="+value)
	}
	found, err := e.api.ContainerList(ctx, container.ListOptions{All: true, Filters: filter})
	if err != nil {
		return nil, e.wrap(err, "list instances")
	}
	instances := make([]driver.Instance, 0, len(found))
	for _, c := range found {
		instance := driver.Instance{
			ID:        c.Labels[labelID],
			Labels:    stripped(c.Labels),
			Running:   c.State == container.StateRunning || c.State == container.StatePaused,
			Paused:    c.State == container.StatePaused,
			ExitCode:  exitCode(c.Status),
			CreatedAt: time.Unix(c.Created, 0).UTC(),
		}
		// The list does not tell about memory; only a killed process can have run out of it.
		if !instance.Running && instance.ExitCode == exitKilled {
			inspected, err := e.api.ContainerInspect(ctx, c.ID)
			if err == nil && inspected.State != nil {
				instance.OOMKilled = inspected.State.OOMKilled
			}
		}
		instances = append(instances, instance)
	}
	return instances, nil
}

// exitKilled is the exit code of a process that ended by SIGKILL.
const exitKilled = 137

var exitedStatus = regexp.MustCompile(`^Exited \((\d+)\)`)

// exitCode reads a container's status line, "Exited (137) 3 seconds ago": the list has no field for the code.
func exitCode(status string) int {
	match := exitedStatus.FindStringSubmatch(status)
	if match == nil {
		return 0
	}
	code, _ := strconv.Atoi(match[1])
	return code
}

// Inspect implements driver.Inspector.
func (e *Engine) Inspect(ctx context.Context, id string) (driver.Instance, error) {
	if err := checkID(id); err != nil {
		return driver.Instance{}, err
	}
	found, err := e.inspect(ctx, id)
	if err != nil {
		return driver.Instance{}, err
	}
	created, err := time.Parse(time.RFC3339Nano, found.Created)
	if err != nil {
		return driver.Instance{}, fmt.Errorf("inspect instance %s: time of creation: %w", id, err)
	}
	return driver.Instance{
		ID:        id,
		Labels:    stripped(found.Config.Labels),
		Running:   found.State.Running,
		Paused:    found.State.Paused,
		ExitCode:  found.State.ExitCode,
		OOMKilled: found.State.OOMKilled,
		CreatedAt: created.UTC(),
	}, nil
}

// Logs implements driver.Inspector.
func (e *Engine) Logs(ctx context.Context, id string, lines int) ([]byte, error) {
	var out bytes.Buffer
	err := e.onContainer(ctx, id, "read the log of", func(containerID string) error {
		stream, err := e.api.ContainerLogs(ctx, containerID, container.LogsOptions{
			ShowStdout: true, ShowStderr: true, Tail: strconv.Itoa(max(lines, 0)),
		})
		if err != nil {
			return err
		}
		defer func() { _ = stream.Close() }()
		out.Reset()
		return demultiplex(stream, &out, &out)
	})
	return out.Bytes(), err
}

// Memory implements driver.Inspector: anonymous and shared memory and the kernel's, without the page cache. It is 0 for
// an instance that does not run. The engine samples each container once a second, so that a call may take as long;
// calls for many instances belong in parallel.
func (e *Engine) Memory(ctx context.Context, id string) (int64, error) {
	var stats container.StatsResponse
	err := e.onContainer(ctx, id, "measure", func(containerID string) error {
		response, err := e.api.ContainerStatsOneShot(ctx, containerID)
		if err != nil {
			return err
		}
		defer func() { _, _ = io.Copy(io.Discard, response.Body); _ = response.Body.Close() }()
		return json.NewDecoder(response.Body).Decode(&stats)
	})
	if err != nil {
		return 0, err
	}
	return resident(stats.MemoryStats), nil
}

// resident subtracts the page cache from the usage of a control group: total_*_file in version 1, *_file in version 2
// (kernel docs, cgroup-v1/memory.rst and cgroup-v2.rst). Shared memory counts as anonymous in both, so it stays.
func resident(stats container.MemoryStats) int64 {
	active, inactive := "total_active_file", "total_inactive_file"
	if _, v1 := stats.Stats[inactive]; !v1 {
		active, inactive = "active_file", "inactive_file"
	}
	cache := stats.Stats[active] + stats.Stats[inactive]
	if cache > stats.Usage {
		return 0
	}
	return int64(stats.Usage - cache)
}
