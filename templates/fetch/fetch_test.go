package fetch

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	mayfly "github.com/mayflydb/mayfly"
)

// content returns n bytes that are always the same.
func content(n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{7})
	_, _ = source.Read(b)
	return b
}

func sum256(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func options(t *testing.T, client *http.Client) Options {
	t.Helper()
	return Options{
		Dir: filepath.Join(t.TempDir(), "spool"), Client: client, Logger: slog.New(slog.DiscardHandler),
		Backoff: func(int) time.Duration { return 0 },
	}
}

// webServer is an HTTPS server with one file that breaks off after some bytes of each answer.
type webServer struct {
	*httptest.Server
	mu       sync.Mutex
	data     []byte
	tag      string
	breakAt  int // bytes of a body before the connection is cut; 0 for never
	sent     int
	header   http.Header // of the last request
	onAnswer func()
	sums     map[string]string // sidecars by path
}

func newWebServer(t *testing.T, data []byte) *webServer {
	t.Helper()
	s := &webServer{data: data, tag: `"one"`, sums: map[string]string{}}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *webServer) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.header = r.Header
	if list, ok := s.sums[r.URL.Path]; ok {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(list))
		return
	}
	if r.URL.Path != "/dumps/shop.dump" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("ETag", s.tag)
	out := http.ResponseWriter(&cut{ResponseWriter: w, s: s})
	http.ServeContent(out, r, "", time.Unix(1_700_000_000, 0), bytes.NewReader(s.data))
	if s.onAnswer != nil {
		s.onAnswer()
	}
}

// cut ends the connection after breakAt bytes.
type cut struct {
	http.ResponseWriter
	s    *webServer
	here int
}

func (c *cut) Write(p []byte) (int, error) {
	if c.s.breakAt > 0 && c.here+len(p) > c.s.breakAt {
		_, _ = c.ResponseWriter.Write(p[:c.s.breakAt-c.here])
		_ = http.NewResponseController(c.ResponseWriter).Flush()
		c.s.sent += c.s.breakAt - c.here
		panic(http.ErrAbortHandler)
	}
	n, err := c.ResponseWriter.Write(p)
	c.here += n
	c.s.sent += n
	return n, err
}

// takeSent returns how many bytes were sent since the last call.
func (s *webServer) takeSent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.sent = 0 }()
	return s.sent
}

func (s *webServer) location() string { return s.URL + "/dumps/shop.dump?signature=topsecret" }

func mustGet(t *testing.T, ref Reference, opts Options, want []byte) *File {
	t.Helper()
	f, err := Get(t.Context(), ref, opts)
	if err != nil {
		t.Fatalf("get %s: %v (%s)", Redact(ref.Location), err, mayfly.ErrorHint(err))
	}
	got, err := os.ReadFile(f.Path)
	if err != nil {
		t.Fatalf("read what was fetched: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("%d bytes were fetched that are not the %d of the source", len(got), len(want))
	}
	return f
}

func TestInterruptedDownloadGoesOn(t *testing.T) {
	t.Parallel()
	data := content(3 << 20)
	s := newWebServer(t, data)
	s.breakAt = 700_000
	opts := options(t, s.Client())
	var last, total int64
	opts.Progress = func(done, of int64) { last, total = done, of }
	f := mustGet(t, Reference{Location: s.location(), Checksum: "sha256:" + sum256(data)}, opts, data)
	if f.Name != "shop.dump" || f.Verified != "sha256:"+sum256(data) || !f.Downloaded {
		t.Errorf("the file is described as %+v", f)
	}
	if last != int64(len(data)) || total != last {
		t.Errorf("progress ended at %d of %d, want %d", last, total, len(data))
	}
	if over := s.takeSent() - len(data); over > 1<<20 {
		t.Errorf("%d bytes were sent twice: the download did not go on where it was", over)
	}
	info, err := os.Stat(f.Path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the download has mode %v (%v), want 0600", info.Mode(), err)
	}
}

func TestNextProcessGoesOn(t *testing.T) {
	t.Parallel()
	data := content(2 << 20)
	s := newWebServer(t, data)
	opts := options(t, s.Client())
	ctx, cancel := context.WithCancel(t.Context())
	opts.Progress = func(done, _ int64) {
		if done > 1<<20 {
			cancel()
		}
	}
	if _, err := Get(ctx, Reference{Location: s.location()}, opts); !errors.Is(err, context.Canceled) {
		t.Fatalf("a cancelled download ended with %v", err)
	}
	s.takeSent()
	opts.Progress = nil
	mustGet(t, Reference{Location: s.location()}, opts, data)
	if sent := s.takeSent(); sent > len(data)*3/4 {
		t.Errorf("the second try downloaded %d of %d bytes: it began anew", sent, len(data))
	}
	s.takeSent()
	mustGet(t, Reference{Location: s.location()}, opts, data)
	if sent := s.takeSent(); sent > 10 {
		t.Errorf("a complete download was downloaded again: %d bytes", sent)
	}
}

func TestReplacedFileIsNotMixed(t *testing.T) {
	t.Parallel()
	data := content(2 << 20)
	s := newWebServer(t, data)
	s.breakAt = 500_000
	s.onAnswer = nil
	opts := options(t, s.Client())
	opts.Progress = func(done, _ int64) {
		if done > 0 {
			s.mu.Lock()
			s.tag, s.breakAt = `"two"`, 0
			s.mu.Unlock()
		}
	}
	_, err := Get(t.Context(), Reference{Location: s.location()}, opts)
	if !errors.Is(err, errChanged) || mayfly.ErrorCode(err) != mayfly.CodeSourceUnavailable {
		t.Fatalf("a file that changed during the download ended with %v", err)
	}
	opts.Progress = nil
	s.mu.Lock()
	s.data = content(1 << 20)
	s.mu.Unlock()
	mustGet(t, Reference{Location: s.location()}, opts, s.data)
}

func TestServerThatStaysBrokenIsGivenUp(t *testing.T) {
	t.Parallel()
	s := newWebServer(t, content(1<<20))
	s.breakAt = 1
	opts := options(t, s.Client())
	started := 0
	opts.Backoff = func(int) time.Duration {
		s.mu.Lock()
		defer s.mu.Unlock()
		if started++; started == 2 { // from now on not even one byte
			s.Config.Handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
		}
		return 0
	}
	_, err := Get(t.Context(), Reference{Location: s.location()}, opts)
	if mayfly.ErrorCode(err) != mayfly.CodeSourceUnavailable {
		t.Fatalf("got %v, want source_unavailable", err)
	}
	if strings.Contains(err.Error(), "topsecret") {
		t.Errorf("the error has the query: %v", err)
	}
}

func TestChecksums(t *testing.T) {
	t.Parallel()
	data := content(10_000)
	sum512 := sha512.Sum512(data)
	wrong := strings.Repeat("ab", 32)
	for name, c := range map[string]struct {
		path, list, inline, want string
	}{
		"inline, right":         {inline: "sha256:" + sum256(data)},
		"inline, wrong":         {inline: "sha256:" + wrong, want: "checksum of shop.dump is wrong"},
		"inline 512":            {inline: "sha512:" + hex.EncodeToString(sum512[:])},
		"not a checksum":        {inline: "md5:00", want: "source.checksum is not one"},
		"sidecar":               {path: "/dumps/shop.dump.sha256", list: sum256(data) + "  shop.dump\n"},
		"sidecar, digits alone": {path: "/dumps/shop.dump.sha512", list: hex.EncodeToString(sum512[:]) + "\n"},
		"sidecar, wrong":        {path: "/dumps/shop.dump.sha256", list: wrong + " *shop.dump\n", want: "is wrong"},
		"list":                  {path: "/dumps/SHA256SUMS", list: wrong + "  other.dump\n" + sum256(data) + " *./shop.dump\n"},
		"list of shasum":        {path: "/dumps/SHA256SUMS", list: "SHA256 (shop.dump) = " + sum256(data) + "\n"},
		"list without it":       {path: "/dumps/SHA256SUMS", list: wrong + "  other.dump\n", want: "SHA256SUMS has no checksum of shop.dump"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWebServer(t, data)
			local := t.TempDir()
			if err := os.WriteFile(filepath.Join(local, "shop.dump"), data, 0o600); err != nil {
				t.Fatal(err)
			}
			if c.path != "" {
				s.sums[c.path] = c.list
				if err := os.WriteFile(filepath.Join(local, filepath.Base(c.path)), []byte(c.list), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			opts := options(t, s.Client())
			for _, location := range []string{s.location(), filepath.Join(local, "shop.dump"), "file://" + filepath.Join(local, "sh*.dump")} {
				f, err := Get(t.Context(), Reference{Location: location, Checksum: c.inline}, opts)
				switch {
				case c.want == "" && err != nil:
					t.Errorf("%s: %v", Redact(location), err)
				case c.want == "" && f.Verified == "":
					t.Errorf("%s was not verified", Redact(location))
				case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
					t.Errorf("%s: got %v, want an error with %q", Redact(location), err, c.want)
				}
				if _, err := os.Stat(filepath.Join(opts.Dir, fileName)); c.want != "" && err == nil {
					t.Errorf("%s: a file with a wrong checksum was left as if it were good", Redact(location))
				}
			}
		})
	}
}

func TestDirectoryIsVerifiedByItsList(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("toc.dat", "a")
	write("1.dat", "b")
	if f, err := Get(t.Context(), Reference{Location: dir}, options(t, nil)); err != nil || f.Verified != "" {
		t.Fatalf("a directory without a list: %+v, %v", f, err)
	}
	write("SHA256SUMS", sum256([]byte("a"))+"  toc.dat\n")
	if _, err := Get(t.Context(), Reference{Location: dir}, options(t, nil)); err == nil || !strings.Contains(err.Error(), "has no checksum of 1.dat") {
		t.Errorf("a file that is not listed: %v", err)
	}
	write("SHA256SUMS", sum256([]byte("a"))+"  toc.dat\n"+sum256([]byte("b"))+"  1.dat\n")
	if f, err := Get(t.Context(), Reference{Location: dir}, options(t, nil)); err != nil || f.Verified != "SHA256SUMS" {
		t.Errorf("a good list: %+v, %v", f, err)
	}
	write("1.dat", "c")
	if _, err := Get(t.Context(), Reference{Location: dir}, options(t, nil)); mayfly.ErrorCode(err) != mayfly.CodeSourceInvalid {
		t.Errorf("a changed file: %v", err)
	}
}

func TestHeadersStayWithTheirHost(t *testing.T) {
	t.Parallel()
	data := content(1000)
	storage := newWebServer(t, data)
	front := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Token") != "secret" || r.URL.Path != "/dumps/shop.dump" {
			http.NotFound(w, r)
			return
		}
		http.Redirect(w, r, storage.URL+"/dumps/shop.dump", http.StatusFound)
	}))
	t.Cleanup(front.Close)
	header := http.Header{"X-Token": {"secret"}}
	mustGet(t, Reference{Location: front.URL + "/dumps/shop.dump", Header: header}, options(t, front.Client()), data)
	storage.mu.Lock()
	defer storage.mu.Unlock()
	if storage.header.Get("X-Token") != "" {
		t.Error("the storage behind a redirect was sent the header")
	}
	_, err := Get(t.Context(), Reference{Location: front.URL + "/dumps/shop.dump"}, options(t, front.Client()))
	if mayfly.ErrorCode(err) != mayfly.CodeSourceUnavailable {
		t.Errorf("without the header: %v", err)
	}
}

func TestRefusedLocations(t *testing.T) {
	t.Parallel()
	for location, want := range map[string]string{
		"http://example.com/a.dump":            "http address",
		"ftp://example.com/a.dump":             "begins with ftp://",
		"https://u:hunter2@example.com/a.dump": "holds credentials",
		"s3:///a.dump":                         "names no bucket",
		"https://127.0.0.1:1/x/":               "must name one file",
		"https://127.0.0.1:1/x/*.dump":         "must name one file",
		"/nowhere/shop.dump":                   "cannot be opened",
		"/nowhere/*.dump":                      "no file matches",
	} {
		_, err := Get(t.Context(), Reference{Location: location}, options(t, nil))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got %v, want an error with %q", location, err, want)
		}
	}
}

// fakeS3 returns the query that leads to a bucket "dumps" with the objects.
func fakeS3(t *testing.T, objects map[string][]byte) (query string, requests *[]string) {
	t.Helper()
	backend := s3mem.New()
	handler := gofakes3.New(backend).Server()
	var mu sync.Mutex
	var seen []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.URL.Path+" "+r.Header.Get("Range"))
		mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	if err := backend.CreateBucket("dumps"); err != nil {
		t.Fatal(err)
	}
	for key, data := range objects {
		if _, err := backend.PutObject("dumps", key, nil, bytes.NewReader(data), int64(len(data)), nil); err != nil {
			t.Fatal(err)
		}
	}
	return "?region=eu-central-1&anonymous=true&use_path_style=true&endpoint=" + url.QueryEscape(server.URL), &seen
}

func TestS3(t *testing.T) {
	t.Parallel()
	data, toc := content(300_000), content(500)
	query, requests := fakeS3(t, map[string][]byte{
		"nightly/shop-01.dump":        toc,
		"nightly/shop-02.dump":        data,
		"nightly/shop-02.dump.sha256": []byte(sum256(data) + "  shop-02.dump\n"),
		"dir/toc.dat":                 toc,
		"dir/blobs/1.dat":             data,
	})
	f := mustGet(t, Reference{Location: "s3://dumps/nightly/shop-0*.dump" + query}, options(t, nil), data)
	if f.Name != "shop-02.dump" || f.Verified == "" {
		t.Errorf("the newest match is described as %+v; it has a checksum beside it", f)
	}
	f, err := Get(t.Context(), Reference{Location: "s3://dumps/dir/" + query}, options(t, nil))
	if err != nil {
		t.Fatalf("get a directory: %v", err)
	}
	if got, err := os.ReadFile(filepath.Join(f.Path, "blobs", "1.dat")); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the directory's file has %d bytes (%v), want %d", len(got), err, len(data))
	}
	// Half a download is there already: only the rest is asked for.
	opts := options(t, nil)
	ctx, cancel := context.WithCancel(t.Context())
	opts.Progress = func(done, _ int64) {
		if done > 0 {
			cancel()
		}
	}
	_, _ = Get(ctx, Reference{Location: "s3://dumps/nightly/shop-02.dump" + query}, opts)
	opts.Progress = nil
	mustGet(t, Reference{Location: "s3://dumps/nightly/shop-02.dump" + query}, opts, data)
	if last := (*requests)[len(*requests)-1]; !strings.HasPrefix(last, "GET /dumps/nightly/shop-02.dump bytes=") || strings.HasSuffix(last, "bytes=0-") {
		t.Errorf("the rest was asked for by %q", last)
	}
	_, err = Get(t.Context(), Reference{Location: "s3://dumps/none.dump" + query}, options(t, nil))
	if !errors.Is(err, errNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
}

// fakeGCS speaks as much of the storage's JSON and XML interfaces as a download needs.
func fakeGCS(objects map[string][]byte) http.Handler {
	describe := func(key string) map[string]any {
		return map[string]any{
			"name": key, "bucket": "dumps", "size": strconv.Itoa(len(objects[key])), "etag": "e-" + sum256(objects[key]),
			"updated": "2026-01-02T03:04:05Z", "generation": "1",
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		w.Header().Set("Content-Type", "application/json")
		switch key, isObject := strings.CutPrefix(path, "/storage/v1/b/dumps/o/"); {
		case strings.HasSuffix(path, "/b/dumps/o"):
			items := []any{}
			for name := range objects {
				if strings.HasPrefix(name, r.URL.Query().Get("prefix")) {
					items = append(items, describe(name))
				}
			}
			_ = json.NewEncoder(w).Encode(map[string]any{"kind": "storage#objects", "items": items})
		case isObject && objects[key] != nil && r.URL.Query().Get("alt") != "media":
			_ = json.NewEncoder(w).Encode(describe(key))
		case isObject && objects[key] != nil:
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(objects[key]))
		case objects[strings.TrimPrefix(path, "/dumps/")] != nil:
			w.Header().Set("Content-Type", "application/octet-stream")
			w.Header().Set("X-Goog-Generation", "1")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(objects[strings.TrimPrefix(path, "/dumps/")]))
		default:
			http.Error(w, `{"error":{"code":404,"message":"not found"}}`, http.StatusNotFound)
		}
	})
}

func TestGCS(t *testing.T) {
	data := content(200_000)
	server := httptest.NewServer(fakeGCS(map[string][]byte{"nightly/shop.dump": data}))
	defer server.Close()
	t.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(server.URL, "http://"))
	for _, location := range []string{"gs://dumps/nightly/shop.dump", "gs://dumps/nightly/*.dump"} {
		mustGet(t, Reference{Location: location, Checksum: "sha256:" + sum256(data)}, options(t, nil), data)
	}
	if _, err := Get(t.Context(), Reference{Location: "gs://dumps/none"}, options(t, nil)); !errors.Is(err, errNotFound) {
		t.Errorf("an object that is not there: %v", err)
	}
}

func TestRemoteNamesStayInside(t *testing.T) {
	t.Parallel()
	g := &getter{from: listing{}, opts: options(t, nil), shown: "s3://dumps/x/"}
	if _, err := g.directory(t.Context(), "x/"); err == nil || !strings.Contains(err.Error(), "leads out") {
		t.Errorf("a name with .. was taken: %v", err)
	}
}

type listing struct{ remote }

func (listing) list(context.Context, string) ([]object, error) {
	return []object{{key: "x/../../etc/passwd", size: 1}}, nil
}

func TestTooBigIsRefusedBeforeDownloading(t *testing.T) {
	t.Parallel()
	g := &getter{opts: options(t, nil), shown: "s3://dumps/x"}
	if err := g.room(1 << 60); mayfly.ErrorCode(err) != mayfly.CodePoolFull {
		t.Errorf("an exbibyte: %v", err)
	}
}

func ExampleRedact() {
	fmt.Println(Redact("https://dumps.example.com/shop.dump?X-Amz-Signature=abc"))
	// Output: https://dumps.example.com/shop.dump
}
