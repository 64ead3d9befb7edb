package drivertest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mayflydb/mayfly/provisioner/driver"
)

func volumesConcurrencyTests() []volumesTest {
	return []volumesTest{
		{"many clones of one template at once", testVolumeManyClones},
		{"one clone made by many", testVolumeOneByMany},
		{"a template deleted while it is cloned", testVolumeDeletedWhileCloned},
		{"create, freeze and delete by many", testVolumeAllByMany},
		{"cancelled operations leave nothing", testVolumeCancel},
		{"two processes", testVolumeTwoProcesses},
		{"opening beside work in progress", testVolumeOpenWhileCloning},
	}
}

// atOnce runs n functions at the same time and returns their errors.
func atOnce(n int, f func(i int) error) []error {
	errs := make([]error, n)
	var wait sync.WaitGroup
	for i := range n {
		wait.Go(func() { errs[i] = f(i) })
	}
	wait.Wait()
	return errs
}

func testVolumeManyClones(t *testing.T, s *volumesSuite) {
	template, other := s.template(t), s.Open(t)
	ids := make([]string, 12)
	for i := range ids {
		ids[i] = s.id(t)
	}
	errs := atOnce(len(ids), func(i int) error {
		handles := []driver.Volumes{s, other}
		return handles[i%2].Clone(t.Context(), template, ids[i], 0)
	})
	s.must(t, "clone", errors.Join(errs...))
	for _, id := range ids {
		s.wantSample(t, id)
	}
}

func testVolumeOneByMany(t *testing.T, s *volumesSuite) {
	template, id, other := s.template(t), s.id(t), s.Open(t)
	errs := atOnce(8, func(i int) error {
		handles := []driver.Volumes{s, other}
		return handles[i%2].Clone(t.Context(), template, id, 0)
	})
	s.must(t, "clone", errors.Join(errs...))
	s.wantState(t, id, true, false)
	s.wantSample(t, id)
	if left := leftoversOf(t, s, id); len(left) > 0 {
		t.Errorf("clones that came second left %v", left)
	}
}

func testVolumeDeletedWhileCloned(t *testing.T, s *volumesSuite) {
	for range 5 {
		template := s.template(t)
		ids := make([]string, 6)
		for i := range ids {
			ids[i] = s.id(t)
		}
		errs := atOnce(len(ids)+1, func(i int) error {
			if i == len(ids)/2 {
				return s.Delete(t.Context(), template)
			}
			return s.Clone(t.Context(), template, ids[min(i, len(ids)-1)], 0)
		})
		for i, err := range errs {
			if err != nil && !errors.Is(err, driver.ErrNotFound) {
				t.Errorf("operation %d: %v", i, err)
			}
		}
		s.wantState(t, template, false, false)
		for _, id := range ids {
			if exists, _ := state(t, s, id); exists {
				s.wantSample(t, id)
			}
		}
	}
}

func testVolumeAllByMany(t *testing.T, s *volumesSuite) {
	ctx, id := t.Context(), s.id(t)
	s.must(t, "create", errors.Join(atOnce(6, func(int) error { return s.Create(ctx, id, owner()) })...))
	s.wantState(t, id, true, false)
	if s.Path != nil {
		writeSample(t, s.path(t, id))
	}
	s.must(t, "freeze", errors.Join(atOnce(6, func(int) error { return s.Freeze(ctx, id) })...))
	s.wantState(t, id, true, true)
	s.wantSample(t, id)
	s.must(t, "delete", errors.Join(atOnce(6, func(int) error { return s.Delete(ctx, id) })...))
	s.wantState(t, id, false, false)
}

func testVolumeCancel(t *testing.T, s *volumesSuite) {
	template, id := s.template(t), s.id(t)
	wantError(t, "clone", s.Clone(cancelled(t), template, id, 0), context.Canceled)
	wantError(t, "create", s.Create(cancelled(t), id, owner()), context.Canceled)
	s.wantState(t, id, false, false)
	// Somewhere in the middle: another operation on the pool ends at an unpredictable moment and cancels this one.
	whole := t.Context()
	for range 5 {
		ctx, cancel := context.WithCancel(whole)
		other := s.id(t)
		errs := atOnce(2, func(i int) error {
			if i == 0 {
				defer cancel()
				return s.Clone(whole, template, other, 0)
			}
			return s.Clone(ctx, template, id, 0)
		})
		s.must(t, "the clone that was not cancelled", errs[0])
		exists, _ := state(t, s, id)
		if exists != (errs[1] == nil) {
			t.Errorf("a clone that was cancelled returned %v, but exists: %t", errs[1], exists)
		}
		if exists {
			s.wantSample(t, id)
		}
		if left := leftoversOf(t, s, id); len(left) > 0 {
			t.Errorf("a cancelled clone left %v", left)
		}
		s.must(t, "delete", s.Delete(t.Context(), id))
	}
}

func testVolumeTwoProcesses(t *testing.T, s *volumesSuite) {
	if s.Process == nil {
		t.Skip("the driver's test cannot start another process")
	}
	template, shared, mine, theirs := s.template(t), s.id(t), s.id(t), s.id(t)
	ops := []VolumesOp{
		{Name: "clone", From: template, ID: shared},
		{Name: "clone", From: template, ID: shared},
		{Name: "clone", From: template, ID: theirs},
	}
	errs := atOnce(2*len(ops), func(i int) error {
		if i < len(ops) {
			_, err := s.Process(t, ops[i], 0)
			return err
		}
		return s.Clone(t.Context(), template, []string{shared, mine}[i%2], 0)
	})
	s.must(t, "clone from two processes", errors.Join(errs...))
	for _, id := range []string{shared, mine, theirs} {
		s.wantSample(t, id)
	}
	_, err := s.Process(t, VolumesOp{Name: "delete", ID: template}, 0)
	s.must(t, "delete in another process", err)
	s.wantState(t, template, false, false)
	wantError(t, "clone of what another process deleted", s.Clone(t.Context(), template, s.id(t), 0), driver.ErrNotFound)
	s.wantSample(t, shared)
}

// testVolumeOpenWhileCloning opens handles, which sweeps leftovers, while clones are made: those must not be swept.
func testVolumeOpenWhileCloning(t *testing.T, s *volumesSuite) {
	template := s.template(t)
	var done atomic.Bool
	errs := atOnce(2, func(i int) error {
		if i == 0 {
			defer done.Store(true)
			for range 10 {
				id := s.id(t)
				if err := s.Clone(t.Context(), template, id, 0); err != nil {
					return err
				}
				s.wantSample(t, id)
			}
			return nil
		}
		for !done.Load() {
			s.Open(t)
		}
		return nil
	})
	s.must(t, "clone while others open the pool", errors.Join(errs...))
}
