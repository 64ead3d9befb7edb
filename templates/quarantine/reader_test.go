package quarantine

import (
	"io"
	"strings"
	"sync"
)

// signalReader calls at when its first bytes were read and more are asked for.
type signalReader struct {
	text *strings.Reader
	at   func()
	once sync.Once
	read bool
}

func (r *signalReader) open() (io.ReadCloser, error) { return r, nil }
func (r *signalReader) Close() error                 { return nil }

func (r *signalReader) Read(p []byte) (int, error) {
	if r.read {
		r.once.Do(r.at)
	}
	r.read = true
	return r.text.Read(p)
}
