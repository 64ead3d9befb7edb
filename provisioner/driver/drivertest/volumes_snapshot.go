package drivertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

func volumesSnapshotTests() []volumesTest {
	return []volumesTest{
		{"a snapshot is identical and frozen", testSnapshotIdentical},
		{"a snapshot is of one moment", testSnapshotMoment},
		{"a snapshot that cannot be held is not made", testSnapshotRefused},
		{"a snapshot of a snapshot's clone", testSnapshotChain},
		{"crash while making a snapshot", testVolumeCrashSnapshot},
	}
}

// shooter returns the volumes' Snapshotter.
func (s *volumesSuite) shooter(t *testing.T) driver.Snapshotter {
	t.Helper()
	shooter, ok := s.Volumes.(driver.Snapshotter)
	if !ok {
		t.Skip("the driver makes no snapshots of volumes in use")
	}
	return shooter
}

// quiet holds nothing, because nothing writes.
func quiet(ctx context.Context) (context.Context, func(), error) { return ctx, func() {}, nil }

func testSnapshotIdentical(t *testing.T, s *volumesSuite) {
	ctx, shooter := t.Context(), s.shooter(t)
	template, source, snapshot, clone := s.template(t), s.id(t), s.id(t), s.id(t)
	s.must(t, "clone", s.Clone(ctx, template, source, 0))
	for range 2 {
		s.must(t, "snapshot", shooter.Snapshot(ctx, source, snapshot, quiet))
	}
	s.wantSample(t, snapshot)
	s.wantState(t, snapshot, true, true)
	s.wantState(t, source, true, false)
	s.must(t, "write to the source afterwards", os.WriteFile(filepath.Join(s.path(t, source), "pgdata/later"), []byte("x"), 0o600))
	s.must(t, "change the source afterwards", os.Truncate(filepath.Join(s.path(t, source), "pgdata/base/5/16384"), 7))
	s.wantSample(t, snapshot)
	s.must(t, "clone the snapshot", s.Clone(ctx, snapshot, clone, 0))
	s.must(t, "delete the source", s.Delete(ctx, source))
	s.must(t, "delete the template", s.Delete(ctx, template))
	s.wantSample(t, snapshot)
	s.must(t, "delete the snapshot", s.Delete(ctx, snapshot))
	s.wantSample(t, clone)
	wantError(t, "snapshot of what is gone", shooter.Snapshot(ctx, source, s.id(t), quiet), driver.ErrNotFound)
	wantError(t, "snapshot under a bad name", shooter.Snapshot(ctx, clone, "../x", quiet), driver.ErrInvalidID)
}

// testSnapshotMoment writes one number to two files, one after the other, while snapshots are made: held between two rounds, a
// snapshot has the same number in both, and they are in order.
func testSnapshotMoment(t *testing.T, s *volumesSuite) {
	ctx, shooter := t.Context(), s.shooter(t)
	source := s.filled(t)
	dir := s.path(t, source)
	var held sync.Mutex
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 1; ; n++ {
			select {
			case <-stop:
				return
			default:
			}
			held.Lock()
			err := errors.Join(os.WriteFile(filepath.Join(dir, "pgdata/a"), []byte(strconv.Itoa(n)), 0o600),
				os.WriteFile(filepath.Join(dir, "tablespace/b"), []byte(strconv.Itoa(n)), 0o600))
			held.Unlock()
			if err != nil {
				t.Errorf("write: %v", err)
				return
			}
		}
	})
	defer writer.Wait()
	defer close(stop)
	last := -1
	for range 5 {
		snapshot, calls := s.id(t), 0
		s.must(t, "snapshot", shooter.Snapshot(ctx, source, snapshot, func(ctx context.Context) (context.Context, func(), error) {
			calls++
			held.Lock()
			return ctx, held.Unlock, nil
		}))
		a, b := number(t, filepath.Join(s.path(t, snapshot), "pgdata/a")), number(t, filepath.Join(s.path(t, snapshot), "tablespace/b"))
		if a != b || a < last || calls != 1 {
			t.Errorf("a snapshot has %d and %d, after one with %d; it was held %d times", a, b, last, calls)
		}
		last = a
	}
}

// number reads a number from a file; 0 if there is none yet.
func number(t *testing.T, path string) int {
	t.Helper()
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	n, convErr := strconv.Atoi(string(raw))
	if err != nil || convErr != nil {
		t.Fatalf("read %s: %v", path, errors.Join(err, convErr))
	}
	return n
}

func testSnapshotRefused(t *testing.T, s *volumesSuite) {
	ctx, shooter := t.Context(), s.shooter(t)
	source, snapshot := s.filled(t), s.id(t)
	refused := errors.New("it cannot be held")
	err := shooter.Snapshot(ctx, source, snapshot, func(ctx context.Context) (context.Context, func(), error) { return ctx, nil, refused })
	wantError(t, "snapshot of what cannot be held", err, refused)
	s.wantState(t, snapshot, false, false)
	// The time that it may be held ends: what holds is let go, and nothing is left.
	released := false
	err = shooter.Snapshot(ctx, source, snapshot, func(ctx context.Context) (context.Context, func(), error) {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		return ended, func() { released = true }, nil
	})
	if !released {
		t.Error("it was not let go")
	}
	if err != nil { // a driver may be done before it looks at the context
		wantError(t, "snapshot in no time", err, context.Canceled)
		s.wantState(t, snapshot, false, false)
	}
	s.wantSample(t, source)
	if s.Full == nil {
		return
	}
	full, ok := s.Full(t).(driver.Snapshotter)
	if !ok {
		t.Fatal("another handle on the pool makes no snapshots")
	}
	wantError(t, "snapshot in a full pool", full.Snapshot(ctx, source, s.id(t), quiet), driver.ErrNoSpace)
}

func testSnapshotChain(t *testing.T, s *volumesSuite) {
	ctx, shooter := t.Context(), s.shooter(t)
	from := s.template(t)
	for range 3 {
		clone, snapshot := s.id(t), s.id(t)
		s.must(t, "clone", s.Clone(ctx, from, clone, 0))
		s.must(t, "snapshot", shooter.Snapshot(ctx, clone, snapshot, quiet))
		s.must(t, "delete the clone", s.Delete(ctx, clone))
		s.wantSample(t, snapshot)
		from = snapshot
	}
}

func testVolumeCrashSnapshot(t *testing.T, s *volumesSuite) {
	s.shooter(t)
	source := s.filled(t)
	s.crashes(t, func() VolumesOp {
		return VolumesOp{Name: "snapshot", ID: s.id(t), From: source}
	}, func(op VolumesOp, complete bool) {
		exists, frozen := state(t, s, op.ID)
		if exists != frozen || (complete && !exists) {
			t.Errorf("exists %t, frozen %t", exists, frozen)
		}
		if exists {
			s.wantSample(t, op.ID)
		}
		s.wantSample(t, source)
	})
}
