package drivertest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func volumesContentTests() []volumesTest {
	return []volumesTest{
		{"a clone is identical", testVolumeIdentical},
		{"clones are isolated", testVolumeIsolation},
		{"a frozen volume is read-only", testVolumeReadOnly},
		{"the limit of a clone", testVolumeLimit},
	}
}

func testVolumeIdentical(t *testing.T, s *volumesSuite) {
	template, clone := s.template(t), s.id(t)
	s.must(t, "clone", s.Clone(t.Context(), template, clone, 0))
	s.wantSample(t, template)
	s.wantSample(t, clone)
}

func testVolumeIsolation(t *testing.T, s *volumesSuite) {
	ctx := t.Context()
	template, a, b, later := s.template(t), s.id(t), s.id(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, template, a, 0))
	s.must(t, "clone", s.Clone(ctx, template, b, 0))
	dir := s.path(t, a)
	table := filepath.Join(dir, "pgdata/base/5/16384")
	f, err := os.OpenFile(table, os.O_RDWR, 0)
	s.must(t, "open", err)
	_, err = f.WriteAt([]byte("written in the middle"), 1<<19+100)
	s.must(t, "write in the clone", errors.Join(err, f.Sync(), f.Close()))
	s.must(t, "remove in the clone", os.Remove(filepath.Join(dir, "pgdata/PG_VERSION")))
	s.must(t, "remove a directory in the clone", os.RemoveAll(filepath.Join(dir, "tablespace")))
	s.must(t, "truncate in the clone", os.Truncate(filepath.Join(dir, "pgdata/global/pg_control"), 10))
	s.must(t, "rename in the clone", os.Rename(filepath.Join(dir, "pgdata/base/5/16385"), filepath.Join(dir, "pgdata/base/5/9")))
	s.must(t, "chmod in the clone", os.Chmod(filepath.Join(dir, "pgdata/base/5/16384_fsm"), 0o400))
	s.must(t, "clone", s.Clone(ctx, template, later, 0))
	for _, id := range []string{template, b, later} {
		s.wantSample(t, id)
	}
	got, err := listing(dir)
	if err != nil || got == sampleListing() {
		t.Errorf("the clone does not show what was written to it (%v)", err)
	}
}

func testVolumeReadOnly(t *testing.T, s *volumesSuite) {
	if !s.ReadOnly {
		t.Skip("the driver cannot keep root from writing here")
	}
	dir := s.path(t, s.template(t))
	denied := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, fs.ErrPermission) && !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s in a frozen volume: got error %v, want it denied", what, err)
		}
	}
	_, err := os.OpenFile(filepath.Join(dir, "pgdata/base/5/16384"), os.O_RDWR, 0)
	denied("writing to a file", err)
	_, err = os.Create(filepath.Join(dir, "pgdata/postmaster.pid"))
	denied("making a file", err)
	denied("removing a file", os.Remove(filepath.Join(dir, "pgdata/PG_VERSION")))
	denied("truncating a file", os.Truncate(filepath.Join(dir, "pgdata/PG_VERSION"), 0))
}

func testVolumeLimit(t *testing.T, s *volumesSuite) {
	if !s.Limits {
		t.Skip("the driver does not enforce limits here")
	}
	const limit = 8 << 20
	ctx := t.Context()
	template, limited, free := s.template(t), s.id(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, template, limited, limit))
	s.must(t, "clone", s.Clone(ctx, template, free, 0))
	s.wantSample(t, limited)
	if err := write(filepath.Join(s.path(t, limited), "pgdata/within"), limit/2); err != nil {
		t.Errorf("writing half of the limit: %v", err)
	}
	err := write(filepath.Join(s.path(t, limited), "pgdata/over"), 2*limit)
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
		t.Errorf("writing over the limit: got error %v, want ENOSPC or EDQUOT", err)
	}
	if err := write(filepath.Join(s.path(t, free), "pgdata/over"), 2*limit); err != nil {
		t.Errorf("writing to a clone without a limit, beside one that is full: %v", err)
	}
	s.must(t, "delete the full clone", s.Delete(ctx, limited))
	s.must(t, "clone again", s.Clone(ctx, template, limited, 8*limit))
	if err := write(filepath.Join(s.path(t, limited), "pgdata/over"), 2*limit); err != nil {
		t.Errorf("writing to a clone under the id of one that was full: %v", err)
	}
}

// write writes and syncs a new file, piece by piece: a limit may be noticed late.
func write(path string, size int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	const piece = 256 << 10
	for done := 0; done < size && err == nil; done += piece {
		if _, err = f.Write(pattern(piece, byte(done>>18))); err == nil {
			err = f.Sync()
		}
	}
	return errors.Join(err, f.Close())
}
