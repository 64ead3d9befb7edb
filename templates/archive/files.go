package archive

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
)

// dataMember matches the names of the files that hold the data of one entry. Others are refused: a table of contents
// could name any file of the machine.
var dataMember = regexp.MustCompile(`^(?:\d+\.dat|blobs(?:_\d+)?\.toc)$`)

// memberSuffixes are what the names of compressed files have at their end, with their compressions.
func memberSuffixes() map[string]string {
	return map[string]string{"": "none", ".gz": "gzip", ".lz4": "lz4", ".zst": "zstd"}
}

// member is a file that holds the data of one entry.
type member struct {
	name        string
	at, bytes   int64
	compression string
}

// filesData reads the files of the directory and tar formats.
type filesData struct {
	members map[int]member // by the entries' ids
	open    func(ctx context.Context, m member) (io.ReadCloser, error)
	inOrder bool
}

func (d *filesData) bytes(e *Entry) int64 { return d.members[e.ID].bytes }
func (d *filesData) sequential() bool     { return d.inOrder }

func (d *filesData) rows(ctx context.Context, e *Entry, progress func(bytes int)) (io.ReadCloser, error) {
	m := d.members[e.ID]
	r, err := d.open(ctx, m)
	if err != nil {
		return nil, err
	}
	var raw io.Reader = &meteredReader{r: r, progress: progress}
	if m.compression != "none" {
		raw = bufio.NewReaderSize(raw, 64<<10)
	}
	return newRowReader(e, m.compression, raw, r)
}

// find pairs the entries with the files that hold their data.
func (d *filesData) find(a *Archive, lookup func(name string) (member, bool, error)) error {
	d.members = map[int]member{}
	for i := range a.Entries {
		e := &a.Entries[i]
		if !e.HasData || e.Kind != "TABLE DATA" { // large objects are not read
			continue
		}
		if !dataMember.MatchString(e.member) {
			return broken("the data of %s %s is said to be in the file %q", e.Kind, e.Tag, e.member)
		}
		found := false
		for suffix, compression := range memberSuffixes() {
			m, present, err := lookup(e.member + suffix)
			if err != nil {
				return err
			}
			if present {
				m.compression, found = compression, true
				d.members[e.ID], e.offset = m, m.at
				break
			}
		}
		if !found {
			return invalid("the archive is not complete: the file %s with the rows of %s.%s is missing", e.member, e.Schema, e.Tag)
		}
	}
	return nil
}

// meteredReader tells how many bytes pass.
type meteredReader struct {
	r        io.Reader
	progress func(bytes int)
}

func (m *meteredReader) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if m.progress != nil && n > 0 {
		m.progress(n)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = truncated(err, 0)
	}
	return n, err
}

// openDirectory reads the table of contents of a directory that pg_dump wrote.
func openDirectory(ctx context.Context, name string) (_ *Archive, err error) {
	root, err := os.OpenRoot(name) // links in it may not lead out of it
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() {
		if err != nil {
			_ = root.Close()
		}
	}()
	file, size, err := openRegular(root, "toc.dat")
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	a, err := readTOC(newScanner(&contextReader{ctx: ctx, r: file}, 0, size), formatTar, formatDirectory)
	if err != nil {
		return nil, err
	}
	d := &filesData{open: func(ctx context.Context, m member) (io.ReadCloser, error) {
		file, _, err := openRegular(root, m.name)
		if err != nil {
			return nil, err
		}
		return readCloser{&contextReader{ctx: ctx, r: file}, file}, nil
	}}
	err = d.find(a, func(name string) (member, bool, error) {
		info, err := root.Stat(name)
		if errors.Is(err, fs.ErrNotExist) {
			return member{}, false, nil
		}
		if err != nil {
			return member{}, false, unavailable(err)
		}
		return member{name: name, bytes: info.Size()}, true, nil
	})
	if err != nil {
		return nil, err
	}
	a.data, a.closes = d, append(a.closes, root.Close)
	return a, nil
}

type readCloser struct {
	io.Reader
	io.Closer
}

func openRegular(root *os.Root, name string) (*os.File, int64, error) {
	// Not to wait for the other end of a pipe, if it is one.
	info, err := root.Stat(name)
	if err != nil {
		return nil, 0, unavailable(err)
	}
	if !info.Mode().IsRegular() {
		return nil, 0, invalid("%s in the source directory is not a regular file", name)
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, 0, unavailable(err)
	}
	return file, info.Size(), nil
}

// readTar reads what `pg_dump -Ft` wrote, or a tar of what `pg_dump -Fd` wrote.
func readTar(ctx context.Context, st store) (*Archive, error) {
	members, err := listTar(ctx, st)
	if err != nil {
		return nil, err
	}
	at, found := members["toc.dat"]
	if !found {
		return nil, invalid("the archive is not complete: the tar has no toc.dat")
	}
	r, err := st.open(ctx, at.at)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	a, err := readTOC(newScanner(io.LimitReader(r, at.bytes), 0, at.bytes), formatTar, formatDirectory)
	if err != nil {
		return nil, err
	}
	d := &filesData{inOrder: st.sequential(), open: func(ctx context.Context, m member) (io.ReadCloser, error) {
		r, err := st.open(ctx, m.at)
		if err != nil {
			return nil, err
		}
		return readCloser{io.LimitReader(r, m.bytes), r}, nil
	}}
	a.data = d
	return a, d.find(a, func(name string) (member, bool, error) {
		m, found := members[name]
		return m, found, nil
	})
}

// listTar finds the members of a tar that pg_dump made, by their names without directories. It reads to the end.
func listTar(ctx context.Context, st store) (map[string]member, error) {
	r, err := st.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	counted := &positionReader{r: r}
	if plain, ok := st.(*plainStore); ok { // seeks over members
		counted.seeker = io.NewSectionReader(plain.r, 0, plain.bytes)
		counted.r = &contextReader{ctx: ctx, r: counted.seeker}
	}
	members := map[string]member{}
	var in io.Reader = counted
	if counted.seeker != nil {
		in = struct {
			io.Reader
			io.Seeker
		}{counted, counted.seeker}
	}
	for reader := tar.NewReader(in); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, tarError(err, counted.position())
		}
		name := path.Base(header.Name)
		if header.Typeflag == tar.TypeGNUSparse || header.PAXRecords["GNU.sparse.major"] != "" {
			return nil, invalid("the tar holds %s as a sparse file, which is not supported", name).WithHint("make the tar without --sparse")
		}
		if header.Typeflag != tar.TypeReg || !dumpMember.MatchString(name) {
			continue
		}
		if _, twice := members[name]; twice {
			return nil, broken("the tar holds %s twice", name)
		}
		members[name] = member{name: name, at: counted.position(), bytes: header.Size}
	}
	if packed, ok := st.(*packedStore); ok {
		_ = r.Close()
		return members, packed.measure(ctx)
	}
	return members, nil
}

func tarError(err error, pos int64) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, tar.ErrHeader) {
		return invalid("the archive is truncated or damaged: there is no end of a tar at byte %d", pos)
	}
	return truncated(err, pos)
}

// positionReader knows its position.
type positionReader struct {
	r      io.Reader
	pos    int64
	seeker *io.SectionReader // nil if it only reads
}

func (p *positionReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.pos += int64(n)
	return n, err
}

func (p *positionReader) position() int64 {
	if p.seeker == nil {
		return p.pos
	}
	pos, _ := p.seeker.Seek(0, io.SeekCurrent) // of a section: never fails
	return pos
}
