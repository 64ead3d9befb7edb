package fetch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	mayfly "github.com/mayflydb/mayfly"
)

const (
	// stallTimeout is how long a connection may send nothing.
	stallTimeout = time.Minute
	// copyBytes is the size of the steps of a download.
	copyBytes = 256 << 10
	// spare is what a download leaves free on its file system.
	spare = 64 << 20
)

// body is what a remote sends. from is the offset that it really begins at: a server may not know ranges.
type body struct {
	io.ReadCloser
	from int64
}

// started is kept beside a partial file: what it is a part of.
type started struct {
	Key     string `json:"key"`
	Version string `json:"version"`
	Size    int64  `json:"size"`
}

// download brings one object to the file of that name below the directory for downloads. Until it is complete it is in
// another directory, with the note of what it is a part of: the files of a dump shall be alone in theirs.
func (g *getter) download(ctx context.Context, o object, name string) error {
	target := filepath.Join(g.opts.Dir, name)
	part := filepath.Join(g.opts.Dir, "unfinished", url.PathEscape(name))
	note := part + ".json"
	for _, dir := range []string{filepath.Dir(target), filepath.Dir(part)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make the directory for downloads: %w", err)
		}
	}
	same := g.matches(o, note)
	if info, err := os.Stat(target); err == nil && same { // complete, from before the process died
		g.advance(info.Size())
		return nil
	}
	if !same {
		if err := errors.Join(removeIfThere(part), removeIfThere(target), g.remember(o, note)); err != nil {
			return fmt.Errorf("start a download: %w", err)
		}
	}
	file, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open a download: %w", err)
	}
	defer func() { _ = file.Close() }()
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return fmt.Errorf("open a download: %w", err)
	}
	g.advance(have)
	if err := g.rest(ctx, o, file, have); err != nil {
		return err
	}
	if err := errors.Join(file.Sync(), file.Close(), os.Rename(part, target)); err != nil {
		return g.spoolError(err)
	}
	return nil
}

// rest appends what is missing, over as many connections as it takes.
func (g *getter) rest(ctx context.Context, o object, file *os.File, have int64) error {
	for tries := 0; o.size < 0 || have < o.size || tries == 0; {
		n, err := g.attempt(ctx, o, file, have)
		have += n
		switch {
		case err == nil && (o.size < 0 || have == o.size):
			return nil
		case err == nil && have > o.size:
			return g.failed(errChanged)
		case err == nil:
			err = io.ErrUnexpectedEOF
		}
		if final(err) || ctx.Err() != nil {
			return g.failed(errors.Join(ctx.Err(), err))
		}
		if tries++; n > 0 {
			tries = 1
		}
		if tries > maxTries {
			return g.failed(err)
		}
		g.opts.Logger.WarnContext(ctx, "the download of a source was interrupted and goes on", "source", g.shown, "bytes", have, "try", tries, "error", err)
		select {
		case <-time.After(g.opts.Backoff(tries)):
		case <-ctx.Done():
			return g.failed(ctx.Err())
		}
	}
	return nil
}

func final(err error) bool {
	return errors.Is(err, errNotFound) || errors.Is(err, errDenied) || errors.Is(err, errChanged) || mayfly.ErrorCode(err) != mayfly.CodeInternal
}

// attempt reads over one connection and returns how many bytes it added to file.
func (g *getter) attempt(ctx context.Context, o object, file *os.File, have int64) (added int64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(stallTimeout, func() { cancel(errors.New("the connection sends nothing")) })
	defer watch.Stop()
	from, err := g.from.read(ctx, o, have)
	if err != nil {
		return 0, err
	}
	defer func() { _ = from.Close() }()
	if _, err := io.CopyN(io.Discard, from, have-from.from); err != nil {
		return 0, fmt.Errorf("skip what is here already: %w", err)
	}
	buffer := make([]byte, copyBytes)
	for {
		n, readErr := from.Read(buffer)
		watch.Reset(stallTimeout)
		if n > 0 {
			if _, err := file.Write(buffer[:n]); err != nil {
				return added, g.spoolError(err)
			}
			added += int64(n)
			g.advance(int64(n))
		}
		if err := context.Cause(ctx); err != nil {
			return added, err
		}
		switch {
		case errors.Is(readErr, io.EOF):
			return added, nil
		case readErr != nil:
			return added, readErr
		}
	}
}

func (g *getter) advance(n int64) {
	g.done += n
	if g.opts.Progress != nil {
		g.opts.Progress(g.done, max(g.total, 0))
	}
}

// matches reports whether what was begun is of the same version as o. Without a version nothing can be resumed.
func (g *getter) matches(o object, name string) bool {
	raw, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	var was started
	return json.Unmarshal(raw, &was) == nil && o.version != "" && was == started{Key: o.key, Version: o.version, Size: o.size}
}

func (g *getter) remember(o object, name string) error {
	raw, err := json.Marshal(started{Key: o.key, Version: o.version, Size: o.size})
	if err != nil {
		return err
	}
	return os.WriteFile(name, raw, 0o600)
}

func removeIfThere(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// room refuses a download that does not fit.
func (g *getter) room(bytes int64) error {
	if err := os.MkdirAll(g.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for downloads: %w", err)
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(g.opts.Dir, &fs); err != nil {
		return fmt.Errorf("ask for the free space: %w", err)
	}
	free := int64(fs.Bavail) * int64(fs.Bsize) //nolint:unconvert // its type differs between systems
	if here := used(g.opts.Dir); bytes-here+spare > free {
		return mayfly.Errorf(mayfly.CodePoolFull, "%s has %d MiB, and %d MiB are free for it", g.shown, bytes>>20, free>>20).
			WithHint("free space in the pool, or enlarge it")
	}
	return nil
}

// used returns how many bytes of a download are here already.
func used(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return nil //nolint:nilerr // what cannot be read takes no room that we know of
		}
		if info, err := e.Info(); err == nil {
			sum += info.Size()
		}
		return nil
	})
	return sum
}

func (g *getter) spoolError(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return mayfly.Errorf(mayfly.CodePoolFull, "the pool is full: %s does not fit", g.shown).WithHint("free space in the pool, or enlarge it")
	}
	return fmt.Errorf("write a download: %w", err)
}
