package docker

import (
	"strconv"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/mount"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

// defaultShmBytes is Docker's own default, and enough for the small shared_buffers of previews.
const defaultShmBytes = 64 << 20

// tmpBytes bounds /tmp, which is memory.
const tmpBytes = 64 << 20

// hardened completes config and returns the host settings that every container of ours has: no network, read-only root,
// no capabilities, no new privileges, limits. Docker's default seccomp and AppArmor profiles stay in force.
func hardened(config *container.Config, image imageFacts, limits driver.Limits) *container.HostConfig {
	config.WorkingDir = "/"
	// Either way the container has a network namespace of its own, in which nothing leads out. Disabled, it has not even
	// a loopback that is up, and starting it takes 75 ms instead of 165. Up to PostgreSQL 14, autovacuum depends on the
	// statistics collector, and that on UDP over the loopback (PostgreSQL 14, src/backend/postmaster/pgstat.c).
	config.NetworkDisabled = image.major == 0 || image.major >= 15
	config.Healthcheck = &container.HealthConfig{Test: []string{"NONE"}}
	// A name without "=" removes the image's variable: the official image sets PGDATA, which would mislead the tools.
	config.Env = append([]string{"LANG=C.UTF-8", "PGDATA"}, config.Env...)

	shm := limits.ShmBytes
	if shm == 0 {
		shm = defaultShmBytes
	}
	host := &container.HostConfig{
		NetworkMode:    "none",
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		SecurityOpt:    []string{"no-new-privileges"},
		IpcMode:        container.IPCModePrivate,
		ShmSize:        shm,
		Tmpfs:          map[string]string{"/tmp": "rw,nosuid,nodev,noexec,mode=1777,size=" + strconv.Itoa(tmpBytes)},
		Resources: container.Resources{
			Memory:     limits.MemoryBytes,
			MemorySwap: limits.MemoryBytes, // memory and swap together: no swap
			NanoCPUs:   int64(limits.CPUs * 1e9),
		},
	}
	if limits.Pids > 0 {
		host.PidsLimit = &limits.Pids
	}
	// Something mounted there keeps the engine from making an anonymous volume for each VOLUME of the image (the
	// official one has its data directory): a directory to create, and to leak.
	for _, path := range image.volumes {
		host.Mounts = append(host.Mounts, mount.Mount{
			Type: mount.TypeTmpfs, Target: path, ReadOnly: true, TmpfsOptions: &mount.TmpfsOptions{SizeBytes: 4096},
		})
	}
	return host
}

// userOf formats a user for the engine. Numbers, so that nothing in the image decides.
func userOf(owner driver.Owner) string {
	return strconv.Itoa(owner.UID) + ":" + strconv.Itoa(owner.GID)
}
