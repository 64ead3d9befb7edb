// Package cluster knows one Postgres data directory: how to initialise it on a volume, which settings it runs with for
// each purpose, when it is ready, and how Mayfly itself connects to it. Templates, previews and the embedded state
// database are all clusters.
package cluster
