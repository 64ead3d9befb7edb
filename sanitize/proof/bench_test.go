package proof

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/mayflydb/mayfly/sanitize"
)

func BenchmarkObserver(b *testing.B) {
	r, err := NewRecorder(filepath.Join(b.TempDir(), "prints"), testKey())
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = r.Discard() }()
	o := r.Table("public", "t", []sanitize.ColumnPlan{{Column: "a", Type: "text", Transformer: "email"}})
	values, result := make([][]byte, 1024), []byte("somebody.else@example.com")
	for i := range values {
		values[i] = fmt.Appendf(nil, "first.last%d@company.example", i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v := values[i%len(values)]
		binary.LittleEndian.PutUint32(v, uint32(i)&0x7f7f7f7f)
		o.Original(0, v)
		o.Result(0, result)
	}
}

// BenchmarkRow looks at rows of ten fields, as tables have them.
func BenchmarkRow(b *testing.B) {
	r, err := NewRecorder(filepath.Join(b.TempDir(), "prints"), testKey())
	if err != nil {
		b.Fatal(err)
	}
	o := r.Table("public", "t", []sanitize.ColumnPlan{{Column: "a", Type: "text", Transformer: "email"}})
	for i := range 200_000 {
		o.Original(0, fmt.Appendf(nil, "first.last%d@company.example", i))
	}
	o.Close()
	originals, err := r.Finish()
	if err != nil {
		b.Fatal(err)
	}
	m := newMatcher(originals)
	reader := &rowReader{prober: m.prober(), started: true}
	row := binary.BigEndian.AppendUint16(nil, 10)
	field := func(read reading, value []byte) {
		row = append(binary.BigEndian.AppendUint32(row, uint32(len(value))), value...)
		reader.columns = append(reader.columns, scannedColumn{read: read})
	}
	field(readInt8, make([]byte, 8))
	field(readText, []byte("somebody.else@example.com"))
	field(readText, []byte("Some Body"))
	field(readText, []byte("+49 170 1234567"))
	field(readText, []byte("a note of several words about what was ordered and when it came"))
	field(readShort, make([]byte, 8))
	field(readShort, make([]byte, 8))
	field(readInt4, make([]byte, 4))
	field(readConverted, []byte("1234.50"))
	field(readText, []byte("shipped"))
	b.SetBytes(int64(len(row)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := reader.Write(row); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkText looks at a long text, as articles and documents have it, in which nothing is.
func BenchmarkText(b *testing.B) {
	r, err := NewRecorder(filepath.Join(b.TempDir(), "prints"), testKey())
	if err != nil {
		b.Fatal(err)
	}
	o := r.Table("public", "t", []sanitize.ColumnPlan{{Column: "a", Type: "text", Transformer: "email"}})
	for i := range 200_000 {
		o.Original(0, fmt.Appendf(nil, "%016x", uint64(i)*0x7f4a7c159e3779b9))
	}
	o.Close()
	originals, err := r.Finish()
	if err != nil {
		b.Fatal(err)
	}
	p := newMatcher(originals).prober()
	var text []byte
	for i := range 60 {
		text = fmt.Appendf(text, "windows under the yellow light and nobody returned before market of paper became an island %016x. ", uint64(i)*0x9e3779b97f4a7c15)
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		p.value(text)
	}
}

func BenchmarkSearch(b *testing.B) {
	samples := make([]sampled, 2000)
	for i := range samples {
		samples[i].value = fmt.Appendf(nil, "first.last%d@company.example", i)
	}
	p := newPatterns(samples)
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = "some text with an e-mail@company.example in it, 0123456789 "[i%59]
	}
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		p.search(text, func(int, int) {})
	}
}
