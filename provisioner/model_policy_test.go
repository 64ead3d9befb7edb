package provisioner_test

import (
	"slices"
	"time"

	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

// modelPR is what the model knows of a pull request: what people did on GitHub, and nothing of what the service thinks.
type modelPR struct {
	*forgetest.PR

	world  *world
	fork   bool
	draft  bool
	open   bool
	merged bool
	labels []string
	base   string
	broken bool // its migrations fail
	// approved are the commits that somebody with write access approved; commands the comments that asked for something.
	approved  map[string]bool
	commands  []int64
	impostors []int64
	projects  map[string]*modelWish
}

// modelWish is what is known of the preview of a pull request in a project since the service was at rest last.
type modelWish struct {
	// events are what could change the answer since then, in their order.
	events []string
	// At the rest before: whether there was a preview that was wanted, one that sleeps for the grace period, or none though one is wanted,
	// because somebody removed it.
	had, resting, dismissed bool
	id                      string
	generation              int64
	expires, closed         *time.Time
}

// happened notes an event for all projects.
func (pr *modelPR) happened(what string) {
	for _, wish := range pr.projects {
		wish.events = append(wish.events, what)
	}
}

// verdict of the policies: the model's own reading of docs/github.md.
type modelVerdict string

const (
	verdictPreview  modelVerdict = "preview"
	verdictNone     modelVerdict = "none"
	verdictDenied   modelVerdict = "denied"
	verdictAwaiting modelVerdict = "awaiting"
	verdictClosed   modelVerdict = "closed"
)

func (pr *modelPR) verdict(project, head string) modelVerdict {
	h := pr.world.history
	has := func(label string) bool { return slices.Contains(pr.labels, label) }
	switch {
	case !pr.open:
		return verdictClosed
	case pr.fork && !h.approve:
		return verdictDenied
	case pr.fork && !pr.approved[head]:
		return verdictAwaiting
	case has("no-preview"), (h.onlyLabel || project == "blog") && !has("db"), h.noDrafts && pr.draft:
		return verdictNone
	}
	return verdictPreview
}

// may are the answers that are right.
type may struct {
	live    bool // a preview at the head
	resting bool // one that sleeps for the grace period
	none    bool
	same    bool // it must be the one of before, with its data
}

// may works out which answers are right. Where events could be looked at in several orders, several are.
func (wish *modelWish) may(pr *modelPR, v modelVerdict, lossy bool) may {
	count := map[string]int{}
	for _, e := range wish.events {
		count[e]++
	}
	only := func(allowed ...string) bool {
		for _, e := range wish.events {
			if !slices.Contains(allowed, e) {
				return false
			}
		}
		return true
	}
	removing := count["destroy"] + count["rm"]
	if wish.mayExpire(pr, count["jump"]) {
		removing++
	}
	if v != verdictPreview {
		return wish.mayRest(pr, v, count, only)
	}
	if pr.fork && count["approve"] > 0 && (len(wish.events) > count["approve"] || lossy) {
		return may{live: true, none: true} // the service may not have seen the commit when it was approved
	}
	switch {
	case removing == 0 && !wish.dismissed:
		unbroken := wish.had && only("extend", "keep", "jump", "policy") || wish.resting && count["jump"] == 0 && only("reopen")
		return may{live: true, same: unbroken && only("extend", "keep", "reopen")}
	case removing == 0 && lossy:
		return may{live: true, none: true}
	case removing == 0 && count["push"]+count["reopen"] > 0 && only("push", "reopen", "close", "policy", "extend", "keep", "reset"):
		return may{live: true}
	case removing == 0 && count["rebuild"] == 1 && len(wish.events) == 1:
		return may{live: true}
	case removing == 0 && only("policy", "extend", "keep", "jump", "reset"): // none of them is a wish for another one
		return may{none: true}
	case removing == 1 && len(wish.events) == 1 && wish.had && !lossy:
		return may{none: true}
	}
	return may{live: true, none: true}
}

// mayRest is may for a pull request that gets no preview now.
func (wish *modelWish) mayRest(pr *modelPR, v modelVerdict, count map[string]int, only func(...string) bool) may {
	now := pr.world.clock.Now()
	switch {
	case !pr.world.history.grace, pr.fork, v == verdictDenied, v == verdictAwaiting:
		return may{none: true}
	case wish.resting && len(wish.events) == 0:
		return may{resting: true, none: now.Sub(*wish.closed) >= modelGrace-time.Hour, same: true}
	case wish.resting && only("jump") && now.Sub(*wish.closed) >= modelGrace:
		return may{none: true}
	case wish.had && only("close", "policy") && !wish.mayExpire(pr, 0):
		return may{resting: true, same: len(wish.events) == 1, none: count["policy"] > 0}
	}
	return may{resting: true, none: true}
}

// mayExpire reports whether the time of the preview may have been over since the rest before.
func (wish *modelWish) mayExpire(pr *modelPR, jumps int) bool {
	if !pr.world.history.ttl {
		return false
	}
	now := pr.world.clock.Now()
	if (wish.had || wish.resting) && wish.expires != nil && !now.Before(*wish.expires) {
		return !slices.Contains(pr.labels, "keep") || len(wish.events) > jumps
	}
	return jumps > 0 && len(wish.events) > jumps
}
