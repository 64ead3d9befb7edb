package provisioner_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/internal/forge"
	"github.com/mayflydb/mayfly/internal/forge/forgetest"
	"github.com/mayflydb/mayfly/internal/store"
)

// check compares what is with what the model says, once the service is at rest. The numbers are those of docs/invariants.md.
func (w *world) check() {
	ctx := context.Background()
	all, err := w.processes[0].store.Previews(ctx, store.Filter{})
	if err != nil {
		w.fail("model", "list previews: %v", err)
		return
	}
	byName := map[string]*mayfly.Preview{}
	for _, p := range all {
		byName[p.Name] = p
	}
	lossy := w.count(`select count(*) from missed_delivery where given_up`) > 0
	for _, pr := range w.prs {
		for _, project := range slices.Sorted(maps.Keys(pr.projects)) {
			name := mayfly.PullRequestName(project, pr.Number())
			w.checkPreview(pr, project, byName[name], lossy)
			delete(byName, name)
		}
		w.checkImpostors(pr)
	}
	for name := range byName {
		w.fail("I1", "there is a preview %s of no pull request", name)
	}
	w.checkThings(all)
	w.checkUnfinished()
	w.checkDeployments(all)
	w.checkRows()
	for _, violation := range w.github.Violations() {
		w.fail("I12", "%s", violation)
	}
}

// checkPreview checks what a pull request has in a project, and keeps it for the next time.
func (w *world) checkPreview(pr *modelPR, project string, p *mayfly.Preview, lossy bool) {
	head := pr.HeadSHA(context.Background())
	wish := pr.projects[project]
	v := pr.verdict(project, head)
	allowed := wish.may(pr, v, lossy)
	where := fmt.Sprintf("%s#%d (%s; before: %+v)", project, pr.Number(), v, *wish)
	switch {
	case p == nil:
		if !allowed.none {
			w.fail("I1", "%s has no preview; right would be %+v", where, allowed)
		}
	case p.ClosedAt != nil:
		if !allowed.resting {
			w.fail("I1", "%s has a preview that sleeps for its grace period; right would be %+v", where, allowed)
		}
	case !allowed.live:
		w.fail("I1", "%s has a preview, %s; right would be %+v", where, p.State, allowed)
	default:
		w.checkLive(pr, where, p, head)
	}
	if p != nil && allowed.same && (p.ID != wish.id || p.Generation != wish.generation) {
		w.fail("I3", "%s was made anew: it is %s of generation %d", where, p.ID, p.Generation)
	}
	if p != nil && pr.fork && !pr.approved[p.PR.HeadSHA] {
		w.fail("I4", "%s has a preview at %s, which nobody approved", where, p.PR.HeadSHA)
	}
	w.checkTold(pr, project, where, v, p, head)
	*wish = modelWish{had: p != nil && p.ClosedAt == nil, resting: p != nil && p.ClosedAt != nil, dismissed: p == nil && v == verdictPreview}
	if p != nil {
		wish.id, wish.generation, wish.expires, wish.closed = p.ID, p.Generation, p.ExpiresAt, p.ClosedAt
	}
}

// checkLive checks a preview that is wanted: at the right commit, on the right base, and as it should be.
func (w *world) checkLive(pr *modelPR, where string, p *mayfly.Preview, head string) {
	switch {
	case pr.broken && p.Settled() && p.State == mayfly.PreviewFailed && p.Failure.Code == mayfly.CodeMigrationFailed:
	case pr.broken, !p.Settled(), p.State != mayfly.PreviewReady && p.State != mayfly.PreviewSuspended, p.Failure != nil:
		w.fail("I2", "%s: the preview is %s, settled: %t, failure: %+v", where, p.State, p.Settled(), p.Failure)
	}
	if p.PR.HeadSHA != head || p.ObservedSHA != head {
		w.fail("I2", "%s: the preview is at %.7s (wanted %.7s), and the head is %.7s", where, p.ObservedSHA, p.PR.HeadSHA, head)
	}
	tip := w.repo.Head(context.Background(), pr.base)
	if p.PR.BaseRef != pr.base || p.PR.BaseSHA != tip || p.ObservedBaseSHA != tip || p.ObservedBaseRef != pr.base {
		w.fail("I2", "%s: the base is %s at %.7s (made on %s at %.7s), and should be %s at %.7s", where, p.PR.BaseRef, p.PR.BaseSHA,
			p.ObservedBaseRef, p.ObservedBaseSHA, pr.base, tip)
	}
	if w.history.ttl == (p.ExpiresAt == nil) {
		w.fail("I2", "%s: the preview expires at %v", where, p.ExpiresAt)
	}
}

// checkTold checks what people see: the one comment, and the checks on the head.
func (w *world) checkTold(pr *modelPR, project, where string, v modelVerdict, p *mayfly.Preview, head string) {
	var ours []forgetest.Comment
	for _, c := range pr.Comments() {
		if strings.Contains(c.Body, forge.Marker(w.repo.ID(), pr.Number(), project)) && !slices.Contains(pr.impostors, c.ID) {
			ours = append(ours, c)
		}
	}
	live := p != nil && p.ClosedAt == nil
	switch {
	case len(ours) > 1:
		w.fail("I5", "%s has %d comments", where, len(ours))
	case len(ours) == 0 && live:
		w.fail("I5", "%s has a preview and no comment", where)
	case live && !strings.Contains(ours[0].Body, head[:7]):
		w.fail("I5", "%s: the comment does not have the head %.7s:\n%s", where, head, ours[0].Body)
	case live && strings.Contains(ours[0].Body, "is ready") == pr.broken:
		w.fail("I5", "%s: the comment does not say whether the preview is ready:\n%s", where, ours[0].Body)
	case len(ours) == 1 && !live && strings.Contains(ours[0].Body, "is ready"):
		w.fail("I5", "%s: the comment says that there is a preview:\n%s", where, ours[0].Body)
	}
	if v == verdictClosed {
		return
	}
	for _, check := range []string{forge.CheckDatabase, forge.CheckMigrations} {
		conclusion := w.conclusion(head, check, project)
		wanted := []string{"neutral", "success"}
		switch {
		case live && pr.broken:
			wanted = []string{"failure"}
		case live && check == forge.CheckDatabase:
			wanted = []string{"success"}
		case live:
		case v == verdictAwaiting:
			wanted = []string{"action_required", "failure"}
		case v == verdictPreview: // somebody removed it
			wanted = []string{"neutral", "success", "cancelled", "error", "failure"}
		}
		if !slices.Contains(wanted, conclusion) {
			w.fail("I6", "%s: check %q on the head %.7s has ended as %q, not as one of %v", where, check, head, conclusion, wanted)
		}
	}
}

// conclusion is how the newest check of that name on a commit has ended; "" if there is none or it has not.
func (w *world) conclusion(sha, check, project string) string {
	names := []string{check, forge.CheckName(check, project, true)}
	if project != "shop" {
		names = names[1:]
	}
	found := ""
	if w.history.app {
		for _, run := range w.repo.CheckRuns(sha) {
			if slices.Contains(names, run.Name) {
				found = run.Conclusion
			}
		}
		return found
	}
	for _, status := range w.repo.Statuses(sha) {
		if slices.Contains(names, status.Context) {
			found = status.State
		}
	}
	if found == "pending" {
		return ""
	}
	return found
}

// checkUnfinished checks that no check waits, on any commit that ever was a head.
func (w *world) checkUnfinished() {
	newest := map[string]forgetest.CheckRun{} // GitHub shows the newest of a name
	for _, run := range w.repo.AllCheckRuns() {
		newest[run.HeadSHA+run.Name] = run
	}
	for _, run := range newest {
		if run.Status != "completed" {
			w.fail("I7", "check %q on %.7s never ends: %s, %q", run.Name, run.HeadSHA, run.Status, run.Title)
		}
	}
	for sha, statuses := range w.repo.AllStatuses() {
		last := map[string]forgetest.Status{}
		for _, s := range statuses {
			last[s.Context] = s
		}
		for _, s := range last {
			if s.State == "pending" {
				w.fail("I7", "status %q on %.7s never ends: %q", s.Context, sha, s.Description)
			}
		}
	}
}

// checkDeployments checks that those of what is gone are inactive, and that the newest of what is there is of its commit.
func (w *world) checkDeployments(all []*mayfly.Preview) {
	live := map[string]*mayfly.Preview{}
	for _, p := range all {
		if p.ClosedAt == nil {
			live[forge.Environment(p.Name)] = p
		}
	}
	newest := map[string]forgetest.Deployment{}
	for _, d := range w.repo.Deployments() {
		if live[d.Environment] == nil && d.State() != "inactive" {
			w.fail("I8", "the deployment of %.7s to %s is %q, and its preview is gone", d.SHA, d.Environment, d.State())
		}
		newest[d.Environment] = d
	}
	for environment, p := range live {
		state := "success"
		if p.State == mayfly.PreviewFailed {
			state = "failure"
		}
		if d := newest[environment]; d.SHA != p.PR.HeadSHA || d.State() != state {
			w.fail("I8", "the newest deployment to %s is of %.7s and %q, and the preview at %.7s", environment, d.SHA, d.State(), p.PR.HeadSHA)
		}
	}
}

// checkImpostors checks that what others wrote is as they wrote it.
func (w *world) checkImpostors(pr *modelPR) {
	for _, c := range pr.Comments() {
		if slices.Contains(pr.impostors, c.ID) && !strings.HasSuffix(c.Body, "ask mallory for the password") {
			w.fail("I5", "a comment of somebody else was changed to %s", c.Body)
		}
	}
}

// checkThings checks that exactly what the previews need exists on the machine.
func (w *world) checkThings(all []*mayfly.Preview) {
	ctx := context.Background()
	wanted := map[string]*mayfly.Preview{}
	for _, p := range all {
		wanted[p.Instance()] = p
	}
	instances, err := w.engine.List(ctx, nil)
	if err != nil {
		w.fail("model", "list instances: %v", err)
	}
	there := map[string]bool{}
	for _, i := range instances {
		p := wanted[i.ID]
		there[i.ID] = i.Running
		switch {
		case p == nil:
			w.fail("I10", "instance %s is left", i.ID)
		case p.State == mayfly.PreviewFailed:
		case i.Running != (p.State == mayfly.PreviewReady):
			w.fail("I10", "instance %s runs: %t, and its preview is %s", i.ID, i.Running, p.State)
		}
	}
	volumes, err := w.volumes.List(ctx)
	if err != nil {
		w.fail("model", "list volumes: %v", err)
	}
	for _, v := range volumes {
		if strings.HasPrefix(v.ID, "p") && wanted[v.ID] == nil {
			w.fail("I10", "volume %s is left", v.ID)
		}
		delete(wanted, v.ID)
	}
	for id, p := range wanted {
		w.fail("I10", "the volume %s of preview %s is missing", id, p.Name)
	}
	w.checkSockets(there)
	for _, p := range all {
		if p.State == mayfly.PreviewReady && !there[p.Instance()] {
			w.fail("I10", "preview %s is ready and does not run", p.Name)
		}
	}
}

// checkSockets checks that there is no directory of sockets without its instance.
func (w *world) checkSockets(instances map[string]bool) {
	if w.runDir == "" {
		return
	}
	for id := range w.made {
		if _, err := os.Stat(filepath.Join(w.runDir, id)); err == nil {
			if _, there := instances[id]; !there {
				w.fail("I10", "the directory of sockets of instance %s is left", id)
			}
		}
	}
}

// checkRows checks that nothing is left in the state database that nobody will come back to.
func (w *world) checkRows() {
	for what, query := range map[string]string{
		"previews that are being removed":              `select count(*) from preview where want_deleted and state <> 'deleted'`,
		"deliveries that nobody looked at":             `select count(*) from delivery where state = 'received'`,
		"things to be told":                            `select count(*) from publish_intent`,
		"checks that have not ended":                   `select count(*) from told_check where not concluded`,
		"locks that are held":                          `select count(*) from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())`,
		"commands that were begun and not carried out": `select count(*) from comment_command where comment_id > 0 and not done`,
	} {
		if n := w.count(query); n > 0 {
			w.fail("I11", "there are %d %s", n, what)
		}
	}
}

func (w *world) count(query string) int {
	var n int
	if err := w.bed.admin.QueryRow(context.Background(), query).Scan(&n); err != nil {
		w.fail("model", "%s: %v", query, err)
	}
	return n
}
