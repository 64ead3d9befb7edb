package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

// kill -9 before each step of making a preview: the next start finishes it, and nothing is left over.
func TestKilledWhileCreating(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	steps := []string{"clone", "created", "start", "started", "built", "fetch migrations", "migrating", "migrate", "migrated"}
	var last *forgetest.PR
	for _, step := range steps {
		pr := in.open(t, strings.ReplaceAll(step, " ", "-"))
		killed := in.start(t, step)
		if status := in.deliver(t, killed, "", "opened", pr); status != http.StatusAccepted {
			t.Fatalf("the delivery was answered with %d", status)
		}
		killed.died(t)
		after := in.start(t, "")
		p := in.settled(t, pr)
		if version := in.version(t, p); version != "2 false" {
			t.Errorf("killed before %q: the tracking table says %q", step, version)
		}
		in.reachable(t, after, p.Name)
		in.hasOneComment(t, pr)
		in.holdsExactly(t)
		after.stop(t)
		last = pr
	}
	if statuses := in.repo.Statuses(last.HeadSHA(t.Context())); statuses[len(statuses)-1].State != "success" {
		t.Errorf("the last status is %+v", statuses[len(statuses)-1])
	}
}

// kill -9 before each step of removing a preview, and of replacing one by its next generation.
func TestKilledWhileRemoving(t *testing.T) {
	t.Parallel()
	in := newInstallation(t, installationOptions{})
	for _, step := range []string{"remove container", "remove volume", "removed"} {
		pr := in.open(t, strings.ReplaceAll(step, " ", "-"))
		first := in.start(t, "")
		in.deliver(t, first, "", "opened", pr)
		p := in.settled(t, pr)
		first.stop(t)

		if step != "removed" {
			killed := in.start(t, step)
			if _, err := in.client(t, killed).ResetPreview(t.Context(), p.Name); err != nil && !killed.gone() {
				t.Fatalf("reset: %v", err)
			}
			killed.died(t)
			again := in.start(t, "")
			if p = in.settled(t, pr); p.ObservedGeneration != 2 {
				t.Errorf("killed before %q of a reset: the generation is %d", step, p.ObservedGeneration)
			}
			in.reachable(t, again, p.Name)
			in.holdsExactly(t)
			again.stop(t)
		}

		killed := in.start(t, step)
		if err := pr.Close(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		in.deliver(t, killed, "", "closed", pr)
		killed.died(t)
		after := in.start(t, "")
		in.deleted(t, p.ID)
		in.holdsExactly(t)
		in.hasOneComment(t, pr)
		after.stop(t)
	}
}
