package runner

import (
	"archive/tar"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// CheckoutLimits bound a checkout. Zero means the default.
type CheckoutLimits struct {
	Bytes   int64 // of all files together; default 2 GiB
	Entries int   // files, directories and links; default 200,000
}

func (l CheckoutLimits) withDefaults() CheckoutLimits {
	if l.Bytes <= 0 {
		l.Bytes = 2 << 30
	}
	if l.Entries <= 0 {
		l.Entries = 200_000
	}
	return l
}

// Checkout says what Repack made.
type Checkout struct {
	Bytes   int64
	Entries int
	// LeftOut are symbolic links that lead out of the repository, at most a few.
	LeftOut []string
}

// maxLeftOut is how many links are named.
const maxLeftOut = 10

// Repack reads the archive of a repository as a forge makes it (tar, gzip, everything below one directory) and writes it
// anew: only directories, regular files and symbolic links that stay inside, without owners, times and extended
// attributes. What no repository's archive can hold is an *mayfly.Error with CodeInvalid; too much is CodeTooLarge.
func Repack(archive io.Reader, to io.Writer, limits CheckoutLimits) (Checkout, error) {
	var made Checkout
	out := tar.NewWriter(to)
	err := walk(archive, limits, &made, func(header *tar.Header, content io.Reader) error {
		if err := out.WriteHeader(header); err != nil {
			return fmt.Errorf("write the checkout: %w", err)
		}
		if _, err := io.Copy(out, content); err != nil {
			return fmt.Errorf("write the checkout: %w", err)
		}
		return nil
	})
	if err != nil {
		return made, err
	}
	if err := out.Close(); err != nil {
		return made, fmt.Errorf("write the checkout: %w", err)
	}
	return made, nil
}

// Source is a file found by Find.
type Source struct {
	Path    string
	Content []byte
}

// maxSource bounds one file that Find reads, and maxSources all of them.
const (
	maxSource  = 16 << 20
	maxSources = 64 << 20
)

// Find reads the regular files of a repository's archive that are wanted.
func Find(archive io.Reader, limits CheckoutLimits, wanted func(path string) bool) ([]Source, error) {
	var found []Source
	var made Checkout
	var total int64
	err := walk(archive, limits, &made, func(header *tar.Header, content io.Reader) error {
		if header.Typeflag != tar.TypeReg || !wanted(header.Name) {
			return nil
		}
		if total += header.Size; header.Size > maxSource || total > maxSources {
			return mayfly.Errorf(mayfly.CodeTooLarge, "the repository's migrations are larger than %d bytes", maxSources).
				WithHint("set migrations.path to the directory that holds the migrations")
		}
		text, err := io.ReadAll(content)
		if err != nil {
			return broken(err)
		}
		found = append(found, Source{Path: header.Name, Content: text})
		return nil
	})
	return found, err
}

func broken(err error) error {
	return mayfly.Errorf(mayfly.CodeForgeUnavailable, "the repository's archive cannot be read to its end: %w", err).
		WithHint("nothing to do: Mayfly tries again")
}

// walk checks every entry and hands on those that a checkout may have, with the names below the archive's own directory.
func walk(archive io.Reader, limits CheckoutLimits, made *Checkout, each func(*tar.Header, io.Reader) error) error {
	limits = limits.withDefaults()
	unzipped, err := gzip.NewReader(archive)
	if err != nil {
		return broken(err)
	}
	entries := tar.NewReader(unzipped)
	for {
		header, err := entries.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return broken(err)
		}
		kept, err := keep(header, made)
		if err != nil {
			return err
		}
		if made.Bytes > limits.Bytes || made.Entries > limits.Entries {
			return mayfly.Errorf(mayfly.CodeTooLarge, "the checkout has more than %d bytes or %d files", limits.Bytes, limits.Entries).
				WithHint("raise migrations.runner.disk in the server's configuration, or keep large files out of the repository's archive (export-ignore in .gitattributes)")
		}
		if kept == nil {
			continue
		}
		content := &failing{reader: entries}
		if err := each(kept, content); err != nil {
			if content.err != nil {
				return broken(content.err)
			}
			return err
		}
	}
}

// failing remembers that reading failed, and not what was done with it.
type failing struct {
	reader io.Reader
	err    error
}

func (f *failing) Read(p []byte) (int, error) {
	n, err := f.reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// keep returns the entry as it goes into the checkout, or nil if it does not.
func keep(header *tar.Header, made *Checkout) (*tar.Header, error) {
	if header.Typeflag == tar.TypeXGlobalHeader { // git writes the commit's id into one
		return nil, nil
	}
	made.Entries++
	name, err := inside(header.Name)
	if err != nil || name == "" {
		return nil, err
	}
	clean := &tar.Header{Name: name, Typeflag: header.Typeflag, Format: tar.FormatPAX, Mode: 0o644}
	switch header.Typeflag {
	case tar.TypeDir:
		clean.Name, clean.Mode = name+"/", 0o755
	case tar.TypeReg:
		if header.Size < 0 || len(header.PAXRecords["GNU.sparse.major"]) > 0 {
			return nil, forbidden(header.Name, "is a sparse file")
		}
		if header.Mode&0o111 != 0 {
			clean.Mode = 0o755
		}
		clean.Size = header.Size
		made.Bytes += header.Size
	case tar.TypeSymlink:
		target := path.Join(path.Dir(name), header.Linkname) //nolint:gosec // it is what is looked at
		if path.IsAbs(header.Linkname) || target == ".." || strings.HasPrefix(target, "../") || strings.ContainsRune(header.Linkname, 0) {
			if len(made.LeftOut) < maxLeftOut {
				made.LeftOut = append(made.LeftOut, name)
			}
			return nil, nil
		}
		clean.Linkname, clean.Mode = header.Linkname, 0o777
	default:
		return nil, forbidden(header.Name, fmt.Sprintf("is of type %q", header.Typeflag))
	}
	return clean, nil
}

// inside returns the name below the archive's own directory, "" for that directory.
func inside(name string) (string, error) {
	if strings.HasPrefix(name, "/") || strings.ContainsRune(name, 0) {
		return "", forbidden(name, "has an absolute path")
	}
	for part := range strings.SplitSeq(strings.TrimSuffix(name, "/"), "/") {
		if part == ".." || part == "." || part == "" {
			return "", forbidden(name, "has a path that leads elsewhere")
		}
	}
	_, below, _ := strings.Cut(strings.TrimSuffix(name, "/"), "/")
	return below, nil
}

func forbidden(name, what string) error {
	return mayfly.Errorf(mayfly.CodeInvalid, "%q in the repository's archive %s: no archive of a repository holds that", clip(name), what).
		WithHint("a proxy between Mayfly and the forge may change answers")
}
