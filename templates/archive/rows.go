package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	mayfly "github.com/mayflydb/mayfly"
)

// copyEnd is what pg_dump writes after the last row of a table.
const copyEnd = "\\.\n\n\n"

// decompress undoes the compression of one table's data. "zlib" is what the custom format calls gzip.
func decompress(compression string, r io.Reader) (io.ReadCloser, error) {
	switch compression {
	case "zlib":
		return zlib.NewReader(r)
	case "gzip":
		return gzip.NewReader(r)
	case "lz4":
		return io.NopCloser(lz4.NewReader(r)), nil
	case "zstd":
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return io.NopCloser(r), nil
}

// rowReader passes everything on but the end marker, and reports its absence.
type rowReader struct {
	entry  *Entry
	raw    io.Reader // what the decompressor reads
	r      *bufio.Reader
	closes [2]io.Closer
	last   byte // the last byte passed on
	ended  bool
}

// newRowReader reads the rows of an entry from raw, which is compressed. It closes under, also when it fails.
func newRowReader(e *Entry, compression string, raw io.Reader, under io.Closer) (io.ReadCloser, error) {
	plain, err := decompress(compression, raw)
	if err != nil {
		_ = under.Close()
		return nil, truncatedData(err)
	}
	return &rowReader{entry: e, raw: raw, r: bufio.NewReaderSize(plain, 256<<10), closes: [2]io.Closer{plain, under}}, nil
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
	} else if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return 0, dataError(r.entry, truncatedData(err))
	}
	tail, _ := r.r.Peek(len(copyEnd))
	if string(tail) != copyEnd || (r.last != 0 && r.last != '\n') {
		return 0, dataError(r.entry, fmt.Errorf("the data of the table ends without its end marker"))
	}
	// The decompressor knows where its stream ends and need not have read the end of the block.
	if left, err := io.Copy(io.Discard, r.raw); err != nil || left > 0 {
		if err == nil {
			err = fmt.Errorf("%d bytes follow the end of the data", left)
		}
		return 0, dataError(r.entry, err)
	}
	r.ended = true
	return 0, io.EOF
}

func (r *rowReader) Close() error { return errors.Join(r.closes[0].Close(), r.closes[1].Close()) }

// truncatedData makes the end of a decompressor's bytes one of the data.
func truncatedData(err error) error {
	var coded *mayfly.Error
	if !errors.As(err, &coded) && (errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)) {
		return invalid("the archive is truncated: the data ends in the middle of something")
	}
	return err
}

// dataError says whose data is damaged.
func dataError(e *Entry, err error) error {
	var coded *mayfly.Error
	if errors.As(err, &coded) {
		return mayfly.Errorf(coded.Code, "%s %s.%s: %w", e.Kind, e.Schema, e.Tag, err).WithHint("%s", coded.Hint)
	}
	if isContextError(err) {
		return fmt.Errorf("%s %s.%s: %w", e.Kind, e.Schema, e.Tag, err)
	}
	return broken("%s %s.%s: %w", e.Kind, e.Schema, e.Tag, err)
}
