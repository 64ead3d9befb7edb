package archive

import (
	"archive/tar"
	"bytes"
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
)

// Format is the shape of a dump.
type Format string

// The formats. Custom, Directory, Tar and Plain are read natively by Open; Script and BaseBackup have to be restored
// before anything can be read from them.
const (
	Unknown    Format = "unknown"
	Custom     Format = "custom"      // pg_dump -Fc
	Directory  Format = "directory"   // pg_dump -Fd
	Tar        Format = "tar"         // pg_dump -Ft, or a tar of the directory of pg_dump -Fd
	Plain      Format = "plain"       // the script of pg_dump for one database; Open tells whether its data is COPY data
	Script     Format = "script"      // any other SQL: of pg_dumpall, or written by hand
	BaseBackup Format = "base backup" // a data directory, or the directory or tar that pg_basebackup writes
)

// detectBytes is how much of a file is looked at, after decompression.
const detectBytes = 64 << 10

// damageBytes is how much of a compressed file that looks like nothing is searched for the reason.
const damageBytes = 64 << 20

// Detect tells by its content what a dump is, and how the file as a whole is compressed. A file that is nothing of the
// kind gives Unknown and an error with CodeSourceInvalid that says what it is instead.
//
// The content may still turn out to be different further down: a Plain dump with INSERT statements, for example. Then
// Open returns an error that NeedsRestore recognises.
func Detect(name string) (Format, Compression, error) {
	file, err := os.Open(name)
	if err != nil {
		return Unknown, CompressionNone, unavailable(err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return Unknown, CompressionNone, unavailable(err)
	}
	switch {
	case info.IsDir():
		format, err := detectDirectory(name)
		return format, CompressionNone, err
	case !info.Mode().IsRegular():
		return Unknown, CompressionNone, invalid("the source %s is neither a file nor a directory", name)
	}
	return detectFile(file, info.Size())
}

func detectFile(file io.ReaderAt, size int64) (Format, Compression, error) {
	raw, err := readHead(io.NewSectionReader(file, 0, size))
	if err != nil {
		return Unknown, CompressionNone, invalid("the source file cannot be read: %w", err)
	}
	compression := detectCompression(raw)
	// A new stream for each look: the head, and the members of a tar.
	open := func() (io.ReadCloser, error) { return compression.NewReader(io.NewSectionReader(file, 0, size)) }
	r, err := open()
	if err != nil {
		return Unknown, compression, damaged(compression, err)
	}
	defer func() { _ = r.Close() }()
	head, err := readHead(r)
	if err != nil && len(head) < 512 {
		return Unknown, compression, damaged(compression, err)
	}
	if format := detectHead(head); format != Tar {
		if format == Unknown {
			// Damage in the first block shows at its end only, and a stream that is cut off there gives nothing at all.
			if _, err := io.CopyN(io.Discard, r, damageBytes); err != nil && !errors.Is(err, io.EOF) {
				return Unknown, compression, damaged(compression, err)
			}
			return Unknown, compression, notADump(head)
		}
		return format, compression, nil
	}
	var members io.Reader = io.NewSectionReader(file, 0, size) // can seek over members
	if compression != CompressionNone {
		again, err := open()
		if err != nil {
			return Unknown, compression, damaged(compression, err)
		}
		defer func() { _ = again.Close() }()
		members = again
	}
	format, err := detectTar(members)
	return format, compression, err
}

// readHead reads up to detectBytes. A shorter file is no error.
func readHead(r io.Reader) ([]byte, error) {
	head := make([]byte, detectBytes)
	n, err := io.ReadFull(r, head)
	if errors.Is(err, io.EOF) && n == 0 || errors.Is(err, io.ErrUnexpectedEOF) && n < detectBytes {
		err = nil // what is wrong with a truncated file is for Open to say
	}
	return head[:n], err
}

var (
	dumpTitle    = regexp.MustCompile(`^(?:\x{feff})?\s*--\n-- PostgreSQL database dump\n--\n`)
	clusterTitle = regexp.MustCompile(`^(?:\x{feff})?\s*--\n-- PostgreSQL database cluster dump\n--\n`)
	sqlLine      = regexp.MustCompile(`(?im)^\s*(?:SET|CREATE|INSERT|COPY|BEGIN|START|ALTER|DROP|SELECT|WITH|DO|GRANT|TRUNCATE|UPDATE|COMMENT|\\[a-z]+)\b`)
)

// formatAt is where an archive says what format it is of: after the magic bytes, the version and the sizes of integers.
const formatAt = 10

// detectHead tells the format by the first bytes.
func detectHead(head []byte) Format {
	switch {
	case bytes.HasPrefix(head, []byte(magic)):
		if len(head) > formatAt && head[formatAt] != formatCustom {
			return Unknown // a toc.dat without its files
		}
		return Custom
	case len(head) >= 512 && bytes.Equal(head[257:262], []byte("ustar")):
		return Tar
	case dumpTitle.Match(head):
		return Plain
	case clusterTitle.Match(head):
		return Script
	case isText(head) && sqlLine.Match(head):
		return Script
	}
	return Unknown
}

func isText(head []byte) bool {
	for _, b := range head {
		if b < ' ' && !strings.ContainsRune("\t\n\r\f\v\b\x1b", rune(b)) {
			return false
		}
	}
	return len(head) > 0
}

// dumpMember matches what pg_dump calls the files of its directory and tar formats.
var dumpMember = regexp.MustCompile(`^(?:toc\.dat|\d+\.dat|blob_\d+\.dat|blobs(?:_\d+)?\.toc|restore\.sql)(?:\.gz|\.lz4|\.zst)?$`)

// backupMember matches files that only a data directory or a base backup has.
var backupMember = regexp.MustCompile(`^(?:\./)?(?:PG_VERSION|backup_label|backup_manifest|global/pg_control|base/\d+/.*|base\.tar(?:\.gz|\.lz4|\.zst)?)$`)

// detectTar tells the format by the names of a tar's members. A base backup may be wrapped into one more directory.
func detectTar(r io.Reader) (Format, error) {
	members := tar.NewReader(r)
	for {
		header, err := members.Next()
		if errors.Is(err, io.EOF) {
			return Unknown, invalid("the source file is a tar that holds neither a dump nor a base backup").
				WithHint("a tar may hold the files of `pg_dump -Ft` or `pg_dump -Fd`, or a base backup")
		}
		if err != nil {
			return Unknown, broken("the tar cannot be read: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		_, inner, _ := strings.Cut(strings.TrimPrefix(header.Name, "./"), "/")
		switch {
		case backupMember.MatchString(header.Name), backupMember.MatchString(inner):
			return BaseBackup, nil
		case dumpMember.MatchString(path.Base(header.Name)):
			return Tar, nil
		}
	}
}

func detectDirectory(name string) (Format, error) {
	for _, known := range []struct {
		file   string
		format Format
	}{{"toc.dat", Directory}, {"PG_VERSION", BaseBackup}, {"backup_label", BaseBackup}} {
		if _, err := os.Stat(filepath.Join(name, known.file)); err == nil {
			return known.format, nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return Unknown, unavailable(err)
		}
	}
	if tars, err := filepath.Glob(filepath.Join(name, "base.tar*")); err == nil && len(tars) > 0 {
		return BaseBackup, nil
	}
	return Unknown, invalid("the source directory %s holds neither a dump nor a base backup", name).
		WithHint("a directory of `pg_dump -Fd` has a toc.dat, one of pg_basebackup a PG_VERSION or a base.tar")
}

// notADump says what a file is instead, as far as its first bytes tell.
func notADump(head []byte) error {
	what := "not a pg_dump archive and not SQL"
	switch {
	case len(head) == 0:
		what = "empty"
	case bytes.HasPrefix(head, []byte(magic)):
		return invalid("the source file is the table of contents of a dump, without its data").
			WithHint("give the path of the directory that toc.dat is in")
	case bytes.HasPrefix(head, []byte("\xfd7zXZ\x00")):
		what = "compressed with xz, which is not supported"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		what = "a zip file, which is not supported"
	case bytes.HasPrefix(head, []byte("-----BEGIN PGP")), bytes.HasPrefix(head, []byte("age-encryption.org/")):
		what = "encrypted"
	case detectCompression(head) != CompressionNone:
		what = "compressed twice"
	}
	return invalid("the source file is %s", what).WithHint("dump with `pg_dump -Fc`; gzip, zstd, lz4 and bzip2 are undone")
}

// invalid is an error about a source that is not what it should be.
func invalid(format string, args ...any) *mayfly.Error {
	return mayfly.Errorf(mayfly.CodeSourceInvalid, format, args...).WithHint(sourceHint)
}

// damaged is the error for a file whose compression cannot be undone.
func damaged(c Compression, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return invalid("the archive is truncated: its %s compression ends in the middle of something", c)
	}
	return broken("its %s compression cannot be undone: %w", c, err)
}

// unavailable is the error for a file that cannot be had.
func unavailable(err error) error {
	return mayfly.Errorf(mayfly.CodeSourceUnavailable, "the archive cannot be opened: %w", err).
		WithHint("source.archive is a path on the machine that Mayfly runs on")
}

// restoreNeededError marks errors about sources that only a server can read.
type restoreNeededError struct{ err *mayfly.Error }

func (e *restoreNeededError) Error() string { return e.err.Error() }
func (e *restoreNeededError) Unwrap() error { return e.err }

// NeedsRestore reports whether Open failed because the dump, though nothing need be wrong with it, can only be read by
// restoring it into a server: INSERT statements instead of COPY data, rows loaded through a partitioned table, SQL that
// pg_dump does not write.
func NeedsRestore(err error) bool {
	var e *restoreNeededError
	return errors.As(err, &e)
}

// restoreFirst is the error that NeedsRestore recognises.
func restoreFirst(format string, args ...any) error {
	return &restoreNeededError{mayfly.Errorf(mayfly.CodeSourceInvalid, "the dump cannot be read directly: %s", fmt.Sprintf(format, args...)).
		WithHint("it has to be restored into a server first")}
}
