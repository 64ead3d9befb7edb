package archive

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
)

// TestEndlessContents: a packed archive says nothing about its size, so a table of contents that has no end must not be read to it.
func TestEndlessContents(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		count uint32
		from  int64
	}{"entries": {count: 1 << 30}, "bytes": {count: 1000, from: maxContents}} {
		contents := make([]byte, 1<<20)
		binary.LittleEndian.PutUint32(contents[1:], c.count) // behind the sign
		r := &toc{archive: &Archive{}, scanner: newScanner(bytes.NewReader(contents), c.from, unknownSize)}
		err := r.readEntries()
		if mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid || !strings.Contains(err.Error(), "table of contents") {
			t.Errorf("too many %s: %v", name, err)
		}
	}
}
