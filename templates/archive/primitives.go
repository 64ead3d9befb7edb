package archive

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

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
	size    int64 // bytes of the whole archive, or unknownSize
	intSize int
	offSize int
	err     error
}

// newScanner reads from r, whose first byte is at the position from.
func newScanner(r io.Reader, from, size int64) *scanner {
	return &scanner{r: bufio.NewReaderSize(r, 64<<10), pos: from, size: size, intSize: 4, offSize: 8}
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
	// Not n bytes at once: where the size of the archive is not known, the length may be a lie.
	var b strings.Builder
	if m, err := io.CopyN(&b, s.r, int64(n)); err != nil {
		s.fail(truncated(err, s.pos+m))
		return "", false
	}
	s.pos += int64(n)
	return b.String(), true
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

const sourceHint = "make the dump again, check pg_dump's exit code, and compare checksums after copying it"

// broken is the error for bytes that no pg_dump writes.
func broken(format string, args ...any) error {
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive is damaged: "+format, args...).WithHint(sourceHint)
}

// truncated is the error for an archive that ends too early. Errors of the disk, and of a decompressor, keep their text.
func truncated(err error, pos int64) error {
	var coded *mayfly.Error
	if errors.As(err, &coded) || isContextError(err) {
		return err
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return broken("%w", err)
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive is truncated: it ends at byte %d, in the middle of something", pos).
		WithHint(sourceHint)
}

func isContextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
