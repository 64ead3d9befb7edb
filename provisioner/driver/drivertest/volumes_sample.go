package drivertest

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// sampleEntry is one thing in a volume: a directory if its name ends in a slash, a link if target is set, else a file.
type sampleEntry struct {
	name     string
	mode     fs.FileMode
	uid, gid int
	size     int
	target   string
}

// sampleTree has what Postgres data directories have, and what is easily lost in copying: restrictive and unusual modes,
// another owner, empty files and directories, links to directories outside, a file that ends within a block.
func sampleTree() []sampleEntry {
	u, g := owner().UID, owner().GID
	return []sampleEntry{
		{name: "pgdata/", mode: 0o700, uid: u, gid: g},
		{name: "pgdata/PG_VERSION", mode: 0o600, uid: u, gid: g, size: 3},
		{name: "pgdata/global/", mode: 0o700, uid: u, gid: g},
		{name: "pgdata/global/pg_control", mode: 0o600, uid: u, gid: g, size: 8192},
		{name: "pgdata/base/", mode: 0o750, uid: u, gid: g},
		{name: "pgdata/base/5/", mode: 0o700, uid: u, gid: g},
		{name: "pgdata/base/5/16384", mode: 0o600, uid: u, gid: g, size: 1<<20 + 4097},
		{name: "pgdata/base/5/16384_fsm", mode: 0o640, uid: u, gid: g, size: 24576},
		{name: "pgdata/base/5/16385", mode: 0o600, uid: u, gid: g},
		{name: "pgdata/base/5/name with, odd: characters\n\\", mode: 0o600, uid: u, gid: g, size: 1},
		{name: "pgdata/pg_notify/", mode: 0o700, uid: u, gid: g},
		{name: "pgdata/pg_tblspc/", mode: 0o700, uid: u, gid: g},
		{name: "pgdata/pg_tblspc/16390", uid: u, gid: g, target: "../../tablespace"},
		{name: "pgdata/pg_tblspc/16391", uid: u, gid: g, target: "/does/not/exist"},
		{name: "tablespace/", mode: 0o2755, uid: u, gid: 4711},
		{name: "tablespace/another owner", mode: 0o4711, uid: 4710, gid: 4711, size: 100},
		{name: "tablespace/unreadable", mode: 0o000, uid: 0, gid: 0, size: 5000},
	}
}

func writeSample(t *testing.T, root string) {
	t.Helper()
	for _, e := range sampleTree() {
		if err := e.write(filepath.Join(root, e.name)); err != nil {
			t.Fatalf("write %s: %v", e.name, err)
		}
	}
}

func (e sampleEntry) write(path string) error {
	if e.target != "" {
		if err := os.Symlink(e.target, path); err != nil {
			return err
		}
		return os.Lchown(path, e.uid, e.gid)
	}
	var err error
	if e.isDir() {
		err = os.Mkdir(path, 0o700)
	} else {
		err = os.WriteFile(path, e.content(), 0o600)
	}
	if err == nil {
		err = os.Chown(path, e.uid, e.gid)
	}
	if err == nil {
		err = syscall.Chmod(path, uint32(e.mode)) // os.Chmod has its own notion of the set-id bits
	}
	return err
}

func (e sampleEntry) isDir() bool     { return strings.HasSuffix(e.name, "/") }
func (e sampleEntry) content() []byte { return pattern(e.size, byte(len(e.name))) }

// sampleListing is what listing gives for sampleTree.
func sampleListing() string {
	lines := []string{line("", "dir", 0o700, owner().UID, owner().GID, "")}
	for _, e := range sampleTree() {
		switch {
		case e.isDir():
			lines = append(lines, line(strings.TrimSuffix(e.name, "/"), "dir", uint32(e.mode), e.uid, e.gid, ""))
		case e.target != "":
			lines = append(lines, line(e.name, "link", 0o777, e.uid, e.gid, e.target))
		default:
			lines = append(lines, line(e.name, "file", uint32(e.mode), e.uid, e.gid, digest(e.content())))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// listing describes everything below root, in a form to compare.
func listing(root string) (string, error) {
	var lines []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil {
			err = syscall.Lstat(path, &st)
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		kind, detail := "file", ""
		switch {
		case d.IsDir():
			kind = "dir"
		case d.Type() == fs.ModeSymlink:
			kind = "link"
			detail, err = os.Readlink(path)
		default:
			var data []byte
			data, err = os.ReadFile(path)
			detail = digest(data)
		}
		//nolint:unconvert // on other systems a mode has 16 bits
		lines = append(lines, line(name, kind, uint32(st.Mode)&0o7777, int(st.Uid), int(st.Gid), detail))
		return err
	})
	slices.Sort(lines)
	return strings.Join(lines, "\n"), err
}

func line(name, kind string, mode uint32, uid, gid int, detail string) string {
	return fmt.Sprintf("%q %s %04o %d:%d %s", name, kind, mode, uid, gid, detail)
}

func digest(data []byte) string {
	return fmt.Sprintf("%d bytes %x", len(data), sha256.Sum256(data))
}
