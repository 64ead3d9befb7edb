package quarantine

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

// member is a file of a base backup, named as in the data directory.
type member struct {
	name string
	size int64
	data io.Reader // nil for what is not a regular file
}

// eachMember visits the files of a base backup: a data directory, the directory that `pg_basebackup -Ft` writes, or a tar
// of either. It reads with the rights of this process, so it never follows a symbolic link: neither by its name nor, while
// somebody changes the directory, by a name that has become one (os.Root).
func eachMember(ctx context.Context, source string, visit func(member) error) error {
	info, err := os.Stat(source)
	if err != nil {
		return unavailable(err)
	}
	if !info.IsDir() {
		return withFile(source, func(r io.Reader) error { return eachInTar(ctx, r, "", 0, visit) })
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = root.Close() }()
	return eachInDirectory(ctx, root, visit)
}

func unavailable(err error) error {
	return mayfly.Errorf(mayfly.CodeSourceUnavailable, "the base backup cannot be opened: %w", err).
		WithHint("source.archive is a path on the machine that Mayfly runs on")
}

func damaged(name string, err error) error {
	var coded *mayfly.Error
	if errors.As(err, &coded) {
		return err
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup is truncated or damaged at %s: %w", name, err).
		WithHint("take the backup again, and look whether the disk was full or the transfer broke off")
}

// withFile opens a file and undoes its compression.
func withFile(name string, read func(io.Reader) error) error {
	file, err := os.Open(name)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = file.Close() }()
	plain, _, err := archive.Uncompress(file)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	return read(plain)
}

// tarMember matches the tars that pg_basebackup -Ft writes: the data directory, its WAL, and one for each tablespace.
var tarMember = regexp.MustCompile(`^(base|pg_wal|\d+)\.tar(?:\.gz|\.lz4|\.zst|\.bz2)?$`)

// prefixOf returns where the contents of such a tar belong.
func prefixOf(tarName string) string {
	switch m := tarMember.FindStringSubmatch(tarName); m[1] {
	case "base":
		return ""
	case "pg_wal":
		return "pg_wal/"
	default:
		return "pg_tblspc/" + m[1] + "/"
	}
}

func eachInDirectory(ctx context.Context, root *os.Root, visit func(member) error) error {
	return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return unavailable(err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if entry.IsDir() {
			return nil
		}
		if !entry.Type().IsRegular() {
			return visit(member{name: filepath.ToSlash(name)})
		}
		file, err := root.Open(name)
		if err != nil {
			return unavailable(err)
		}
		defer func() { _ = file.Close() }()
		info, err := file.Stat()
		if err != nil || !info.Mode().IsRegular() {
			return visit(member{name: filepath.ToSlash(name)}) // it was one when it was listed
		}
		if !strings.Contains(name, "/") && tarMember.MatchString(name) {
			plain, _, err := archive.Uncompress(file)
			if err != nil {
				return err
			}
			defer func() { _ = plain.Close() }()
			return eachInTar(ctx, plain, prefixOf(name), 1, visit)
		}
		return visit(member{name: filepath.ToSlash(name), size: info.Size(), data: file})
	})
}

// maxDepth is how deep tars may lie in tars: that of a directory of `pg_basebackup -Ft` holds its tars.
const maxDepth = 1

// eachInTar visits the members of a tar. A tar of a directory may have its name before all others.
func eachInTar(ctx context.Context, r io.Reader, prefix string, depth int, visit func(member) error) error {
	members := tar.NewReader(r)
	var top topDirectory
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		header, err := members.Next()
		if errors.Is(err, io.EOF) {
			return drain(r)
		}
		if err != nil {
			return damaged("a tar's header", err)
		}
		name := path.Clean(header.Name)
		if header.Typeflag == tar.TypeDir {
			continue
		}
		if prefix == "" {
			name = top.strip(name)
		}
		name = prefix + name
		switch {
		case header.Typeflag != tar.TypeReg:
			err = visit(member{name: name})
		case depth < maxDepth && tarMember.MatchString(name):
			var plain io.ReadCloser
			if plain, _, err = archive.Uncompress(members); err == nil {
				err = errors.Join(eachInTar(ctx, plain, prefixOf(name), depth+1, visit), plain.Close())
			}
		default:
			err = visit(member{name: name, size: header.Size, data: members})
		}
		if err != nil {
			return err
		}
	}
}

// drain reads what follows a tar's end: the check sum of its compression is there.
func drain(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return damaged("its end", err)
	}
	return nil
}

// topDirectory is the one directory that everything in a tar is in, if there is one.
type topDirectory struct {
	decided bool
	name    string
}

// ownName matches what a data directory has at its top.
var ownName = regexp.MustCompile(`^(?:base|global|pg_[a-z_]+|current_logfiles|log|PG_VERSION|backup_label.*|backup_manifest|tablespace_map.*|postgresql.*|[a-z]+\.signal|postmaster\..*)$|^[^/]*\.tar`)

func (t *topDirectory) strip(name string) string {
	first, rest, nested := strings.Cut(name, "/")
	if !t.decided {
		t.decided = true
		if nested && !ownName.MatchString(first) {
			t.name = first
		}
	}
	if t.name != "" && nested && first == t.name {
		return rest
	}
	return name
}

// keptFile matches the files of a data directory that a cluster consists of. Everything else (configuration, slots,
// statistics, temporary files, what does not belong there at all) stays where it is.
var keptFile = regexp.MustCompile(`^(?:` + strings.Join([]string{
	`PG_VERSION`, `backup_label`, `backup_manifest`,
	`global/(?:pg_control|pg_filenode\.map|` + relationFile + `)`,
	`base/[0-9]+/(?:PG_VERSION|pg_filenode\.map|` + relationFile + `)`,
	`pg_tblspc/[0-9]+/PG_[0-9]+(?:\.[0-9]+)?_[0-9]+/[0-9]+/(?:PG_VERSION|pg_filenode\.map|` + relationFile + `)`,
	`pg_(?:xact|multixact/members|multixact/offsets|commit_ts)/[0-9A-F]+`,
	`pg_twophase/[0-9A-F]+`, `pg_logical/replorigin_checkpoint`,
	`pg_wal/(?:[0-9A-F]{24}|[0-9A-F]{8}\.history)`,
}, "|") + `)$`)

const relationFile = `[0-9]+(?:_(?:fsm|vm|init))?(?:\.[0-9]+)?`

// usualFile matches what else pg_basebackup puts into a backup: not worth a word.
var usualFile = regexp.MustCompile(`^(?:postgresql(?:\.auto)?\.conf|pg_hba\.conf|pg_ident\.conf|backup_label\.old|tablespace_map(?:\.old)?|(?:recovery|standby)\.signal|postmaster\.(?:pid|opts)|current_logfiles|logfile` +
	`|(?:log|pg_log|pg_stat|pg_stat_tmp|pg_replslot|pg_logical|pg_subtrans|pg_notify|pg_snapshots|pg_serial|pg_dynshmem|pg_wal)/.*|.*/pg_internal\.init|(?:.*/)?pgsql_tmp.*|.*/t[0-9]+_[0-9_a-z.]+|pg_internal\.init)$`)

// incrementalFile is what pg_basebackup --incremental writes instead of a relation's file.
var incrementalFile = regexp.MustCompile(`(?:^|/)INCREMENTAL\.[0-9]+`)

// backupMajor finds the major version of a base backup without unpacking it.
func backupMajor(ctx context.Context, source string) (int, error) {
	found, enough := 0, errors.New("found")
	err := eachMember(ctx, source, func(m member) error {
		if path.Base(m.name) != "PG_VERSION" || m.data == nil || !keptFile.MatchString(m.name) {
			return nil
		}
		text := make([]byte, 16)
		n, err := io.ReadFull(m.data, text)
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.EOF) {
			return damaged(m.name, err)
		}
		if _, err := fmt.Sscanf(string(text[:n]), "%d", &found); err != nil {
			return mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup's %s does not name a version", m.name)
		}
		return enough
	})
	switch {
	case errors.Is(err, enough):
		return found, nil
	case err != nil:
		return 0, err
	}
	return 0, mayfly.Errorf(mayfly.CodeSourceInvalid, "the base backup has no file PG_VERSION").
		WithHint("give what pg_basebackup wrote: the data directory, the directory with base.tar, or one tar of either")
}
