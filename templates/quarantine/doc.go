// Package quarantine restores what cannot be streamed (SQL scripts, dumps with INSERT statements, physical base backups)
// into a cluster of its own, from which a build then streams as if it were a live source.
//
// The cluster holds unmasked rows and runs code of strangers: what a script says it does as a superuser. So it has no
// network, a read-only root, limits, and nothing mounted but a volume and a socket directory of its own. What feeds it
// (psql, tar, pg_restore) runs in throwaway containers that have even less. Nothing of a source is unpacked, and none of
// its symbolic links is followed, by a process of the host. When the build is over the instance is removed, the files
// are overwritten and the volume is deleted; the names and labels of both follow from the template's id, so that
// whatever a killed process left is found.
package quarantine
