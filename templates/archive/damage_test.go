package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	mayfly "github.com/mayflydb/mayfly"
)

// makeTOC returns the table of contents of the tar and directory formats, whose one table is in 3001.dat.
func makeTOC(tb testing.TB, format byte) []byte {
	tb.Helper()
	w := &writer{minor: 16, format: format}
	w.header("gzip")
	w.int(2)
	w.entry(10, "TABLE", "t", SectionPreData, "CREATE TABLE public.t (a int, b text);\n", "", nil, 3, 0)
	w.entry(11, "TABLE DATA", "t", SectionData, "", "COPY public.t (a, b) FROM stdin;\n", []string{"10"}, 2, 0)
	return w.Bytes()
}

func tarOf(tb testing.TB, namesAndTexts ...string) []byte {
	tb.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for i := 0; i < len(namesAndTexts); i += 2 {
		name, text := namesAndTexts[i], namesAndTexts[i+1]
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			tb.Fatal(err)
		}
		if _, err := io.WriteString(w, text); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func makeTar(tb testing.TB, format byte) []byte {
	tb.Helper()
	return makeTarOf(tb, format, testRows())
}

func makeTarOf(tb testing.TB, format byte, rows string) []byte {
	tb.Helper()
	rows += copyEnd
	if format == formatTar {
		return tarOf(tb, "toc.dat", string(makeTOC(tb, format)), "3001.dat", rows, "restore.sql", "-- nothing")
	}
	return tarOf(tb, "d/3001.dat.gz", string(packWhole(tb, CompressionGzip, []byte(rows))), "d/toc.dat", string(makeTOC(tb, format)))
}

func packWhole(tb testing.TB, how Compression, data []byte) []byte {
	tb.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	switch how {
	case CompressionGzip:
		w = gzip.NewWriter(&out)
	case CompressionLZ4:
		w = lz4.NewWriter(&out)
	case CompressionZstd:
		encoder, err := zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1))
		if err != nil {
			tb.Fatal(err)
		}
		w = encoder
	case CompressionNone, CompressionBzip2:
		return data
	}
	if _, err := w.Write(data); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

// whole reads everything that there is in an opened archive, as one text.
func whole(ctx context.Context, a *Archive) (string, error) {
	var all strings.Builder
	for i := range a.Entries {
		e := &a.Entries[i]
		fmt.Fprintf(&all, "%d %s %q %q %q %q\n", e.Section, e.Kind, e.Schema, e.Tag, e.Definition, e.Copy)
		if !e.HasData || e.Kind != "TABLE DATA" {
			continue
		}
		rows, err := a.Rows(ctx, e, nil)
		if err != nil {
			return "", err
		}
		_, err = io.Copy(&all, rows)
		if err = errors.Join(err, rows.Close()); err != nil {
			return "", err
		}
	}
	return all.String(), nil
}

func openWhole(tb testing.TB, path string) (string, error) {
	tb.Helper()
	a, err := Open(tb.Context(), path)
	if err != nil {
		return "", err
	}
	text, err := whole(tb.Context(), a)
	if closeErr := a.Close(); closeErr != nil {
		tb.Errorf("close: %v", closeErr)
	}
	return text, err
}

// TestDamage cuts dumps at many places and flips bits in them. Cut dumps end in an error, or their data is all there. So
// do those with flipped bits where the dump has checksums; elsewhere a flipped bit in a value is another value, but never
// fewer rows without an error.
func TestDamage(t *testing.T) {
	t.Parallel()
	dumps := map[string][]byte{
		"custom": makeArchive(t, 16, "gzip", true), "custom from a pipe": makeArchive(t, 16, "none", false), "custom lz4": makeArchive(t, 16, "lz4", true),
		"custom zstd": makeArchive(t, 16, "zstd", false), "tar": makeTar(t, formatTar), "directory in a tar": makeTar(t, formatDirectory),
		"plain": []byte(plainScript),
	}
	for name, data := range dumps {
		for _, how := range []Compression{CompressionNone, CompressionGzip, CompressionZstd, CompressionLZ4} {
			if how == CompressionLZ4 && name != "plain" { // its reader takes megabytes each time
				continue
			}
			t.Run(name+" in "+string(how), func(t *testing.T) {
				t.Parallel()
				damage(t, packWhole(t, how, data), how != CompressionNone)
			})
		}
	}
}

// places is how many bytes of a dump are cut at and flipped.
const places = 30

func damage(t *testing.T, data []byte, checked bool) {
	path := filepath.Join(t.TempDir(), "dump")
	read := func(data []byte) (string, error) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := openWhole(t, path)
		if err != nil && mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
			t.Errorf("the error has the code %q: %v", mayfly.ErrorCode(err), err)
		}
		if err != nil && mayfly.ErrorHint(err) == "" {
			t.Errorf("the error has no hint: %v", err)
		}
		return text, err
	}
	want, err := read(data)
	if err != nil {
		t.Fatalf("undamaged: %v", err)
	}
	for i := range places {
		at := i * len(data) / places
		if got, err := read(data[:at]); err == nil && got != want {
			t.Errorf("cut to %d of %d bytes: %d bytes are read instead of %d", at, len(data), len(got), len(want))
		}
		flipped := bytes.Clone(data)
		flipped[at] ^= 1 << (i % 8)
		got, err := read(flipped)
		if err == nil && checked && got != want {
			t.Errorf("bit %d of byte %d of %d flipped: other data is read", i%8, at, len(data))
		}
		if rows := strings.Count(got, "\n"); err == nil && rows < strings.Count(want, "\n")-1 { // a newline may itself be flipped
			t.Errorf("bit %d of byte %d of %d flipped: %d rows are read", i%8, at, len(data), rows)
		}
	}
}

// TestDirectory reads a directory, and refuses what leads out of it.
func TestDirectory(t *testing.T) {
	t.Parallel()
	rows := []byte(testRows() + copyEnd)
	write := func(t *testing.T, name string, data []byte) string {
		dir := t.TempDir()
		for name, data := range map[string][]byte{"toc.dat": makeTOC(t, formatDirectory), name: data} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	for name, data := range map[string][]byte{
		"3001.dat": rows, "3001.dat.gz": packWhole(t, CompressionGzip, rows), "3001.dat.lz4": packWhole(t, CompressionLZ4, rows), "3001.dat.zst": packWhole(t, CompressionZstd, rows),
	} {
		dir := write(t, name, data)
		if text, err := openWhole(t, dir); err != nil || !strings.HasSuffix(text, testRows()) {
			t.Errorf("%s: read %d bytes, %v", name, len(text), err)
		}
		for cut := 0; cut < len(data); cut += 1 + len(data)/10 {
			if err := os.Truncate(filepath.Join(dir, name), int64(len(data)-1-cut)); err != nil {
				t.Fatal(err)
			}
			if _, err := openWhole(t, dir); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
				t.Errorf("%s cut by %d bytes: %v", name, cut+1, err)
			}
		}
	}
	if _, err := openWhole(t, write(t, "3002.dat", rows)); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid || !strings.Contains(err.Error(), "3001.dat") {
		t.Errorf("with a missing file: %v", err)
	}
	outside := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(outside, rows, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := write(t, "x", nil)
	if err := os.Symlink(outside, filepath.Join(dir, "3001.dat")); err != nil {
		t.Fatal(err)
	}
	if text, err := openWhole(t, dir); err == nil {
		t.Errorf("a link out of the directory was followed: %d bytes", len(text))
	}
	toc := bytes.Replace(makeTOC(t, formatDirectory), []byte("3001.dat"), []byte("../a.dat"), 1)
	if err := os.WriteFile(filepath.Join(dir, "toc.dat"), toc, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openWhole(t, dir); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
		t.Errorf("a table of contents that leads out of the directory: %v", err)
	}
}

// TestCancel ends the reading of a compressed file.
func TestCancel(t *testing.T) {
	t.Parallel()
	a, err := openBytes(t, packWhole(t, CompressionGzip, makeArchive(t, 16, "none", true)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := whole(ctx, a); !errors.Is(err, context.Canceled) {
		t.Errorf("reading with an ended context: %v", err)
	}
}

func fuzzFormat(f *testing.F, format Format) {
	f.Helper()
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := readStore(t.Context(), &plainStore{r: bytes.NewReader(data), bytes: int64(len(data))}, format)
		if err == nil {
			_, err = whole(t.Context(), a)
		}
		if err != nil && mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
			t.Errorf("the error has the code %q: %v", mayfly.ErrorCode(err), err)
		}
	})
}

// FuzzPlain makes sure that no script crashes the reader or makes it run away.
func FuzzPlain(f *testing.F) {
	f.Add([]byte(plainScript))
	for part := range strings.SplitSeq(plainScript, "\n--\n") {
		f.Add([]byte("--\n-- Name: x; Type: TABLE; Schema: public; Owner: x\n--\n\n" + part))
	}
	f.Add([]byte("COPY public.x (a) FROM stdin;\n\\.\n$a$ $a $a$; $$;"))
	fuzzFormat(f, Plain)
}

// FuzzTar does the same for tars.
func FuzzTar(f *testing.F) {
	f.Add(makeTarOf(f, formatTar, fewRows))
	f.Add(makeTarOf(f, formatDirectory, fewRows))
	fuzzFormat(f, Tar)
}
