package archive

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	mayfly "github.com/mayflydb/mayfly"
)

// maxString bounds one string of the table of contents: a flipped bit in a length must not become an allocation of
// gigabytes. The longest real ones are function bodies.
const maxString = 64 << 20

// scanner reads the primitives of the format (ReadInt, ReadStr, ReadOffset in pg_backup_archiver.c) and keeps its
// position. The first error stays: callers check err once at the end of a group of reads.
type scanner struct {
	r       *bufio.Reader
	pos     int64
	size    int64 // bytes of the whole archive
	intSize int
	offSize int
	err     error
}

func newScanner(r io.ReaderAt, from, size int64, intSize, offSize int) *scanner {
	section := io.NewSectionReader(r, from, size-from)
	return &scanner{r: bufio.NewReaderSize(section, 64<<10), pos: from, size: size, intSize: intSize, offSize: offSize}
}

func (s *scanner) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

func (s *scanner) byte() byte {
	if s.err != nil {
		return 0
	}
	b, err := s.r.ReadByte()
	if err != nil {
		s.fail(truncated(err, s.pos))
		return 0
	}
	s.pos++
	return b
}

// int reads a sign byte and intSize bytes, least significant first.
func (s *scanner) int() int {
	sign := s.byte()
	if sign > 1 {
		s.fail(broken("an integer at byte %d has the sign byte %#x", s.pos-1, sign))
	}
	var n uint64
	for i := range s.intSize {
		n |= uint64(s.byte()) << (8 * i)
	}
	if n > 1<<31 {
		s.fail(broken("an integer before byte %d is out of range", s.pos))
		return 0
	}
	if sign == 1 {
		return -int(n)
	}
	return int(n)
}

// string reads a length and that many bytes. A negative length means "no string", which is not the empty one.
func (s *scanner) string() (text string, present bool) {
	n := s.int()
	if s.err != nil || n < 0 {
		return "", false
	}
	if n > maxString || int64(n) > s.size-s.pos {
		s.fail(truncated(fmt.Errorf("a string of %d bytes at byte %d", n, s.pos), s.pos))
		return "", false
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.r, b); err != nil {
		s.fail(truncated(err, s.pos))
		return "", false
	}
	s.pos += int64(n)
	return string(b), true
}

func (s *scanner) text() string {
	text, _ := s.string()
	return text
}

// offset reads the state of a data position (set, not set, no data) and the position.
func (s *scanner) offset() (state byte, offset int64) {
	state = s.byte()
	var n uint64
	for i := range s.offSize {
		n |= uint64(s.byte()) << (8 * i)
	}
	if n > 1<<62 {
		s.fail(broken("a data position before byte %d is out of range", s.pos))
		return state, 0
	}
	return state, int64(n)
}

// skip moves forward over n bytes.
func (s *scanner) skip(n int) {
	if s.err != nil {
		return
	}
	m, err := s.r.Discard(n)
	s.pos += int64(m)
	if err != nil {
		s.fail(truncated(err, s.pos))
	}
}

const sourceHint = "make the dump again with `pg_dump -Fc`, check its exit code, and compare checksums after copying it"

// broken is the error for bytes that no pg_dump writes.
func broken(format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive is damaged: "+format, args...).WithHint(sourceHint)
}

// truncated is the error for an archive that ends too early. Errors of the disk itself keep their text.
func truncated(err error, pos int64) error {
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return broken("%w", err)
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive is truncated: it ends at byte %d, in the middle of something", pos).
		WithHint(sourceHint)
}
