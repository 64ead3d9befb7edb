package quarantine

import (
	"archive/tar"
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/archive"
)

// walFile matches what WAL archives are made of, each file perhaps compressed.
var walFile = regexp.MustCompile(`^([0-9A-F]{24}(?:\.partial)?|[0-9A-F]{8}\.history)(?:\.gz|\.zst|\.zstd|\.lz4|\.bz2)?$`)

// eachWAL visits the segments and histories of a directory, or of a tar, and no file below the directory's own level.
func eachWAL(ctx context.Context, source string, visit func(name string, r io.Reader) error) error {
	info, err := os.Stat(source)
	if err != nil {
		return walUnavailable(err)
	}
	if !info.IsDir() {
		return withFile(source, func(r io.Reader) error {
			return eachInTar(ctx, r, "pg_wal/", maxDepth, func(m member) error {
				if found := walFile.FindStringSubmatch(path.Base(m.name)); found != nil && m.data != nil {
					return uncompressed(found[1], m.data, visit)
				}
				return nil
			})
		})
	}
	root, err := os.OpenRoot(source)
	if err != nil {
		return walUnavailable(err)
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return walUnavailable(err)
	}
	for _, entry := range entries {
		found := walFile.FindStringSubmatch(entry.Name())
		if found == nil || !entry.Type().IsRegular() {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		file, err := root.Open(entry.Name())
		if err != nil {
			return walUnavailable(err)
		}
		err = uncompressed(found[1], file, visit)
		_ = file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func walUnavailable(err error) error {
	return mayfly.Errorf(mayfly.CodeSourceUnavailable, "the WAL cannot be opened: %w", err).
		WithHint("source.wal is a directory, or a tar, with WAL segments on the machine that Mayfly runs on")
}

func uncompressed(name string, r io.Reader, visit func(string, io.Reader) error) error {
	plain, _, err := archive.Uncompress(r)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }()
	return visit(name, plain)
}

const (
	segmentHeader   = 40 // XLogLongPageHeaderData (PostgreSQL, src/include/access/xlog_internal.h)
	segmentSizeAt   = 32
	smallestSegment = 1 << 20
	largestSegment  = 1 << 30
	maxHistory      = 1 << 20
)

// writeWAL adds one file to the tar. A segment says itself how long it is: the length after decompression need not be
// known before.
func writeWAL(to *tar.Writer, name string, r io.Reader) error {
	if strings.HasSuffix(name, ".history") {
		text, err := io.ReadAll(io.LimitReader(r, maxHistory))
		if err != nil {
			return damaged(name, err)
		}
		return writeFile(to, "wal/"+name, int64(len(text)), strings.NewReader(string(text)))
	}
	buffered := bufio.NewReader(r)
	head, err := buffered.Peek(segmentHeader)
	if err != nil {
		return damaged("the WAL segment "+name, io.ErrUnexpectedEOF)
	}
	size := int64(binary.LittleEndian.Uint32(head[segmentSizeAt:]))
	if size < smallestSegment || size > largestSegment || size&(size-1) != 0 {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the WAL segment %s is not one, or from a machine with another byte order", name)
	}
	return writeFile(to, "wal/"+name, size, buffered)
}

// writeFile adds a file of exactly that size.
func writeFile(to *tar.Writer, name string, size int64, r io.Reader) error {
	if err := to.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600}); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if segment, found := strings.CutPrefix(name, "wal/"); found {
		name = "the WAL segment " + segment
	}
	read := &readErrors{r: r}
	n, err := io.CopyN(to, read, size)
	switch {
	case read.err != nil && !errors.Is(read.err, io.EOF):
		return damaged(name, read.err)
	case n < size && (err == nil || errors.Is(err, io.EOF)):
		return damaged(name, io.ErrUnexpectedEOF)
	case err != nil:
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// readErrors tells errors of reading from those of writing.
type readErrors struct {
	r   io.Reader
	err error
}

func (r *readErrors) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil {
		r.err = err
	}
	return n, err
}
