package archive

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strconv"
	"time"
)

// Section is the part of a restore that an entry belongs to (teSection in pg_backup_archiver.h).
type Section int

// The sections. Comments and the like have none of their own and belong to the section they stand in.
const (
	SectionNone Section = iota + 1
	SectionPreData
	SectionData
	SectionPostData
)

// Header is what an archive says of itself.
type Header struct {
	Version       string // of the format: "1.14.0"
	Compression   string // "none", "gzip", "lz4" or "zstd"
	CreatedAt     time.Time
	Database      string
	ServerVersion string // of the server that was dumped: "15.4 (Debian 15.4-1)"
	DumpVersion   string // of pg_dump
}

// ServerMajor returns the major version of the server that was dumped, or 0 if the header does not say.
func (h Header) ServerMajor() int {
	end := 0
	for end < len(h.ServerVersion) && h.ServerVersion[end] >= '0' && h.ServerVersion[end] <= '9' {
		end++
	}
	major, err := strconv.Atoi(h.ServerVersion[:end])
	if err != nil {
		return 0
	}
	return major
}

// Entry is one entry of the table of contents.
type Entry struct {
	ID           int    // what Dependencies refer to
	Kind         string // pg_dump's name of it: "TABLE", "FK CONSTRAINT", "TABLE DATA"
	Tag          string // the object's name, with the argument types if it is a function
	Schema       string // "" for objects outside schemas
	Section      Section
	Definition   string // the statements that create it, without the owner
	Drop         string // the statement that drops it, "" if there is none
	Copy         string // "COPY schema.table (columns) FROM stdin;" for table data dumped that way
	Tablespace   string
	AccessMethod string
	Owner        string
	Dependencies []int
	// HasData says that the archive holds data for the entry: rows of a table, or a large object.
	HasData bool

	offset int64  // of the data; 0 when there is none
	length int64  // of the data, where it is known
	member string // the file that holds the data, in the directory and tar formats
}

// Archive is an opened dump. Its methods may be called concurrently.
type Archive struct {
	Header      Header
	Format      Format
	Compression Compression // of the file as a whole
	Entries     []Entry

	data   rowSource
	closes []func() error
}

// rowSource is where the data of entries is.
type rowSource interface {
	// rows opens what pg_dump wrote for an entry that has data.
	rows(ctx context.Context, e *Entry, progress func(bytes int)) (io.ReadCloser, error)
	// bytes is about how many bytes of the dump the data takes, in the unit of progress.
	bytes(e *Entry) int64
	sequential() bool
}

// Close closes the files of the dump.
func (a *Archive) Close() error {
	var errs []error
	for _, closeOne := range slices.Backward(a.closes) {
		errs = append(errs, closeOne())
	}
	a.closes = nil
	return errors.Join(errs...)
}

// Sequential reports whether the data is best read in the order of Position, one table after the other: a compressed
// file has no way into its middle. Any other order works, too, but reads the file from its start again and again.
func (a *Archive) Sequential() bool { return a.data != nil && a.data.sequential() }

// Position orders entries by where their data is.
func (a *Archive) Position(e *Entry) int64 { return e.offset }

// DataBytes returns about how many bytes the data of an entry takes in the dump.
func (a *Archive) DataBytes(e *Entry) int64 {
	if !e.HasData || a.data == nil {
		return 0
	}
	return a.data.bytes(e)
}

// Rows returns the rows of a TABLE DATA entry in COPY text format, without the end marker. progress, if not nil, is told
// after each read how many bytes of the dump were consumed by it. ctx is for the whole reading. A missing end, a failed
// checksum and everything else that is wrong with the bytes is a *mayfly.Error with CodeSourceInvalid that names the
// table.
func (a *Archive) Rows(ctx context.Context, e *Entry, progress func(bytes int)) (io.ReadCloser, error) {
	if !e.HasData || a.data == nil {
		return io.NopCloser(bytes.NewReader(nil)), nil
	}
	r, err := a.data.rows(ctx, e, progress)
	if err != nil {
		return nil, dataError(e, err)
	}
	return r, nil
}

const magic = "PGDMP"

// The oldest and newest format that is understood, as major<<16 | minor<<8 | revision, and where it changed between.
const (
	oldestVersion      = 1<<16 | 12<<8
	newestVersion      = 1<<16 | 16<<8 | 255
	versionTableAM     = 1<<16 | 14<<8 // PostgreSQL 12
	versionCompression = 1<<16 | 15<<8 // PostgreSQL 16: the algorithm is named
	versionRelkind     = 1<<16 | 16<<8 // PostgreSQL 17
)

// Formats of the archive files (pg_backup.h).
const (
	formatCustom    = 1
	formatTar       = 3
	formatDirectory = 5
)

// Data positions of the custom format (pg_backup_archiver.h, K_OFFSET_*).
const (
	offsetNotSet = 1
	offsetSet    = 2
	offsetNoData = 3
)

// toc is a table of contents on its way.
type toc struct {
	*scanner
	archive *Archive
	version int
	format  byte
}

// readTOC reads the header and the table of contents. Everything that is wrong with it is a *mayfly.Error with
// CodeSourceInvalid.
func readTOC(s *scanner, formats ...byte) (*Archive, error) {
	t := &toc{scanner: s, archive: &Archive{}}
	if err := t.readMagic(formats); err != nil {
		return nil, err
	}
	t.readHeader()
	if err := t.readEntries(); err != nil {
		return nil, err
	}
	return t.archive, nil
}

// readMagic reads up to the format byte.
func (t *toc) readMagic(formats []byte) error {
	head, err := t.r.Peek(len(magic))
	if err != nil {
		return truncated(err, int64(len(head)))
	}
	if string(head) != magic {
		return invalid("the source file is not a pg_dump archive")
	}
	t.skip(len(magic))
	major, minor, revision := int(t.byte()), int(t.byte()), int(t.byte())
	t.intSize, t.offSize = int(t.byte()), int(t.byte())
	t.format = t.byte()
	if t.err != nil {
		return t.err
	}
	t.version = major<<16 | minor<<8 | revision
	if t.version < oldestVersion || t.version > newestVersion {
		return invalid("the archive has the format version %d.%d, which is not supported", major, minor).
			WithHint("formats 1.12 to 1.16 are: pg_dump of PostgreSQL 9.0 to 18")
	}
	if !slices.Contains(formats, t.format) {
		return broken("its table of contents is of format %d", t.format)
	}
	if (t.intSize != 4 && t.intSize != 8) || (t.offSize != 4 && t.offSize != 8) {
		return broken("integers of %d and positions of %d bytes", t.intSize, t.offSize)
	}
	return nil
}

func (t *toc) readHeader() {
	a, s := t.archive, t.scanner
	a.Header.Version = strconv.Itoa(t.version>>16) + "." + strconv.Itoa(t.version>>8&255) + "." + strconv.Itoa(t.version&255)
	if t.version >= versionCompression {
		algorithm := int(s.byte())
		if names := [...]string{"none", "gzip", "lz4", "zstd"}; algorithm < len(names) {
			a.Header.Compression = names[algorithm]
		} else {
			s.fail(broken("unknown compression %d", algorithm))
		}
	} else if a.Header.Compression = "gzip"; s.int() == 0 {
		a.Header.Compression = "none"
	}
	sec, minute, hour, day, month, year, _ := s.int(), s.int(), s.int(), s.int(), s.int(), s.int(), s.int()
	// struct tm: months from 0, years from 1900, and the zone of the dumping machine, which is not in the archive.
	a.Header.CreatedAt = time.Date(year+1900, time.Month(month+1), day, hour, minute, sec, 0, time.UTC)
	a.Header.Database, a.Header.ServerVersion, a.Header.DumpVersion = s.text(), s.text(), s.text()
}

// smallestEntry is less than the bytes that any entry takes: it bounds the count.
const smallestEntry = 40

// maxEntries and maxContents bound a table of contents, which is kept in memory: what a few packed bytes unpack to has no end.
const (
	maxEntries  = 4 << 20
	maxContents = 512 << 20
)

func (t *toc) readEntries() error {
	a, s := t.archive, t.scanner
	count := s.int()
	if s.err == nil && (count < 0 || int64(count) > s.size/smallestEntry) {
		if count > 0 {
			return truncated(io.ErrUnexpectedEOF, s.size)
		}
		return broken("a table of contents with %d entries", count)
	}
	if s.err == nil && count > maxEntries {
		return broken("a table of contents with %d entries", count)
	}
	section := SectionPreData
	for i := 0; i < count && s.err == nil; i++ {
		if s.pos > maxContents {
			return broken("a table of contents of more than %d MiB", maxContents>>20)
		}
		e := t.readEntry()
		if s.err != nil {
			break
		}
		if e.Section < SectionNone || e.Section > SectionPostData {
			return broken("entry %d (%s) is of section %d", e.ID, e.Kind, e.Section)
		}
		// As in ProcessArchiveRestoreOptions: what has no section is in the one it stands in.
		if e.Section == SectionNone {
			e.Section = section
		}
		section = e.Section
		a.Entries = append(a.Entries, e)
	}
	return s.err
}

// readEntry reads one entry as ReadToc and _ReadExtraToc do.
func (t *toc) readEntry() Entry {
	s, version := t.scanner, t.version
	e := Entry{ID: s.int()}
	e.HasData = s.int() != 0
	s.text() // catalog's oid
	s.text() // object's oid
	e.Tag, e.Kind = s.text(), s.text()
	e.Section = Section(s.int())
	e.Definition, e.Drop, e.Copy = s.text(), s.text(), s.text()
	e.Schema, e.Tablespace = s.text(), s.text()
	if version >= versionTableAM {
		e.AccessMethod = s.text()
	}
	if version >= versionRelkind {
		s.int() // relkind
	}
	e.Owner = s.text()
	s.text() // WITH OIDS
	for {
		text, present := s.string()
		if !present || s.err != nil {
			break
		}
		id, err := strconv.Atoi(text)
		if err != nil {
			s.fail(broken("entry %d (%s %s) has the dependency %q", e.ID, e.Kind, e.Tag, text))
		}
		e.Dependencies = append(e.Dependencies, id)
	}
	if t.format != formatCustom { // the name of a file
		e.member = s.text()
		e.HasData = e.member != ""
		return e
	}
	switch state, offset := s.offset(); state {
	case offsetSet:
		e.offset = offset
	case offsetNoData:
		e.HasData = false
	case offsetNotSet:
	default:
		s.fail(broken("entry %d (%s %s) has the data state %d", e.ID, e.Kind, e.Tag, state))
	}
	return e
}
