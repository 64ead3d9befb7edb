package drivertest

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

func volumesLifecycleTests() []volumesTest {
	return []volumesTest{
		{"create", testVolumeCreate},
		{"life of a template and a clone", testVolumeLife},
		{"delete of what does not exist", testVolumeDeleteAbsent},
		{"what does not exist is not found", testVolumeNotFound},
		{"only frozen volumes are cloned", testVolumeUnfrozen},
		{"a clone can be frozen and cloned", testVolumeCloneOfClone},
		{"clones survive their template", testVolumeTemplateDeleted},
		{"a deleted id starts afresh", testVolumeReused},
		{"hostile identifiers", testVolumeHostileIDs},
		{"pool statistics", testVolumeStat},
		{"a full pool refuses", testVolumeFull},
	}
}

func testVolumeCreate(t *testing.T, s *volumesSuite) {
	id := s.id(t)
	s.wantState(t, id, false, false)
	s.must(t, "create", s.Create(t.Context(), id, owner()))
	s.wantState(t, id, true, false)
	path := s.path(t, id)
	var st syscall.Stat_t
	s.must(t, "stat", syscall.Stat(path, &st))
	if int(st.Uid) != owner().UID || int(st.Gid) != owner().GID || st.Mode&0o777 != 0o700 {
		t.Errorf("a new volume is owned by %d:%d with mode %04o; want %d:%d with 0700", st.Uid, st.Gid, st.Mode&0o777, owner().UID, owner().GID)
	}
	entries, err := os.ReadDir(path)
	if err != nil || len(entries) > 0 {
		t.Errorf("a new volume should be empty, but has %v (%v)", entries, err)
	}
	file := filepath.Join(path, "kept")
	s.must(t, "write", os.WriteFile(file, []byte("kept"), 0o600))
	s.must(t, "create again", s.Create(t.Context(), id, driver.Owner{}))
	if data, err := os.ReadFile(file); string(data) != "kept" {
		t.Errorf("creating a volume again changed a file in it to %q (%v)", data, err)
	}
}

func testVolumeLife(t *testing.T, s *volumesSuite) {
	ctx := t.Context()
	template, clone := s.filled(t), s.id(t)
	for range 2 {
		s.must(t, "freeze", s.Freeze(ctx, template))
		s.wantState(t, template, true, true)
	}
	for range 2 {
		s.must(t, "clone", s.Clone(ctx, template, clone, 0))
		s.wantState(t, clone, true, false)
	}
	if s.Path != nil {
		file := filepath.Join(s.path(t, clone), "pgdata/PG_VERSION")
		s.must(t, "write in the clone", os.WriteFile(file, []byte("changed"), 0o600))
		s.must(t, "clone onto an existing one", s.Clone(ctx, template, clone, 0))
		if data, err := os.ReadFile(file); string(data) != "changed" {
			t.Errorf("cloning onto an existing volume changed a file in it to %q (%v)", data, err)
		}
	}
	for range 2 {
		s.must(t, "delete the clone", s.Delete(ctx, clone))
		s.wantState(t, clone, false, false)
	}
	for range 2 {
		s.must(t, "delete the template", s.Delete(ctx, template))
		s.wantState(t, template, false, false)
	}
}

func testVolumeDeleteAbsent(t *testing.T, s *volumesSuite) {
	s.must(t, "delete what does not exist", s.Delete(t.Context(), s.id(t)))
}

func testVolumeNotFound(t *testing.T, s *volumesSuite) {
	ctx, absent, to := t.Context(), s.id(t), s.id(t)
	wantError(t, "freeze", s.Freeze(ctx, absent), driver.ErrNotFound)
	wantError(t, "clone", s.Clone(ctx, absent, to, 0), driver.ErrNotFound)
	_, err := s.Size(ctx, absent)
	wantError(t, "size", err, driver.ErrNotFound)
	if s.Path != nil {
		_, err = s.Path(absent)
		wantError(t, "path", err, driver.ErrNotFound)
	}
	s.wantState(t, to, false, false)
}

func testVolumeUnfrozen(t *testing.T, s *volumesSuite) {
	from, to := s.filled(t), s.id(t)
	wantError(t, "clone of an unfrozen volume", s.Clone(t.Context(), from, to, 0), driver.ErrNotFound)
	s.wantState(t, to, false, false)
}

func testVolumeCloneOfClone(t *testing.T, s *volumesSuite) {
	ctx := t.Context()
	template, middle, last := s.template(t), s.id(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, template, middle, 0))
	s.must(t, "freeze the clone", s.Freeze(ctx, middle))
	s.must(t, "clone the clone", s.Clone(ctx, middle, last, 0))
	s.must(t, "delete the template", s.Delete(ctx, template))
	s.must(t, "delete the clone between", s.Delete(ctx, middle))
	s.wantSample(t, last)
}

func testVolumeTemplateDeleted(t *testing.T, s *volumesSuite) {
	ctx := t.Context()
	template, clone := s.template(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, template, clone, 0))
	s.must(t, "delete the template", s.Delete(ctx, template))
	s.wantState(t, template, false, false)
	s.wantSample(t, clone)
	again := s.Open(t)
	s.wantSample(t, clone)
	s.must(t, "delete the clone", again.Delete(ctx, clone))
}

func testVolumeReused(t *testing.T, s *volumesSuite) {
	ctx := t.Context()
	id, old, clone := s.template(t), s.id(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, id, old, 0))
	s.must(t, "delete", s.Delete(ctx, id))
	s.must(t, "create again", s.Create(ctx, id, owner()))
	s.wantState(t, id, true, false)
	file := filepath.Join(s.path(t, id), "new")
	s.must(t, "write", os.WriteFile(file, []byte("new"), 0o600))
	s.must(t, "freeze", s.Freeze(ctx, id))
	s.must(t, "clone", s.Clone(ctx, id, clone, 0))
	entries, err := os.ReadDir(s.path(t, clone))
	if err != nil || len(entries) != 1 || entries[0].Name() != "new" {
		t.Errorf("the clone of a volume under a used id should have the new contents, but has %v (%v)", entries, err)
	}
	s.wantSample(t, old)
}

func testVolumeHostileIDs(t *testing.T, s *volumesSuite) {
	template := s.template(t)
	for _, id := range []string{
		"", ".", "..", "../x", "a/b", "/etc", "A", "aB", "1a", "-a", "a b", "a\x00b", "a\n", "a@frozen", "a%", "ä", "a.b", "a_b",
		"a" + strings.Repeat("b", 40), "--help", "$(id)", "a;id",
	} {
		ctx := t.Context()
		wantError(t, "create "+id, s.Create(ctx, id, owner()), driver.ErrInvalidID)
		wantError(t, "freeze "+id, s.Freeze(ctx, id), driver.ErrInvalidID)
		wantError(t, "clone from "+id, s.Clone(ctx, id, "x", 0), driver.ErrInvalidID)
		wantError(t, "clone to "+id, s.Clone(ctx, template, id, 0), driver.ErrInvalidID)
		wantError(t, "delete "+id, s.Delete(ctx, id), driver.ErrInvalidID)
		_, err := s.Size(ctx, id)
		wantError(t, "size "+id, err, driver.ErrInvalidID)
		if s.Path != nil {
			_, err = s.Path(id)
			wantError(t, "path "+id, err, driver.ErrInvalidID)
		}
	}
	s.wantSample(t, template)
}

func testVolumeStat(t *testing.T, s *volumesSuite) {
	st, err := s.Stat(t.Context())
	if err != nil {
		t.Fatalf("stat: %v", err)
	}
	if st.Driver == "" || st.TotalBytes <= 0 || st.FreeBytes <= 0 || st.FreeBytes > st.TotalBytes {
		t.Errorf("the pool's statistics make no sense: %+v", st)
	}
	if st.SharesBlocks && !st.CopyOnWrite {
		t.Errorf("a driver that shares blocks copies on write: %+v", st)
	}
	id := s.template(t)
	size, err := s.Size(t.Context(), id)
	if err != nil || size < 1<<20 || size > 16<<20 {
		t.Errorf("a volume with 1 MiB of files has size %d (%v)", size, err)
	}
}

func testVolumeFull(t *testing.T, s *volumesSuite) {
	if s.Full == nil {
		t.Skip("the driver's test gives no full pool")
	}
	ctx, template, existing, id := t.Context(), s.template(t), s.id(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, template, existing, 0))
	full := s.Full(t)
	wantError(t, "create in a full pool", full.Create(ctx, id, owner()), driver.ErrNoSpace)
	wantError(t, "clone in a full pool", full.Clone(ctx, template, id, 0), driver.ErrNoSpace)
	s.wantState(t, id, false, false)
	s.must(t, "clone onto an existing one in a full pool", full.Clone(ctx, template, existing, 0))
	s.must(t, "delete in a full pool", full.Delete(ctx, existing))
	s.wantState(t, existing, false, false)
	if left := leftoversOf(t, s, id); len(left) > 0 {
		t.Errorf("a refused clone left %v", left)
	}
}

// leftoversOf names what is left in the pool of one id.
func leftoversOf(t *testing.T, s *volumesSuite, id string) []string {
	t.Helper()
	if s.Leftovers == nil {
		return nil
	}
	all, err := s.Leftovers()
	if err != nil {
		t.Fatalf("look for leftovers: %v", err)
	}
	var left []string
	for _, name := range all {
		if strings.Contains(name, id) {
			left = append(left, name)
		}
	}
	return left
}

// cancelled returns a context that is over.
func cancelled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}
