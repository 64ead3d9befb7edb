package runner_test

import (
	"archive/tar"
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/runner"
	"github.com/mayflydb/mayfly/migrations/runner/relay"
)

// TestRepack makes a checkout of what a forge sends, and unpacks it.
func TestRepack(t *testing.T) {
	t.Parallel()
	archive := pack(t, []tar.Header{
		{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "1234567"}},
		{Typeflag: tar.TypeDir, Name: "acme-shop-1/", Mode: 0o777},
		{Typeflag: tar.TypeReg, Name: "acme-shop-1/bin/run", Mode: 0o4755, Size: 3, Uid: 7, Uname: "eve"},
		{Typeflag: tar.TypeReg, Name: "acme-shop-1/a b/ü", Mode: 0o600, Size: 3},
		{Typeflag: tar.TypeSymlink, Name: "acme-shop-1/bin/ok", Linkname: "../a b/ü"},
		{Typeflag: tar.TypeSymlink, Name: "acme-shop-1/bin/up", Linkname: "../../outside"},
		{Typeflag: tar.TypeSymlink, Name: "acme-shop-1/etc", Linkname: "/etc"},
	}, func(string) string { return "abc" })
	var checkout bytes.Buffer
	made, err := runner.Repack(bytes.NewReader(archive), &checkout, runner.CheckoutLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if made.Bytes != 6 || strings.Join(made.LeftOut, " ") != "bin/up etc" {
		t.Errorf("made %+v", made)
	}
	dir := filepath.Join(t.TempDir(), "checkout")
	if err := relay.Unpack(&checkout, dir); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bin/run", "a b/ü", "bin/ok"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "abc" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if info, err := os.Stat(filepath.Join(dir, "bin/run")); err != nil || info.Mode() != 0o755 {
		t.Errorf("bin/run has the mode %v: %v", info.Mode(), err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a b/ü")); err != nil || info.Mode() != 0o644 {
		t.Errorf("the other file has the mode %v: %v", info.Mode(), err)
	}
}

// TestRepackRefuses holds what no repository's archive has.
func TestRepackRefuses(t *testing.T) {
	t.Parallel()
	for name, header := range map[string]tar.Header{
		"absolute": {Typeflag: tar.TypeReg, Name: "/etc/passwd"},
		"upwards":  {Typeflag: tar.TypeReg, Name: "acme-shop-1/../../etc/passwd"},
		"dots":     {Typeflag: tar.TypeReg, Name: "acme-shop-1/./x"},
		"hardlink": {Typeflag: tar.TypeLink, Name: "acme-shop-1/x", Linkname: "/etc/shadow"},
		"device":   {Typeflag: tar.TypeBlock, Name: "acme-shop-1/x", Devmajor: 8},
		"pipe":     {Typeflag: tar.TypeFifo, Name: "acme-shop-1/x"},
	} {
		_, err := runner.Repack(bytes.NewReader(pack(t, []tar.Header{header}, func(string) string { return "" })), &bytes.Buffer{}, runner.CheckoutLimits{})
		if mayfly.ErrorCode(err) != mayfly.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	large := pack(t, []tar.Header{{Typeflag: tar.TypeReg, Name: "a/x", Size: 3000}}, func(string) string { return strings.Repeat("x", 3000) })
	if _, err := runner.Repack(bytes.NewReader(large), &bytes.Buffer{}, runner.CheckoutLimits{Bytes: 2000}); mayfly.ErrorCode(err) != mayfly.CodeTooLarge {
		t.Errorf("too large: %v", err)
	}
	many := pack(t, []tar.Header{{Typeflag: tar.TypeDir, Name: "a/x/"}, {Typeflag: tar.TypeDir, Name: "a/y/"}}, nil)
	if _, err := runner.Repack(bytes.NewReader(many), &bytes.Buffer{}, runner.CheckoutLimits{Entries: 1}); mayfly.ErrorCode(err) != mayfly.CodeTooLarge {
		t.Errorf("too many: %v", err)
	}
	if _, err := runner.Repack(bytes.NewReader(large[:len(large)-20]), &bytes.Buffer{}, runner.CheckoutLimits{}); mayfly.ErrorCode(err) != mayfly.CodeForgeUnavailable {
		t.Errorf("cut off: %v", err)
	}
}

// TestUnpackStaysInside unpacks what Repack would never make, as if it had let it through.
func TestUnpackStaysInside(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	outside := filepath.Join(base, "outside")
	if err := os.Mkdir(outside, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, headers := range map[string][]tar.Header{
		"through a link": {{Typeflag: tar.TypeSymlink, Name: "out", Linkname: outside}, {Typeflag: tar.TypeReg, Name: "out/x", Size: 1}},
		"upwards":        {{Typeflag: tar.TypeReg, Name: "../outside/x", Size: 1}},
		"twice":          {{Typeflag: tar.TypeSymlink, Name: "x", Linkname: "../outside/x"}, {Typeflag: tar.TypeReg, Name: "x", Size: 1}},
		"device":         {{Typeflag: tar.TypeChar, Name: "x", Devmajor: 1, Devminor: 3}},
	} {
		var plain bytes.Buffer
		out := tar.NewWriter(&plain)
		for i := range headers {
			if err := out.WriteHeader(&headers[i]); err != nil {
				t.Fatal(err)
			}
			if headers[i].Size == 1 {
				_, _ = out.Write([]byte("x"))
			}
		}
		_ = out.Close()
		if err := relay.Unpack(&plain, filepath.Join(base, "checkout of "+name)); err == nil {
			t.Errorf("%s: it was unpacked", name)
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("something came out: %v %v", left, err)
	}
}

// FuzzRepack makes sure that nothing escapes, whatever comes.
func FuzzRepack(f *testing.F) {
	f.Add([]byte("a/x"), []byte("../y"), byte(tar.TypeSymlink))
	f.Add([]byte("a/../../x"), []byte(""), byte(tar.TypeReg))
	f.Fuzz(func(t *testing.T, name, target []byte, kind byte) {
		var plain bytes.Buffer
		out := tar.NewWriter(&plain)
		if out.WriteHeader(&tar.Header{Name: string(name), Linkname: string(target), Typeflag: kind}) != nil || out.Close() != nil {
			return
		}
		var checkout bytes.Buffer
		if _, err := runner.Repack(bytes.NewReader(zip(t, plain.Bytes())), &checkout, runner.CheckoutLimits{}); err != nil {
			return
		}
		if header, err := tar.NewReader(&checkout).Next(); err == nil && (filepath.IsAbs(header.Name) || !filepath.IsLocal(header.Name) ||
			header.Typeflag == tar.TypeSymlink && !filepath.IsLocal(filepath.Join(filepath.Dir(header.Name), header.Linkname))) {
			t.Errorf("%+v was let through", header)
		}
	})
}
