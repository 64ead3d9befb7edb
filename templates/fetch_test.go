package templates

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	mayfly "github.com/mayflydb/mayfly"
)

// bucket serves objects of a bucket "dumps" and returns what comes behind "?" in its URLs.
func bucket(t *testing.T, objects map[string][]byte) string {
	t.Helper()
	backend := s3mem.New()
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	if err := backend.CreateBucket("dumps"); err != nil {
		t.Fatal(err)
	}
	for key, data := range objects {
		if _, err := backend.PutObject("dumps", key, map[string]string{"Last-Modified": "Sat, 03 Jan 2026 04:05:06 GMT"}, bytes.NewReader(data), int64(len(data)), nil); err != nil {
			t.Fatal(err)
		}
	}
	return "?region=eu-central-1&anonymous=true&use_path_style=true&endpoint=" + url.QueryEscape(server.URL)
}

// TestBuildFromStorage builds from the newest dump of a bucket, and refuses one that is not what its checksum says.
func TestBuildFromStorage(t *testing.T) {
	t.Parallel()
	b := newBed(t)
	b.builder.spoolDir = filepath.Join(t.TempDir(), "spool")
	endpoint := sourceDatabase(t, "CREATE TABLE t AS SELECT i FROM generate_series(1, 42) i")
	dump, err := os.ReadFile(b.archiveOf(t, endpoint, true))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(dump)
	good := hex.EncodeToString(sum[:])
	query := bucket(t, map[string][]byte{
		"nightly/shop-2.dump": dump, "nightly/SHA256SUMS": []byte(good + "  shop-2.dump\n"),
		"damaged/shop.dump": dump[:len(dump)-1], "damaged/shop.dump.sha256": []byte(good + "\n"),
	})
	const rules = "version: 1\ntables:\n  public.t: {columns: {i: keep}}\n"
	spoolIsEmpty := func() {
		t.Helper()
		if left, err := os.ReadDir(b.builder.spoolDir); err != nil || len(left) > 0 {
			t.Errorf("the build left %d downloads (%v)", len(left), err)
		}
	}

	req := request(t, mayfly.Source{Archive: "s3://dumps/nightly/*.dump" + query}, rules)
	result := b.build(t, req)
	source := result.Report.Source
	if result.RowCount != 42 || source.File != "shop-2.dump" || source.Checksum != "sha256:"+good || source.FileTime == nil {
		t.Errorf("%d rows, report %+v", result.RowCount, source)
	}
	if source.Archive != "s3://dumps/nightly/*.dump" {
		t.Errorf("the report names the source %q: without its query it is s3://dumps/nightly/*.dump", source.Archive)
	}
	spoolIsEmpty()

	req = request(t, mayfly.Source{Archive: "s3://dumps/damaged/shop.dump" + query}, rules)
	if _, err := b.builder.Build(t.Context(), req); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a damaged download: %v", err)
	}
	b.nothingLeft(t, req.Template.ID)
	spoolIsEmpty()

	// What a process that died left goes with the sweep, unless the build is to be tried again.
	for _, id := range []string{"tbuilding", "tover"} {
		if err := os.MkdirAll(filepath.Join(b.builder.spoolDir, id, "source"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.builder.sweepSpool(func(id string) bool { return id == "tbuilding" }); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(b.builder.spoolDir)
	if err != nil || len(left) != 1 || left[0].Name() != "tbuilding" {
		t.Errorf("the sweep left %v (%v), want the build that goes on", left, err)
	}
}
