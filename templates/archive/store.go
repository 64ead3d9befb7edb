package archive

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
)

// store holds the bytes of a dump, after the compression of the file as a whole is undone. Its methods may be called
// concurrently.
type store interface {
	// open returns the bytes from a position on. Every error of the reader is one of this package, but for io.EOF and
	// those of ctx, which ends the reading.
	open(ctx context.Context, from int64) (io.ReadCloser, error)
	// size is the number of bytes, or unknownSize.
	size() int64
	// sequential says that positions are best opened in ascending order, one after the other.
	sequential() bool
}

// unknownSize stands for the size of what is not decompressed yet.
const unknownSize = math.MaxInt64

// plainStore is a file that is not compressed.
type plainStore struct {
	r     io.ReaderAt
	bytes int64
}

func (s *plainStore) open(ctx context.Context, from int64) (io.ReadCloser, error) {
	from = min(from, s.bytes)
	return io.NopCloser(&contextReader{ctx: ctx, r: io.NewSectionReader(s.r, from, s.bytes-from)}), nil
}

func (s *plainStore) size() int64      { return s.bytes }
func (s *plainStore) sequential() bool { return false }

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context //nolint:containedctx // a reader has no other way to be told
	r   io.Reader
}

func (r *contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// packedStore is a compressed file. There is no way into the middle of one but from its start, so what is read in
// ascending order goes on where the last reader was closed: the file is decompressed once, and never lands on a disk.
type packedStore struct {
	file        io.ReaderAt
	fileSize    int64
	compression Compression

	mu     sync.Mutex
	parked *cursor
	length int64 // once known, else unknownSize
}

func newPackedStore(file io.ReaderAt, size int64, compression Compression) *packedStore {
	return &packedStore{file: file, fileSize: size, compression: compression, length: unknownSize}
}

func (s *packedStore) sequential() bool { return true }

func (s *packedStore) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.length
}

// measure reads to the end of the file, so that the decompressor has checked all of it, and keeps the size.
func (s *packedStore) measure(ctx context.Context) error {
	r, err := s.reader(ctx, s.parkedAt())
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.length = r.at.pos
	return nil
}

func (s *packedStore) parkedAt() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.parked == nil {
		return 0
	}
	return s.parked.pos
}

func (s *packedStore) open(ctx context.Context, from int64) (io.ReadCloser, error) {
	r, err := s.reader(ctx, from)
	if err != nil {
		return nil, err // and no reader: a nil pointer would be one
	}
	return r, nil
}

func (s *packedStore) reader(ctx context.Context, from int64) (*packedReader, error) {
	at, err := s.cursor(from)
	if err != nil {
		return nil, err
	}
	r := &packedReader{store: s, ctx: ctx, at: at}
	if _, err := io.CopyN(io.Discard, r, from-at.pos); err != nil {
		_ = r.Close()
		return nil, truncated(err, at.pos)
	}
	return r, nil
}

// cursor takes the parked cursor if that is not too far on, or else makes one at the start.
func (s *packedStore) cursor(from int64) (*cursor, error) {
	s.mu.Lock()
	at := s.parked
	if at != nil && at.pos <= from {
		s.parked = nil
		s.mu.Unlock()
		return at, nil
	}
	s.mu.Unlock()
	r, err := s.compression.NewReader(io.NewSectionReader(s.file, 0, s.fileSize))
	if err != nil {
		return nil, damaged(s.compression, err)
	}
	return &cursor{r: r}, nil
}

// park keeps a cursor for the next reader.
func (s *packedStore) park(at *cursor) {
	s.mu.Lock()
	at, s.parked = s.parked, at
	s.mu.Unlock()
	if at != nil {
		_ = at.r.Close()
	}
}

// cursor is a decompressor and its position in what comes out.
type cursor struct {
	r   io.ReadCloser
	pos int64
}

type packedReader struct {
	store  *packedStore
	ctx    context.Context //nolint:containedctx // a reader has no other way to be told
	at     *cursor
	failed bool
	closed bool
}

func (r *packedReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := r.at.r.Read(p)
	r.at.pos += int64(n)
	if err != nil {
		r.failed = true
		if !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = damaged(r.store.compression, err)
		}
	}
	return n, err
}

func (r *packedReader) Close() error {
	switch {
	case r.closed:
	case r.failed:
		_ = r.at.r.Close()
	default:
		r.store.park(r.at)
	}
	r.closed = true
	return nil
}

// close gives the parked cursor back.
func (s *packedStore) close() error {
	s.park(nil)
	return nil
}
