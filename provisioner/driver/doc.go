// Package driver declares the two small interfaces that everything above them needs of a machine: Volumes, the
// copy-on-write storage, and Engine, which runs Postgres on a volume. It holds no implementation: provisioner/cow and
// provisioner/docker are the ones for one Linux host, and provisioner/driver/drivertest is the suite that every
// implementation passes.
//
// Both are free of file paths and of container-engine notions on purpose: a cluster (pods, CSI snapshots) must be able
// to honour them.
package driver
