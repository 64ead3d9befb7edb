package proof

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	cleanpath "path"
	"strings"

	"golang.org/x/sync/errgroup"
)

// FilesLooked is how much was searched of the raw files.
type FilesLooked struct {
	Files    int64 `json:"files"`
	Bytes    int64 `json:"bytes"`
	Patterns int   `json:"patterns"` // sampled originals that were searched for
	Excused  int   `json:"excused"`  // sampled, but a transformer makes them by itself: not searched for
}

// filePart is how much of a file is searched at once.
const filePart = 1 << 20

// Files searches a tar archive of the cluster's directory for the sampled originals. describe says what a file is:
// "index public.people_email_idx", "" for what has no name of its own. It must come after the scan of tables, which tells
// the samples that turn up by design.
func (s *Scanner) Files(archive io.Reader, describe func(path string) string) error {
	looked := s.startFiles()
	in := tar.NewReader(archive)
	buffer := make([]byte, filePart+samplePrefix)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read the cluster's files: %w", err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		n, err := s.file(in, buffer, header.Name, describe)
		if err != nil {
			return fmt.Errorf("read %s: %w", header.Name, err)
		}
		looked.Files++
		looked.Bytes += n
	}
	s.doneFiles(looked)
	return nil
}

// Directory is Files for a cluster's directory that can be read here. Several goroutines search it. Symbolic links are not
// followed. Without anything to search for nothing is read.
func (s *Scanner) Directory(ctx context.Context, path string, workers int, describe func(path string) string) error {
	looked := s.startFiles()
	if looked.Patterns == 0 {
		s.doneFiles(looked)
		return nil
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return fmt.Errorf("open the cluster's directory: %w", err)
	}
	defer func() { _ = root.Close() }()
	names := make(chan string)
	group, groupCtx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(names)
		return fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.Type().IsRegular() {
				return err
			}
			select {
			case names <- name:
				return nil
			case <-groupCtx.Done():
				return groupCtx.Err()
			}
		})
	})
	for range max(1, workers) {
		group.Go(func() error {
			buffer := make([]byte, filePart+samplePrefix)
			for name := range names {
				if err := s.fileBelow(groupCtx, root, name, buffer, looked, describe); err != nil {
					return fmt.Errorf("read %s: %w", name, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	s.doneFiles(looked)
	return nil
}

func (s *Scanner) fileBelow(ctx context.Context, root *os.Root, name string, buffer []byte, looked *FilesLooked, describe func(string) string) error {
	file, err := root.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	n, err := s.file(readerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		return file.Read(p)
	}), buffer, name, describe)
	s.mu.Lock()
	defer s.mu.Unlock()
	looked.Files++
	looked.Bytes += n
	return err
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Pristine says which directory of the cluster has nothing but what PostgreSQL brings: that of template0, where nobody can
// connect. What is there is no evidence in any other file. It must be called before the search.
func (s *Scanner) Pristine(dir string) { s.pristine = cleanpath.Clean(dir) }

// startFiles says what the files will be searched for.
func (s *Scanner) startFiles() *FilesLooked {
	looked := &FilesLooked{Patterns: len(s.m.patterns.all)}
	for i := range s.m.patterns.all {
		if s.m.patterns.all[i].excused.Load() {
			looked.Excused++
		}
	}
	looked.Patterns -= looked.Excused
	return looked
}

func (s *Scanner) doneFiles(looked *FilesLooked) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = looked
}

func (s *Scanner) file(in io.Reader, buffer []byte, path string, describe func(string) string) (int64, error) {
	var total int64
	kept := 0
	pristine := s.pristine != "" && strings.HasPrefix(cleanpath.Clean(path), s.pristine+"/")
	for {
		n, err := io.ReadFull(in, buffer[kept:])
		total += int64(n)
		end := kept + n
		s.m.patterns.search(buffer[:end], func(i, at int) {
			// What begins in the part that is kept is found again with the next one.
			if s.m.patterns.all[i].excused.Load() || err == nil && at >= end-samplePrefix {
				return
			}
			if pristine {
				s.m.patterns.all[i].own.Store(true)
				return
			}
			name := describe(path)
			if name == "" {
				name = path
			}
			s.m.noteText(i, s.m.place(Place{KindFile, name}))
		})
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return total, nil
		}
		if err != nil {
			return total, err
		}
		kept = copy(buffer, buffer[end-samplePrefix:end])
	}
}
