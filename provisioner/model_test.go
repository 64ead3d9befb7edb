package provisioner_test

import (
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// modelWorkers is how many histories happen at the same time.
const modelWorkers = 3

// modelHistories is how many histories TestModel plays unless MAYFLY_MODEL_HISTORIES says otherwise; then they are others each time, and
// modelWorkers play them. modelSeed begins those that are always played: a change is not to be held up by what was wrong before it.
const (
	modelHistories = 60
	modelSeed      = "20"
)

// TestModel plays random histories of pull requests, with everything that can go wrong, and compares what comes of them with
// docs/invariants.md. A failure prints the shortest history that fails, for TestModelReplay, and the seed: to see it again,
//
//	go test ./provisioner -run TestModel -rapid.seed=…
func TestModel(t *testing.T) {
	t.Parallel()
	histories, workers := modelHistories, modelWorkers
	if text := os.Getenv("MAYFLY_MODEL_HISTORIES"); text != "" {
		var err error
		if histories, err = strconv.Atoi(text); err != nil {
			t.Fatalf("MAYFLY_MODEL_HISTORIES=%s is not a number", text)
		}
	} else {
		workers = 1 // of one seed, each would play the same
		setRapid(t, "rapid.seed", modelSeed)
	}
	setRapid(t, "rapid.checks", strconv.Itoa((histories+workers-1)/workers))
	setRapid(t, "rapid.nofailfile", "true")
	for i := range workers {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			t.Parallel()
			b := newModelBed(t)
			played := 0
			t.Cleanup(func() { t.Logf("%d histories", played) })
			rapid.Check(t, func(r *rapid.T) {
				h := drawHistory(r)
				played++
				if w := play(t, b, h); len(w.failures) > 0 {
					r.Fatal(w.report())
				}
			})
		})
	}
}

// setRapid sets a flag of rapid unless somebody did so on the command line.
func setRapid(t *testing.T, name, value string) {
	t.Helper()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	if given {
		return
	}
	if err := flag.Set(name, value); err != nil {
		t.Fatal(err)
	}
}

// report is a failure for people.
func (w *world) report() string {
	return fmt.Sprintf("%s\n\nMAYFLY_MODEL_REPLAY='%s' go test ./provisioner -run TestModelReplay\n\n%s", strings.Join(w.failures, "\n"), w.history, w.trace())
}

// TestModelRegressions plays histories that once failed, or that are worth playing each time.
func TestModelRegressions(t *testing.T) {
	t.Parallel()
	b := newModelBed(t)
	for _, text := range []string{
		"app: open 0; @9 crash 0; work 8; @5 sqlcrash 11; work 8; close 0",
		"app grace ttl: open 0; settle 0; close 0; settle 0; reopen 0; settle 0; jump 1; settle 0; push 0",
		"processes: open 0 lost; push 0 held; @2 mute 0; work 9; destroy 0 lost; settle 0; rebuild 0; work 9",
		": open 0; settle 0; crash 0; tidy 6; destroy 0 lost", // a process that has just begun knows no repository whose log it could read
		// Access was lost for a while: the deployment was taken for one that the token may not make, and never told.
		"approve grace two: open 0; @23 hide 0; push 0 twice",
		"approve processes: open 0; work 1; @17 force 1 held; push 0; retarget 0; @5 hide 2; kill 1; kill 0; @14 stranger 1 twice",
		// One process took its own last text for what the comment says, which another had edited since.
		"app grace processes: open 0; settle 0; close 0; settle 0; reopen 0; settle 0; close 0; settle 0; reopen 0; settle 0; close 0",
		"app nodrafts processes ttl: open 0; @16 destroy 2; sqlcrash 4; @31 work 17; @30 push 1; destroy 0; push 2; @30 crash 5; settle 1; push 1; hide 0; @17 work 8",
		// The answer to the first comment got lost, and another process knew of the pull request that nobody had commented on it.
		"grace onlylabel processes ttl: open 0; @4 work 5; @2 mute 26; @1 rename 1 held",
		// Where the comment could not be found for a while, its id was forgotten.
		"approve grace processes: open 0; settle 0; push 0; hide 0; work 9; work 9; unhide 0; close 0",
		// An answer got lost, and with it a check, or a deployment, that was made.
		"app grace: open 0; @2 push 0 twice; tidy 30; @2 mute 2; @17 work 7; work 4; push 0; @4 rebuild 0 lost",
		"app: open 0; @9 down 0; @5 mute 1; work 6; rm 0; @3 mute 2; work 6; up 0; push 0; work 2; mute 2; work 3; push 0",
		// The policies' answer, which GitHub had not taken, was to be told for ever after the pull request was closed.
		"app two: open 0; down 0; work 9; close 0",
		// Somebody with write access was taken for a stranger while access was lost.
		": open 0; settle 0; destroy 0; hide 0; work 5",
		// Removed before anything was told on the head: its checks never came.
		": open 0; work 0; work 0; work 0; rm 0",
		"app: open 0; settle 0; push 0; work 0; work 0; rm 0",
		"app approve: fork 0; settle 0; approve 0; settle 0; push 0; @7 close 0; work 9",
		"app two onlylabel: open 1; @30 merge 0; work 11; open 0; impostor 1; down 0; push 1; work 9",
	} {
		h, err := parseHistory(text)
		if err != nil {
			t.Fatal(err)
		}
		if w := play(t, b, h); len(w.failures) > 0 {
			t.Error(w.report())
		}
	}
}

// TestModelReplay plays one history again.
func TestModelReplay(t *testing.T) {
	t.Parallel()
	text := os.Getenv("MAYFLY_MODEL_REPLAY")
	if text == "" {
		t.Skip("MAYFLY_MODEL_REPLAY is not set")
	}
	h, err := parseHistory(text)
	if err != nil {
		t.Fatal(err)
	}
	if w := play(t, newModelBed(t), h); len(w.failures) > 0 {
		t.Fatal(w.report())
	} else {
		t.Log(w.trace())
	}
}
