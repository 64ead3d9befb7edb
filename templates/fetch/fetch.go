package fetch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// Reference says what is wanted.
type Reference struct {
	// Location is a path, or a URL: file:///path, https://host/path, s3://bucket/key?region=…, gs://bucket/key.
	//
	// A last element with * stands for the newest file that matches (not for HTTPS, which has no listing). A URL that ends in
	// a slash stands for everything below it, as a directory. The query of an s3 or gs URL is for the driver: region, endpoint,
	// use_path_style and others that gocloud.dev/blob documents.
	Location string
	// Checksum is "sha256:<hex>" or "sha512:<hex>" of the one file, or "". Without it, a SHA256SUMS or SHA512SUMS in the same directory,
	// or a file of the same name and .sha256 or .sha512, is used if there is one.
	Checksum string
	// Header is sent with every HTTPS request to the host of Location, and to no other: "Authorization: Bearer …". A secret.
	Header http.Header
}

// Options say how to get it.
type Options struct {
	// Dir is where downloads go, made if it is not there. It belongs to one build: the caller removes it. Nobody but the service may
	// read it.
	Dir string
	// Client is for HTTPS; nil means one with proxies from the environment.
	Client *http.Client
	Logger *slog.Logger
	// Progress, if set, is told how many bytes of how many are here. It must not block.
	Progress func(done, total int64)
	// Backoff returns how long to wait before try n (from 1) after tries without any progress; nil means 1 s doubling to 30 s.
	Backoff func(n int) time.Duration
}

// File is a file, or a directory of files, that is on this machine.
type File struct {
	Path string
	// Name is its last element as people know it; Modified when it was written, by the clock of where it came from.
	Name     string
	Modified time.Time
	Bytes    int64
	// Verified is the checksum that was found right ("sha256:…"), the name of the list for a directory, or "".
	Verified string
	// Downloaded says that Path is below Options.Dir.
	Downloaded bool
}

// Get makes the referenced files available here and verifies them. A download that was interrupted, also by the end of the process,
// goes on where it was if what is there has not changed.
//
// Errors are *mayfly.Error: CodeSourceUnavailable if it cannot be had, CodeSourceInvalid if a checksum is wrong, CodePoolFull if it
// does not fit, CodeInvalid for a reference that makes no sense. They never hold a query, a header or credentials.
func Get(ctx context.Context, ref Reference, opts Options) (*File, error) {
	want, err := parseChecksum(ref.Checksum)
	if err != nil {
		return nil, err
	}
	if opts.Backoff == nil {
		opts.Backoff = backoff
	}
	if local, ok := localPath(ref.Location); ok {
		return getLocal(ctx, local, want)
	}
	u, err := url.Parse(ref.Location)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the location of the source is not a URL")
	}
	from, err := open(ctx, u, ref, opts)
	if err != nil {
		return nil, err
	}
	defer from.close()
	g := &getter{from: from, opts: opts, shown: Redact(ref.Location)}
	return g.get(ctx, strings.TrimPrefix(u.Path, "/"), want)
}

// Find looks for the referenced files without fetching or verifying them. Path is "" for what is not on this machine; Bytes and
// Modified are unknown for directories.
func Find(ctx context.Context, ref Reference, client *http.Client) (*File, error) {
	if local, ok := localPath(ref.Location); ok {
		return findLocal(local)
	}
	u, err := url.Parse(ref.Location)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "the location of the source is not a URL")
	}
	from, err := open(ctx, u, ref, Options{Client: client})
	if err != nil {
		return nil, err
	}
	defer from.close()
	g := &getter{from: from, shown: Redact(ref.Location)}
	key, err := g.find(ctx, strings.TrimPrefix(u.Path, "/"))
	if err != nil {
		return nil, err
	}
	if strings.HasSuffix(key, "/") {
		return &File{Name: path.Base(key)}, nil
	}
	o, err := from.stat(ctx, key)
	if err != nil {
		return nil, g.failed(err)
	}
	return &File{Name: path.Base(key), Modified: o.modified, Bytes: o.size}, nil
}

// Redact returns a location without what may be secret in it: user, password, query and fragment.
func Redact(location string) string {
	if _, ok := localPath(location); ok {
		return location
	}
	u, err := url.Parse(location)
	if err != nil {
		return "a URL"
	}
	return u.Scheme + "://" + u.Host + u.Path
}

// Check reports what is wrong with a location before anything is fetched.
func Check(location string) error {
	if _, ok := localPath(location); ok {
		return nil
	}
	u, err := url.Parse(location)
	if err != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "the location of the source is not a URL")
	}
	switch u.Scheme {
	case "s3", "gs", "https":
	case "http":
		return mayfly.Errorf(mayfly.CodeInvalid, "the source is at an http address, which anybody on the way can read and change").WithHint("use https")
	default:
		return mayfly.Errorf(mayfly.CodeInvalid, "the source's address begins with %s://", u.Scheme).WithHint("use a path, file://, https://, s3:// or gs://")
	}
	if u.User != nil {
		return mayfly.Errorf(mayfly.CodeInvalid, "the source's address holds credentials").
			WithHint("put a header into source.header_file for HTTPS; S3 and Google Cloud Storage take theirs from the environment")
	}
	if u.Host == "" {
		return mayfly.Errorf(mayfly.CodeInvalid, "the source's address %s names no %s", Redact(location), map[bool]string{true: "host", false: "bucket"}[u.Scheme == "https"])
	}
	return nil
}

// localPath returns the path behind a location that is on this machine.
func localPath(location string) (string, bool) {
	if rest, ok := strings.CutPrefix(location, "file://"); ok {
		return rest, true
	}
	return location, !strings.Contains(location, "://")
}

const (
	firstWait = time.Second
	longWait  = 30 * time.Second
	// maxTries is how often in a row a download may fail without a single byte.
	maxTries = 8
)

func backoff(n int) time.Duration {
	wait := min(firstWait<<min(n-1, 10), longWait)
	return wait/2 + rand.N(wait/2) //nolint:gosec // jitter
}

// getLocal verifies what is here.
func getLocal(ctx context.Context, name string, want *checksum) (*File, error) {
	f, err := findLocal(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, fmt.Errorf("look at the source: %w", err)
	}
	if f.Verified, err = verifyLocal(ctx, f.Path, info.IsDir(), want); err != nil {
		return nil, err
	}
	return f, nil
}

func findLocal(name string) (*File, error) {
	if isPattern(path.Base(filepath.ToSlash(name))) {
		newest, err := newestLocal(name)
		if err != nil {
			return nil, err
		}
		name = newest
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeSourceUnavailable, "the source cannot be opened: %w", err).
			WithHint("source.archive is a path on the machine that Mayfly runs on, or a URL")
	}
	f := &File{Path: name, Name: filepath.Base(name), Modified: info.ModTime()}
	if !info.IsDir() {
		f.Bytes = info.Size()
	}
	return f, nil
}

func newestLocal(pattern string) (string, error) {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return "", mayfly.Errorf(mayfly.CodeInvalid, "the pattern %s cannot be understood", pattern)
	}
	var found []object
	for _, name := range names {
		if isSidecar(name) {
			continue
		}
		if info, err := os.Stat(name); err == nil {
			found = append(found, object{key: name, modified: info.ModTime()})
		}
	}
	if len(found) == 0 {
		return "", mayfly.Errorf(mayfly.CodeSourceUnavailable, "no file matches %s", pattern).WithHint("source.archive is a path on the machine that Mayfly runs on; see what `ls` finds there")
	}
	return newest(found).key, nil
}

// newest returns the object that was written last; of several at the same time the last by name.
func newest(all []object) object {
	return slices.MaxFunc(all, func(a, b object) int {
		if c := a.modified.Compare(b.modified); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
}

func isPattern(element string) bool { return strings.ContainsAny(element, "*?[") }

// object is one remote file.
type object struct {
	key      string
	size     int64  // -1 if unknown
	version  string // of stat only; "" if the place has none
	modified time.Time
}

// remote is a place with files.
type remote interface {
	stat(ctx context.Context, key string) (object, error)
	// list returns the objects whose keys begin with prefix.
	list(ctx context.Context, prefix string) ([]object, error)
	// read returns the bytes of an object from offset on. errChanged if it is not the version of o any more.
	read(ctx context.Context, o object, offset int64) (body, error)
	close()
}

// Errors of a remote; anything else is worth another try.
var (
	errNotFound = errors.New("there is no such file")
	errDenied   = errors.New("access was refused")
	errChanged  = errors.New("the file was replaced while it was being downloaded")
)

// open finds the remote of a URL.
func open(ctx context.Context, u *url.URL, ref Reference, opts Options) (remote, error) {
	if err := Check(ref.Location); err != nil {
		return nil, err
	}
	if u.Scheme == "https" {
		return newHTTPS(u, ref.Header, opts.Client), nil
	}
	b, err := openBucket(ctx, u)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeSourceUnavailable, "the bucket %s://%s cannot be opened: %w", u.Scheme, u.Host, err).WithHint("%s", credentialsHint(u.Scheme))
	}
	return b, nil
}

func credentialsHint(scheme string) string {
	switch scheme {
	case "s3":
		return "credentials come from the environment of the service: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a shared file, or the machine's role"
	case "gs":
		return "credentials come from the environment of the service: GOOGLE_APPLICATION_CREDENTIALS, or the machine's service account"
	default:
		return "put a line such as `Authorization: Bearer …` into the file that source.header_file names"
	}
}

// getter is one call of Get for a remote.
type getter struct {
	from  remote
	opts  Options
	shown string

	done, total int64
}

func (g *getter) get(ctx context.Context, key string, want *checksum) (*File, error) {
	key, err := g.find(ctx, key)
	if err != nil {
		return nil, err
	}
	if !strings.HasSuffix(key, "/") {
		return g.file(ctx, key, want)
	}
	if want != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "source.checksum is of one file, and %s is a directory", g.shown).WithHint("put a SHA256SUMS into it")
	}
	return g.directory(ctx, key)
}

// find returns the key of the file that is meant, or of a directory, which ends in a slash.
func (g *getter) find(ctx context.Context, key string) (string, error) {
	if key == "" {
		return "/", nil
	}
	if !isPattern(path.Base(key)) {
		return key, nil
	}
	all, err := g.from.list(ctx, literalPrefix(key))
	if err != nil {
		return "", g.failed(err)
	}
	all = slices.DeleteFunc(all, func(o object) bool {
		ok, err := path.Match(key, o.key)
		return !ok || err != nil || isSidecar(o.key)
	})
	if len(all) == 0 {
		return "", mayfly.Errorf(mayfly.CodeSourceUnavailable, "no file matches %s", g.shown).WithHint("list the bucket: the pattern is matched with the whole key, and * does not cross a slash")
	}
	return newest(all).key, nil
}

// literalPrefix returns what of a pattern comes before its first special character.
func literalPrefix(pattern string) string {
	if i := strings.IndexAny(pattern, `*?[\`); i >= 0 {
		return pattern[:i]
	}
	return pattern
}

// What a download is called here: names of remote files may be of any length and characters.
const (
	fileName      = "file"
	directoryName = "directory"
)

func (g *getter) file(ctx context.Context, key string, want *checksum) (*File, error) {
	o, err := g.from.stat(ctx, key)
	if err != nil {
		return nil, g.failed(err)
	}
	if want == nil {
		if want, err = g.sidecar(ctx, key); err != nil {
			return nil, err
		}
	}
	g.total = o.size
	if err := g.room(max(o.size, 0)); err != nil {
		return nil, err
	}
	name := path.Base(o.key)
	target := filepath.Join(g.opts.Dir, fileName)
	if err := g.download(ctx, o, fileName); err != nil {
		return nil, err
	}
	f := &File{Path: target, Name: name, Modified: o.modified, Bytes: g.done, Downloaded: true}
	if want != nil {
		if err := want.verify(ctx, target, name); err != nil {
			_ = os.Remove(target) // what is wrong must not be taken for complete by the next try
			return nil, err
		}
		f.Verified = want.String()
	}
	return f, nil
}

// directory downloads everything below a prefix.
func (g *getter) directory(ctx context.Context, prefix string) (*File, error) {
	prefix = strings.TrimPrefix(prefix, "/") // a whole bucket
	all, err := g.from.list(ctx, prefix)
	if err != nil {
		return nil, g.failed(err)
	}
	all = slices.DeleteFunc(all, func(o object) bool { return strings.HasSuffix(o.key, "/") })
	if len(all) == 0 {
		return nil, mayfly.Errorf(mayfly.CodeSourceUnavailable, "there is nothing below %s", g.shown)
	}
	root := filepath.Join(g.opts.Dir, directoryName)
	f := &File{Path: root, Name: path.Base(strings.TrimSuffix(prefix, "/")), Downloaded: true}
	for _, o := range all {
		g.total += o.size
	}
	if err := g.room(g.total); err != nil {
		return nil, err
	}
	for _, o := range all {
		name := strings.TrimPrefix(o.key, prefix)
		if !filepath.IsLocal(filepath.FromSlash(name)) {
			return nil, mayfly.Errorf(mayfly.CodeSourceInvalid, "%s has a file whose name leads out of it", g.shown)
		}
		if o, err = g.from.stat(ctx, o.key); err != nil { // a listing has no versions
			return nil, g.failed(err)
		}
		if err := g.download(ctx, o, filepath.Join(directoryName, filepath.FromSlash(name))); err != nil {
			return nil, err
		}
		if o.modified.After(f.Modified) {
			f.Modified = o.modified
		}
	}
	f.Bytes = g.done
	if f.Verified, err = verifyLocal(ctx, root, true, nil); err != nil {
		return nil, errors.Join(err, os.RemoveAll(root))
	}
	return f, nil
}

// failed makes an error for people.
func (g *getter) failed(err error) error {
	scheme, _, _ := strings.Cut(g.shown, "://")
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("fetch %s: %w", g.shown, err)
	case mayfly.ErrorCode(err) != mayfly.CodeInternal:
		return err
	case errors.Is(err, errNotFound):
		return mayfly.Errorf(mayfly.CodeSourceUnavailable, "%s: %w", g.shown, err).WithHint("correct source.archive, or see whether the job that uploads the dump ran")
	case errors.Is(err, errDenied):
		return mayfly.Errorf(mayfly.CodeSourceUnavailable, "%s: %w", g.shown, err).WithHint("%s", credentialsHint(scheme))
	case errors.Is(err, errChanged):
		return mayfly.Errorf(mayfly.CodeSourceUnavailable, "%s: %w", g.shown, err).WithHint("build again; upload dumps under a new name, or under another one first")
	}
	return mayfly.Errorf(mayfly.CodeSourceUnavailable, "%s cannot be fetched: %w", g.shown, err)
}
