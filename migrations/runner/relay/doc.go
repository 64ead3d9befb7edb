// Package relay is the first process inside a runner container: the container in which a project's own migration command runs.
//
// The container has no network. Its ways out are Unix sockets, served by Mayfly outside and mounted in a directory: one on which
// this process asks what to do, one that leads to the preview's Postgres, and one for a proxy if the project may reach
// anything else. The relay
//
//   - reads on the control socket what to run, and with which environment: so that no password is in the container's
//     configuration, where everybody who may ask the engine could read it, nor in any file;
//   - unpacks the checkout that comes behind it, as the user that the command runs as, inside the container, where a hostile
//     archive could at most reach what the command itself can reach;
//   - listens on the container's loopback for drivers that cannot use a Unix socket, and copies bytes;
//   - starts the command, reaps whatever it leaves behind, and tells how it ended and which of the container's limits it met.
//
// It dies with its control connection, and the container with it: a run never outlives the Mayfly that began it. It trusts
// nothing inside the container and is trusted with nothing: the command runs as the same user and may do all that it does.
//
// The package imports the standard library alone, since it is part of every runner's memory.
package relay
