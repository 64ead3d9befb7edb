package drivertest

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/cluster"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

func lifecycleTests() []engineTest {
	return []engineTest{
		{"life of an instance", testLife},
		{"every call twice", testTwice},
		{"calls at the same time", testConcurrent},
		{"calls on what does not exist", testAbsent},
		{"volume that comes after create", testLateVolume},
		{"list by labels", testLabels},
		{"hostile identifiers", testHostileIDs},
		{"stop is clean", testStopIsClean},
		{"crash and start again", testCrash},
		{"other installation", testOtherInstallation},
		{"foreign container in the way", testForeign},
		{"report on an instance", testReport},
		{"pause and go on", testPause},
		{"follow what an instance writes", testFollowLogs},
	}
}

func testLife(t *testing.T, s *engineSuite) {
	spec := s.spec(t)
	ctx := t.Context()
	_, err := s.Engine.Dial(ctx, spec.ID)
	wantNotFound(t, "dial before create", err)
	s.must(t, "create", s.Engine.Create(ctx, spec))
	instance, err := s.find(ctx, spec.ID)
	s.must(t, "find the created instance", err)
	if instance.Running {
		t.Error("a created instance runs before it was started")
	}
	if age := time.Since(instance.CreatedAt); age < -time.Hour || age > time.Hour {
		t.Errorf("created at %s, which is %s ago", instance.CreatedAt, age)
	}
	_, err = s.Engine.Dial(ctx, spec.ID)
	wantNotFound(t, "dial before start", err)

	s.must(t, "start", s.Engine.Start(ctx, spec.ID))
	conn := s.connect(t, spec.ID)
	if !s.Hollow {
		if _, err := conn.Exec(ctx, "CREATE TABLE kept AS SELECT 7 AS n"); err != nil {
			t.Fatalf("use the instance: %v", err)
		}
	}
	s.must(t, "stop", s.Engine.Stop(ctx, spec.ID, patience))
	if instance, err = s.find(ctx, spec.ID); err != nil || instance.Running || instance.ExitCode != 0 {
		t.Errorf("after stop: %+v, error %v; want it not running, exit code 0", instance, err)
	}
	_, err = s.Engine.Dial(ctx, spec.ID)
	wantNotFound(t, "dial after stop", err)

	s.must(t, "start again", s.Engine.Start(ctx, spec.ID))
	again := s.connect(t, spec.ID)
	if !s.Hollow {
		var n int
		if err := again.QueryRow(ctx, "SELECT n FROM kept").Scan(&n); err != nil || n != 7 {
			t.Errorf("after stop and start the table holds %d, error %v; want 7", n, err)
		}
	}
	s.must(t, "remove while running", s.Engine.Remove(ctx, spec.ID))
	_, err = s.find(ctx, spec.ID)
	wantNotFound(t, "find after remove", err)
	_, err = s.Engine.Dial(ctx, spec.ID)
	wantNotFound(t, "dial after remove", err)
	if !s.VolumeExists(spec.Volume) {
		t.Error("remove took the volume with it")
	}
}

func testTwice(t *testing.T, s *engineSuite) {
	spec := s.spec(t)
	ctx := t.Context()
	for range 2 {
		s.must(t, "create", s.Engine.Create(ctx, spec))
	}
	for range 2 {
		s.must(t, "start", s.Engine.Start(ctx, spec.ID))
	}
	s.connect(t, spec.ID)
	s.must(t, "create a running one", s.Engine.Create(ctx, spec))
	if instance, err := s.find(ctx, spec.ID); err != nil || !instance.Running {
		t.Errorf("after create of a running instance: %+v, error %v; want it running", instance, err)
	}
	for range 2 {
		s.must(t, "stop", s.Engine.Stop(ctx, spec.ID, patience))
	}
	for range 2 {
		s.must(t, "remove", s.Engine.Remove(ctx, spec.ID))
	}
	s.must(t, "create after remove", s.Engine.Create(ctx, spec))
	s.must(t, "start after remove", s.Engine.Start(ctx, spec.ID))
	s.connect(t, spec.ID)
}

func testConcurrent(t *testing.T, s *engineSuite) {
	spec := s.spec(t)
	ctx := t.Context()
	steps := []struct {
		name string
		do   func() error
	}{
		{"create", func() error { return s.Engine.Create(ctx, spec) }},
		{"start", func() error { return s.Engine.Start(ctx, spec.ID) }},
		{"stop", func() error { return s.Engine.Stop(ctx, spec.ID, patience) }},
		{"remove", func() error { return s.Engine.Remove(ctx, spec.ID) }},
	}
	for _, step := range steps {
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				if err := step.do(); err != nil {
					t.Errorf("%s, four at the same time: %v", step.name, err)
				}
			})
		}
		all.Wait()
	}
	_, err := s.find(ctx, spec.ID)
	wantNotFound(t, "find after remove", err)
}

func testAbsent(t *testing.T, s *engineSuite) {
	ctx, id := t.Context(), mayfly.NewID("e")
	wantNotFound(t, "start", s.Engine.Start(ctx, id))
	wantNotFound(t, "stop", s.Engine.Stop(ctx, id, time.Second))
	s.must(t, "remove", s.Engine.Remove(ctx, id))
	_, err := s.Engine.Dial(ctx, id)
	wantNotFound(t, "dial", err)
	_, err = s.Engine.Run(ctx, driver.RunSpec{Image: s.Image.ID, Command: []string{"true"}, Volume: id})
	wantNotFound(t, "run on a volume that does not exist", err)
	if inspector, ok := s.Engine.(driver.Inspector); ok {
		_, err = inspector.Inspect(ctx, id)
		wantNotFound(t, "inspect", err)
		_, err = inspector.Logs(ctx, id, 10)
		wantNotFound(t, "logs", err)
		_, err = inspector.Memory(ctx, id)
		wantNotFound(t, "memory", err)
	}
}

// testLateVolume is about an instance that is created while its volume is still being cloned.
func testLateVolume(t *testing.T, s *engineSuite) {
	ctx, id := t.Context(), mayfly.NewID("e")
	spec := driver.InstanceSpec{ID: id, Image: s.Image.ID, Volume: id, Args: cluster.Args(cluster.Preview)}
	s.removeLater(t, id)
	err := s.Engine.Create(ctx, spec)
	if err == nil {
		err = s.Engine.Start(ctx, id)
	}
	wantNotFound(t, "create and start without the volume", err)
	if s.VolumeExists(id) {
		t.Error("the engine made something in the place of a volume that does not exist")
	}
	s.NewVolume(t, id)
	s.init(t, id)
	s.must(t, "create again", s.Engine.Create(ctx, spec))
	s.must(t, "start with the volume", s.Engine.Start(ctx, id))
	s.connect(t, id)
}

func testLabels(t *testing.T, s *engineSuite) {
	ctx, group := t.Context(), mayfly.NewID("g")
	ids := make(map[string]string)
	for _, role := range []string{"preview", "build"} {
		id := mayfly.NewID("e")
		s.NewVolume(t, id)
		s.removeLater(t, id)
		s.must(t, "create", s.Engine.Create(ctx, driver.InstanceSpec{
			ID: id, Image: s.Image.ID, Volume: id, Labels: map[string]string{"group": group, "role": role},
		}))
		ids[role] = id
	}
	for _, c := range []struct {
		labels map[string]string
		want   int
	}{
		{map[string]string{"group": group}, 2},
		{map[string]string{"group": group, "role": "build"}, 1},
		{map[string]string{"group": group, "role": "none"}, 0},
	} {
		found, err := s.Engine.List(ctx, c.labels)
		s.must(t, "list", err)
		if len(found) != c.want {
			t.Errorf("list %v: %d instances, want %d", c.labels, len(found), c.want)
		}
		for _, instance := range found {
			if role := instance.Labels["role"]; instance.ID != ids[role] || instance.Labels["group"] != group {
				t.Errorf("list %v: instance %s has labels %v", c.labels, instance.ID, instance.Labels)
			}
		}
	}
}

func testHostileIDs(t *testing.T, s *engineSuite) {
	ctx := t.Context()
	for _, id := range []string{"", "../x", "a/b", "A", "1a", "a\x00", "a b", "a.b", ".volumes", "a\n", "-a", strings.Repeat("a", 41), "é"} {
		calls := map[string]error{
			"create":             s.Engine.Create(ctx, driver.InstanceSpec{ID: id, Image: s.Image.ID, Volume: "v"}),
			"create with volume": s.Engine.Create(ctx, driver.InstanceSpec{ID: "hostile", Image: s.Image.ID, Volume: id}),
			"start":              s.Engine.Start(ctx, id),
			"stop":               s.Engine.Stop(ctx, id, time.Second),
			"remove":             s.Engine.Remove(ctx, id),
		}
		_, calls["dial"] = s.Engine.Dial(ctx, id)
		if id != "" {
			_, calls["run with volume"] = s.Engine.Run(ctx, driver.RunSpec{Image: s.Image.ID, Command: []string{"true"}, Volume: id})
			_, calls["run with socket"] = s.Engine.Run(ctx, driver.RunSpec{Image: s.Image.ID, Command: []string{"true"}, Socket: id})
		}
		for call, err := range calls {
			if !errors.Is(err, driver.ErrInvalidID) {
				t.Errorf("%s with id %q: got error %v, want one that wraps ErrInvalidID", call, id, err)
			}
		}
	}
}

func testStopIsClean(t *testing.T, s *engineSuite) {
	s.needsData(t)
	spec, conn := s.running(t) // the connection stays open: a fast shutdown does not wait for clients
	if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	s.must(t, "stop", s.Engine.Stop(t.Context(), spec.ID, patience))
	out, _ := s.shell(t, "pg_controldata "+driver.DataDir+" | grep 'cluster state'", func(r *driver.RunSpec) { r.Volume = spec.Volume })
	if !strings.HasSuffix(out, " shut down") {
		t.Errorf("after stop, pg_controldata says %q; want a state of shut down", out)
	}
}

func testCrash(t *testing.T, s *engineSuite) {
	if s.Kill == nil {
		t.Skip("the engine's test cannot kill instances")
	}
	spec, _ := s.running(t)
	ctx := t.Context()
	s.Kill(t, spec.ID)
	_, err := s.Engine.Dial(ctx, spec.ID)
	wantNotFound(t, "dial after a crash, with the dead socket in place", err)
	instance, err := s.find(ctx, spec.ID)
	if err != nil || instance.Running || instance.ExitCode == 0 || instance.OOMKilled {
		t.Errorf("after a crash: %+v, error %v; want it not running, an exit code, and not out of memory", instance, err)
	}
	s.must(t, "start after a crash", s.Engine.Start(ctx, spec.ID))
	s.connect(t, spec.ID)
}

func testOtherInstallation(t *testing.T, s *engineSuite) {
	if s.Other == nil {
		t.Skip("the engine's test has only one installation")
	}
	spec, conn := s.running(t)
	ctx := t.Context()
	all, err := s.Other.List(ctx, nil)
	s.must(t, "list as another installation", err)
	for _, instance := range all {
		if instance.ID == spec.ID {
			t.Error("another installation lists the instance")
		}
	}
	wantNotFound(t, "start as another installation", s.Other.Start(ctx, spec.ID))
	wantNotFound(t, "stop as another installation", s.Other.Stop(ctx, spec.ID, time.Second))
	s.must(t, "remove as another installation", s.Other.Remove(ctx, spec.ID))
	_, err = s.Other.Dial(ctx, spec.ID)
	wantNotFound(t, "dial as another installation", err)
	if err := conn.Ping(ctx); err != nil {
		t.Errorf("another installation disturbed the instance: %v", err)
	}
}

func testForeign(t *testing.T, s *engineSuite) {
	if s.Foreign == nil {
		t.Skip("the engine's test cannot make foreign containers")
	}
	ctx, id := t.Context(), mayfly.NewID("e")
	s.NewVolume(t, id)
	untouched := s.Foreign(t, id)
	if err := s.Engine.Create(ctx, driver.InstanceSpec{ID: id, Image: s.Image.ID, Volume: id}); err == nil {
		t.Error("create succeeded although something foreign is in the way")
	}
	wantNotFound(t, "start", s.Engine.Start(ctx, id))
	wantNotFound(t, "stop", s.Engine.Stop(ctx, id, time.Second))
	s.must(t, "remove", s.Engine.Remove(ctx, id))
	if _, err := s.find(ctx, id); !errors.Is(err, driver.ErrNotFound) {
		t.Error("list shows what is not Mayfly's")
	}
	if !untouched() {
		t.Error("what is not Mayfly's was changed or removed")
	}
}

func testReport(t *testing.T, s *engineSuite) {
	s.needsData(t)
	inspector, ok := s.Engine.(driver.Inspector)
	if !ok {
		t.Skip("the engine is no Inspector")
	}
	spec, conn := s.running(t)
	ctx := t.Context()
	if _, err := conn.Exec(ctx, "DO $$ BEGIN RAISE LOG 'a line to find'; END $$"); err != nil {
		t.Fatal(err)
	}
	instance, err := inspector.Inspect(ctx, spec.ID)
	if err != nil || !instance.Running || instance.ID != spec.ID {
		t.Errorf("inspect: %+v, error %v; want it running", instance, err)
	}
	waitFor(t, "the log to show what Postgres wrote", func(ctx context.Context) bool {
		log, err := inspector.Logs(ctx, spec.ID, 1000)
		return err == nil && strings.Contains(string(log), "a line to find")
	})
	log, err := inspector.Logs(ctx, spec.ID, 1)
	if lines := strings.Count(string(log), "\n"); err != nil || lines > 1 {
		t.Errorf("one line of log: %d lines, error %v", lines, err)
	}
	memory, err := inspector.Memory(ctx, spec.ID)
	if err != nil || memory < 1<<20 || memory > 1<<30 {
		t.Errorf("memory of a small running Postgres: %d bytes, error %v", memory, err)
	}
	s.must(t, "stop", s.Engine.Stop(ctx, spec.ID, patience))
	if memory, err := inspector.Memory(ctx, spec.ID); err != nil || memory != 0 {
		t.Errorf("memory of a stopped instance: %d bytes, error %v; want 0", memory, err)
	}
	if prober, ok := s.Engine.(driver.Prober); ok {
		info, err := prober.Probe(ctx)
		if err != nil || info.Name == "" || info.Version == "" || info.Endpoint == "" {
			t.Errorf("probe: %+v, error %v", info, err)
		}
	}
}

// waitFor polls until the condition holds.
func waitFor(t *testing.T, what string, condition func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !condition(ctx) {
		select {
		case <-ctx.Done():
			t.Fatalf("waited %s in vain for %s", patience, what)
		case <-ticker.C:
		}
	}
}
