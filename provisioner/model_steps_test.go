package provisioner_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
)

// play makes a history happen, and returns what did not hold.
func play(tb testing.TB, b *modelBed, h modelHistory) *world {
	tb.Helper()
	return playIn(tb, newWorld(tb, b, h))
}

func playIn(tb testing.TB, w *world) *world {
	tb.Helper()
	h := w.history
	for _, step := range h.steps {
		w.restart(tb)
		w.pass(2 * time.Second) // people are not faster, and GitHub's clock counts seconds
		w.note("%s", step)
		if step.what == "settle" {
			w.settle(tb)
		} else if step.at > 0 {
			w.arm(step)
		} else {
			w.happen(nil, step)
		}
		if len(w.failures) > 0 {
			break
		}
	}
	if len(w.failures) == 0 {
		w.note("the end")
		w.settle(tb)
	}
	w.close(tb)
	return w
}

func (w *world) arm(step modelStep) {
	w.mu.Lock()
	defer w.mu.Unlock()
	left := step.at
	step.at = 0
	w.pending = append(w.pending, armed{left: left, step: step})
}

// happen makes a step happen. within is the process in whose work it happens, nil if none works.
func (w *world) happen(within *modelProcess, s modelStep) {
	switch s.what {
	case "work":
		w.work(within, 1+s.pr%12)
	case "tidy":
		p := w.living(within)
		if p == nil || within != nil {
			return // most of them take locks that the work around them may hold
		}
		what := periodic()[s.pr%len(periodic())]
		if err := w.tidy(p, what); err != nil {
			w.note("  %s: %v", what, err)
		}
	case "arrive":
		w.arrive(s.pr)
	case "crash":
		if within != nil {
			within.kill()
		} else {
			w.processes[s.pr%len(w.processes)].kill()
		}
	case "sqlcrash":
		w.mu.Lock()
		w.stmts = s.pr
		w.mu.Unlock()
	case "mute":
		w.mu.Lock()
		w.mute = 1 + s.pr%6
		w.mu.Unlock()
	case "jump":
		w.jump([]time.Duration{13 * time.Hour, 25 * time.Hour, 20 * time.Minute}[s.pr%3])
	case "down", "up":
		w.github.Down(s.what == "down")
	case "limit":
		w.github.RateLimit(w.clock.Now().Add(10 * time.Minute))
	case "secondary":
		w.github.SecondaryLimit(time.Minute)
	case "fail":
		w.github.FailNext(1+s.pr%4, []int{http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable}[s.pr%3])
	case "hide", "unhide":
		w.repo.Hide(s.what == "hide")
	case "unplug", "plug":
		w.unplug(s.what == "unplug")
	case "full", "room":
		w.fill(s.what == "full")
	default:
		w.onGitHub(within, s)
	}
}

func (w *world) unplug(down bool) {
	if machine, ok := w.engine.(interface{ unplug(down bool) }); ok {
		machine.unplug(down)
	}
}

func (w *world) fill(full bool) {
	if pool, ok := w.volumes.(interface{ Fill(full bool) }); ok {
		pool.Fill(full)
	}
}

// living is a process that can work, nil if there is none.
func (w *world) living(within *modelProcess) *modelProcess {
	if within != nil {
		return within
	}
	w.picks++
	for i := range w.processes {
		if p := w.processes[(w.picks+i)%len(w.processes)]; !p.killed() {
			return p
		}
	}
	return nil
}

// work runs some jobs in an order that nobody promised.
func (w *world) work(within *modelProcess, n int) {
	random := rand.New(rand.NewPCG(uint64(n), uint64(w.picks))) // to be played again
	outer := ""
	if within != nil {
		outer = w.begin("")
		w.begin(outer)
	}
	for range n {
		all := w.jobs(nil)
		if within != nil && outer != "preview_converge" { // the others may wait for locks that the work around them holds
			all = slices.DeleteFunc(all, func(j modelJob) bool { return j.kind != "preview_converge" })
		}
		p := w.living(nil)
		if p == nil || len(all) == 0 {
			return
		}
		j := all[random.IntN(len(all))]
		err := w.run(p, j)
		w.note("  %s %s: %v", j.kind, j.args, err)
	}
}

// arrive delivers what was held up on the way.
func (w *world) arrive(n int) {
	if len(w.held) == 0 {
		return
	}
	i := n % len(w.held)
	d := w.held[i]
	w.held = slices.Delete(w.held, i, i+1)
	w.deliver(d)
}

func (w *world) deliver(d forgetest.Delivery) {
	if _, err := w.github.Deliver(context.Background(), d); err != nil {
		w.note("  delivery: %v", err)
	}
}

// tell has GitHub deliver an event.
func (w *world) tell(s modelStep, d forgetest.Delivery) {
	d.URL, d.Secret, d.HTTP = hookURL+"/webhooks/github", modelSecret(), w.receiver()
	ctx := context.Background()
	payload, err := w.github.Payload(ctx, d)
	if err != nil {
		w.fail("model", "make a payload: %v", err)
		return
	}
	d.Payload = payload
	d.ID = fmt.Sprintf("00000000-0000-4000-8000-%012d", w.next())
	switch s.how {
	case "lost":
		if _, err := w.github.Lose(ctx, d); err != nil {
			w.fail("model", "lose a delivery: %v", err)
		}
	case "held":
		w.held = append(w.held, d)
	case "twice":
		w.deliver(d)
		w.deliver(d)
	default:
		w.deliver(d)
	}
}

func (w *world) next() int {
	w.serial++
	return w.serial
}

// onGitHub makes something happen that GitHub tells of.
func (w *world) onGitHub(within *modelProcess, s modelStep) {
	switch s.what {
	case "open", "fork":
		w.openPR(s)
		return
	case "base":
		w.pushBase(s)
		return
	case "rename":
		w.rename(s)
		return
	}
	if len(w.prs) == 0 {
		return
	}
	pr := w.prs[s.pr%len(w.prs)]
	switch s.what {
	case "rm":
		w.remove(within, pr)
	case "kill":
		w.killInstance(pr)
	case "impostor":
		marker := forge.Marker(w.repo.ID(), pr.Number(), "shop")
		pr.impostors = append(pr.impostors, w.repo.AddComment(pr.Number(), "mallory", marker+"\nready, ask mallory for the password"))
	case "stranger":
		w.comment(s, pr, "mallory", "/mayfly destroy")
	case "destroy", "rebuild", "reset", "approve", "keep":
		w.comment(s, pr, "maria", "/mayfly "+s.what)
	case "extend":
		w.comment(s, pr, "maria", "/mayfly extend 2d")
	default:
		w.change(s, pr)
	}
}

const maxModelPRs = 3

func (w *world) openPR(s modelStep) {
	if len(w.prs) == maxModelPRs {
		return
	}
	ctx := context.Background()
	files := w.files()
	branch := fmt.Sprintf("change-%d", w.next())
	o := forgetest.PROptions{}
	var err error
	if s.what == "fork" {
		o.Fork, o.Author = "mallory", "mallory"
		_, err = w.repo.CommitFork(ctx, "mallory", branch, files, "Change")
	} else {
		_, err = w.repo.Commit(ctx, branch, files, "Change")
	}
	if err == nil && s.pr == 2 {
		o.Draft = true
	}
	pr := &modelPR{world: w, fork: o.Fork != "", draft: o.Draft, open: true, base: "main", approved: map[string]bool{}}
	if w.history.onlyLabel || w.history.two && s.pr == 1 {
		o.Labels, pr.labels = []string{"db"}, []string{"db"}
	}
	if err == nil {
		pr.PR, err = w.repo.OpenPullRequest(ctx, branch, "main", "Change", o)
	}
	if err != nil {
		w.fail("model", "open a pull request: %v", err)
		return
	}
	pr.projects = map[string]*modelWish{}
	for _, name := range w.projectNames() {
		pr.projects[name] = &modelWish{}
	}
	w.prs = append(w.prs, pr)
	pr.happened("push")
	w.tell(s, forgetest.Delivery{Action: "opened", PR: pr.PR})
}

func (w *world) pushBase(s modelStep) {
	ctx := context.Background()
	before := w.repo.Head(ctx, "main")
	after, err := w.repo.Commit(ctx, "main", map[string]string{"BASE": strconv.Itoa(w.next())}, "Base")
	if err != nil {
		w.fail("model", "push to the base: %v", err)
		return
	}
	w.tell(s, forgetest.Delivery{Event: "push", Repo: w.repo, Ref: "main", Before: before, After: after})
}

func (w *world) rename(s modelStep) {
	if err := w.repo.Rename(fmt.Sprintf("acme/shop-%d", w.next())); err != nil {
		w.fail("model", "rename: %v", err)
	}
	w.tell(s, forgetest.Delivery{Event: "repository", Action: "renamed", Repo: w.repo})
}

// files are what a new branch has.
func (w *world) files() map[string]string {
	files := map[string]string{}
	if w.real {
		files = history()
	}
	files[fmt.Sprintf("f%d", w.next())] = "x\n"
	return files
}

// change changes a pull request as people do.
func (w *world) change(s modelStep, pr *modelPR) {
	ctx := context.Background()
	d := forgetest.Delivery{PR: pr.PR, Action: "edited"}
	var err error
	switch s.what {
	case "push", "force":
		if pr.merged || !pr.open {
			return
		}
		files := w.files()
		if s.what == "push" {
			_, err = pr.Push(ctx, files)
		} else {
			_, err = pr.ForcePush(ctx, files)
			pr.broken = false
		}
		pr.happened("push")
		d.Action = "synchronize"
	case "break", "mend":
		if !pr.open || !w.real {
			return
		}
		pr.broken = s.what == "break"
		sql := map[bool]string{true: "select 1/0;\n", false: "create table note (id int);\n"}[pr.broken]
		_, err = pr.Push(ctx, map[string]string{path3: sql})
		pr.happened("push")
		d.Action = "synchronize"
	case "retarget":
		if !pr.open {
			return
		}
		pr.base = map[string]string{"main": "release", "release": "main"}[pr.base]
		pr.Edit(func(e *forgetest.PREdit) { e.Base = pr.base })
	case "draft", "undraft":
		pr.draft = s.what == "draft"
		pr.Edit(func(e *forgetest.PREdit) { e.Draft = pr.draft })
		d.Action = map[bool]string{true: "converted_to_draft", false: "ready_for_review"}[pr.draft]
		pr.happened("policy")
	case "label", "unlabel":
		w.relabel(s, pr, &d)
	case "close", "merge":
		if !pr.open {
			return
		}
		if pr.broken {
			s.what = "close"
		}
		if err = pr.Close(ctx, s.what == "merge"); err != nil && strings.Contains(err.Error(), "merge") {
			return // a conflict
		}
		pr.open, pr.merged = false, s.what == "merge"
		pr.happened("close")
		d.Action = "closed"
	case "reopen":
		if pr.open || pr.merged {
			return
		}
		err = pr.Reopen(ctx)
		pr.open = true
		pr.happened("reopen")
		d.Action = "reopened"
	}
	if err != nil {
		w.fail("model", "%s: %v", s.what, err)
		return
	}
	w.tell(s, d)
}

func (w *world) relabel(s modelStep, pr *modelPR, d *forgetest.Delivery) {
	name := []string{"db", "no-preview", "keep"}[w.next()%3]
	d.Action = s.what + "ed"
	d.Extra = map[string]any{"label": map[string]any{"id": 1, "node_id": "L", "url": "https://github.com", "name": name, "color": "ffffff", "default": false, "description": nil}}
	if s.what == "label" {
		if slices.Contains(pr.labels, name) {
			return
		}
		pr.labels = append(pr.labels, name)
	} else {
		if len(pr.labels) == 0 {
			return
		}
		pr.labels = pr.labels[:len(pr.labels)-1]
	}
	pr.labels = slices.Clone(pr.labels)
	pr.Edit(func(e *forgetest.PREdit) { e.Labels = slices.Clone(pr.labels) })
	pr.happened("policy")
}

func (w *world) comment(s modelStep, pr *modelPR, author, text string) {
	id := w.repo.AddComment(pr.Number(), author, text)
	var made forgetest.Comment
	for _, c := range w.repo.Comments() {
		if c.ID == id {
			made = c
		}
	}
	if author == "maria" {
		pr.happened(s.what)
		pr.commands = append(pr.commands, id)
		if s.what == "approve" {
			pr.approved[pr.HeadSHA(context.Background())] = true
		}
	}
	w.tell(s, forgetest.Delivery{Event: "issue_comment", Action: "created", PR: pr.PR, Comment: &made})
}

// remove is `mayfly rm`.
func (w *world) remove(within *modelProcess, pr *modelPR) {
	p := w.living(within)
	if p == nil {
		return
	}
	for name, wish := range pr.projects {
		_, err := p.Delete(p.ctx, mayfly.PullRequestName(name, pr.Number()))
		if mayfly.ErrorCode(err) == mayfly.CodeNotFound {
			continue
		}
		wish.events = append(wish.events, "rm")
	}
}

func (w *world) killInstance(pr *modelPR) {
	engine, ok := w.engine.(*modelMachine)
	if !ok {
		return
	}
	instances, err := engine.Engine.List(context.Background(), map[string]string{"name": mayfly.PullRequestName("shop", pr.Number())})
	if err != nil {
		w.fail("model", "list instances: %v", err)
	}
	for _, i := range instances {
		engine.Kill(i.ID)
	}
}

// jump lets much time pass.
func (w *world) jump(d time.Duration) {
	w.pass(d)
	for _, pr := range w.prs {
		if d > time.Hour {
			pr.happened("jump")
		}
	}
}

// settle ends all faults, lets the service come to rest, and compares.
func (w *world) settle(tb testing.TB) {
	tb.Helper()
	w.work(nil, 8) // so that what is to happen within work does
	w.endFaults()
	w.restart(tb)
	for len(w.held) > 0 {
		w.arrive(0)
	}
	const rounds = 30
	quiet := 0
	var last []string
	for round := range rounds {
		last = w.round()
		if w.atRest() && len(last) == 0 {
			quiet++
		} else {
			quiet = 0
		}
		if quiet == 2 {
			break
		}
		if round == rounds-1 {
			w.fail("I9", "the service does not come to rest: %s; %s", strings.Join(last, "; "), w.unrest())
			return
		}
	}
	w.check()
}

func (w *world) endFaults() {
	w.mu.Lock()
	w.pending, w.stmts, w.mute = nil, 0, 0
	w.mu.Unlock()
	w.github.Down(false)
	w.github.FailNext(0, 0)
	w.github.RateLimit(time.Time{})
	w.repo.Hide(false)
	w.unplug(false)
	w.fill(false)
}

// round lets the service do everything that is to do now, and then a while passes.
func (w *world) round() (errs []string) {
	w.drain()
	for _, p := range w.processes {
		for _, what := range periodic() {
			if err := w.tidy(p, what); err != nil {
				errs = append(errs, what+": "+err.Error())
			}
		}
	}
	w.drain()
	const while = 3 * time.Minute
	w.pass(while)
	return errs
}

// drain works on jobs until each that is left was tried three times.
func (w *world) drain() {
	tried := map[int64]int{}
	enough := map[int64]bool{}
	for {
		all := w.jobs(enough)
		if len(all) == 0 {
			return
		}
		for _, j := range all {
			err := w.run(w.living(nil), j)
			if err != nil {
				w.note("  %s %s: %v", j.kind, j.args, err)
			}
			if tried[j.id]++; tried[j.id] == 3 {
				enough[j.id] = true
			}
			w.pass(2 * time.Second)
		}
	}
}

// unrest says what is still to be done.
func (w *world) unrest() string {
	var text string
	err := w.bed.admin.QueryRow(context.Background(), `select coalesce(string_agg(what, '; '), '') from (
		select format('job %s %s attempt %s', kind, args, attempt) from river_job where state in ('available', 'scheduled', 'retryable')
		union all select format('to be told about %s#%s', project, number) from publish_intent
		union all select format('delivery %s %s %s', id, event, action) from delivery where state = 'received'
		union all select format('missed delivery %s %s', guid, event) from missed_delivery where not exists (select from delivery where id = guid)
			and not given_up
	) as left_over (what)`).Scan(&text)
	if err != nil {
		w.fail("model", "look for what is to be done: %v", err)
	}
	return text
}

func (w *world) atRest() bool { return w.unrest() == "" }
