package sanitize_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/sanitize"
)

// fourColumns is a table with a generated column in the middle and the rules that keep, redact and tokenize the rest.
func fourColumns(tb testing.TB) *sanitize.TableMasker {
	tb.Helper()
	table := sanitize.Table{Schema: "public", Name: "t", Columns: []sanitize.Column{
		{Name: "a", Type: "text"},
		{Name: "g", Type: "text", Generated: true},
		{Name: "b", Type: "text"},
		{Name: "c", Type: "text"},
		{Name: "d", Type: "text"},
	}}
	return planFor(tb, "version: 1\ntables: {public.t: {columns: {a: keep, b: redact, c: keep, d: {mask: token, length: 8}}}}", table).Table("public", "t")
}

// keepTable keeps n columns.
func keepTable(tb testing.TB, n int) *sanitize.TableMasker {
	tb.Helper()
	table := sanitize.Table{Schema: "public", Name: "t"}
	for i := range n {
		table.Columns = append(table.Columns, sanitize.Column{Name: fmt.Sprintf("c%d", i), Type: "integer"})
	}
	return planFor(tb, "version: 1\ntypes: {integer: keep}", table).Table("public", "t")
}

func TestWriterMasksRows(t *testing.T) {
	t.Parallel()
	m := fourColumns(t)
	secret := strings.Split(maskText(t, m, "\t\t\tsecret\n"), "\t")[3]
	for _, c := range []struct{ name, input, want string }{
		{"plain", "1\tab cd\tx\tsecret\n", "1\txx xx\tx\t" + secret},
		{"null and empty", "\\N\t\\N\t\t\\N\n", "\\N\t\\N\t\t\\N\n"},
		{"escapes that COPY writes", `a\tb` + "\t" + `\b\f\n\r\t\v\\` + "\tx\tsecret\n", `a\tb` + "\t" + `x\f\n\r\t\vx` + "\tx\t" + secret},
		{"escapes that COPY only reads", "1\t" + `\101\x42\x4G\xz\q\8` + "\tx\tsecret\n", "1\txxxxxxxx\tx\t" + secret},
		{"the same value, escaped", "1\t\tx\t" + `s\x65cr\145t` + "\n", "1\t\tx\t" + secret},
		{"backslash before a tab and a line feed", "1\ta\\\tb\\\nc\tx\tsecret\n", `1` + "\t" + `x\tx\nx` + "\tx\t" + secret},
		{"kept with a backslash before a tab", "1\\\tz\tab\tx\\\n\tsecret\n", "1\\\tz\txx\tx\\\n\t" + secret},
		{"an escaped backslash before a tab", "1\\\\\tab\tx\tsecret\n", "1\\\\\txx\tx\t" + secret},
		{"a value that reads like NULL", "1\t\\\\N\tx\tsecret\n", "1\txx\tx\t" + secret},
		{"end of data", "1\tab\tx\tsecret\n\\.\n\n\n", "1\txx\tx\t" + secret},
		{"end of data without a line feed", "1\tab\tx\tsecret\n\\.", "1\txx\tx\t" + secret},
		{"nothing", "", ""},
	} {
		if got := maskText(t, m, c.input); got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.name, c.input, got, c.want)
		}
	}
}

func TestWriterCounts(t *testing.T) {
	t.Parallel()
	w := fourColumns(t).Writer(io.Discard)
	input := "1\ta\tb\tc\n2\ta\tb\tc\n\\.\n\n"
	for i := range len(input) {
		if n, err := w.Write([]byte{input[i]}); n != 1 || err != nil {
			t.Fatalf("byte %d: %d, %v", i, n, err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if w.Rows() != 2 || w.Bytes() != int64(len(input)) {
		t.Errorf("%d rows, %d bytes; want 2 and %d", w.Rows(), w.Bytes(), len(input))
	}
	if err := w.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("a write after Close was accepted")
	}
}

func TestWriterRefusesBrokenRows(t *testing.T) {
	t.Parallel()
	m := fourColumns(t)
	for _, c := range []struct {
		name   string
		masker *sanitize.TableMasker
		input  string
		want   string
	}{
		{"too few fields", m, "1\tplanted\tx\ty\n1\tplanted\n", "table public.t: row 2 has 2 fields; the table has 4 columns"},
		{"too many fields", m, "1\tplanted\tx\ty\tz\n", "table public.t: row 1 has 5 fields; the table has 4 columns"},
		{"an empty line", m, "\n", "table public.t: row 1 has 1 fields; the table has 4 columns"},
		{"an incomplete row", m, "1\tplanted\tx\ty", "table public.t: row 1 is incomplete: the data ends inside it"},
		{"a line feed that is escaped at the end", m, "1\tplanted\tx\ty\\\n", "table public.t: row 1 is incomplete: the data ends inside it"},
		{"rows after the end", m, "\\.\n1\tplanted\tx\ty\n", `table public.t: row 1 comes after the end-of-data line \.`},
		{"half a row after the end", m, "\\.\nplanted", "table public.t: row 1 is incomplete: the data ends inside it"},
		{"kept: too few fields", keepTable(t, 3), "1\t2\n", "table public.t: row 1 has 2 fields; the table has 3 columns"},
		{"no columns", keepTable(t, 0), "\nplanted\n", "table public.t: row 2 has 1 fields; the table has no columns"},
	} {
		w := c.masker.Writer(io.Discard)
		_, err := w.Write([]byte(c.input))
		closed := w.Close()
		if err == nil {
			err = closed
		} else if !errors.Is(closed, err) {
			t.Errorf("%s: Close returned %v after Write returned %v", c.name, closed, err)
		}
		if err == nil || err.Error() != c.want || mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
			t.Errorf("%s: %v (%s), want %s", c.name, err, mayfly.ErrorCode(err), c.want)
		}
		if err != nil && strings.Contains(err.Error()+mayfly.ErrorHint(err), "planted") {
			t.Errorf("%s: the error shows a value: %v", c.name, err)
		}
	}
}

func TestWriterPassesOnTheDestinationsError(t *testing.T) {
	t.Parallel()
	broken := errors.New("disk gone")
	w := keepTable(t, 1).Writer(writerFunc(func([]byte) (int, error) { return 0, broken }))
	_, err := w.Write([]byte("1\n"))
	if err == nil {
		err = w.Close()
	}
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestWriterDoesNotTouchItsInput(t *testing.T) {
	t.Parallel()
	input := []byte("1\tab\\ncd\tx\tsecret\n1\t\\.")
	before := bytes.Clone(input)
	w := fourColumns(t).Writer(io.Discard)
	if _, err := w.Write(input); err != nil || !bytes.Equal(input, before) {
		t.Errorf("err %v, input is now %q", err, input)
	}
	for i := range input {
		input[i] = '\n' // what was kept must be a copy
	}
	if _, err := w.Write([]byte("\t\t\n")); err != nil {
		t.Errorf("the start of a row was not kept: %v", err)
	}
}

func TestTablesWithoutRowsOrColumns(t *testing.T) {
	t.Parallel()
	if got := maskText(t, keepTable(t, 0), "\n\n"); got != "\n\n" {
		t.Errorf("a table without columns: %q", got)
	}
	plan := planFor(t, "version: 1\ntables: {public.audit: {rows: none}}", sanitize.Table{Schema: "public", Name: "audit", Columns: []sanitize.Column{{Name: "x", Type: "text"}}})
	m := plan.Table("public", "audit")
	if m.Rows() || m.Passthrough() || m.Columns() != nil {
		t.Errorf("rows: none gave Rows %t, Passthrough %t, Columns %v", m.Rows(), m.Passthrough(), m.Columns())
	}
	if plan.Table("public", "other") != nil {
		t.Error("an unknown table has a masker")
	}
}

// checkChunks compares one write with writes cut at random places.
func checkChunks(t *testing.T, m *sanitize.TableMasker, input []byte, seed uint64) {
	t.Helper()
	run := func(write func(w io.Writer) error) (string, string) {
		var out bytes.Buffer
		w := m.Writer(&out)
		err := write(w)
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			return "", err.Error()
		}
		return out.String(), ""
	}
	whole, wholeErr := run(func(w io.Writer) error { _, err := w.Write(input); return err })
	random := rand.New(rand.NewPCG(seed, 1))
	cut, cutErr := run(func(w io.Writer) error {
		for rest := input; len(rest) > 0; {
			n := 1 + random.IntN(min(len(rest), 20))
			if _, err := w.Write(rest[:n]); err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
	if whole != cut || wholeErr != cutErr {
		t.Fatalf("%q in one piece: %q (%s), in pieces: %q (%s)", input, whole, wholeErr, cut, cutErr)
	}
}

func TestChunkBoundariesDoNotMatter(t *testing.T) {
	t.Parallel()
	alphabet := []string{"a", "bc", "\\", "\\\\", "\t", "\n", "\\N", "\\n", "\\.", "\n\\.\n", "\\x4", "ü", "\xff", "\r", "1\tab\tx\ty\n"}
	random := rand.New(rand.NewPCG(1, 2))
	m := fourColumns(t)
	for i := range 3000 {
		var input []byte
		for range random.IntN(40) {
			input = append(input, alphabet[random.IntN(len(alphabet))]...)
		}
		checkChunks(t, m, input, uint64(i))
	}
	good := bytes.Repeat([]byte("1\tab\\\n\\tc\tx\\\\\tsecret\n"), 10000)
	checkChunks(t, m, good, 7)
	var out bytes.Buffer
	w := m.Writer(&out)
	if _, err := io.Copy(w, iotest.OneByteReader(bytes.NewReader(good[:21*50]))); err != nil {
		t.Fatal(err)
	}
}

func FuzzWriter(f *testing.F) {
	for _, s := range []string{"1\tab\tx\tsecret\n", "a\\\tb\t\\N\t\\x\t\\12\n", "\\.\n\n", "\\\n\t\t\t\n", "1\t2\t3\t4\n\\.", "\xff\t\\xff\t\t\\\\\n"} {
		f.Add([]byte(s), uint64(1))
	}
	f.Fuzz(func(t *testing.T, input []byte, seed uint64) {
		checkChunks(t, fourColumns(t), input, seed)
		// What is kept stays byte for byte, for as many columns as the first row has.
		first, _, _ := bytes.Cut(input, []byte{'\n'})
		m := keepTable(t, bytes.Count(first, []byte{'\t'})+1)
		var out bytes.Buffer
		w := m.Writer(&out)
		if _, err := w.Write(input); err != nil {
			return
		}
		if err := w.Close(); err != nil {
			return
		}
		rest, ok := bytes.CutPrefix(input, out.Bytes())
		if rest = bytes.TrimRight(rest, "\n"); !ok || len(rest) > 0 && string(rest) != `\.` {
			t.Fatalf("%q became %q", input, out.Bytes())
		}
	})
}
