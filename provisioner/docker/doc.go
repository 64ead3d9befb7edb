// Package docker implements driver.Engine, driver.Inspector and driver.Prober on the Docker Engine API. It is the only
// importer of github.com/docker/docker, talks to the engine's socket and never runs the docker program.
//
// # What is made
//
// Everything carries the label dev.mayfly.instance with the installation's id, and nothing without it is ever listed,
// changed or removed. Two more labels tell the two kinds of containers apart: dev.mayfly.id (a long-lived instance) and
// dev.mayfly.run (a throwaway command; its value names the process that made it).
//
// # The run directory
//
//	<RunDir>/<instance>/              the instance's socket directory
//	<RunDir>/.volumes/<instance>/<v>  a symbolic link to the host path of volume v
//	<RunDir>/.runs/<run>/             the listener's socket of one Run
//	<RunDir>/.owners/<owner>          locked (flock) while the process that owns runs is alive
//
// The link is what lets Create run while the volume is still being cloned. Docker checks the source of a mount when the
// container is created (HostConfig.Mounts), or else creates a missing one as an empty directory owned by root
// (HostConfig.Binds), which would look like a volume for ever after. So the container mounts the link. Until the volume
// exists it leads to an empty directory; Start points it at the volume, which then must exist.
//
// The directory must have the same path on the engine's host and where Mayfly runs.
//
// # What a start costs
//
// Medians in milliseconds, engine 20.10, two busy cores; create, start, and Postgres accepting after that:
//
//	as configured here                                   6    75   25
//	network "none" without Config.NetworkDisabled        6   165   25
//	log driver none or local instead of json-file        6    75   25
//	docker-init as the first process, no tmpfs,
//	a writable root, no masked paths, no limits          within the noise
//	without seccomp (never done)                         6    65   25
//
// So the hardening is kept whole. Reading a command's output by attaching carries 500 MB/s, writing its input too,
// which is more than Postgres produces; no pipe through a mounted directory is needed for that.
package docker
