package docker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// tailBytes is how much of a command's standard error RunResult keeps.
const tailBytes = 64 << 10

// demultiplex splits the engine's stream of frames into its two parts: 8 bytes of header, of which the first is the
// stream and the last four the length, big-endian (Docker Engine API, "Attach to a container"). io.EOF is not an error.
func demultiplex(in io.Reader, stdout, stderr io.Writer) error {
	reader := bufio.NewReaderSize(in, 256<<10)
	var header [8]byte
	for {
		if _, err := io.ReadFull(reader, header[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("read a frame's header: %w", err)
		}
		out := stdout
		switch header[0] {
		case 0, 1:
		case 2:
			out = stderr
		default:
			return fmt.Errorf("read a frame: the engine reports stream %d", header[0])
		}
		if err := copyFrame(out, reader, int(binary.BigEndian.Uint32(header[4:]))); err != nil {
			return err
		}
	}
}

// copyFrame hands the reader's own buffer to the writer, so that nothing is copied twice.
func copyFrame(out io.Writer, reader *bufio.Reader, length int) error {
	for length > 0 {
		chunk, err := reader.Peek(min(length, max(1, reader.Buffered())))
		if err != nil {
			return fmt.Errorf("read a frame: %w", err)
		}
		if _, err := out.Write(chunk); err != nil {
			return &writeError{err}
		}
		_, _ = reader.Discard(len(chunk)) // buffered, cannot fail
		length -= len(chunk)
	}
	return nil
}

// writeError tells an error of the caller's writer from one of the engine's stream.
type writeError struct{ err error }

func (e *writeError) Error() string { return "write the output: " + e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

// tail keeps the last tailBytes written to it and passes everything on.
type tail struct {
	next io.Writer // nil for none

	mu   sync.Mutex
	kept []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*tailBytes {
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-tailBytes:]...)
	}
	t.mu.Unlock()
	if t.next == nil {
		return len(p), nil
	}
	return t.next.Write(p)
}

func (t *tail) last() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append([]byte(nil), t.kept[max(0, len(t.kept)-tailBytes):]...)
}
