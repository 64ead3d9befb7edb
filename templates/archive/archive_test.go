package archive

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	mayfly "github.com/mayflydb/mayfly"
)

// writer writes archives as pg_dump does, for the versions and compressions that the image at hand may not have.
type writer struct {
	bytes.Buffer
	minor  int
	format byte // formatCustom if 0
}

func (w *writer) int(n int) {
	sign := byte(0)
	if n < 0 {
		sign, n = 1, -n
	}
	w.Write([]byte{sign, byte(n), byte(n >> 8), byte(n >> 16), byte(n >> 24)})
}

func (w *writer) string(s string) {
	w.int(len(s))
	w.WriteString(s)
}

func (w *writer) offset(state byte, at int) {
	w.WriteByte(state)
	for i := range 8 {
		w.WriteByte(byte(at >> (8 * i)))
	}
}

// testRows returns what the archives of makeArchive hold.
func testRows() string {
	var rows strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&rows, "%d\t%x\\nbreak\n%d\t\\N\n", i, sha256.Sum256([]byte{byte(i), byte(i >> 8)}), i)
	}
	return rows.String()
}

// makeArchive returns an archive with one table and its data.
func makeArchive(tb testing.TB, minor int, compression string, seekable bool) []byte {
	tb.Helper()
	return makeArchiveOf(tb, minor, compression, seekable, testRows())
}

func makeArchiveOf(tb testing.TB, minor int, compression string, seekable bool, rows string) []byte {
	tb.Helper()
	write := func(dataAt int) ([]byte, int) {
		w := &writer{minor: minor}
		w.header(compression)
		w.int(2)
		w.entry(10, "TABLE", "t", SectionPreData, "CREATE TABLE public.t (a int, b text);\n", "", nil, 3, 0)
		state := byte(1)
		if seekable {
			state = 2
		}
		w.entry(11, "TABLE DATA", "t", SectionData, "", "COPY public.t (a, b) FROM stdin;\n", []string{"10"}, state, dataAt)
		at := w.Len()
		w.WriteByte(1)
		w.int(11)
		packed := pack(tb, compression, rows+copyEnd)
		for chunk := range slices.Chunk(packed, 4096) {
			w.int(len(chunk))
			w.Write(chunk)
		}
		w.int(0)
		return w.Bytes(), at
	}
	data, at := write(0)
	if seekable {
		data, _ = write(at)
	}
	return data
}

func (w *writer) header(compression string) {
	w.WriteString("PGDMP")
	w.Write([]byte{1, byte(w.minor), 0, 4, 8, max(w.format, formatCustom)})
	if w.minor >= 15 {
		w.WriteByte(byte(slices.Index([]string{"none", "gzip", "lz4", "zstd"}, compression)))
	} else if compression == "none" {
		w.int(0)
	} else {
		w.int(-1)
	}
	for _, n := range []int{37, 11, 2, 21, 10, 126, 0} {
		w.int(n)
	}
	w.string("shop")
	w.string("16.4 (Debian)")
	w.string("17.2")
}

func (w *writer) entry(id int, kind, tag string, section Section, definition, copyStatement string, deps []string, state byte, at int) {
	hasData := 0
	if state != 3 {
		hasData = 1
	}
	w.int(id)
	w.int(hasData)
	w.string("1259")
	w.string("16400")
	w.string(tag)
	w.string(kind)
	w.int(int(section))
	w.string(definition)
	w.int(-1)
	if copyStatement == "" {
		w.int(-1)
	} else {
		w.string(copyStatement)
	}
	w.string("public")
	w.int(-1)
	if w.minor >= 14 {
		w.string("heap")
	}
	if w.minor >= 16 {
		w.int('r')
	}
	w.string("owner")
	w.string("false")
	for _, d := range deps {
		w.string(d)
	}
	w.int(-1)
	switch {
	case w.format <= formatCustom:
		w.offset(state, at)
	case state == 3:
		w.string("")
	default:
		w.string("3001.dat")
	}
}

func pack(tb testing.TB, compression, text string) []byte {
	tb.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch compression {
	case "none":
		return []byte(text)
	case "gzip":
		w = zlib.NewWriter(&out)
	case "lz4":
		w = lz4.NewWriter(&out)
	case "zstd":
		encoder, err := zstd.NewWriter(&out)
		if err != nil {
			tb.Fatal(err)
		}
		w = encoder
	}
	if _, err := io.WriteString(w, text); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func TestFormats(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		minor       int
		compression string
	}{{12, "gzip"}, {13, "none"}, {14, "gzip"}, {15, "lz4"}, {15, "none"}, {16, "zstd"}, {16, "gzip"}} {
		for _, seekable := range []bool{true, false} {
			data := makeArchive(t, c.minor, c.compression, seekable)
			a, err := Read(context.Background(), bytes.NewReader(data), int64(len(data)))
			if err != nil {
				t.Errorf("open an archive of format 1.%d, %s, seekable %t: %v", c.minor, c.compression, seekable, err)
				continue
			}
			if h := a.Header; h.Compression != c.compression || h.Database != "shop" || h.ServerMajor() != 16 || h.CreatedAt.Format("2006-01-02 15:04:05") != "2026-11-21 02:11:37" {
				t.Errorf("the header of format 1.%d is %+v", c.minor, h)
			}
			table, rows := a.Entries[0], a.Entries[1]
			if table.Kind != "TABLE" || table.Schema != "public" || table.Tag != "t" || table.HasData || table.Section != SectionPreData {
				t.Errorf("the table is %+v", table)
			}
			if !rows.HasData || !slices.Equal(rows.Dependencies, []int{10}) {
				t.Errorf("the data's entry is %+v", rows)
			}
			consumed := 0
			r, err := a.Rows(t.Context(), &rows, func(n int) { consumed += n })
			if err != nil {
				t.Fatalf("open the rows: %v", err)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != testRows() {
				t.Errorf("format 1.%d, %s: read %d bytes (%v), want %d", c.minor, c.compression, len(got), err, len(testRows()))
			}
			if total := a.DataBytes(&rows); int64(consumed) > total || int64(consumed) < total*9/10 {
				t.Errorf("%d bytes were consumed of data that takes %d", consumed, total)
			}
		}
	}
}

// TestTruncation cuts an archive at every length of its table of contents, and at many of its data.
func TestTruncation(t *testing.T) {
	t.Parallel()
	for _, compression := range []string{"none", "gzip", "lz4", "zstd"} {
		for _, seekable := range []bool{true, false} {
			data := makeArchive(t, 16, compression, seekable)
			for n := 0; n < len(data); n += 1 + n/40 {
				if err := readAll(data[:n]); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
					t.Fatalf("%s, seekable %t: cut to %d of %d bytes, reading gives %v", compression, seekable, n, len(data), err)
				}
			}
		}
	}
}

// readAll reads everything that an archive has.
func readAll(data []byte) error {
	a, err := Read(context.Background(), bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return err
	}
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Copy != "" {
			if _, err := ParseCopy(e.Copy); err != nil {
				return err
			}
		}
		r, err := a.Rows(context.Background(), e, nil)
		if err != nil {
			return err
		}
		_, err = io.Copy(io.Discard, r)
		if closeErr := r.Close(); err == nil {
			err = closeErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func TestParseCopy(t *testing.T) {
	t.Parallel()
	for statement, want := range map[string]CopyTarget{
		"COPY public.t (a, b) FROM stdin;\n":                                   {"public", "t", []string{"a", "b"}},
		"COPY public.nothing  FROM stdin;\n":                                   {"public", "nothing", nil},
		`COPY "Odd ""S""".";)(" ("a, b", "x""y", "(", "naïve", c) FROM stdin;`: {`Odd "S"`, ";)(", []string{"a, b", `x"y`, "(", "naïve", "c"}},
	} {
		got, err := ParseCopy(statement)
		if err != nil || got.Schema != want.Schema || got.Table != want.Table || !slices.Equal(got.Columns, want.Columns) {
			t.Errorf("ParseCopy(%q) = %+v, %v; want %+v", statement, got, err, want)
		}
	}
	for _, statement := range []string{
		"", "COPY", "COPY t (a) FROM stdin;", "COPY a.b (c FROM stdin;", `COPY a."b (c) FROM stdin;`, "COPY a.b (c) FROM stdin; DROP TABLE x;",
		"COPY a.b (c) FROM PROGRAM 'x';", `COPY ""."" (a) FROM stdin;`, "COPY a.b () FROM stdin;",
	} {
		if got, err := ParseCopy(statement); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
			t.Errorf("ParseCopy(%q) = %+v, %v; want an error", statement, got, err)
		}
	}
}

// fewRows keep the seeds small: a fuzzer is slow with large ones.
const fewRows = "1\ta\n2\t\\N\n"

// FuzzRead makes sure that no bytes crash the reader or make it run away.
func FuzzRead(f *testing.F) {
	for _, compression := range []string{"none", "gzip", "lz4", "zstd"} {
		f.Add(makeArchiveOf(f, 16, compression, true, fewRows))
		f.Add(makeArchiveOf(f, 14, "gzip", false, fewRows))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := readAll(data); err != nil && mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
			t.Errorf("the error has the code %q: %v", mayfly.ErrorCode(err), err)
		}
	})
}
