package templates

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/templates/fetch"
)

// fetchSource brings a dump, and the WAL for it, to this machine and verifies it. What is here already stays where it is.
func (r *run) fetchSource(ctx context.Context) (string, error) {
	source := &r.req.Project.Source
	if source.Archive == "" {
		return "nothing", nil
	}
	header, err := ReadHeader(source.HeaderFile)
	if err != nil {
		return "", err
	}
	get := func(location, checksum, name string) (*fetch.File, error) {
		return fetch.Get(ctx, fetch.Reference{Location: location, Checksum: checksum, Header: header}, fetch.Options{
			Dir: filepath.Join(r.spool(), name), Logger: r.log,
			Progress: func(done, total int64) {
				r.meter.change(false, func(p *Progress) { p.Bytes, p.TotalBytes = done, total })
			},
		})
	}
	if r.fetched, err = get(source.Archive, source.Checksum, "source"); err != nil {
		return "", err
	}
	source.Archive = r.fetched.Path
	if source.WAL != "" {
		wal, err := get(source.WAL, "", "wal")
		if err != nil {
			return "", fmt.Errorf("fetch the archived WAL: %w", err)
		}
		source.WAL = wal.Path
	}
	return r.fetched.Name, nil
}

// describeFetched adds to the report where a dump is from.
func (r *run) describeFetched(location string) {
	if r.fetched == nil {
		return
	}
	report := &r.report().Source
	report.Archive = fetch.Redact(location)
	report.File, report.Checksum = r.fetched.Name, r.fetched.Verified
	if !r.fetched.Modified.IsZero() {
		modified := r.fetched.Modified.UTC()
		report.FileTime = &modified
	}
}

// spool returns the directory for files that this build needs for a while. It outlives the process, so that a download can go on.
func (r *run) spool() string { return r.spoolOf(r.id) }

func (b *Builder) spoolOf(templateID string) string { return filepath.Join(b.spoolDir, templateID) }

// discardSpool removes what a build fetched. Its file system frees the blocks; nothing else has them.
func (b *Builder) discardSpool(templateID string) error {
	if err := os.RemoveAll(b.spoolOf(templateID)); err != nil {
		return fmt.Errorf("remove the files that template %s fetched: %w", templateID, err)
	}
	return nil
}

// sweepSpool removes the files of builds that are over.
func (b *Builder) sweepSpool(building func(templateID string) bool) error {
	entries, err := os.ReadDir(b.spoolDir)
	if err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("list the fetched files: %w", err)
	}
	for _, e := range entries {
		if !building(e.Name()) {
			if err := b.discardSpool(e.Name()); err != nil {
				return err
			}
		}
	}
	return nil
}

// ReadHeader reads a file of "Name: value" lines; "" is no file.
func ReadHeader(name string) (http.Header, error) {
	if name == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(name)
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "source.header_file cannot be read: %w", err)
	}
	lines := textproto.NewReader(bufio.NewReader(strings.NewReader(strings.TrimSpace(string(raw)) + "\n\n")))
	header, err := lines.ReadMIMEHeader()
	if err != nil { // the error would quote the line
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "source.header_file has something that is not a header").WithHint("write a line such as `Authorization: Bearer …`")
	}
	return http.Header(header), nil
}
