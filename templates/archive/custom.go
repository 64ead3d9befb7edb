package archive

import (
	"bufio"
	"context"
	"io"
	"slices"
)

// Block types of the custom format (pg_backup_archiver.h).
const (
	blockData  = 1
	blockBlobs = 3
)

// customData reads the data blocks of the custom format.
type customData struct {
	store            store
	compression      string
	intSize, offSize int
	ends             map[int]int64 // of the data, by the entries' ids
}

// readCustom reads an archive in the custom format.
func readCustom(ctx context.Context, st store) (*Archive, error) {
	r, err := st.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	s := newScanner(r, 0, st.size())
	a, err := readTOC(s, formatCustom)
	if err != nil {
		return nil, err
	}
	if err := locateData(a, s); err != nil {
		return nil, err
	}
	if packed, ok := st.(*packedStore); ok {
		_ = r.Close()
		if err := packed.measure(ctx); err != nil {
			return nil, err
		}
	}
	d := &customData{store: st, compression: a.Header.Compression, intSize: s.intSize, offSize: s.offSize}
	a.data = d
	return a, d.measure(a)
}

// measure finds out how many bytes each entry's data takes: up to the next data block, or to the end.
func (d *customData) measure(a *Archive) error {
	starts := []int64{d.store.size()}
	for i := range a.Entries {
		if e := &a.Entries[i]; e.HasData {
			starts = append(starts, e.offset)
		}
	}
	slices.Sort(starts)
	d.ends = map[int]int64{}
	for i := range a.Entries {
		e := &a.Entries[i]
		if !e.HasData {
			continue
		}
		if e.offset >= d.store.size() {
			return truncated(io.ErrUnexpectedEOF, d.store.size())
		}
		at, _ := slices.BinarySearch(starts, e.offset+1)
		d.ends[e.ID] = starts[at]
	}
	return nil
}

// locateData checks the positions of all data blocks. A dump that was written into a pipe has none: then the blocks are
// found by walking over them, from the end of the table of contents, where s is.
func locateData(a *Archive, s *scanner) error {
	withData, missing, tocEnd := map[int]*Entry{}, 0, s.pos
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
		case e.offset >= s.size:
			return truncated(io.ErrUnexpectedEOF, s.size)
		}
	}
	return walkBlocks(s, withData, missing)
}

// walkBlocks finds the data blocks whose position is missing by reading the lengths of all chunks.
func walkBlocks(s *scanner, withData map[int]*Entry, missing int) error {
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

func (d *customData) bytes(e *Entry) int64 { return d.ends[e.ID] - e.offset }
func (d *customData) sequential() bool     { return d.store.sequential() }

func (d *customData) rows(ctx context.Context, e *Entry, progress func(bytes int)) (io.ReadCloser, error) {
	r, err := d.store.open(ctx, e.offset)
	if err != nil {
		return nil, err
	}
	s := newScanner(r, e.offset, d.store.size())
	s.intSize, s.offSize = d.intSize, d.offSize
	if kind, id := s.byte(), s.int(); s.err != nil {
		_ = r.Close()
		return nil, s.err
	} else if kind != blockData || id != e.ID {
		_ = r.Close()
		return nil, broken("at byte %d the data of %s %s was expected", e.offset, e.Kind, e.Tag)
	}
	compression := d.compression
	if compression == "gzip" {
		compression = "zlib" // its framing here (compress_gzip.c calls deflateInit)
	}
	return newRowReader(e, compression, bufio.NewReaderSize(&chunkReader{s: s, progress: progress}, 64<<10), r)
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
