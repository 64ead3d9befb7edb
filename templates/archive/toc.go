package archive

import (
	"bytes"
	"io"
	"strconv"
	"time"

	mayfly "github.com/mayflydb/mayfly"
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

	offset int64 // of the data block; 0 when there is none
}

// Archive is an opened archive. Its methods may be called concurrently.
type Archive struct {
	Header  Header
	Entries []Entry

	r       io.ReaderAt
	size    int64
	intSize int
	offSize int
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

// formatCustom is archCustom in pg_backup.h; 3 is tar, 5 is a directory's toc.dat.
const formatCustom = 1

// Data positions of the custom format (pg_backup_archiver.h, K_OFFSET_*).
const (
	offsetNotSet = 1
	offsetSet    = 2
	offsetNoData = 3
)

// Open reads the header and the table of contents. Everything that is wrong with the archive is a *mayfly.Error with
// CodeSourceInvalid.
func Open(r io.ReaderAt, size int64) (*Archive, error) {
	s := newScanner(r, 0, size, 4, 8)
	version, err := readMagic(r, s)
	if err != nil {
		return nil, err
	}
	a := &Archive{r: r, size: size, intSize: s.intSize, offSize: s.offSize}
	a.readHeader(s, version)
	if s.err != nil {
		return nil, s.err
	}
	if err := a.readEntries(s, version); err != nil {
		return nil, err
	}
	if err := a.locateData(s.pos); err != nil {
		return nil, err
	}
	return a, nil
}

// readMagic reads up to the format byte.
func readMagic(r io.ReaderAt, s *scanner) (version int, err error) {
	head := make([]byte, 512)
	n, err := r.ReadAt(head, 0)
	if err != nil && n < len(head) && n < int(min(s.size, 512)) {
		return 0, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive cannot be read: %w", err)
	}
	if head = head[:n]; !bytes.HasPrefix(head, []byte(magic)) {
		return 0, notAnArchive(head)
	}
	s.skip(len(magic))
	major, minor, revision := int(s.byte()), int(s.byte()), int(s.byte())
	s.intSize, s.offSize = int(s.byte()), int(s.byte())
	format := s.byte()
	if s.err != nil {
		return 0, s.err
	}
	version = major<<16 | minor<<8 | revision
	if version < oldestVersion || version > newestVersion {
		return 0, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive has the format version %d.%d, which is not supported", major, minor).
			WithHint("formats 1.12 to 1.16 are: pg_dump of PostgreSQL 9.0 to 18")
	}
	if format != formatCustom {
		return 0, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive is not in the custom format").
			WithHint("dump with `pg_dump -Fc`")
	}
	if (s.intSize != 4 && s.intSize != 8) || (s.offSize != 4 && s.offSize != 8) {
		return 0, broken("integers of %d and positions of %d bytes", s.intSize, s.offSize)
	}
	return version, nil
}

// notAnArchive says what the file is instead, as far as its first bytes tell.
func notAnArchive(head []byte) error {
	what := "not a pg_dump archive"
	switch {
	case len(head) == 0:
		what = "empty"
	case bytes.HasPrefix(head, []byte{0x1f, 0x8b}):
		what = "a gzip file, not a pg_dump archive"
	case bytes.HasPrefix(head, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		what = "a zstd file, not a pg_dump archive"
	case bytes.Contains(head, []byte("PostgreSQL database dump")):
		what = "a plain SQL dump, not an archive"
	case len(head) > 262 && bytes.Equal(head[257:262], []byte("ustar")):
		what = "a tar file, not a custom-format archive"
	}
	return mayfly.Errorf(mayfly.CodeSourceInvalid, "the source file is %s", what).WithHint("dump with `pg_dump -Fc`")
}

func (a *Archive) readHeader(s *scanner, version int) {
	a.Header.Version = strconv.Itoa(version>>16) + "." + strconv.Itoa(version>>8&255) + "." + strconv.Itoa(version&255)
	if version >= versionCompression {
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

func (a *Archive) readEntries(s *scanner, version int) error {
	count := s.int()
	if s.err == nil && (count < 0 || int64(count) > a.size/smallestEntry) {
		if count > 0 {
			return truncated(io.ErrUnexpectedEOF, a.size)
		}
		return broken("a table of contents with %d entries", count)
	}
	section := SectionPreData
	for i := 0; i < count && s.err == nil; i++ {
		e := readEntry(s, version)
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
func readEntry(s *scanner, version int) Entry {
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
	state, offset := s.offset()
	switch state {
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
