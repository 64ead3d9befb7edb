package archive

import (
	"context"
	"io"
	"os"
	"slices"
	"strings"
)

// Open opens a dump of any format that can be read without a server: Custom, Directory, Tar and Plain, also compressed
// as a whole. What is compressed as a whole, and every Plain dump, is read once from start to end, to know where the data
// is and that nothing of it is missing; nothing is ever written to a disk. ctx ends that reading.
//
// An error is a *mayfly.Error with CodeSourceInvalid, or CodeSourceUnavailable if there is no such file. NeedsRestore
// recognises the dumps that are good but need a server.
func Open(ctx context.Context, name string) (_ *Archive, err error) {
	format, compression, err := Detect(name)
	if err != nil {
		return nil, err
	}
	if format == Script || format == BaseBackup {
		return nil, restoreFirst("it is a %s", format)
	}
	var a *Archive
	if format == Directory {
		a, err = openDirectory(ctx, name)
	} else {
		a, err = openFile(ctx, name, format, compression)
	}
	if err != nil {
		return nil, err
	}
	a.Format, a.Compression = format, compression
	if err := a.checkData(); err != nil {
		_ = a.Close()
		return nil, &described{err, a.Header}
	}
	return a, nil
}

// Read reads an archive in the custom format that is not compressed as a whole.
func Read(ctx context.Context, r io.ReaderAt, size int64) (*Archive, error) {
	a, err := readCustom(ctx, &plainStore{r: r, bytes: size})
	if err != nil {
		return nil, err
	}
	a.Format, a.Compression = Custom, CompressionNone
	return a, a.checkData()
}

func openFile(ctx context.Context, name string, format Format, compression Compression) (a *Archive, err error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, unavailable(err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, unavailable(err)
	}
	var st store = &plainStore{r: file, bytes: info.Size()}
	if compression != CompressionNone {
		st = newPackedStore(file, info.Size(), compression)
	}
	if a, err = readStore(ctx, st, format); err != nil {
		return nil, err
	}
	a.closes = append(a.closes, file.Close)
	if packed, ok := st.(*packedStore); ok {
		a.closes = append(a.closes, packed.close)
	}
	return a, nil
}

// readStore reads a dump that is one file.
func readStore(ctx context.Context, st store, format Format) (*Archive, error) {
	switch format {
	case Tar:
		return readTar(ctx, st)
	case Plain:
		return readPlain(ctx, st)
	case Custom, Directory, Script, BaseBackup, Unknown:
	}
	return readCustom(ctx, st)
}

// checkData makes sure that the data is rows of the tables that it is said to be for.
func (a *Archive) checkData() error {
	// Before the fix of CVE-2018-1058 pg_dump wrote names without their schemas.
	old := !slices.ContainsFunc(a.Entries, func(e Entry) bool { return e.Kind == "SEARCHPATH" })
	for i := range a.Entries {
		e := &a.Entries[i]
		if e.Kind != "TABLE DATA" || !e.HasData {
			continue
		}
		if e.Copy == "" {
			return restoreFirst("it holds INSERT statements for %s.%s instead of COPY data", e.Schema, e.Tag)
		}
		target, err := ParseCopy(e.Copy)
		switch {
		case err != nil && old && strings.HasPrefix(e.Copy, "COPY "):
			return restoreFirst("it was made by an old pg_dump, which wrote names without their schemas")
		case err != nil:
			return err
		case target.Schema != e.Schema || target.Table != e.Tag:
			return restoreFirst("it loads the rows of %s.%s through %s.%s", e.Schema, e.Tag, target.Schema, target.Table)
		}
	}
	return nil
}
