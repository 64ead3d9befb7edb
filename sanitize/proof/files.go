package proof

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
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
	looked := &FilesLooked{Patterns: len(s.m.patterns.all)}
	for i := range s.m.patterns.all {
		if s.m.patterns.all[i].excused.Load() {
			looked.Excused++
		}
	}
	looked.Patterns -= looked.Excused
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
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files = looked
	return nil
}

func (s *Scanner) file(in io.Reader, buffer []byte, path string, describe func(string) string) (int64, error) {
	var total int64
	kept := 0
	for {
		n, err := io.ReadFull(in, buffer[kept:])
		total += int64(n)
		end := kept + n
		s.m.patterns.search(buffer[:end], func(i, at int) {
			// What begins in the part that is kept is found again with the next one.
			if s.m.patterns.all[i].excused.Load() || err == nil && at >= end-samplePrefix {
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
