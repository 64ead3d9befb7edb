// Package runner knows how to have a project's own command migrate a preview: for the tools whose migrations are code and not
// SQL files.
//
// The command comes out of a pull request: it is whatever somebody with push access wrote, run by whatever image the server's
// configuration names, perhaps as root of that image. So everything here assumes that it is hostile.
//
//   - Presets say for each tool which command to run, which form of DATABASE_URL it reads, and where its migrations are.
//   - Repack turns a repository's archive into a checkout: without links out of it, devices, absolute paths, and within bounds.
//   - Gate is the way to the preview's Postgres: it reads the startup packet and lets through one role and one database.
//     Nothing in the container is connected with the real socket, on which root would be the superuser by peer.
//   - Proxy is the way to what the configuration allows beyond that, by host name and port, never to private addresses.
//   - Output keeps the end of what the command prints, without secrets.
//   - Session ties these together: it is what serves one run, and what says in words how it ended.
//
// How a container is started is the engine's business, and when the provisioner's. Package relay is what runs inside.
package runner
