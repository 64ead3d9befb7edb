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
package docker
