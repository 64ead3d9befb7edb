package migrations

import (
	"fmt"
	"slices"
	"strings"

	mayfly "github.com/mayflydb/mayfly"
	"github.com/mayflydb/mayfly/migrations/lint"
)

// comparing is one comparison of a history with the set of applied migrations.
type comparing struct {
	setTool
	rules   rules
	history *History
	c       Comparison
	applied map[string]Applied // by version; of a repeatable one the newest
	newest  string             // the highest version that is applied, "" for none
	plan    Plan
	refused []error
}

func (t setTool) plan(history *History, c Comparison) (Plan, error) {
	if own, ok := t.dialect.(completer); ok {
		c.State = own.complete(history, c.State)
	}
	p := &comparing{
		setTool: t, rules: t.rules(), history: history, c: c, applied: map[string]Applied{}, newest: c.State.Current,
		plan: Plan{
			Tool: history.Tool, From: c.State.Current, Findings: slices.Clone(history.Findings),
			impl: t, state: c.State, table: history.settings.Table,
		},
	}
	for _, a := range c.State.Applied {
		p.applied[a.Version] = a
	}
	for _, m := range history.Migrations {
		p.plan.Migrations = append(p.plan.Migrations, p.status(m))
	}
	p.missing()
	if len(p.refused) > 0 {
		p.plan.Pending = nil
		return p.plan, p.refused[0]
	}
	for _, m := range p.plan.Pending {
		if _, err := t.checked(p.plan.Tool, m); err != nil {
			return p.plan, err
		}
	}
	return p.plan, nil
}

// status classifies one migration of the files.
func (p *comparing) status(m Migration) Status {
	if m.duplicateOf != "" {
		reason := fmt.Sprintf("version %s is already used by %s", m.Version, m.duplicateOf)
		p.finding(FindingDuplicate, m, reason)
		p.refuse("%s: %s", []any{m.file(), reason}, "renumber one of them")
		return statusOf(m, StatusDuplicate, reason)
	}
	if own, ok := p.dialect.(classifier); ok {
		if status, known := own.classify(m, p); known {
			return status
		}
	}
	a, ok := p.applied[m.Version]
	switch {
	case p.rules.trustBase && !p.c.State.Exists && p.c.trusts(m.Version):
		p.plan.AlreadyApplied++
		p.plan.trusted = append(p.plan.trusted, m)
		return statusOf(m, StatusApplied, "the base branch had it, and the database has no table that says otherwise")
	case ok && a.Failed:
		p.refuse("the tracking table %s says that %s began and did not end well", []any{p.c.State.Table, m.file()},
			"if this is how the template came from production, repair production first and build a new template; if it failed on this preview, reset the preview")
		s := statusOf(m, StatusFailed, "it began and did not end well")
		s.AppliedAt = a.At
		return s
	case ok:
		s := p.appliedStatus(m, a)
		s.AppliedAt = a.At
		return s
	case m.Repeatable || p.rules.anyPosition || p.newest == "" || p.compare(m.Version, p.newest) >= 0:
		p.plan.Pending = append(p.plan.Pending, m)
		return statusOf(m, StatusPending, "")
	}
	return p.late(m)
}

func (p *comparing) appliedStatus(m Migration, a Applied) Status {
	p.plan.AlreadyApplied++
	edited, refused := p.edited(m, a), p.rules.refuseEdited
	if own, ok := p.dialect.(judge); ok {
		edited, refused = own.judge(m, a)
	}
	switch {
	case edited && m.Repeatable:
		p.plan.AlreadyApplied--
		p.plan.Pending = append(p.plan.Pending, m)
		return statusOf(m, StatusPending, "it was changed since it ran last, and runs again")
	case edited:
		reason := "edited after it was applied" + p.onBase(m) + ": " + p.plan.Tool + " does not run it again"
		if refused {
			reason = "edited after it was applied" + p.onBase(m) + ": its checksum is not the one that was recorded, and " + p.plan.Tool + " refuses to go on"
			p.refuse("%s was %s", []any{m.file(), reason}, "take the change back, and put it into a new migration")
		}
		p.finding(FindingEdited, m, m.file()+" was "+reason)
		if p.onBase(m) != "" {
			p.plan.Findings[len(p.plan.Findings)-1].Severity = lint.Info
		}
		return statusOf(m, StatusEdited, reason)
	}
	return statusOf(m, StatusApplied, "")
}

// refusesMissing reports whether the tool stops because an applied migration is not among the files.
func (p *comparing) refusesMissing(a Applied) bool {
	if own, ok := p.dialect.(missingJudge); ok {
		return own.refusesMissing(a, p.history)
	}
	return p.rules.refuseMissing
}

// edited decides by the tool's own checksum where there is one, and else by the hash of the file when it was applied.
func (p *comparing) edited(m Migration, a Applied) bool {
	if a.Checksum != "" && m.Checksum != "" {
		return a.Checksum != m.Checksum
	}
	if m.Repeatable {
		return false
	}
	if sha, ok := p.c.recordedSHA(m.Version); ok {
		return sha != m.sha()
	}
	was, ok := p.c.Base.find(m.Version)
	return ok && was.sha() != m.sha()
}

// onBase says so if the base branch has the same file: then it was not this branch that edited it.
func (p *comparing) onBase(m Migration) string {
	if was, ok := p.c.Base.find(m.Version); ok && was.sha() == m.sha() {
		return ", on the base branch already"
	}
	return ""
}

// late classifies a migration that was never applied and is older than one that was.
func (p *comparing) late(m Migration) Status {
	switch p.rules.gaps {
	case gapSkip:
		reason := fmt.Sprintf("older than %s, where the database already is: %s never runs it", p.newest, p.plan.Tool)
		p.plan.Skipped = append(p.plan.Skipped, Skipped{Version: m.Version, Name: m.Name, File: m.file(), Reason: reason})
		p.finding(FindingLate, m, m.file()+" is "+reason)
		return statusOf(m, StatusSkipped, reason)
	case gapRefuse:
		reason := fmt.Sprintf("older than %s, which is applied: %s refuses to go on", p.newest, p.plan.Tool)
		hint := "give it a version above " + p.newest
		if p.rules.gapHint != "" {
			hint += ", or " + p.rules.gapHint
		}
		p.finding(FindingOutOfOrder, m, m.file()+" is "+reason)
		p.refuse("%s was never applied and is %s", []any{m.file(), reason}, hint)
		return statusOf(m, StatusOutOfOrder, reason)
	}
	reason := fmt.Sprintf("older than %s, which is applied: %s runs it all the same, in another order than on a new database", p.newest, p.plan.Tool)
	p.finding(FindingOutOfOrder, m, m.file()+" is "+reason)
	p.plan.Pending = append(p.plan.Pending, m)
	return statusOf(m, StatusOutOfOrder, reason)
}

// missing lists what is applied and not among the files.
func (p *comparing) missing() {
	for _, a := range p.c.State.Applied {
		if p.history.has(a.Version) || p.applied[a.Version] != a {
			continue
		}
		reason := "applied, and no file has it: it was removed or renamed, or the branch is behind its base"
		if a.Failed {
			reason = "it began and did not end well, and no file has it"
			p.refuse("the tracking table %s says that %s began and did not end well", []any{p.c.State.Table, a.Version},
				"repair the database, or reset the preview")
		} else if p.refusesMissing(a) && !p.c.Base.has(a.Version) { // a branch behind its base is fine once it is merged
			p.refuse("version %s is applied, and no file has it: %s refuses to go on", []any{a.Version, p.plan.Tool},
				"merge or rebase the branch; if the file was removed, bring it back")
		}
		kind := FindingMissing
		if p.c.Base.has(a.Version) {
			kind = FindingRemoved
		}
		p.plan.Findings = append(p.plan.Findings, Finding{Kind: kind, Version: a.Version, Message: strings.TrimSpace(a.Version+" "+a.Name) + " is " + reason})
		s := Status{Version: a.Version, Name: a.Name, Status: StatusMissing, Reason: reason, AppliedAt: a.At}
		if a.Failed {
			s.Status = StatusFailed
		}
		p.plan.Migrations = append(p.plan.Migrations, s)
	}
}

func (p *comparing) finding(kind FindingKind, m Migration, message string) {
	p.plan.Findings = append(p.plan.Findings, Finding{Kind: kind, Version: m.Version, File: m.file(), Message: message})
}

func (p *comparing) refuse(format string, args []any, hint string) {
	p.refused = append(p.refused, mayfly.Errorf(mayfly.CodeMigrationInvalid, format, args...).WithHint("%s", hint))
}
