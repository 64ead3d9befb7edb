package archive

import (
	"bufio"
	"io"
)

// Uncompress undoes whatever compression a stream begins with, and says which that was.
func Uncompress(r io.Reader) (io.ReadCloser, Compression, error) {
	buffered := bufio.NewReaderSize(r, 64<<10)
	head, _ := buffered.Peek(16) // what cannot be read is said by who reads
	compression := detectCompression(head)
	plain, err := compression.NewReader(buffered)
	if err != nil {
		return nil, compression, damaged(compression, err)
	}
	return plain, compression, nil
}
