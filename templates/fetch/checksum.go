package fetch

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
)

// checksum is what a file must have.
type checksum struct {
	algorithm string // "sha256" or "sha512"
	sum       []byte
}

func (c *checksum) String() string { return c.algorithm + ":" + hex.EncodeToString(c.sum) }

func newHash(algorithm string) hash.Hash {
	if algorithm == "sha512" {
		return sha512.New()
	}
	return sha256.New()
}

// CheckChecksum reports whether text can be a Reference's Checksum.
func CheckChecksum(text string) error {
	_, err := parseChecksum(text)
	return err
}

func parseChecksum(text string) (*checksum, error) {
	if text == "" {
		return nil, nil
	}
	algorithm, digits, _ := strings.Cut(text, ":")
	sum, err := hex.DecodeString(digits)
	if err != nil || (algorithm != "sha256" && algorithm != "sha512") || len(sum) != newHash(algorithm).Size() {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "source.checksum is not one").WithHint("write it as sha256: or sha512: and the hexadecimal digits that sha256sum or sha512sum prints")
	}
	return &checksum{algorithm: algorithm, sum: sum}, nil
}

// verify reads a file to its end.
func (c *checksum) verify(ctx context.Context, file, name string) error {
	f, err := os.Open(file)
	if err != nil {
		return mayfly.Errorf(mayfly.CodeSourceUnavailable, "the source cannot be opened: %w", err)
	}
	defer func() { _ = f.Close() }()
	h := newHash(c.algorithm)
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{&stoppable{ctx, f}}, make([]byte, 1<<20)); err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if !bytes.Equal(h.Sum(nil), c.sum) {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the %s checksum of %s is wrong: the file is damaged, or not the one that is meant", c.algorithm, name).
			WithHint("make or upload the dump again, and its checksum with it")
	}
	return nil
}

// stoppable ends a long read with its context.
type stoppable struct {
	ctx context.Context //nolint:containedctx // of one call
	r   io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.r.Read(p)
}

// maxList bounds a list of checksums.
const maxList = 4 << 20

// sidecars returns where the checksum of a file may be written, as key and algorithm.
func sidecars(key string) [][2]string {
	dir := path.Dir(key)
	return [][2]string{
		{key + ".sha256", "sha256"}, {key + ".sha512", "sha512"},
		{path.Join(dir, "SHA256SUMS"), "sha256"}, {path.Join(dir, "SHA512SUMS"), "sha512"},
	}
}

// isSidecar reports whether a file is about another one.
func isSidecar(name string) bool {
	base := path.Base(filepath.ToSlash(name))
	return strings.HasSuffix(base, ".sha256") || strings.HasSuffix(base, ".sha512") || base == "SHA256SUMS" || base == "SHA512SUMS"
}

// sidecar returns the checksum that lies beside a remote file, nil if there is none.
func (g *getter) sidecar(ctx context.Context, key string) (*checksum, error) {
	for _, at := range sidecars(key) {
		o, err := g.from.stat(ctx, at[0])
		if errors.Is(err, errNotFound) || errors.Is(err, errDenied) { // storage that forbids listing says so of what is not there
			continue
		}
		if err != nil {
			return nil, g.failed(fmt.Errorf("look for a checksum: %w", err))
		}
		r, err := g.from.read(ctx, o, 0)
		if err != nil {
			return nil, g.failed(fmt.Errorf("read the checksum: %w", err))
		}
		list, err := io.ReadAll(io.LimitReader(r, maxList))
		if err := errors.Join(err, r.Close()); err != nil {
			return nil, g.failed(fmt.Errorf("read the checksum: %w", err))
		}
		return choose(list, at, path.Base(key))
	}
	return nil, nil
}

// choose finds a file in its list.
func choose(list []byte, at [2]string, name string) (*checksum, error) {
	sums := parseList(list, at[1])
	if sum := sums[name]; sum != nil {
		return sum, nil
	}
	if sum := sums[""]; sum != nil && !strings.HasSuffix(at[0], "SUMS") {
		return sum, nil
	}
	return nil, mayfly.Errorf(mayfly.CodeSourceInvalid, "%s has no checksum of %s", path.Base(at[0]), name).
		WithHint("add the file to the list, or set source.checksum")
}

var (
	gnuLine = regexp.MustCompile(`^\\?([0-9A-Fa-f]{64}|[0-9A-Fa-f]{128})(?:\s+[ *]?(.*?))?\s*$`)
	bsdLine = regexp.MustCompile(`^SHA(?:256|512) \((.*)\) = ([0-9A-Fa-f]+)\s*$`)
)

// parseList reads what sha256sum and shasum print: "<hex>  name", "<hex> *name", "SHA256 (name) = <hex>", or the digits alone.
func parseList(list []byte, algorithm string) map[string]*checksum {
	sums := map[string]*checksum{}
	lines := bufio.NewScanner(bytes.NewReader(list))
	for lines.Scan() {
		digits, name := "", ""
		if m := gnuLine.FindStringSubmatch(lines.Text()); m != nil {
			digits, name = m[1], m[2]
		} else if m := bsdLine.FindStringSubmatch(lines.Text()); m != nil {
			name, digits = m[1], m[2]
		}
		sum, err := hex.DecodeString(digits)
		if err == nil && len(sum) == newHash(algorithm).Size() {
			sums[strings.TrimPrefix(name, "./")] = &checksum{algorithm: algorithm, sum: sum}
		}
	}
	return sums
}

// verifyLocal verifies a file or a directory on this machine. It returns what was verified, "" if there was nothing to verify by.
func verifyLocal(ctx context.Context, name string, directory bool, want *checksum) (string, error) {
	if directory {
		if want != nil {
			return "", mayfly.Errorf(mayfly.CodeInvalid, "source.checksum is of one file, and %s is a directory", name).WithHint("put a SHA256SUMS into it")
		}
		return verifyDirectory(ctx, name)
	}
	if want == nil {
		for _, at := range sidecars(filepath.ToSlash(name)) {
			list, err := readList(at[0])
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err != nil {
				return "", err
			}
			if want, err = choose(list, at, filepath.Base(name)); err != nil {
				return "", err
			}
			break
		}
	}
	if want == nil {
		return "", nil
	}
	return want.String(), want.verify(ctx, name, filepath.Base(name))
}

func readList(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the checksums: %w", err)
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxList))
}

// verifyDirectory verifies the files of a directory by the list in it. Every file must be listed, and every listed one there.
func verifyDirectory(ctx context.Context, dir string) (string, error) {
	for _, list := range [][2]string{{"SHA256SUMS", "sha256"}, {"SHA512SUMS", "sha512"}} {
		raw, err := readList(filepath.Join(dir, list[0]))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		sums := parseList(raw, list[1])
		if len(sums) == 0 {
			return "", mayfly.Errorf(mayfly.CodeSourceInvalid, "%s has no checksums", list[0])
		}
		return list[0], verifyAll(ctx, dir, list[0], sums)
	}
	return "", nil
}

func verifyAll(ctx context.Context, dir, list string, sums map[string]*checksum) error {
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		relative, err := filepath.Rel(dir, name)
		if err != nil || isSidecar(relative) {
			return err
		}
		sum := sums[filepath.ToSlash(relative)]
		if sum == nil {
			return mayfly.Errorf(mayfly.CodeSourceInvalid, "%s has no checksum of %s", list, relative)
		}
		delete(sums, filepath.ToSlash(relative))
		return sum.verify(ctx, name, relative)
	})
	if err != nil {
		return fmt.Errorf("verify the files of the source: %w", err)
	}
	for name := range sums {
		return mayfly.Errorf(mayfly.CodeSourceInvalid, "the file %s of %s is not there", name, list)
	}
	return nil
}
