package archive

import (
	"bytes"
	"compress/bzip2"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// Compression is how a file as a whole is compressed. What is compressed inside a custom or directory archive is that
// archive's own affair (Header.Compression).
type Compression string

// The compressions.
const (
	CompressionNone  Compression = "none"
	CompressionGzip  Compression = "gzip"
	CompressionZstd  Compression = "zstd"
	CompressionLZ4   Compression = "lz4"
	CompressionBzip2 Compression = "bzip2"
)

// maxWindow bounds what a zstd frame may ask for: what `zstd --ultra -22` and pg_dump's long mode need.
const maxWindow = 128 << 20

// detectCompression tells a compression by the first bytes.
func detectCompression(head []byte) Compression {
	skippable := len(head) >= 4 && head[0]&0xf0 == 0x50 && bytes.Equal(head[1:4], []byte{0x2a, 0x4d, 0x18}) // pzstd begins so
	switch {
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		return CompressionGzip
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}), skippable:
		return CompressionZstd
	case bytes.HasPrefix(head, []byte{0x04, 0x22, 0x4d, 0x18}):
		return CompressionLZ4
	case len(head) >= 10 && bytes.HasPrefix(head, []byte("BZh")) && bytes.Equal(head[4:10], []byte{0x31, 0x41, 0x59, 0x26, 0x53, 0x59}):
		return CompressionBzip2
	}
	return CompressionNone
}

// NewReader undoes a compression. Several streams one after the other are read as one, as the tools do.
func (c Compression) NewReader(r io.Reader) (io.ReadCloser, error) {
	switch c {
	case CompressionGzip:
		return gzip.NewReader(r)
	case CompressionZstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case CompressionLZ4:
		return io.NopCloser(lz4.NewReader(r)), nil
	case CompressionBzip2:
		return io.NopCloser(bzip2.NewReader(r)), nil
	case CompressionNone:
	}
	return io.NopCloser(r), nil
}
