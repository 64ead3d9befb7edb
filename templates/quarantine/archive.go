package quarantine

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/provisioner/driver"
	"github.com/mayflydb/mayfly/templates/archive"
)

// RestoreArchive restores an archive of pg_dump (custom, directory or tar) whose rows only a server can read: pg_restore
// turns it into a script, and that is run like any other.
func RestoreArchive(ctx context.Context, opts Options, major int, encoding string, format archive.Format, name string) (*Cluster, error) {
	return restore(ctx, opts, func(ctx context.Context, c *Cluster) error {
		if err := c.initialise(ctx, major, encoding); err != nil {
			return err
		}
		input, spec, err := c.archiveInput(ctx, format, name)
		if err != nil {
			return err
		}
		defer func() { _ = input.Close() }()
		spec.Stdin = input
		if err := c.convert(ctx, spec); err != nil {
			return err
		}
		return c.chooseDatabase(ctx)
	})
}

// convert runs pg_restore and feeds what it writes to psql.
func (c *Cluster) convert(ctx context.Context, spec driver.RunSpec) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	out, in := io.Pipe()
	spec.Stdout = in
	var failed error
	done := make(chan struct{})
	go func() {
		defer close(done)
		result, err := c.run(ctx, spec)
		if err == nil && result.ExitCode != 0 {
			err = mayfly.Errorf(mayfly.CodeSourceInvalid, "pg_restore cannot read the archive: %s", firstLines(string(result.Stderr), 2)).
				WithHint("look whether the file is whole, and whether the image is as new as the pg_dump that wrote it")
		}
		failed = err
		_ = in.CloseWithError(err)
	}()
	err := c.runScript(ctx, out)
	_ = out.CloseWithError(errEnded)
	cancel()
	<-done
	if err == nil {
		err = failed
	}
	return err
}

// toScript is pg_restore's command. What a template has not is left out at once.
func toScript(format string) []string {
	return []string{
		"pg_restore", "--format=" + format, "--file=-", "--no-owner", "--no-privileges", "--no-publications", "--no-subscriptions",
		"--no-tablespaces", "--no-security-labels",
	}
}

// dumpDir is where the files of a directory are unpacked.
const dumpDir = driver.VolumeMount + "/dump"

// tarUser is the user that pg_dump -Ft writes into its headers (tarCreateHeader in src/port/tar.c).
const tarUser = 0o4000

// archiveInput returns what pg_restore reads, and how it is called.
func (c *Cluster) archiveInput(ctx context.Context, format archive.Format, name string) (io.ReadCloser, driver.RunSpec, error) {
	fromDirectory := driver.RunSpec{Command: append(toScript("directory"), dumpDir), Volume: c.id}
	nothing := io.NopCloser(bytes.NewReader(nil))
	if format == archive.Directory {
		return nothing, fromDirectory, c.unpackDump(ctx, func(visit func(member) error) error { return eachDumpFile(name, visit) })
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, driver.RunSpec{}, unavailable(err)
	}
	plain, _, err := archive.Uncompress(file)
	if err != nil {
		_ = file.Close()
		return nil, driver.RunSpec{}, err
	}
	both := &openedFile{Reader: bufio.NewReaderSize(plain, 64<<10), plain: plain, file: file}
	switch {
	case format == archive.Custom:
		return both, driver.RunSpec{Command: toScript("custom")}, nil
	case isTarFormat(both.Reader):
		return both, driver.RunSpec{Command: toScript("tar")}, nil
	}
	defer func() { _ = both.Close() }()
	return nothing, fromDirectory, c.unpackDump(ctx, func(visit func(member) error) error {
		return eachInTar(ctx, both, "", maxDepth, visit)
	})
}

type openedFile struct {
	*bufio.Reader
	plain io.Closer
	file  *os.File
}

func (f *openedFile) Close() error { return errors.Join(f.plain.Close(), f.file.Close()) }

// isTarFormat reports whether a tar is one of pg_dump -Ft, and not the tar of a directory: the first member tells.
func isTarFormat(r *bufio.Reader) bool {
	head, _ := r.Peek(4 << 10)
	first, err := tar.NewReader(bytes.NewReader(head)).Next()
	return err == nil && first.Name == "toc.dat" && first.Uid == tarUser
}

var dumpFile = regexp.MustCompile(`^(?:toc\.dat|[0-9]+\.dat|blob_[0-9]+\.dat|blobs(?:_[0-9]+)?\.toc)(?:\.gz|\.lz4|\.zst)?$`)

func eachDumpFile(name string, visit func(member) error) error {
	root, err := os.OpenRoot(name)
	if err != nil {
		return unavailable(err)
	}
	defer func() { _ = root.Close() }()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return unavailable(err)
	}
	for _, entry := range entries {
		if !entry.Type().IsRegular() {
			continue
		}
		file, err := root.Open(entry.Name())
		if err != nil {
			return unavailable(err)
		}
		info, err := file.Stat()
		if err == nil {
			err = visit(member{name: entry.Name(), size: info.Size(), data: file})
		}
		_ = file.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// unpackDump streams the files of a dump into the volume.
func (c *Cluster) unpackDump(ctx context.Context, each func(func(member) error) error) error {
	return c.unpackTar(ctx, `mkdir -m 700 "$1/dump" && exec tar -x -f - -C "$1"`, func(_ context.Context, to *tar.Writer) error {
		return each(func(m member) error {
			base := path.Base(m.name)
			if m.data == nil || !dumpFile.MatchString(base) {
				return nil
			}
			return writeFile(to, "dump/"+base, m.size, m.data)
		})
	})
}

// unpackTar runs a script in a container with the volume, and gives it a tar that write writes.
func (c *Cluster) unpackTar(ctx context.Context, script string, write func(context.Context, *tar.Writer) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	in, out := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		to := tar.NewWriter(out)
		err := write(ctx, to)
		if err == nil {
			err = to.Close()
		}
		if err != nil && !errors.Is(err, errEnded) {
			cancel(err)
		}
		_ = out.CloseWithError(err)
	}()
	result, err := c.run(ctx, driver.RunSpec{Command: []string{"sh", "-c", script, "unpack", driver.VolumeMount}, Volume: c.id, Stdin: in})
	_ = in.CloseWithError(errEnded)
	<-done
	cause := context.Cause(ctx)
	switch {
	case err == nil && result.ExitCode != 0 && bytes.Contains(result.Stderr, []byte("No space left")):
		return mayfly.Errorf(mayfly.CodePoolFull, "the source does not fit into the pool").WithHint("free space in the pool, or enlarge it")
	case err == nil && result.ExitCode != 0:
		return fmt.Errorf("unpack the source: exit code %d: %s", result.ExitCode, result.Stderr)
	case cause != nil:
		return cause
	case err != nil:
		return fmt.Errorf("unpack the source: %w", err)
	}
	return nil
}
