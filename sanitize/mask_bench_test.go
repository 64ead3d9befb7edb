package sanitize

import (
	"fmt"
	"strings"
	"testing"
)

// benchMasks are transformers with a typical value each.
func benchMasks() []struct{ spec, typ, value string } {
	return []struct{ spec, typ, value string }{
		{"redact", "text", "Asked about order 1234, called back on Tuesday."},
		{"token", "text", "sk_live_0123456789abcdef"},
		{"email", "text", "jane.planted1234@corp.example"},
		{"username", "text", "jane1234"},
		{"person_name", "text", "Jane Planted"},
		{"company", "text", "Planted & Sons"},
		{"phone", "text", "+44 20 7946 0018"},
		{"street_address", "text", "221b Baker Street"},
		{"city", "text", "London"},
		{"postcode", "text", "NW1 6XE"},
		{"url", "text", "https://corp.example/u/jane"},
		{"inet", "inet", "192.0.2.17"},
		{"inet", "inet", "2001:db8::17:1"},
		{"number", "integer", "48213"},
		{"date_shift", "date", "1984-02-29"},
		{"date_shift", "timestamp with time zone", "2024-03-05 10:11:12.123456+00"},
		{"fpe", "text", "AB-1234567"},
		{"card", "text", "4111 1111 1111 1111"},
		{"iban", "text", "DE89370400440532013000"},
		{"national_id scheme=us_ssn", "text", "078-05-1120"},
		{"national_id scheme=de_steuerid", "text", "86095742719"},
	}
}

func benchTarget(typ string) *target {
	return newTarget(&Table{Schema: "public", Name: "t"}, &Column{Name: "c", Type: typ})
}

// benchMask binds "name key=value …".
func benchMask(tb testing.TB, text, typ string) maskFunc {
	tb.Helper()
	words := strings.Fields(text)
	k := findKind(words[0])
	a := &arguments{params: k.params, values: map[string]string{}}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		a.values[name] = value
	}
	b, err := k.bind(a, benchTarget(typ), make([]byte, MinKeyLength))
	if err != nil {
		tb.Fatalf("%s: %v", text, err)
	}
	return b.make()
}

func BenchmarkTransformers(b *testing.B) {
	for i, c := range benchMasks() {
		b.Run(fmt.Sprintf("%02d/%s/%s", i, strings.ReplaceAll(c.spec, " ", ","), strings.ReplaceAll(c.typ, " ", "_")), func(b *testing.B) {
			mask, value := benchMask(b, c.spec, c.typ), []byte(c.value)
			var dst []byte
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			for b.Loop() {
				dst = mask(dst[:0], value)
			}
		})
	}
}

// TestCommonTransformersDoNotAllocate holds every transformer of the benchmark to it, once its memory has grown.
func TestCommonTransformersDoNotAllocate(t *testing.T) {
	for _, c := range benchMasks() {
		mask, value := benchMask(t, c.spec, c.typ), []byte(c.value)
		var dst []byte
		if n := testing.AllocsPerRun(100, func() { dst = mask(dst[:0], value) }); n > 0 {
			t.Errorf("%s on %s: %.0f allocations per value", c.spec, c.typ, n)
		}
	}
}
