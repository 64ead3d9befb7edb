package provisioner_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

// modelHistory is what happens in one run of the model: data, so that it can be shrunk, printed and played again.
type modelHistory struct {
	app       bool // the credential is an App's, rather than a token
	grace     bool
	ttl       bool
	noDrafts  bool
	approve   bool // forks with an approval, rather than never
	onlyLabel bool
	two       bool // two projects have the repository
	processes bool // two processes share the work
	checked   bool // GitHub compares every call with its published description
	steps     []modelStep
}

// modelStep is one thing that happens. at is 0 for at once, or after how many moments of the work that goes on it happens within it: a moment is
// before or after each thing that the service does to the outside.
type modelStep struct {
	at   int
	what string
	pr   int // which pull request, counted from the first that was opened; for some steps another number
	how  string
}

// fates are what becomes of the delivery of an event.
func fates() []string { return []string{"", "", "", "lost", "held", "twice"} }

// onPullRequests are the steps about a pull request that lead to a delivery.
func onPullRequests() []string {
	return []string{
		"push", "push", "push", "force", "retarget", "draft", "undraft", "label", "unlabel", "close", "merge", "reopen", "reopen",
		"destroy", "rebuild", "reset", "extend", "approve", "keep", "stranger", "open", "open", "fork", "base", "rename",
	}
}

// aside are the steps that lead to no delivery.
func aside() []string {
	return []string{
		"work", "work", "work", "work", "work", "work", "arrive", "tidy", "tidy", "crash", "crash", "sqlcrash", "mute", "mute", "rm", "kill", "jump", "settle", "settle",
		"down", "up", "limit", "secondary", "fail", "hide", "unhide", "impostor", "unplug", "plug", "full", "room",
	}
}

func drawHistory(t *rapid.T) modelHistory {
	const longest = 24
	flag := func(name string) bool { return rapid.Bool().Draw(t, name) }
	h := modelHistory{
		app: flag("app"), grace: flag("grace"), ttl: flag("ttl"), noDrafts: flag("nodrafts"), approve: flag("approve"),
		onlyLabel: rapid.IntRange(0, 4).Draw(t, "onlylabel") == 1, two: rapid.IntRange(0, 3).Draw(t, "two") == 1,
		processes: flag("processes"), checked: rapid.IntRange(0, 9).Draw(t, "checked") == 1,
	}
	step := rapid.Custom(func(t *rapid.T) modelStep {
		s := modelStep{pr: rapid.IntRange(0, 2).Draw(t, "pr")}
		if rapid.Bool().Draw(t, "aside") {
			s.what = rapid.SampledFrom(aside()).Draw(t, "what")
			switch s.what {
			case "work", "mute", "crash", "fail", "jump", "arrive", "tidy":
				s.pr = rapid.IntRange(0, 30).Draw(t, "n")
			case "sqlcrash":
				s.pr = rapid.IntRange(1, 90).Draw(t, "n")
			}
		} else {
			s.what = rapid.SampledFrom(onPullRequests()).Draw(t, "what")
			s.how = rapid.SampledFrom(fates()).Draw(t, "fate")
		}
		if s.what == "crash" || s.what == "mute" || (s.what != "settle" && rapid.IntRange(0, 2).Draw(t, "within") == 1) {
			s.at = rapid.IntRange(1, 40).Draw(t, "at")
		}
		return s
	})
	h.steps = append([]modelStep{{what: "open"}}, rapid.SliceOfN(step, 1, longest).Draw(t, "steps")...)
	return h
}

// String is the history as parseHistory reads it.
func (h modelHistory) String() string {
	var words []string
	for name, flag := range h.flags() {
		if *flag {
			words = append(words, name)
		}
	}
	slices.Sort(words)
	var steps []string
	for _, s := range h.steps {
		steps = append(steps, s.String())
	}
	return strings.Join(words, " ") + ": " + strings.Join(steps, "; ")
}

func (h *modelHistory) flags() map[string]*bool {
	return map[string]*bool{
		"app": &h.app, "grace": &h.grace, "ttl": &h.ttl, "nodrafts": &h.noDrafts, "approve": &h.approve, "onlylabel": &h.onlyLabel,
		"two": &h.two, "processes": &h.processes, "checked": &h.checked,
	}
}

func (s modelStep) String() string {
	text := s.what + " " + strconv.Itoa(s.pr)
	if s.how != "" {
		text += " " + s.how
	}
	if s.at > 0 {
		text = fmt.Sprintf("@%d %s", s.at, text)
	}
	return text
}

// parseHistory reads what String wrote.
func parseHistory(text string) (h modelHistory, err error) {
	words, steps, ok := strings.Cut(text, ":")
	if !ok {
		return h, fmt.Errorf("no colon in %q", text)
	}
	for word := range strings.FieldsSeq(words) {
		flag := h.flags()[word]
		if flag == nil {
			return h, fmt.Errorf("no such word: %q", word)
		}
		*flag = true
	}
	for step := range strings.SplitSeq(steps, ";") {
		fields := strings.Fields(step)
		var s modelStep
		if len(fields) > 0 && strings.HasPrefix(fields[0], "@") {
			if s.at, err = strconv.Atoi(fields[0][1:]); err != nil {
				return h, fmt.Errorf("step %q: %w", step, err)
			}
			fields = fields[1:]
		}
		if len(fields) < 2 {
			return h, fmt.Errorf("step %q is too short", step)
		}
		s.what = fields[0]
		if s.pr, err = strconv.Atoi(fields[1]); err != nil {
			return h, fmt.Errorf("step %q: %w", step, err)
		}
		if len(fields) > 2 {
			s.how = fields[2]
		}
		h.steps = append(h.steps, s)
	}
	return h, nil
}
