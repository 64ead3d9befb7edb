package templates

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
	"github.com/mayflydb/mayfly/templates/archive"
)

// archiveSource reads a dump of pg_dump.
type archiveSource struct {
	path string
	toc  *archive.Archive
}

// openArchive opens a dump that can be read without a server. archive.NeedsRestore recognises the error for those that
// cannot.
func openArchive(ctx context.Context, path string) (source, error) {
	toc, err := archive.Open(ctx, path)
	if err != nil {
		return nil, err
	}
	return &archiveSource{path: path, toc: toc}, nil
}

func (s *archiveSource) close() { _ = s.toc.Close() }

// ordered reports whether the rows have to come one table after the other, in the order of loads.
func (s *archiveSource) ordered() bool { return s.toc.Sequential() }

func (s *archiveSource) describe() SourceReport {
	h := s.toc.Header
	report := SourceReport{
		Kind: "archive", Archive: s.path, Database: h.Database, ServerVersion: h.ServerVersion, Encoding: s.encoding(),
		DumpVersion: h.DumpVersion, Format: string(s.toc.Format),
	}
	if !h.CreatedAt.IsZero() {
		report.CreatedAt = &h.CreatedAt
	}
	if h.Version != "" {
		report.Format += " " + h.Version + ", " + h.Compression
	}
	if s.toc.Compression != archive.CompressionNone {
		report.Format += ", in " + string(s.toc.Compression)
	}
	return report
}

func (s *archiveSource) major() int { return s.toc.Header.ServerMajor() }

var encodingStatement = regexp.MustCompile(`^SET client_encoding = '([A-Za-z0-9_-]+)'`)

// encoding reads the ENCODING entry, which every archive has.
func (s *archiveSource) encoding() string {
	for i := range s.toc.Entries {
		if e := &s.toc.Entries[i]; e.Kind == "ENCODING" {
			if m := encodingStatement.FindStringSubmatch(e.Definition); m != nil {
				return m[1]
			}
		}
	}
	return "UTF8"
}

func (s *archiveSource) catalog() *catalog { return nil }

func (s *archiveSource) schema(context.Context, schemaRunner) (*archive.Archive, error) {
	return s.toc, nil
}

// loads pairs the data in the archive with the restored tables, and puts each table's columns in the archive's order.
func (s *archiveSource) loads(tables *catalog, toc *archive.Archive) (loads []load, findings []Finding, err error) {
	byName := make(map[relation]*table, len(tables.tables))
	for i := range tables.tables {
		byName[tables.tables[i].relation] = &tables.tables[i]
	}
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if e.Kind != "TABLE DATA" || !e.HasData {
			continue
		}
		target, err := archive.ParseCopy(e.Copy)
		if err != nil {
			return nil, nil, err
		}
		name := relation{target.Schema, target.Table}
		found := byName[name]
		switch {
		case found == nil && tables.partitioned[name]:
			return nil, nil, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive has rows of the partitioned table %s itself, not of its partitions", name).
				WithHint("dump again without --load-via-partition-root")
		case found == nil: // an extension's own table, or one that is left out
			findings = append(findings, rowsWithoutTable(name))
			continue
		}
		if found.masking.Columns, err = orderColumns(found, target.Columns); err != nil {
			return nil, nil, err
		}
		loads = append(loads, load{table: found, entry: e, weight: toc.DataBytes(e)})
	}
	if s.ordered() {
		slices.SortStableFunc(loads, func(a, b load) int { return cmp.Compare(toc.Position(a.entry), toc.Position(b.entry)) })
	}
	return loads, findings, nil
}

// orderColumns returns the table's columns in the order of a COPY statement, those that it does not load at the end.
func orderColumns(t *table, order []string) ([]sanitize.Column, error) {
	byName := map[string]sanitize.Column{}
	for _, c := range t.masking.Columns {
		byName[c.Name] = c
	}
	var columns []sanitize.Column
	for _, name := range order {
		c, found := byName[name]
		if !found || c.Generated {
			return nil, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive has data for the column %q of %s, which the table has not", name, t)
		}
		columns = append(columns, c)
		delete(byName, name)
	}
	for _, c := range t.masking.Columns {
		if _, left := byName[c.Name]; !left {
			continue
		}
		if !c.Generated {
			return nil, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive has no data for the column %q of %s", c.Name, t)
		}
		columns = append(columns, c)
	}
	return columns, nil
}

func (s *archiveSource) reader(context.Context) (rowReader, error) {
	return &archiveReader{toc: s.toc}, nil
}

var setvalStatement = regexp.MustCompile(`^SELECT pg_catalog\.setval\('((?:[^']|'')+)', (-?[0-9]+), (true|false)\);\s*$`)

// sequences reads the archive's statements: SELECT pg_catalog.setval('public.orders_id_seq', 9000, true);
func (s *archiveSource) sequences(_ context.Context, toc *archive.Archive) ([]sequenceValue, error) {
	var values []sequenceValue
	for i := range toc.Entries {
		e := &toc.Entries[i]
		if e.Kind != "SEQUENCE SET" {
			continue
		}
		m := setvalStatement.FindStringSubmatch(e.Definition)
		if m == nil {
			return nil, mayfly.Errorf(mayfly.CodeSourceInvalid, "the archive's value of the sequence %s is not written as pg_dump does", entryName(e))
		}
		values = append(values, sequenceValue{name: strings.ReplaceAll(m[1], "''", "'"), value: m[2], called: m[3]})
	}
	return values, nil
}

func (s *archiveSource) populated(toc *archive.Archive) map[relation]bool {
	views := map[relation]bool{}
	for i := range toc.Entries {
		if e := &toc.Entries[i]; e.Kind == "MATERIALIZED VIEW DATA" {
			views[relation{e.Schema, e.Tag}] = true
		}
	}
	return views
}

type archiveReader struct{ toc *archive.Archive }

func (r *archiveReader) close() {}

func (r *archiveReader) read(ctx context.Context, l *load, w io.Writer, advance func(int64)) (int64, error) {
	rows, err := r.toc.Rows(ctx, l.entry, func(n int) { advance(int64(n)) })
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	counter := &lineCounter{w: w}
	buffer := make([]byte, copyBuffer)
	for {
		if err := ctx.Err(); err != nil {
			return counter.lines, fmt.Errorf("read %s: %w", l.table, err)
		}
		n, err := rows.Read(buffer)
		if n > 0 {
			if _, err := counter.Write(buffer[:n]); err != nil {
				return counter.lines, err
			}
		}
		if err == io.EOF {
			return counter.lines, nil
		}
		if err != nil {
			return counter.lines, err
		}
	}
}

// lineCounter counts rows: in COPY text format a newline inside a value is written as \n.
type lineCounter struct {
	w     io.Writer
	lines int64
}

func (c *lineCounter) Write(p []byte) (int, error) {
	c.lines += int64(bytes.Count(p, []byte{'\n'}))
	return c.w.Write(p)
}

func (s *archiveSource) inventory(toc *archive.Archive) *inventory { return inventoryOf(toc) }
func (s *archiveSource) workers(wanted int) int                    { return wanted }
func (s *archiveSource) findings() []Finding                       { return nil }
