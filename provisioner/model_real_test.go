package provisioner_test

import (
	"path/filepath"
	"sync"
	"testing"

	"github.com/mayflydb/mayfly/internal/pgtest"
	"github.com/mayflydb/mayfly/provisioner/driver"
)

// realHistories are what is played on a real engine, with real migrations. "break" pushes one that fails, "mend" one that does not.
func realHistories() []string {
	return []string{
		"app: open 0; work 8; push 0; settle 0; close 0",
		"app grace: open 0; settle 0; close 0; settle 0; reopen 0; work 3; break 0; settle 0; mend 0",
		": open 0 lost; push 0 twice; @9 push 0; work 9; break 0 held; settle 0; force 0; base 0",
		"app: open 0; @6 crash 0; work 6; push 0; @11 crash 0; work 6; break 0; @14 crash 0; work 9",
		"app processes: open 0; open 1; sqlcrash 40; work 9; retarget 0; merge 1; @8 force 0; work 9",
		"app approve: fork 0; settle 0; approve 1; work 9; settle 0; push 1",
		"ttl: open 0; settle 0; jump 1; settle 0; push 0; @20 close 0; work 11; reopen 0",
		"app: open 0; unplug 0; work 9; plug 0; break 0; @5 mend 0; work 9; destroy 0; settle 0; rebuild 0",
		"app: open 0; settle 0; base 0; @3 down 0; work 9; up 0; mend 0; merge 0; open 1",
		"grace processes: open 0; work 9; reset 0; @12 sqlcrash 9; work 9; close 0; jump 0; reopen 0",
		"app two: open 1; work 11; label 0; push 0; @4 mute 1; work 11; rm 0; settle 0; push 0",
		"app ttl: open 0; fail 2; work 9; limit 0; push 0; work 9; rename 0; settle 0; break 0; jump 0; mend 0",
	}
}

// TestModelOnRealEngine plays some histories as TestModel does, with containers, Postgres and migrations.
func TestModelOnRealEngine(t *testing.T) {
	t.Parallel()
	const workers = 3
	all := realHistories()
	for worker := range workers {
		t.Run("worker", func(t *testing.T) {
			t.Parallel()
			b := newModelBed(t)
			for i := worker; i < len(all); i += workers {
				h, err := parseHistory(all[i])
				if err != nil {
					t.Fatal(err)
				}
				if w := playIn(t, realWorld(t, b, h)); len(w.failures) > 0 {
					t.Fatalf("on the real engine: %s", w.report())
				}
			}
		})
	}
}

// realWorld is a world with the shared engine and pool of the tests.
func realWorld(t *testing.T, b *modelBed, h modelHistory) *world {
	t.Helper()
	base := template(t)
	w := emptyWorld(t, b, h)
	engine := newMachine(pgtest.Engine(t))
	pool := newShelf(pgtest.Pool(t), base.id)
	w.real, w.engine, w.volumes, w.template = true, engine, pool, base.id
	w.runDir, w.made = filepath.Dir(pgtest.Cluster(t).SocketDir), map[string]bool{}
	var mu sync.Mutex
	engine.onCreate(func(spec driver.InstanceSpec) {
		mu.Lock()
		defer mu.Unlock()
		w.made[spec.ID] = true
	})
	t.Cleanup(func() { (&bed{machine: engine, shelf: pool}).clear(t) })
	w.open(t, pgtest.Image(t, base.major))
	return w
}
