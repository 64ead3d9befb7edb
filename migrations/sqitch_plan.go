package migrations

import (
	"crypto/sha1" //nolint:gosec // the tool's own ids are SHA-1; nothing is protected by it
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// sqitchPlan is sqitch.plan.
type sqitchPlan struct {
	project, uri string
	changes      []*sqitchChange
}

// sqitchChange is one line of the plan.
type sqitchChange struct {
	plan                *sqitchPlan
	name, note, planner string
	email, at           string
	requires, conflicts []sqitchDependency
	tags                []sqitchTag
	// reworkTags are the tags between this change and the next one of the same name: its script is then called after one of them.
	reworkTags []string
	// occurrence counts from 1 the changes of this name.
	occurrence, line int
	id               string
}

type sqitchTag struct{ name, note, planner, email, at, id string }

// sqitchDependency is one entry in brackets. id is "" for a change of another project.
type sqitchDependency struct{ project, change, tag, id string }

// key is the name without the project (Depend.key_name of the tool).
func (d sqitchDependency) key() string {
	switch {
	case d.tag != "":
		return d.change + "@" + d.tag
	case d.change != "":
		return d.change
	}
	return d.id
}

// text is Depend.as_string of the tool.
func (d sqitchDependency) text(plan *sqitchPlan) string {
	if d.project != "" && d.project != plan.project {
		return d.project + ":" + d.key()
	}
	return d.key()
}

const sqitchNamePattern = `[^\s:@#\\\[\]!"$%&'()*+,\-./;<=>?^` + "`" + `{|}~](?:[^\s:@#\\\[\]]*[^\s:@#\\\[\]!"$%&'()*+,\-./;<=>?^` + "`" + `{|}~])?`

var (
	sqitchPragma = regexp.MustCompile(`^\s*%\s*([^\s=]+)(?:\s*=\s*(.+?))?\s*$`)
	sqitchLine   = regexp.MustCompile(`^\s*(?:(@)|\s*([+-])\s*)?(` + sqitchNamePattern + `)(?:\s+|$)(?:\[([^\]]+)\]\s*)?` +
		`(?:(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z)\s*)?(?:([^<]+)\s+<([^>]+)>)?$`)
	sqitchDepend = regexp.MustCompile(`^(!?)(?:(` + sqitchNamePattern + `):)?(?:([0-9a-f]{40})|(` + sqitchNamePattern + `)?(?:@(` + sqitchNamePattern + `))?)$`)
)

// parseSqitchPlan reads the plan as App::Sqitch::Plan does, and computes the ids.
func parseSqitchPlan(text string) (*sqitchPlan, error) {
	p := &sqitchPlanParser{plan: &sqitchPlan{}, counts: map[string]int{}, tagged: map[string]int{}, last: map[string]*sqitchChange{}}
	if !utf8.ValidString(text) {
		return nil, &lineError{line: 1, text: "the plan is not UTF-8", hint: "save it as UTF-8 text"}
	}
	header := true
	for line := range strings.Lines(text) {
		p.line++
		line = strings.TrimRight(line, "\r\n")
		if trimmed := strings.TrimSpace(line); trimmed == "" || trimmed[0] == '#' {
			header = header && (trimmed != "" || p.line == 0)
			continue
		}
		var err error
		if header && strings.HasPrefix(strings.TrimSpace(line), "%") {
			p.pragma(line)
		} else {
			header = false
			err = p.entry(line)
		}
		if err != nil {
			return nil, err
		}
	}
	if p.plan.project == "" {
		return nil, &lineError{line: 1, text: "the plan has no %project line", hint: "Sqitch refuses the plan, too"}
	}
	return p.plan, nil
}

type sqitchPlanParser struct {
	plan   *sqitchPlan
	line   int
	counts map[string]int           // changes by name
	tagged map[string]int           // index of the change by tag
	last   map[string]*sqitchChange // by name
	open   []*sqitchChange          // since the last tag
}

func (p *sqitchPlanParser) fail(format string, args ...any) error {
	return &lineError{line: p.line, text: fmt.Sprintf(format, args...), hint: "Sqitch refuses the plan, too"}
}

func (p *sqitchPlanParser) pragma(line string) {
	match := sqitchPragma.FindStringSubmatch(strings.TrimRight(cutNote(line), " \t"))
	if match == nil {
		return
	}
	switch match[1] {
	case "project":
		p.plan.project = match[2]
	case "uri":
		p.plan.uri = match[2]
	}
}

// cutNote takes the note off a line.
func cutNote(line string) string {
	if i := strings.IndexByte(line, '#'); i >= 0 {
		return line[:i]
	}
	return line
}

func (p *sqitchPlanParser) entry(line string) error {
	note := ""
	if _, text, ok := strings.Cut(line, "#"); ok {
		note = strings.NewReplacer(`\n`, "\n", `\r`, "\r", `\\`, `\`).Replace(strings.TrimLeft(text, " \t"))
	}
	match := sqitchLine.FindStringSubmatch(strings.TrimRight(cutNote(line), " \t"))
	switch {
	case match == nil:
		return p.fail("the line is not understood")
	case match[5] == "" || match[6] == "":
		return p.fail("the line has no timestamp and planner")
	case match[2] == "-":
		return p.fail("a line with a minus is not known")
	case match[3] == "ROOT" || match[3] == "HEAD":
		return p.fail("%q is a reserved name", match[3])
	}
	planner := strings.TrimRight(match[6], " \t")
	if match[1] == "@" {
		return p.tag(sqitchTag{name: "@" + match[3], note: note, planner: planner, email: match[7], at: match[5]})
	}
	c := &sqitchChange{plan: p.plan, name: match[3], note: note, planner: planner, email: match[7], at: match[5], line: p.line}
	for _, other := range p.open {
		if other.name == c.name {
			return p.fail("change %q is there twice without a tag between", c.name)
		}
	}
	if strings.Contains("/"+c.name+"/", "/../") || strings.Contains("/"+c.name+"/", "/./") || strings.HasPrefix(c.name, "/") {
		return p.fail("change %q is not a file below the directory of scripts", c.name)
	}
	if err := p.dependencies(c, match[4]); err != nil {
		return err
	}
	return p.add(c)
}

func (p *sqitchPlanParser) add(c *sqitchChange) error {
	if before := p.last[c.name]; before != nil {
		for i := len(p.plan.changes) - 1; i >= 0; i-- { // tags in the order of Plan.pm: backwards, the change's own last
			for _, t := range p.plan.changes[i].tags {
				before.reworkTags = append(before.reworkTags, t.name)
			}
			if p.plan.changes[i] == before {
				break
			}
		}
	}
	p.counts[c.name]++
	c.occurrence = p.counts[c.name]
	parent := ""
	if n := len(p.plan.changes); n > 0 {
		parent = p.plan.changes[n-1].id
	}
	c.id = c.identify(parent)
	p.last[c.name] = c
	p.plan.changes = append(p.plan.changes, c)
	p.open = append(p.open, c)
	return nil
}

func (p *sqitchPlanParser) tag(t sqitchTag) error {
	n := len(p.plan.changes)
	if _, twice := p.tagged[t.name]; n == 0 || twice || strings.Contains(t.name, "/") {
		return p.fail("tag %s is there twice, before any change, or has a slash", t.name)
	}
	c := p.plan.changes[n-1]
	info := "project " + p.plan.project + "\n"
	if p.plan.uri != "" {
		info += "uri " + p.plan.uri + "\n"
	}
	info += "tag " + t.name + "\nchange " + c.id + "\nplanner " + t.planner + " <" + t.email + ">\ndate " + t.at
	if t.note != "" {
		info += "\n\n" + t.note
	}
	t.id = sqitchID("tag", info)
	c.tags = append(c.tags, t)
	p.tagged[t.name] = n - 1
	p.open = nil
	return nil
}

// identify is Change.id of the tool.
func (c *sqitchChange) identify(parent string) string {
	var info strings.Builder
	info.WriteString("project " + c.plan.project + "\n")
	if c.plan.uri != "" {
		info.WriteString("uri " + c.plan.uri + "\n")
	}
	info.WriteString("change " + c.name + "\n")
	if parent != "" {
		info.WriteString("parent " + parent + "\n")
	}
	info.WriteString("planner " + c.planner + " <" + c.email + ">\ndate " + c.at)
	list := func(title, sign string, dependencies []sqitchDependency) {
		for i, d := range dependencies {
			if i == 0 {
				info.WriteString("\n" + title)
			}
			info.WriteString("\n  " + sign + " " + d.text(c.plan))
		}
	}
	list("requires", "+", c.requires)
	list("conflicts", "-", c.conflicts)
	if c.note != "" {
		info.WriteString("\n\n" + c.note)
	}
	return sqitchID("change", info.String())
}

func sqitchID(kind, info string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "%s %d\x00%s", kind, len(info), info)) //nolint:gosec // see the import
	return hex.EncodeToString(sum[:])
}

// dependencies reads what is in brackets, and finds the changes that are required in the plan so far.
func (p *sqitchPlanParser) dependencies(c *sqitchChange, list string) error {
	for word := range strings.FieldsSeq(list) {
		match := sqitchDepend.FindStringSubmatch(word)
		if match == nil || match[3]+match[4]+match[5] == "" {
			return p.fail("%q is not a dependency", excerpt(word, 80))
		}
		d := sqitchDependency{project: match[2], id: match[3], change: match[4], tag: match[5]}
		own := d.project == "" || d.project == p.plan.project
		if own && d.id == "" {
			d.id = p.find(d)
		}
		switch {
		case match[1] == "!" && own && d.id != "":
			return p.fail("change %q conflicts with %q, which is deployed before it", c.name, d.key())
		case own && d.id == "":
			return p.fail("change %q requires %q, or conflicts with it, and it is not in the plan before it", c.name, d.key())
		case match[1] == "!":
			c.conflicts = append(c.conflicts, d)
			continue
		}
		c.requires = append(c.requires, d)
	}
	return nil
}

// find is ChangeList.find of the tool: the change at a tag, or the first of its name.
func (p *sqitchPlanParser) find(d sqitchDependency) string {
	if d.tag != "" {
		at, ok := p.tagged["@"+d.tag]
		if !ok {
			return ""
		}
		if d.change == "" {
			return p.plan.changes[at].id
		}
		for i := at; i >= 0; i-- {
			if p.plan.changes[i].name == d.change {
				return p.plan.changes[i].id
			}
		}
		return ""
	}
	for _, c := range p.plan.changes {
		if c.name == d.change {
			return c.id
		}
	}
	return ""
}
