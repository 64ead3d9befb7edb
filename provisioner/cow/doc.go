// Package cow is the copy-on-write storage of one Linux host: it implements driver.Volumes on a directory called the
// pool. One machinery (dirs.go) gives every driver atomic, idempotent, crash-safe operations that several processes may
// run at once; the drivers differ only in how they make, freeze, clone and destroy one data directory:
//
//	reflink  FICLONE of every file in parallel; XFS and btrfs. Shares blocks.
//	btrfs    one subvolume per volume, snapshots. Shares blocks.
//	zfs      one dataset per volume, through the zfs program (zfs.go, not on the directory machinery). Shares blocks.
//	overlay  OverlayFS; copies a whole file at the first write to it.
//	copy     copies everything.
//
// Open chooses one by trying (choose_linux.go) and, where the pool's file system can do none of it, makes a sparse image
// file, formats it XFS and mounts it over the pool's directory (image_linux.go, loop_linux.go).
//
// A pool directory looks like this:
//
//	volumes/<id>/data         the volume itself, what an engine mounts
//	volumes/<id>/frozen.json  present if and only if the volume is frozen
//	volumes/<id>/tree.json    the list of a frozen volume's files, so that cloning does not walk it
//	tmp/<id>.<random>/        being made; renamed to volumes/<id> when whole
//	trash/<id>.<random>/      being removed; was volumes/<id>
//
// Every such directory is locked (flock on the directory itself) by whoever makes, clones or removes it, so that a
// leftover is told from work in progress by trying the lock: the kernel drops the locks of a dead process.
package cow
