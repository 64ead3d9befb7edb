package repoconfig

import (
	"fmt"
	"slices"
	"strings"
	"time"

	mayfly "github.com/mayflydb/mayfly"
)

// defaultIdleAfter is the server's, where its configuration says nothing.
const defaultIdleAfter = 30 * time.Minute

// Unknown tells which projects of the file are none of the names: a slip of the pen would leave a project without the limits that
// its repository meant for it.
func (f *File) Unknown(names []string) []Problem {
	var out []Problem
	for name, p := range f.Projects {
		if !slices.Contains(names, name) {
			hint := suggestion(name, names)
			if hint == "" {
				hint = "the server has these projects for this repository: " + strings.Join(names, ", ")
			}
			out = append(out, Problem{Line: p.Line, Message: fmt.Sprintf("the server has no project %q for this repository", clip(name)), Hint: hint})
		}
	}
	slices.SortFunc(out, func(a, b Problem) int { return a.Line - b.Line })
	return out
}

// clip keeps a name that may be anything short.
func clip(s string) string {
	if len(s) > mayfly.MaxNameLength {
		return s[:mayfly.MaxNameLength]
	}
	return s
}

// Narrow returns the server's settings of a project with what the file says of it applied, and what in the file asks for more
// than the server allows. With a problem the settings must not be used.
func (f *File) Narrow(server mayfly.Project) (mayfly.Project, []Problem) {
	p, ok := f.Projects[server.Name]
	if !ok {
		return server, nil
	}
	n := &narrower{file: p, out: server}
	n.policy()
	n.times()
	n.migrations()
	return n.out, n.problems
}

type narrower struct {
	file     *Project
	out      mayfly.Project
	problems []Problem
}

func (n *narrower) refuse(key, format string, args ...any) {
	n.problems = append(n.problems, Problem{
		Line: n.file.lines[key], Message: key + " " + fmt.Sprintf(format, args...),
		Hint: "a repository can narrow what the server's configuration allows, and not widen it",
	})
}

func (n *narrower) policy() {
	policy := &n.out.Previews.PullRequests
	if n.file.Enabled != nil {
		policy.Disabled = policy.Disabled || !*n.file.Enabled
	}
	switch {
	case n.file.Drafts == nil:
	case *n.file.Drafts && policy.SkipDrafts:
		n.refuse("drafts", "is off in the server's configuration")
	case !*n.file.Drafts:
		policy.SkipDrafts = true
	}
	switch label := n.file.OnlyLabel; {
	case label == "":
	case policy.OnlyLabel != "" && !strings.EqualFold(policy.OnlyLabel, label):
		n.refuse("only_label", "is %q in the server's configuration", policy.OnlyLabel)
	default:
		policy.OnlyLabel = label
	}
	policy.RepositoryPaths, policy.Size = n.file.Paths, n.file.Size
	if forks := n.file.Forks; forks != "" && forks != mayfly.ForksDeny && forks != policy.Forks {
		n.refuse("forks", "%s is not what the server's configuration says", forks)
	} else if forks != "" {
		policy.Forks = forks
	}
	order := []string{mayfly.BotsSkip, mayfly.BotsMigrations, mayfly.BotsPreview}
	allowed := policy.Bots
	if allowed == "" {
		allowed = mayfly.BotsMigrations
	}
	if bots := n.file.Bots; bots != "" && slices.Index(order, bots) > slices.Index(order, allowed) {
		n.refuse("bots", "%s is more than the server's configuration allows, which is %s", bots, allowed)
	} else if bots != "" {
		policy.Bots = bots
	}
}

func (n *narrower) times() {
	previews := &n.out.Previews
	if ttl := n.file.TTL; ttl != nil {
		if limit := previews.PullRequestTTL; limit > 0 && *ttl > limit {
			n.refuse("ttl", "is more than the server's %s", limit)
		} else {
			previews.PullRequestTTL = *ttl
		}
	}
	if idle := n.file.Idle; idle != nil {
		limit := previews.IdleAfter
		if limit == 0 {
			limit = defaultIdleAfter
		}
		if limit > 0 && *idle > limit {
			n.refuse("idle", "is more than the server's %s", limit)
		} else {
			previews.IdleAfter = *idle
		}
	}
}

func (n *narrower) migrations() {
	m := &n.out.Migrations
	if (n.file.MigrationsPath != "" || n.file.MigrationsTool != "" || n.file.Seeds != nil) && m.Tool == "" {
		for _, key := range []string{"migrations.path", "migrations.tool", "seeds"} {
			if n.file.lines[key] != 0 {
				n.refuse(key, "is there, and the server's configuration has no migrations for this project")
			}
		}
		return
	}
	if dir := n.file.MigrationsPath; dir != "" {
		if dir != m.Path && m.Path != "" && !strings.HasPrefix(dir, m.Path+"/") {
			n.refuse("migrations.path", "is not within the server's %s", m.Path)
		} else {
			m.Path = dir
		}
	}
	if tool := n.file.MigrationsTool; tool != "" && tool != m.Tool {
		if m.Tool != mayfly.MigrationToolAuto || !slices.Contains(mayfly.MigrationTools(), tool) {
			n.refuse("migrations.tool", "is not the server's, which is %s", m.Tool)
		} else {
			m.Tool = tool
		}
	}
	if n.file.AlwaysRebuild != nil && *n.file.AlwaysRebuild {
		m.AlwaysRebuild = true
	} else if n.file.AlwaysRebuild != nil && m.AlwaysRebuild {
		n.refuse("migrations.always_rebuild", "is on in the server's configuration")
	}
	if n.file.Seeds != nil {
		m.Seed = n.file.Seeds
	}
}
