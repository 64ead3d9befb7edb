package archive

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	mayfly "github.com/mayflydb/mayfly"
)

// Block types of the custom format (pg_backup_archiver.h).
const (
	blockData  = 1
	blockBlobs = 3
)

// locateData checks the positions of all data blocks. A dump that was written into a pipe has none: then the blocks are
// found by walking over them, from tocEnd on.
func (a *Archive) locateData(tocEnd int64) error {
	withData, missing := map[int]*Entry{}, 0
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.HasData {
			withData[e.ID] = e
		}
		switch {
		case !e.HasData:
		case e.offset == 0:
			missing++
		case e.offset < tocEnd:
			return broken("the data of %s %s is said to be inside the table of contents", e.Kind, e.Tag)
		case e.offset >= a.size:
			return truncated(io.ErrUnexpectedEOF, a.size)
		}
	}
	return a.walkBlocks(tocEnd, withData, missing)
}

// walkBlocks finds the data blocks whose position is missing by reading the lengths of all chunks.
func (a *Archive) walkBlocks(from int64, withData map[int]*Entry, missing int) error {
	s := newScanner(a.r, from, a.size, a.intSize, a.offSize)
	for missing > 0 {
		start := s.pos
		kind, id := s.byte(), s.int()
		if s.err != nil {
			return s.err
		}
		e := withData[id]
		if e == nil {
			return broken("the data block at byte %d belongs to nothing in the table of contents", start)
		}
		if e.offset == 0 {
			e.offset = start
			missing--
		}
		switch kind {
		case blockData:
			skipChunks(s)
		case blockBlobs: // pairs of oid and chunks, ended by oid 0
			for s.int() != 0 && s.err == nil {
				skipChunks(s)
			}
		default:
			return broken("the block at byte %d is of type %d", start, kind)
		}
		if s.err != nil {
			return s.err
		}
	}
	return nil
}

func skipChunks(s *scanner) {
	for n := s.int(); n != 0 && s.err == nil; n = s.int() {
		if n < 0 {
			s.fail(broken("a chunk of %d bytes at byte %d", n, s.pos))
			return
		}
		s.skip(n)
	}
}

// copyEnd is what pg_dump writes after the last row of a table.
const copyEnd = "\\.\n\n\n"

// Rows returns the rows of a TABLE DATA entry in COPY text format, without the end marker. progress, if not nil, is told
// after each read how many bytes of the archive were consumed by it. A missing end, a failed checksum and everything
// else that is wrong with the bytes is a *mayfly.Error with CodeSourceInvalid that names the table.
func (a *Archive) Rows(e *Entry, progress func(bytes int)) (io.ReadCloser, error) {
	if !e.HasData {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	s := newScanner(a.r, e.offset, a.size, a.intSize, a.offSize)
	if kind, id := s.byte(), s.int(); s.err != nil {
		return nil, s.err
	} else if kind != blockData || id != e.ID {
		return nil, broken("at byte %d the data of %s %s was expected", e.offset, e.Kind, e.Tag)
	}
	chunks := &chunkReader{s: s, progress: progress}
	plain, err := decompress(a.Header.Compression, chunks)
	if err != nil {
		return nil, dataError(e, err)
	}
	return &rowReader{entry: e, chunks: chunks, r: bufio.NewReaderSize(plain, 256<<10), plain: plain}, nil
}

// decompress undoes the compression of one data block.
func decompress(compression string, r io.Reader) (io.ReadCloser, error) {
	switch compression {
	case "gzip": // in zlib's framing (compress_gzip.c calls deflateInit)
		return zlib.NewReader(r)
	case "lz4":
		return io.NopCloser(lz4.NewReader(r)), nil
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// chunkReader reads the chunks of one data block as one stream.
type chunkReader struct {
	s        *scanner
	left     int
	done     bool
	progress func(int)
}

func (c *chunkReader) Read(p []byte) (int, error) {
	for c.left == 0 {
		if c.done {
			return 0, io.EOF
		}
		c.left = c.s.int()
		if c.s.err != nil {
			return 0, c.s.err
		}
		if c.left < 0 {
			return 0, broken("a chunk of %d bytes at byte %d", c.left, c.s.pos)
		}
		c.done = c.left == 0
	}
	n, err := c.s.r.Read(p[:min(len(p), c.left)])
	c.left -= n
	c.s.pos += int64(n)
	if c.progress != nil && n > 0 {
		c.progress(n)
	}
	if err != nil {
		return n, truncated(err, c.s.pos)
	}
	return n, nil
}

// rowReader passes everything on but the end marker, and reports its absence.
type rowReader struct {
	entry  *Entry
	chunks *chunkReader
	r      *bufio.Reader
	plain  io.Closer
	last   byte // the last byte passed on
	ended  bool
}

func (r *rowReader) Read(p []byte) (int, error) {
	if r.ended {
		return 0, io.EOF
	}
	if len(p) == 0 {
		return 0, nil
	}
	// Whatever is in the buffer beyond the length of the marker cannot be part of it.
	if _, err := r.r.Peek(len(copyEnd) + 1); err == nil {
		n, err := r.r.Read(p[:min(len(p), r.r.Buffered()-len(copyEnd))])
		if n > 0 {
			r.last = p[n-1]
		}
		return n, err
	} else if !errors.Is(err, io.EOF) {
		return 0, dataError(r.entry, err)
	}
	tail, _ := r.r.Peek(len(copyEnd))
	if string(tail) != copyEnd || (r.last != 0 && r.last != '\n') {
		return 0, dataError(r.entry, fmt.Errorf("the data of the table ends without its end marker"))
	}
	// The decompressor knows where its stream ends and need not have read the end of the block.
	if left, err := io.Copy(io.Discard, r.chunks); err != nil || left > 0 {
		if err == nil {
			err = fmt.Errorf("%d bytes follow the end of the data", left)
		}
		return 0, dataError(r.entry, err)
	}
	r.ended = true
	return 0, io.EOF
}

func (r *rowReader) Close() error { return r.plain.Close() }

// dataError says whose data is damaged.
func dataError(e *Entry, err error) error {
	var coded *mayfly.Error
	if errors.As(err, &coded) {
		return mayfly.Errorf(coded.Code, "%s %s.%s: %w", e.Kind, e.Schema, e.Tag, err).WithHint("%s", coded.Hint)
	}
	return broken("%s %s.%s: %w", e.Kind, e.Schema, e.Tag, err)
}

// DataBytes returns about how many bytes the data of an entry takes in the archive: the distance to the next data block,
// or to the end.
func (a *Archive) DataBytes(e *Entry) int64 {
	if !e.HasData {
		return 0
	}
	end := a.size
	for i := range a.Entries {
		if o := a.Entries[i].offset; o > e.offset && o < end {
			end = o
		}
	}
	return end - e.offset
}
