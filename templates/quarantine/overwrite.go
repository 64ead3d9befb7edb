package quarantine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// overwriteBlock is what is written at once. File systems give out whole blocks, and what is behind a file's end in its
// last one is overwritten, too.
const (
	overwriteBlock  = 1 << 20
	fileSystemBlock = 4096
)

// overwrite writes zeros over every file below a directory of this host, and waits until that is on disk. Links are not
// followed.
func overwrite(ctx context.Context, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return fmt.Errorf("open the files: %w", err)
	}
	defer func() { _ = root.Close() }()
	zeros := make([]byte, overwriteBlock)
	var failed error
	err = fs.WalkDir(root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && entry.Type().IsRegular() {
			err = overwriteFile(ctx, root, name, zeros)
		}
		if failed == nil {
			failed = err // the others are overwritten all the same
		}
		return nil
	})
	return errors.Join(err, failed)
}

func overwriteFile(ctx context.Context, root *os.Root, name string, zeros []byte) (err error) {
	file, err := root.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	for left := (info.Size() + fileSystemBlock - 1) / fileSystemBlock * fileSystemBlock; left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := file.Write(zeros[:min(left, overwriteBlock)])
		if err != nil {
			return err
		}
		left -= int64(n)
	}
	return file.Sync()
}
