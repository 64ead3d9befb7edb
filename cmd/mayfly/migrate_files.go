package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/client"
	"github.com/mayflydb/mayfly/migrations"
	"github.com/mayflydb/mayfly/migrations/runner"
)

// migrationsDir is --path, or the first of the usual directories that there is: of the tool, if its migrations are code and --tool names it.
func (m *migrateTarget) migrationsDir() (string, error) {
	if m.path != "" {
		return strings.Trim(path.Clean(filepath.ToSlash(m.path)), "/"), nil
	}
	usual := []string{
		"db/migrations", "migrations/versions", "migrations", "supabase/migrations", "prisma/migrations", "drizzle", "db/migrate", "sql",
		"alembic/versions", "priv/repo/migrations", "src/migrations", "src/migration",
	}
	if preset, ok := runner.PresetOf(m.tool); ok {
		usual = preset.Paths
		if len(usual) == 0 { // any directory may have some
			return ".", nil
		}
	}
	for _, dir := range usual {
		if info, err := os.Stat(filepath.Join(m.dir, filepath.FromSlash(dir))); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", usage("where are the migrations? give --path; there is none of %s", strings.Join(usual, ", "))
}

// maxLocalFile bounds one file: a dump that lies beside the migrations is none.
const maxLocalFile = 64 << 20

// localFiles reads the files below a directory of the working directory; of tools whose migrations are code, those that can be one.
func localFiles(root, dir string, settings mayfly.MigrationSettings) ([]migrations.File, error) {
	var files []migrations.File
	top := filepath.Join(root, filepath.FromSlash(dir))
	err := filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := entry.Name(); entry.IsDir() && name != top && (base == ".git" || base == "node_modules") {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		relative = filepath.ToSlash(relative)
		if migrations.Code(settings) && !migrations.CodeFile(settings, relative) {
			return nil
		}
		if info, err := entry.Info(); err != nil || info.Size() > maxLocalFile {
			return errors.Join(err, fmt.Errorf("%s is larger than %d MiB", relative, maxLocalFile>>20))
		}
		content, err := os.ReadFile(name) //nolint:gosec // the user names the directory
		files = append(files, migrations.File{Path: relative, Content: content})
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, mayfly.Errorf(mayfly.CodeNotFound, "there is no directory %s", top).WithHint("give --dir and --path")
	}
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the migrations: %w", err)
	}
	return files, nil
}

// filesAtCommit reads them from another commit. A directory that is not there has no files.
func filesAtCommit(ctx context.Context, root, commit, dir string) ([]migrations.File, error) {
	var complaint bytes.Buffer
	resolved, err := exec.CommandContext(ctx, "git", "-C", root, "rev-parse", "--verify", "--end-of-options", commit+"^{commit}").Output()
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "git does not know the commit %q", commit).WithHint("fetch it first")
	}
	git := exec.CommandContext(ctx, "git", "-C", root, "archive", "--format=tar", strings.TrimSpace(string(resolved)))
	git.Stderr = &complaint
	stream, err := git.StdoutPipe()
	if err == nil {
		err = git.Start()
	}
	if err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "run git: %w", err)
	}
	files, readErr := tarFiles(stream, dir)
	_, _ = io.Copy(io.Discard, stream) // so that git can end
	if err := git.Wait(); err != nil {
		return nil, mayfly.Errorf(mayfly.CodeInvalid, "git archive: %w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return files, readErr
}

func tarFiles(stream io.Reader, dir string) ([]migrations.File, error) {
	var files []migrations.File
	for archive := tar.NewReader(stream); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files, nil
		}
		if err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the commit: %w", err)
		}
		if header.Typeflag != tar.TypeReg || dir != "." && !strings.HasPrefix(header.Name, dir+"/") {
			continue
		}
		content, err := io.ReadAll(archive)
		if err != nil {
			return nil, mayfly.Errorf(mayfly.CodeInvalid, "read the commit: %w", err)
		}
		files = append(files, migrations.File{Path: header.Name, Content: content})
	}
}

// reportOf reads a preview's report, which knows the files that its template's migrations came from, and the other pull requests. A
// sandbox has none, and none is needed.
func reportOf(ctx context.Context, c *client.Client, preview string) *migrations.Report {
	raw, err := c.Report(ctx, preview)
	if err != nil {
		return nil
	}
	var report migrations.Report
	if err := json.Unmarshal(raw, &report); err != nil {
		return nil
	}
	return &report
}
