package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// readPlain reads the script that pg_dump writes for one database. What is not exactly that is for a server to judge:
// NeedsRestore recognises the error.
func readPlain(ctx context.Context, st store) (*Archive, error) {
	r, err := st.open(ctx, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = r.Close() }()
	p := &plainParser{s: newSplitter(ctx, r), a: &Archive{}}
	if err := p.parse(); err != nil {
		if NeedsRestore(err) {
			err = &described{err, p.a.Header}
		}
		return nil, err
	}
	if packed, ok := st.(*packedStore); ok {
		_ = r.Close()
		if err := packed.measure(ctx); err != nil {
			return nil, err
		}
	}
	if err := p.finish(); err != nil {
		return nil, err
	}
	p.a.data = &plainData{store: st}
	return p.a, nil
}

// plainParser makes a table of contents from a script.
type plainParser struct {
	s       *splitter
	a       *Archive
	section Section
	// began is at the header of the first entry, complete after the last line.
	began, complete bool
	searchPath      bool // it was said that names have their schemas
	encoding        string
	comment         string // the last one
	database        string // that \connect named
}

func (p *plainParser) parse() error {
	for {
		next, err := p.s.next()
		switch {
		case errors.Is(err, errUnfinished):
			return truncated(io.ErrUnexpectedEOF, p.s.pos)
		case err != nil:
			return truncated(err, p.s.pos)
		}
		switch next.kind {
		case partEnd:
			if !p.complete {
				return invalid("the dump is truncated: its last line, \"-- PostgreSQL database dump complete\", is missing")
			}
			return nil
		case partComment:
			err = p.readComment(next.text)
		case partMeta:
			err = p.readMeta(next.text)
		case partStatement:
			err = p.readStatement(next.text)
		}
		if err != nil {
			return err
		}
	}
}

var (
	// entryHeader is what _printTocEntry writes (pg_backup_archiver.c). Names may hold anything but newlines.
	entryHeader  = regexp.MustCompile(`^ (?:Data for |Statistics for )?Name: (.*); Type: ([A-Z][A-Z ]*); Schema: (.*); Owner: (.*)$`)
	restrictMeta = regexp.MustCompile(`^\\(?:un)?restrict [A-Za-z0-9]+$`)
	connectMeta  = regexp.MustCompile(`^\\connect (?:-reuse-previous=on )?(.*)$`)
)

func (p *plainParser) readComment(text string) error {
	line := strings.TrimSpace(text)
	h := &p.a.Header
	switch {
	case line == "PostgreSQL database dump" && (p.began || p.comment != ""), line == "PostgreSQL database cluster dump":
		return restoreFirst("it is more than one dump")
	case line == "PostgreSQL database dump complete":
		p.complete = true
	case strings.HasPrefix(line, "Dumped from database version "):
		h.ServerVersion = strings.TrimPrefix(line, "Dumped from database version ")
	case strings.HasPrefix(line, "Dumped by pg_dump version "):
		h.DumpVersion = strings.TrimPrefix(line, "Dumped by pg_dump version ")
	case strings.HasPrefix(line, "Started on "):
		stamp := strings.TrimPrefix(line, "Started on ")
		if at, err := time.Parse(time.DateTime, stamp[:min(len(stamp), len(time.DateTime))]); err == nil {
			h.CreatedAt = at
		}
	}
	if line != "" {
		p.comment = line
	}
	if m := entryHeader.FindStringSubmatch(text); m != nil {
		return p.begin(m[1], m[2], m[3], m[4])
	}
	return nil
}

// begin starts a new entry.
func (p *plainParser) begin(tag, kind, schema, owner string) error {
	if p.complete {
		return restoreFirst("something follows its end")
	}
	p.began = true
	owner, _, _ = strings.Cut(owner, "; Tablespace: ")
	if schema == "-" {
		schema = ""
	}
	section := sectionOf(kind)
	switch {
	case section == SectionNone: // of the object that it describes
	case section < p.section && (kind == "TABLE" || section == SectionData):
		return restoreFirst("%s %s stands after what pg_dump writes behind it", kind, tag)
	default: // what pg_dump has postponed belongs to the section that it stands in
		p.section = max(p.section, section)
	}
	p.a.Entries = append(p.a.Entries, Entry{
		ID: len(p.a.Entries) + 1, Kind: kind, Tag: tag, Schema: schema, Owner: owner, Section: max(p.section, SectionPreData),
	})
	return nil
}

// sectionOf is where pg_dump puts objects of a kind (pg_dump.c).
func sectionOf(kind string) Section {
	switch kind {
	case "COMMENT", "SECURITY LABEL", "ACL", "DEFAULT ACL", "STATISTICS DATA", "ACL LANGUAGE":
		return SectionNone
	case "TABLE DATA", "SEQUENCE SET", "BLOB", "BLOBS", "BLOB METADATA", "BLOB COMMENTS":
		return SectionData
	case "INDEX", "INDEX ATTACH", "STATISTICS", "CONSTRAINT", "FK CONSTRAINT", "CHECK CONSTRAINT", "TRIGGER", "RULE", "EVENT TRIGGER",
		"POLICY", "ROW SECURITY", "PUBLICATION", "PUBLICATION TABLE", "PUBLICATION TABLES IN SCHEMA", "SUBSCRIPTION",
		"SUBSCRIPTION TABLE", "MATERIALIZED VIEW DATA":
		return SectionPostData
	}
	return SectionPreData
}

// readMeta handles the few psql commands that pg_dump writes.
func (p *plainParser) readMeta(line string) error {
	if restrictMeta.MatchString(line) {
		return nil
	}
	m := connectMeta.FindStringSubmatch(line)
	if m == nil {
		return restoreFirst("it has the psql command %.20q", line)
	}
	if p.database != "" && p.database != m[1] {
		return restoreFirst("it is of more than one database")
	}
	p.database = m[1]
	return nil
}

var (
	setStatement   = regexp.MustCompile(`^SET (?:SESSION )?([A-Za-z_.]+)(?: = | TO | )(.*);$`)
	ownerStatement = regexp.MustCompile(`^ALTER [A-Z ]+ (?s:.+) OWNER TO (?:"(?:[^"]|"")+"|[^\s"']+);$`)
	cleanStatement = regexp.MustCompile(`^(?:DROP |ALTER |CREATE OR REPLACE VIEW |SELECT pg_catalog\.lo_unlink\()`)
	triggersOff    = regexp.MustCompile(`^ALTER TABLE (?:ONLY )?(?s:.+) (?:DIS|EN)ABLE TRIGGER ALL;$`)
	refreshed      = regexp.MustCompile(`^REFRESH MATERIALIZED VIEW `)
)

const emptySearchPath = "SELECT pg_catalog.set_config('search_path', '', false);"

func (p *plainParser) readStatement(text string) error {
	switch {
	case p.complete:
		return restoreFirst("something follows its end")
	case text == emptySearchPath:
		p.searchPath = true
		return nil
	case strings.HasPrefix(text, "SET "):
		return p.readSetting(text)
	case !p.began && cleanStatement.MatchString(text): // of --clean
		return nil
	case !p.began:
		return restoreFirst("it has a statement that belongs to no object")
	}
	e := &p.a.Entries[len(p.a.Entries)-1]
	switch e.Kind {
	case "TABLE DATA":
		return p.readData(e, text)
	case "BLOB", "BLOBS", "BLOB METADATA", "BLOB COMMENTS", "STATISTICS DATA": // is not read, and may be long
		return nil
	case "MATERIALIZED VIEW DATA":
		if refreshed.MatchString(text) {
			e.rename(firstName(tokenize(text)))
		}
	}
	if e.Definition != "" && ownerStatement.MatchString(text) || e.Kind == "SCHEMA" && ownerStatement.MatchString(text) {
		return nil
	}
	if len(e.Definition)+len(text) > maxStatement {
		return broken("the definition of %s %s has more than %d bytes", e.Kind, e.Tag, maxStatement)
	}
	e.Definition += text + "\n"
	return nil
}

// readSetting handles what sets up a session. Sessions with the template are set up by whoever opens them, in the words
// of its own version.
func (p *plainParser) readSetting(text string) error {
	m := setStatement.FindStringSubmatch(text)
	if m == nil {
		return restoreFirst("it has a statement of its own about settings")
	}
	name, value := strings.ToLower(m[1]), strings.Trim(m[2], "'")
	switch {
	case name == "client_encoding":
		if p.encoding != "" && p.encoding != value {
			return restoreFirst("its encoding changes")
		}
		p.encoding = value
	case name == "standard_conforming_strings" && value != "on":
		return restoreFirst("its strings are written in the old way")
	case name == "search_path" && value != "":
		return restoreFirst("it was made by an old pg_dump, which wrote names without their schemas")
	}
	return nil
}

// readData handles the statements of a table's data: one COPY.
func (p *plainParser) readData(e *Entry, text string) (err error) {
	switch {
	case triggersOff.MatchString(text): // of --disable-triggers: a build loads before there are any
		return nil
	case !strings.HasPrefix(text, "COPY "):
		return restoreFirst("it has a statement other than COPY for the rows of %s.%s", e.Schema, e.Tag)
	case e.Copy != "":
		return restoreFirst("it has the rows of %s.%s twice", e.Schema, e.Tag)
	}
	target, err := ParseCopy(text)
	if err != nil {
		return restoreFirst("it has a COPY statement that pg_dump does not write")
	}
	if oneLine(target.Schema) == e.Schema && oneLine(target.Table) == e.Tag {
		e.Schema, e.Tag = target.Schema, target.Table
	}
	e.Copy, e.HasData = text+"\n", true
	e.offset, e.length, err = p.s.rows()
	if errors.Is(err, errUnfinished) {
		return invalid("the dump is truncated: it ends in the middle of the rows of %s.%s", e.Schema, e.Tag)
	}
	return err
}

// oneLine is what pg_dump makes of names in comments (sanitize_line in dumputils.c).
func oneLine(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return ' '
		}
		return r
	}, name)
}

// finish adds what other formats have entries for, and what depends on what.
func (p *plainParser) finish() error {
	h := &p.a.Header
	data := slices.ContainsFunc(p.a.Entries, func(e Entry) bool { return e.Kind == "TABLE DATA" })
	tables := slices.ContainsFunc(p.a.Entries, func(e Entry) bool { return e.Kind == "TABLE" || e.Kind == "EXTENSION" })
	if data && !tables {
		return invalid("the dump has rows but no tables").WithHint("dump again without --data-only")
	}
	for i := range p.a.Entries {
		if e := &p.a.Entries[i]; e.Kind == "DATABASE" {
			h.Database = e.Tag
		}
	}
	link(p.a.Entries)
	add := func(kind, definition string) {
		p.a.Entries = append(p.a.Entries, Entry{ID: len(p.a.Entries) + 1, Kind: kind, Tag: kind, Definition: definition, Section: SectionPreData})
	}
	if p.encoding != "" {
		add("ENCODING", fmt.Sprintf("SET client_encoding = '%s';\n", p.encoding))
	}
	if p.searchPath {
		add("SEARCHPATH", emptySearchPath+"\n")
	}
	return nil
}

// plainData reads the rows between a COPY statement and its end marker.
type plainData struct{ store store }

func (d *plainData) bytes(e *Entry) int64 { return e.length }
func (d *plainData) sequential() bool     { return d.store.sequential() }

func (d *plainData) rows(ctx context.Context, e *Entry, progress func(bytes int)) (io.ReadCloser, error) {
	r, err := d.store.open(ctx, e.offset)
	if err != nil {
		return nil, err
	}
	return &plainRows{entry: e, r: &meteredReader{r: r, progress: progress}, left: e.length, last: '\n', under: r}, nil
}

type plainRows struct {
	entry *Entry
	r     io.Reader
	left  int64
	last  byte
	under io.Closer
	ended bool
}

func (r *plainRows) Read(p []byte) (int, error) {
	if r.ended {
		return 0, io.EOF
	}
	if r.left == 0 {
		return 0, r.end()
	}
	n, err := r.r.Read(p[:min(int64(len(p)), r.left)])
	if r.left -= int64(n); n > 0 {
		r.last = p[n-1]
	}
	if err != nil && (r.left > 0 || !errors.Is(err, io.EOF)) {
		return n, dataError(r.entry, truncated(err, r.entry.offset))
	}
	return n, nil
}

// end makes sure that the file is still the one that was indexed.
func (r *plainRows) end() error {
	marker := make([]byte, 3)
	if _, err := io.ReadFull(r.r, marker); err != nil {
		return dataError(r.entry, truncated(err, r.entry.offset))
	}
	if !bytes.Equal(marker, []byte("\\.\n")) || r.last != '\n' {
		return dataError(r.entry, errors.New("the file changed while it was read"))
	}
	r.ended = true
	return io.EOF
}

func (r *plainRows) Close() error { return r.under.Close() }
