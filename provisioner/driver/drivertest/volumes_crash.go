package drivertest

import (
	"testing"
	"time"
)

func volumesCrashTests() []volumesTest {
	return []volumesTest{
		{"crash while creating", testVolumeCrashCreate},
		{"crash while freezing", testVolumeCrashFreeze},
		{"crash while cloning", testVolumeCrashClone},
		{"crash while deleting a clone", testVolumeCrashDelete},
		{"crash while deleting a template", testVolumeCrashDeleteTemplate},
	}
}

// maxSteps bounds the crash tests, should an operation never end.
const maxSteps = 500

// crashes kills another process at every step of an operation. prepare returns the operation for a fresh state, and
// check is called after each kill and again after the operation was repeated and came to its end.
func (s *volumesSuite) crashes(t *testing.T, prepare func() VolumesOp, check func(op VolumesOp, complete bool)) {
	t.Helper()
	if s.Process == nil {
		t.Skip("the driver's test cannot start another process")
	}
	for step := 1; ; step++ {
		if step > maxSteps {
			t.Fatalf("the operation did not end within %d steps", maxSteps)
		}
		op := prepare()
		ended, err := s.Process(t, op, step)
		if err != nil {
			t.Fatalf("%s in another process, killed at step %d: %v", op.Name, step, err)
		}
		check(op, ended)
		if err := op.Do(t.Context(), s.Volumes); err != nil {
			t.Fatalf("%s again, after a crash at step %d: %v", op.Name, step, err)
		}
		check(op, true)
		s.crashThenDelete(t, op, step)
		if ended {
			t.Logf("killed at each of %d steps", step-1)
			return
		}
		if t.Failed() {
			t.Fatalf("this is after a crash at step %d", step)
		}
	}
}

// crashThenDelete checks that a delete leaves nothing at all of what a crashed process began. What another process is
// sweeping at this moment (each does when it starts) a delete passes over: it goes within that process's time.
func (s *volumesSuite) crashThenDelete(t *testing.T, op VolumesOp, step int) {
	t.Helper()
	deadline := time.Now().Add(sweepTime)
	for {
		if err := s.Delete(t.Context(), op.ID); err != nil {
			t.Fatalf("delete after a crash at step %d of %s: %v", step, op.Name, err)
		}
		s.wantState(t, op.ID, false, false)
		left := leftoversOf(t, s, op.ID)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("after a crash at step %d of %s, and deletes, there is still %v", step, op.Name, left)
			return
		}
		time.Sleep(sweepPoll)
	}
}

const (
	sweepTime = 20 * time.Second
	sweepPoll = 20 * time.Millisecond
)

func testVolumeCrashCreate(t *testing.T, s *volumesSuite) {
	s.crashes(t, func() VolumesOp {
		return VolumesOp{Name: "create", ID: s.id(t), UID: owner().UID, GID: owner().GID}
	}, func(op VolumesOp, complete bool) {
		exists, frozen := state(t, s, op.ID)
		if (complete && !exists) || frozen {
			t.Errorf("exists %t, frozen %t", exists, frozen)
		}
	})
}

func testVolumeCrashFreeze(t *testing.T, s *volumesSuite) {
	s.crashes(t, func() VolumesOp {
		return VolumesOp{Name: "freeze", ID: s.filled(t)}
	}, func(op VolumesOp, complete bool) {
		exists, frozen := state(t, s, op.ID)
		if !exists || (complete && !frozen) {
			t.Errorf("exists %t, frozen %t", exists, frozen)
		}
		s.wantSample(t, op.ID)
		if frozen {
			clone := s.id(t)
			s.must(t, "clone", s.Clone(t.Context(), op.ID, clone, 0))
			s.wantSample(t, clone)
			s.must(t, "delete the clone", s.Delete(t.Context(), clone))
		}
	})
}

func testVolumeCrashClone(t *testing.T, s *volumesSuite) {
	template := s.template(t)
	s.crashes(t, func() VolumesOp {
		return VolumesOp{Name: "clone", ID: s.id(t), From: template}
	}, func(op VolumesOp, complete bool) {
		exists, frozen := state(t, s, op.ID)
		if (complete && !exists) || frozen {
			t.Errorf("exists %t, frozen %t", exists, frozen)
		}
		if exists {
			s.wantSample(t, op.ID)
		}
	})
	s.wantSample(t, template)
}

func testVolumeCrashDelete(t *testing.T, s *volumesSuite) {
	template := s.template(t)
	s.crashes(t, func() VolumesOp {
		id := s.id(t)
		s.must(t, "clone", s.Clone(t.Context(), template, id, 0))
		return VolumesOp{Name: "delete", ID: id}
	}, func(op VolumesOp, complete bool) {
		exists, _ := state(t, s, op.ID)
		if exists && complete {
			t.Error("the volume is still there")
		}
		if exists {
			s.wantSample(t, op.ID)
		}
	})
	s.wantSample(t, template)
}

func testVolumeCrashDeleteTemplate(t *testing.T, s *volumesSuite) {
	clones := map[string]string{}
	s.crashes(t, func() VolumesOp {
		id, clone := s.template(t), s.id(t)
		s.must(t, "clone", s.Clone(t.Context(), id, clone, 0))
		clones[id] = clone
		return VolumesOp{Name: "delete", ID: id}
	}, func(op VolumesOp, complete bool) {
		exists, frozen := state(t, s, op.ID)
		if exists && (complete || !frozen) {
			t.Errorf("exists %t, frozen %t", exists, frozen)
		}
		s.wantSample(t, clones[op.ID])
		s.must(t, "delete the clone", s.Delete(t.Context(), clones[op.ID]))
		clones[op.ID] = s.id(t)
		if exists {
			s.must(t, "clone", s.Clone(t.Context(), op.ID, clones[op.ID], 0))
			return
		}
		s.must(t, "an empty volume in its place", s.Create(t.Context(), clones[op.ID], owner()))
		writeSample(t, s.path(t, clones[op.ID]))
	})
}
